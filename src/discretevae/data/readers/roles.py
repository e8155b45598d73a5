"""Roles of the columns of a table: features, label, row ids, and what is left out."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from discretevae.data.readers.request import Request, listed
from discretevae.data.stores.values import Array
from discretevae.errors import DataError, DataWarning, did_you_mean

LABEL_NAMES = ("label", "target", "class")
"""Columns of these names hold the classes, unless another one is asked for."""

_ROW_ID_NAME = re.compile(r"(unnamed: 0(\.\d+)*|rownames|row\.names)?", re.IGNORECASE)
"""What pandas and R call the row numbers that they write before the columns of a table."""

_INDEX_LEVEL = re.compile(r"__index_level_\d+__")
"""What pyarrow calls an index without a name; it comes behind the columns."""

COUNTED_ROWS = 10
"""Fewer rows than this may count up by chance."""

ID_BYTES = 1 << 30
"""Row ids are held in memory: texts that take more are refused."""


@dataclass(frozen=True)
class Roles:
    """Places of the columns of a table, counted from 0.

    Args:
        features: in the order of the model.
        label: of the classes, or None.
        row_ids: of the columns that name the rows, mostly one.
        label_is_found: whether the label was found by its name, not asked for.
        ids_are_found: the same of the row ids; they are features if their values can be no ids.
        left_out: row numbers beside the column of ids that was asked for.
        is_reordered: whether the features of a run stand in another order.
    """

    features: tuple[int, ...]
    label: int | None = None
    row_ids: tuple[int, ...] = ()
    label_is_found: bool = False
    ids_are_found: bool = False
    left_out: tuple[int, ...] = ()
    is_reordered: bool = False


@dataclass(frozen=True)
class Parts:
    """A table that is taken apart by roles.

    Args:
        features: places of the columns, in the order of the model.
        labels: ``[N]`` whole numbers, booleans or names of classes; or None.
        ids: ``[N]`` whole numbers or texts, or None.
        plain: why columns are features, in spite of their names: by place.
        notes: what a user should know of all that.
    """

    features: tuple[int, ...]
    labels: Array | None = None
    ids: Array | None = None
    plain: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def choose_roles(
    names: Sequence[str],
    request: Request,
    source: str,
    *,
    index_columns: Collection[str] = (),
    plain: Collection[int] = (),
) -> Roles:
    """Return what each named column of a table is, by the names alone.

    Args:
        names: of all columns.
        request: what is asked.
        source: starts every message.
        index_columns: names that the file itself calls row ids.
        plain: places of columns that are features, whatever they are called.

    Raises:
        DataError: a column that is asked for is missing; a name stands twice; or features other
            than those of the run.

    Example:
        >>> choose_roles(["b", "label", "a"], Request(columns=("a", "b")), "mine").features
        (2, 0)
    """
    n_before = len(list(takewhile(_ROW_ID_NAME.fullmatch, names)))
    place = {name: i for i, name in reversed(list(enumerate(names)))}
    for i, name in enumerate(names):
        if place[name] != i and (name or i >= n_before):
            raise DataError(f"{source}: column {name!r} stands there twice. Rename or drop one.")
    for wanted in (request.label, request.row_id, *request.ignore):
        if wanted is not None and wanted not in place and request.columns is None:
            choices = textwrap.shorten(did_you_mean(wanted, names), 300, placeholder=" ...")
            raise DataError(f"{source}: no column {wanted!r}. {choices}")
    asked = {request.label, request.row_id, *request.ignore} | set(request.columns or ())
    free = [i for i, name in enumerate(names) if name not in asked and i not in plain]
    label = None if request.label is None else place.get(request.label)
    label_is_found = label is None
    if label_is_found:
        label = _one_label(names, free, source)
    numbers = tuple(
        i for i in free
        if i < n_before or names[i] in index_columns or _INDEX_LEVEL.fullmatch(names[i])
    )  # fmt: skip
    asked_id = None if request.row_id is None else place.get(request.row_id)
    row_ids, left_out = (numbers, ()) if asked_id is None else ((asked_id,), numbers)
    others = {label, *row_ids, *left_out, *(place.get(name) for name in request.ignore)}
    features = ordered = tuple(i for i in range(len(names)) if i not in others)
    if request.columns is not None:
        ordered = _in_order_of_run(names, features, request.columns, source)
    return Roles(
        ordered, label, row_ids, label_is_found, asked_id is None, left_out, ordered != features
    )


def take_apart(
    names: Sequence[str],
    request: Request,
    source: str,
    read: Callable[[int], Array],
    *,
    index_columns: Collection[str] = (),
    plain: dict[int, str] | None = None,
) -> Parts:
    """Return the features, labels and ids of a table, by the names and values of its columns.

    Args:
        names: of all columns.
        request: what is asked.
        source: starts every message.
        read: the values of a column ``[N]``, see `typed`.
        index_columns: names that the file itself calls row ids.
        plain: of a part of the table that was looked at before.

    Raises:
        DataError: what `choose_roles` refuses; values that are missing, or that cannot have the
            role that is asked for.
    """
    plain = dict(plain or {})
    roles = choose_roles(names, request, source, index_columns=index_columns, plain=plain)
    labels = None
    if roles.label is not None:
        labels, name = read(roles.label), names[roles.label]
        if labels.dtype.kind == "f" and (np.isfinite(labels) & (labels != np.rint(labels))).any():
            if not roles.label_is_found:
                raise DataError(
                    f"{source}: column {name!r} holds fractions, so it is no `label`. Number or "
                    "name the classes, or leave it out by `ignore`."
                )
            labels, plain[roles.label] = None, (
                f"column {name} does not hold whole numbers and was read as a feature, not as "
                "labels"
            )  # fmt: skip
        else:
            _require_all(labels, name, source, "leave the column out by `ignore`")
    of_ids = []
    for i in roles.row_ids:
        values = read(i)
        is_sure = request.columns is not None or names[i] in index_columns
        if roles.ids_are_found and not _looks_like_ids(values, is_sure=is_sure):
            plain[i] = f"{_column(names[i])} holds no row ids and was read as a feature"
        else:
            of_ids.append((names[i], values))
    if plain:
        roles = choose_roles(names, request, source, index_columns=index_columns, plain=plain)
    ids = None if not of_ids else _ids_of(of_ids, source)
    notes = list(plain.values())
    if roles.is_reordered:
        notes.append(
            "its columns stand in another order than in the training data; they were put in order "
            "by name"
        )
    taken = [names[i] for i in roles.left_out]
    if roles.ids_are_found:
        taken = [name for name, _ in of_ids]
    notes += [f"{_column(name)} was taken for row ids, and is no feature" for name in taken]
    if ids is not None and (repeated := len(ids) - _n_distinct(ids)):
        notes.append(f"{repeated:,} of {len(ids):,} row ids repeat others")
    return Parts(roles.features, labels, ids, plain, tuple(notes))


def notes_of_counting(values: Array, name: str | None) -> list[str]:
    """Return what to say of the first feature, if all that it does is count the rows."""
    steps = np.diff(values.astype(np.float64))
    if len(values) < COUNTED_ROWS or values[0] % 1 or not (steps == 1).all():
        return []
    if name is None:
        return ["the first column counts the rows, and is a feature: name the columns to change it"]
    return [f"{_column(name)} counts the rows, and is a feature unless named by `row_id`"]


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


def _in_order_of_run(
    names: Sequence[str], features: tuple[int, ...], columns: tuple[str, ...], source: str
) -> tuple[int, ...]:
    """Return the places of the run's columns.

    Raises:
        DataError: some are missing, or there are others.
    """
    place = {names[i]: i for i in features}
    missing = [name for name in columns if name not in place]
    foreign = [name for name in place if name not in set(columns)]
    if missing or foreign:
        parts = [
            f"{what} {listed(found)}"
            for what, found in (("without", missing), ("with foreign", foreign))
            if found
        ]
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
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            return False
    elif values.dtype.kind not in "iu":
        return False
    # tables that were joined repeat their numbers; a feature of whole numbers has few values
    return is_sure or _n_distinct(values) ** 2 >= len(values)


def _n_distinct(values: Array) -> int:
    return len(set(values.tolist()) if values.dtype.kind == "O" else np.unique(values))


def _ids_of(columns: Sequence[tuple[str, Array]], source: str) -> Array:
    """Return the ids of one column; of several the first that is distinct, or all joined.

    Raises:
        DataError: missing ids, fractions, or texts that take too much memory.
    """
    for name, values in columns:
        _require_all(values, name, source, "leave the column out by `ignore`")
    chosen = next((c for c in columns if _n_distinct(c[1]) == len(c[1])), columns[0])
    name, values = chosen
    if len(columns) > 1 and _n_distinct(values) < len(values):
        texts = [[str(v) for v in each.tolist()] for _, each in columns]
        values = np.array([" ".join(row) for row in zip(*texts, strict=True)], object)
    if values.dtype.kind in "fb":
        whole = values.astype(np.int64) if values.dtype.kind == "f" else None
        if whole is None or not np.array_equal(whole, values):
            raise DataError(
                f"{source}: column {name!r} holds no row ids; they are texts or whole numbers. "
                "Choose another column by `row_id`."
            )
        return whole
    if values.dtype.kind != "O":
        return values.astype(np.int64)
    longest = max(map(len, values))
    if 4 * longest * len(values) > ID_BYTES:
        raise DataError(
            f"{source}: row ids of up to {longest:,} characters are too long for "
            f"{len(values):,} rows. Number them, or leave column {name!r} out by `ignore`."
        )
    return values.astype(np.str_)


def _require_all(values: Array, name: str, source: str, advice: str) -> None:
    """Refuse missing values.

    Raises:
        DataError: with the first row, counted from 0.
    """
    is_missing = np.zeros(len(values), np.bool_)
    if values.dtype.kind == "f":
        is_missing = ~np.isfinite(values)
    elif values.dtype.kind == "O":
        is_missing = np.array([is_hole(v) for v in values], np.bool_)
    if is_missing.any():
        raise DataError(
            f"{source}: {is_missing.sum()} missing values in column {name!r}, the first in row "
            f"{int(is_missing.argmax())} (counted from 0). Fill them, or {advice}."
        )


def is_hole(value: object) -> bool:
    """Return whether a cell of a column of texts is empty, or says so."""
    return value is None or str(value).strip().casefold() in ("", "na", "nan", "n/a", "null")
