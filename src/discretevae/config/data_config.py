"""The data of a run, and how they are to be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from discretevae.config.checks import (
    FLAG,
    POSITIVE,
    an_int,
    are_ints,
    one_of,
    problems_of,
    refuse,
    rule,
)
from discretevae.config.columns import COLUMN_KINDS, ColumnKind
from discretevae.config.likelihoods import LikelihoodSpec
from discretevae.config.pictures import COLOR_MODES, ColorMode

BinarizeMode = Literal["none", "threshold", "dynamic"]
BINARIZE_MODES: tuple[BinarizeMode, ...] = get_args(BinarizeMode)

ScaleMode = Literal["auto", "standard", "minmax", "columns", "none"]
SCALE_MODES: tuple[ScaleMode, ...] = get_args(ScaleMode)


_SIZE = rule("(height, width), both >= 1", lambda size: are_ints(size, 1, 2))


def scale_for(asked: ScaleMode | None, likelihood: LikelihoodSpec | None) -> ScaleMode | None:
    """Return the scale to read a table with: ``auto`` is for likelihoods of real values only.

    Counts are taken as they are, columns of several kinds by their kinds. The likelihood is None if
    it is chosen by the values.
    """
    if likelihood is not None and likelihood.kind == "mixed" and asked in ("auto", None):
        return "columns"
    if asked != "auto" or likelihood is None or not (likelihood.is_unit or likelihood.is_count):
        return asked
    return "none" if likelihood.is_count else None


_KINDS = rule(
    f"COLUMN=KIND, each of a kind of {', '.join(COLUMN_KINDS)}",
    lambda pairs: all(
        isinstance(pair, str) and "=" in pair and pair.rpartition("=")[2] in COLUMN_KINDS
        for pair in pairs
    ),
)


def kinds_of(pairs: tuple[str, ...]) -> dict[str, ColumnKind]:
    """Return the kinds of columns by their names, from ``COLUMN=KIND``."""
    split = (pair.rpartition("=") for pair in pairs)
    return {name: cast(ColumnKind, kind) for name, _, kind in split}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data that a run is trained on, and how they are read.

    What was found in them (columns, scales, classes) stands in the `Schema` of the run.

    Args:
        source: a built-in name, also with ``builtin:`` before it, or a path.
        label: the column of a table that holds the classes; None for one that is called label,
            target or class.
        row_id: the column of a table that names the rows; None for one that looks like it.
        text: the column of a table whose words are counted, see `read_texts`; in place of others.
        ignore: columns of a table that are left out.
        kind: ``COLUMN=KIND`` for columns of a table whose kind is not to be seen from their values,
            a `ColumnSpec`.
        header: whether the first line of a text table holds names; None to see from the line.
        image_size: (height, width) that a folder of images is resized to, or None.
        color: ``rgb`` reads pictures in files as red, green and blue, ``grey`` as grey; ``auto`` as
            grey if all of them are.
        skip_broken: whether pictures in a folder that cannot be read are left out, and named.
        window: W: the rows of a table are times, and W consecutive ones are a row of the model.
        stride: of so many times one begins a window.
        scale: ``standard`` (mean 0, deviation 1), ``minmax`` (0 to 1) or ``none`` for every
            column; ``columns``: each by its kind; ``auto``: ``columns`` for tables with texts or
            missing cells, ``standard`` for others whose values are no grey values and not binary.
            None chooses a divisor for all values, see `Rows.from_array`.
        divisor: x = values / divisor; None to choose it by the values.
        binarize: ``none`` (values as they are), ``threshold`` (x > 0.5) or ``dynamic`` (x
            redrawn as Bernoulli(x) every time it is met).

    Raises:
        ConfigError: a value out of its range, a column with two roles, or a divisor beside
            scaled columns.

    Example:
        >>> DataConfig(source="mnist").image_size is None
        True
    """

    source: str = "digits"
    label: str | None = None
    row_id: str | None = None
    text: str | None = None
    ignore: tuple[str, ...] = field(
        default=(),
        metadata=rule("names of columns", lambda names: all(isinstance(n, str) for n in names)),
    )
    kind: tuple[str, ...] = field(default=(), metadata=_KINDS)
    header: bool | None = field(default=None, metadata=FLAG)
    window: int | None = field(default=None, metadata=an_int(1))
    stride: int = field(default=1, metadata=an_int(1))
    image_size: tuple[int, int] | None = field(default=None, metadata=_SIZE)
    color: ColorMode = field(default="auto", metadata=one_of(COLOR_MODES))
    skip_broken: bool = field(default=False, metadata=FLAG)
    scale: ScaleMode | None = field(default=None, metadata=one_of(SCALE_MODES))
    divisor: float | None = field(default=None, metadata=POSITIVE)
    binarize: BinarizeMode = field(default="none", metadata=one_of(BINARIZE_MODES))

    def __post_init__(self) -> None:
        problems = problems_of(self, "`")
        named = [name for name in (self.label, self.row_id, *self.ignore) if name is not None]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            problems.append(f"column {twice[0]!r} is given two roles. Name it once.")
        if self.window is None and self.stride != 1:
            problems.append(f"`stride` is of windows. Got {self.stride} without `window`.")
        if self.divisor is not None and self.scale is not None:
            problems.append(
                f"`divisor={self.divisor:g}` is one scale for all values, and "
                f"`scale={self.scale!r}` another. Leave one out."
            )
        refuse(problems)
