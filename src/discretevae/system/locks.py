"""One writer per run folder."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from discretevae.errors import RunError

LOCK = "lock"


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the lock of an existing folder while the block runs.

    Refuse a folder whose lock another process holds (`RunError`). The operating system releases
    the lock when the process ends, however it ends: a crash leaves the file ``lock`` behind, but
    it locks nothing. A process that holds the lock may ask for it again.
    """
    lock, path = _lock(folder), folder / LOCK
    try:
        lock.acquire(blocking=False)
    except Timeout:
        holder = ""
        with contextlib.suppress(OSError), path.open(errors="replace") as file:
            holder = file.read(200).strip()
        raise RunError(
            f"{folder}: {holder or 'another process'} is writing to it. "
            "Wait until it is done, or stop it."
        ) from None
    with contextlib.suppress(OSError):  # Windows lets nobody write to a locked file
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether another process is writing to the folder."""
    lock = _lock(folder)
    if lock.is_locked or not (folder / LOCK).exists():
        return False
    try:
        with lock.acquire(blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # not ours to write to
        return False


def _lock(folder: Path) -> FileLock:
    """Return the one lock object of this process for a folder, so that it can be nested."""
    return FileLock(folder.resolve() / LOCK, is_singleton=True, thread_local=False)
