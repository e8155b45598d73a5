"""NumPy files: `.npy` and `.npz`. No pickle is ever loaded."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from discretevae.data.rows import Rows, rows_on_disk
from discretevae.data.stores.disk import NpyTable, Stamp
from discretevae.data.stores.sparse import Sparse, check_promise, from_parts
from discretevae.data.stores.values import as_labels, check_size, table_shape
from discretevae.errors import DataError, DataWarning

MAX_HEADER_BYTES = 1 << 20
"""Numpy's own headers of plain numbers take 118 bytes."""

_EXPANSION = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""How many times larger than itself a packed array can become, by the compression. NumPy writes
these two; of others a few bytes can become gigabytes."""

_WHOLE = ("x", "data", "images")
_TRAIN = ("train", "x_train", "train_data", "train_images")
_TEST = ("test", "x_test", "test_data", "test_images")
_LABELS = ("y", "labels", "label", "target", "targets")
_TRAIN_LABELS = ("y_train", "train_labels", "labels_train")
_TEST_LABELS = ("y_test", "test_labels", "labels_test")
_SPARSE = {"format", "shape", "data"}


def read_npy(
    path: Path, *, image_size: tuple[int, int] | None = None, divisor: float | None = None
) -> dict[str, Rows]:
    """Read one array of numbers; a large one is streamed.

    Returns:
        `{"all": rows}`.

    Raises:
        DataError: Python objects, cut short, or no array at all.
    """
    table = open_npy(path, image_size=image_size)
    return {"all": rows_on_disk(table, image_shape=table.image_shape, divisor=divisor)}


def open_npy(path: Path, *, image_size: tuple[int, int] | None = None) -> NpyTable:
    """The table in a `.npy` file, of which the header only is read.

    A file of any size will do, since its header cannot promise more than is there.

    Raises:
        DataError: Python objects, cut short, no array of rows.
    """
    name = str(path)
    with path.open("rb") as file:
        sides, dtype, by_columns = _header(file, name)
        promised = check_size(name, sides, dtype.itemsize, max_bytes=sys.maxsize)
        offset, stamp = file.tell(), Stamp.of(os.fstat(file.fileno()))
    if stamp.size - offset < promised:
        raise DataError(
            f"{path} ends after {stamp.size - offset:,} of {promised:,} bytes of values. Fetch or "
            "save it again."
        )
    shape, image_shape = table_shape(sides, dtype, image_size, name)
    return NpyTable(
        path,
        sides,
        shape,
        dtype,
        offset=offset,
        by_columns=by_columns,
        stamp=stamp,
        image_shape=image_shape,
    )


def read_npz(
    path: Path, *, image_size: tuple[int, int] | None = None, divisor: float | None = None
) -> dict[str, Rows]:
    """Read an archive of arrays: one table, or a train and a test part.

    Known names: `x`, `data` or `images` with `y` or `labels`; `train` and `test` or `x_train` and
    `x_test` with `y_train` and `y_test`. An archive of one array may call it anything. What
    `scipy.sparse.save_npz` wrote is known by its own names, and stays sparse.

    Returns:
        `{"all": rows}`, or `{"train": rows, "test": rows}`.

    Raises:
        DataError: no known names, Python objects, damaged, or larger than memory should hold.
    """
    with NpzFile(path) as archive:
        if set(archive.names) >= _SPARSE:
            store, divisor = _sparse(archive, path, divisor)
            return {"all": Rows(store, divisor, None, image_size, str(path))}
        names = {name.lower(): name for name in archive.names}
        if len(archive.names) == 1:
            names = {"x": archive.names[0]}
        x, train, test = (_pick(names, known, path) for known in (_WHOLE, _TRAIN, _TEST))
        if x and not (train or test):
            parts = {"all": (x, _pick(names, _LABELS, path))}
        elif train and test and not x:
            parts = {
                "train": (train, _pick(names, _TRAIN_LABELS, path)),
                "test": (test, _pick(names, _TEST_LABELS, path)),
            }
        else:
            raise DataError(
                f"{path}: cannot tell which array holds the rows: {', '.join(archive.names)}. "
                "Name them x (and y), or train and test, when saving."
            )
        used = {name for pair in parts.values() for name in pair if name}
        if unused := [name for name in archive.names if name not in used]:
            warnings.warn(f"{path}: not used: {', '.join(unused)}.", DataWarning, stacklevel=2)
        arrays = {part: archive.read(name) for part, (name, _) in parts.items()}
        labels = {part: archive.read(y) if y else None for part, (_, y) in parts.items()}
    if "all" in parts:
        rows = Rows.from_array(
            arrays["all"],
            labels=labels["all"],
            image_shape=image_size,
            divisor=divisor,
            name=str(path),
            copy=False,
        )
        return {"all": rows}
    return _two_parts(path, arrays, labels, image_size, divisor)


class NpzFile:
    """An archive of arrays whose sizes are looked at before a byte is unpacked.

    Args:
        path: the archive.
        max_bytes: refuse a larger array; None for the limit of the package.

    Raises:
        DataError: from each method, if the archive is damaged or holds what it must not.
    """

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self._path = path
        self._max_bytes = max_bytes
        try:
            self._zip = zipfile.ZipFile(path)
        except (
            zipfile.BadZipFile,
            NotImplementedError,  # of a version to come
            struct.error,
            ValueError,  # names that are no text, places before the beginning
        ) as error:
            raise DataError(
                f"{path}: not an .npz archive, or cut short ({error}). Fetch or save it again."
            ) from None
        self._members = {
            entry.filename.removesuffix(".npy"): entry
            for entry in self._zip.infolist()
            if entry.filename.endswith(".npy")
        }
        self.names = tuple(self._members)

    def __enter__(self) -> NpzFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and dtype of an array that the archive has room for; nothing else is unpacked."""
        label, entry = self._label(name), self._members[name]
        # a size that the directory of the archive tells may be a lie, that of the file is none
        packed = min(entry.compress_size, self._path.stat().st_size)
        if entry.compress_type not in _EXPANSION:
            raise DataError(f"{label}: an unknown compression. Save it with numpy.savez.")
        room = min(entry.file_size, packed * _EXPANSION[entry.compress_type])
        with self._unpacking(name) as file:
            shape, dtype, _ = _header(file, label)
            promised = check_size(label, shape, dtype.itemsize, self._max_bytes)
            if file.tell() + promised > room:
                raise DataError(f"{label} is cut short. Fetch or save the file again.")
        return shape, dtype

    def read(self, name: str) -> npt.NDArray[Any]:
        """One array by its name."""
        self.header(name)
        with self._unpacking(name) as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

    def _label(self, name: str) -> str:
        return f"{self._path}: array {name!r}"

    @contextlib.contextmanager
    def _unpacking(self, name: str) -> Iterator[IO[bytes]]:
        """The bytes of an array; whatever damage makes of them becomes a `DataError`."""
        try:
            with self._zip.open(self._members[name]) as file:
                yield file
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,  # a compression that zipfile does not know
            RuntimeError,  # an encrypted member
            ValueError,
        ) as error:
            if isinstance(error, DataError):
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
            raise DataError(
                f"{self._label(name)} cannot be unpacked ({reason}). Fetch or save the file again."
            ) from None


def _header(file: IO[bytes], label: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, dtype, and whether the values lie in Fortran order."""
    try:
        version = np.lib.format.read_magic(file)
        # Version 3 differs only in allowing field names outside Latin-1, and fields are refused.
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        _require_short_header(file, version)
        shape, by_columns, dtype = read(file)
        if any(type(side) is not int for side in shape):
            raise ValueError(f"its header says shape {shape}")
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # numpy evaluates the header as a literal: damage raises almost anything, TokenError too
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(
            f"{label}: not a NumPy array of numbers ({reason}). Save it with numpy.save."
        ) from None
    if dtype.hasobject:
        raise DataError(
            f"{label} holds Python objects, which are never loaded. Save a numeric array instead."
        )
    return shape, dtype, by_columns


def _require_short_header(file: IO[bytes], version: tuple[int, int]) -> None:
    """Refuses a header whose length would take memory before it is found to be a lie.

    Raises:
        ValueError: it says that it is longer than any header of numbers.
    """
    place = file.tell()
    length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    file.seek(place)
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header would take {length:,} bytes")


def _pick(names: dict[str, str], known: tuple[str, ...], path: Path) -> str | None:
    found = [names[key] for key in known if key in names]
    if len(found) > 1:
        raise DataError(f"{path}: {' and '.join(found)} mean the same. Keep one of them.")
    return found[0] if found else None


def _two_parts(
    path: Path,
    arrays: dict[str, npt.NDArray[Any]],
    labels: dict[str, npt.NDArray[Any] | None],
    image_size: tuple[int, int] | None,
    divisor: float | None,
) -> dict[str, Rows]:
    train, test = arrays["train"], arrays["test"]
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise DataError(
            f"{path}: train is {train.dtype} of shape {train.shape}, test {test.dtype} of shape "
            f"{test.shape}. Save both with one dtype and the same features."
        )
    if not (len(train) and len(test)):
        raise DataError(f"{path}: train has {len(train)} rows and test {len(test)}. Give both 1.")
    # Both parts in one check: what a value means must not depend on the part it is in.
    both = Rows.from_array(
        np.concatenate([train, test]),
        image_shape=image_size,
        divisor=divisor,
        name=str(path),
        copy=False,
    )
    cut = {"train": slice(0, len(train)), "test": slice(len(train), None)}
    return {
        part: replace(
            both.subset(where), labels=as_labels(labels[part], len(arrays[part]), str(path))
        )
        for part, where in cut.items()
    }


def _sparse(archive: NpzFile, path: Path, divisor: float | None) -> tuple[Sparse, float]:
    """The matrix that `scipy.sparse.save_npz` wrote, and its divisor."""
    needed = {"csr": ("indices", "indptr"), "csc": ("indices", "indptr"), "coo": ("row", "col")}
    known = archive.read("format").item() if archive.header("format")[0] == () else None
    known = known.decode("latin-1") if isinstance(known, bytes) else known
    if known not in needed:
        raise DataError(
            f"{path}: a sparse matrix of format {known!r}. Read are csr, csc and coo: save "
            "matrix.tocsr()."
        )
    if missing := [name for name in needed[known] if name not in archive.names]:
        raise DataError(f"{path}: a sparse matrix without {', '.join(missing)}. Save it again.")
    sides, dtype = archive.header("shape")
    if sides != (2,) or dtype.kind not in "iu":
        raise DataError(
            f"{path}: a sparse matrix needs 2 sides, whole numbers. Got {dtype} of shape {sides}. "
            "Save it again."
        )
    n_rows, n_features = archive.read("shape").tolist()
    name, shape = str(path), (n_rows, n_features)
    # all headers before the first array: what they promise together must be sound
    n_entries = prod(archive.header("data")[0])
    check_promise(shape, n_entries, name)
    for part in needed[known]:
        if prod(archive.header(part)[0]) > max(n_entries, *shape) + 1:
            raise DataError(f"{path}: array {part!r} is longer than its table. Save it again.")
    arrays = tuple(archive.read(part) for part in ("data", *needed[known]))
    return from_parts(known, arrays, shape, name, divisor)
