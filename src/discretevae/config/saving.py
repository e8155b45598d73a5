"""The interval between saves of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from discretevae.config.checks import POSITIVE, an_int
from discretevae.config.spelling import Spec, short
from discretevae.errors import ConfigError


@dataclass(frozen=True)
class SaveEvery(Spec):
    """The time and the steps after which a run is saved again: ``10s``, ``5min``, ``500steps``.

    It is saved at the end in any case.

    Args:
        seconds: None for never by the clock.
        steps: None for never by the count of steps.

    Example:
        >>> SaveEvery.of("5min").seconds, SaveEvery.of("500 steps").steps
        (300.0, 500)
    """

    option = "save_every"
    form = "10s, 5min, 1h or 500steps"

    seconds: float | None = field(default=10.0, metadata=POSITIVE)
    steps: int | None = field(default=None, metadata=an_int(1))

    @classmethod
    def split(cls, text: str) -> tuple[str, str | None]:
        """Return the unit as the name, and the number before it as the argument."""
        match = re.fullmatch(r"([0-9.]+)\s*([a-z]+)", text)
        if match is None:
            raise cls.refusal(text, ConfigError("no number with a unit."))
        return match[2], match[1]

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return what makes one from a number, for each unit."""

        def seconds(amount: float) -> SaveEvery:
            return cls(amount)

        def minutes(amount: float) -> SaveEvery:
            return cls(60 * amount)

        def hours(amount: float) -> SaveEvery:
            return cls(3600 * amount)

        def steps(amount: int) -> SaveEvery:
            return cls(None, amount)

        return {"s": seconds, "min": minutes, "h": hours, "step": steps, "steps": steps}

    def __str__(self) -> str:
        return f"{self.steps}steps" if self.seconds is None else f"{short(self.seconds)}s"

    def is_due(self, seconds: float, steps: int) -> bool:
        """Return whether to save, so many seconds and steps after the last time.

        Example:
            >>> SaveEvery(seconds=None, steps=100).is_due(1e6, 99)
            False
        """
        by_clock = self.seconds is not None and seconds > self.seconds
        return by_clock or (self.steps is not None and steps >= self.steps)
