"""What stands between the layers of an MLP, in words. No tensors here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from discretevae.errors import ConfigError, did_you_mean

ActivationName = Literal["relu", "leaky-relu", "tanh"]

ACTIVATIONS: tuple[ActivationName, ...] = ("relu", "leaky-relu", "tanh")

DEFAULT_SLOPE = 0.01


@dataclass(frozen=True)
class Activation:
    """An activation function.

    Args:
        name: ``relu``, ``leaky-relu`` or ``tanh``.
        slope: of ``leaky-relu`` below zero.
    """

    name: ActivationName
    slope: float = 0.0


RELU = Activation("relu")


def parse_activation(text: str) -> Activation:
    """Reads ``relu``, ``tanh``, ``leaky-relu`` or ``leaky-relu:0.2``.

    Raises:
        ConfigError: the text is none of these, or the slope is outside (0, 1).

    Example:
        >>> parse_activation("leaky-relu:0.2")
        Activation(name='leaky-relu', slope=0.2)
        >>> parse_activation("tanh:2")
        Traceback (most recent call last):
        ...
        discretevae.errors.ConfigError: activation 'tanh:2' cannot be read: only leaky-relu has \
a slope. Write it like relu, tanh or leaky-relu:0.2.
    """
    name, colon, slope_text = str(text).strip().partition(":")
    for known in ACTIVATIONS:
        if name == known:
            break
    else:
        raise ConfigError(f"activation {name!r} is unknown. {did_you_mean(name, ACTIVATIONS)}")
    if known != "leaky-relu":
        if colon:
            raise ConfigError(
                f"activation {text!r} cannot be read: only leaky-relu has a slope. "
                "Write it like relu, tanh or leaky-relu:0.2."
            )
        return Activation(known)
    try:
        slope = float(slope_text) if colon else DEFAULT_SLOPE
    except ValueError:
        slope = math.nan
    if not 0 < slope < 1:
        raise ConfigError(
            f"activation {text!r} must have a slope > 0 and < 1. Got {slope_text!r}. "
            "Write it like leaky-relu:0.2."
        )
    return Activation(known, slope)


__all__ = ["ACTIVATIONS", "RELU", "Activation", "parse_activation"]
