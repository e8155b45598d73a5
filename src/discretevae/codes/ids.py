"""The numbers by which rows of an index are known: given, counted on, looked for."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from discretevae.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]


def read_ids(path: Path) -> Array:
    """Whole numbers of a ``.npy`` file, int64 ``[N]``.

    Raises:
        DataError: the file is missing, no ``.npy``, or holds something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy guesses at odd headers, and warns that it did
            ids = np.load(path, allow_pickle=False, mmap_mode="r")
            return as_ids(ids)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Check the path.") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:
        # a damaged header makes numpy raise almost anything, MemoryError and TokenError too
        reason = next(iter(str(error).splitlines()), "truncated").rstrip(".")
        if "allow_pickle" in reason:  # numpy's advice for what has no header of its own
            reason = "it has no header of one"
        raise DataError(
            f"{path}: no readable .npy file ({reason}). Save whole numbers with numpy.save."
        ) from None


def as_ids(ids: Any) -> Array:
    """Ids as int64 ``[N]``.

    Raises:
        DataError: they are not whole numbers from 0 to 2^63 − 1, or not in one row.

    Example:
        >>> as_ids([3, 1])
        array([3, 1])
    """
    array = np.asarray(ids)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise DataError(f"ids must be whole numbers [rows]. Got {array.dtype} {list(array.shape)}.")
    if array.size and (int(array.min()) < 0 or int(array.max()) >= 2**63):
        raise DataError(f"ids must be from 0 to 2**63 - 1. Got {array.min()} to {array.max()}.")
    return array.astype(np.int64)


def ids_for(ids: Any, n: int, first: int) -> Array:
    """The ids of n rows: those given, or numbers from ``first`` on.

    Raises:
        DataError: not whole numbers, not one for each row, or two alike.
    """
    if ids is None:
        if first > 2**63 - 1 - n:
            raise DataError("no numbers are left behind the largest id. Give ids.")
        return np.arange(first, first + n, dtype=np.int64)
    numbers = as_ids(ids)
    if len(numbers) != n:
        raise DataError(f"{len(numbers):,} ids for {n:,} rows. Give one for each row.")
    require_distinct(numbers)
    return numbers


def ids_beside(ids: Any, n: int, taken: Array) -> Array:
    """The ids of n further rows, int64 ``[n]``: those given, or numbers behind the largest taken.

    Args:
        ids: n whole numbers, or None.
        n: further rows.
        taken: int64 ``[N]``, at least one.

    Raises:
        DataError: as for `ids_for`, or some are taken.

    Example:
        >>> ids_beside(None, 2, np.array([7, 3]))
        array([8, 9])
    """
    numbers = ids_for(ids, n, int(taken.max()) + 1)
    known = np.intersect1d(numbers, taken)
    if len(known):
        raise DataError(
            f"ids must be new, but {_named(known)} there already. Remove them first, or give "
            "other ids."
        )
    return numbers


def places_of(ids: Array, stored: Array) -> Array:
    """Where ids stand among those that are stored, int64 ``[n]``.

    Args:
        ids: int64 ``[n]``.
        stored: int64 ``[N]``, no two alike; they need not rise.

    Raises:
        DataError: some do not stand there.

    Example:
        >>> places_of(np.array([4, 9]), np.array([9, 2, 4]))
        array([2, 0])
    """
    order = np.argsort(stored, kind="stable") if is_unsorted(stored) else None
    ranked = stored if order is None else stored[order]
    at = np.minimum(np.searchsorted(ranked, ids), len(ranked) - 1)
    missing = ids[ranked[at] != ids]
    if len(missing):
        raise DataError(f"ids must be in the index, but {_named(missing)} not.")
    places: Array = at if order is None else order[at]
    return places


def in_order_of_ids(codes: Array, ids: Array) -> tuple[Array, Array]:
    """Rows sorted by id, so that the first of several equally far has the least.

    Args:
        codes: packed codes ``[N, ·]``.
        ids: theirs, int64 ``[N]``.
    """
    if not is_unsorted(ids):
        return codes, ids
    order = np.argsort(ids, kind="stable")
    return codes[order], ids[order]


def require_distinct(ids: Array) -> None:
    """Refuses ids of which two are alike.

    Raises:
        DataError: two are; some of them are named.
    """
    if is_unsorted(ids):
        values, counts = np.unique(ids, return_counts=True)
        if len(values) != len(ids):
            raise DataError(f"ids must differ, but {_named(values[counts > 1])} there twice.")


def is_unsorted(ids: Array) -> bool:
    """Whether they do not rise from each to the next."""
    return bool((ids[1:] <= ids[:-1]).any())


def _named(ids: Array) -> str:
    """The first few of some ids and their verb, for a message.

    Example:
        >>> _named(np.array([3])), _named(np.array([3, 5]))
        ('3 is', '3, 5 are')
    """
    shown = ", ".join(str(number) for number in ids[:3].tolist())
    verb = "is" if len(ids) == 1 else "are"
    return f"{shown} {verb}" if len(ids) <= 3 else f"{shown}, … ({len(ids):,}) are"


__all__ = [
    "as_ids",
    "ids_beside",
    "ids_for",
    "in_order_of_ids",
    "is_unsorted",
    "places_of",
    "read_ids",
    "require_distinct",
]
