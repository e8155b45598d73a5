"""The request that a reader answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from discretevae.config import ColorMode, DataConfig, ImageShape, ScaleMode
from discretevae.data.columns import TableScale
from discretevae.data.rows import Rows
from discretevae.data.scale import ColumnScale


@dataclass(frozen=True, kw_only=True)
class Request:
    """Options of reading a source: as a user asks, or as the data of a run were.

    Args:
        image_size: (height, width) of pictures; of objects in memory also their channels.
        color: of pictures in files.
        skip_broken: whether files of a folder that are no pictures are left out.
        divisor: x = values / divisor; None to choose it by the values.
        scale: of the columns: a mode, the scale of a run, or None; see `Rows.from_array`.
        label: the column of the classes.
        row_id: the column that names the rows.
        text: the column whose words are counted.
        ignore: columns that are left out.
        kind: of columns whose kind is asked for, ``COLUMN=KIND``.
        header: whether the first line of a text table holds names; None to see from the line.
        columns: names of the features of a run, in their order; None for all that there are.
        fit_rows: from N to the numbers of the rows that a scale is chosen by; None for all rows.
        run_shape: of the pictures of a run, whose size and channels files of pictures are given.
        run_white: the value of white in a run; files of pictures that go beyond it have their own.
        progress: whether a bar is drawn while many pictures are decoded.
    """

    image_size: ImageShape | None = None
    color: ColorMode = "auto"
    skip_broken: bool = False
    divisor: float | None = None
    scale: ScaleMode | ColumnScale | None = None
    label: str | None = None
    row_id: str | None = None
    text: str | None = None
    ignore: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    header: bool | None = None
    columns: tuple[str, ...] | None = None
    fit_rows: Callable[[int], Tensor] | None = None
    run_shape: ImageShape | None = None
    run_white: float | None = None
    progress: bool = False

    @classmethod
    def of(cls, config: DataConfig) -> Request:
        """Return the request of a configuration."""
        names = ("image_size", "color", "skip_broken", "divisor", "scale", "label", "row_id",
                 "text", "ignore", "kind", "header")  # fmt: skip
        return cls(**{name: getattr(config, name) for name in names})

    @property
    def is_mixed(self) -> bool:
        """True if a table is to be read column by column."""
        return self.scale == "columns" or isinstance(self.scale, TableScale) or bool(self.kind)

    @property
    def may_be_mixed(self) -> bool:
        """True if texts and missing cells may stand in a table."""
        return self.is_mixed or (self.scale in (None, "auto") and self.divisor is None)

    def rows(self, array: Any, **more: Any) -> Rows:
        """Return what a reader found, on the scale that is asked for; see `Rows.from_array`."""
        asked = {"image_shape": self.image_size, "divisor": self.divisor, "scale": self.scale,
                 "fit_rows": self.fit_rows}  # fmt: skip
        return Rows.from_array(array, **asked | more)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names for a message, of many only the first.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        "'a', 'b' and 1 more"
    """
    first = ", ".join(repr(name) for name in names[:most])
    return first + (f" and {len(names) - most:,} more" if len(names) > most else "")
