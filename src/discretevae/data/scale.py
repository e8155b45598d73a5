"""Columns of different units on one scale: standardized, or from 0 to 1."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from discretevae.config import ScaleMode
from discretevae.data.stores.disk import DiskTable
from discretevae.data.stores.values import Array, Facts, is_grey
from discretevae.errors import DataError, DataWarning

ScaleKind = Literal["standard", "minmax", "columns"]

GREY_ROUNDING = 1e-3
"""Largest distance of 255 x from a whole number at which k/255 in float32 counts as one."""

FOREIGN_ROWS = 16
"""Fewer rows than this may lie anywhere, and prove nothing of the scale of a table."""

FOREIGN_SHARE = 0.8
"""Share of values outside of the training range above which a column is in another unit."""

FOREIGN_WIDTH = 10
"""Values so many times as large as fractions or 0 and 1 are none."""


@dataclass(frozen=True, eq=False)
class ColumnScale:
    """x = (value − center) / width, column by column.

    Args:
        kind: ``standard``: mean and standard deviation; ``minmax``: the least, and largest less
            least; ``columns``: those of a `TableScale`.
        center: float64 ``[P]``.
        width: float64 ``[P]``, 1 for a constant column.
        low: the least value of each column of the training rows, float64 ``[P]``.
        high: the largest.
    """

    kind: ScaleKind
    center: Array
    width: Array
    low: Array
    high: Array

    @classmethod
    def fit(
        cls,
        kind: ScaleKind,
        pieces: Iterable[tuple[int, Array]],
        name: str,
        weights: Array | None = None,
    ) -> ColumnScale:
        """Return the scale that suits a table, read piece by piece: a first row, and rows.

        Args:
            kind: ``standard`` or ``minmax``.
            pieces: of the table.
            name: starts every message.
            weights: of the rows in mean and deviation, ``[N]``; None for 1.

        Raises:
            DataError: values too large for their variance.

        Example:
            >>> table = np.array([[1.0, 5.0], [3.0, 5.0]])
            >>> scale = ColumnScale.fit("standard", [(0, table)], "mine")
            >>> scale.apply(table).tolist(), scale.restore(Tensor([[0.0, 0.0]])).tolist()
            ([[-1.0, 0.0], [1.0, 0.0]], [[2.0, 5.0]])
        """
        count, mean, squares = 0.0, np.zeros(1), np.zeros(1)
        low, high = np.array(np.inf), np.array(-np.inf)
        with np.errstate(all="ignore"):  # what overflows is refused below
            for at, part in pieces:
                if not len(part):
                    continue
                values = part.astype(np.float64)
                low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
                # moments of the parts are joined: sums of squares would cancel away from 0
                w = np.ones(len(part)) if weights is None else weights[at : at + len(part)]
                n = w.sum()
                part_mean = w @ values / n
                step, total = part_mean - mean, count + n
                squares = squares + w @ (values - part_mean) ** 2 + step**2 * count * n / total
                mean, count = mean + step * n / total, total
            deviation = np.sqrt(squares / count)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            raise DataError(f"{name}: values too large for their variance. Rescale them.")
        center, width = (mean, deviation) if kind == "standard" else (low, high - low)
        # rounding leaves a constant column with a deviation that is not quite 0
        is_constant = (low == high) | (width <= 0)
        return cls(kind, center, np.where(is_constant, 1.0, width), low, high)

    def apply(self, values: Array) -> npt.NDArray[np.float32]:
        """Return values ``[n, P]`` on the scale, computed in float64 and kept as float32."""
        # what overflows turns infinite, which the check of values refuses
        with np.errstate(over="ignore"):
            return ((values.astype(np.float64) - self.center) / self.width).astype(np.float32)

    def restore(self, x: Tensor) -> Array:
        """Return x ``[n, P]`` in the units of the columns, float64."""
        restored: Array = x.detach().cpu().double().numpy() * self.width + self.center
        return restored

    def described(self, names: Sequence[str] | None) -> list[str]:
        """Return what is to be said of the columns before training: lines for people."""
        return []

    @property
    def log_jacobian(self) -> float:
        """ln abs(∂x/∂values) = −Σ_p ln width_p, nats per row.

        It turns densities of x into those of the values.
        """
        return -float(np.log(self.width).sum())

    def require_same_units(
        self, pieces: Iterable[tuple[int, Array]], name: str, columns: Sequence[str] | None
    ) -> None:
        """Refuse a table that cannot be in the units of the training rows (`DataError`).

        In most of its columns most values lie outside of the range of the training rows. Where
        that is so in fewer columns, or rows, a `DataWarning` names one; outliers may lie there.
        """
        n, outside = 0, np.zeros(len(self.low))
        low, high = np.array(np.inf), np.array(-np.inf)
        for _, part in pieces:
            require_width(part.shape[1], len(self.low), name)
            n += len(part)
            outside += ((part < self.low) | (part > self.high)).sum(0)
            low, high = np.minimum(low, part.min(0)), np.maximum(high, part.max(0))
        varies = self.high > self.low
        is_foreign = (outside > FOREIGN_SHARE * n) & varies
        if not is_foreign.any():
            return
        at = int(is_foreign.argmax())
        what = f"column {at}" if columns is None else f"column {columns[at]!r}"
        ranges = (
            f"{what} runs from {low[at]:g} to {high[at]:g}, in the training rows from "
            f"{self.low[at]:g} to {self.high[at]:g}"
        )
        is_most = 2 * is_foreign.sum() > varies.sum()
        if n >= FOREIGN_ROWS and is_most:
            raise DataError(
                f"{name}: {int(is_foreign.sum())} of {len(varies)} columns are on another scale "
                f"than the training rows; {ranges}. Give values in the units of the training "
                "data; they are scaled by the run."
            )
        if n < FOREIGN_ROWS and not is_most:
            return  # a few rows may be outliers
        warnings.warn(
            f"{name}: {int(is_foreign.sum())} of {len(varies)} columns may be in other units: "
            f"{ranges}.",
            DataWarning,
            stacklevel=2,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the scale as plain values for JSON."""
        names = ("center", "width", "low", "high")
        return {"kind": self.kind} | {name: getattr(self, name).tolist() for name in names}

    @classmethod
    def from_dict(cls, values: dict[str, Any], n_features: int) -> ColumnScale:
        """Return what `to_dict` gave.

        Raises:
            ValueError: it is no scale of so many columns.
        """
        if set(values) != {"kind", "center", "width", "low", "high"}:
            raise ValueError(f"scale holds {sorted(values)}")
        if values["kind"] not in ("standard", "minmax"):
            raise ValueError(f"scale of kind {values['kind']!r}")
        arrays = {}
        for name in ("center", "width", "low", "high"):
            numbers = values[name]
            if not isinstance(numbers, list) or {type(n) for n in numbers} - {int, float}:
                raise ValueError(f"{name} of the scale holds no numbers")
            array = np.array(numbers, np.float64)
            if array.shape != (n_features,) or not np.isfinite(array).all():
                raise ValueError(f"{name} of the scale needs {n_features} finite numbers")
            arrays[name] = array
        if arrays["width"].min() <= 0:
            raise ValueError("a width of the scale is not above 0")
        return cls(values["kind"], **arrays)


def require_width(n_features: int, own: int, name: str) -> None:
    """Refuse rows that do not have as many features as those of the training (`DataError`)."""
    if n_features != own:
        raise DataError(
            f"{name}: rows have {n_features} features, but the model takes {own}. Give data of "
            "the model's own width."
        )


def restored(x: Tensor, divisor: float, scale: ColumnScale | None) -> Array:
    """Return x ``[n, P]`` in the units that the data came in: float32, or float64 if scaled.

    Example:
        >>> restored(Tensor([[1.0, 1.0]]), 16.0, None).tolist()
        [[16.0, 16.0]]
    """
    if scale is not None:
        return scale.restore(x)
    values: Array = x.detach().cpu().float().numpy()
    return values if divisor == 1 else values * np.float32(divisor)


def choose_scale(
    asked: ScaleMode | ColumnScale | None,
    table: DiskTable,
    facts: Facts,
    fit_rows: Callable[[int], Tensor] | None,
    weights: Array | None,
) -> ColumnScale | None:
    """Return the scale of the columns of a table; None where one divisor is for all values.

    Args:
        asked: a mode, the scale of a run, or None for a divisor.
        table: in the units of its source.
        facts: of its values.
        fit_rows: from N to the numbers of the rows that a scale is chosen by.
        weights: of the rows, ``[N]``; not together with ``fit_rows``.

    Raises:
        DataError: values that are too large, or not in the units of the run.
    """
    if isinstance(asked, ColumnScale):
        asked.require_same_units(table.pieces(), table.name, table.columns)
        return asked
    if asked is None or asked == "none":
        return None
    if asked == "auto":
        if table.dtype == np.uint8 and table.is_table:  # the bounds of bytes were not looked for
            ends = [(part.min(), part.max()) for _, part in table.pieces()]
            facts = Facts(float(min(ends)[0]), float(max(high for _, high in ends)), True)
        is_unit = facts.low >= 0 and facts.high <= 1
        is_binary = is_unit and facts.whole
        is_picture = table.image_shape is not None
        if is_picture or is_binary or is_grey(facts, table.dtype, is_table=table.is_table):
            return None
        if is_unit and all(_are_grey_levels(part) for _, part in table.pieces()):
            return None
        asked = "standard"
    chosen, n = table.pieces(), table.shape[0]
    if fit_rows is not None:
        is_chosen = np.zeros(n, np.bool_)
        is_chosen[fit_rows(n).numpy()] = True
        chosen = ((at, part[is_chosen[at : at + len(part)]]) for at, part in chosen)
    return ColumnScale.fit(asked, chosen, table.name, weights)


def _are_grey_levels(x: Array) -> bool:
    """Return whether all values are k/255, as those of pictures are."""
    levels = x.astype(np.float64) * 255
    return bool((np.abs(levels - np.rint(levels)) < GREY_ROUNDING).all())


def count_not_bytes(
    pieces: Iterable[Tensor], divisor: float, *, most: float = math.inf
) -> tuple[int, float]:
    """Return the number of stored values that are not k/255 of the divisor, and the first one.

    Counting ends with the piece in which there are ``most``.
    """
    wrong, example = 0, 0.0
    for part in pieces:
        if wrong >= most or (part.dtype == torch.uint8 and divisor == 255):
            break  # no value of this type is anything else
        k = part.double().mul_(255 / divisor)
        whole = k.round()
        bad = ((k - whole).abs() > GREY_ROUNDING) | (whole < 0) | (whole > 255)
        if bad.any():
            example = example if wrong else float(part[bad][0])
            wrong += int(bad.sum())
    return wrong, example
