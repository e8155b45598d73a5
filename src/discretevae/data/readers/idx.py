"""IDX files, the format of MNIST: a magic number, the sides, then the values, big-endian.

Plain or gzip; which one is seen from the bytes, not from the name.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from discretevae.data.readers.request import Request
from discretevae.data.rows import Rows
from discretevae.data.stores.values import check_size
from discretevae.errors import DataError

_GZIP = b"\x1f\x8b"
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PIECE = 1 << 20


def read_idx(path: Path, request: Request) -> Rows:
    """Read the pictures or rows of an IDX file.

    If it is named like `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` lies beside it,
    that file holds the labels.

    Raises:
        DataError: no IDX file, cut short, or holding labels only.
    """
    array = array_from_idx(read_idx_bytes(path))
    if array.ndim == 1:
        raise DataError(
            f"{path} holds {len(array):,} single values: labels, not rows. Pass the file of images."
        )
    beside = path.with_name(path.name.replace("-images-idx3-", "-labels-idx1-"))
    labels = None
    if beside != path and beside.is_file():
        labels = array_from_idx(read_idx_bytes(beside))
    return request.rows(array, labels=labels, name=str(path), copy=False)


def read_idx_bytes(path: Path, max_bytes: int | None = None) -> bytearray:
    """Return the uncompressed bytes of an IDX file, header included and length checked.

    At most one byte more than the header promises is unpacked, so that a small file cannot fill
    the memory.

    Raises:
        DataError: no IDX file, cut short, or longer than its header says.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream: BufferedIOBase = gzip.GzipFile(fileobj=raw) if packed else raw
        head = _read(stream, 4, path)
        if not is_idx(bytes(head)):
            what = "gzip file that holds no IDX array" if packed else "not an IDX file"
            raise DataError(f"{path}: {what}. Its magic number is {head.hex(' ') or 'missing'}.")
        head += _read(stream, 4 * head[3], path)
        shape = struct.unpack(f">{(len(head) - 4) // 4}I", head[4 : len(head) // 4 * 4])
        if len(shape) < head[3]:
            raise DataError(f"{path} ends within its header. Delete it and fetch it again.")
        itemsize = np.dtype(_DTYPES[head[2]]).itemsize
        total = len(head) + check_size(str(path), shape, itemsize, max_bytes)
        if not packed and (found := path.stat().st_size) < total:
            raise _cut_short(path, found, total)
        # The byte too many also makes gzip reach the end mark and compare its checksum.
        head += _read(stream, total - len(head), path)
        if len(head) < total:
            raise _cut_short(path, len(head), total)
        head += _read(stream, 1, path, at_end=True)
    if len(head) > total:
        raise DataError(
            f"{path} goes on after the {total:,} bytes that its header promises. Delete it and "
            "fetch it again."
        )
    return head


def array_from_idx(data: bytearray) -> npt.NDArray[Any]:
    """Return the array in the bytes of an IDX file; single bytes share their memory."""
    sides = data[3]
    shape = struct.unpack_from(f">{sides}I", data, 4)
    return np.frombuffer(data, np.dtype(_DTYPES[data[2]]), offset=4 + 4 * sides).reshape(shape)


def is_idx(head: bytes) -> bool:
    """Return whether these first four bytes start an IDX file."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _DTYPES and 1 <= head[3] <= 8


def _read(stream: BufferedIOBase, size: int, path: Path, *, at_end: bool = False) -> bytearray:
    # Growing piece by piece: a header that lies about a short file costs no memory.
    data = bytearray()
    try:
        while len(data) < size and (piece := stream.read1(min(_PIECE, size - len(data)))):
            data += piece
    except EOFError:
        # The end mark of gzip is missing; where values are missing too, the caller counts them.
        if at_end:
            raise DataError(
                f"{path} ends within its last 8 bytes, a checksum. Delete it and fetch it again."
            ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: damaged gzip file ({error}). Delete it and fetch it again."
        ) from None
    return data


def _cut_short(path: Path, found: int, total: int) -> DataError:
    return DataError(
        f"{path} ends after {found:,} of {total:,} bytes. Delete it and fetch it again."
    )
