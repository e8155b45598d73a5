"""Columns of numbers and texts as files that other programs read."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from discretevae.system.arrays import Array
from discretevae.system.files import atomic_file, write_atomic

CHUNK_LINES = 1 << 16

_QUOTED = re.compile(r'[,"\r\n]|^$|^\s|\s$')
"""Texts that need quotes, because they would end their cell or be trimmed."""


def write_columns(path: Path, columns: Mapping[str, Array]) -> None:
    """Columns ``[N]`` by name as ``.npz`` (one array each) or ``.csv`` (one line for each row).

    Numbers in a ``.csv`` are written so that they are read back to the bit, texts as RFC 4180 has
    it. Nothing is pickled.
    """
    if path.suffix.lower() == ".npz":
        texts = {name: as_unicode(column) for name, column in columns.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **texts)  # type: ignore[arg-type]
        write_atomic(path, buffer.getvalue())
        return
    with atomic_file(path) as file:
        for part in csv_parts(columns):
            file.write(part)


def csv_parts(columns: Mapping[str, Array]) -> Iterator[bytes]:
    r"""Yield the bytes of a ``.csv`` file piece by piece, in UTF-8.

    Example:
        >>> columns = {"id": np.array(["a", "b,c"]), "x": np.array([0.5, 1])}
        >>> b"".join(csv_parts(columns))
        b'id,x\na,0.5\n"b,c",1.0\n'
    """
    yield (",".join(map(_cell, columns)) + "\n").encode()
    n = len(next(iter(columns.values())))
    for start in range(0, n, CHUNK_LINES):
        parts = (column[start : start + CHUNK_LINES].tolist() for column in columns.values())
        lines = (",".join(map(_cell, line)) + "\n" for line in zip(*parts, strict=True))
        # the name of a file may be no text
        yield "".join(lines).encode(errors="backslashreplace")


def as_unicode(column: Array) -> Array:
    """Return texts, however they are held, as an array that can be saved without pickle."""
    return column.astype(str) if column.dtype.kind == "O" else column


def _cell(value: object) -> str:
    text = str(value)
    if isinstance(value, str) and _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text
