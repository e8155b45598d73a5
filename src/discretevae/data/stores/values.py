"""The rules for values, shapes and labels of a table: the same for arrays, files and matrices.

`Rows.from_array` has the table of how values are stored and what they are divided by.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from discretevae.config.pictures import MAX_CHANNELS, ImageShape, is_image_shape, spell_shape
from discretevae.errors import DataError, DataWarning, count

MAX_BYTES = 16 * 2**30
"""Refuse what promises to fill more memory than this: a header may lie, and memory is finite."""

CHUNK = 1 << 22
"""Values looked at in one go: large enough to be fast, small enough (32 MiB) not to matter."""

FAINT = 64
"""Whole numbers that stay below this are rarely 8-bit grey values; worth a warning."""

_BYTE = np.dtype(np.uint8)

Array = npt.NDArray[Any]


class Facts(NamedTuple):
    """The facts that the rules need of values: bounds, and whether all of them are whole.

    The bounds of bytes are not always the nearest ones: 0 and 255 hold for all of them.
    """

    low: float
    high: float
    whole: bool

    def joined(self, other: Facts) -> Facts:
        """Return the facts of both together."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Facts(low, high, self.whole and other.whole)


def scan(
    pieces: Iterable[tuple[int, Array]],
    dtype: np.dtype[Any],
    name: str,
    *,
    divisor: float | None = None,
) -> Facts:
    """Look at values piece by piece: the number of a first row, and rows ``[n, P]`` of a dtype.

    Bytes are not looked at to the end, for none is bad; with a divisor not at all.

    Raises:
        DataError: NaN, infinite, or too large for float32; with the place of the first.
    """
    if dtype.kind == "b":
        return Facts(0.0, 1.0, True)
    if dtype == _BYTE and divisor is not None:
        return Facts(0.0, 255.0, True)
    low, high, whole, bad, first = float("inf"), float("-inf"), True, 0, (0, 0)
    limit = 0.0
    if dtype.kind == "f":
        # Not beyond the dtype of the table itself either: float16 cannot compare with it.
        limit = min(float(np.finfo(kind).max) for kind in (dtype, np.float32))
    for start, part in pieces:
        if dtype.kind == "f":
            # NaN fails the comparison too, and a float64 beyond float32 would turn infinite.
            fine = np.abs(part) <= limit
            if not fine.all():
                if not bad:
                    row, column = np.argwhere(~fine)[0]
                    first = (start + int(row), int(column))
                bad += int(fine.size - np.count_nonzero(fine))
                continue
            whole = whole and bool((part == np.rint(part)).all())
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        if dtype == _BYTE and high > 1:
            return Facts(0.0, 255.0, True)  # nothing that the rest may hold changes the rules
    if bad:
        raise DataError(
            f"{name}: {count(bad, 'value')} NaN, infinite or too large for float32, the first in "
            f"row {first[0]}, column {first[1]} (counted from 0). Fill them or drop their rows."
        )
    return Facts(low, high, whole)


def storage(
    facts: Facts, dtype: np.dtype[Any], name: str, *, divisor: float | None = None
) -> tuple[np.dtype[Any], float]:
    """Return how such values are stored, and what they are divided by.

    Warns:
        DataWarning: whole numbers, but so small that they are hardly 8-bit grey values.

    Example:
        >>> storage(Facts(0, 255, True), np.dtype("int64"), "mine")
        (dtype('uint8'), 255.0)
    """
    is_bytes = facts.whole and facts.low >= 0 and facts.high <= 255
    if divisor is None:
        divisor = 255.0 if is_bytes and facts.high > 1 else 1.0
        if 1 < facts.high < FAINT and is_bytes and dtype != _BYTE:
            warnings.warn(
                f"{name}: whole numbers from 0 to {facts.high:g}, read as 8-bit grey values: "
                f"x is at most {facts.high / 255:.2g}. If {facts.high:g} is meant to be 1, "
                f"divide by it first; train, load_data and Rows.from_array take the divisor "
                f"{facts.high:g}, too.",
                DataWarning,
                stacklevel=3,
            )
    return np.dtype(np.uint8 if is_bytes else np.float32), float(divisor)


def table_shape(
    shape: tuple[int, ...], dtype: np.dtype[Any], image_shape: ImageShape | None, name: str
) -> tuple[tuple[int, int], ImageShape | None, bool]:
    """Return ``(N, P)``, the shape of pictures if any, and whether their channels come first.

    Raises:
        DataError: not numbers, other axes, empty, or pictures of another size.

    Warns:
        DataWarning: the channels of pictures could be the first axis or the last.
    """
    if dtype.kind not in "biuf":
        raise DataError(
            f"{name}: values must be numbers. Got dtype {dtype}. Convert them first, for "
            "example with array.astype('float32')."
        )
    if 0 in shape:
        raise DataError(f"{name}: no values in an array of shape {shape}. Give at least 1 row.")
    readings: list[tuple[ImageShape, bool]] = [(shape[1:], False)] if len(shape) == 3 else []
    if len(shape) == 4:
        both = [(shape[1:], False), ((*shape[2:], shape[1]), True)]
        readings = [(own, is_first) if own[2] > 1 else (own[:2], False) for own, is_first in both]
    readings = [reading for reading in readings if is_image_shape(reading[0])]
    if len(shape) != 2 and not readings:
        raise DataError(
            f"{name}: rows must come as [rows, features] or as pictures [rows, height, width], "
            f"also with 1 to {MAX_CHANNELS} channels before or behind height and width. Got shape "
            f"{shape}. Reshape them first."
        )
    rows = shape[0], prod(shape[1:])
    if len(shape) == 2:
        return rows, picture_shape(image_shape, rows[1], name), False
    size = tuple(image_shape or ())
    fitting = [reading for reading in readings if reading[0][: len(size)] == size]
    if not fitting:
        raise DataError(
            f"{name}: the pictures are {spell_shape(readings[0][0], 'x')}, not "
            f"{spell_shape(size, 'x')} as asked for. Only a folder of pictures can be resized."
        )
    grey = [reading for reading in fitting if len(reading[0]) == 2]
    if len(fitting) > 1 and not grey:
        warnings.warn(
            f"{name}: either axis of shape {shape} could be that of the channels; the last one is "
            "taken. Give `image_shape`, height and width, if it is the other.",
            DataWarning,
            stacklevel=3,
        )
    return rows, *(grey[-1] if grey else fitting[0])


def picture_shape(size: ImageShape | None, n_features: int, name: str) -> ImageShape | None:
    """Return the shape of flat rows that are pictures of this height and width.

    Rows of two to four times as many values have channels, the last axis.

    Raises:
        DataError: another number of values.
    """
    if size is None:
        return None
    size = tuple(int(side) for side in size)
    n_channels = n_features // max(1, prod(size))
    if len(size) == 2 and n_features == prod(size) * n_channels and n_channels > 1:
        size = (*size, n_channels)
    check_image_shape(size, n_features, name)
    return size


def as_array(array: npt.ArrayLike | Tensor, name: str) -> Array:
    """Return a NumPy array that shares memory with what is given, if it can.

    Raises:
        DataError: masked values, or nothing rectangular.
    """
    if isinstance(array, Tensor):
        if array.layout != torch.strided:
            raise DataError(
                f"{name}: a torch tensor of layout {array.layout}. Pass a matrix of scipy.sparse, "
                "or tensor.to_dense()."
            )
        array = array.detach().cpu()
        # NumPy has no bfloat16 and no 8-bit floats; float32 holds all of their values.
        return (array.float() if array.is_floating_point() else array).numpy()
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise DataError(f"{name}: some values are masked. Fill them or drop their rows first.")
    try:
        return np.asarray(array)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: not a rectangular array of numbers ({error}).") from None


def check_image_shape(shape: ImageShape, n_features: int, name: str) -> None:
    """Refuse a height, width and channels that do not give the features of a row (`DataError`)."""
    if not is_image_shape(shape) or prod(shape) != n_features:
        raise DataError(
            f"{name}: pictures of {spell_shape(shape, 'x')} need {prod(shape)} values a row. "
            f"Got {n_features}. Give the height and width of the rows."
        )


def check_size(
    name: str, shape: tuple[int, ...], itemsize: int, max_bytes: int | None = None
) -> int:
    """Return the bytes of an array that a header promises; refuse too many of them.

    Raises:
        DataError: more than ``max_bytes``, which is `MAX_BYTES` if None; or a negative side.
    """
    limit = MAX_BYTES if max_bytes is None else max_bytes
    size = prod(shape) * itemsize
    if any(side < 0 for side in shape) or size > limit:
        raise DataError(
            f"{name}: its header promises an array of shape {shape}, {size:,} bytes; at most "
            f"{limit:,} are read. Split the file, or fetch it again if it is damaged."
        )
    return size


def spans(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Return the rows of a table in pieces of about `CHUNK` values: (start, stop)."""
    step = max(1, CHUNK // max(1, shape[1]))
    return ((start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def is_grey(facts: Facts, dtype: np.dtype[Any], *, is_table: bool) -> bool:
    """Return whether whole numbers are 8-bit grey values, rather than the columns of a table.

    Bytes are, and whole numbers that reach both ends of the range; a table of text is narrowed to
    bytes, which says nothing.

    Example:
        >>> is_grey(Facts(1, 5, True), np.dtype(np.int64), is_table=True)
        False
    """
    is_bytes = facts.whole and facts.low >= 0 and facts.high <= 255
    if not is_bytes:
        return False
    return (dtype == _BYTE and not is_table) or (facts.low == 0 and facts.high == 255)


def check_weights(weights: Tensor | None, n_rows: int, name: str) -> None:
    """Refuse weights that are not one finite float32 number >= 0 for each row (`DataError`)."""
    if weights is None:
        return
    if weights.shape != (n_rows,) or weights.dtype != torch.float32:
        raise DataError(
            f"{name}: weights must be float32, one for each of {n_rows:,} rows. Got shape "
            f"{tuple(weights.shape)}, {weights.dtype}."
        )
    wrong = ~((weights >= 0) & weights.isfinite())
    if wrong.any():
        raise DataError(
            f"{name}: weights must be >= 0 and finite. Got {weights[wrong][0].item():g} for row "
            f"{int(wrong.int().argmax())}."
        )
