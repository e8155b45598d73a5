"""What has to be explained from the code of a row, in words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from discretevae.errors import ConfigError

MAX_NEIGHBORS = 1000
MAX_STEPS = 10_000

_NEIGHBORS = re.compile(r"neighbors:(\d{1,6})(?:x(\d{1,6}))?")


@dataclass(frozen=True)
class Target:
    """What the decoder has to explain from the code of a row.

    Args:
        n_neighbors: K; 0 for the row itself, else the row at which a random walk from it ends, on
            the graph that joins rows each of which is among the K nearest of the other.
        n_steps: T, steps of that walk.

    Example:
        >>> parse_target("neighbors:5x50")
        Target(n_neighbors=5, n_steps=50)
    """

    n_neighbors: int = 0
    n_steps: int = 1


def parse_target(text: str) -> Target:
    """Reads ``row``, ``neighbors:5`` or ``neighbors:5x50``.

    Raises:
        ConfigError: the text is something else, or a number is out of range.

    Example:
        >>> parse_target("row").n_neighbors, parse_target("neighbors:5").n_steps
        (0, 1)
    """
    if text == "row":
        return Target()
    match = _NEIGHBORS.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"target {text!r} cannot be read. Write row, neighbors:K or neighbors:KxT, such as "
            "neighbors:5x50."
        )
    n_neighbors, n_steps = int(match[1]), int(match[2] or 1)
    if not 1 <= n_neighbors <= MAX_NEIGHBORS or not 1 <= n_steps <= MAX_STEPS:
        raise ConfigError(
            f"target neighbors:KxT needs K from 1 to {MAX_NEIGHBORS} and T from 1 to {MAX_STEPS}. "
            f"Got {text!r}."
        )
    return Target(n_neighbors, n_steps)


__all__ = ["Target", "parse_target"]
