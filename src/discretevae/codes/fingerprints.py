"""Which model it was: one hexadecimal number for a configuration and its weights."""

from __future__ import annotations

import hashlib
import json
import sys

from discretevae.config import to_dict
from discretevae.model.vae import DiscreteVAE


def fingerprint(model: DiscreteVAE) -> str:
    """SHA-256 of the model's configuration and of every bit of its weights, in hexadecimal.

    What a model wrote can be read with the same model only: files keep this number beside the
    codes. The device does not matter; a change of one weight in its last bit does.

    Args:
        model: the model.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> from discretevae.model.vae import fresh_model
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> one, other = fresh_model(config, seed=0), fresh_model(config, seed=1)
        >>> len(fingerprint(one)), fingerprint(one) == fingerprint(other)
        (64, False)
        >>> fingerprint(one) == fingerprint(fresh_model(config, seed=0))
        True
    """
    digest = hashlib.sha256()
    # every part says how long it is, so that no two models give the same bytes
    _add(digest, json.dumps(to_dict(model.config), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        if sys.byteorder == "big":
            array = array.byteswap()
        _add(digest, f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        _add(digest, array.tobytes())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, part: bytes) -> None:
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)


__all__ = ["fingerprint"]
