"""Tables of columns: `.parquet`, numbers only, read by row groups.

A column named `label`, `target` or `class` that holds whole numbers becomes the labels; every
other column is a feature.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from discretevae.data.readers.request import Request
from discretevae.data.readers.tables import label_column, refuse_counting, warn_label_is_feature
from discretevae.data.rows import Rows
from discretevae.data.stores.disk import PIECE_BYTES, DiskTable, Stamp, require_few_rows
from discretevae.data.stores.values import Array, Facts, check_image_shape, scan
from discretevae.errors import DataError, needs_extra

GROUP_BYTES = 256 << 20
"""A row group of a streamed file is unpacked whole: it must not be larger than this."""


def read_parquet(path: Path, request: Request) -> Rows:
    """Read a Parquet table whose columns are numbers or booleans; a large one is streamed.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: a column of another type, missing values, damaged.
    """
    table = ParquetTable(path, request)
    return Rows.from_array(
        table, labels=table.labels, divisor=request.divisor, scale=request.scale,
        fit_rows=request.fit_rows,
    )  # fmt: skip


class ParquetTable(DiskTable):
    """A Parquet file, opened anew for every row group that is read.

    The group that was read last is kept, so that rows may be asked for one after the other.

    Args:
        path: of the file.
        request: how it is to be read.

    Attributes:
        labels: int64 ``[N]``, or None.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: a column of another type, labels that are missing, damaged.
    """

    def __init__(self, path: Path, request: Request = Request()) -> None:  # noqa: B008 - frozen
        self.name, self.path, self.stamp = str(path), path, Stamp.of(path.stat())
        self._metadata: Any = None
        with self._opened() as file:
            self._metadata, schema = file.metadata, file.schema_arrow
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            dtypes = _dtypes(schema, self.name)
        n_rows = int(self._metadata.num_rows)
        if min(sizes, default=0) < 0 or sum(sizes) != n_rows:
            raise self._damaged(f"{n_rows:,} rows in groups of {sum(sizes):,}")
        require_few_rows(n_rows, self.name)
        self.edges = np.cumsum([0, *sizes], dtype=np.int64)
        self.gap = max(1, n_rows)  # a group is unpacked whole, however few of its rows are read
        self.labels, label = None, label_column(schema.names, path)
        if label is not None:
            values = self._column(label, n_rows, dtypes[label])
            if (values == np.rint(values)).all():
                self.labels = values.astype(np.int64)
            else:
                warn_label_is_feature(path, schema.names[label])
        columns = [i for i in range(len(dtypes)) if i != label or self.labels is None]
        if not columns or not n_rows:
            raise DataError(
                f"{path}: no values in an array of shape ({n_rows}, {len(columns)}). Give at "
                "least 1 row."
            )
        self.image_shape, self.is_table = request.image_size, True
        if self.image_shape is not None:
            check_image_shape(self.image_shape, len(columns), self.name)
        self.columns, self._places = tuple(schema.names[i] for i in columns), columns
        self.dtype = np.result_type(*(dtypes[i] for i in columns))
        self.shape = (n_rows, len(columns))
        self._last: tuple[int, Array] | None = None
        if not schema.names[0]:
            refuse_counting(self._column(0, n_rows, dtypes[0]), path)

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
            for first, columns in self._batches(group):
                part = np.empty((len(columns[0]), self.shape[1]), self.dtype)
                for number, place in enumerate(self._places):
                    part[:, number] = columns[place]
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
        for first, columns in self._batches(group):
            for number, place in enumerate(self._places):
                out[first : first + len(columns[0]), number] = columns[place]

    def _column(self, place: int, n_rows: int, dtype: np.dtype[Any]) -> Array:
        values = np.empty(n_rows, dtype)
        for group, start in enumerate(self.edges[:-1].tolist()):
            for first, columns in self._batches(group, place):
                values[start + first : start + first + len(columns[0])] = columns[0]
        return values

    def _batches(self, group: int, only: int | None = None) -> Iterator[tuple[int, list[Array]]]:
        """Yield a row group in pieces: the number of the first row in it, and the columns."""
        size = int(self.edges[group + 1] - self.edges[group])
        width = self._metadata.num_columns
        at = 0
        with self._opened() as file:
            names = None if only is None else [file.schema_arrow.names[only]]
            step = max(1, PIECE_BYTES // (8 * (width if only is None else 1)))
            for batch in file.iter_batches(step, row_groups=[group], columns=names):
                if at + len(batch) > size:
                    break
                found = batch.schema.names
                # "label" also selects a column that is called "label.x"
                places = range(len(found)) if names is None else [found.index(names[0])]
                yield at, [_values(batch.column(i), found[i], self.name) for i in places]
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


def _dtypes(schema: Any, name: str) -> list[np.dtype[Any]]:
    from pyarrow import types

    for field in schema:
        checks = (types.is_boolean, types.is_integer, types.is_floating)
        if not any(check(field.type) for check in checks):
            raise DataError(
                f"{name}: column {field.name!r} is {field.type}, not numbers. Drop or encode it."
            )
    return [np.dtype(field.type.to_pandas_dtype()) for field in schema]


def _values(column: Any, column_name: str, name: str) -> Array:
    if column.null_count:
        raise DataError(
            f"{name}: {column.null_count} missing values in column {column_name!r}. Fill them or "
            "drop their rows."
        )
    values: Array = column.to_numpy(zero_copy_only=False)
    return values
