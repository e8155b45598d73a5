"""Where the values of a table lie: one protocol, and the plainest of those who follow it.

| store | values lie |
|---|---|
| `InMemory` | in memory, every value |
| `sparse.Sparse` | in memory, only those that are not zero |
| `streamed.Streamed` | on disk, read when they are asked for |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from discretevae.data.stores.values import spans
from discretevae.system.randomness import generator_for


class Shuffled(Protocol):
    """The rows of a store in the random order of one epoch."""

    def between(self, start: int, stop: int) -> Tensor:
        """Stored values ``[stop - start, P]`` of these places in the order."""
        ...


class Store(Protocol):
    """A table of N rows and P features, uint8 or float32, of which any rows can be asked for."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        ...

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Numbers between which every value lies, where they are known without looking."""
        ...

    def take(self, index: Tensor) -> Tensor:
        """The rows of these numbers, int64 ``[B]`` to ``[B, P]``; a fresh tensor."""
        ...

    def between(self, start: int, stop: int) -> Tensor:
        """Consecutive rows ``[stop - start, P]``; may share memory with the store."""
        ...

    def subset(self, index: Tensor | slice) -> Tensor | Store:
        """Some of the rows, to become the values of another table."""
        ...

    def pieces(self) -> Iterator[Tensor]:
        """Every value that is not zero, and a zero if there is one, in pieces of any shape."""
        ...

    def shuffled(self, seed: int, epoch: int) -> Shuffled:
        """All rows in a random order that follows from both numbers alone."""
        ...


@dataclass(frozen=True, eq=False)
class InMemory:
    """A tensor as a store.

    Args:
        values: ``[N, P]``, uint8 or float32, contiguous.
    """

    values: Tensor

    bounds = None

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        return self.values.shape[0], self.values.shape[1]

    def take(self, index: Tensor) -> Tensor:
        """The rows of these numbers."""
        return self.values.index_select(0, index.to(self.values.device))

    def between(self, start: int, stop: int) -> Tensor:
        """Consecutive rows, as a view."""
        return self.values[start:stop]

    def subset(self, index: Tensor | slice) -> Tensor:
        """Some of the rows; a slice is a view."""
        return self.values[index].contiguous()

    def pieces(self) -> Iterator[Tensor]:
        """The table from top to bottom."""
        return (self.values[start:stop] for start, stop in spans(self.shape))

    def shuffled(self, seed: int, epoch: int) -> Permuted:
        """All rows in a random order."""
        return Permuted.drawn(self, seed, epoch, self.values.device)


@dataclass(frozen=True, eq=False)
class Permuted:
    """Every row of a store anywhere in the order: perfect shuffling, 8 bytes for each row.

    Args:
        store: where the rows lie; to be asked for any of them at no great cost.
        order: the rows' numbers, int64 ``[N]``.
        there: the same where the values lie, so that no step has to send its part of them.
    """

    store: Store
    order: Tensor
    there: Tensor

    @classmethod
    def drawn(
        cls, store: Store, seed: int, epoch: int, device: torch.device | str = "cpu"
    ) -> Permuted:
        """A random order, the same for every device that the values may lie on."""
        order = torch.randperm(store.shape[0], generator=generator_for(seed, "order", epoch))
        return cls(store, order, order.to(device))

    def between(self, start: int, stop: int) -> Tensor:
        """The rows of these places."""
        return self.store.take(self.there[start:stop])
