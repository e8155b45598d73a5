"""The data sets that are known by name: found in a folder, or fetched and kept.

| name | rows | pictures | files |
|---|---|---|---|
| `digits` | 1,500 + 297 | 8x8 grey | comes with scikit-learn |
| `mnist` | 60,000 + 10,000 | 28x28 grey | four IDX files, plain or gzip |
| `fashion-mnist` | 60,000 + 10,000 | 28x28 grey | four IDX files, plain or gzip |
| `binarized-mnist` | 50,000 + 10,000 + 10,000 | 28x28, 0 or 1 | `binarized_mnist.npz` |

Files are looked for in `data_dir`, in the folder that the environment variable
`DISCRETEVAE_DATA` names, and in the cache of the user; in each of them under the name of the set,
and in the first two also directly. What every file must hold is fixed by SHA-256, of its
uncompressed bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from discretevae.data.download import download, fetch
from discretevae.data.readers.idx import array_from_idx, read_idx_bytes
from discretevae.data.readers.npz import NpzFile
from discretevae.data.rows import Rows
from discretevae.data.split import held_out
from discretevae.errors import DataError, MissingExtraError

BUILTIN_NAMES: tuple[str, ...] = ("digits", "mnist", "fashion-mnist", "binarized-mnist")

ENVIRONMENT = "DISCRETEVAE_DATA"

_PICTURE = (28, 28)
_PIXELS = 28 * 28
_MAX_BYTES = 512 << 20
"""No file of these sets is nearly as large, packed or unpacked."""

_T = TypeVar("_T")
_Bytes: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """The mirrors of a built-in set, and what its files must hold.

    Args:
        mirrors: addresses of folders, or of one archive, tried in this order.
        hashes: name of a file or part, and the SHA-256 of its uncompressed bytes.
    """

    mirrors: tuple[str, ...]
    hashes: Mapping[str, str]


_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_MNIST = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
_FASHION = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)

SOURCES: dict[str, Source] = {
    "mnist": Source(
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        hashes=dict(zip(_IDX_FILES, _MNIST, strict=True)),
    ),
    "fashion-mnist": Source(
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        hashes=dict(zip(_IDX_FILES, _FASHION, strict=True)),
    ),
    "binarized-mnist": Source(
        mirrors=(
            "https://github.com/mgermain/MADE/releases/download/ICML2015/binarized_mnist.npz",
            "https://raw.githubusercontent.com/mingzhang-yin/ARM-gradient/"
            "bac893cfcec486bbd00b755b12cf8402053b0e84/",
            "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
        ),
        # of the bits of each part, packed by rows
        hashes={
            "train": "727146c35424b019f3e350e1e69faa05644a0abaf787e3f4e1a9632220a13906",
            "valid": "a256ac44ae26be720fad8616a05ed6ecfd1619930d9a208379bb2a4405df5b6d",
            "test": "9fcd8da6f0fdf09b2ba30fe63a0bb784042a0de82563172530229b983e294ff2",
        },
    ),
}


def load_builtin(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    allow_download: bool = True,
    progress: bool = False,
    cache_dir: Path | None = None,
    sources: Mapping[str, Source] = SOURCES,
) -> dict[str, Rows]:
    """Load the parts of a built-in data set, by name: ``train``, ``test``, perhaps ``validation``.

    Files are looked for in ``data_dir`` first. ``cache_dir`` is None for the cache folder of the
    user; tests pass their own, and ``sources`` too.

    Raises:
        DataError: a file that was found is damaged or another one; or nothing was found and
            ``allow_download`` is False.
        DownloadError: no mirror gave the right file.

    Example:
        >>> parts = load_builtin("digits")
        >>> {part: len(rows) for part, rows in parts.items()}
        {'train': 1500, 'test': 297}
    """
    if name == "digits":
        return _digits()
    import platformdirs

    folders = [Path(folder) for folder in (data_dir, os.environ.get(ENVIRONMENT)) if folder]
    cache = cache_dir or platformdirs.user_cache_path("discretevae")
    shelf = _Shelf(name, sources[name], folders, cache, allow_download, progress)
    return _binarized(shelf) if name == "binarized-mnist" else _idx_set(shelf)


def _digits() -> dict[str, Rows]:
    # found without importing scikit-learn, which takes as long as importing torch
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise MissingExtraError("digits: comes with scikit-learn. Run: pip install scikit-learn")
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    with _os_errors_of(path):
        table = np.loadtxt(path, np.uint8, delimiter=",")
    rows = Rows.from_array(
        table[:, :-1], labels=table[:, -1], image_shape=(8, 8), divisor=16, name="digits"
    )
    # 297 held out: what is left is a round 1,500, and the draw is the same for everyone.
    train, test = held_out(len(rows), 297, seed=0)
    return {"train": rows.subset(train), "test": rows.subset(test)}


def _idx_set(shelf: _Shelf) -> dict[str, Rows]:
    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = (
            shelf.load(f"{prefix}-{kind}-ubyte", (".gz", ""), _check_idx, _get_idx)
            for kind in ("images-idx3", "labels-idx1")
        )
        parts[part] = Rows.from_array(
            images, labels=labels, divisor=255, name=shelf.name, copy=False
        )
    return parts


def _check_idx(shelf: _Shelf, file: str, path: Path) -> npt.NDArray[Any]:
    data = read_idx_bytes(path, _MAX_BYTES)
    shelf.require_hash(path, file, data)
    return array_from_idx(data)


def _get_idx(shelf: _Shelf, file: str, mirror: str, path: Path) -> None:
    download(f"{mirror}{file}.gz", path, max_bytes=_MAX_BYTES, progress=shelf.progress)
    _check_idx(shelf, file, path)


def _binarized(shelf: _Shelf) -> dict[str, Rows]:
    packed = shelf.load("binarized_mnist", (".npz",), _check_bits, _get_bits)
    return {
        part: Rows.from_array(
            np.unpackbits(packed[key], axis=1), image_shape=_PICTURE, name=shelf.name, copy=False
        )
        for part, key in (("train", "train"), ("validation", "valid"), ("test", "test"))
    }


def _check_bits(shelf: _Shelf, file: str, path: Path) -> dict[str, _Bytes]:
    del file  # the hashes are those of its parts
    packed = {}
    with NpzFile(path, _MAX_BYTES) as archive:
        for part in shelf.source.hashes:
            # One mirror calls the parts train_data and so on, and does not pack them.
            name = next((name for name in (part, f"{part}_data") if name in archive.names), None)
            if name is None:
                raise DataError(f"{path}: no array {part!r}. Delete the file and fetch it again.")
            array = archive.read(name)
            if array.dtype.kind in "biuf" and array.shape[1:] == (_PIXELS,):
                array = np.packbits(array > 0.5, axis=1)
            if array.dtype != np.uint8 or array.shape[1:] != (_PIXELS // 8,):
                raise DataError(
                    f"{path}: array {name!r} is {array.dtype} of shape {array.shape}, not rows of "
                    f"{_PIXELS} bits. Delete the file and fetch it again."
                )
            packed[part] = array
            shelf.require_hash(path, part, array.tobytes())
    return packed


def _get_bits(shelf: _Shelf, file: str, mirror: str, path: Path) -> None:
    if mirror.endswith(".npz"):
        download(mirror, path, max_bytes=_MAX_BYTES, progress=shelf.progress)
    else:
        packed = {}
        for part in shelf.source.hashes:
            url = f"{mirror}{file}_{part}.amat"
            download(url, path, max_bytes=_MAX_BYTES, progress=shelf.progress)
            packed[part] = _bits_from_text(path.read_bytes(), url)
        with path.open("wb") as out:
            np.savez_compressed(out, **packed)  # type: ignore[arg-type]
    _check_bits(shelf, file, path)


def _bits_from_text(text: bytes, name: str) -> _Bytes:
    """Read lines of 784 characters 0 or 1 with spaces between, as packed bits `[N, 98]`."""
    characters = np.frombuffer(text, np.uint8)
    bits = characters[characters > ord(" ")]
    if bits.size == 0 or bits.size % _PIXELS or not np.isin(bits, (ord("0"), ord("1"))).all():
        raise DataError(f"{name}: not rows of {_PIXELS} characters 0 or 1.")
    return np.packbits((bits - ord("0")).reshape(-1, _PIXELS), axis=1)


@dataclass(frozen=True)
class _Shelf:
    """The folders where the files of one set may lie, and whether missing ones are fetched."""

    name: str
    source: Source
    folders: Sequence[Path]
    cache: Path
    allow_download: bool
    progress: bool

    def load(
        self,
        file: str,
        suffixes: Sequence[str],
        check: Callable[[_Shelf, str, Path], _T],
        get: Callable[[_Shelf, str, str, Path], None],
    ) -> _T:
        """Return what `check` makes of a file: the first one found, else one that `get` fetches."""
        for folder in self.folders:
            for place in (folder / self.name, folder):
                for suffix in suffixes:
                    path = place / (file + suffix)
                    with _os_errors_of(path):
                        if path.is_file():
                            return check(self, file, path)
        target = self.cache / self.name / (file + suffixes[0])
        with _os_errors_of(target):
            if target.is_file():
                try:
                    return check(self, file, target)
                except DataError:
                    # What lies damaged in the cache is nobody's own file: fetch it anew.
                    if not self.allow_download:
                        raise
        places = ", ".join(str(place) for place in (*self.folders, self.cache))
        what = f"{self.name}: {target.name} is not in {places}"
        if not self.allow_download:
            raise DataError(
                f"{what}. Allow the download, or put the file into a folder and pass `data_dir`."
            )
        fetch(what, target, self.source.mirrors, partial(get, self, file))
        return check(self, file, target)

    def require_hash(self, path: Path, part: str, content: bytearray | bytes) -> None:
        """Refuse content that is not what the set is known to hold."""
        got = hashlib.sha256(content).hexdigest()
        if got == self.source.hashes[part]:
            return
        other = next((name for name, it in SOURCES.items() if got in it.hashes.values()), None)
        what = f"this file belongs to {other}" if other else f"its SHA-256 is {got[:12]}..."
        raise DataError(
            f"{path} is not the {part} of {self.name}: {what}, not "
            f"{self.source.hashes[part][:12]}.... Delete it and fetch it again, or pass another "
            "`data_dir`."
        )


@contextlib.contextmanager
def _os_errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Change its access rights, or pass "
            "another `data_dir`."
        ) from None
