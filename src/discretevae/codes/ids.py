"""Ids of rows: those of the data, read, given or counted on, and looked up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from discretevae.codes.packed import map_npy
from discretevae.errors import DataError
from discretevae.system.arrays import Array

if TYPE_CHECKING:
    from discretevae.data import Rows


def ids_of(rows: Rows) -> Array:
    """Return the ids of rows as int64 or as texts ``[N]``; numbers in the source for want of ids.

    Texts are Python's, in an array of objects: one long id does not make all of them long.
    """
    ids = rows.row_ids
    if ids.dtype.kind in "iu" and not (ids.size and int(ids.max()) >= 2**63):
        return ids.astype(np.int64)
    return as_names([str(each) for each in ids.tolist()])


def as_names(names: list[str]) -> Array:
    """Return texts as an array of objects, ``[N]``."""
    array = np.empty(len(names), object)
    array[:] = names
    return array


def are_counted(ids: Array) -> bool:
    """Return whether ids are 0 … N − 1, which say no more than the order of the rows does."""
    return ids.dtype.kind == "i" and bool((ids == np.arange(len(ids))).all())


def short_name(name: object, most: int = 40) -> str:
    r"""Return a name on one line and of so many characters at most, shortened in the middle.

    The name of a file stays whole where it has room.

    Example:
        >>> short_name("class 9/img295.png", 15)
        'cla…/img295.png'
        >>> short_name("holiday/beach-at-sunset-0012.png", 20), short_name("a\tb"), short_name(7)
        ('holiday/b…t-0012.png', 'a\\tb', '7')
    """
    text = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(name)
    )
    if len(text) <= most:
        return text
    file = text.rpartition("/")[2]
    head = most - len(file) - 2
    if head >= 0 and len(file) < len(text):
        return f"{text[:head]}…/{file}"
    head = (most - 1) // 2
    return f"{text[:head]}…{text[head + 1 - most :]}"


def read_ids(path: Path, *, or_names: bool = False) -> Array:
    """Read whole numbers from a ``.npy`` file, int64 ``[N]``; texts too where names will do."""
    ids = map_npy(path, "Save whole numbers with numpy.save.")
    if or_names and isinstance(ids, np.ndarray) and ids.dtype.kind == "U" and ids.ndim == 1:
        return as_names(ids.tolist())
    try:
        return as_ids(ids)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def as_ids(ids: Any) -> Array:
    """Return ids as int64 ``[N]``; refuse all but whole numbers from 0 to 2^63 − 1."""
    array = np.asarray(ids)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise DataError(f"ids must be whole numbers [rows]. Got {array.dtype} {list(array.shape)}.")
    if array.size and (int(array.min()) < 0 or int(array.max()) >= 2**63):
        raise DataError(f"ids must be from 0 to 2**63 - 1. Got {array.min()} to {array.max()}.")
    return array.astype(np.int64)


def new_ids(ids: Any, n: int, taken: Array | None = None) -> Array:
    """Return the ids of n rows, int64 ``[n]``: those given, or the numbers behind the largest.

    ``taken`` are ids of other rows, int64 ``[N]``. Ids that are no whole numbers, not one for each
    row, or not new are refused (`DataError`).
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
    """Return the places of ids ``[n]`` among rising stored ones, int64 ``[n]`` (`DataError`)."""
    places = np.minimum(np.searchsorted(stored, ids), len(stored) - 1)
    missing = ids[stored[places] != ids]
    if len(missing):
        raise DataError(f"ids must be in the index, but {_named(missing)} not.")
    return places


def require_distinct(ids: Array) -> None:
    """Refuse ids of which two are alike (`DataError`)."""
    values, counts = np.unique(ids, return_counts=True)
    if len(values) != len(ids):
        raise DataError(f"ids must differ, but {_named(values[counts > 1])} there twice.")


def _named(ids: Array) -> str:
    """Return the first few of some ids and their verb, for a message."""
    shown = ", ".join(str(number) for number in ids[:3].tolist())
    verb = "is" if len(ids) == 1 else "are"
    return f"{shown} {verb}" if len(ids) <= 3 else f"{shown}, … ({len(ids):,}) are"
