"""Tables of text: `.csv` and `.tsv`, numbers only.

A column named `label`, `target` or `class` that holds whole numbers becomes the labels; every
other column is a feature.
"""

from __future__ import annotations

import csv
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from discretevae.data.readers.request import Request
from discretevae.data.rows import Rows
from discretevae.errors import DataError, DataWarning

_LABEL_NAMES = ("label", "target", "class")
_BLOCK = 1 << 22
"""Cells parsed in one go: their float64 copy (32 MiB) is gone before the next block is read."""


def read_csv(path: Path, request: Request) -> Rows:
    """Read a text table; comma, semicolon or tab, with or without a line of names.

    Raises:
        DataError: a cell that is no number, a line of another length, nothing to read, not UTF-8.

    Warns:
        DataWarning: a first line that reads 0, 1, 2, ... was taken for names.
    """
    delimiter = ","
    try:
        with path.open(encoding="utf-8-sig") as file:
            first, delimiter, names = _first_line(file, path)
            label = label_column(names, path)
            lines = (line for line in itertools.chain(first, file) if not line.isspace())
            table, labels = _parse(lines, delimiter, label, path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}). Save it as UTF-8 CSV.") from None
    except (ValueError, csv.Error) as error:
        if isinstance(error, DataError):
            raise
        raise _explain(path, delimiter, str(error)) from None
    width = table.shape[1] + (labels is not None)
    if names and len(names) != width:
        raise DataError(
            f"{path}: the line of names has {len(names)} cells, the rows {width}. Make both equal."
        )
    if labels is not None and not np.array_equal(labels, np.rint(labels)):
        table = np.insert(table.astype(np.float32), label or 0, labels, axis=1)
        labels = None
        warn_label_is_feature(path, names[label or 0])
    if names and not names[0]:
        refuse_counting(table[:, 0], path)
    columns = [name for i, name in enumerate(names) if labels is None or i != label]
    return Rows.from_array(
        table, labels=labels, image_shape=request.image_size, divisor=request.divisor,
        scale=request.scale, fit_rows=request.fit_rows, name=str(path), columns=columns or None,
        is_table=True, copy=False,
    )  # fmt: skip


def _first_line(file: Iterable[str], path: Path) -> tuple[list[str], str, list[str]]:
    """Return the first line if it is data, the delimiter, and the names if it is a header."""
    line = next((line for line in file if not line.isspace()), None)
    if line is None:
        raise DataError(f"{path}: the file is empty. Give at least 1 row.")
    bare = re.sub(r'"[^"]*"', "", line)
    # A number may hold a decimal comma, but never a semicolon or a tab.
    delimiter = next((mark for mark in ";\t" if mark in bare), ",")
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
    if cells == [str(i) for i in range(len(cells))] and len(cells) > 2:
        warnings.warn(
            f"{path}: the first line reads 0, 1, 2, ... and was taken for column names.",
            DataWarning,
            stacklevel=3,
        )
        return [], delimiter, cells
    # A line that mixes numbers and an empty cell is a row with a hole, not a line of names.
    if any(cell and not _is_number(cell) for cell in cells):
        return [], delimiter, cells
    return [line], delimiter, []


def _parse(
    lines: Iterator[str], delimiter: str, label: int | None, path: Path
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Return the features, uint8 or float32, and the column of labels in full precision."""
    blocks: list[npt.NDArray[Any]] = []
    labels: list[npt.NDArray[Any]] = []
    width, n_lines = 0, 1  # the first block is one line: only then is the width known
    while block := list(itertools.islice(lines, n_lines)):
        cells = np.loadtxt(
            block, np.float64, delimiter=delimiter, comments=None, quotechar='"', ndmin=2
        )
        if width not in (0, cells.shape[1]):
            raise ValueError("the number of columns changed")
        width = cells.shape[1]
        if label is not None and label < width:
            labels.append(cells[:, label])
            cells = np.delete(cells, label, axis=1)
        blocks.append(_narrow(cells))
        n_lines = max(1, _BLOCK // width)
    if not blocks:
        raise DataError(f"{path}: a line of names but no rows. Give at least 1 row.")
    return np.concatenate(blocks), np.concatenate(labels) if labels else None


def _narrow(cells: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # Bytes where nothing is lost; NaN fails the comparison. Too large for float32 turns infinite
    # here, which Rows.from_array refuses.
    if ((cells >= 0) & (cells <= 255)).all() and np.array_equal(cells, np.rint(cells)):
        return cells.astype(np.uint8)
    with np.errstate(over="ignore"):
        return cells.astype(np.float32)


def _explain(path: Path, delimiter: str, parser_message: str) -> DataError:
    """Return why the fast parser gave up, with line and column, by reading again slowly."""
    width = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            for cells in reader:
                line = reader.line_num
                if not any(cell.strip() for cell in cells) and len(cells) <= 1:
                    continue
                if not width:
                    width = len(cells)
                    if any(cell.strip() and not _is_number(cell) for cell in cells):
                        continue  # the line of names
                if len(cells) != width:
                    return DataError(
                        f"{path}: line {line} has {len(cells)} cells, the lines before it {width}. "
                        "Give every line the same number."
                    )
                for column, cell in enumerate(cells, 1):
                    if not _is_number(cell):
                        got = repr(cell[:40]) if cell.strip() else "an empty cell"
                        return DataError(
                            f"{path}: line {line}, column {column} is not a number. Got {got}. "
                            "Fill, encode or drop it (decimals are written with a point)."
                        )
        except csv.Error as error:
            parser_message = f"line {reader.line_num}: {error}"
    return DataError(f"{path}: not a table of numbers ({parser_message}). Save it as plain CSV.")


def _is_number(cell: str) -> bool:
    # Python reads 1_000 as a number; the fast parser and other programs do not.
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def label_column(names: list[str], path: Path) -> int | None:
    """Return the number of the column that names labels, if there is one.

    Raises:
        DataError: several do.
    """
    found = [i for i, name in enumerate(names) if name.strip().casefold() in _LABEL_NAMES]
    if len(found) > 1:
        raise DataError(
            f"{path}: columns {' and '.join(names[i] for i in found)} all name labels. Keep one."
        )
    return found[0] if found else None


def warn_label_is_feature(path: Path, name: str) -> None:
    """Warn that a column was not read as labels, in spite of its name."""
    warnings.warn(
        f"{path}: column {name} does not hold whole numbers and was read as a feature, not as "
        "labels.",
        DataWarning,
        stacklevel=3,
    )


def refuse_counting(column: npt.NDArray[Any], path: Path) -> None:
    """Refuse a first column without a name that holds 0, 1, 2, ...

    Raises:
        DataError: it does.
    """
    # An index that came along would be learned as a feature; a single row proves nothing.
    if len(column) > 1 and np.array_equal(column, np.arange(len(column))):
        raise DataError(
            f"{path}: the first column has no name and only counts the rows. Save the table "
            "without its index, or name the column."
        )
