"""Tables of columns of several kinds, read column by column."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from discretevae.config.data_config import kinds_of
from discretevae.data.classes import read_labels
from discretevae.data.columns import TableScale
from discretevae.data.readers.request import Request, listed
from discretevae.data.rows import Rows
from discretevae.data.stores.values import Array, check_size
from discretevae.errors import DataError, DataWarning, count


def mixed_rows(
    columns: Sequence[Array],
    request: Request,
    *,
    name: str,
    names: Sequence[str] | None,
    labels: Any = None,
    ids: Array | None = None,
) -> Rows:
    """Return rows of columns ``[N]`` each: numbers with NaN, booleans, or texts with None.

    Args:
        columns: of the features.
        request: with the scale of a run, or kinds that are asked for.
        name: starts every message.
        names: of the columns.
        labels: of the rows, as `Rows.from_array` takes them.
        ids: of the rows.

    Raises:
        DataError: a column that has no kind, or values that are not of its kind.

    Warns:
        DataWarning: rows without any cell, or levels that the training rows do not have.

    Example:
        >>> import numpy as np
        >>> columns = [np.array([1.5, np.nan, 0.5]), np.array(["a", "b", "a"], object)]
        >>> rows = mixed_rows(columns, Request(), name="mine", names=["x", "y"])
        >>> rows.scale.described(rows.columns)
        ['real: x', 'categorical: y (2)']
    """
    n = len(columns[0])
    if not n:
        raise DataError(f"{name}: holds no rows. Give at least 1 row.")
    check_size(name, (n, len(columns)), 4)
    scale = request.scale
    if not isinstance(scale, TableScale):
        chosen = slice(None) if request.fit_rows is None else request.fit_rows(n).numpy()
        scale = TableScale.fit_table(columns, chosen, names, kinds_of(request.kind), name)
    x = torch.from_numpy(scale.read(columns, names, name))
    _warn_of_new_levels(x, scale, names, name)
    if empty := int(x.isnan().all(1).sum()):
        warnings.warn(
            f"{name}: {count(empty, 'row')} without any value; nothing is known of them.",
            DataWarning,
            stacklevel=3,
        )
    numbers, classes = read_labels(labels, n, name)
    return Rows(
        x, labels=numbers, name=name, columns=None if names is None else tuple(names), ids=ids,
        classes=classes, scale=scale,
    )  # fmt: skip


def _warn_of_new_levels(
    x: torch.Tensor, scale: TableScale, names: Sequence[str] | None, name: str
) -> None:
    """Say which columns have levels that the training rows do not have."""
    new = {
        str(names[p]) if names else f"{p}": int((x[:, p] == len(column.levels)).sum())
        for p, column in enumerate(scale.columns)
        if column.kind == "categorical"
    }
    if found := [column for column, n in new.items() if n]:
        warnings.warn(
            f"{name}: {count(sum(new.values()), 'cell')} with a level that the training rows do "
            f"not have, in column {listed(found)}. They all count as one further level.",
            DataWarning,
            stacklevel=4,
        )
