"""Pictures, one or a folder of them: each becomes one row, of grey values or of colors."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from discretevae.data.classes import natural_key
from discretevae.data.readers.decoding import Decoded, decode
from discretevae.data.readers.foreign import is_picture_name
from discretevae.data.readers.pixels import FORMATS
from discretevae.data.readers.request import Request, listed
from discretevae.data.readers.white import choose_white, with_white
from discretevae.data.rows import Rows
from discretevae.errors import DataError, DataWarning, count

_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"II*\0", b"MM\0*")

_LITTER = ("thumbs.db", "desktop.ini", "__macosx")
"""Files that systems leave in folders and archives of pictures."""


PARTS = {"train", "test", "val", "valid", "validation"}
"""Names of folders that are hardly classes."""


def read_images(path: Path, request: Request) -> Rows:
    """Read a picture, or every picture of a folder and of the folders in it, in natural order.

    What is transparent becomes white, and of an animation the first picture counts. If every
    picture lies in a sub-folder, the names of the sub-folders are the classes.
    The names of the files, relative to the folder, are the ids. Hidden files and folders are
    skipped.

    Args:
        path: the file or folder.
        request: ``image_size`` (height, width) that every picture is resized to, None if all are
            one size; ``color``, by which all are rows of red, green and blue, or of grey;
            ``skip_broken``; ``divisor``, None for the value of white, see `choose_white`.

    Raises:
        DataError: no pictures, a file that is no picture, or pictures of different sizes.

    Warns:
        DataWarning: white is another value than the files alone say, or something was left out.
    """
    folder, files = (path, _files(path)) if path.is_dir() else (path.parent, [path])
    table, facts = decode(path, files, request)
    _warn_of(path, files, facts)
    skipped = set(facts.skipped)
    files = [file for number, file in enumerate(files) if number not in skipped]
    divisor, white = choose_white(facts.bits, facts.peak, len(files), request, str(path))
    names = [file.relative_to(folder).as_posix() for file in files]
    has_classes = all("/" in name for name in names)
    labels = [file.parent.name for file in files] if has_classes else None
    if labels is not None and {name.casefold() for name in labels} <= PARTS:
        warnings.warn(
            f"{path}: its folders {listed(sorted(set(labels)))} were taken for classes, not for "
            "parts. Pass one of them, and the other where rows are evaluated.",
            DataWarning,
            stacklevel=2,
        )
    return request.rows(
        with_white(table, facts.peak, divisor, white), labels=labels, ids=np.array(names),
        divisor=divisor, name=str(path), copy=False, image_shape=facts.shape,
    )  # fmt: skip


def _warn_of(path: Path, files: list[Path], facts: Decoded) -> None:
    """Tell what was lost: of what is left out all files, of others one."""
    said = [(what, n, [first]) for what, (n, first) in facts.lost.items()]
    if facts.skipped:
        said.append(("{} that cannot be read left out.", len(facts.skipped), facts.skipped))
    for what, n, numbers in said:
        which = [files[number] for number in numbers]
        names = ", ".join("/".join(file.parts[len(path.parts) :]) or file.name for file in which)
        such = f"{count(n, 'file')} ({'' if n == len(which) else 'such as '}{names})"
        warnings.warn(f"{path}: {what.format(such)}", DataWarning, stacklevel=3)


def is_picture(head: bytes) -> bool:
    """Return whether these first bytes start a picture that can be read.

    Example:
        >>> is_picture(b"GIF89a"), is_picture(b"PAR1")
        (True, False)
    """
    return head.startswith(_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _files(path: Path) -> list[Path]:
    files: list[Path] = []
    for entry in visible(path):
        files.extend(visible(entry) if entry.is_dir() else [entry])
    for file in files:
        if file.is_dir():
            raise DataError(
                f"{file}: pictures may lie one folder deep, not two. Pass {file.parent}, or move "
                "its files up."
            )
        if not file.is_file():  # to open a pipe would wait for ever
            raise DataError(f"{file}: a broken link or no regular file. Remove it.")
    if not files:
        raise DataError(f"{path}: no pictures in this folder. Read are {', '.join(FORMATS)}.")
    if not any(is_picture_name(file.name) or _starts_as_picture(file) for file in files):
        kinds = sorted({file.suffix.lower() or "nameless" for file in files})
        raise DataError(
            f"{path}: no pictures in this folder, but {', '.join(kinds[:3])} files, such as "
            f"{files[0].name}. Read are {', '.join(FORMATS)}; pass one file of another kind by "
            "its own name."
        )
    return files


def _starts_as_picture(path: Path) -> bool:
    with path.open("rb") as file:
        return is_picture(file.read(12))


def visible(path: Path) -> list[Path]:
    """Return the files and folders in a folder in natural order, but those that are hidden."""
    found = [
        entry
        for entry in path.iterdir()
        if not entry.name.startswith(".") and entry.name.lower() not in _LITTER
    ]
    return sorted(found, key=lambda entry: natural_key(entry.name))
