"""Tables of text: `.csv`, `.tsv` and others, numbers and booleans; also packed by gzip.

Columns have roles by their names, see `roles`; every other column is a feature.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from discretevae.data.cells import is_hole
from discretevae.data.readers.dialect import (
    BOOLEANS,
    Dialect,
    encodings_of,
    has_header,
    is_decimal_comma,
    is_number,
    is_thousands,
    opened,
    records_of,
    sample_of,
    sniff,
)
from discretevae.data.readers.mixed import mixed_rows
from discretevae.data.readers.request import Request, listed
from discretevae.data.readers.roles import Parts, notes_of_counting, take_apart, warn_of
from discretevae.data.rows import Rows
from discretevae.data.stores.values import Array
from discretevae.errors import DataError

_BLOCK = 1 << 22
"""Cells parsed in one go: their float64 copy (32 MiB) is gone before the next block is read."""

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_LEADING_ZERO = re.compile(r"[-+]?0\d+")
_COMMENT = re.compile(r"\s*(#|//)\s*[^\s,;|]|sep=.\s*$")  # the last one is Excel's

Kind = Literal["number", "boolean", "text", "ignored"]
_FIELDS = {"number": "f8", "boolean": "U8", "text": "O", "ignored": "U1"}


@dataclass(frozen=True)
class _Layout:
    """Layout of a file: its dialect, names and kinds of columns, and the first row."""

    dialect: Dialect
    names: tuple[str, ...] | None
    kinds: tuple[Kind, ...]
    first: tuple[str, ...]
    parts: Parts
    notes: tuple[str, ...]


def read_csv(path: Path, request: Request) -> Rows:
    """Read a text table; what stands between cells, and whether it has names, is seen from it.

    Raises:
        DataError: a cell that is no number, a line of another length, nothing to read, no text.

    Warns:
        DataWarning: what was assumed of the file, and which columns are no features.
    """
    for encoding in encodings_of(path):
        try:
            return _read(path, request, encoding)
        except UnicodeDecodeError as error:
            reason = str(error)
    raise DataError(f"{path}: not a text ({reason}). Save it as UTF-8 CSV.")


def read_cells(path: Path, request: Request) -> tuple[tuple[str, ...], list[list[str]], Dialect]:
    """Return the names of all columns, the cells as they stand in the file, and its dialect.

    Raises:
        DataError: no table with a line of names.
    """
    for encoding in encodings_of(path):
        with contextlib.suppress(UnicodeDecodeError), opened(path, encoding) as file:
            records = list(records_of(file))
            sample = sample_of(records)
            layout = _layout(path, request, sample, sniff(sample, encoding))
            if layout.names is not None:
                return layout.names, layout.dialect.rows(records[1:]), layout.dialect
    raise DataError(f"{path}: not a table with a line of names.")


def _read(path: Path, request: Request, encoding: str) -> Rows:
    try:
        with opened(path, encoding) as file:
            sample = sample_of(records_of(file))
        if not sample:
            raise DataError(f"{path}: the file is empty. Give at least 1 row.")
        layout = _layout(path, request, sample, sniff(sample, encoding))
        table, texts, layout = _parse_asked(path, layout, request)
    except (ValueError, csv.Error) as error:
        if isinstance(error, (DataError, UnicodeDecodeError)):
            raise
        raise DataError(
            f"{path}: not a table of numbers ({error}). Save it as plain CSV."
        ) from None
    parts, names = layout.parts, layout.names
    if names is not None:
        parts = take_apart(names, request, str(path), texts.__getitem__, plain=parts.plain)
        for place in sorted(set(parts.features) - set(layout.parts.features)):
            if table is None:
                break
            column = texts[place].astype(np.float64)  # it looked like labels or ids at first
            table = np.insert(table.astype(np.float64), parts.features.index(place), column, axis=1)
    counting = []
    if parts.features[:1] == (0,) and request.columns is None:
        first = texts[0] if table is None else table[:, 0]
        counting = notes_of_counting(first, None if names is None else names[0])
    notes = [*layout.dialect.notes, *layout.notes, *parts.notes, *counting]
    columns = None if names is None else [names[i] for i in parts.features]
    roles: dict[str, Any] = {"labels": parts.labels, "ids": parts.ids, "name": str(path)}
    if table is None:
        rows = mixed_rows([texts[i] for i in parts.features], request, names=columns, **roles)
        warn_of(str(path), notes)
        return rows
    warn_of(str(path), notes)
    return request.rows(table, columns=columns, is_table=True, copy=False, **roles)


def _layout(path: Path, request: Request, sample: Sequence[str], dialect: Dialect) -> _Layout:
    """Return how a file is read, by its first rows."""
    if any("\0" in record for record in sample):
        raise DataError(f"{path}: no text, for it holds bytes of 0. Save it as UTF-8 CSV.")
    _require_no_comment(path, sample[0], "the first line")
    first, rows, notes = dialect.split(sample[0]), dialect.rows(sample), []
    is_header = request.header
    if is_header is None:
        is_header, is_said = has_header(sample, dialect, request.columns)
        if is_said:
            shown = ", ".join(first if len(first) < 5 else [*first[:3], "..."]).lstrip(", ")
            taken, other = ("column names", "a row") if is_header else ("a row", "column names")
            notes.append(
                f"the first line, {shown}, was taken for {taken}; pass `header={not is_header}` "
                f"if it holds {other}"
            )
    if not is_header:
        asked = [name for name in (request.label, request.row_id, *request.ignore) if name]
        if asked and request.columns is None:
            raise DataError(
                f"{path}: has no line of names, so {listed(asked)} cannot be found in it. Add "
                "one, or pass `header=True` if its first line is one."
            )
        parts = Parts(tuple(range(len(first))))
        kinds = [_kind_of(cell) for cell in first]
        return _Layout(dialect, None, tuple(kinds), tuple(first), parts, tuple(notes))
    if not (rows := rows[1:]):
        raise DataError(f"{path}: a line of names but no rows. Give at least 1 row.")
    # one row as long as the names, and it is the others that are wrong
    is_one_fit = any(len(row) == len(first) for row in rows)
    names, width = tuple(first), len(first) if is_one_fit else len(rows[0])
    rows = [row for row in rows if len(row) == width]  # the parser finds the others
    lacks_corner = len(names) == width - 1
    if lacks_corner:
        names = ("", *names)  # R does not name its row names
    used: set[int] = set()

    def read(place: int) -> Array:
        used.add(place)
        numbers = [(row[place], dialect.number(row[place])) for row in rows]
        return _typed(_compact([number if is_number(number) else c for c, number in numbers]))

    if len(names) == width:
        parts = take_apart(names, request, str(path), read)
    if len(names) != width or (lacks_corner and 0 in parts.plain):
        raise DataError(
            f"{path}: the line of names has {len(first)} cells, the rows {width}. Make both equal."
        )
    texts = used - set(parts.plain)
    kinds = [
        "text" if i in texts else _kind_of(rows[0][i]) if i in parts.features else "ignored"
        for i in range(width)
    ]
    return _Layout(dialect, names, tuple(kinds), tuple(rows[0]), parts, tuple(notes))


def _kind_of(cell: str) -> Kind:
    return "boolean" if _words_of(cell) else "number"


def _words_of(cell: str) -> list[str]:
    return next((sorted(words) for words in BOOLEANS if cell.casefold() in words), [])


def _parse_asked(
    path: Path, layout: _Layout, request: Request
) -> tuple[Array | None, dict[int, Array], _Layout]:
    """Return the features as one table; None where they are to be read column by column.

    Then they are among the columns of other roles, as those of texts or with missing cells are.
    """
    if not request.is_mixed:
        try:
            return _parse(path, layout, wide=request.scale not in (None, "none"))
        except _BadCellError as error:
            if not request.may_be_mixed or layout.names is None:
                raise DataError(str(error)) from None
    kinds: tuple[Kind, ...] = tuple("text" if i in layout.parts.features else kind
                                    for i, kind in enumerate(layout.kinds))  # fmt: skip
    layout = replace(layout, kinds=kinds, parts=layout.parts._replace(features=()))
    _, texts, layout = _parse(path, layout, wide=False)
    return None, texts, layout


def _parse(path: Path, layout: _Layout, *, wide: bool) -> tuple[Array, dict[int, Array], _Layout]:
    """Return the features, uint8 or float32; columns of other roles; and how they were read."""
    try:
        with opened(path, layout.dialect.encoding) as file:
            records = records_of(file)
            if layout.names is not None:
                next(records)
            return *_parse_records(records, layout, wide=wide), layout
    except (ValueError, csv.Error) as error:
        if isinstance(error, (DataError, UnicodeDecodeError)):
            raise
        reason = str(error)
    return _parse(path, replace(layout, dialect=_decimal_commas(path, layout, reason)), wide=wide)


def _parse_records(
    records: Iterator[str], layout: _Layout, *, wide: bool
) -> tuple[Array, dict[int, Array]]:
    """Return the features and the columns of other roles, parsed block by block.

    ``wide`` features stay float64 until their columns are scaled, and are rounded once.
    """
    kinds = layout.kinds
    groups = [(kind, [i for i, _ in group]) for kind, group in
              itertools.groupby(enumerate(kinds), lambda pair: pair[1])]  # fmt: skip
    dtype = np.dtype([(f"f{n}", _FIELDS[kind], (len(at),)) for n, (kind, at) in enumerate(groups)])
    slot = {place: number for number, place in enumerate(layout.parts.features)}
    blocks: list[Array] = []
    texts: dict[int, list[Array]] = {i: [] for i, kind in enumerate(kinds) if kind == "text"}
    lines, delimiter = layout.dialect.plain(records)
    while block := list(itertools.islice(lines, max(1, _BLOCK // len(kinds)))):
        cells: Array = np.loadtxt(
            block, dtype, delimiter=delimiter, comments=None, quotechar='"', ndmin=1
        )
        table = np.empty((len(block), len(slot)))
        for n, (kind, at) in enumerate(groups):
            found = cells[f"f{n}"]
            if kind == "text":
                for i, column in zip(at, found.T, strict=True):
                    texts[i].append(_compact([layout.dialect.text(c.strip()) for c in column]))
            elif kind != "ignored":
                is_number = kind == "number"
                table[:, [slot[i] for i in at]] = (
                    found if is_number else _booleans(found, [layout.first[i] for i in at])
                )
        blocks.append(table if wide else _narrow(table))
    return np.concatenate(blocks), {i: _typed(_joined(parts)) for i, parts in texts.items()}


def _narrow(cells: Array) -> Array:
    # Bytes where nothing is lost; NaN fails the comparison. Too large for float32 turns infinite
    # here, which Rows.from_array refuses.
    if ((cells >= 0) & (cells <= 255)).all() and np.array_equal(cells, np.rint(cells)):
        return cells.astype(np.uint8)
    with np.errstate(over="ignore"):
        return cells.astype(np.float32)


def _booleans(cells: Array, first: Sequence[str]) -> Array:
    words = np.char.lower(np.char.strip(cells))
    for column, cell in zip(words.T, first, strict=True):
        if not np.isin(column, _words_of(cell)).all():
            raise ValueError("neither true nor false")
    is_true: Array = np.isin(words, ["true", "yes"])
    return is_true


def _compact(texts: Sequence[str]) -> Array:
    """Return a column as int64 if all cells are whole numbers, else as texts."""
    if all(_WHOLE.fullmatch(text) for text in texts):
        return np.array([int(text) for text in texts], np.int64)
    return np.array(texts, object)


def _joined(parts: Sequence[Array]) -> Array:
    if any(part.dtype == object for part in parts):
        parts = [part.astype(str).astype(object) for part in parts]
    return np.concatenate(parts)


def _typed(column: Array) -> Array:
    """Return a column of texts as float64 or bool if all of them are, or are missing."""
    if column.dtype != object:
        return column
    texts: list[str] = column.tolist()
    filled = [text for text in texts if not is_hole(text)]
    if filled and all(text.casefold() in BOOLEANS[0] for text in filled):
        is_true = [None if is_hole(text) else text.casefold() == "true" for text in texts]
        return np.array(is_true, np.bool_ if len(filled) == len(texts) else object)
    if not filled or not all(is_number(t) and not _LEADING_ZERO.fullmatch(t) for t in filled):
        return column
    return np.array([np.nan if is_hole(text) else float(text) for text in texts])


def _decimal_commas(path: Path, layout: _Layout, reason: str) -> Dialect:
    """Return the dialect with decimal commas, if that is what the first lines did not show.

    Raises:
        DataError: something else stopped the fast parser; a slow reading gives line and column.
        ValueError: the reason, where that finds nothing.
    """
    line, has_point, dialect = 0, False, layout.dialect

    def counted(lines: Iterator[str]) -> Iterator[str]:
        nonlocal line
        for line, text in enumerate(lines, 1):  # noqa: B007 - read by the caller
            yield text

    with opened(path, dialect.encoding) as file:
        records = records_of(counted(file))
        if layout.names is not None:
            next(records)
        for record in records:
            _require_no_comment(path, record, f"line {line}")
            try:
                cells = dialect.split(record)
            except csv.Error as error:
                raise ValueError(f"line {line}: {error}") from None
            if len(cells) != len(layout.kinds):
                raise DataError(
                    f"{path}: line {line} has {len(cells)} cells, the lines before it "
                    f"{len(layout.kinds)}. Give every line the same number."
                )
            for column, (cell, kind) in enumerate(zip(cells, layout.kinds, strict=True)):
                if kind in ("text", "ignored"):
                    continue
                if kind == "boolean" and cell.casefold() in _words_of(layout.first[column]):
                    continue
                if kind == "number" and is_number(dialect.number(cell)):
                    has_point = has_point or "." in cell
                elif not is_decimal_comma(cell) or dialect.delimiter == "," or has_point:
                    name = None if layout.names is None else layout.names[column]
                    raise _bad_cell(path, f"line {line}, column {column + 1}", name, cell, kind)
                elif not dialect.has_decimal_commas:
                    return replace(dialect, has_decimal_commas=True)
    raise ValueError(reason)


class _BadCellError(DataError):
    """A cell that is no number."""


def _bad_cell(path: Path, place: str, name: str | None, cell: str, kind: Kind) -> DataError:
    got = repr(cell[:40]) if cell else "an empty cell"
    got += "" if name is None else f" in {name!r}"
    if not cell:
        advice = "Fill it, or drop its row or column."
    elif is_thousands(cell):
        advice = "Write it without marks between thousands."
    elif is_decimal_comma(cell):
        advice = "Here decimals are written with a point."
    elif kind == "boolean" or _words_of(cell):
        advice = "Write all of a column as numbers, or all as booleans of one kind."
    else:
        advice = (
            "Encode it or drop the column; columns that are no features are named by `label`, "
            "`row_id` and `ignore`."
        )
    wanted = "true or false" if kind == "boolean" else "a number"
    return _BadCellError(f"{path}: {place} is not {wanted}. Got {got}. {advice}")


def _require_no_comment(path: Path, record: str, place: str) -> None:
    if _COMMENT.match(record):
        raise DataError(
            f"{path}: {place} is a comment, {record.strip()[:40]!r}. Delete lines that are no rows."
        )
