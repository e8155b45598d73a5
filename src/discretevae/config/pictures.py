"""Sizes of pictures: height, width, and channels where there are several."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, get_args

from discretevae.config.checks import are_ints

ImageShape: TypeAlias = tuple[int, ...]
"""(height, width) of grey pictures; (height, width, channels) of those with 2 to 4 channels.

A row holds its pixels in this order, the channels of a pixel side by side.
"""

MAX_CHANNELS = 4

ColorMode = Literal["auto", "rgb", "grey"]
COLOR_MODES: tuple[ColorMode, ...] = get_args(ColorMode)


class Sides(NamedTuple):
    """Height, width and channels of a picture; a grey one has 1 channel."""

    height: int
    width: int
    channels: int


def sides_of(shape: ImageShape) -> Sides:
    """Return height, width and channels.

    Example:
        >>> sides_of((28, 28)), sides_of((32, 24, 3)).channels
        (Sides(height=28, width=28, channels=1), 3)
    """
    height, width, *channels = shape
    return Sides(height, width, *channels or [1])


def is_image_shape(shape: object) -> bool:
    """Return whether this is an `ImageShape`."""
    is_color = are_ints(shape, 1, 3) and 2 <= shape[2] <= MAX_CHANNELS
    return is_color or are_ints(shape, 1, 2)


def spell_shape(shape: ImageShape, by: str = "×") -> str:
    """Return a shape for a line of text, such as 32×32×3; with ``x`` as on the command line."""
    return by.join(map(str, shape))
