"""Data sets and loaders of torch: items ``x`` or ``(x, y)``, read once into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from discretevae.data.stores import values as limits
from discretevae.data.stores.values import Array, as_array
from discretevae.errors import DataError

UNSIZED_BYTES = 1 << 30
"""Of rows that come without a number of them, which may have no end."""

ROW_BYTES = 1 << 10
"""A row of these counts as so many bytes at least, or short rows would take for ever."""

_RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def read_items(source: Any, name: str) -> tuple[Array, Array | None]:
    """Return the rows ``[N, ...]`` of a torch data set or loader, and their labels if it has any.

    Raises:
        DataError: a loader that shuffles, items of another kind or of several shapes, no rows, or
            too many of them.
    """
    is_loader, is_sized = isinstance(source, DataLoader), _is_sized(source)
    if is_loader:
        _require_in_order(source, name)
    parts: list[Array] = []
    labels: list[Array] = []
    total, most = 0, limits.MAX_BYTES if is_sized else UNSIZED_BYTES
    with torch.random.fork_rng(devices=[]):  # a loader draws from the global state
        for number, item in enumerate(source if is_loader else _each(source)):
            x, y = _pair(item, name)
            part = as_array(x, name) if is_loader else as_array(x, name)[None]
            if parts and part.shape[1:] != parts[0].shape[1:]:
                raise DataError(
                    f"{name}: item {number} has rows of shape {part.shape[1:]}, the first "
                    f"{parts[0].shape[1:]}. Give rows of one shape."
                )
            total += part.nbytes if is_sized else max(part.nbytes, len(part) * ROW_BYTES)
            if total > most:
                raise DataError(
                    f"{name}: more than {most:,} bytes of rows, and perhaps without end. Write "
                    "them to a .npy file, which is streamed, or give fewer."
                )
            parts.append(part)
            if y is not None:
                labels.append(as_array(y, f"{name}: labels") if is_loader else np.asarray(y)[None])
    if not parts:
        raise DataError(f"{name}: no rows. Give at least 1.")
    return np.concatenate(parts), np.concatenate(labels) if labels else None


def _require_in_order(loader: Any, name: str) -> None:
    """Refuse a loader whose rows come in any order, or with which it is not known what a row is."""
    if loader.batch_sampler is None:
        raise DataError(
            f"{name}: without a batch_size nothing says whether an item is a row or a batch. Give "
            "loader.dataset, or a loader with a batch_size."
        )
    if loader.drop_last:
        raise DataError(
            f"{name}: a loader with drop_last leaves rows out. Give loader.dataset, or a loader "
            "with drop_last=False."
        )
    samplers = (loader.sampler, getattr(loader.batch_sampler, "sampler", None))
    if any(isinstance(each, _RANDOM) for each in samplers):
        raise DataError(
            f"{name}: a loader that shuffles gives its rows in another order each time. Give "
            "loader.dataset, or a loader with shuffle=False."
        )


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
