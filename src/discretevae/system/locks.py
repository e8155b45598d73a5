"""One writer per run folder."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from discretevae.errors import RunError

LOCK = "lock"

_held: dict[Path, int] = {}
"""Folders that this process has locked, and how often."""


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which must be there, for as long as the block runs.

    The operating system keeps the lock and gives it up when the process ends, however it ends: a
    crash leaves the file ``lock`` behind, but nothing locked. A process that holds the lock may ask
    for it again. Where the system knows no such locks, nothing is locked.

    Raises:
        RunError: another process holds it; which one is said.
        OSError: the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, writing(Path(folder)):
        ...     (Path(folder) / "lock").exists()
        True
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    key = folder.resolve()
    if _held.get(key):
        _held[key] += 1
        try:
            yield
        finally:
            _held[key] -= 1
        return
    with (folder / LOCK).open("a+", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            raise RunError(
                f"{folder}: {holder} is writing to it. Wait until it is done, or stop it."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        _held[key] = 1
        try:
            yield
        finally:
            del _held[key]


def is_locked(folder: Path) -> bool:
    """Whether another process is writing to the folder.

    Example:
        >>> is_locked(Path("no/such/folder"))
        False
    """
    path = folder / LOCK
    if not path.exists() or _held.get(folder.resolve()):
        return False
    try:
        import fcntl

        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False


__all__ = ["is_locked", "writing"]
