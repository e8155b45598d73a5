"""Data frames in memory: columns with names.

Nothing of pandas or Polars is imported: their frames are asked for columns as NumPy arrays, and
other frames are read through pyarrow, by the Arrow stream or the interchange that they offer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from discretevae.data.readers.mixed import mixed_rows
from discretevae.data.readers.request import Request, listed
from discretevae.data.readers.roles import take_apart, warn_of
from discretevae.data.rows import Rows
from discretevae.data.stores.values import Array, check_size
from discretevae.errors import DataError, count, needs_extra


class Frame(NamedTuple):
    """A table whose columns have names.

    Args:
        names: of the columns.
        columns: their values ``[N]``, as NumPy has them.
        dtypes: what the table itself calls their types.
        ids: of the rows, from the index of a pandas frame.
        id_name: name of that index.
    """

    names: tuple[str, ...]
    columns: Sequence[Any]
    dtypes: tuple[str, ...]
    ids: Array | None = None
    id_name: str | None = None

    def chosen(self, places: Sequence[int]) -> Frame:
        """Return the frame of some columns."""
        names, columns, dtypes = (
            [part[place] for place in places] for part in (self.names, self.columns, self.dtypes)
        )
        return Frame(tuple(names), columns, tuple(dtypes))


def is_frame(source: object) -> bool:
    """Return whether an object is a table whose columns have names."""
    is_table = hasattr(source, "__arrow_c_stream__") or hasattr(source, "__dataframe__")
    return _is_pandas(source) or hasattr(source, "get_column") or (
        is_table and getattr(source, "ndim", 2) == 2
    )  # fmt: skip


def _is_pandas(source: object) -> bool:
    return hasattr(source, "iloc") and hasattr(source, "columns")


def frame_of(source: Any) -> Frame | None:
    """Return the columns of a table; None of an object that is none."""
    if isinstance(source, type) or not is_frame(source):
        return None
    if _is_pandas(source):
        columns = [source.iloc[:, i] for i in range(source.shape[1])]
        names = [str(name) for name in source.columns]
        return Frame(
            tuple(names), columns, tuple(str(c.dtype) for c in columns), *_index_of(source.index)
        )
    if not hasattr(source, "get_column"):
        source = _arrow_table(source)
        return Frame(
            tuple(source.column_names), source.columns, tuple(str(c.type) for c in source.columns)
        )
    columns = [source.get_column(name) for name in source.columns]
    return Frame(tuple(source.columns), columns, tuple(str(c.dtype) for c in columns))


def _arrow_table(source: Any) -> Any:
    """Return a frame of any package as a table of pyarrow."""
    kind = type(source).__name__
    with needs_extra("parquet", f"{kind}: frames of this kind are read by pyarrow"):
        import pyarrow as pa
        from pyarrow.interchange import from_dataframe
    try:
        return pa.table(source) if hasattr(source, "__arrow_c_stream__") else from_dataframe(source)
    except (pa.ArrowException, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"{kind}: no table that can be read ({reason}). Give a frame of pandas, Polars or "
            "pyarrow."
        ) from None


def _index_of(index: Any) -> tuple[Array | None, str | None]:
    """Return the row ids that the index of a pandas frame holds, and its name."""
    name = None if index.name is None else str(index.name)
    values = np.asarray(index)
    if values.dtype.kind in "iu":
        is_plain = name is None and np.array_equal(values, np.arange(len(values)))
        return None if is_plain else values.astype(np.int64), name
    return np.array([str(value) for value in index], np.str_), name


def read_frame(frame: Frame, request: Request, name: str) -> Rows:
    """Return the rows of a frame, with labels and ids by the roles of its columns.

    Raises:
        DataError: columns of text, missing values, or other columns than those of a run.

    Warns:
        DataWarning: a column is not what its name says, or the columns of a run are put in order.
    """
    is_index = request.row_id is not None and request.row_id == frame.id_name
    asked = replace(request, row_id=None) if is_index else request
    parts = take_apart(frame.names, asked, name, lambda i: _values(frame.columns[i]))
    warn_of(name, parts.notes)
    if not parts.features:
        raise DataError(f"{name}: no column is a feature. Give at least one column.")
    names = [frame.names[i] for i in parts.features]
    ids = frame.ids if is_index or parts.ids is None else parts.ids
    if request.may_be_mixed:
        features = frame.chosen(parts.features)
        if request.is_mixed or frame_has_cells(features):
            columns = cells_of_frame(features)
            return mixed_rows(
                columns, request, name=name, names=names, labels=parts.labels, ids=ids
            )
    return request.rows(
        _numbers(frame, parts.features, name), labels=parts.labels, ids=ids, name=name,
        is_table=True, copy=False, columns=names,
    )  # fmt: skip


def frame_has_cells(frame: Frame) -> bool:
    """Return whether a frame holds texts, categories or missing cells."""
    columns = cells_of_frame(frame)
    return any(c.dtype == object or (c.dtype.kind == "f" and np.isnan(c).any()) for c in columns)


def cells_of_frame(frame: Frame) -> list[Array]:
    """Return the columns for `mixed_rows`."""
    return [_cells(frame, place) for place in range(len(frame.names))]


def _cells(frame: Frame, place: int) -> Array:
    """Return a column for `mixed_rows`; categories are texts, whatever they are written as."""
    values = _values(frame.columns[place])
    raw = np.asarray(frame.columns[place].to_numpy()).astype(object)
    is_hole = np.array([_is_missing(value) for value in raw.ravel()], np.bool_)
    if raw.ndim != 1 or isinstance(
        next(iter(raw[~is_hole]), None), (complex, list, dict, bytes, np.ndarray)
    ):
        raise DataError(
            f"column {frame.names[place]!r} (type {frame.dtypes[place]}) holds neither numbers nor "
            "texts. Leave it out by `ignore`."
        )
    if is_hole.any() and all(isinstance(value, bool) for value in raw[~is_hole]):
        raw[is_hole] = None
        return np.asarray(raw)
    if not _is_category(frame.dtypes[place]) or values.dtype == object:
        return values
    texts = [None if hole else f"{value:g}" if isinstance(value, float) else str(value)
             for value, hole in zip(values.tolist(), is_hole, strict=True)]  # fmt: skip
    return np.array(texts, object)


def _is_category(dtype: str) -> bool:
    return dtype.lower().startswith(("categ", "dictionary", "enum"))


def _numbers(frame: Frame, places: Sequence[int], name: str) -> Array:
    """Return columns as one table ``[N, P]``."""
    columns: list[Array] = []
    foreign: list[int] = []
    missing: list[str] = []
    total = first = 0
    for place in places:
        values, dtype = _values(frame.columns[place]), frame.dtypes[place]
        # categories stand for something else, whatever they are written as
        if _is_category(dtype) or values.dtype.kind not in "biuf" or values.ndim != 1:
            foreign.append(place)
        elif values.dtype.kind == "f" and (is_hole := np.isnan(values)).any():
            first = first if missing else int(is_hole.argmax())
            missing.append(frame.names[place])
            total += int(is_hole.sum())
        columns.append(values)
    if foreign:
        raise DataError(
            f"{name}: no numbers in column {listed([frame.names[i] for i in foreign])} (type "
            f"{frame.dtypes[foreign[0]]}). Encode it as numbers, choose it as `label`, or leave it "
            "out by `ignore`."
        )
    if missing:
        raise DataError(
            f"{name}: {count(total, 'missing value')} in column {listed(missing)}, the first in "
            f"row {first} (counted from 0). Fill them, or drop their rows."
        )
    check_size(name, (len(columns[0]), len(columns)), np.result_type(*columns).itemsize)
    return np.stack(columns, 1)


def _values(column: Any) -> Array:
    """Return a column as numbers, NaN where one is missing, or as texts, None where one is."""
    values: Array = np.asarray(column.to_numpy())
    if values.dtype.kind in "biuf":
        return values
    values = values.astype(object)
    is_hole = np.array([_is_missing(value) for value in values], np.bool_)
    present = values[~is_hole]
    if not all(isinstance(value, (Real, Decimal)) for value in present):
        texts = [None if hole else str(value) for value, hole in zip(values, is_hole, strict=True)]
        return np.array(texts, object)
    if len(present) == len(values) and all(isinstance(value, bool) for value in present):
        return values.astype(np.bool_)
    filled = np.full(len(values), np.nan)
    filled[~is_hole] = present.astype(np.float64)
    return filled


def _is_missing(value: object) -> bool:
    """Return whether a value is missing, as one of the packages writes it."""
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, (float, np.datetime64)) and value != value)
    )
