"""Recognize files of other programs, and say what to do with them instead."""

from __future__ import annotations

import gzip
import re
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from discretevae.data.readers.request import listed
from discretevae.errors import DataError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


class Foreign(NamedTuple):
    """A kind of file that is not read, and the way from it to one that is."""

    what: str
    advice: str

    def error(self, path: Path) -> DataError:
        """Return the refusal of a file."""
        return DataError(f"{path}: {self.what}. {self.advice}.")


_ARRAY = "Load it with the program that wrote it, and save the array with numpy.save"
_TABLE = "Save it as CSV or Parquet"
_UNPACK = "Unpack it, and pass what is in it"

_PICKLE = Foreign("a pickle, which could run any code and is never loaded", _ARRAY)
_TORCH = Foreign("a file of PyTorch, which holds a pickle and is never loaded", _ARRAY)
_HDF5 = Foreign("an HDF5 file", "Open it with h5py, and save the array with numpy.save")
_MATLAB = Foreign("a MATLAB file", "Open it with scipy.io.loadmat, and save the array")
_EXCEL = Foreign("an Excel workbook", "Save the sheet as CSV")
_TENSORS = Foreign("a safetensors file", "Save the tensor that holds the rows with numpy.save")
_ARROW = Foreign("an Arrow, Feather or Avro file", "Save it as Parquet")
_JSON = Foreign("a JSON file", _TABLE)
_PACKED = Foreign("an archive or a packed file", _UNPACK)

_BY_MAGIC: tuple[tuple[bytes, Foreign], ...] = (
    (rb"\x89HDF\r\n\x1a\n", _HDF5),
    (rb"MATLAB [57]\.\d MAT", _MATLAB),
    (rb"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", _TORCH),
    (rb"\x80[\x02-\x05]", _PICKLE),
    (rb".{4}\0{4}\{\"", _TENSORS),  # the length of a header of JSON, then the header
    (rb"ARROW1|FEA1|Obj\x01", _ARROW),
    (rb"BZh\d1AY&SY|\xfd7zXZ\0|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!\x1a|.{257}ustar", _PACKED),
    (rb"version https://git-lfs", Foreign("a pointer of Git LFS", "Run git lfs pull")),
    (rb"\s*<(!doctype )?html", Foreign("a web page, no data", "Fetch the file itself")),
)

_BY_SUFFIX = {
    **dict.fromkeys((".pt", ".pth", ".ckpt"), _TORCH),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLE),
    **dict.fromkeys((".h5", ".hdf5"), _HDF5),
    ".mat": _MATLAB,
    ".safetensors": _TENSORS,
    **dict.fromkeys((".xlsx", ".xls", ".xlsm"), _EXCEL),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), _JSON),
    **dict.fromkeys((".feather", ".arrow"), _ARROW),
}

_IN_ZIP = {"data.pkl": _TORCH, "xl/workbook.xml": _EXCEL, "xl/workbook.bin": _EXCEL}


def recognize(path: Path) -> Foreign | None:
    """Return what a file is by its first bytes, else by its name; None if it may be readable.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "mine.dat")
        ...     _ = file.write_bytes(b"ARROW1")
        ...     recognize(file).what
        'an Arrow, Feather or Avro file'
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return Foreign("the file is empty", "Fetch or save it again")
    if head[:4] == b"PK\x03\x04":
        found = _in_zip(path)
    else:
        found = _in_gzip(path) if head[:2] == b"\x1f\x8b" else _by_magic(head)
    return found or _BY_SUFFIX.get(path.suffix.lower())


def _by_magic(head: bytes) -> Foreign | None:
    flags = re.DOTALL | re.IGNORECASE
    return next((found for magic, found in _BY_MAGIC if re.match(magic, head, flags)), None)


def _in_zip(path: Path) -> Foreign | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError):
        return None  # cut short: what it was is not known
    if not names or any(name.endswith(".npy") for name in names):
        return None
    for name, found in _IN_ZIP.items():
        # PyTorch puts everything into a folder of the file's name
        if any(each == name or each.split("/")[1:] == [name] for each in names):
            return found
    if any(is_picture_name(name) for name in names):
        return Foreign("an archive of pictures", "Unpack it, and pass the folder")
    return Foreign(f"a zip archive of {listed(names, 3)}", _UNPACK)


def _in_gzip(path: Path) -> Foreign | None:
    try:
        with gzip.open(path) as file:
            head = file.read(512)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return None
    if head[:6] == b"\x93NUMPY":
        return Foreign("an array of NumPy, packed by gzip", _UNPACK)
    found = _by_magic(head)
    return None if found is None else Foreign(f"{found.what}, packed by gzip", _UNPACK)


def is_picture_name(name: str) -> bool:
    """Return whether a file of this name claims to be a picture that can be read."""
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES
