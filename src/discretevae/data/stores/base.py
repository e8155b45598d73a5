"""Stores of the values of a table: what every store offers, and the plainest one.

| store | values lie |
|---|---|
| `InMemory` | in memory, every value |
| `sparse.Sparse` | in memory, only those that are not zero |
| `streamed.Streamed` | on disk, read at use |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from discretevae.data.stores.shuffling import Permuted, Windowed
from discretevae.data.stores.values import spans


class Store(ABC):
    """A table of N rows and P features, uint8 or float32.

    Attributes:
        bounds: numbers between which every value lies, where they are known without looking.
    """

    bounds: tuple[float, float] | None = None

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(N, P)."""

    @abstractmethod
    def take(self, index: Tensor) -> Tensor:
        """Return the rows of these numbers, int64 ``[B]`` to ``[B, P]``; a fresh tensor."""

    @abstractmethod
    def subset(self, index: Tensor | slice) -> Tensor | Store:
        """Return some of the rows, to become the values of another table."""

    def between(self, start: int, stop: int) -> Tensor:
        """Return consecutive rows ``[stop - start, P]``; they may share memory with the store."""
        return self.take(torch.arange(start, stop))

    def pieces(self) -> Iterator[Tensor]:
        """Yield every value that is not zero, and a zero if there is one, in any shape."""
        return (self.between(*span) for span in spans(self.shape))

    def shuffled(self, seed: int, epoch: int) -> Permuted | Windowed:
        """Return all rows in a random order that follows from both numbers alone."""
        return Permuted(self.take, self.shape[0], seed, epoch)


@dataclass(frozen=True, eq=False)
class InMemory(Store):
    """A tensor as a store.

    Args:
        values: ``[N, P]``, uint8 or float32, contiguous.
    """

    values: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        return self.values.shape[0], self.values.shape[1]

    def take(self, index: Tensor) -> Tensor:
        """Return the rows of these numbers."""
        return self.values.index_select(0, index.to(self.values.device))

    def subset(self, index: Tensor | slice) -> Tensor:
        """Return some of the rows; a slice is a view."""
        return self.values[index].contiguous()

    def between(self, start: int, stop: int) -> Tensor:
        """Return consecutive rows, as a view."""
        return self.values[start:stop]

    def shuffled(self, seed: int, epoch: int) -> Permuted:
        """Return all rows in a random order, the same for every device."""
        return Permuted(self.take, self.shape[0], seed, epoch, self.values.device)
