"""The learning rate over a run, in words and as a factor. No tensors here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from discretevae.errors import ConfigError, did_you_mean

ScheduleName = Literal["constant", "linear", "cosine"]

SCHEDULES: tuple[ScheduleName, ...] = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Schedule:
    """How the learning rate falls.

    Args:
        name: ``constant``, ``linear`` or ``cosine``.
        share: of the steps, the last ones, over which it falls to 0.
    """

    name: ScheduleName
    share: float = 1.0

    def factor(self, step: int, n_steps: int, *, warmup: int = 0) -> float:
        """What the learning rate is multiplied by at a step.

        With t the steps left and f = min(1, t / (share · n_steps)), the part of the fall that is
        still to come: linear is f, cosine is ½ (1 − cos πf). During the first ``warmup`` steps the
        factor is multiplied by (step + 1) / (warmup + 1).

        Args:
            step: counted from 0.
            n_steps: of the whole run.
            warmup: steps over which it rises first.

        Example:
            >>> schedule = parse_schedule("linear:0.5")
            >>> [schedule.factor(step, 8) for step in (0, 4, 6, 7)]
            [1.0, 1.0, 0.5, 0.25]
            >>> parse_schedule("constant").factor(0, 8, warmup=3)
            0.25
        """
        rise = min(1.0, (step + 1) / (warmup + 1))
        if self.name == "constant":
            return rise
        left = min(1.0, max(n_steps - step, 0) / (self.share * n_steps))
        fall = left if self.name == "linear" else 0.5 * (1 - math.cos(math.pi * left))
        return rise * fall


def parse_schedule(text: str) -> Schedule:
    """Reads ``constant``, ``linear``, ``linear:0.4``, ``cosine`` or ``cosine:0.4``.

    ``linear:0.4`` stays as it is and falls to 0 over the last 40 % of the steps.

    Raises:
        ConfigError: the text is none of these, or the share is outside (0, 1].

    Example:
        >>> parse_schedule("cosine:0.4")
        Schedule(name='cosine', share=0.4)
    """
    name, colon, share_text = str(text).strip().partition(":")
    for known in SCHEDULES:
        if name == known:
            break
    else:
        raise ConfigError(f"lr schedule {name!r} is unknown. {did_you_mean(name, SCHEDULES)}")
    if not colon:
        return Schedule(known)
    try:
        share = float(share_text)
    except ValueError:
        share = math.nan
    if known == "constant" or not 0 < share <= 1:
        raise ConfigError(
            f"lr schedule {text!r} cannot be read. Write it like constant, linear or linear:0.4, "
            "the share of the steps, the last ones, over which it falls to 0."
        )
    return Schedule(known, share)


__all__ = ["SCHEDULES", "Schedule", "parse_schedule"]
