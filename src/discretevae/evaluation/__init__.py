"""Measures of a trained model: bounds, use of the code, information, sizes of codes."""
