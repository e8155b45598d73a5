"""Dialects of text tables: encoding, marks between cells, and a line of names."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from discretevae.data.stores import values
from discretevae.errors import DataError

SAMPLE_ROWS = 100
SAMPLE_CHARACTERS = 1 << 18
"""The first lines of a file show how it is written."""

_LONGEST = 1 << 20
"""Characters of a row that holds line ends in quotes; more, and a quote was never closed."""

_MARKS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars", " ": "spaces"}
_ENCODINGS = {"cp1252": "Windows (cp1252)", "latin-1": "latin-1", "utf-16": "UTF-16",
              "utf-32": "UTF-32"}  # fmt: skip
_BOMS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
         (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))  # fmt: skip

_QUOTED = re.compile(r'(?:^|(?<=[,;|\t ]))"(?:[^"]|"")*"(?=[,;|\s]|$)')
_OPEN = re.compile(r'(?:^|[,;|\t ])"')
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.IGNORECASE)
_QUOTED_DECIMAL = re.compile(r'"([-+]?\d*),(\d+(?:[eE][-+]?\d+)?)"')
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?|[-+]?\d{1,3}(?:[. ']\d{3})+(?:,\d*)?")
_WHOLE = re.compile(r"\d{1,18}")
_SWAP = str.maketrans(",.", ".,")
BOOLEANS = ({"true", "false"}, {"yes", "no"})


@dataclass(frozen=True)
class Dialect:
    """Spelling of the cells of a text table.

    Args:
        encoding: of the text.
        delimiter: between cells; a space stands for any white space.
        has_decimal_commas: whether a comma stands where Python writes a point.
    """

    encoding: str = "utf-8-sig"
    delimiter: str = ","
    has_decimal_commas: bool = False

    @property
    def notes(self) -> list[str]:
        """Sentences on what was assumed, where it is not the plain spelling."""
        parts = []
        if self.encoding in _ENCODINGS:
            parts.append(f"{_ENCODINGS[self.encoding]} text")
        if self.delimiter not in ",\t":
            parts.append(f"{_MARKS[self.delimiter]} between cells")
        if self.has_decimal_commas:
            parts.append("decimal commas")
        return [f"read with {', '.join(parts)}"] if parts else []

    def split(self, record: str) -> list[str]:
        """Return the cells of a row, without the spaces around them.

        Example:
            >>> Dialect(delimiter=" ").split('"a b"   2')
            ['a b', '2']
        """
        if self.delimiter == " ":
            record = " ".join(record.split())
        return [cell.strip() for cell in next(csv.reader([record], delimiter=self.delimiter))]

    def rows(self, records: Iterable[str]) -> list[list[str]]:
        """Return the cells of rows; one that cannot be split is one cell: the parser finds it."""
        rows = []
        for record in records:
            try:
                rows.append(self.split(record))
            except csv.Error:
                rows.append([record])
        return rows

    def plain(self, records: Iterator[str]) -> tuple[Iterator[str], str]:
        """Return rows with decimal points, and what stands between their cells."""
        if self.delimiter == " ":
            records = ("\t".join(self.split(record)) for record in records)
        if self.has_decimal_commas and self.delimiter == ",":
            records = (_QUOTED_DECIMAL.sub(r"\1.\2", record) for record in records)
        elif self.has_decimal_commas:
            records = map(swapped, records)
        return records, "\t" if self.delimiter == " " else self.delimiter

    def number(self, cell: str) -> str:
        """Return a number as Python writes it; another cell is changed in some other way."""
        if self.has_decimal_commas and (self.delimiter != "," or is_decimal_comma(cell)):
            return swapped(cell)
        return cell

    def text(self, cell: str) -> str:
        """Return a cell that `plain` gave as it stands in the file, but numbers as Python does."""
        is_swapped = self.has_decimal_commas and self.delimiter != ","
        return swapped(cell) if is_swapped and not is_number(cell) else cell


def swapped(text: str) -> str:
    """Return a text with points for commas, and commas for points."""
    return text.translate(_SWAP)


@contextlib.contextmanager
def opened(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open a text, plain or gzip, of which at most `MAX_BYTES` are unpacked.

    Raises:
        DataError: a damaged gzip file, or one that unpacks to more.
    """
    with _unpacked(path) as stream, io.TextIOWrapper(stream, encoding) as text:
        yield text


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[io.BufferedReader]:
    try:
        with path.open("rb") as raw:
            is_packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            yield io.BufferedReader(_Unpacked(raw, path), 1 << 20) if is_packed else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file ({error}). Fetch it again.") from None


class _Unpacked(io.RawIOBase):
    """The bytes of a gzip file, as long as they are not too many."""

    def __init__(self, raw: io.BufferedReader, path: Path) -> None:
        self._file, self._path, self._size = gzip.GzipFile(fileobj=raw), path, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        size = self._file.readinto(buffer)
        self._size += size
        if self._size > values.MAX_BYTES:
            raise DataError(
                f"{self._path}: unpacks to more than {values.MAX_BYTES:,} bytes, the most that "
                "are read. Split the file."
            )
        return size


def encodings_of(path: Path) -> tuple[str, ...]:
    """Return what a text may be written in, the most likely one first."""
    with _unpacked(path) as stream:
        head = stream.read(4)
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return (encoding,)
    return "utf-8-sig", "cp1252", "latin-1"


def records_of(lines: Iterator[str]) -> Iterator[str]:
    """Yield the rows of a table: lines that are not blank, joined where a quote is open.

    Raises:
        ValueError: a quote is never closed.
    """
    for line in lines:
        if line.isspace():
            continue
        if '"' in line and line.count('"') % 2 and _OPEN.search(_QUOTED.sub("", line)):
            parts, length = [line], len(line)
            for more in lines:
                parts.append(more)
                length += len(more)
                if more.count('"') % 2 or length > _LONGEST:
                    break
            if length > _LONGEST or not parts[-1].count('"') % 2 or len(parts) == 1:
                raise ValueError(f"a quote is never closed, in the line {line[:40].strip()!r}")
            line = "".join(parts)
        yield line


def sample_of(records: Iterable[str]) -> list[str]:
    """Return the first rows."""
    size = 0
    found = []
    for record in itertools.islice(records, SAMPLE_ROWS):
        found.append(record)
        size += len(record)
        if size > SAMPLE_CHARACTERS and len(found) > 3:
            break
    return found


def sniff(sample: Sequence[str], encoding: str) -> Dialect:
    """Return how a table is written, by its first rows.

    What splits the rows into equally many cells, and these into numbers, stands between them.

    Example:
        >>> sniff(["a;b", "1,5;2"], "utf-8-sig").delimiter
        ';'
    """
    best, best_score = Dialect(encoding), 0.0
    for mark in "\t;|, ":
        if mark != " " and not any(mark in record for record in sample):
            continue
        dialect = Dialect(encoding, mark)
        rows = dialect.rows(sample)
        widths = Counter(map(len, rows))
        width = max(widths, key=lambda w: (widths[w], w))
        if width < 2:
            continue
        cells = [c for row in rows[1:] or rows if len(row) == width for c in row if c]
        is_decimal = _has_decimal_commas(mark, [c for row in rows for c in row])
        good = sum(is_number(c) or (is_decimal and is_decimal_comma(c)) for c in cells)
        score = widths[width] / len(rows) * (1 + good) / (1 + len(cells))
        if score > best_score + 1e-9:
            best, best_score = Dialect(encoding, mark, is_decimal), score
    return best


def _has_decimal_commas(delimiter: str, cells: Sequence[str]) -> bool:
    commas = [cell for cell in cells if is_decimal_comma(cell)]
    if delimiter == "," and all(_THOUSANDS.fullmatch(cell) for cell in commas):
        return False
    return bool(commas) and not any("." in cell and is_number(cell) for cell in cells)


def has_header(
    sample: Sequence[str], dialect: Dialect, columns: Sequence[str] | None
) -> tuple[bool, bool]:
    """Return whether the first row holds names, and whether that should be said."""
    first, *rows = dialect.rows(sample)
    if columns is not None and set(columns) <= set(first):
        return True, False
    rows = [row for row in rows if len(row) - len(first) in (0, 1)]
    body = [row[len(row) - len(first) :] for row in rows]  # R names all columns but the first
    kinds = [_kind(dialect.number(cell)) for cell in first]
    if {"text", "boolean"} & set(kinds):
        next_kinds = [_kind(dialect.number(cell)) for cell in rows[0]] if rows else []
        is_alike = len(next_kinds) == len(kinds) and all(
            a == b or "empty" in (a, b) for a, b in zip(kinds, next_kinds, strict=True)
        )
        is_row = is_alike and _shows_a_row(first, kinds, rows)
        return not is_row, is_alike and not is_row and "number" in kinds
    names, below = first, body
    if not first[0]:  # the corner above row numbers
        names, below = first[1:], [row[1:] for row in body]
    if not body or not names or not all(_WHOLE.fullmatch(name) for name in names):
        return False, False
    if len(set(names)) < len(names):
        return False, False
    counts_from_0 = [int(name) for name in names] == list(range(len(names)))
    is_quoted = sample[0].count('"') == 2 * len(first) and sample[1].count('"') < 2 * len(first)
    cells = [dialect.number(cell) for row in below for cell in row]
    are_fractions = all(is_number(c) and not re.fullmatch(r"[-+]?\d+", c) for c in cells)
    differs = are_fractions and len(names) > 1 and len(names) * len(below) > 3
    if is_quoted or differs or (not first[0] and counts_from_0):
        return True, True
    step = int(names[1]) - int(names[0]) if len(names) > 2 else 0
    if step < 1 or not _is_sequence(names, step) or any(_is_sequence(r, step) for r in below):
        return False, False
    return (counts_from_0 or _is_no_chance(names, cells)), True


def _shows_a_row(first: list[str], kinds: Sequence[str], rows: Sequence[list[str]]) -> bool:
    """Return whether some cell can be no name: a fraction, a boolean, a text that comes again."""
    if set(kinds) <= {"text", "empty"}:
        return False
    return any(
        (kind == "number" and not _WHOLE.fullmatch(cell))
        or kind == "boolean"
        or (kind == "text" and any(row[i : i + 1] == [cell] for row in rows))
        for i, (kind, cell) in enumerate(zip(kinds, first, strict=True))
    )


def _is_no_chance(names: Sequence[str], cells: Sequence[str]) -> bool:
    """Return whether numbers at one distance are hardly a row of such cells."""
    values = [float(cell) for cell in cells if is_number(cell)]
    outside = sum(not min(values) <= int(name) <= max(values) for name in names) if values else 0
    # all but the first follow from it: the chance of that if all values are equally likely
    return 2 * outside >= len(names) or len(set(values)) ** min(len(names) - 1, 10) >= 1000


def _is_sequence(cells: Sequence[str], step: int) -> bool:
    if not all(_WHOLE.fullmatch(cell) for cell in cells):
        return False
    numbers = [int(cell) for cell in cells]
    return all(b - a == step for a, b in itertools.pairwise(numbers))


def _kind(cell: str) -> str:
    if not cell:
        return "empty"
    if is_number(cell):
        return "number"
    return "boolean" if any(cell.casefold() in words for words in BOOLEANS) else "text"


def is_number(cell: str) -> bool:
    """Return whether a cell is a number to other programs, too."""
    # Python reads 1_000 as a number; the fast parser and other programs do not.
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def is_decimal_comma(cell: str) -> bool:
    """Return whether a cell is a number with a decimal comma."""
    return _DECIMAL_COMMA.fullmatch(cell) is not None


def is_thousands(cell: str) -> bool:
    """Return whether a cell is a number with marks between its thousands."""
    return _THOUSANDS.fullmatch(cell) is not None
