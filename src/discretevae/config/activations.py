"""The function between the layers of an MLP, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from discretevae.config.checks import one_of, rule
from discretevae.config.spelling import Spec, spell

ActivationName = Literal["relu", "leaky-relu", "tanh"]

DEFAULT_SLOPE = 0.01
"""That of ``torch.nn.LeakyReLU``."""


@dataclass(frozen=True)
class Activation(Spec):
    """An activation function: ``relu``, ``tanh``, ``leaky-relu`` or ``leaky-relu:0.2``.

    Args:
        name: ``relu``, ``leaky-relu`` or ``tanh``.
        slope: of ``leaky-relu`` below zero, in (0, 1); 0 for the others.

    Raises:
        ConfigError: the slope is out of range.

    Example:
        >>> Activation.of("leaky-relu:0.2")
        Activation(name='leaky-relu', slope=0.2)
    """

    option = "activation"
    form = "relu, tanh or leaky-relu:0.2"

    name: ActivationName = field(metadata=one_of(get_args(ActivationName)))
    slope: float = field(default=0.0, metadata=rule(">= 0 and < 1", lambda value: 0 <= value < 1))

    @classmethod
    def leaky_relu(cls, slope: float = DEFAULT_SLOPE) -> Self:
        """Return max(x, slope · x)."""
        return cls("leaky-relu", slope)

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return a function, or what makes one from its slope, for each name."""
        return {"relu": RELU, "leaky-relu": cls.leaky_relu, "tanh": cls("tanh")}

    def __str__(self) -> str:
        is_plain = self.slope == (DEFAULT_SLOPE if self.name == "leaky-relu" else 0)
        return spell(self.name, *[self.slope] * (not is_plain))


RELU = Activation("relu")
