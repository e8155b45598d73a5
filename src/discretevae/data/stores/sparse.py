"""Rows of which most values are zero: only the others are kept, and a batch is unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from discretevae.data.stores.base import Store
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
class Sparse(Store):
    """A matrix of scipy.sparse as a store.

    Args:
        matrix: compressed rows (CSR), uint8 or float32, each place named once and in order.
    """

    matrix: Any

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def take(self, index: Tensor) -> Tensor:
        """Return the rows of these numbers, unpacked."""
        return torch.from_numpy(self.subset(index).matrix.toarray())

    def subset(self, index: Tensor | slice) -> Sparse:
        """Return some of the rows."""
        if isinstance(index, slice):
            return Sparse(self.matrix[index])
        if len(index) and index.min() < 0:  # scipy would count from the end
            raise IndexError(f"rows run from 0 to {self.shape[0] - 1}.")
        return Sparse(self.matrix[index.numpy()])

    def means(self, index: Tensor) -> Tensor:
        """Return the mean of the W rows of each line of numbers ``[B, W]``, ``[B, P]``."""
        import scipy.sparse

        starts, numbers = np.arange(len(index) + 1) * index.shape[1], index.numpy().ravel()
        shares = np.full(index.numel(), 1 / index.shape[1], np.float32)
        averaging = scipy.sparse.csr_array(
            (shares, numbers, starts), shape=(len(index), self.shape[0])
        )
        return torch.from_numpy((averaging @ self.matrix).toarray())

    def pieces(self) -> Iterator[Tensor]:
        """Yield the entries, and a zero if there is one."""
        entries = torch.from_numpy(self.matrix.data)
        if len(entries) < self.shape[0] * self.shape[1]:
            yield entries.new_zeros(1)
        for start in range(0, len(entries), CHUNK):
            yield entries[start : start + CHUNK]


def is_sparse(array: object) -> bool:
    """Return whether this is a matrix of scipy.sparse, without importing it."""
    return type(array).__module__.startswith("scipy.sparse") and hasattr(array, "tocsr")


def from_matrix(
    matrix: Any, name: str, divisor: float | None, scale: object = None
) -> tuple[Sparse, float]:
    """Return a scipy.sparse matrix or array of any format as a store, and its divisor.

    Values of one place are added up. A ``scale`` of ``none`` leaves values as they are, and
    ``auto`` whole numbers that are counts: beyond 1, and not up to 255.
    """
    import scipy.sparse

    if scale not in (None, "auto", "none"):
        raise DataError(
            f"{name}: a sparse matrix, which scaled columns would fill. Pass matrix.toarray(), or "
            "`scale='none'`."
        )
    if len(matrix.shape) != 2:
        raise DataError(f"{name}: rows must come as [rows, features]. Got shape {matrix.shape}.")
    check_shape(matrix.shape, matrix.nnz, name)
    _require_numbers(matrix.dtype, name)
    # converting adds up what is named twice, which float64 holds where bytes do not
    rows = scipy.sparse.csr_array(matrix.astype(float) if matrix.format == "coo" else matrix)
    if not rows.has_canonical_format:
        rows = rows.astype(float)
        rows.sum_duplicates()
    entries = rows.data
    pieces = ((0, entries[i : i + CHUNK][None]) for i in range(0, len(entries), CHUNK))
    try:
        facts = scan(pieces, entries.dtype, name)
    except DataError:
        raise _bad_entry(rows, name) from None
    if len(entries) < matrix.shape[0] * matrix.shape[1]:
        facts = facts.joined(Facts(0.0, 0.0, True))
    high = entries.max(initial=0)  # of bytes the facts do not say
    are_counts = facts.whole and facts.low >= 0 and high > 1 and high != 255
    if scale == "none" or (scale == "auto" and divisor is None and are_counts):
        divisor = 1.0
    dtype, divisor = storage(facts, matrix.dtype, name, divisor=divisor)
    # int32 numbers all entries that there may be
    places = (rows.indices.astype(np.int32), rows.indptr.astype(np.int32))
    kept = (entries.astype(dtype), *places)
    return Sparse(scipy.sparse.csr_array(kept, shape=rows.shape)), divisor


def from_parts(
    kind: str,
    parts: tuple[Array, Array, Array],
    shape: tuple[int, int],
    name: str,
    divisor: float | None,
    scale: object = None,
) -> tuple[Sparse, float]:
    """Return the matrix of which a file holds the parts as a store, and its divisor.

    Parts are values, columns and starts of ``csr``, compressed rows; values, rows and starts of
    ``csc``; values, rows and columns of ``coo``, coordinates. Those that do not fit are refused.
    """
    import scipy.sparse

    entries, first, second = parts
    check_shape(shape, len(entries), name)
    _require_numbers(entries.dtype, name)
    # all is checked here, because scipy trusts its indices and would read beyond its memory
    if any(part.ndim != 1 for part in parts) or not {first.dtype.kind, second.dtype.kind} <= {
        *"iu"
    }:
        described = ", ".join(f"{part.dtype} {part.shape}" for part in parts)
        raise _damaged(name, f"entries and places {described}")
    if len(first) != len(entries):
        raise _damaged(name, f"{len(entries):,} entries with {len(first):,} places")
    _require_places(first, shape[1] if kind == "csr" else shape[0], name)
    if kind == "coo":
        if len(second) != len(entries):
            raise _damaged(name, f"{len(entries):,} entries with {len(second):,} columns")
        _require_places(second, shape[1], name)
    else:
        _require_starts(second, len(entries), shape[0] if kind == "csr" else shape[1], name)
    # sparse matrices know neither other byte orders nor float16
    wide = np.float32 if entries.dtype == np.float16 else entries.dtype.newbyteorder("=")
    entries = entries.astype(wide, copy=False)
    places = (first.astype(np.int64), second.astype(np.int64))
    make = getattr(scipy.sparse, f"{kind}_array")
    matrix = make((entries, places) if kind == "coo" else (entries, *places), shape=shape)
    return from_matrix(matrix, name, divisor, scale)


def check_promise(shape: tuple[int, int], n_entries: int, name: str) -> None:
    """Refuse the table of a file that is large by what it promises, before it is unpacked."""
    check_shape(shape, n_entries, name)
    most = max(MAX_EMPTY_ROWS, ROWS_PER_ENTRY * n_entries)
    if shape[0] > most:
        raise DataError(
            f"{name}: {shape[0]:,} rows with {n_entries:,} entries; at most {most:,} rows are read "
            "of a file with so few. Drop the rows without entries, or fetch it again."
        )


def check_shape(shape: tuple[int, int], n_entries: int, name: str) -> None:
    """Refuse a table of which the rows and entries, or a batch of it, would fill the memory."""
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


def _require_numbers(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind not in "biuf":
        raise DataError(f"{name}: values must be numbers. Got dtype {dtype}.")


def _require_places(places: Array, n: int, name: str) -> None:
    if len(places) and not 0 <= places.min() <= places.max() < n:
        raise _damaged(name, f"entries outside its {n:,} rows or columns")


def _require_starts(starts: Array, n_entries: int, n: int, name: str) -> None:
    if len(starts) != n + 1:
        raise _damaged(name, f"{len(starts):,} starts of {n:,} rows or columns")
    # compared, not subtracted: the difference of two numbers of a damaged file may overflow
    if starts[0] != 0 or starts[-1] != n_entries or (starts[1:] < starts[:-1]).any():
        raise _damaged(name, f"rows or columns that do not share out its {n_entries:,} entries")


def _bad_entry(rows: Any, name: str) -> DataError:
    limit = min(float(np.finfo(kind).max) for kind in (rows.dtype, np.float32))
    at = int(np.flatnonzero(~(np.abs(rows.data) <= limit))[0])
    row = int(np.searchsorted(rows.indptr, at, side="right")) - 1
    return DataError(
        f"{name}: NaN, infinite or too large for float32, the first in row {row}, column "
        f"{rows.indices[at]} (counted from 0). Fill them or drop their rows."
    )


def _damaged(name: str, what: str) -> DataError:
    return DataError(
        f"{name}: not a sound sparse matrix: {what}. Save it again with scipy.sparse.save_npz."
    )
