"""Random distortions of the rows that the encoder is shown, in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from discretevae.config.checks import a_number
from discretevae.config.spelling import Spec, short


@dataclass(frozen=True)
class Augment(Spec):
    """Ranges of the random distortions of a picture, each uniform in ± its figure; or hidden cells.

    ``light`` is ``shift=2,rotate=10,scale=0.1``, and ``strong`` has ``shear=0.4`` besides; these
    figures suit pictures of some 28 pixels a side.

    Args:
        shift: pixels, in both directions.
        rotate: degrees.
        scale: share by which it grows or shrinks.
        shear: sideways pixels for each pixel of height.
        hide: the chance of each cell of a table to be shown as missing.

    Raises:
        ConfigError: a figure is out of range.

    Example:
        >>> str(Augment(shift=2, rotate=10))
        'shift=2,rotate=10'
        >>> Augment.of("light")
        Augment(shift=2, rotate=10, scale=0.1, shear=0.0, hide=0.0)
    """

    option = "augment"
    form = "light, strong, figures such as shift=2,rotate=10,scale=0.1,shear=0.4, or hide=0.3"

    shift: float = field(default=0.0, metadata=a_number(0, 1000))
    rotate: float = field(default=0.0, metadata=a_number(0, 180))
    scale: float = field(default=0.0, metadata=a_number(0, 0.9))
    shear: float = field(default=0.0, metadata=a_number(0, 2))
    hide: float = field(default=0.0, metadata=a_number(0, 0.99))

    @property
    def is_of_pictures(self) -> bool:
        """True if pictures are distorted, and not only cells hidden."""
        return self.hide == 0 or any((self.shift, self.rotate, self.scale, self.shear))

    @classmethod
    def split(cls, text: str) -> tuple[str, str | None]:
        """Return a text of figures as the arguments of a nameless constructor."""
        return ("", text) if "=" in text else (text, None)

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return what the words stand for, and what takes figures."""
        light, strong = cls(2, 10, 0.1), cls(2, 10, 0.1, 0.4)
        return {"light": light, "strong": strong, "": cls}

    def __str__(self) -> str:
        figures = {name: figure for name, figure in asdict(self).items() if figure}
        return ",".join(f"{name}={short(figure)}" for name, figure in figures.items()) or "shift=0"
