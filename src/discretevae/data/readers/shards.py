"""A folder of `.npy` and `.parquet` files whose rows make one table, in their natural order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from discretevae.data.readers.images import visible
from discretevae.data.readers.npy import NpyTable
from discretevae.data.readers.parquet import ParquetTable
from discretevae.data.readers.request import Request
from discretevae.data.readers.roles import warn_of
from discretevae.data.rows import Rows
from discretevae.data.stores.disk import DiskTable, Shards
from discretevae.errors import DataError

_TABLES: dict[str, Callable[[Path, Request], DiskTable]] = {
    ".npy": lambda path, request: NpyTable(path, request.image_size),
    ".parquet": ParquetTable,
}


def is_shards(path: Path) -> bool:
    """Return whether a folder holds any shard.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/part-0.npy", np.eye(4))
        ...     is_shards(Path(folder))
        True
    """
    return any(entry.suffix.lower() in _TABLES for entry in visible(path))


def read_shards(path: Path, request: Request) -> Rows:
    """Read every shard of a folder as one table, in natural order; a large one is streamed.

    The divisor follows from all shards together.

    Raises:
        MissingExtraError: a Parquet shard, and pyarrow is not installed.
        DataError: other files among them, or shards that differ in width, dtype, picture shape,
            or in whether they have labels.
    """
    files = visible(path)
    for file in files:
        if file.suffix.lower() not in _TABLES or not file.is_file():
            raise DataError(
                f"{file}: a folder of shards holds {' and '.join(_TABLES)} files only. Move "
                "everything else elsewhere."
            )
    tables = [_TABLES[file.suffix.lower()](file, request) for file in files]
    notes: list[str] = []
    for table in tables:
        _require_same(tables[0], table, notes)
    parquet = [table for table in tables if isinstance(table, ParquetTable)]
    found = [table.labels for table in parquet if table.labels is not None]
    if 0 < len(found) < len(tables):
        raise DataError(f"{path}: {len(found)} of {len(tables)} shards have labels. Give all some.")
    own = [table.ids for table in parquet if table.ids is not None]
    if len({each.dtype.kind == "U" for each in own}) > 1:
        own = [each.astype(np.str_) for each in own]
    warn_of(str(path), [*notes, *(note for table in parquet for note in table.notes)])
    ids = np.concatenate(own) if len(own) == len(tables) else None
    return request.rows(
        Shards(str(path), tables), labels=np.concatenate(found) if found else None, ids=ids
    )


def _require_same(first: DiskTable, table: DiskTable, notes: list[str]) -> None:
    """Refuse a shard that differs; columns in another order are put in that of the first."""
    described = [
        f"{t.dtype} rows of {t.shape[1]} values" + (f" {t.image_shape}" if t.image_shape else "")
        for t in (first, table)
    ]
    if described[0] != described[1]:
        raise DataError(
            f"{table.name}: {described[1]}, but {first.name}: {described[0]}. Save all alike."
        )
    if not first.columns or not table.columns or first.columns == table.columns:
        return
    if isinstance(table, ParquetTable) and set(first.columns) == set(table.columns):
        table.put_in_order(first.columns)
        notes.append("the columns of its shards stand in several orders; all were put in one")
    else:
        raise DataError(f"{table.name}: other columns than {first.name}. Save all alike.")
