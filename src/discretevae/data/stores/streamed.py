"""Rows that stay on disk, and are read at use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from discretevae.data.stores.base import Store
from discretevae.data.stores.disk import DiskTable, Index
from discretevae.data.stores.shuffling import BlockOrder, Windowed
from discretevae.data.stores.values import Array

IN_MEMORY_BYTES = 2**30
"""A table whose stored values take more than this is not loaded but streamed."""

WINDOW_BYTES = 64 << 20
"""Rows that are shuffled together. Two such windows are held: one in use, one being read."""


@dataclass(frozen=True, eq=False)
class Streamed(Store):
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
        """Return the rows of these numbers."""
        if self._kept is not None:
            return self._kept.index_select(0, index)
        chosen: Index = index.numpy()
        if self.selection is not None:
            if len(chosen) and chosen.min() < 0:  # NumPy would count from the end
                raise IndexError(
                    f"{self.table.name}: rows run from 0 to {len(self.selection) - 1}."
                )
            chosen = self.selection[chosen]
        return self._read(chosen)

    def subset(self, index: Tensor | slice) -> Streamed:
        """Return some of the rows; nothing is read."""
        place = index if isinstance(index, slice) else index.numpy()
        rows = np.arange(self.table.shape[0]) if self.selection is None else self.selection
        return replace(self, selection=rows[place])

    def between(self, start: int, stop: int) -> Tensor:
        """Return consecutive rows."""
        if self._kept is not None:
            return self._kept[start:stop]
        if self.selection is not None:
            return self._read(self.selection[start:stop])
        out: Array = np.empty((stop - start, self.table.shape[1]), self.dtype)
        if len(out):
            self.table.read_into(start, out)
        return torch.from_numpy(out)

    def shuffled(self, seed: int, epoch: int) -> Windowed:
        """Return all rows in the random order of blocks and windows."""
        edges, chosen, places = self.table.edges, self.selection, self._file_order
        if chosen is not None:
            chosen = chosen if places is None else chosen[places]
            edges = np.searchsorted(chosen, edges)
        order = BlockOrder(
            torch.from_numpy(edges), max(1, WINDOW_BYTES // self._row_bytes), seed, epoch
        )

        def read(rows: Tensor) -> Tensor:
            numbers: Index = rows.numpy()
            return self._read(numbers if chosen is None else chosen[numbers])

        return Windowed(order, read, None if places is None else torch.from_numpy(places))

    def _read(self, chosen: Index) -> Tensor:
        return torch.from_numpy(self.table.rows(chosen, self.dtype))

    @property
    def _row_bytes(self) -> int:
        return self.table.shape[1] * self.dtype.itemsize

    @cached_property
    def _kept(self) -> Tensor | None:
        """Few rows: read once, at first use, and then kept."""
        if self.selection is None or len(self.selection) * self._row_bytes > WINDOW_BYTES:
            return None
        return self._read(self.selection)

    @cached_property
    def _file_order(self) -> Index | None:
        """The places of the selection in the order of the file; None where they are in order."""
        chosen = self.selection
        if chosen is None or (chosen[1:] >= chosen[:-1]).all():
            return None
        return np.argsort(chosen, kind="stable")
