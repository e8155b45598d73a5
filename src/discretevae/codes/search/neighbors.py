"""The result of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from discretevae.system.arrays import Array


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest rows of each of Q queries, the nearest first.

    Args:
        distances: int32 ``[Q, k]``, the number of latent variables that differ.
        ids: int64 ``[Q, k]``.
        names: of the neighbors, texts ``[Q, k]``; None if the rows of the index have no names.
        own: True where the neighbor is the query itself: of the same id or name, and the same
            values; bool ``[Q, k]``. None of codes, which say neither.
    """

    distances: Array
    ids: Array
    names: Array | None = None
    own: Array | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all that is known as plain values for JSON."""
        return {name: array.tolist() for name, array in self.arrays().items()}

    def arrays(self) -> dict[str, Array]:
        """Return the fields that are not None."""
        return {name: array for name, array in vars(self).items() if array is not None}
