"""How good a trained model is: bounds, use of the code, information, sizes of codes."""
