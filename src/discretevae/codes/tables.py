"""Columns of numbers as files that other programs read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from discretevae.system.files import write_atomic, write_text

Array = np.ndarray[Any, np.dtype[Any]]


def write_columns(path: Path, columns: Mapping[str, Array]) -> None:
    """Columns ``[N]`` by name as ``.npz`` (one array each) or ``.csv`` (one line for each row).

    Numbers in a ``.csv`` are written so that they are read back to the bit, behind the number of
    the row, from 0.

    Raises:
        OSError: the file cannot be written.
    """
    if path.suffix.lower() == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, **dict(columns))  # type: ignore[arg-type]
        write_atomic(path, buffer.getvalue())
        return
    lines = [",".join(("row", *columns))]
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    lines += [",".join((str(i), *map(str, line))) for i, line in enumerate(values)]
    write_text(path, "\n".join(lines) + "\n")
