"""What is asked of a reader, and the roles of a table's columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from discretevae.config import DataConfig, ScaleMode
from discretevae.data.scale import ColumnScale
from discretevae.errors import DataError, DataWarning, did_you_mean

LABEL_NAMES = ("label", "target", "class")
"""Columns of these names hold the classes, unless another one is asked for."""

ROW_ID_NAMES = ("", "unnamed: 0", "rownames", "row.names", "__index_level_0__")
"""What pandas, R and pyarrow call the row numbers that they write beside a table."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """How a source is to be read: as a user asks, or as the data of a run were.

    Args:
        image_size: (height, width) of pictures.
        divisor: x = values / divisor; None to choose it by the values.
        scale: of the columns: a mode, the scale of a run, or None; see `Rows.from_array`.
        label: the column of the classes.
        row_id: the column that names the rows.
        ignore: columns that are left out.
        header: whether the first line of a text table holds names; None to see from the line.
        columns: names of the features of a run, in their order; None for all that there are.
        fit_rows: from N to the numbers of the rows that a scale is chosen by; None for all rows.
        run_size: (height, width) of the pictures of a run, which files of pictures are resized to.
        run_white: the value of white in a run; files of pictures that go beyond it have their own.
    """

    image_size: tuple[int, int] | None = None
    divisor: float | None = None
    scale: ScaleMode | ColumnScale | None = None
    label: str | None = None
    row_id: str | None = None
    ignore: tuple[str, ...] = ()
    header: bool | None = None
    columns: tuple[str, ...] | None = None
    fit_rows: Callable[[int], Tensor] | None = None
    run_size: tuple[int, int] | None = None
    run_white: float | None = None

    @classmethod
    def of(cls, config: DataConfig) -> Request:
        """Return the request of a configuration."""
        return cls(
            image_size=config.image_size,
            divisor=config.divisor,
            scale=config.scale,
            label=config.label,
            row_id=config.row_id,
            ignore=config.ignore,
            header=config.header,
        )


@dataclass(frozen=True)
class Roles:
    """Places of the columns of a table, counted from 0.

    Args:
        features: in the order of the model.
        label: of the classes, or None.
        row_id: of the row ids, or None.
        is_found: whether label and row id were found by their names, not asked for; they are
            features if their values cannot be classes or ids.
    """

    features: tuple[int, ...]
    label: int | None = None
    row_id: int | None = None
    label_is_found: bool = False
    row_id_is_found: bool = False


def choose_roles(
    names: Sequence[str], request: Request, source: str, *, index_columns: Sequence[str] = ()
) -> Roles:
    """Return what each named column of a table is.

    Args:
        names: of all columns.
        request: what is asked.
        source: starts every message.
        index_columns: names that the file itself calls row ids.

    Raises:
        DataError: a column that is asked for is missing; a name stands twice; or features other
            than those of the run.

    Warns:
        DataWarning: the columns of a run stand in another order.

    Example:
        >>> choose_roles(["a", "label", "b"], Request(), "mine").features
        (0, 2)
    """
    place = {name: i for i, name in enumerate(names)}
    if len(place) < len(names):
        twice = next(name for i, name in enumerate(names) if place[name] != i)
        raise DataError(f"{source}: column {twice!r} stands there twice. Rename or drop one.")
    is_of_run = request.columns is not None
    for name in (request.label, request.row_id, *request.ignore):
        if name is not None and name not in place and not is_of_run:
            raise DataError(f"{source}: no column {name!r}. {did_you_mean(name, names)}")
    asked = {request.label, request.row_id, *request.ignore} | set(request.columns or ())
    label = place.get(request.label) if request.label is not None else None
    row_id = place.get(request.row_id) if request.row_id is not None else None
    found_label = found_id = None
    if label is None:
        found_label = _one_label([n for n in names if n not in asked], place, source)
    if row_id is None:
        known = {*index_columns}
        candidates = [
            n for i, n in enumerate(names)
            if n not in asked and (n in known or (i == 0 and n.strip().casefold() in ROW_ID_NAMES))
        ]  # fmt: skip
        found_id = place[candidates[0]] if candidates else None
    label = found_label if label is None else label
    row_id = found_id if row_id is None else row_id
    left_out = {label, row_id, *(place[name] for name in request.ignore if name in place)}
    features = tuple(i for i in range(len(names)) if i not in left_out)
    if request.columns is not None:
        features = _in_order_of_run(names, features, request.columns, source)
    return Roles(features, label, row_id, found_label is not None, found_id is not None)


def _one_label(names: Sequence[str], place: dict[str, int], source: str) -> int | None:
    found = [name for name in names if name.strip().casefold() in LABEL_NAMES]
    if len(found) > 1:
        raise DataError(
            f"{source}: columns {' and '.join(found)} all name labels. Choose one by `label`, and "
            "leave the others out by `ignore`."
        )
    return place[found[0]] if found else None


def _in_order_of_run(
    names: Sequence[str], features: tuple[int, ...], columns: tuple[str, ...], source: str
) -> tuple[int, ...]:
    """Return the places of the run's columns.

    Raises:
        DataError: some are missing, or there are others.

    Warns:
        DataWarning: they stand in another order.
    """
    place = {names[i]: i for i in features}
    missing = [name for name in columns if name not in place]
    foreign = [name for name in place if name not in set(columns)]
    if missing or foreign:
        parts = [
            f"{what} {listed(found)}"
            for what, found in (("without", missing), ("with foreign", foreign))
            if found
        ]
        raise DataError(
            f"{source}: other columns than the run was trained on: {'; '.join(parts)}. Name them "
            "as in the training data, or drop what it did not have."
        )
    ordered = tuple(place[name] for name in columns)
    if ordered != features:
        warnings.warn(
            f"{source}: its columns stand in another order than in the training data; they were "
            "put in order by name.",
            DataWarning,
            stacklevel=3,
        )
    return ordered


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names for a message, of many only the first.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        "'a', 'b' and 1 more"
    """
    listed = ", ".join(repr(name) for name in names[:most])
    return listed + (f" and {len(names) - most:,} more" if len(names) > most else "")
