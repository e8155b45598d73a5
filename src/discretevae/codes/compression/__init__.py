"""Lossless compression of rows by bits-back coding."""
