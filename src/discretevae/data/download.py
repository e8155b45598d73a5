"""Fetch one file from the first mirror that has the right one; leave nothing else behind."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from discretevae.errors import DataError, DownloadError

TIMEOUT = 30.0
"""Seconds without a byte before a mirror is given up."""


def fetch(
    name: str,
    target: Path,
    mirrors: Iterable[str],
    get: Callable[[str, Path], None],
) -> None:
    """Fill `target` from the first mirror from which `get` succeeds.

    The file appears under its name only when it is whole and checked.

    Args:
        name: starts the message if every mirror fails, such as "mnist: a.gz is not in /tmp".
        target: where the file goes; its folder is made.
        mirrors: addresses, tried in this order.
        get: called with a mirror and a path; writes the checked file there, or raises OSError or
            DataError.

    Raises:
        DownloadError: no mirror had the right file, or the folder cannot be written to.
    """
    failures = []
    for mirror in mirrors:
        try:
            with _scratch_file(target) as scratch:
                try:
                    get(mirror, scratch)
                    scratch.replace(target)
                    return
                except (OSError, DataError) as error:
                    reason = _reason(error).replace(str(scratch), target.name)
                    failures.append(f"{mirror} ({_in_one_line(reason)})")
        except _FolderError as error:
            raise DownloadError(
                f"{name}, and {target.parent} cannot be written to ({error.__cause__}). Make it "
                "writable, or put the files into a folder and pass `data_dir`."
            ) from None
    raise DownloadError(
        f"{name}, and no mirror gave the right file: {'; '.join(failures) or 'none is known'}. "
        "Check the connection, or put the files into a folder and pass `data_dir`."
    )


def download(url: str, path: Path, *, max_bytes: int, progress: bool = False) -> None:
    """Write what an address holds into a file.

    Args:
        url: http or https.
        path: written over.
        max_bytes: give up beyond this, whatever the server says.
        progress: draw a bar, if standard error is a terminal.

    Raises:
        OSError: no connection, an error status, or broken off.
        DataError: more than `max_bytes`.
    """
    import pooch

    # A bar in a log file would be noise.
    bar = _Bar(url) if progress and sys.stderr.isatty() else None
    get = pooch.HTTPDownloader(progressbar=bar or False, chunk_size=1 << 16, timeout=TIMEOUT)
    try:
        with path.open("wb") as file:
            get(url, _Limited(file, max_bytes), None)
    finally:
        if bar:
            bar.close()


class _FolderError(Exception):
    """The folder of the target cannot be written to: another mirror would not help."""


@contextlib.contextmanager
def _scratch_file(target: Path) -> Iterator[Path]:
    """A file beside `target`, so that the final rename stays within one file system."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise _FolderError from error
    os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


class _Limited:
    """A file that refuses to grow beyond a size."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self._left = max_bytes
        self._max_bytes = max_bytes

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"more than the expected {self._max_bytes:,} bytes")
        self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


class _Bar:
    """What pooch wants of a progress bar, drawn by rich; pooch's own needs another package."""

    def __init__(self, url: str) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.total = 0
        self._bar = Progress(console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(url.rsplit("/", 1)[-1], total=None)
        self._bar.start()

    def update(self, n: int) -> None:
        self._bar.update(self._task, advance=n, total=self.total or None)

    def reset(self) -> None:
        self._bar.reset(self._task)

    def close(self) -> None:
        self._bar.stop()


def _reason(error: Exception) -> str:
    if isinstance(error, DataError):
        return str(error)
    # Connection errors come wrapped in several layers; the innermost one says what happened.
    while isinstance(inner := error.__cause__ or error.__context__, Exception):
        error = inner
    return str(error) or type(error).__name__


def _in_one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:297] + "..."
