"""A table of rows in memory, and the one place where values are checked.

Every reader, built-in set and array of a user ends in `Rows.from_array`, so that one table of
rules says what is refused, what is stored, and what number a value stands for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from discretevae.errors import DataError, DataWarning
from discretevae.randomness import generator_for

MAX_BYTES = 16 * 2**30
"""Refuse a file that promises more than this: its header may lie, and memory is finite."""

_CHUNK = 1 << 22
"""Values looked at in one go: large enough to be fast, small enough (32 MiB) not to matter."""

_FAINT = 64
"""Whole numbers that stay below this are rarely 8-bit grey values; worth a warning."""


@dataclass(frozen=True, eq=False)
class Rows:
    """A table of rows in memory; bytes stay bytes until a batch is asked for.

    Args:
        values: `[N, P]`, uint8 or float32, contiguous.
        divisor: `x = values / divisor`; 255 for 8-bit grey values, 1 for 0/1 bytes and floats.
        labels: `[N]` int64, or None.
        image_shape: (height, width) with `height * width == P`, or None if rows are no pictures.
        name: where the rows come from; starts every message about them.

    Raises:
        DataError: the parts do not fit together.

    Example:
        >>> rows = Rows.from_array([[0, 255], [51, 0], [255, 255]])
        >>> len(rows), rows.n_features, rows.divisor, rows.is_binary
        (3, 2, 255.0, False)
        >>> rows.batch(torch.tensor([1, 0]))
        tensor([[0.2000, 0.0000],
                [0.0000, 1.0000]])
    """

    values: Tensor
    divisor: float = 1.0
    labels: Tensor | None = None
    image_shape: tuple[int, int] | None = None
    name: str = "rows"

    def __post_init__(self) -> None:
        values, labels = self.values, self.labels
        if values.ndim != 2 or values.dtype not in (torch.uint8, torch.float32):
            raise DataError(
                f"{self.name}: values must be [N, P] uint8 or float32. Got shape "
                f"{tuple(values.shape)}, {values.dtype}. Rows.from_array converts."
            )
        if not values.is_contiguous():
            raise DataError(f"{self.name}: values must be contiguous. Call .contiguous() on them.")
        if not 0 < self.divisor < float("inf"):
            raise DataError(f"{self.name}: divisor must be > 0 and finite. Got {self.divisor}.")
        if labels is not None and (labels.shape != values.shape[:1] or labels.dtype != torch.int64):
            raise DataError(
                f"{self.name}: labels must be int64, one for each of {len(values)} rows. Got shape "
                f"{tuple(labels.shape)}, {labels.dtype}."
            )
        if self.image_shape is not None:
            _check_image_shape(self.image_shape, values.shape[1], self.name)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_features(self) -> int:
        """P, the number of values in a row."""
        return self.values.shape[1]

    @cached_property
    def is_binary(self) -> bool:
        """Whether every x is 0 or 1; looked at once, then remembered."""
        return all(
            bool(((part == 0) | (part == self.divisor)).all()) for part in _chunks(self.values)
        )

    def batch(self, index: Tensor | slice) -> Tensor:
        """The rows at `index` as float32 `[B, P]`, a fresh tensor that may be written to.

        Bytes are gathered as bytes and converted once, so the cost is that of the batch only.

        Args:
            index: int64 `[B]` on the CPU, or a slice with a positive step.
        """
        if isinstance(index, slice):
            # A slice is a view: without the copy a caller could write into the table itself.
            x = self.values[index].to(torch.float32, copy=True)
        else:
            x = self.values.index_select(0, index).to(torch.float32)
        return x if self.divisor == 1.0 else x.div_(self.divisor)

    def epoch(self, seed: int, epoch: int, batch_size: int) -> Batches:
        """All rows in a random order, batch by batch: one pass of training.

        The order follows from ``seed`` and ``epoch`` alone, so that a run can go on at any step.

        Args:
            seed: of the run.
            epoch: counted from 1.
            batch_size: B; the last batch may be smaller.
        """
        order = torch.randperm(len(self), generator=generator_for(seed, "order", epoch))
        return Batches(self, order, batch_size)

    def subset(self, index: Tensor | slice) -> Rows:
        """The rows at `index` as a table of their own; a slice shares memory with this one.

        Example:
            >>> len(Rows.from_array([[0, 1], [1, 1], [1, 0]]).subset(slice(1, None)))
            2
        """
        labels = self.labels
        return replace(
            self,
            values=self.values[index].contiguous(),
            labels=None if labels is None else labels[index].contiguous(),
        )

    def require_unit_interval(self) -> None:
        """Refuse values that no Bernoulli likelihood can take.

        Raises:
            DataError: some x lies outside [0, 1].
        """
        outside, low, high = 0, float("inf"), float("-inf")
        for part in _chunks(self.values):
            outside += int(((part < 0) | (part > self.divisor)).sum())
            low, high = min(low, float(part.min())), max(high, float(part.max()))
        if outside:
            raise DataError(
                f"{self.name}: {_count(outside, 'value')} of {self.values.numel():,} outside "
                f"[0, 1]; all range from {low / self.divisor:g} to {high / self.divisor:g}. "
                "Rescale them to [0, 1], or use --likelihood gaussian."
            )

    @classmethod
    def from_array(
        cls,
        array: npt.ArrayLike | Tensor,
        *,
        labels: npt.ArrayLike | Tensor | None = None,
        image_shape: tuple[int, int] | None = None,
        divisor: float | None = None,
        name: str = "array",
        copy: bool = True,
    ) -> Rows:
        """Check an array and choose how it is stored; what x is follows from the values.

        | values | stored as | divisor |
        |---|---|---|
        | bool; whole numbers that are all 0 or 1, of any dtype | uint8 | 1 |
        | whole numbers in [0, 255] of any dtype, the largest > 1 | uint8 | 255 |
        | everything else | float32 | 1 |

        Values outside [0, 1] are allowed here, since a Gaussian likelihood takes them.

        Args:
            array: `[rows, features]`; or `[rows, height, width]`, or 4-D with a single channel
                before or behind height and width, which set `image_shape`. Numbers or bool.
            labels: `[rows]` whole numbers.
            image_shape: (height, width) of the rows of a 2-D array that are pictures.
            divisor: given, it replaces the one of the table above: for instance 255 for a few
                rows whose values all happen to be 0 or 1.
            name: starts every message.
            copy: False lets the table share memory with an array that nobody writes to again.

        Raises:
            DataError: not numbers, wrong shape, empty, NaN, infinite, too large for float32.

        Warns:
            DataWarning: whole numbers, but so small that they are hardly 8-bit grey values.

        Example:
            >>> Rows.from_array([[0.0, 0.5], [1.0, 0.25]]).values.dtype
            torch.float32
            >>> Rows.from_array(np.zeros((10, 8, 8))).image_shape
            (8, 8)
        """
        table, shape = _as_table(array, image_shape, name)
        facts = _scan(table, name)
        is_bytes = facts.whole and facts.low >= 0 and facts.high <= 255
        if divisor is None:
            divisor = 255.0 if is_bytes and facts.high > 1 else 1.0
            if 1 < facts.high < _FAINT and is_bytes and table.dtype != np.uint8:
                warnings.warn(
                    f"{name}: whole numbers from 0 to {facts.high:g}, read as 8-bit grey values: "
                    f"x is at most {facts.high / 255:.2g}. If {facts.high:g} is meant to be 1, "
                    f"divide by it first, or pass divisor={facts.high:g}.",
                    DataWarning,
                    stacklevel=2,
                )
        values = torch.from_numpy(_stored(table, np.uint8 if is_bytes else np.float32, copy))
        return cls(values, float(divisor), _as_labels(labels, len(table), name), shape, name)


@dataclass(frozen=True, eq=False)
class Batches:
    """One pass over rows in a given order, of which any batch can be asked for.

    Args:
        rows: a table.
        order: the rows' numbers, int64 ``[N]``.
        batch_size: B.

    Example:
        >>> batches = Rows.from_array([[0, 1], [1, 1], [1, 0]]).epoch(0, 1, batch_size=2)
        >>> len(batches), batches.take(0).shape, batches.take(1).shape
        (2, torch.Size([2, 2]), torch.Size([1, 2]))
    """

    rows: Rows
    order: Tensor
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def take(self, step: int, *, rank: int = 0, ranks: int = 1) -> Tensor:
        """The rows of a step, ``[B, P]``, or the part of them that falls to one of several ranks.

        The parts are consecutive and differ in length by at most one row; a part may be empty.
        """
        chosen = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        return self.rows.batch(chosen.tensor_split(ranks)[rank])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from and rows held out, of one kind.

    Raises:
        DataError: the two parts differ in width, picture shape or divisor.

    Example:
        >>> rows = Rows.from_array([[0, 1], [1, 1], [1, 0]])
        >>> Dataset("mine", rows.subset(slice(0, 2)), rows.subset(slice(2, 3))).n_features
        2
    """

    name: str
    train: Rows
    test: Rows

    def __post_init__(self) -> None:
        for what in ("n_features", "image_shape", "divisor"):
            ours, theirs = getattr(self.train, what), getattr(self.test, what)
            if ours != theirs:
                raise DataError(
                    f"{self.name}: train and test differ in {what}: {ours} and {theirs}. "
                    "Both parts must hold the same features on the same scale."
                )

    @property
    def n_features(self) -> int:
        """P, the number of values in a row."""
        return self.train.n_features

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """(height, width) of a row, or None if rows are no pictures."""
        return self.train.image_shape


def check_size(
    name: str, shape: tuple[int, ...], itemsize: int, max_bytes: int | None = None
) -> int:
    """The bytes of an array that a header promises, refused before anything is allocated."""
    limit = MAX_BYTES if max_bytes is None else max_bytes
    size = prod(shape) * itemsize
    if any(side < 0 for side in shape) or size > limit:
        raise DataError(
            f"{name}: its header promises an array of shape {shape}, {size:,} bytes; at most "
            f"{limit:,} are read. Split the file, or fetch it again if it is damaged."
        )
    return size


class _Facts(NamedTuple):
    low: float
    high: float
    whole: bool


def _as_table(
    array: npt.ArrayLike | Tensor, image_shape: tuple[int, int] | None, name: str
) -> tuple[npt.NDArray[Any], tuple[int, int] | None]:
    got = _as_numpy(array, name)
    if got.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: values must be numbers. Got dtype {got.dtype}. Convert them first, for "
            "example with array.astype('float32')."
        )
    shape = got.shape
    if len(shape) == 4 and 1 in (shape[1], shape[3]):
        shape = (shape[0], *(shape[2:] if shape[1] == 1 else shape[1:3]))
    if len(shape) not in (2, 3):
        raise DataError(
            f"{name}: rows must come as [rows, features] or as grey pictures [rows, height, "
            f"width]. Got shape {got.shape}. Reshape them first; of colors make one channel."
        )
    if 0 in shape:
        raise DataError(f"{name}: no values in an array of shape {got.shape}. Give at least 1 row.")
    if len(shape) == 3:
        own = (shape[1], shape[2])
        if image_shape is not None and tuple(image_shape) != own:
            raise DataError(
                f"{name}: the pictures are {own[0]}x{own[1]}, not {image_shape[0]}x"
                f"{image_shape[1]} as asked for. Only a folder of pictures can be resized."
            )
        image_shape = own
    elif image_shape is not None:
        image_shape = (int(image_shape[0]), int(image_shape[1]))
        _check_image_shape(image_shape, shape[1], name)
    return got.reshape(shape[0], -1), image_shape


def _as_numpy(array: npt.ArrayLike | Tensor, name: str) -> npt.NDArray[Any]:
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        # NumPy has no bfloat16 and no 8-bit floats; float32 holds all of their values.
        return (array.float() if array.is_floating_point() else array).numpy()
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise DataError(f"{name}: some values are masked. Fill them or drop their rows first.")
    try:
        return np.asarray(array)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: not a rectangular array of numbers ({error}).") from None


def _check_image_shape(shape: tuple[int, int], n_features: int, name: str) -> None:
    if min(shape) < 1 or shape[0] * shape[1] != n_features:
        raise DataError(
            f"{name}: pictures of {shape[0]}x{shape[1]} need {shape[0] * shape[1]} values a row. "
            f"Got {n_features}. Give the height and width of the rows."
        )


def _as_labels(labels: npt.ArrayLike | Tensor | None, n_rows: int, name: str) -> Tensor | None:
    if labels is None:
        return None
    got = _as_numpy(labels, f"{name}: labels")
    if got.shape != (n_rows,):
        raise DataError(
            f"{name}: {n_rows} rows need labels of shape ({n_rows},). Got {got.shape}. "
            "Give one label for each row."
        )
    if got.dtype.kind not in "biu" and not (
        got.dtype.kind == "f" and np.isfinite(got).all() and (got == np.rint(got)).all()
    ):
        raise DataError(
            f"{name}: labels must be whole numbers. Got dtype {got.dtype}. Number the classes, "
            "for example with numpy.unique(labels, return_inverse=True)[1]."
        )
    return torch.from_numpy(got.astype(np.int64))


def _scan(table: npt.NDArray[Any], name: str) -> _Facts:
    low, high, whole, bad, first = float("inf"), float("-inf"), True, 0, (0, 0)
    limit = 0.0
    if table.dtype.kind == "f":
        # Not beyond the dtype of the table itself either: float16 cannot compare with it.
        limit = min(float(np.finfo(dtype).max) for dtype in (table.dtype, np.float32))
    for start, stop in _spans(table.shape):
        part = table[start:stop]
        if table.dtype.kind == "f":
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
    if bad:
        raise DataError(
            f"{name}: {_count(bad, 'value')} NaN, infinite or too large for float32, the first in "
            f"row {first[0]}, column {first[1]} (counted from 0). Fill them or drop their rows."
        )
    return _Facts(low, high, whole)


def _stored(table: npt.NDArray[Any], dtype: type[np.generic], copy: bool) -> npt.NDArray[Any]:
    # torch warns about memory that must not be written to, such as a mapped file.
    if not copy and table.dtype == dtype and table.flags.c_contiguous and table.flags.writeable:
        return table
    out = np.empty(table.shape, dtype)
    for start, stop in _spans(table.shape):
        out[start:stop] = table[start:stop]
    return out


def _spans(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    step = max(1, _CHUNK // max(1, shape[1]))
    return ((start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def _chunks(values: Tensor) -> Iterator[Tensor]:
    return (values[start:stop] for start, stop in _spans(values.shape))


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
