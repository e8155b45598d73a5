"""Data sets of torch: items ``x`` or ``(x, y)``, read once into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from discretevae.data.stores import values as limits
from discretevae.data.stores.values import Array, as_array
from discretevae.errors import DataError

UNSIZED_BYTES = 1 << 30
"""Of rows that come without a number of them, which may have no end."""

ROW_BYTES = 1 << 10
"""A row of these counts as so many bytes at least, or short rows would take for ever."""


def read_items(source: Any, name: str) -> tuple[Array, Array | None]:
    """Return the rows ``[N, ...]`` of a torch data set, and their labels if it has any.

    Raises:
        DataError: items of another kind or of several shapes, no rows, or too many of them.
    """
    is_sized = _is_sized(source)
    rows: list[Array] = []
    labels: list[Array] = []
    total, most = 0, limits.MAX_BYTES if is_sized else UNSIZED_BYTES
    with torch.random.fork_rng(devices=[]):  # an item may draw from the global state
        for number, item in enumerate(_each(source)):
            x, y = _pair(item, name)
            row = as_array(x, name)
            if rows and row.shape != rows[0].shape:
                raise DataError(
                    f"{name}: item {number} has a row of shape {row.shape}, the first "
                    f"{rows[0].shape}. Give rows of one shape."
                )
            total += row.nbytes if is_sized else max(row.nbytes, ROW_BYTES)
            if total > most:
                raise DataError(
                    f"{name}: more than {most:,} bytes of rows, and perhaps without end. Write "
                    "them to a .npy file, which is streamed, or give fewer."
                )
            rows.append(row)
            if y is not None:
                labels.append(np.asarray(y))
    if not rows:
        raise DataError(f"{name}: no rows. Give at least 1.")
    return np.stack(rows), np.stack(labels) if labels else None


def _is_sized(source: Any) -> bool:
    try:
        return len(source) >= 0
    except (TypeError, NotImplementedError):
        return False


def _each(source: Any) -> Iterator[Any]:
    return (source[i] for i in range(len(source))) if _is_sized(source) else iter(source)


def _pair(item: Any, name: str) -> tuple[Any, Any]:
    """Return the row and the label of an item."""
    if not isinstance(item, (tuple, list)) and not isinstance(item, dict):
        return item, None
    if isinstance(item, dict) or not 0 < len(item) < 3:
        what = f"{type(item).__name__} of {len(item)}"
        raise DataError(
            f"{name}: items must be x or (x, y). Got a {what}. Wrap the data set in one that gives "
            "these."
        )
    return item[0], item[1] if len(item) == 2 else None
