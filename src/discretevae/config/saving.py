"""How often a run is saved."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from discretevae.errors import ConfigError

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class SaveEvery:
    """How long after a save the next is due; one is made at the end in any case.

    Args:
        seconds: None for never by the clock.
        steps: None for never by the count of steps.
    """

    seconds: float | None = 10.0
    steps: int | None = None

    def is_due(self, seconds: float, steps: int) -> bool:
        """Whether to save, so many seconds and steps after the last time.

        Example:
            >>> SaveEvery(seconds=None, steps=100).is_due(1e6, 99)
            False
        """
        by_clock = self.seconds is not None and seconds > self.seconds
        return by_clock or (self.steps is not None and steps >= self.steps)


def parse_save_every(text: str) -> SaveEvery:
    """Reads ``10s``, ``5min``, ``1h`` or ``500steps``.

    Raises:
        ConfigError: the text is something else.

    Example:
        >>> parse_save_every("5min").seconds, parse_save_every("500 steps").steps
        (300.0, 500)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|steps?)\s*", text)
    amount = float(match.group(1)) if match else 0.0
    if match is None or amount <= 0 or not math.isfinite(amount):
        raise ConfigError(
            f"`save_every` {text!r} cannot be read. Write it like 10s, 5min or 500steps."
        )
    if match.group(2) in UNITS:
        return SaveEvery(seconds=amount * UNITS[match.group(2)])
    if amount != int(amount):
        raise ConfigError(f"`save_every` {text!r}: steps must be a whole number. Write 500steps.")
    return SaveEvery(seconds=None, steps=int(amount))


__all__ = ["SaveEvery", "parse_save_every"]
