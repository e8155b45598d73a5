"""The schema of a run's data, which new data are held against."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from discretevae.config import DataConfig, ImageShape, spell_shape
from discretevae.config.checks import is_int, is_number
from discretevae.config.pictures import is_image_shape
from discretevae.data.classes import renumber
from discretevae.data.columns import TableScale
from discretevae.data.datasets import Dataset, DrawnSplit
from discretevae.data.digest import Digest
from discretevae.data.readers.request import Request, listed
from discretevae.data.rows import Rows
from discretevae.data.scale import FOREIGN_ROWS, FOREIGN_WIDTH, ColumnScale, require_width, restored
from discretevae.data.stores.values import Array
from discretevae.data.windows import Windows, repeated
from discretevae.errors import DataError, DataWarning

FORMAT = "discretevae-schema"
FORMAT_VERSION = 1

Change = Literal["same", "grown"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Schema:
    """Description of the data that a model learned from; new data are held against it.

    Args:
        n_features: P.
        columns: names of the features in their order, or None where the source has none.
        divisor: x = values / divisor, where there is no scale.
        scale: of the columns, or None.
        low: the least training value in the units of the source.
        high: the largest.
        image_shape: (height, width) of rows that are pictures, also (height, width, channels).
        classes: names of the labels, by their number.
        split: how the test rows were drawn; None where the source has its own.
        window: W of a series, whose columns and scale are those of a single time; None of others.
        stride: of so many times one begins a window.
        digests: of the parts of the source: ``all``, or ``train`` and ``test``. Empty for
            built-in sets, which are checked as they are read, and in a shared model.

    Example:
        >>> from discretevae.data import load_data, load_rows
        >>> schema = Schema.of(load_data("digits"))
        >>> schema.n_features, schema.divisor, schema.high
        (64, 16.0, 16.0)
        >>> len(schema.hold(load_rows("digits")))
        1797
        >>> schema.hold(Rows.from_array([[0.5, 0.25]]))
        Traceback (most recent call last):
        ...
        discretevae.errors.DataError: array: rows have 2 features, but the model takes 64. Give \
data of the model's own width.
    """

    n_features: int
    columns: tuple[str, ...] | None = None
    divisor: float = 1.0
    scale: ColumnScale | None = None
    low: float = 0.0
    high: float = 1.0
    image_shape: ImageShape | None = None
    classes: tuple[str, ...] | None = None
    split: DrawnSplit | None = None
    window: int | None = None
    stride: int = 1
    digests: dict[str, Digest]

    @classmethod
    def of(cls, data: Dataset) -> Schema:
        """Return what is to be known of data that a model learns from.

        Example:
            >>> rows = Rows.from_array([[0, 5], [16, 1], [3, 3]], divisor=16)
            >>> schema = Schema.of(Dataset("mine", rows, rows))
            >>> schema.high, schema.divisor
            (16.0, 16.0)
        """
        rows = data.train
        series: dict[str, Any] = {}
        if isinstance(rows.values, Windows):
            series = {name: getattr(rows.values, name) for name in ("window", "stride")}
            rows = replace(rows.values.times, classes=None)
        low, high = (end * rows.divisor for end in rows.value_range)
        if rows.scale is not None:
            low, high = float(rows.scale.low.min()), float(rows.scale.high.max())
        return cls(
            n_features=data.n_features,
            columns=rows.columns,
            divisor=rows.divisor,
            scale=rows.scale,
            low=low,
            high=high,
            image_shape=rows.image_shape,
            classes=rows.classes,
            split=data.split,
            **series,
            digests={part: Digest.of(rows) for part, rows in _parts(data).items()},
        )

    def without_rows(self) -> Schema:
        """Return what can be given to others: nothing by which single rows can be guessed."""
        return replace(self, split=None, digests={})

    def __repr__(self) -> str:
        """Return what is known in one line, without names and numbers of columns."""
        parts = [f"{self.n_features:,} {'named ' if self.columns else ''}features"]
        parts += [f"divisor {self.divisor:g}"] if self.divisor != 1 else []
        parts += [f"{self.scale.kind} scale"] if self.scale else []
        parts.append(f"values {self.low:g} to {self.high:g}")
        if self.image_shape:
            parts.append(f"pictures of {spell_shape(self.image_shape)}")
        parts += [f"windows of {self.window:,} times"] if self.window else []
        parts += [f"{len(self.classes):,} classes"] if self.classes else []
        parts += [f"{part} {digest.rows:,} rows" for part, digest in self.digests.items()]
        return f"Schema({', '.join(parts)})"

    def request(self, config: DataConfig) -> Request:
        """Return how new data are read: as those of the run were."""
        asked = replace(Request.of(config), columns=self.columns, run_shape=self.image_shape)
        if asked.divisor is not None and asked.divisor != self.divisor:
            return asked  # as somebody said
        if self.scale is not None:
            return replace(asked, scale=self.scale, divisor=None)
        is_white = self.low >= 0 and self.high <= self.divisor
        white = self.divisor if is_white else None
        return replace(asked, scale=None, divisor=self.divisor, run_white=white)

    def with_divisor(self, divisor: float) -> Schema:
        """Return the schema for values that somebody says the divisor of; their range is free."""
        return replace(self, divisor=divisor, scale=None, low=math.inf, high=-math.inf)

    def hold(self, rows: Rows) -> Rows:
        """Return new rows with the run's classes, if they can be of its kind.

        Raises:
            DataError: another width, picture size or range of values; both are named.

        Warns:
            DataWarning: classes that the run does not know.
        """
        require_width(rows.n_features, self.n_features, rows.name)
        if rows.scale is None and rows.divisor == self.divisor:
            self._require_range(rows)
        if self.image_shape is not None and rows.image_shape is None:
            rows = replace(rows, image_shape=self.image_shape)
        if self.classes is None:
            return rows
        labels, classes, foreign = renumber(rows.labels, rows.classes, self.classes)
        if foreign:
            warnings.warn(
                f"{rows.name}: classes that the run does not know: {listed(foreign)}.",
                DataWarning,
                stacklevel=2,
            )
        return replace(rows, labels=labels, classes=classes)

    @property
    def is_mixed(self) -> bool:
        """True if the columns are of several kinds."""
        return isinstance(self.scale, TableScale)

    def in_source_units(self, x: Tensor) -> Array:
        """Return x ``[n, P]`` in the units that the data came in: float32, or float64 if scaled.

        Of columns of several kinds the dtype is object: numbers, booleans, texts, None.
        """
        scale = self.scale
        if scale is not None and self.window is not None:
            scale = repeated(scale, self.window)
        return restored(x, self.divisor, scale)

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the features: of the columns, in windows with the number of the time."""
        if self.columns is None or self.window is None:
            return self.columns
        return tuple(f"{name}[{t}]" for t in range(self.window) for name in self.columns)

    def _require_range(self, rows: Rows) -> None:
        """Refuse values that cannot be in the units of the training values.

        Raises:
            DataError: fractions or 0 and 1 where whole numbers are divided, or the reverse.
        """
        low, high = (end * rows.divisor for end in rows.value_range)
        if self.low > self.high:  # nothing is known
            return
        if self.divisor > 1 and self.high > 1:
            is_foreign = 0 < high <= 1
        elif self.high <= 1 and self.low >= 0:
            is_foreign = high > FOREIGN_WIDTH
        else:
            is_foreign = self.high > FOREIGN_WIDTH and high <= 1 and len(rows) >= FOREIGN_ROWS
        if is_foreign:
            divided = f", which the run divides by {self.divisor:g}" if self.divisor != 1 else ""
            raise DataError(
                f"{rows.name}: values from {low:g} to {high:g}, but the training values run from "
                f"{self.low:g} to {self.high:g}{divided}. Give values in the same units, or say "
                "what divides them by `divisor`."
            )

    def require_same(self, data: Dataset) -> None:
        """Refuse data that a run cannot go on with; more training rows are accepted.

        Raises:
            DataError: rows are gone or have changed, or other rows are held out.
        """
        if not self.digests:
            return
        if data.split != self.split:
            raise DataError(
                f"{data.name}: other rows are held out than when the run was trained. Give the "
                "data of the training, or start a new run."
            )
        self.compare(_parts(data), data.name)

    def compare(self, parts: Mapping[str, Sequence[Rows]], name: str) -> Change:
        """Return whether the parts of a source are those of the training, or have more rows.

        Args:
            parts: of each the tables that hold its rows.
            name: starts every message.

        Raises:
            DataError: rows are gone or have changed.
        """
        grown = False
        for part, digest in self.digests.items():
            if part not in parts:
                raise DataError(f"{name}: has no part {part} any more, which the run has.")
            n = sum(len(rows) for rows in parts[part])
            if n < digest.rows:
                raise DataError(
                    f"{name}: has {n:,} rows, but {digest.rows:,} when the run was "
                    "trained, so which rows were held out is not known."
                )
            if ranges := digest.changed(parts[part]):
                first, last = ranges[0]
                more = f" and {len(ranges) - 1:,} more ranges" if ranges[1:] else ""
                raise DataError(
                    f"{name}: has changed since the run was trained: rows {first:,} to {last:,}"
                    f"{more} differ, so which rows were held out is not known."
                )
            grown = grown or n > digest.rows
        return "grown" if grown else "same"

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain values for JSON."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "n_features": self.n_features,
            "columns": None if self.columns is None else list(self.columns),
            "divisor": self.divisor,
            "scale": None if self.scale is None else self.scale.to_dict(),
            "low": self.low,
            "high": self.high,
            "image_shape": None if self.image_shape is None else list(self.image_shape),
            "classes": None if self.classes is None else list(self.classes),
            "split": None if self.split is None else asdict(self.split),
            **({} if self.window is None else {"window": self.window, "stride": self.stride}),
            "digests": {part: asdict(digest) for part, digest in self.digests.items()},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schema:
        """Return what `to_dict` gave, after a trip through JSON.

        Raises:
            ValueError: it is no schema, or of another format.
        """
        values = dict(values)
        if values.pop("format", None) != FORMAT:
            raise ValueError("it was not written by discretevae")
        if (version := values.pop("format_version", None)) != FORMAT_VERSION:
            raise ValueError(f"format version {version}, not {FORMAT_VERSION}")
        try:
            return cls(**_read(values))
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ValueError(str(error)) from None


def _read(values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a `Schema`, checked."""
    n, scale, split, size = (
        values[name] for name in ("n_features", "scale", "split", "image_shape")
    )
    if not is_int(n, 1):
        raise ValueError(f"n_features is {n!r}")
    for name in ("divisor", "low", "high"):
        if not is_number(values[name]):
            raise ValueError(f"{name} is {values[name]!r}")
    if values["divisor"] <= 0 or values["low"] > values["high"]:
        raise ValueError(f"divisor {values['divisor']!r}, {values['low']!r} to {values['high']!r}")
    window, stride = values.get("window"), values.get("stride", 1)
    if not (window is None or (is_int(window, 1) and n % window == 0)) or not is_int(stride, 1):
        raise ValueError(f"window is {window!r}, stride {stride!r}")
    n_columns = n // (window or 1)
    size = None if size is None else tuple(size)
    if size is not None and not (is_image_shape(size) and math.prod(size) == n):
        raise ValueError(f"image_shape is {size!r}")
    digests = {part: Digest.from_dict(each) for part, each in values["digests"].items()}
    if set(digests) not in ({"all"}, {"train", "test"}, set()):
        raise ValueError(f"digests of {sorted(digests)}")
    split = None if split is None else DrawnSplit(**split)
    # a draw takes memory for every row that it is said to be of
    if (split is None) != ("all" not in digests) or (split and split.rows > digests["all"].rows):
        raise ValueError("split and digests are of different rows")
    return values | {
        "columns": _names(values, "columns", n_columns),
        "classes": _names(values, "classes", None),
        "image_shape": size,
        "scale": None if scale is None else TableScale.from_dict(scale, n_columns),
        "split": split,
        "digests": digests,
    }


def _parts(data: Dataset) -> dict[str, list[Rows]]:
    """Return the parts of a source that are watched; built-in sets are checked as they are read."""
    if data.is_builtin:
        return {}
    if data.split is not None:
        return {"all": [data.train, data.test]}
    # rows of parts are counted in each of them
    both = {"train": data.train, "test": data.test}
    return {part: [replace(rows, numbers=None)] for part, rows in both.items()}


def _names(values: dict[str, Any], name: str, n: int | None) -> tuple[str, ...] | None:
    names = values[name]
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise ValueError(f"{name} holds no names")
    if len(set(names)) < len(names) or n not in (None, len(names)):
        raise ValueError(f"{len(names)} {name}, or some stand there twice")
    return tuple(names)


def split_rows(rows: Rows, split: DrawnSplit) -> tuple[Rows, Rows]:
    """Return the training and the test rows of a source that may have grown since the split.

    Test rows stay what they were; rows behind those of the split are training rows.
    """
    train, test = split.draw()
    later = torch.arange(split.rows, len(rows))
    return rows.subset(torch.cat([train, later])), rows.subset(test)
