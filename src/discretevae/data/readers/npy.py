"""NumPy's `.npy` files. No pickle is ever loaded."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from discretevae.config import ImageShape
from discretevae.data.readers.request import Request
from discretevae.data.rows import Rows
from discretevae.data.stores.disk import PIECE_BYTES, DiskTable, Stamp
from discretevae.data.stores.values import Array, check_size, table_shape
from discretevae.errors import DataError

MAX_HEADER_BYTES = 1 << 20
"""Numpy's own headers of plain numbers take 118 bytes."""

BLOCK_BYTES = 128 << 10
"""Consecutive rows that are read together. Small, because how well rows are shuffled depends on
how many blocks lie in memory at a time; not smaller, because a disk reads small pieces slowly."""

GAP_BYTES = 32 << 10
"""Reading so much more than is needed costs less than another read does."""


def read_npy(path: Path, request: Request) -> Rows:
    """Read one array of numbers; a large one is streamed.

    Raises:
        DataError: Python objects, cut short, or no array at all.
    """
    return request.rows(NpyTable(path, request.image_size))


class NpyTable(DiskTable):
    """The table in a `.npy` file, which is opened anew for every read.

    A file of any size will do, since its header cannot promise more than is there.

    Raises:
        DataError: Python objects, cut short, no array of rows.
    """

    def __init__(self, path: Path, image_size: ImageShape | None = None) -> None:
        self.name, self.path = str(path), path
        with path.open("rb") as file:
            self.sides, self.dtype, self.by_columns = read_header(file, self.name)
            self.offset, self.stamp = file.tell(), Stamp.of(os.fstat(file.fileno()))
        promised = check_size(self.name, self.sides, self.dtype.itemsize, max_bytes=sys.maxsize)
        if (found := self.stamp.size - self.offset) < promised:
            raise DataError(
                f"{path} ends after {found:,} of {promised:,} bytes of values. Fetch or save it "
                "again."
            )
        self.shape, self.image_shape, self.is_channel_first = table_shape(
            self.sides, self.dtype, image_size, self.name
        )
        self.row_bytes = self.shape[1] * self.dtype.itemsize
        step = max(1, BLOCK_BYTES // self.row_bytes)
        self.edges = np.append(np.arange(0, self.shape[0], step, dtype=np.int64), self.shape[0])
        self.gap = 1 + GAP_BYTES // self.row_bytes

    def read_into(self, start: int, out: Array) -> None:
        """Fill ``out`` with the rows from ``start`` on."""
        step = max(1, PIECE_BYTES // self.row_bytes)
        try:
            with self.path.open("rb") as file:
                self.stamp.require(os.fstat(file.fileno()), self.name)
                for first in range(0, len(out), step):
                    part = out[first : first + step]
                    part[...] = self._rows(file, start + first, len(part))
        except OSError as error:
            raise DataError(f"{self.name}: can no longer be read ({error.strerror}).") from None

    def will_read(self, runs: Sequence[tuple[int, int]]) -> None:
        """Let the system fetch all of them at once: twice as fast from a disk as in turn."""
        advise = getattr(os, "posix_fadvise", None)  # not everywhere
        if advise is None or self.by_columns:
            return
        # advice only: the read itself raises what is wrong
        with contextlib.suppress(OSError), self.path.open("rb", buffering=0) as file:
            for start, stop in runs:
                at, size = start * self.row_bytes, (stop - start) * self.row_bytes
                advise(file.fileno(), self.offset + at, size, os.POSIX_FADV_WILLNEED)

    def require_streamable(self, dtype: np.dtype[Any]) -> None:
        """Refuse columns one after the other, of which a row is scattered."""
        if self.by_columns:
            raise DataError(
                f"{self.name}: saved in Fortran order, whose rows cannot be streamed. Save it "
                "again with numpy.ascontiguousarray."
            )

    def _rows(self, file: IO[bytes], start: int, n: int) -> Array:
        """Return n rows from ``start`` on, ``[n, P]``."""
        n_rows, width = self.shape
        if self.by_columns:
            columns = [self._values(file, place * n_rows + start, n) for place in range(width)]
            rows = np.stack(columns, 1).reshape((n, *self.sides[1:]), order="F")
        else:
            rows = self._values(file, start * width, n * width).reshape(n, *self.sides[1:])
        return (np.moveaxis(rows, 1, 3) if self.is_channel_first else rows).reshape(n, width)

    def _values(self, file: IO[bytes], at: int, n: int) -> Array:
        file.seek(self.offset + at * self.dtype.itemsize)
        values: Array = np.fromfile(file, self.dtype, n)
        if len(values) < n:
            raise DataError(f"{self.name}: cut short while it was read. Start again.")
        return values


def read_header(file: IO[bytes], label: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Return shape and dtype of an array, and whether its values lie in Fortran order.

    Raises:
        DataError: no array, or Python objects.
    """
    try:
        version = np.lib.format.read_magic(file)
        # Version 3 differs only in allowing field names outside Latin-1, and fields are refused.
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        _require_short_header(file, version)
        shape, by_columns, dtype = read(file)
        if any(type(side) is not int for side in shape):
            raise ValueError(f"its header says shape {shape}")
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # numpy evaluates the header as a literal: damage raises almost anything, TokenError too
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(
            f"{label}: not a NumPy array of numbers ({reason}). Save it with numpy.save."
        ) from None
    if dtype.hasobject:
        raise DataError(
            f"{label} holds Python objects, which are never loaded. Save an array of numbers, or "
            "names of classes by array.astype(str)."
        )
    return shape, dtype, by_columns


def _require_short_header(file: IO[bytes], version: tuple[int, int]) -> None:
    """Refuse a header whose length would take memory before it is found to be a lie."""
    place = file.tell()
    length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    file.seek(place)
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header would take {length:,} bytes")
