"""Fetch one file from the first mirror that has the right one; leave nothing else behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from discretevae.errors import DataError, DownloadError
from discretevae.system.files import atomic_file
from discretevae.system.progress import track

TIMEOUT = 30.0
"""Seconds without a byte before a mirror is given up."""

PIECE_BYTES = 1 << 16


def fetch(
    name: str, target: Path, mirrors: Iterable[str], get: Callable[[str, Path], None]
) -> None:
    """Fill `target` from the first of the mirrors from which `get` succeeds.

    The file appears under its name only when it is whole and checked. `get` is called with a mirror
    and a path, writes the checked file there, or raises OSError or DataError.

    Raises:
        DownloadError: no mirror had the right file, or the folder cannot be written to; `name`
            starts the message.
    """
    failures = []
    for mirror in mirrors:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as scratch:
                try:
                    get(mirror, Path(scratch.name))
                except (OSError, DataError) as error:
                    raise _MirrorError(_reason(error).replace(scratch.name, target.name)) from None
            return
        except _MirrorError as error:
            failures.append(f"{mirror} ({error})")
        except OSError as error:
            raise DownloadError(
                f"{name}, and {target.parent} cannot be written to ({error}). Make it writable, or "
                "put the files into a folder and pass `data_dir`."
            ) from None
    raise DownloadError(
        f"{name}, and no mirror gave the right file: {'; '.join(failures) or 'none is known'}. "
        "Check the connection, or put the files into a folder and pass `data_dir`."
    )


def download(url: str, path: Path, *, max_bytes: int, progress: bool = False) -> None:
    """Write what an address holds into a file.

    Raises:
        OSError: no connection, an error status, or broken off.
        DataError: more than `max_bytes`.
    """
    import requests

    with requests.get(url, stream=True, timeout=TIMEOUT) as response, path.open("wb") as file:
        response.raise_for_status()
        size = response.headers.get("content-length", "")
        total = int(size) / PIECE_BYTES if size.isdecimal() else None
        name = url.rsplit("/", 1)[-1]
        pieces = track(response.iter_content(PIECE_BYTES), name, total, show=progress)
        for piece in pieces:
            if file.tell() + len(piece) > max_bytes:
                raise DataError(f"more than the expected {max_bytes:,} bytes")
            file.write(piece)


class _MirrorError(Exception):
    """A mirror did not give the right file: another may."""


def _reason(error: Exception) -> str:
    """Return what happened in one line of at most 300 characters."""
    # connection errors come wrapped in several layers, of which the innermost says it
    while not isinstance(error, DataError) and isinstance(
        inner := error.__cause__ or error.__context__, Exception
    ):
        error = inner
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
