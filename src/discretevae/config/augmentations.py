"""Random distortions of pictures in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from discretevae.errors import ConfigError, did_you_mean

AUGMENTS = {
    "light": "shift=2,rotate=10,scale=0.1",
    "strong": "shift=2,rotate=10,scale=0.1,shear=0.4",
}
"""What the short words stand for; the figures suit pictures of some 28 pixels a side."""


@dataclass(frozen=True)
class Augment:
    """How far a picture is distorted at random, each uniformly in ± the figure.

    Args:
        shift: pixels, in both directions.
        rotate: degrees.
        scale: share by which it grows or shrinks.
        shear: sideways pixels for each pixel of height.

    Example:
        >>> parse_augment("shift=2,rotate=10")
        Augment(shift=2.0, rotate=10.0, scale=0.0, shear=0.0)
    """

    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0


LIMITS = {"shift": 1000.0, "rotate": 180.0, "scale": 0.9, "shear": 2.0}


def parse_augment(text: str) -> Augment:
    """Reads ``light``, ``strong``, or figures such as ``shift=2,rotate=10,scale=0.1,shear=0.4``.

    Raises:
        ConfigError: the text is something else, or a figure is out of range.

    Example:
        >>> parse_augment("light") == parse_augment("shift=2,rotate=10,scale=0.1")
        True
    """
    names = [field.name for field in fields(Augment)]
    figures: dict[str, float] = {}
    for part in AUGMENTS.get(text, text).split(","):
        name, equals, value = part.strip().partition("=")
        if name not in names or not equals:
            guess = did_you_mean(name, [*AUGMENTS, *names])
            raise ConfigError(f"augment {text!r} cannot be read at {part!r}. {guess}")
        try:
            figures[name] = float(value)
        except ValueError:
            figures[name] = math.nan
        if not 0 <= figures[name] <= LIMITS[name]:
            raise ConfigError(
                f"augment {name} must be a number from 0 to {LIMITS[name]:g}. Got {value!r}."
            )
    return Augment(**figures)


__all__ = ["AUGMENTS", "Augment", "parse_augment"]
