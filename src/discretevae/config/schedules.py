"""The learning rate over a run, in words and as a factor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from discretevae.config.checks import one_of, rule
from discretevae.config.spelling import Spec, spell

ScheduleName = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class Schedule(Spec):
    """The schedule of the learning rate: ``constant``, ``linear``, ``linear:0.4``, ``cosine`` ….

    Args:
        name: ``constant``, ``linear`` or ``cosine``.
        share: in (0, 1], of the steps, the last ones, over which the learning rate falls to 0.

    Raises:
        ConfigError: the share is out of range.

    Example:
        >>> str(Schedule.cosine(0.4)), Schedule.of("linear")
        ('cosine:0.4', Schedule(name='linear', share=1.0))
    """

    option = "lr_schedule"
    form = "constant, linear or linear:0.4, the share of the steps over which it falls to 0"

    name: ScheduleName = field(metadata=one_of(get_args(ScheduleName)))
    share: float = field(default=1.0, metadata=rule("> 0 and <= 1", lambda value: 0 < value <= 1))

    @classmethod
    def linear(cls, share: float = 1.0) -> Self:
        """Return a straight fall to 0 over the last ``share`` of the steps."""
        return cls("linear", share)

    @classmethod
    def cosine(cls, share: float = 1.0) -> Self:
        """Return half a period of a cosine over the last ``share`` of the steps."""
        return cls("cosine", share)

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return a schedule, or what makes one from its share, for each name."""
        return {"constant": cls("constant"), "linear": cls.linear, "cosine": cls.cosine}

    def __str__(self) -> str:
        return spell(self.name, *[self.share] * (self.share != 1))

    def factor(self, step: int, n_steps: int, *, warmup: int = 0) -> float:
        """Return what the learning rate is multiplied by at a step.

        With t the steps left and f = min(1, t / (share · n_steps)), the part of the fall that is
        still to come: linear is f, cosine is ½ (1 − cos πf). During the first ``warmup`` steps the
        factor is multiplied by (step + 1) / (warmup + 1).

        Args:
            step: counted from 0.
            n_steps: of the whole run.
            warmup: steps over which it rises first.

        Example:
            >>> schedule = Schedule.linear(0.5)
            >>> [schedule.factor(step, 8) for step in (0, 4, 6, 7)]
            [1.0, 1.0, 0.5, 0.25]
            >>> Schedule("constant").factor(0, 8, warmup=3)
            0.25
        """
        rise = min(1.0, (step + 1) / (warmup + 1))
        if self.name == "constant":
            return rise
        left = min(1.0, max(n_steps - step, 0) / (self.share * n_steps))
        fall = left if self.name == "linear" else 0.5 * (1 - math.cos(math.pi * left))
        return rise * fall
