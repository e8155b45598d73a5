"""Rows that the decoder has to explain, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from discretevae.config.checks import an_int
from discretevae.config.spelling import Spec, spell

MAX_NEIGHBORS = 1000
MAX_STEPS = 10_000


class Target(Spec):
    """The row to be explained from the code of a row: `RowTarget` or `NeighborTarget`."""

    option = "target"
    form = "row, neighbors:5 or neighbors:5x50"
    separator = "x"

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return a target, or what makes one from its numbers, for each name."""
        return {"row": RowTarget(), "neighbors": NeighborTarget}


@dataclass(frozen=True)
class RowTarget(Target):
    """``row``: the row itself."""

    def __str__(self) -> str:
        return "row"


@dataclass(frozen=True)
class NeighborTarget(Target):
    """``neighbors:5x50``: the row at which a random walk among nearest neighbors ends.

    Of texts it is the mean of eight such rows, of which tf-idf weights the words.

    Args:
        k: the walk goes along the graph that joins rows each of which is among the K nearest of
            the other.
        steps: T, steps of the walk.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> Target.of("neighbors:5x50")
        NeighborTarget(k=5, steps=50)
    """

    k: int = field(metadata=an_int(1, MAX_NEIGHBORS))
    steps: int = field(default=1, metadata=an_int(1, MAX_STEPS))

    def __str__(self) -> str:
        return spell("neighbors", self.k, *[self.steps] * (self.steps > 1), separator="x")
