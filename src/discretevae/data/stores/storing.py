"""From an array, a matrix or a table on disk to stored values, by one table of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from discretevae.config import ImageShape, ScaleMode
from discretevae.data.scale import ColumnScale, choose_scale
from discretevae.data.stores import sparse, streamed
from discretevae.data.stores.base import Store
from discretevae.data.stores.disk import PIECE_BYTES, DiskTable, require_few_rows
from discretevae.data.stores.values import (
    Array,
    as_array,
    picture_shape,
    spans,
    storage,
    table_shape,
)


class Stored(NamedTuple):
    """The values of a table, and how they are to be read: fields of `Rows`."""

    values: Tensor | Store
    divisor: float
    image_shape: ImageShape | None
    name: str
    columns: tuple[str, ...] | None
    scale: ColumnScale | None


def store(
    array: npt.ArrayLike | Tensor | DiskTable,
    *,
    scale: ScaleMode | ColumnScale | None,
    fit_rows: Callable[[int], Tensor] | None,
    divisor: float | None,
    image_shape: ImageShape | None,
    name: str,
    columns: Sequence[str] | None,
    is_table: bool,
    copy: bool,
    weights: Array | None = None,
) -> Stored:
    """Return the values of an array as they are stored; arguments of `Rows.from_array`.

    Raises:
        DataError: as of `Rows.from_array`, or a file that would have to be streamed and cannot.
    """
    names = None if columns is None else tuple(columns)
    if sparse.is_sparse(array):
        matrix, divisor = sparse.from_matrix(array, name, divisor, scale)
        shape = picture_shape(image_shape, matrix.shape[1], name)
        return Stored(matrix, divisor, shape, name, names, None)
    if scale == "none":
        scale, divisor = None, 1.0
    table: DiskTable
    if isinstance(array, DiskTable):
        table = array
        require_few_rows(table.shape[0], table.name)
    else:
        table = ArrayTable(as_array(array, name), name, image_shape, names, is_table=is_table)
    facts = table.facts(None if scale == "auto" else divisor)
    chosen = choose_scale(scale, table, facts, fit_rows, weights)
    if chosen is not None:
        table = ScaledTable(table, chosen)
        facts, divisor = table.facts(None), 1.0
    dtype, divisor = storage(facts, table.dtype, table.name, divisor=divisor)
    values: Tensor | Store
    if isinstance(table, ArrayTable) and not copy:
        # torch warns of memory that must not be written to, such as a mapped file
        values = torch.from_numpy(np.require(table.array, dtype, ["C", "W"]))
    elif table.is_loaded or prod(table.shape) * dtype.itemsize <= streamed.IN_MEMORY_BYTES:
        loaded = np.empty(table.shape, dtype)
        table.read_into(0, loaded)
        values = torch.from_numpy(loaded)
    else:
        table.require_streamable(dtype)
        values = streamed.Streamed(table, dtype, (facts.low, facts.high))
    return Stored(values, divisor, table.image_shape, table.name, table.columns, chosen)


class ArrayTable(DiskTable):
    """An array in memory, read as a table on disk is."""

    is_loaded = True

    def __init__(
        self,
        array: Array,
        name: str,
        image_shape: ImageShape | None,
        columns: tuple[str, ...] | None,
        *,
        is_table: bool,
    ) -> None:
        self.shape, self.image_shape, is_first = table_shape(
            array.shape, array.dtype, image_shape, name
        )
        array = np.moveaxis(array, 1, 3) if is_first else array
        self.array, self.dtype = array.reshape(self.shape), array.dtype
        self.name, self.columns, self.is_table = name, columns, is_table
        self.edges, self.gap = np.array([0, self.shape[0]]), 1

    def pieces(self) -> Iterator[tuple[int, Array]]:
        """Yield the table from top to bottom; nothing is copied."""
        return ((start, self.array[start:stop]) for start, stop in spans(self.shape))

    def read_into(self, start: int, out: Array) -> None:
        """Fill ``out`` with the rows from ``start`` on."""
        out[...] = self.array[start : start + len(out)]


class ScaledTable(DiskTable):
    """A table whose columns are put on a scale as they are read."""

    dtype = np.dtype(np.float32)

    def __init__(self, table: DiskTable, scale: ColumnScale) -> None:
        self.table, self.scale = table, scale
        self.name, self.shape, self.image_shape = table.name, table.shape, table.image_shape
        self.columns, self.edges, self.gap = table.columns, table.edges, table.gap
        self.is_loaded = table.is_loaded

    def read_into(self, start: int, out: Array) -> None:
        """Fill ``out`` with the rows from ``start`` on, piece by piece."""
        step = max(1, PIECE_BYTES // (8 * self.shape[1]))
        for first in range(0, len(out), step):
            part = out[first : first + step]
            values = np.empty(part.shape, self.table.dtype)
            self.table.read_into(start + first, values)
            part[...] = self.scale.apply(values)

    def require_streamable(self, dtype: np.dtype[Any]) -> None:
        """Refuse what the table itself refuses."""
        self.table.require_streamable(self.table.dtype)

    def will_read(self, runs: Sequence[tuple[int, int]]) -> None:
        """Announce the rows to the table."""
        self.table.will_read(runs)
