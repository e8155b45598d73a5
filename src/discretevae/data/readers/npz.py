"""NumPy's `.npz` archives of arrays, those of scipy.sparse among them. No pickle is ever loaded."""

from __future__ import annotations

import contextlib
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from discretevae.data.classes import read_labels
from discretevae.data.readers.npy import read_header
from discretevae.data.readers.request import Request
from discretevae.data.rows import Rows
from discretevae.data.stores.sparse import Sparse, check_promise, from_parts
from discretevae.data.stores.values import Array, check_size, picture_shape
from discretevae.errors import DataError, DataWarning

_EXPANSION = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""Largest ratio of the size of an array to its packed size, by the compression. NumPy writes
these two; of others a few bytes can become gigabytes."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)
"""Errors of zipfile: damage, encrypted members, versions or compressions to come."""

_PARTS = {"train": ("train",), "test": ("test",), "validation": ("validation", "valid", "val")}


def _names(whole: str, forms: str) -> dict[str, tuple[str, ...]]:
    """Return the names of arrays by part: of the whole, and each part's name in every form."""
    return {"all": tuple(whole.split())} | {
        part: tuple(form.format(name) for name in names for form in forms.split())
        for part, names in _PARTS.items()
    }


_ROWS = _names("x data images", "{} x_{} {}_x {}_data data_{} {}_images images_{}")
_LABELS = _names("y labels label target targets", "y_{} {}_y {}_labels labels_{} {}_targets")
_SPARSE = {"format", "shape", "data"}
_PLACES = {"csr": ("indices", "indptr"), "csc": ("indices", "indptr"), "coo": ("row", "col")}


def read_npz(path: Path, request: Request) -> dict[str, Rows]:
    """Read an archive of arrays: one table, or parts.

    Known names: `x`, `data` or `images` with `y` or `labels`; `train`, `test` and `val` or
    `x_train`, `x_test` and `x_val` with `y_train`, `y_test` and `y_val`. An archive of one array
    may call it anything. What `scipy.sparse.save_npz` wrote is known by its own names, and stays
    sparse.

    Returns:
        `{"all": rows}`, or `train` and at least one of `test` and `validation`.

    Raises:
        DataError: no known names, Python objects, damaged, or larger than memory should hold.
    """
    with NpzFile(path) as archive:
        if set(archive.names) >= _SPARSE:
            store, divisor = _sparse(archive, path, request)
            shape = picture_shape(request.image_size, store.shape[1], str(path))
            return {"all": Rows(store, divisor, None, shape, str(path))}
        names = {name.lower(): name for name in archive.names}
        if len(archive.names) == 1:
            names = {"x": archive.names[0]}
        rows, labels = (
            {part: name for part in _ROWS if (name := _pick(names, known[part], path))}
            for known in (_ROWS, _LABELS)
        )
        if rows.keys() not in ({"all"}, {"train", "test"}, {"train", "validation"}, {*_PARTS}):
            raise DataError(
                f"{path}: cannot tell which array holds the rows: {', '.join(archive.names)}. "
                "Name them x (and y), or train and test, when saving."
            )
        if "divisor" in names and request.divisor is None and request.scale in (None, "auto"):
            name = names["divisor"]
            stated = archive.read(name).astype(float) if archive.header(name)[0] == () else np.nan
            if not 0 < stated < np.inf:
                raise DataError(f"{path}: array {name!r} is no divisor. Leave it out.")
            request = replace(request, divisor=float(stated), scale=None)
        used = {
            names.get("divisor"),
            *rows.values(),
            *(name for part, name in labels.items() if part in rows),
        }
        if unused := [name for name in archive.names if name not in used]:
            warnings.warn(f"{path}: not used: {', '.join(unused)}.", DataWarning, stacklevel=2)
        arrays = {part: archive.read(name) for part, name in rows.items()}
        numbers = {part: archive.read(labels[part]) if part in labels else None for part in rows}
    _require_alike(arrays, path)
    # All parts in one check: what a value means must not depend on the part it is in.
    together = arrays["all"] if "all" in arrays else np.concatenate(list(arrays.values()))
    if "train" in arrays:
        request = replace(request, fit_rows=lambda _: torch.arange(len(arrays["train"])))
    whole = request.rows(together, name=str(path), copy=False)
    labels_of, classes = _read_labels(arrays, numbers, path)
    parts, start = {}, 0
    for part, array in arrays.items():
        own = whole.subset(slice(start, start + len(array)))
        # rows are counted in the array that they lie in
        parts[part] = replace(own, labels=labels_of.get(part), classes=classes, numbers=None)
        start += len(array)
    return parts


def _read_labels(
    arrays: dict[str, Array], labels: dict[str, Array | None], path: Path
) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    """Return the labels of each part that has some, numbered alike in all, and the classes."""
    found = {part: each for part, each in labels.items() if each is not None}
    for part, each in found.items():
        read_labels(each, len(arrays[part]), str(path))  # names the part that is wrong
    sizes = [len(arrays[part]) for part in found]
    together, classes = read_labels(
        np.concatenate([*found.values()]) if found else None, sum(sizes), str(path)
    )
    if together is None:
        return {}, None
    return dict(zip(found, torch.split(together, sizes), strict=True)), classes


class NpzFile:
    """An archive of arrays whose sizes are looked at before a byte is unpacked.

    Args:
        path: the archive.
        max_bytes: refuse a larger array; None for the limit of the package.

    Raises:
        DataError: from each method, if the archive is damaged or holds what it must not.
    """

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self.path = path
        self._max_bytes = max_bytes
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGE as error:
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
        """Return shape and dtype of an array that the archive has room for; no more is unpacked."""
        label, entry = self._label(name), self._members[name]
        # the size in the directory of the archive may be a lie, that of the file is none
        packed = min(entry.compress_size, self.path.stat().st_size)
        if entry.compress_type not in _EXPANSION:
            raise DataError(f"{label}: an unknown compression. Save it with numpy.savez.")
        room = min(entry.file_size, packed * _EXPANSION[entry.compress_type])
        with self._unpacking(name) as file:
            shape, dtype, _ = read_header(file, label)
            promised = check_size(label, shape, dtype.itemsize, self._max_bytes)
            if file.tell() + promised > room:
                raise DataError(f"{label} is cut short. Fetch or save the file again.")
        return shape, dtype

    def read(self, name: str) -> Array:
        """Return an array."""
        self.header(name)
        with self._unpacking(name) as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

    def _label(self, name: str) -> str:
        return f"{self.path}: array {name!r}"

    @contextlib.contextmanager
    def _unpacking(self, name: str) -> Iterator[IO[bytes]]:
        """Open the bytes of an array; whatever damage makes of them becomes a `DataError`."""
        try:
            with self._zip.open(self._members[name]) as file:
                yield file
        except _DAMAGE as error:
            if isinstance(error, DataError):
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
            raise DataError(
                f"{self._label(name)} cannot be unpacked ({reason}). Fetch or save the file again."
            ) from None


def _pick(names: dict[str, str], known: tuple[str, ...], path: Path) -> str | None:
    found = [names[key] for key in known if key in names]
    if len(found) > 1:
        raise DataError(f"{path}: {' and '.join(found)} mean the same. Keep one of them.")
    return found[0] if found else None


def _require_alike(arrays: dict[str, Array], path: Path) -> None:
    if "all" in arrays:
        return
    train = arrays["train"]
    for part, array in arrays.items():
        if train.shape[1:] != array.shape[1:] or train.dtype != array.dtype:
            raise DataError(
                f"{path}: train is {train.dtype} of shape {train.shape}, {part} {array.dtype} of "
                f"shape {array.shape}. Save all with one dtype and the same features."
            )
        if not len(array):
            raise DataError(f"{path}: {part} has 0 rows. Give every part at least 1.")


def _sparse(archive: NpzFile, path: Path, request: Request) -> tuple[Sparse, float]:
    """Return the matrix that `scipy.sparse.save_npz` wrote, and its divisor."""
    kind = archive.read("format").item() if archive.header("format")[0] == () else None
    kind = kind.decode("latin-1") if isinstance(kind, bytes) else kind
    if kind not in _PLACES:
        raise DataError(
            f"{path}: a sparse matrix of format {kind!r}. Read are csr, csc and coo: save "
            "matrix.tocsr()."
        )
    if missing := [name for name in _PLACES[kind] if name not in archive.names]:
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
    for part in _PLACES[kind]:
        if prod(archive.header(part)[0]) > max(n_entries, *shape) + 1:
            raise DataError(f"{path}: array {part!r} is longer than its table. Save it again.")
    entries, first, second = (archive.read(part) for part in ("data", *_PLACES[kind]))
    return from_parts(kind, (entries, first, second), shape, name, request.divisor, request.scale)
