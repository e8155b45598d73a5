"""Rows of which most values are zero: only the others are kept, and a batch is unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from discretevae.data.stores.base import Permuted
from discretevae.data.stores.values import CHUNK, Array, Facts, scan, storage
from discretevae.errors import DataError

MAX_FEATURES = 1 << 20
"""A batch is unpacked to full rows: more features than this would fill the memory."""

MAX_EMPTY_ROWS = 1 << 20
"""A row without entries takes next to nothing of a file, but memory: so many are always fine."""

ROWS_PER_ENTRY = 16
"""Above `MAX_EMPTY_ROWS`, a file must hold an entry for every so many rows."""

MAX_ROWS_AND_ENTRIES = 1 << 29
"""Of both together, in memory or in a file; each takes some numbers of 8 bytes while it is read."""


@dataclass(frozen=True, eq=False)
class Sparse:
    """A table in compressed rows (CSR) as a store.

    Args:
        n_features: P.
        starts: int64 ``[N + 1]``: row n has the entries from ``starts[n]`` to ``starts[n + 1]``.
        columns: of every entry, int32; ascending within a row.
        entries: the values that are not zero, uint8 or float32.
    """

    n_features: int
    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    entries: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        return len(self.starts) - 1, self.n_features

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest value."""
        ends = [(float(piece.min()), float(piece.max())) for piece in self.pieces()]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def take(self, index: Tensor) -> Tensor:
        """The rows of these numbers, unpacked."""
        picked = self._rows(index.numpy())
        values = np.zeros((len(index), self.n_features), self.entries.dtype)
        values[np.repeat(np.arange(len(index)), np.diff(picked.starts)), picked.columns] = (
            picked.entries
        )
        return torch.from_numpy(values)

    def between(self, start: int, stop: int) -> Tensor:
        """Consecutive rows, unpacked."""
        return self.take(torch.arange(start, stop))

    def subset(self, index: Tensor | slice) -> Sparse:
        """Some of the rows."""
        if isinstance(index, slice):
            return self._rows(np.arange(*index.indices(self.shape[0])))
        return self._rows(index.numpy())

    def pieces(self) -> Iterator[Tensor]:
        """The entries, and a zero if there is one."""
        if len(self.entries) < self.shape[0] * self.n_features:
            yield torch.zeros(1, dtype=torch.from_numpy(self.entries[:0]).dtype)
        for start in range(0, len(self.entries), CHUNK):
            yield torch.from_numpy(self.entries[start : start + CHUNK])

    def shuffled(self, seed: int, epoch: int) -> Permuted:
        """All rows in a random order."""
        return Permuted.drawn(self, seed, epoch)

    def _rows(self, index: npt.NDArray[np.int64]) -> Sparse:
        if len(index) and not 0 <= index.min() <= index.max() < self.shape[0]:
            raise IndexError(f"rows run from 0 to {self.shape[0] - 1}.")
        first = self.starts[index]
        sizes = self.starts[index + 1] - first
        starts = np.concatenate([np.zeros(1, np.int64), sizes.cumsum()])
        at = np.repeat(first - starts[:-1], sizes) + np.arange(starts[-1])
        return Sparse(self.n_features, starts, self.columns[at], self.entries[at])


def is_sparse(array: object) -> bool:
    """Whether this is a matrix of scipy.sparse, found out without importing it."""
    return type(array).__module__.startswith("scipy.sparse") and hasattr(array, "tocsr")


def from_matrix(matrix: Any, name: str, divisor: float | None) -> tuple[Sparse, float]:
    """A scipy.sparse matrix or array of any format, and its divisor.

    Raises:
        DataError: as for `from_compressed`, and more or fewer than two axes.
    """
    if len(matrix.shape) != 2:
        raise DataError(f"{name}: rows must come as [rows, features]. Got shape {matrix.shape}.")
    rows = matrix.tocsr()
    return from_compressed(rows.indptr, rows.indices, rows.data, rows.shape, name, divisor)


def from_compressed(
    starts: Array,
    columns: Array,
    entries: Array,
    shape: tuple[int, int],
    name: str,
    divisor: float | None,
) -> tuple[Sparse, float]:
    """A table from the three arrays of its compressed rows, checked, and its divisor.

    Args:
        starts: where each row begins among the entries, and where the last one ends: ``[N + 1]``.
        columns: the column of each entry.
        entries: the values; those of one place are added up.
        shape: (N, P).
        name: starts every message.
        divisor: as for `Rows.from_array`.

    Raises:
        DataError: empty, too wide, arrays that do not fit together, or values that are refused
            anywhere.
    """
    check_shape(shape, len(entries), name)
    _check_entries(columns, entries, shape[1], name)
    row = expanded(starts, len(entries), shape[0], name)
    columns = columns.astype(np.int32, copy=False)
    # a place named twice, or columns out of order
    if ((columns[1:] <= columns[:-1]) & (row[1:] == row[:-1])).any():
        return from_coordinates(row, columns, entries, shape, name, divisor)
    pieces = ((0, entries[i : i + CHUNK][None]) for i in range(0, len(entries), CHUNK))
    try:
        facts = scan(pieces, entries.dtype, name)
    except DataError:
        raise _bad_entry(starts, columns, entries, name) from None
    if len(entries) < shape[0] * shape[1]:
        facts = facts.joined(Facts(0.0, 0.0, True))
    dtype, divisor = storage(facts, entries.dtype, name, divisor=divisor)
    return Sparse(shape[1], starts.astype(np.int64), columns, entries.astype(dtype)), divisor


def from_coordinates(
    row: Array,
    column: Array,
    entries: Array,
    shape: tuple[int, int],
    name: str,
    divisor: float | None,
) -> tuple[Sparse, float]:
    """A table from the row, the column and the value of each entry, in any order.

    Raises:
        DataError: as for `from_compressed`.
    """
    check_shape(shape, len(entries), name)
    _check_entries(column, entries, shape[1], name)
    if len(row) != len(entries) or (len(row) and not 0 <= row.min() <= row.max() < shape[0]):
        raise _damaged(name, f"entries outside its {shape[0]:,} rows")
    place = row.astype(np.int64) * shape[1] + column
    order = np.argsort(place, kind="stable")
    place, entries = place[order], entries[order]
    first = np.flatnonzero(np.diff(place, prepend=-1))
    if len(first) < len(place):
        # in a dtype that holds the sums; one that is too large is told by its place later
        with np.errstate(over="ignore", invalid="ignore"):
            entries = np.add.reduceat(entries.astype(np.float64), first)
        place = place[first]
    starts = np.searchsorted(place, np.arange(shape[0] + 1) * shape[1])
    return from_compressed(starts, place % shape[1], entries, shape, name, divisor)


def expanded(starts: Array, n_entries: int, n: int, name: str) -> npt.NDArray[np.int32]:
    """The row of each entry from where each of n rows begins; or columns, where those do.

    Raises:
        DataError: the rows do not share out the entries.
    """
    if starts.shape != (n + 1,) or starts.dtype.kind not in "iu":
        raise _damaged(name, f"starts {starts.dtype} {starts.shape} of {n:,} rows or columns")
    # compared, not subtracted: the difference of two numbers of a damaged file may overflow
    if starts[0] != 0 or starts[-1] != n_entries or (starts[1:] < starts[:-1]).any():
        raise _damaged(name, f"rows or columns that do not share out its {n_entries:,} entries")
    ends = starts.astype(np.int64)
    return np.repeat(np.arange(n, dtype=np.int32), ends[1:] - ends[:-1])


def check_promise(shape: tuple[int, int], n_entries: int, name: str) -> None:
    """Refuses the table of a file that is large by what it promises, before it is unpacked.

    Args:
        shape: (N, P) as the file says.
        n_entries: E, how many entries it holds.
        name: starts every message.

    Raises:
        DataError: as for `check_shape`; or N above both `MAX_EMPTY_ROWS` and `ROWS_PER_ENTRY` E.

    Example:
        >>> check_promise((1000, 16), 5, "words.npz")
        >>> check_promise((100_000_000, 16), 5, "words.npz")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        discretevae.errors.DataError: words.npz: 100,000,000 rows with 5 entries; at most ...
    """
    check_shape(shape, n_entries, name)
    most = max(MAX_EMPTY_ROWS, ROWS_PER_ENTRY * n_entries)
    if shape[0] > most:
        raise DataError(
            f"{name}: {shape[0]:,} rows with {n_entries:,} entries; at most {most:,} rows are read "
            "of a file with so few. Drop the rows without entries, or fetch it again."
        )


def check_shape(shape: tuple[int, int], n_entries: int, name: str) -> None:
    """Refuses a table of which the rows and entries, or a batch of it, would fill the memory.

    Raises:
        DataError: no rows or features, P above `MAX_FEATURES`, or N + E above
            `MAX_ROWS_AND_ENTRIES`.
    """
    n_features = shape[1]
    if min(shape) < 1:
        raise DataError(f"{name}: no values in an array of shape {shape}. Give at least 1 row.")
    if n_features > MAX_FEATURES:
        raise DataError(
            f"{name}: rows of {n_features:,} values; at most {MAX_FEATURES:,} are read, because a "
            "batch is unpacked to full rows. Keep the columns that occur most."
        )
    if shape[0] + n_entries > MAX_ROWS_AND_ENTRIES:
        raise DataError(
            f"{name}: {shape[0]:,} rows with {n_entries:,} entries; at most "
            f"{MAX_ROWS_AND_ENTRIES:,} of both together are read. Split the table."
        )


def _check_entries(columns: Array, entries: Array, n_features: int, name: str) -> None:
    if entries.dtype.kind not in "biuf":
        raise DataError(f"{name}: values must be numbers. Got dtype {entries.dtype}.")
    if not (entries.ndim == columns.ndim == 1 and columns.dtype.kind in "iu"):
        raise _damaged(name, f"entries {entries.shape} and columns {columns.shape}")
    if len(columns) != len(entries):
        raise _damaged(name, f"{len(entries):,} entries with {len(columns):,} columns")
    if len(columns) and not 0 <= columns.min() <= columns.max() < n_features:
        raise _damaged(name, f"entries outside its {n_features:,} columns")


def _bad_entry(starts: Array, columns: Array, entries: Array, name: str) -> DataError:
    limit = min(float(np.finfo(kind).max) for kind in (entries.dtype, np.float32))
    at = int(np.flatnonzero(~(np.abs(entries) <= limit))[0])
    row = int(np.searchsorted(starts, at, side="right")) - 1
    return DataError(
        f"{name}: NaN, infinite or too large for float32, the first in row {row}, column "
        f"{columns[at]} (counted from 0). Fill them or drop their rows."
    )


def _damaged(name: str, what: str) -> DataError:
    return DataError(
        f"{name}: not a sound sparse matrix: {what}. Save it again with scipy.sparse.save_npz."
    )
