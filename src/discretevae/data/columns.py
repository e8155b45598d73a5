"""Columns of a table of several kinds: what each holds, and its scale."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from torch import Tensor

from discretevae.config import ColumnKind, ColumnSpec
from discretevae.config.checks import is_int, is_number
from discretevae.config.columns import COLUMN_KINDS
from discretevae.data.cells import (
    are_holes,
    as_texts,
    decimals_of,
    kind_of_values,
    levels_of,
    present,
    typed,
)
from discretevae.data.scale import ColumnScale
from discretevae.data.stores.values import Array
from discretevae.errors import DataError, did_you_mean

UNSEEN = "(unseen)"
"""The level that stands for all that training rows did not have."""


@dataclass(frozen=True)
class Column:
    """One column: its kind, and how its values become x; see `ColumnSpec`.

    x = (value − center) / width, of a positive column (ln value − center) / width, of a categorical
    one the number of the level.

    Args:
        kind: a `ColumnSpec`'s.
        center: in the units of the values, or of their logarithms.
        width: likewise, above 0.
        low: the least training value.
        high: the largest.
        levels: of a categorical column, as texts; of a boolean one what 0 and 1 are written as.
        decimals: of numbers, the most that a training value has; None for more than 6.
    """

    kind: ColumnKind
    center: float = 0.0
    width: float = 1.0
    low: float = 0.0
    high: float = 1.0
    levels: tuple[str, ...] = ()
    decimals: int | None = None

    @property
    def spec(self) -> ColumnSpec:
        """The column in words."""
        is_categorical = self.kind == "categorical"
        return ColumnSpec(self.kind, len(self.levels) + 1 if is_categorical else 1)

    @property
    def ends(self) -> tuple[float, float]:
        """The x between which the training values lie, the first below the second."""
        if self.levels:
            return 0.0, float(max(1, self.spec.n_levels - 1))
        ends = (math.log(end) if self.kind == "positive" else end for end in (self.low, self.high))
        low, high = ((end - self.center) / self.width for end in ends)
        return low, high if low < high else low + 1

    @property
    def _decimals_to_show(self) -> int:
        """The decimals of the training values, else those that float32 knows of the largest."""
        if self.decimals is not None:
            return self.decimals
        largest = max(abs(self.low), abs(self.high), sys.float_info.min)
        return max(1, 6 - math.floor(math.log10(largest)))

    def __str__(self) -> str:
        if self.kind == "categorical":
            return f"categorical, {len(self.levels):,} levels"
        return self.kind

    @classmethod
    def fit(cls, values: Array, kind: ColumnKind, what: str) -> Self:
        """Return the column of training values ``[N]``: numbers with NaN, or texts with None.

        Raises:
            DataError: values that cannot be of the kind, or none; ``what`` names the column.

        Example:
            >>> str(Column.fit(np.array(["a", "b", "a"], object), "categorical", "column 'x'"))
            'categorical, 2 levels'
        """
        there = present(values)
        if not len(there):
            raise DataError(f"{what} has no values in training rows. Leave it out by `ignore`.")
        if kind in ("categorical", "boolean"):
            return cls(kind, levels=levels_of(there, kind, what))
        if there.dtype == object:
            raise DataError(f"{what} holds texts, such as {there[0]!r}, and is no {kind} column.")
        numbers = there.astype(np.float64)
        low, high = float(numbers.min()), float(numbers.max())
        decimals = decimals_of(numbers)
        made = cls(kind, low=low, high=high, decimals=decimals)
        made.require_fit(numbers, what)
        if kind == "count":
            return made
        if kind == "bounded":
            low, high = (0.0, 1.0) if low >= 0 and high <= 1 and decimals != 0 else (low, high)
            return cls(kind, low, high - low or 1.0, low, high, (), decimals)
        logs = np.log(numbers) if kind == "positive" else numbers
        with np.errstate(all="ignore"):  # what overflows is refused below
            center, width = float(logs.mean()), float(logs.std())
        if not (math.isfinite(center) and math.isfinite(width)):
            raise DataError(f"{what}: values too large for their variance. Rescale them.")
        # rounding leaves a constant column with a deviation that is not quite 0
        width = 1.0 if low == high or width <= 0 else width
        return cls(kind, center, width, low, high, (), decimals)

    def require_fit(self, numbers: Array, what: str) -> None:
        """Refuse numbers that the kind does not have (`DataError`)."""
        least, most = -math.inf, math.inf
        if self.kind == "bounded":
            least, most = self.low, self.high
        elif self.kind in ("count", "positive"):
            least = 0.0
        wrong = (numbers < least) | (numbers > most)
        if self.kind == "count":
            wrong |= numbers != np.rint(numbers)
        if self.kind == "positive":
            wrong |= numbers <= 0
        wrong |= ~np.isfinite(numbers)
        if wrong.any():
            wanted = {
                "count": "whole numbers from 0 on", "positive": "numbers above 0",
                "bounded": f"numbers from {least:g} to {most:g}",
            }.get(self.kind, "finite numbers")  # fmt: skip
            raise DataError(
                f"{what} is of the kind {self.kind}, {wanted}. Got {numbers[wrong][0]:g}. Correct "
                "it, leave the cell empty, or choose another kind by `kind`."
            )

    def read(self, values: Array, what: str) -> Array:
        """Return x of values ``[N]``, float32, NaN where missing; levels that are new are the last.

        Raises:
            DataError: values that the kind does not have.
        """
        x = np.full(len(values), np.nan, np.float32)
        is_there = ~are_holes(values)
        there = values[is_there]
        if self.levels:
            number = {level: float(i) for i, level in enumerate(self.levels)}
            new = float(len(self.levels))
            found = np.array([number.get(text, new) for text in as_texts(there)], np.float32)
            if self.kind == "boolean" and (found == new).any():
                raise DataError(
                    f"{what} is {' or '.join(self.levels)} in the training data. Got "
                    f"{as_texts(there)[int((found == new).argmax())]!r}. Correct it, or leave the "
                    "cell empty."
                )
            x[is_there] = found
            return x
        if there.dtype == object:
            raise DataError(
                f"{what} holds numbers in the training data. Got {there[0]!r}. Correct it, or "
                "leave the cell empty."
            )
        numbers = there.astype(np.float64)
        self.require_fit(numbers, what)
        logs = np.log(numbers) if self.kind == "positive" else numbers
        x[is_there] = (logs - self.center) / self.width
        return x

    def restore(self, x: Array) -> list[Any]:
        """Return values as they came: numbers, booleans or texts; None where x is NaN."""
        is_hole = np.isnan(x)
        filled = np.where(is_hole, 0.0, x)
        values: list[Any]
        if self.levels:
            names = [*map(typed, self.levels)]
            names += [UNSEEN] * (self.kind == "categorical")
            places = np.rint(filled.clip(0, len(names) - 1)).astype(int)
            values = [names[place] for place in places]
        else:
            numbers = filled * self.width + self.center
            numbers = np.exp(numbers.clip(-700, 700)) if self.kind == "positive" else numbers
            n = self._decimals_to_show
            values = [round(each, n) if n else round(each) for each in numbers.tolist()]
        return [None if hole else value for hole, value in zip(is_hole, values, strict=True)]


class TableScale(ColumnScale):
    """The scale of a table whose columns are of several kinds: that of each `Column`."""

    columns: tuple[Column, ...]

    def __init__(self, columns: Sequence[Column]) -> None:
        # center and width are those of x itself: densities are those of x
        ends = (np.array([getattr(c, end) for c in columns]) for end in ("low", "high"))
        super().__init__("columns", np.zeros(len(columns)), np.ones(len(columns)), *ends)
        object.__setattr__(self, "columns", tuple(columns))

    @classmethod
    def fit_table(
        cls,
        values: Sequence[Array],
        chosen: Array | slice,
        names: Sequence[str] | None,
        kinds: Mapping[str, ColumnKind],
        name: str,
    ) -> TableScale:
        """Return the scale of columns, each ``[N]``, by the rows at the ``chosen`` numbers.

        A kind that is not asked for by name is seen from all rows.

        Raises:
            DataError: a column that has no kind, or not that which is asked for.
        """
        known = list(names or [])
        for asked in kinds:
            if asked not in known:
                raise DataError(f"{name}: no column {asked!r}. {did_you_mean(asked, known)}")
        columns = []
        for p, cells in enumerate(values):
            what = _named(name, known, p)
            kind = kinds.get(known[p]) if known else None
            columns.append(Column.fit(cells[chosen], kind or kind_of_values(cells, what), what))
        return cls(columns)

    @property
    def specs(self) -> tuple[ColumnSpec, ...]:
        """The columns in words."""
        return tuple(column.spec for column in self.columns)

    def read(self, values: Sequence[Array], names: Sequence[str] | None, name: str) -> Array:
        """Return x ``[N, P]``, float32, NaN where a cell is missing.

        Raises:
            DataError: values that are not of the kind of their column.
        """
        x = np.empty((len(values[0]), len(values)), np.float32)
        for p, (column, cells) in enumerate(zip(self.columns, values, strict=True)):
            x[:, p] = column.read(cells, _named(name, list(names or []), p))
        return x

    def restore(self, x: Tensor) -> Array:
        """Return x ``[n, P]`` as values of many types, dtype object; None where x is NaN."""
        table = x.detach().cpu().double().numpy()
        restored = np.empty(table.shape, object)
        for p, column in enumerate(self.columns):
            restored[:, p] = column.restore(table[:, p])
        return restored

    def described(self, names: Sequence[str] | None) -> list[str]:
        """Return for each kind the columns that it has."""
        found: dict[str, list[str]] = {}
        for p, column in enumerate(self.columns):
            level = f" ({len(column.levels):,})" if column.kind == "categorical" else ""
            found.setdefault(column.kind, []).append((names[p] if names else str(p)) + level)
        return [f"{kind}: {', '.join(found[kind])}" for kind in COLUMN_KINDS if kind in found]

    def to_dict(self) -> dict[str, Any]:
        """Return the scale as plain values for JSON."""
        columns = [asdict(column) | {"levels": list(column.levels)} for column in self.columns]
        return {"kind": self.kind, "columns": columns}

    @classmethod
    def from_dict(cls, values: dict[str, Any], n_features: int) -> ColumnScale:
        """Return what `to_dict` gave, of this class or of its base.

        Raises:
            ValueError: it is no scale of so many columns.
        """
        if values.get("kind") != "columns":
            return ColumnScale.from_dict(values, n_features)
        columns = values.get("columns")
        if not isinstance(columns, list) or len(columns) != n_features:
            raise ValueError(f"a scale of columns needs {n_features} columns")
        return cls([_column_from(column) for column in columns])


def _column_from(values: dict[str, Any]) -> Column:
    column = Column(**{**values, "levels": tuple(values["levels"])})
    numbers = (column.center, column.width, column.low, column.high)
    if column.decimals is not None and not is_int(column.decimals, 0):
        raise ValueError(f"a column of {column.decimals!r} decimals")
    if not all(map(is_number, numbers)) or column.width <= 0 or column.low > column.high:
        raise ValueError(f"a column of {numbers}")
    has_levels = column.kind in ("categorical", "boolean")
    if not all(isinstance(level, str) for level in column.levels) or (
        column.kind not in COLUMN_KINDS or bool(column.levels) != has_levels
    ):
        raise ValueError(f"a column of kind {column.kind!r} with {len(column.levels)} levels")
    return column


def _named(name: str, names: Sequence[str], place: int) -> str:
    return f"{name}: column {names[place]!r}" if names else f"{name}: column {place}"
