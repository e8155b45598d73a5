"""From an array, a matrix or a table on disk to stored values, by one table of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from discretevae.config import ScaleMode
from discretevae.data.scale import ColumnScale, choose_scale
from discretevae.data.stores import sparse, streamed
from discretevae.data.stores.base import Store
from discretevae.data.stores.disk import DiskTable
from discretevae.data.stores.values import (
    Array,
    Facts,
    as_array,
    scan,
    spans,
    storage,
    table_shape,
)
from discretevae.errors import DataError


class Stored(NamedTuple):
    """The values of a table, and how they are to be read: fields of `Rows`."""

    values: Tensor | Store
    divisor: float
    image_shape: tuple[int, int] | None
    name: str
    columns: tuple[str, ...] | None
    scale: ColumnScale | None


def store(
    array: npt.ArrayLike | Tensor | DiskTable,
    *,
    scale: ScaleMode | ColumnScale | None,
    fit_rows: Callable[[int], Tensor] | None,
    divisor: float | None,
    image_shape: tuple[int, int] | None,
    name: str,
    columns: Sequence[str] | None,
    is_table: bool,
    copy: bool,
    weights: Array | None = None,
) -> Stored:
    """Return the values of an array as they are stored; arguments of `Rows.from_array`.

    Raises:
        DataError: as of `Rows.from_array`.
    """
    if scale == "none":
        scale, divisor = None, 1.0
    values: Tensor | Store
    fitted = None
    if isinstance(array, DiskTable):
        name, image_shape, columns = array.name, array.image_shape, array.columns
        values, divisor, fitted = streamed.from_table(array, divisor, scale, fit_rows)
    elif sparse.is_sparse(array):
        if scale not in (None, "auto"):
            raise DataError(
                f"{name}: a sparse matrix, which scaled columns would fill. Pass "
                "matrix.toarray(), or `scale='none'`."
            )
        values, divisor = sparse.from_matrix(array, name, divisor)
    else:
        got = as_array(array, name)
        shape, image_shape = table_shape(got.shape, got.dtype, image_shape, name)
        table = got.reshape(shape)
        if scale is not None:
            fitted = _fitted(table, scale, fit_rows, weights, name, image_shape, is_table=is_table)
        if fitted is not None:
            table, divisor = fitted.apply(table), 1.0
        facts = scan(_pieces(table), table.dtype, name, divisor=divisor)
        dtype, divisor = storage(facts, table.dtype, name, divisor=divisor)
        # torch warns of memory that must not be written to, such as a mapped file
        values = torch.from_numpy(
            np.array(table, dtype, order="C") if copy else np.require(table, dtype, ["C", "W"])
        )
    names = None if columns is None else tuple(columns)
    return Stored(values, divisor, image_shape, name, names, fitted)


def _pieces(table: Array) -> Iterator[tuple[int, Array]]:
    return ((start, table[start:stop]) for start, stop in spans(table.shape))


def _fitted(
    table: Array,
    scale: ScaleMode | ColumnScale,
    fit_rows: Callable[[int], Tensor] | None,
    weights: Array | None,
    name: str,
    image_shape: tuple[int, int] | None,
    *,
    is_table: bool,
) -> ColumnScale | None:
    """Return the scale of the columns, if they get one."""
    facts = scan(_pieces(table), table.dtype, name)
    if table.dtype == np.uint8 and is_table:  # the bounds of bytes were not looked for
        facts = Facts(float(table.min()), float(table.max()), True)
    return choose_scale(
        scale, facts, table.dtype, partial(_pieces, table), name, image_shape=image_shape,
        is_table=is_table, n_rows=len(table), fit_rows=fit_rows, weights=weights,
    )  # fmt: skip
