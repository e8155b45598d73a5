"""Files of the user: which reader takes a path, by its suffix or by its first bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from discretevae.data.readers.foreign import PICTURE_SUFFIXES, recognize
from discretevae.data.readers.idx import is_idx, read_idx
from discretevae.data.readers.images import is_picture, read_images
from discretevae.data.readers.npy import read_npy
from discretevae.data.readers.npz import read_npz
from discretevae.data.readers.parquet import read_parquet
from discretevae.data.readers.request import Request
from discretevae.data.readers.shards import is_shards, read_shards
from discretevae.data.readers.tables import read_csv
from discretevae.data.readers.texts import read_texts, texts_of
from discretevae.data.rows import Rows
from discretevae.errors import DataError

Reader = Callable[[Path, Request], Rows | dict[str, Rows]]
"""From a path and what is asked to all rows, or to parts; see `read_path`."""

_BY_SUFFIX: dict[str, Reader] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".tab": read_csv,
    ".txt": read_csv,
    ".data": read_csv,
    ".csv.gz": read_csv,
    ".tsv.gz": read_csv,
    ".txt.gz": read_csv,
    ".parquet": read_parquet,
    **dict.fromkeys(PICTURE_SUFFIXES, read_images),
}

_WITHOUT_NAMES = (read_npy, read_npz, read_idx, read_images)

READABLE = (
    ".npy, .npz, .csv, .tsv, .txt (also .gz), .parquet, IDX (plain or .gz), a picture, or a "
    "folder of pictures, of .txt or of .npy and .parquet files"
)


def read_path(path: Path, request: Request) -> dict[str, Rows]:
    """Read a file, or a folder of pictures or of shards, as the request says.

    What cannot be read is refused by what it really is, where that is known.

    Returns:
        The parts of the file: `{"all": rows}`, or `train` and at least one of `test` and
        `validation`.

    Raises:
        DataError: what the reader found wrong, or nothing that can be read.
        MissingExtraError: a Parquet file, and pyarrow is not installed.

    Example:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/mine.npy", np.eye(4))
        ...     read_path(Path(folder, "mine.npy"), Request())["all"].is_binary
        True
    """
    try:
        try:
            found = _read(path, request)
        except DataError:
            foreign = recognize(path) if path.is_file() else None
            if foreign is None:
                raise
            raise foreign.error(path) from None
    except PermissionError as error:
        where = error.filename or path
        raise DataError(f"{where}: no permission to read it. Change its access rights.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    return found if isinstance(found, dict) else {"all": found}


def _read(path: Path, request: Request) -> Rows | dict[str, Rows]:
    if (path / "config.json").is_file():
        raise DataError(
            f"{path}: a run folder, and no data. Pass the data that it was trained on, or others."
        )
    if path.is_dir():
        reader: Reader = read_shards if is_shards(path) else read_images
        reader = read_texts if reader is read_images and texts_of(path) else reader
    elif path.is_file() and request.text is not None:
        reader = read_texts
    elif path.is_file():
        name = path.name.lower()
        found = (read for suffix, read in _BY_SUFFIX.items() if name.endswith(suffix))
        reader = next(found, None) or _by_magic(path)
    else:
        raise DataError(f"{path} is neither a file nor a folder. Pass {READABLE}.")
    asks_by_name = request.label or request.row_id or request.ignore or request.kind
    if asks_by_name and reader in _WITHOUT_NAMES and request.columns is None:
        raise DataError(
            f"{path}: has no columns by name, which `label`, `row_id`, `ignore` and `kind` are "
            "for. Leave them out."
        )
    return reader(path, request)


def _by_magic(path: Path) -> Reader:
    with path.open("rb") as file:
        head = file.read(12)
    if head[:6] == b"\x93NUMPY":
        return read_npy
    if is_idx(head) or head[:2] == b"\x1f\x8b":
        return read_idx
    if head[:4] == b"PK\x03\x04" and _is_zip(path):
        return read_npz
    if head[:4] == b"PAR1":
        return read_parquet
    if is_picture(head):
        return read_images
    raise DataError(f"{path}: unknown kind of file. Pass {READABLE}.")


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # one of several parts
        return False
