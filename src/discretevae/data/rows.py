"""A table of rows, wherever its values lie.

Every reader, built-in set and array of a user ends in `Rows.from_array`, so that one table of rules
(`values`) decides what is refused, how it is stored, and which number a value stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy.typing as npt
import torch
from torch import Tensor

from discretevae.config import BinarizeMode, ImageShape, ScaleMode, spell_shape
from discretevae.data.batches import Batches
from discretevae.data.binarization import binarize, binarize_rows, require_mode
from discretevae.data.classes import is_known, read_labels
from discretevae.data.columns import TableScale
from discretevae.data.scale import ColumnScale, count_not_bytes
from discretevae.data.stores import streamed
from discretevae.data.stores.base import InMemory, Store
from discretevae.data.stores.disk import DiskTable
from discretevae.data.stores.sparse import Sparse
from discretevae.data.stores.storing import store
from discretevae.data.stores.values import Array, check_image_shape, check_weights
from discretevae.errors import DataError
from discretevae.likelihoods.mixed import as_vectors


@dataclass(frozen=True, eq=False)
class Rows:
    """A table of rows; bytes stay bytes until a batch is formed.

    Args:
        values: `[N, P]`, uint8 or float32, contiguous, on any device; or a store that
            returns such values.
        divisor: `x = values / divisor`; 255 for 8-bit grey values, 1 for 0/1 bytes and floats.
        labels: `[N]` int64, or None.
        image_shape: (height, width), or (height, width, channels) with 2 to 4 channels; None if
            rows are no pictures.
        name: where the rows come from; starts every message about them.
        binarize: `none` gives x itself, `threshold` 1 where x > 0.5, and `dynamic` a draw from
            Bernoulli(x) whenever a row is used; see `binarized`.
        columns: names of the features, where the file has any.
        numbers: `[N]` int64, the number of each row in its source, from 0; None for all in order.
        ids: `[N]` whole numbers or texts that name the rows, or None.
        classes: names of the labels, by their number.
        scale: how the values of each column were made; x are scaled already.
        weights: `[N]` float32, how many rows each counts for in training; None for one.

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

    values: Tensor | Store
    divisor: float = 1.0
    labels: Tensor | None = None
    image_shape: ImageShape | None = None
    name: str = "rows"
    binarize: BinarizeMode = "none"
    columns: tuple[str, ...] | None = None
    numbers: Tensor | None = None
    ids: Array | None = None
    classes: tuple[str, ...] | None = None
    scale: ColumnScale | None = None
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        require_mode(self.binarize)
        values, labels = self.values, self.labels
        if isinstance(values, Tensor):
            if values.ndim != 2 or values.dtype not in (torch.uint8, torch.float32):
                raise DataError(
                    f"{self.name}: values must be [N, P] uint8 or float32. Got shape "
                    f"{tuple(values.shape)}, {values.dtype}. Rows.from_array converts."
                )
            if not values.is_contiguous():
                raise DataError(f"{self.name}: values must be contiguous. Call .contiguous().")
        if not 0 < self.divisor < float("inf"):
            raise DataError(f"{self.name}: divisor must be > 0 and finite. Got {self.divisor}.")
        if labels is not None and (labels.shape != (len(self),) or labels.dtype != torch.int64):
            raise DataError(
                f"{self.name}: labels must be int64, one for each of {len(self)} rows. Got shape "
                f"{tuple(labels.shape)}, {labels.dtype}."
            )
        for each in (self.numbers, self.ids):
            if each is not None and each.shape != (len(self),):
                raise DataError(f"{self.name}: {len(self)} rows need so many ids, not {len(each)}.")
        check_weights(self.weights, len(self), self.name)
        if self.columns is not None and (got := len(self.columns)) != self.n_features:
            raise DataError(f"{self.name}: {got} names of {self.n_features} features. Give all.")
        if self.image_shape is not None:
            check_image_shape(self.image_shape, self.n_features, self.name)

    def __repr__(self) -> str:
        """Return the rows in one line, without their values."""
        return f"Rows({self.name!r}, {len(self):,} × {self.n_features:,}, {self.kind_of_values})"

    @property
    def kind_of_values(self) -> str:
        """The kind of values, what divides them, labels and pictures: for a line on the rows.

        Example:
            >>> Rows.from_array(torch.zeros(2, 3, 3), labels=["a", "b"]).kind_of_values
            'uint8, labels of 2 classes, pictures of 3×3'
        """
        kind = type(self.values).__name__.lower()
        if isinstance(self.values, Tensor):
            kind = str(self.values.dtype).removeprefix("torch.")
        parts = [kind if self.divisor == 1 else f"{kind} / {self.divisor:g}"]
        parts += [] if self.scale is None else [f"{self.scale.kind} scale"]
        parts += [] if self.binarize == "none" else [f"binarize {self.binarize}"]
        if self.labels is not None:
            n = len(self.classes or torch.unique(self.labels[is_known(self.labels)]))
            parts.append(f"labels of {n:,} {'class' if n == 1 else 'classes'}")
        if self.image_shape is not None:
            parts.append(f"pictures of {spell_shape(self.image_shape)}")
        return ", ".join(parts)

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def n_features(self) -> int:
        """P, the number of values in a row."""
        return self.values.shape[1]

    @property
    def is_mixed(self) -> bool:
        """True if the columns are of several kinds; NaN then stands for a missing cell."""
        return isinstance(self.scale, TableScale)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Numbers between which every stored value lies, where they are known without looking."""
        return self._store.bounds

    @property
    def is_streamed(self) -> bool:
        """True if the values stay on disk, and are read at use."""
        return isinstance(self.values, streamed.Streamed)

    @cached_property
    def has_holes(self) -> bool:
        """True if some cell is missing."""
        return self.is_mixed and any(bool(part.isnan().any()) for part in self._store.pieces())

    @cached_property
    def are_bytes(self) -> bool:
        """True if every x is k/255 for a whole k from 0 to 255; looked at up to the first other."""
        pieces = self._store.pieces()
        return self.binarize != "none" or not count_not_bytes(pieces, self.divisor, most=1)[0]

    @cached_property
    def is_binary(self) -> bool:
        """True if every x is 0 or 1; looked at once, then remembered."""
        return self.binarize != "none" or all(
            bool(((part == 0) | (part == self.divisor)).all()) for part in self._store.pieces()
        )

    def binarized(self, mode: BinarizeMode) -> Rows:
        """Return the same rows with another binarization; the stored values are shared.

        Args:
            mode: ``none``, ``threshold`` (1 where x > 0.5) or ``dynamic`` (x drawn anew as
                Bernoulli(x) whenever a row is used, so that a model sees many versions of
                one picture).

        Raises:
            ConfigError: unknown mode.

        Example:
            >>> Rows.from_array([[0.0, 0.3, 0.9]]).binarized("threshold").batch(slice(None))
            tensor([[0., 0., 1.]])
        """
        return replace(self, binarize=mode)

    def deterministic(self) -> Rows:
        """Return the rows with `threshold` in place of `dynamic`: the most likely draw.

        Codes, pictures and neighbors of a row must not change from call to call.

        Example:
            >>> Rows.from_array([[0.3]]).binarized("dynamic").deterministic().binarize
            'threshold'
        """
        return self.binarized("threshold") if self.binarize == "dynamic" else self

    def batch(self, index: Tensor | slice, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the rows at `index` as float32 `[B, P]`, a fresh tensor that may be written to.

        Bytes are gathered as bytes and converted once, so the cost is that of the batch only.

        Args:
            index: int64 `[B]` on the CPU, or a slice with a positive step.
            generator: the source of dynamic binarization; not needed by other rows.

        Raises:
            ConfigError: dynamic rows without a generator.
            DataError: the values lie on disk and can no longer be read.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            stop = max(start, stop)
            if step == 1:
                # It may be a view: without the copy a caller could write into the table itself.
                stored = self._store.between(start, stop).to(torch.float32, copy=True)
                return self._x(stored, generator)
            index = torch.arange(start, stop, step)
        return self._x(self._store.take(index).to(torch.float32), generator)

    def vectors(self, index: Tensor | slice) -> Tensor:
        """Return the rows at `index` as numbers to take distances of: x, or `as_vectors` of it."""
        x = self.batch(index)
        return as_vectors(self.scale.specs, x) if isinstance(self.scale, TableScale) else x

    def chunks(
        self, size: int, *, seed: int | None = None, progress: Callable[[int], object] | None = None
    ) -> Iterator[Tensor]:
        """Yield all rows in their order, `size` at a time.

        Dynamic ones are drawn by ``seed``: what is drawn for a row follows from its number in the
        source and the seed alone, whatever `size` is. `progress` is called with the number of rows
        done after every chunk.

        Example:
            >>> [len(x) for x in Rows.from_array([[0], [1], [1]]).chunks(2)]
            [2, 1]
        """
        rows = self if self.binarize != "dynamic" or seed is None else self.binarized("none")
        for start in range(0, len(self), size):
            x = rows.batch(slice(start, start + size))
            if rows is not self and seed is not None:
                x = binarize_rows(x, self.source_numbers[start : start + size], seed)
            yield x
            if progress is not None:
                progress(min(start + size, len(self)))

    def epoch(self, seed: int, epoch: int, batch_size: int) -> Batches:
        """Return all rows in a random order, batch by batch: one pass of training.

        The order follows from ``seed`` and ``epoch`` alone, so that a run can go on at any step.
        Rows in memory are shuffled perfectly; those on disk as `shuffling` describes.

        Args:
            seed: of the run.
            epoch: counted from 1.
            batch_size: B; the last batch may be smaller.
        """
        order = self._store.shuffled(seed, epoch)
        return Batches(order, len(self), batch_size, self._x, self.name)

    def subset(self, index: Tensor | slice) -> Rows:
        """Return the rows at `index` as a table; a slice shares memory with this one.

        Of rows on disk nothing is read: their numbers are kept, 8 bytes for each.

        Example:
            >>> len(Rows.from_array([[0, 1], [1, 1], [1, 0]]).subset(slice(1, None)))
            2
        """
        index = index if isinstance(index, slice) else torch.as_tensor(index)
        labels, place = self.labels, index if isinstance(index, slice) else index.numpy()
        return replace(
            self,
            values=self._store.subset(index),
            labels=None if labels is None else labels[index].contiguous(),
            numbers=self.source_numbers[index].contiguous(),
            ids=None if self.ids is None else self.ids[place],
            weights=None if self.weights is None else self.weights[index].contiguous(),
        )

    @property
    def source_numbers(self) -> Tensor:
        """The number of each row in its source, counted from 0, int64 `[N]`."""
        return torch.arange(len(self)) if self.numbers is None else self.numbers

    @property
    def row_ids(self) -> Array:
        """The name of each row: its id, else its number in the source, `[N]`.

        Example:
            >>> Rows.from_array([[0], [1], [1]]).subset(slice(1, None)).row_ids
            array([1, 2])
        """
        return self.source_numbers.numpy() if self.ids is None else self.ids

    @property
    def log_jacobian(self) -> float:
        """ln abs(∂x/∂values) of scaled columns, nats per row; 0 for others."""
        return 0.0 if self.scale is None else self.scale.log_jacobian

    @classmethod
    def from_array(
        cls,
        array: npt.ArrayLike | Tensor | DiskTable,
        *,
        labels: npt.ArrayLike | Tensor | None = None,
        image_shape: ImageShape | None = None,
        divisor: float | None = None,
        scale: ScaleMode | ColumnScale | None = None,
        fit_rows: Callable[[int], Tensor] | None = None,
        name: str = "array",
        columns: Sequence[str] | None = None,
        ids: Array | None = None,
        is_table: bool = False,
        weights: Array | None = None,
        copy: bool = True,
    ) -> Rows:
        """Check an array and choose how it is stored and what it is divided by.

        | values | stored as | divisor |
        |---|---|---|
        | bool; whole numbers that are all 0 or 1, of any dtype | uint8 | 1 |
        | whole numbers in [0, 255] of any dtype, the largest > 1 | uint8 | 255 |
        | the same in a sparse matrix, with scale ``auto``, not up to 255 | uint8 | 1 |
        | everything else | float32 | 1 |

        Values outside [0, 1] are allowed here, since a Gaussian likelihood takes them.

        Args:
            array: `[rows, features]`; or `[rows, height, width]`, or 4-D with 1 to 4 channels
                before or behind height and width, which set `image_shape`. Numbers or bool. A
                matrix of scipy.sparse stays sparse. Of a table on disk, name, picture size and
                columns are its own; a small one is loaded, others are streamed.
            labels: `[rows]` whole numbers or names of classes; also `[rows, 1]` or one-hot.
            image_shape: (height, width) of the rows of a 2-D array that are pictures; its values
                are in the order height, width, channel. Of a 4-D one it says which axis is which.
            divisor: given, it replaces the one of the table above: for instance 255 for a few
                rows whose values all happen to be 0 or 1.
            scale: of the columns: ``standard`` (mean 0, deviation 1), ``minmax`` (0 to 1), or that
                of a run; ``none`` for values as they are; ``auto``: ``standard`` for values that
                are neither pictures nor 0 and 1. None leaves it to the divisor.
            fit_rows: from N to the numbers of the rows that a scale is chosen by.
            name: starts every message.
            columns: names of the features.
            ids: `[rows]` names of the rows.
            is_table: whether the dtype says nothing of grey values, as in a file of text.
            weights: `[rows]` how much each row counts in training, and in a ``standard`` scale.
            copy: False shares memory with an array that nobody writes to again.

        Raises:
            DataError: not numbers, wrong shape, empty, NaN, infinite, too large for float32.

        Warns:
            DataWarning: whole numbers, but so small that they are hardly 8-bit grey values.

        Example:
            >>> Rows.from_array([[0.0, 0.5], [1.0, 0.25]]).values.dtype
            torch.float32
            >>> Rows.from_array(torch.zeros(10, 8, 8)).image_shape
            (8, 8)
            >>> Rows.from_array(torch.zeros(10, 3, 8, 8)).image_shape
            (8, 8, 3)
        """
        stored = store(
            array, scale=scale, fit_rows=fit_rows, divisor=divisor, image_shape=image_shape,
            name=name, columns=columns, is_table=is_table, copy=copy, weights=weights,
        )  # fmt: skip
        numbers, classes = read_labels(labels, stored.values.shape[0], stored.name)
        return cls(
            stored.values, stored.divisor, numbers, stored.image_shape, stored.name,
            columns=stored.columns, ids=ids, classes=classes, scale=stored.scale,
            weights=None if weights is None else torch.from_numpy(weights / weights.mean()).float(),
        )  # fmt: skip

    @cached_property
    def _store(self) -> Store:
        return InMemory(self.values) if isinstance(self.values, Tensor) else self.values

    @property
    def value_range(self) -> tuple[float, float]:
        """The least and the largest x before binarization, or bounds of those on disk."""
        if self.bounds is not None:
            return self.bounds[0] / self.divisor, self.bounds[1] / self.divisor
        _, low, high = self.range_facts
        return low / self.divisor, high / self.divisor

    @cached_property
    def range_facts(self) -> tuple[int, float, float]:
        """The number of values outside of [0, divisor], the least and the largest of all."""
        outside, low, high = 0, float("inf"), float("-inf")
        for part in self._store.pieces():
            part = part[~part.isnan()] if self.is_mixed else part
            outside += int(((part < 0) | (part > self.divisor)).sum())
            low, high = min(low, float(part.min())), max(high, float(part.max()))
        return outside, low, high

    @cached_property
    def not_bytes(self) -> tuple[int, float]:
        """The number of values that do not stand for k/255, and the first of them."""
        return count_not_bytes(self._store.pieces(), self.divisor)

    @cached_property
    def not_counts(self) -> tuple[int, float]:
        """The number of values that do not stand for 0, 1, 2, …, and the first of them."""
        wrong = [p[(p < 0) | (p % self.divisor != 0)] for p in self._store.pieces()]
        return sum(map(len, wrong)), next((float(bad[0]) for bad in wrong if len(bad)), 0.0)

    @cached_property
    def are_counts(self) -> bool:
        """True if these are sparse whole numbers as they came, beyond 0 and 1."""
        is_plain = isinstance(self.values, Sparse) and self.divisor == 1 and not self.image_shape
        return is_plain and self.value_range[1] > 1 and not self.not_counts[0]

    def _x(self, values: Tensor, generator: torch.Generator | None) -> Tensor:
        """Turn stored values, float32 and shared with nobody, into binarized x in place."""
        if self.divisor != 1.0:
            values.div_(self.divisor if values.device.type == "cpu" else self._divisor_on_device)
        return binarize(values, self.binarize, generator)

    @cached_property
    def _divisor_on_device(self) -> Tensor:
        """The divisor as a tensor: by a number, torch on a GPU multiplies its rounded inverse."""
        return torch.tensor(self.divisor, device=cast(Tensor, self.values).device)
