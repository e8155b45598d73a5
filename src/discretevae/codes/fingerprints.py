"""Fingerprints of models: one hexadecimal number for a configuration and its weights."""

from __future__ import annotations

from discretevae.config import to_dict
from discretevae.model.row_checks import require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.system.tensor_files import checksum


def fingerprint(model: DiscreteVAE) -> str:
    """Return BLAKE2b of the model's configuration and of every bit of its weights, 32 digits.

    What a model wrote can be read with the same model only: files keep this number beside the
    codes. The device does not matter; a change of one weight in its last bit does.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> from discretevae.model.vae import fresh_model
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> one, other = fresh_model(config, seed=0), fresh_model(config, seed=1)
        >>> len(fingerprint(one)), fingerprint(one) == fingerprint(other)
        (32, False)
        >>> fingerprint(one) == fingerprint(fresh_model(config, seed=0))
        True
    """
    require_model(model)
    return checksum(model.state_dict(), to_dict(model.config))
