"""Roles of the columns of a table: features, label, row ids, and what is left out."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from discretevae.data.cells import is_hole
from discretevae.data.readers.request import Request, listed
from discretevae.data.stores.values import Array
from discretevae.errors import DataError, DataWarning, did_you_mean

LABEL_NAMES = ("label", "target", "class")
"""Columns of these names hold the classes, unless another one is asked for."""

_ROW_ID_NAME = re.compile(r"(unnamed: 0(\.\d+)*|rownames|row\.names)?", re.IGNORECASE)
"""Names that pandas and R give to row numbers before the columns of a table."""

_INDEX_LEVEL = re.compile(r"__index_level_\d+__")
"""Name that pyarrow gives to an index without one; it comes behind the columns."""

ID_WORDS = ("id", "ids", "index", "row", "row_id", "nr", "no")
"""Usual names of a column that names the rows."""

COUNTED_ROWS = 10
"""Fewer rows than this may count up by chance."""

ID_BYTES = 1 << 30
"""Row ids are held in memory: texts that take more are refused."""


class Parts(NamedTuple):
    """A table that is taken apart by roles: places of the features, counted from 0; and values.

    Labels are whole numbers, booleans or names of classes ``[N]``, ids whole numbers or texts
    ``[N]``. The last two say why columns are features in spite of their names, by place, and what
    a user should know.
    """

    features: tuple[int, ...]
    labels: Array | None = None
    ids: Array | None = None
    plain: Mapping[int, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()


def take_apart(
    names: Sequence[str],
    request: Request,
    source: str,
    read: Callable[[int], Array],
    *,
    index_columns: Collection[str] = (),
    plain: Mapping[int, str] = MappingProxyType({}),
) -> Parts:
    """Return the features, labels and ids of a table, by the names and values of its columns.

    ``read`` gives the values ``[N]`` of the column at a place. ``index_columns`` are names that the
    file itself calls row ids, ``plain`` those of a part of the table that was looked at before.

    Raises:
        DataError: a column that is asked for is missing, or cannot have its role; a name stands
            twice; values are missing; or features other than those of the run.

    Example:
        >>> values = np.arange(3)
        >>> request = Request(columns=("a", "b"))
        >>> take_apart(["b", "label", "a"], request, "mine", lambda place: values).features
        (2, 0)
    """
    plain = dict(plain)
    n_before = len(list(takewhile(_ROW_ID_NAME.fullmatch, names)))
    place = _places(names, n_before, request, source)
    asked = {request.label, request.row_id, *request.ignore, *(request.columns or ())}
    free = [i for i, name in enumerate(names) if name not in asked and i not in plain]
    label = None if request.label is None else place.get(request.label)
    if label is None:
        label = _one_label(names, free, source)
    labels = None
    if label is not None:
        labels = _labels_of(read(label), names[label], request, source)
        if labels is None:
            plain[label] = (
                f"column {names[label]} does not hold whole numbers and was read as a feature, "
                "not as labels"
            )
    numbers = [i for i in free if i < n_before or names[i] in index_columns
               or _INDEX_LEVEL.fullmatch(names[i])]  # fmt: skip
    asked_id = None if request.row_id is None else place.get(request.row_id)
    of_ids = [] if asked_id is None else [(names[asked_id], read(asked_id))]
    for i in numbers if asked_id is None else []:
        values = read(i)
        is_sure = request.columns is not None or names[i] in index_columns
        if _looks_like_ids(values, is_sure=is_sure):
            of_ids.append((names[i], values))
        else:
            plain[i] = f"{_column(names[i])} holds no row ids and was read as a feature"
    ids = _ids_of(of_ids, source) if of_ids else None
    others = {label, *numbers, asked_id, *map(place.get, request.ignore)} - plain.keys()
    features = ordered = tuple(i for i in range(len(names)) if i not in others)
    notes = list(plain.values())
    if request.columns is not None:
        ordered = _in_order_of_run(names, features, request.columns, source)
    if ordered != features:
        notes.append(
            "its columns stand in another order than in the training data; they were put in order "
            "by name"
        )
    notes += [
        f"{_column(names[i])} was taken for row ids, and is no feature"
        for i in numbers
        if i not in plain
    ]
    if ids is not None and (repeated := len(ids) - _n_distinct(ids)):
        notes.append(f"{repeated:,} of {len(ids):,} row ids repeat others")
    return Parts(ordered, labels, ids, plain, tuple(notes))


def _places(names: Sequence[str], n_before: int, request: Request, source: str) -> dict[str, int]:
    """Return the place of each name; refuse names that stand twice, or are asked for in vain."""
    place = {name: i for i, name in reversed(list(enumerate(names)))}
    for i, name in enumerate(names):
        if place[name] != i and (name or i >= n_before):
            raise DataError(f"{source}: column {name!r} stands there twice. Rename or drop one.")
    for wanted in (request.label, request.row_id, *request.ignore):
        if wanted is not None and wanted not in place and request.columns is None:
            choices = textwrap.shorten(did_you_mean(wanted, names), 300, placeholder=" ...")
            raise DataError(f"{source}: no column {wanted!r}. {choices}")
    return place


def notes_of_counting(values: Array, name: str | None) -> list[str]:
    """Return what to say of the first feature, if all that it does is number the rows."""
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        return []
    numbers = values.astype(np.float64)
    is_counting = numbers[0] % 1 == 0 and bool((np.diff(numbers) == 1).all())
    is_id = name is not None and name.strip().casefold() in ID_WORDS and not (numbers % 1).any()
    if len(values) < COUNTED_ROWS or not (
        is_counting or (is_id and len(np.unique(numbers)) == len(numbers))
    ):
        return []
    if name is None:
        return ["the first column counts the rows, and is a feature: name the columns to change it"]
    return [f"{_column(name)} numbers the rows, and is a feature unless named by `row_id`"]


def warn_of(source: str, notes: Iterable[str]) -> None:
    """Warn of each note once."""
    for note in dict.fromkeys(notes):
        warnings.warn(f"{source}: {note}.", DataWarning, stacklevel=3)


def _one_label(names: Sequence[str], free: Sequence[int], source: str) -> int | None:
    found = [i for i in free if names[i].strip().casefold() in LABEL_NAMES]
    if len(found) > 1:
        raise DataError(
            f"{source}: columns {' and '.join(names[i] for i in found)} all name labels. Choose "
            "one by `label`, and leave the others out by `ignore`."
        )
    return found[0] if found else None


def _labels_of(values: Array, name: str, request: Request, source: str) -> Array | None:
    """Return labels; None for fractions, unless they are asked for."""
    if values.dtype.kind == "O":  # an empty cell is a label that nobody knows
        return np.array(["" if is_hole(value) else str(value) for value in values], object)
    if not _are_fractions(values):
        return values
    if name == request.label:
        raise DataError(
            f"{source}: column {name!r} holds fractions, so it is no `label`. Number or name the "
            "classes, or leave it out by `ignore`."
        )
    return None


def _in_order_of_run(
    names: Sequence[str], features: tuple[int, ...], columns: tuple[str, ...], source: str
) -> tuple[int, ...]:
    """Return the places of the run's columns; refuse a table without some, or with others."""
    place = {names[i]: i for i in features}
    missing = [name for name in columns if name not in place]
    foreign = [name for name in place if name not in set(columns)]
    if missing or foreign:
        parts = [f"without {listed(missing)}"] if missing else []
        parts += [f"with foreign {listed(foreign)}"] if foreign else []
        raise DataError(
            f"{source}: other columns than the run was trained on: {'; '.join(parts)}. Name them "
            "as in the training data, or drop what it did not have."
        )
    return tuple(place[name] for name in columns)


def _column(name: str) -> str:
    return f"column {name!r}" if name else "the first column, which has no name,"


def _looks_like_ids(values: Array, *, is_sure: bool) -> bool:
    """Return whether a column that is called like row ids holds some; if sure, they may repeat."""
    if values.dtype.kind == "O":
        return all(values)
    if values.dtype.kind not in "iuf" or _are_fractions(values) or not np.isfinite(values).all():
        return False
    # tables that were joined repeat their numbers; a feature of whole numbers has few values
    return is_sure or _n_distinct(values) ** 2 >= len(values)


def _n_distinct(values: Array) -> int:
    return len(set(values.tolist()) if values.dtype.kind == "O" else np.unique(values))


def _ids_of(columns: Sequence[tuple[str, Array]], source: str) -> Array:
    """Return the ids of one column; of several the first that is distinct, or all joined."""
    for name, values in columns:
        _require_all(values, name, source)
    name, values = next((c for c in columns if _n_distinct(c[1]) == len(c[1])), columns[0])
    if len(columns) > 1 and _n_distinct(values) < len(values):
        texts = [[str(v) for v in each.tolist()] for _, each in columns]
        values = np.array([" ".join(row) for row in zip(*texts, strict=True)], object)
    if values.dtype.kind == "b" or _are_fractions(values):
        raise DataError(
            f"{source}: column {name!r} holds no row ids; they are texts or whole numbers. Choose "
            "another column by `row_id`."
        )
    if values.dtype.kind != "O":
        return values.astype(np.int64)
    longest = max(map(len, values))
    if 4 * longest * len(values) > ID_BYTES:
        raise DataError(
            f"{source}: row ids of up to {longest:,} characters are too long for "
            f"{len(values):,} rows. Number them, or leave column {name!r} out by `ignore`."
        )
    return values.astype(np.str_)


def _are_fractions(values: Array) -> bool:
    is_float = values.dtype.kind == "f"
    return is_float and bool((np.isfinite(values) & (values != np.rint(values))).any())


def _require_all(values: Array, name: str, source: str) -> None:
    """Refuse missing values, with the first row."""
    is_missing = np.zeros(len(values), np.bool_)
    if values.dtype.kind == "f":
        is_missing = ~np.isfinite(values)
    elif values.dtype.kind == "O":
        is_missing = np.array([is_hole(v) for v in values], np.bool_)
    if is_missing.any():
        raise DataError(
            f"{source}: {is_missing.sum()} missing values in column {name!r}, the first in row "
            f"{int(is_missing.argmax())} (counted from 0). Fill them, or leave the column out by "
            "`ignore`."
        )
