"""Windows of a series as rows: each is some consecutive rows of a table, side by side."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from discretevae.data.columns import TableScale
from discretevae.data.rows import Rows
from discretevae.data.scale import ColumnScale
from discretevae.data.stores.base import Store
from discretevae.data.stores.values import Array
from discretevae.errors import DataError, DataWarning


@dataclass(frozen=True, eq=False)
class Windows(Store):
    """W consecutive rows of a table ``[T, C]`` as one row of W·C values, the first time first.

    The table is held once, however much the windows overlap: a window is a view of it.

    Args:
        times: T rows, in memory; their values are shared.
        window: W.
        stride: of so many times one begins a window.
        starts: the first time of each window, int64 ``[N]``.

    Example:
        >>> times = Rows.from_array([[0.5, -1.0], [2.5, 3.0], [4.5, 5.0]])
        >>> Windows(times, 2, 1, torch.tensor([0, 1])).take(torch.tensor([1]))
        tensor([[2.5000, 3.0000, 4.5000, 5.0000]])
    """

    times: Rows
    window: int
    stride: int
    starts: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(N, W·C)."""
        return len(self.starts), self.window * self.times.n_features

    def take(self, index: Tensor) -> Tensor:
        """Return the windows of these numbers, ``[B]`` to ``[B, W·C]``."""
        return self._views()[self.starts[index]]

    def subset(self, index: Tensor | slice) -> Windows:
        """Return some of the windows of the same table."""
        return replace(self, starts=self.starts[index])

    def pieces(self) -> Iterator[Tensor]:
        """Yield the values of the table, each once."""
        yield self._values()

    def _values(self) -> Tensor:
        return cast(Tensor, self.times.values)  # `windowed` takes no others

    def _views(self) -> Tensor:
        """Return all windows with a stride of 1 as a view, ``[T − W + 1, W·C]``."""
        n, width = self.times.n_features, self.shape[1]
        return self._values().as_strided((len(self.times) - self.window + 1, width), (n, 1))


def windowed(rows: Rows, window: int, stride: int = 1) -> Rows:
    """Return the windows that begin at every ``stride``-th row of a table whose rows are times.

    Their ids and numbers are those of the first time. Labels are not theirs, but of single times.

    Raises:
        DataError: a table shorter than the window, whose times are not in order, or which is no
            table in memory.

    Example:
        >>> rows = windowed(Rows.from_array(np.arange(5.0).reshape(5, 1) / 2), 3, stride=2)
        >>> rows.batch(slice(None))
        tensor([[0.0000, 0.5000, 1.0000],
                [1.0000, 1.5000, 2.0000]])
    """
    n = len(rows)
    if rows.image_shape is not None or not isinstance(rows.values, Tensor):
        raise DataError(
            f"{rows.name}: `window` is for tables in memory, whose rows are times. Got "
            f"{rows.kind_of_values}. Leave it out."
        )
    if n < window:
        raise DataError(
            f"{rows.name}: a series of {n:,} rows has no window of {window:,}. Give more rows, or "
            "a smaller `window`."
        )
    _require_order(rows)
    starts = torch.arange(0, n - window + 1, stride)
    if left := n - int(starts[-1]) - window:
        warnings.warn(
            f"{rows.name}: the last {left:,} rows fill no step of {stride:,} and are in no window.",
            DataWarning,
            stacklevel=2,
        )
    return _rows_of(Windows(rows, window, stride, starts))


def held_out_windows(rows: Rows, test_fraction: float) -> dict[str, Rows]:
    """Return the last share of windows as ``test``, and as ``train`` those that end before them.

    Where none do, all windows are returned as ``all``.
    """
    windows, n = cast(Windows, rows.values), len(rows)
    n_test = min(max(round(n * test_fraction), 1), n)
    first_test = int(windows.starts[n - n_test])
    n_train = int((windows.starts + windows.window <= first_test).sum())
    if not n_train:
        return {"all": rows}
    return {"train": rows.subset(slice(0, n_train)), "test": rows.subset(slice(n - n_test, n))}


def train_times(window: int, stride: int, test_fraction: float) -> Callable[[int], Tensor]:
    """Return what gives, of N times, those that a scale is chosen by: all of the training."""

    def chosen(n: int) -> Tensor:
        n_windows = max(1, (n - window) // stride + 1)
        n_test = min(max(round(n_windows * test_fraction), 1), n_windows)
        return torch.arange(max(1, (n_windows - n_test) * stride))

    return chosen


def require_held_out(rows: Rows) -> None:
    """Refuse a series that is too short to hold some of it out (`DataError`)."""
    if isinstance(rows.values, Windows):
        raise DataError(
            f"{rows.name}: {len(rows.values.times):,} rows are too few to learn from some and test "
            f"on others: no window of {rows.values.window:,} ends before the last tenth begins. "
            "Give more rows, or a smaller `window`."
        )


def joined_windows(parts: Sequence[Rows]) -> Rows | None:
    """Return all windows of the series of which each part has some; None of other rows.

    Raises:
        DataError: the parts are of different series.
    """
    known = [rows.values for rows in parts if isinstance(rows.values, Windows)]
    if not known:
        return None
    first = known[0]
    if any(each.times is not first.times for each in known):
        raise DataError(f"{parts[0].name}: its parts are no single series. Choose one by `split`.")
    starts = torch.arange(0, len(first.times) - first.window + 1, first.stride)
    return _rows_of(replace(first, starts=starts)).binarized(parts[0].binarize)


def times_of(rows: Rows) -> Rows:
    """Return the times that some windows cover, in order; other rows as they are.

    Example:
        >>> rows = windowed(Rows.from_array(np.arange(9.0).reshape(9, 1) / 2), 3)
        >>> times_of(rows.subset(slice(2, 4))).source_numbers
        tensor([2, 3, 4, 5])
    """
    if not isinstance(rows.values, Windows):
        return rows
    return rows.values.times.subset(torch.from_numpy(np.flatnonzero(_covering(rows.values))))


def over_times(rows: Rows, figures: Array) -> Array:
    """Return the mean over the windows that cover each of `times_of`, from one for each window.

    Of other rows the figures are returned as they are.

    Example:
        >>> rows = windowed(Rows.from_array(np.arange(4.0).reshape(4, 1) / 2), 2)
        >>> over_times(rows, np.array([3.0, 6.0, 9.0])).tolist()
        [3.0, 4.5, 7.5, 9.0]

    Source: Xu et al., "Unsupervised anomaly detection via variational auto-encoder for seasonal
    KPIs in web applications" (2018), score windows; they keep that of the last time alone.
    """
    if not isinstance(rows.values, Windows):
        return figures
    counts = _covering(rows.values)
    means: Array = _sums(rows.values, figures)[counts > 0] / counts[counts > 0]
    return means


def _covering(windows: Windows) -> Array:
    """Return how many windows cover each time, ``[T]``."""
    return _sums(windows, np.ones(len(windows.starts)))


def _sums(windows: Windows, figures: Array) -> Array:
    """Return the sum over the windows that cover each time, float64 ``[T]``."""
    total, starts = np.zeros(len(windows.times)), windows.starts.numpy()
    for offset in range(windows.window):  # sums of differences would cancel
        np.add.at(total, starts + offset, figures)
    return total


def _rows_of(windows: Windows) -> Rows:
    times, starts = windows.times, windows.starts
    return Rows(
        windows,
        divisor=times.divisor,
        name=times.name,
        binarize=times.binarize,
        numbers=times.source_numbers[starts],
        ids=None if times.ids is None else times.ids[starts.numpy()],
        scale=None if times.scale is None else repeated(times.scale, windows.window),
    )


def repeated(scale: ColumnScale, window: int) -> ColumnScale:
    """Return the scale of windows from that of the columns of a single time."""
    if isinstance(scale, TableScale):
        return TableScale(scale.columns * window)
    center, width, low, high = (
        np.tile(part, window) for part in (scale.center, scale.width, scale.low, scale.high)
    )
    return ColumnScale(scale.kind, center, width, low, high)


def _require_order(rows: Rows) -> None:
    """Refuse times that go back, where ids are numbers or dates (`DataError`)."""
    times = rows.ids
    if times is None:
        return
    if times.dtype.kind not in "iufM":
        try:
            times = np.array([str(each) for each in times], "datetime64[us]")
        except ValueError:
            return  # no times, or in words of their own
    back = np.flatnonzero(times[1:] < times[:-1])
    if len(back):
        at = int(back[0])
        ids = rows.row_ids
        raise DataError(
            f"{rows.name}: its times are not in order: {ids[at + 1]} comes after {ids[at]} in row "
            f"{at + 1:,} (counted from 0). Sort it by time."
        )
