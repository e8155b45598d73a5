"""Ids of rows in an index: read, given or counted on, and looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from discretevae.codes.packed import map_npy
from discretevae.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]


def read_ids(path: Path) -> Array:
    """Read whole numbers from a ``.npy`` file, int64 ``[N]``.

    Raises:
        DataError: the file is missing, no ``.npy``, or holds something else.
    """
    ids = map_npy(path, "Save whole numbers with numpy.save.")
    try:
        return as_ids(ids)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def as_ids(ids: Any) -> Array:
    """Return ids as int64 ``[N]``.

    Raises:
        DataError: they are not whole numbers from 0 to 2^63 − 1, or not in one row.
    """
    array = np.asarray(ids)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise DataError(f"ids must be whole numbers [rows]. Got {array.dtype} {list(array.shape)}.")
    if array.size and (int(array.min()) < 0 or int(array.max()) >= 2**63):
        raise DataError(f"ids must be from 0 to 2**63 - 1. Got {array.min()} to {array.max()}.")
    return array.astype(np.int64)


def new_ids(ids: Any, n: int, taken: Array | None = None) -> Array:
    """Return the ids of n rows, int64 ``[n]``: those given, or the numbers behind the largest.

    Args:
        ids: n whole numbers, or None.
        n: rows that get an id.
        taken: ids of other rows, int64 ``[N]``; None if there are none.

    Raises:
        DataError: not whole numbers, not one for each row, two alike, or some are taken.
    """
    if ids is None:
        first = 0 if taken is None else int(taken.max()) + 1
        if first > 2**63 - 1 - n:
            raise DataError("no numbers are left behind the largest id. Give ids.")
        return np.arange(first, first + n, dtype=np.int64)
    numbers = as_ids(ids)
    if len(numbers) != n:
        raise DataError(f"{len(numbers):,} ids for {n:,} rows. Give one for each row.")
    require_distinct(numbers)
    if taken is not None and len(known := np.intersect1d(numbers, taken)):
        raise DataError(
            f"ids must be new, but {_named(known)} there already. Remove them first, or give "
            "other ids."
        )
    return numbers


def places_of(ids: Array, stored: Array) -> Array:
    """Return the places of ids ``[n]`` among rising stored ones ``[N]``, int64 ``[n]``.

    Raises:
        DataError: some are not there.
    """
    places = np.minimum(np.searchsorted(stored, ids), len(stored) - 1)
    missing = ids[stored[places] != ids]
    if len(missing):
        raise DataError(f"ids must be in the index, but {_named(missing)} not.")
    return places


def require_distinct(ids: Array) -> None:
    """Refuse ids of which two are alike.

    Raises:
        DataError: two are; some of them are named.
    """
    values, counts = np.unique(ids, return_counts=True)
    if len(values) != len(ids):
        raise DataError(f"ids must differ, but {_named(values[counts > 1])} there twice.")


def _named(ids: Array) -> str:
    """Return the first few of some ids and their verb, for a message."""
    shown = ", ".join(str(number) for number in ids[:3].tolist())
    verb = "is" if len(ids) == 1 else "are"
    return f"{shown} {verb}" if len(ids) <= 3 else f"{shown}, … ({len(ids):,}) are"
