"""Rows that stay on disk, and are read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from discretevae.data.stores.disk import PIECE_BYTES, DiskTable, Index
from discretevae.data.stores.shuffling import BlockOrder, Windowed
from discretevae.data.stores.values import Array

IN_MEMORY_BYTES = 2**30
"""A table whose stored values take more than this is not loaded but streamed."""

WINDOW_BYTES = 64 << 20
"""Rows that are shuffled together. Two such windows are held: one in use, one being read."""


@dataclass(frozen=True, eq=False)
class Streamed:
    """A table on disk, or some of its rows, as a store.

    Args:
        table: where the rows lie.
        dtype: what values are stored as: uint8 or float32.
        bounds: two numbers between which all values of the table lie.
        selection: the rows' numbers, int64 ``[N]``, 8 bytes for each; None for all rows.
    """

    table: DiskTable
    dtype: np.dtype[Any]
    bounds: tuple[float, float]
    selection: Index | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        n_rows, n_features = self.table.shape
        return n_rows if self.selection is None else len(self.selection), n_features

    def take(self, index: Tensor) -> Tensor:
        """The rows of these numbers."""
        if self._kept is not None:
            return self._kept.index_select(0, index)
        chosen: Index = index.numpy()
        if self.selection is not None:
            if len(chosen) and chosen.min() < 0:  # NumPy would count from the end
                raise IndexError(f"{self.table.name}: row {chosen.min()} is asked for.")
            chosen = self.selection[chosen]
        return torch.from_numpy(self.table.rows(chosen, self.dtype))

    def between(self, start: int, stop: int) -> Tensor:
        """Consecutive rows."""
        if self._kept is not None:
            return self._kept[start:stop]
        if self.selection is not None:
            return torch.from_numpy(self.table.rows(self.selection[start:stop], self.dtype))
        out: Array = np.empty((stop - start, self.table.shape[1]), self.dtype)
        if len(out):
            self.table.read_into(start, out)
        return torch.from_numpy(out)

    def subset(self, index: Tensor | slice) -> Streamed:
        """Some of the rows; nothing is read."""
        if self.selection is not None:
            chosen = self.selection[index if isinstance(index, slice) else index.numpy()]
        elif isinstance(index, slice):
            chosen = np.arange(*index.indices(self.table.shape[0]), dtype=np.int64)
        else:
            chosen = index.numpy()
        return replace(self, selection=chosen)

    def pieces(self) -> Iterator[Tensor]:
        """The rows from top to bottom."""
        n_rows, step = self.shape[0], max(1, PIECE_BYTES // self._row_bytes)
        return (self.between(i, min(i + step, n_rows)) for i in range(0, n_rows, step))

    def shuffled(self, seed: int, epoch: int) -> Windowed:
        """All rows in the random order of blocks and windows."""
        edges, ascending = self.table.edges, self._ascending
        if ascending is not None:
            edges = np.searchsorted(ascending, edges)
        rows = max(1, WINDOW_BYTES // self._row_bytes)
        order = BlockOrder(torch.from_numpy(edges), rows, seed, epoch)

        def read(places: Tensor) -> Tensor:
            chosen: Index = places.numpy()
            chosen = chosen if ascending is None else ascending[chosen]
            return torch.from_numpy(self.table.rows(chosen, self.dtype))

        return Windowed(order, read)

    @property
    def _row_bytes(self) -> int:
        return self.table.shape[1] * self.dtype.itemsize

    @cached_property
    def _kept(self) -> Tensor | None:
        """Few rows: read once, when the first of them is asked for, and then kept."""
        if self.selection is None or len(self.selection) * self._row_bytes > WINDOW_BYTES:
            return None
        return torch.from_numpy(self.table.rows(self.selection, self.dtype))

    @cached_property
    def _ascending(self) -> Index | None:
        """The selection in the order of the file; who shuffles need not know any other."""
        chosen = self.selection
        return chosen if chosen is None or (chosen[1:] >= chosen[:-1]).all() else np.sort(chosen)
