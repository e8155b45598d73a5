"""Tables on disk that are read block by block: what a file, or a folder of them, offers.

Files are read, not mapped: pages of a mapped file count as resident memory, and a mapped file
that is cut short while it is read ends the whole process.
"""

from __future__ import annotations

import bisect
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from discretevae.config import ImageShape
from discretevae.data.stores.values import MAX_BYTES, Array, Facts, scan
from discretevae.errors import DataError

PIECE_BYTES = 4 << 20
"""A file that is read from end to end is read in such pieces."""

Index = npt.NDArray[np.int64]


class DiskTable(ABC):
    """N rows of P numbers on disk.

    Attributes:
        name: where it lies; starts every message.
        shape: (N, P).
        dtype: of the values as the file has them.
        image_shape: of rows that are pictures, if the file says so.
        columns: names of the features if the file has any.
        edges: int64 ``[M + 1]``: block m holds the rows from ``edges[m]`` up to ``edges[m + 1]``.
        gap: rows between two, up to which both are read in one go.
        is_table: whether it has columns, whose dtypes say nothing of grey values.
        is_loaded: whether it lies in memory after all.
    """

    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    image_shape: ImageShape | None
    columns: tuple[str, ...] | None = None
    edges: Index
    gap: int
    is_table: bool = False
    is_loaded: bool = False

    @abstractmethod
    def read_into(self, start: int, out: Array) -> None:
        """Fill ``out`` with the rows from ``start`` on.

        Args:
            start: number of the first row.
            out: ``[n, P]`` of any dtype that holds the values.

        Raises:
            DataError: they can no longer be read, or the file is not what it was.
        """

    def facts(self, divisor: float | None) -> Facts:
        """Look at every value, in pieces, unless bytes make that needless.

        Raises:
            DataError: NaN, infinite or too large; the first row with one is named.
        """
        return scan(self.pieces(), self.dtype, self.name, divisor=divisor)

    def pieces(self) -> Iterator[tuple[int, Array]]:
        """Yield the table from top to bottom: the number of the first row, and rows."""
        n_rows, n_features = self.shape
        step = max(1, PIECE_BYTES // (n_features * self.dtype.itemsize))
        for start in range(0, n_rows, step):
            part = np.empty((min(step, n_rows - start), n_features), self.dtype)
            self.read_into(start, part)
            yield start, part

    def require_streamable(self, dtype: np.dtype[Any]) -> None:  # noqa: B027 - most are
        """Refuse a file of which a few rows cannot be read without many others (`DataError`)."""

    def will_read(self, runs: Sequence[tuple[int, int]]) -> None:  # noqa: B027 - advice only
        """Announce the rows that are read next, so that the disk can work ahead."""

    def rows(self, index: Index, dtype: np.dtype[Any]) -> Array:
        """Return the rows of these numbers, in this order: ``[B, P]``.

        Near ones are read together, whatever their order, and never more than a block.

        Raises:
            IndexError: a number below 0 or not below N.
            DataError: as for `read_into`.
        """
        out = np.empty((len(index), self.shape[1]), dtype)
        if not len(index):
            return out
        if not 0 <= index.min() <= index.max() < self.shape[0]:
            raise IndexError(f"{self.name}: rows run from 0 to {self.shape[0] - 1}.")
        steps, order = np.diff(index), None
        if (steps < 0).any():
            order = np.argsort(index, kind="stable")
            index = index[order]
            steps = np.diff(index)
        block = np.searchsorted(self.edges, index, side="right")
        cuts = np.flatnonzero((steps > self.gap) | (np.diff(block) != 0)) + 1
        ends = [0, *cuts.tolist(), len(index)]
        runs = [(int(index[i]), int(index[j - 1]) + 1) for i, j in itertools.pairwise(ends)]
        if len(runs) > 1:
            self.will_read(runs)
        for (i, j), (start, stop) in zip(itertools.pairwise(ends), runs, strict=True):
            if order is None and (steps[i : j - 1] == 1).all():
                self.read_into(start, out[i:j])
                continue
            buffer = np.empty((stop - start, self.shape[1]), dtype)
            self.read_into(start, buffer)
            places = slice(i, j) if order is None else order[i:j]
            out[places] = buffer[index[i:j] - start]
        return out


class Stamp(NamedTuple):
    """Size and time of change of a file when it was opened first."""

    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp of a file."""
        return cls(status.st_size, status.st_mtime_ns)

    def require(self, status: os.stat_result, name: str) -> None:
        """Refuse a file that has changed: its values were checked once, and only then.

        Raises:
            DataError: another size or time of change.
        """
        now = Stamp.of(status)
        if now != self:
            what = f"{now.size:,} bytes, not {self.size:,}" if now.size != self.size else "new time"
            raise DataError(f"{name}: changed while it was in use ({what}). Start again.")


class Shards(DiskTable):
    """Several tables as one, their rows one after the other.

    Args:
        name: starts every message about all of them.
        tables: at least one; all of one width and dtype.
    """

    def __init__(self, name: str, tables: Sequence[DiskTable]) -> None:
        self.name, self.tables = name, tuple(tables)
        self.dtype, self.image_shape = tables[0].dtype, tables[0].image_shape
        self.is_table = tables[0].is_table
        self.columns = next((table.columns for table in tables if table.columns), None)
        self.starts = [0, *itertools.accumulate(table.shape[0] for table in tables)]
        self.shape = (self.starts[-1], tables[0].shape[1])
        shifted = [
            table.edges[1:] + start for table, start in zip(tables, self.starts, strict=False)
        ]
        self.edges = np.concatenate([np.zeros(1, np.int64), *shifted])
        self.gap = max(table.gap for table in tables)

    def facts(self, divisor: float | None) -> Facts:
        """Return the facts of all; messages name the shard, and count the rows in it."""
        first, *others = (table.facts(divisor) for table in self.tables)
        for facts in others:
            first = first.joined(facts)
        return first

    def read_into(self, start: int, out: Array) -> None:
        """Fill ``out`` with the rows from ``start`` on, of as many shards as they lie in."""
        for table, first, stop, begin in self._parts(start, start + len(out)):
            table.read_into(first, out[begin : begin + stop - first])

    def will_read(self, runs: Sequence[tuple[int, int]]) -> None:
        """Announce the rows to their shards; a run lies in one, and runs ascend."""
        for number, own in itertools.groupby(runs, lambda run: self._number_of(run[0])):
            begin = self.starts[number]
            self.tables[number].will_read([(start - begin, stop - begin) for start, stop in own])

    def require_streamable(self, dtype: np.dtype[Any]) -> None:
        """Refuse shards of which one cannot be streamed."""
        for table in self.tables:
            table.require_streamable(dtype)

    def _parts(self, start: int, stop: int) -> Iterator[tuple[DiskTable, int, int, int]]:
        """Yield each table, first and last row in it, and their place in the range."""
        at = start
        while at < stop:
            number = self._number_of(at)
            begin, end = self.starts[number], min(self.starts[number + 1], stop)
            yield self.tables[number], at - begin, end - begin, at - start
            at = end

    def _number_of(self, row: int) -> int:
        return bisect.bisect_right(self.starts, row) - 1


def require_few_rows(n_rows: int, name: str) -> None:
    """Refuse more rows than their numbers can be held of (`DataError`)."""
    most = MAX_BYTES // 8
    if n_rows > most:
        raise DataError(f"{name}: {n_rows:,} rows; at most {most:,} are read. Split it.")
