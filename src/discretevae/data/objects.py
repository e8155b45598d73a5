"""From objects in memory to rows: arrays, data frames, sparse matrices, torch data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from discretevae.data.classes import renumber
from discretevae.data.readers.frames import frame_of, is_frame, read_frame
from discretevae.data.readers.mixed import mixed_rows
from discretevae.data.readers.request import Request
from discretevae.data.readers.torch_data import read_items
from discretevae.data.rows import Rows
from discretevae.data.stores.sparse import is_sparse
from discretevae.data.stores.values import Array, as_array
from discretevae.errors import ConfigError, DataError, kind_of

WANTED = "an array, a tensor, a data frame, a scipy.sparse matrix, or a torch Dataset"

ROWS_AT_ONCE = 4096

RowsLike: TypeAlias = Rows | npt.ArrayLike | Tensor
"""Rows, or an array of x in their place, see `as_rows`."""


def rows_from(
    source: Any,
    request: Request = Request(),  # noqa: B008 - frozen
    *,
    name: str | None = None,
    wanted: str = "rows must be Rows",
) -> Rows:
    """Return an object in memory as rows, read as a file of the same content is.

    Columns of a frame have names and roles: a label, row ids, features. Its index becomes the row
    ids, unless it only counts the rows. Items ``x`` or ``(x, y)`` of a torch data set are
    read once: what is drawn at random in them is drawn then. `Rows` are returned as they are.

    Raises:
        ConfigError: roles are asked of columns that have no names.
        DataError: another kind of object than `WANTED` says (``wanted`` starts the message), or
            values that `Rows.from_array` refuses.
        MissingExtraError: a frame of another package, without pyarrow.

    Example:
        >>> rows_from([[0.5, 0.1], [0.25, 1.0]]).name
        'list'
    """
    if isinstance(source, Rows):
        return source
    name = name or type(source).__name__
    frame = frame_of(source)
    if frame is not None:
        return read_frame(frame, request, name)
    if (request.label, request.row_id, request.ignore, request.kind) != (None, None, (), ()):
        raise ConfigError(
            f"{name}: has no columns by name. Leave `label`, `row_id`, `ignore` and `kind` out, or "
            "give labels to Rows.from_array."
        )
    labels = None
    if isinstance(source, Dataset):
        source, labels = read_items(source, name)
    elif not is_sparse(source):
        source = require_array(source, name, wanted)
        if request.is_mixed or (request.may_be_mixed and _has_holes(source, request)):
            return mixed_rows(list(source.T), request, name=name, names=None)
    return Rows.from_array(
        source, labels=labels, image_shape=request.image_size, divisor=request.divisor,
        scale=request.scale, fit_rows=request.fit_rows, name=name,
    )  # fmt: skip


def rows_alike(train: object, test: object, name: str) -> tuple[Rows, Rows]:
    """Return two objects as rows, the second one read as the first.

    Raises:
        DataError: as of `rows_from`.
    """
    learned = rows_from(train, name=f"{name}, train", wanted="train must be Rows")
    request = Request(
        image_size=learned.image_shape, columns=learned.columns, scale=learned.scale,
        divisor=learned.divisor if learned.scale is None else None,
    )  # fmt: skip
    held = rows_from(test, request, name=f"{name}, test", wanted="test must be Rows")
    if learned.classes is None:
        return learned, held
    labels, classes, _ = renumber(held.labels, held.classes, learned.classes)
    return replace(learned, classes=classes), replace(held, labels=labels, classes=classes)


def as_rows(rows: RowsLike, *, are_counts: bool = False) -> Rows:
    """Return rows, or an array in the place of rows whose values can only be x itself.

    A model knows neither what divides its values nor the names of its columns. So arrays of
    fractions, or of 0 and 1, are taken; whole numbers that may be grey values and data frames are
    refused, with what to call instead. Where x are counts, whole numbers are x.

    Raises:
        DataError: they cannot be taken for x.

    Example:
        >>> as_rows([[0.5, 0.0]]).divisor
        1.0
    """
    if isinstance(rows, Rows):
        return rows
    refuse_frame(rows)
    made = rows_from(rows, Request(divisor=1.0), name="rows")
    low, high = made.value_range
    if (
        not are_counts
        and low >= 0
        and 1 < high <= 255
        and all(map(_are_whole, made.chunks(ROWS_AT_ONCE)))
    ):
        raise DataError(
            f"rows: whole numbers from {low:g} to {high:g} in place of Rows, and nothing says what "
            "divides them. Call Rows.from_array with the divisor, 1 for values as they are; or, "
            "with a run, load_rows(array, schema=run.schema)."
        )
    return made


def refuse_frame(rows: object) -> None:
    """Refuse a data frame, whose columns a model does not know by name.

    Raises:
        DataError: it is one.
    """
    if is_frame(rows):
        raise DataError(
            f"rows must be Rows or an array. Got {kind_of(rows)}, and a model does not know "
            "columns by name. Call load_rows on it, with schema=run.schema if the model is that of "
            "a run."
        )


def require_array(source: object, name: str, wanted: str) -> Array:
    """Return an array, a tensor or nested lists.

    Raises:
        DataError: it is something else.
    """
    is_array = not isinstance(source, (str, bytes, tuple, dict, set)) and not callable(source)
    array = as_array(source, name) if is_array else None  # type: ignore[arg-type]
    if array is None or array.ndim == 0:
        raise DataError(f"{wanted}, {WANTED}. Got {kind_of(source)}. Give rows of numbers.")
    return array


def _has_holes(array: Array, request: Request) -> bool:
    """Return whether a table, not pictures, has missing cells."""
    is_table = array.ndim == 2 and request.image_size is None
    return is_table and array.dtype.kind == "f" and bool(np.isnan(array).any())


def _are_whole(x: Tensor) -> bool:
    return bool((x == torch.round(x)).all())
