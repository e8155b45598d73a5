"""Atomic writes: a file is written aside, flushed and renamed, so that it is whole or not there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from discretevae.errors import ConfigError, RunError, kind_of

MAX_JSON_BYTES = 10_000_000
"""The largest object of ours, the report of a reproduction, has some 100,000."""


def as_path(value: object, name: str) -> Path:
    """Return a text or a path as a path, and refuse anything else (`ConfigError`)."""
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"{name} must be a path. Got {kind_of(value)}. Give a text or a Path.")
    return Path(value)


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds all of it or what it held before.

    The bytes go to a temporary name in the same folder, are flushed to the disk, and take the
    name in one step. A failure leaves no temporary file behind.
    """
    with atomic_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write to, piece by piece, that becomes ``path`` when the block is left.

    After an error the file at ``path`` stays as it was.
    """
    if path.is_dir():  # the rename would fail too, but only after everything was written
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            name = str(error.filename or temporary)
            if name == str(temporary):  # which the caller has never heard of
                raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically; what is no text in the names of files is escaped."""
    write_atomic(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_atomic(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """Return ``value`` as indented JSON."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def read_json(path: Path, most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object of at most so many bytes, or refuse the file (`RunError`)."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    if len(content) > most:
        raise RunError(f"{path}: over {most:,} bytes, so not ours. Check the path.")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise RunError(f"{path}: corrupt, no JSON object. Restore it, or delete it and run again.")
    return values


def has_format(path: Path, name: str) -> bool:
    """Return whether a JSON file has an entry ``format`` of this name."""
    try:
        return bool(read_json(path).get("format") == name)
    except RunError:
        return False


def array_bytes(array: Any) -> bytes:
    """Return a numpy array as the bytes of a ``.npy`` file."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
