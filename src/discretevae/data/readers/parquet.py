"""Tables of columns: `.parquet`, read by row groups.

Columns have roles by their names, see `roles`; every other column is a feature: numbers, booleans,
decimals, categories that are numbers, or lists of numbers of one length. A table with texts or
missing cells is read as a frame is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from discretevae.data.readers.frames import Frame, frame_of, read_frame
from discretevae.data.readers.request import Request
from discretevae.data.readers.roles import take_apart, warn_of
from discretevae.data.rows import Rows
from discretevae.data.stores.disk import PIECE_BYTES, DiskTable, Stamp, require_few_rows
from discretevae.data.stores.values import Array, Facts, check_size, picture_shape, scan
from discretevae.errors import DataError, needs_extra

CELL_BYTES = 64
"""That a cell of texts may take."""

GROUP_BYTES = 256 << 20
"""A row group of a streamed file is unpacked whole: it must not be larger than this."""


def read_parquet(path: Path, request: Request) -> Rows:
    """Read a Parquet table; one of numbers and booleans is streamed if it is large.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: a column of another type, damaged, or too large for its texts and missing cells.
    """
    try:
        table = ParquetTable(path, request)
        if not request.is_mixed:
            rows = request.rows(table, labels=table.labels, ids=table.ids)
            warn_of(table.name, table.notes)
            return rows
    except _CellError as error:
        if not request.may_be_mixed:
            raise DataError(str(error)) from None
    return _read_cells(path, request)


def _read_cells(path: Path, request: Request) -> Rows:
    """Read a table with texts or missing cells, column by column, in memory."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    check_size(str(path), (metadata.num_rows, metadata.num_columns), CELL_BYTES)
    return read_frame(cast(Frame, frame_of(pq.read_table(path))), request, str(path))


class _CellError(DataError):
    """A column of texts, or with missing cells."""


_LONG = 4096
"""Lists may be so long, as long as none was seen: what is read in one go must not be large."""


class _Field(NamedTuple):
    """A column of the file: its name, type, and the dtype of its values; None for no numbers."""

    name: str
    type: Any
    dtype: np.dtype[Any] | None
    is_list: bool = False


class _Place(NamedTuple):
    """A column of the table: which column of the file it is, and which entry of its lists."""

    field: int
    entry: int | None = None


class ParquetTable(DiskTable):
    """A Parquet file, opened anew for every row group that is read.

    The group that was read last is kept, so that rows may be asked for one after the other.

    Attributes:
        labels: ``[N]`` whole numbers or names of classes, or None.
        ids: ``[N]`` whole numbers or texts, or None.
        notes: what a user should know of how it is read.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: a feature that is no number, labels that are missing, damaged.
    """

    def __init__(self, path: Path, request: Request = Request()) -> None:  # noqa: B008 - frozen
        self.name, self.path, self.stamp = str(path), path, Stamp.of(path.stat())
        self._metadata: Any = None
        with self._opened() as file:
            self._metadata, schema = file.metadata, file.schema_arrow
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._fields = [_field(field) for field in schema]
            index = _index_of(schema)
        n_rows = int(self._metadata.num_rows)
        if min(sizes, default=0) < 0 or sum(sizes) != n_rows:
            raise self._damaged(f"{n_rows:,} rows in groups of {sum(sizes):,}")
        require_few_rows(n_rows, self.name)
        self.edges = np.cumsum([0, *sizes], dtype=np.int64)
        self.gap = max(1, n_rows)  # a group is unpacked whole, however few of its rows are read
        self._lengths: dict[int, int] = {}
        names, places = self._columns({request.label, request.row_id, *request.ignore})
        parts = take_apart(
            names, request, self.name, lambda i: self._column(places[i].field),
            index_columns=index,
        )  # fmt: skip
        self.labels, self.ids, self.notes = parts.labels, parts.ids, parts.notes
        if not parts.features or not n_rows:
            raise DataError(
                f"{path}: no values in an array of shape ({n_rows}, {len(parts.features)}). Give "
                "at least 1 row."
            )
        self._places = [places[i] for i in parts.features]
        self._used = sorted({place.field for place in self._places})
        self.image_shape = picture_shape(request.image_size, len(self._places), self.name)
        self.is_table = True
        self.columns = tuple(names[i] for i in parts.features)
        self.dtype = np.result_type(*(self._require_numbers(i) for i in self._used))
        self.shape = (n_rows, len(self._places))
        self._last: tuple[int, Array] | None = None

    def put_in_order(self, columns: Sequence[str]) -> None:
        """Take the features in this order, by their names."""
        place = dict(zip(self.columns or (), self._places, strict=True))
        self.columns, self._places = tuple(columns), [place[name] for name in columns]

    def facts(self, divisor: float | None) -> Facts:
        """Look at every value, even at bytes: some may be missing."""
        pieces = self.pieces()
        facts = scan(pieces, self.dtype, self.name, divisor=divisor)
        for _ in pieces:
            pass
        return facts

    def pieces(self) -> Iterator[tuple[int, Array]]:
        """Yield the table from top to bottom, group by group."""
        for group, start in enumerate(self.edges[:-1].tolist()):
            for first, columns in self._batches(group, self._used):
                part = np.empty((len(columns[0]), self.shape[1]), self.dtype)
                self._fill(part, columns)
                yield start + first, part

    def read_into(self, start: int, out: Array) -> None:
        """Fill ``out`` with the rows from ``start`` on."""
        at, stop = start, start + len(out)
        group = int(np.searchsorted(self.edges, start, side="right")) - 1
        while at < stop:
            begin, end = int(self.edges[group]), int(self.edges[group + 1])
            part = out[at - start : min(end, stop) - start]
            if len(part) == end - begin:
                self._unpack(group, part)
            elif len(part):
                part[...] = self._group(group, out.dtype)[at - begin : at - begin + len(part)]
            at, group = min(end, stop), group + 1

    def require_streamable(self, dtype: np.dtype[Any]) -> None:
        """Refuse row groups that are too large to be held."""
        most = GROUP_BYTES // (self.shape[1] * dtype.itemsize)
        largest = int((self.edges[1:] - self.edges[:-1]).max())
        if largest > most:
            raise DataError(
                f"{self.name}: row groups of up to {largest:,} rows, of which only {most:,} can be "
                f"held. Write it with smaller ones, such as row_group_size={max(1, most // 64)}."
            )

    def _group(self, group: int, dtype: np.dtype[Any]) -> Array:
        last = self._last  # read once: another thread may replace it
        if last is None or last[0] != group or last[1].dtype != dtype:
            size = int(self.edges[group + 1] - self.edges[group])
            last = group, np.empty((size, self.shape[1]), dtype)
            self._unpack(group, last[1])
            self._last = last
        return last[1]

    def _unpack(self, group: int, out: Array) -> None:
        for first, columns in self._batches(group, self._used):
            self._fill(out[first : first + len(columns[0])], columns)

    def _fill(self, out: Array, columns: Sequence[Array]) -> None:
        slot = {field: number for number, field in enumerate(self._used)}
        for number, (field, entry) in enumerate(self._places):
            column = columns[slot[field]]
            out[:, number] = column if entry is None else column[:, entry]

    def _columns(self, asked: set[str | None]) -> tuple[list[str], list[_Place]]:
        """Return the names of all columns, and where they lie; lists are one column an entry."""
        names, places = [], []
        for number, field in enumerate(self._fields):
            entries: Sequence[int | None] = [None]
            if field.is_list and field.name not in asked and self.edges[-1]:
                group = int(np.searchsorted(self.edges, 0, side="right")) - 1
                self._lengths[number] = next(self._batches(group, [number]))[1][0].shape[1]
                entries = range(self._lengths[number])
            for entry in entries:
                names.append(field.name if entry is None else f"{field.name}[{entry}]")
                places.append(_Place(number, entry))
        return names, places

    def _require_numbers(self, number: int) -> np.dtype[Any]:
        field = self._fields[number]
        if field.dtype is None:
            raise _CellError(
                f"{self.name}: column {field.name!r} is {field.type}, not numbers. Drop or encode "
                "it; columns that are no features are named by `label`, `row_id` and `ignore`."
            )
        return field.dtype

    def _column(self, number: int) -> Array:
        """Return a whole column that is no feature: numbers, or texts."""
        field, parts = self._fields[number], []
        if field.is_list or (field.dtype is None and not _is_text(field.type)):
            raise DataError(
                f"{self.name}: column {field.name!r} is {field.type}, which names neither rows nor "
                "classes. Leave it out by `ignore`."
            )
        for group in range(len(self.edges) - 1):
            parts += [columns[0] for _, columns in self._batches(group, [number], holes=True)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _batches(
        self, group: int, fields: Sequence[int], *, holes: bool = False
    ) -> Iterator[tuple[int, list[Array]]]:
        """Yield some columns of a row group in pieces: the number of the first row, and values."""
        size = int(self.edges[group + 1] - self.edges[group])
        names = [self._fields[i].name for i in fields]
        is_whole = len(fields) == len(self._fields)
        width = sum(self._lengths.get(i, _LONG if self._fields[i].is_list else 1) for i in fields)
        at = 0
        with self._opened() as file:
            step = max(1, PIECE_BYTES // (8 * width))
            chosen = None if is_whole else names
            for batch in file.iter_batches(step, row_groups=[group], columns=chosen):
                if at + len(batch) > size:
                    break
                found = batch.schema.names
                # "label" also selects a column that is called "label.x"
                places = fields if is_whole else [found.index(name) for name in names]
                yield at, [
                    _values(
                        batch.column(i), self._fields[k].name, self.name,
                        start=int(self.edges[group]) + at, length=self._lengths.get(k), holes=holes,
                    )
                    for i, k in zip(places, fields, strict=True)
                ]  # fmt: skip
                at += len(batch)
        if at != size:
            raise self._damaged(f"row group {group} does not hold {size:,} rows")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        with needs_extra("parquet", f"{self.path}: Parquet files need pyarrow"):
            import pyarrow as pa
            import pyarrow.parquet as pq
        try:
            self.stamp.require(self.path.stat(), self.name)
            with (
                pa.OSFile(os.fsencode(self.path)) as opened,  # a name may be no text
                pq.ParquetFile(opened, metadata=self._metadata, pre_buffer=False) as file,
            ):
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # names that are no text
            if isinstance(error, PermissionError) and self._metadata is None:
                raise
            raise self._damaged(" ".join(str(error).split())) from None

    def _damaged(self, reason: str) -> DataError:
        return DataError(f"{self.name}: not a Parquet file, or damaged ({reason}). Save it again.")


def _field(field: Any) -> _Field:
    """Return what a column of the file holds."""
    from pyarrow import types

    kind = _bare(field.type)
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    value = _bare(kind.value_type) if is_list else kind
    dtype = None
    if types.is_decimal(value):
        dtype = np.dtype(np.float64)
    elif types.is_boolean(value) or types.is_integer(value) or types.is_floating(value):
        dtype = np.dtype(value.to_pandas_dtype())
    return _Field(field.name, field.type, dtype, is_list and dtype is not None)


def _bare(kind: Any) -> Any:
    """Return the type of the values that an extension or a dictionary holds."""
    from pyarrow import BaseExtensionType, types

    if isinstance(kind, BaseExtensionType):
        return _bare(kind.storage_type)
    return _bare(kind.value_type) if types.is_dictionary(kind) else kind


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kind = _bare(kind)
    checks = (types.is_string, types.is_large_string, types.is_string_view, types.is_temporal)
    return any(check(kind) for check in checks)


def _index_of(schema: Any) -> list[str]:
    """Return the columns that pandas noted as its index."""
    try:
        noted = (schema.pandas_metadata or {}).get("index_columns", [])
        return [each for each in noted if isinstance(each, str)]
    except (ValueError, TypeError, AttributeError):
        return []  # not what pandas writes


def _values(
    column: Any,
    column_name: str,
    name: str,
    *,
    start: int,
    length: int | None = None,
    holes: bool = False,
) -> Array:
    """Return values ``[n]``, or ``[n, length]`` of lists; texts as objects.

    With ``holes`` missing ones are NaN or None, else they are refused.
    """
    import pyarrow as pa
    from pyarrow import types

    values: Array
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if column.null_count and holes:
        if _is_text(column.type):
            return np.array(column.cast(pa.string()).to_pylist(), object)
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values
    if column.null_count:
        first = start + int(column.is_null().to_numpy(zero_copy_only=False).argmax())
        raise _CellError(
            f"{name}: {column.null_count} missing values in column {column_name!r}, the first in "
            f"row {first} (counted from 0). Fill them or drop their rows."
        )
    kind = column.type
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        length = int(lengths[0]) if length is None and len(lengths) else length or 0
        if (lengths != length).any():
            at = int((lengths != length).argmax())
            raise DataError(
                f"{name}: a list of {lengths[at]} values in column {column_name!r}, row "
                f"{start + at} (counted from 0), others have {length}. Make them equally long, or "
                "leave the column out by `ignore`."
            )
        flat = _values(column.flatten(), column_name, name, start=start)
        values = flat.reshape(len(column), length)
        return values
    if types.is_dictionary(kind):
        values = _values(column.dictionary, column_name, name, start=start)
        values = values[column.indices.to_numpy()]
        return values
    if _is_text(kind):
        column = column.cast(pa.string()).dictionary_encode()  # each text is held once
        texts = np.array(column.dictionary.to_pylist(), object)
        values = texts[column.indices.to_numpy()]
        return values
    if types.is_decimal(kind):
        column = column.cast(pa.float64())
    values = column.to_numpy(zero_copy_only=False)
    return values
