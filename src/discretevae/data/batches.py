"""One pass over all rows, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from discretevae.data.stores.shuffling import Permuted, Windowed


@dataclass(frozen=True, eq=False)
class Batches:
    """One pass over all rows in a given order, any batch of which can be read.

    Args:
        order: the stored values of N rows in that order.
        n_rows: N.
        batch_size: B.
        to_x: what turns stored values into x, given a generator for dynamic binarization.
        name: of the rows; starts the message.

    Example:
        >>> from discretevae.data.rows import Rows
        >>> batches = Rows.from_array([[0, 1], [1, 1], [1, 0]]).epoch(0, 1, batch_size=2)
        >>> len(batches), batches.take(0).shape, batches.take(1).shape
        (2, torch.Size([2, 2]), torch.Size([1, 2]))
    """

    order: Permuted | Windowed
    n_rows: int
    batch_size: int
    to_x: Callable[[Tensor, torch.Generator | None], Tensor]
    name: str

    def __len__(self) -> int:
        return -(-self.n_rows // self.batch_size)

    def take(
        self, step: int, *, rank: int = 0, ranks: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the rows of a step, ``[B, P]``, or the part of them of one of several ranks.

        The parts are consecutive and differ in length by at most one row; a part may be empty.
        Of rows on disk, steps are best taken one after the other.

        Raises:
            ConfigError: dynamic rows without a generator.
            DataError: the values lie on disk and can no longer be read.
        """
        values = self.order.between(*self._places(step, rank, ranks))
        return self.to_x(values.to(torch.float32), generator)

    def numbers(self, step: int, *, rank: int = 0, ranks: int = 1) -> Tensor:
        """Return the numbers of the rows that `take` returns, int64 ``[B]``; best before it."""
        return self.order.numbers(*self._places(step, rank, ranks))

    def _places(self, step: int, rank: int, ranks: int) -> tuple[int, int]:
        first = min(step * self.batch_size, self.n_rows)
        size, larger = divmod(min(self.batch_size, self.n_rows - first), ranks)
        start = first + rank * size + min(rank, larger)
        return start, start + size + (rank < larger)
