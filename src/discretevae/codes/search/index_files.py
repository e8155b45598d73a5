"""The file of an index: arrays and a JSON head behind a checksum that is looked at first.

::

    bytes 0-15     "discretevae-idx" and a line break
    bytes 16-47    SHA-256 of all that follows
    bytes 48-55    the length of the head, little-endian
    then           the head, JSON: format version, model, code, kind, rows
    then           the arrays, as safetensors

The checksum finds damage. It is no signature: whoever can write the file can write the checksum.
That is why every array is checked again where it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from discretevae.errors import DataError
from discretevae.system.files import atomic_file

Array = np.ndarray[Any, np.dtype[Any]]

MAGIC = b"discretevae-idx\n"
FORMAT_VERSION = 1
MAX_HEAD_BYTES = 65_536
_DIGEST_BYTES, _LENGTH_BYTES = 32, 8
_FIXED = len(MAGIC) + _DIGEST_BYTES + _LENGTH_BYTES


def write_index(path: Path, arrays: Mapping[str, Array], head: Mapping[str, Any]) -> None:
    """Writes arrays and head, atomically.

    Raises:
        OSError: the disk is full or the folder cannot be written to.
    """
    text = json.dumps({"format_version": FORMAT_VERSION, **head}).encode()
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    parts = [
        len(text).to_bytes(_LENGTH_BYTES, "little"),
        text,
        safetensors.numpy.save(plain),
    ]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    with atomic_file(path) as file:
        for part in (MAGIC, digest.digest(), *parts):
            file.write(part)


def read_index(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Reads what `write_index` wrote; nothing is interpreted before the checksum fits.

    Raises:
        DataError: the file is missing, no index, of a newer format, truncated or damaged.
    """
    try:
        with path.open("rb") as file:
            # a large file of another kind is not read to its end
            start = file.read(_FIXED)
            if start[: len(MAGIC)] != MAGIC:
                raise DataError(f"{path}: not an index that `discretevae index` wrote.")
            rest = file.read(max(0, os.fstat(file.fileno()).st_size - len(start)))
    except FileNotFoundError:
        raise DataError(f"{path}: no such index. Check the path.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    digest = hashlib.sha256(start[len(MAGIC) + _DIGEST_BYTES :])
    digest.update(rest)
    if digest.digest() != start[len(MAGIC) : len(MAGIC) + _DIGEST_BYTES]:
        raise damaged(path, "its checksum does not fit")
    length = int.from_bytes(start[-_LENGTH_BYTES:], "little")
    if length > min(MAX_HEAD_BYTES, len(rest)):
        raise damaged(path, "its head is too long")
    try:
        head = json.loads(rest[:length])
    except (ValueError, RecursionError):
        raise damaged(path, "its head is no JSON") from None
    if not isinstance(head, dict):
        raise damaged(path, "its head is no object")
    version = head.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path}: format version {version}, but this discretevae reads {FORMAT_VERSION}. "
            "Update discretevae, or build the index again."
        )
    try:
        arrays: dict[str, Array] = safetensors.numpy.load(rest[length:])
    except MemoryError:
        raise
    except Exception as error:
        # safetensors and numpy raise almost anything
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise damaged(path, reason) from None
    return arrays, head


def damaged(path: Path, reason: str) -> DataError:
    """What is said of a file that cannot have been written like this."""
    return DataError(f"{path}: corrupt or truncated ({reason}). Restore it or build it again.")


__all__ = ["damaged", "read_index", "write_index"]
