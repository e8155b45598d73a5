"""Variational autoencoders with discrete latent codes."""

__version__ = "0.1.0"
