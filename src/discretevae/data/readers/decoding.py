"""Pictures in files as rows of their values: decoded by threads, and those of a large folder once.

What was decoded is kept in the cache folder of the user, as ``pictures/KEY.npy``. The key stands
for the files (names, sizes, times) and for how they are read: what has changed has another one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
import torch

from discretevae.config import ImageShape
from discretevae.data.readers.npy import NpyTable
from discretevae.data.readers.pixels import Pixels, read_picture
from discretevae.data.readers.request import Request
from discretevae.data.stores.disk import DiskTable
from discretevae.data.stores.prefetch import ahead
from discretevae.data.stores.storing import ArrayTable
from discretevae.data.stores.values import check_size
from discretevae.errors import DataError, DataWarning
from discretevae.system.files import MAX_JSON_BYTES, atomic_file
from discretevae.system.progress import track
from discretevae.version import __version__

KEPT_FILES, KEPT_BYTES = 1000, 64 << 20
"""A folder of at least so many files, or of files of so many bytes, is decoded only once."""

CACHE_BYTES = 32 << 30
"""Of all that is kept; beyond it, what was not used for the longest time goes."""

_HEADER_BYTES = 128
"""Bytes of the header of a .npy file of two axes; it is written last, when they are known."""


@dataclass(frozen=True)
class Decoded:
    """Facts on decoded pictures, beside their values.

    Args:
        shape: of each picture.
        bits: 8 or 16.
        peak: the largest value in the files.
        skipped: numbers of the files that cannot be read.
        lost: what was lost, in how many files, and the number of the first one.
    """

    shape: ImageShape
    bits: int
    peak: int = 0
    skipped: list[int] = field(default_factory=list)
    lost: dict[str, tuple[int, int]] = field(default_factory=dict)


def decode(path: Path, files: Sequence[Path], request: Request) -> tuple[DiskTable, Decoded]:
    """Return pictures as a table of their values, and what else they tell.

    Raises:
        DataError: as of `read_picture`; different sizes; no file that can be read.

    Warns:
        DataWarning: those of a large folder cannot be kept.
    """
    from PIL import Image

    stats = [file.stat() for file in files]
    with warnings.catch_warnings():
        # Pillow only warns of pictures whose size could fill the memory, up to twice its limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if len(files) >= KEPT_FILES or sum(each.st_size for each in stats) >= KEPT_BYTES:
            try:
                return _through_cache(path, files, stats, request)
            except OSError as error:
                warnings.warn(
                    f"{path}: the decoded pictures cannot be kept in your cache folder "
                    f"({error.filename}: {error.strerror or error}), and are decoded anew at "
                    "every start.",
                    DataWarning,
                    stacklevel=4,
                )
        facts = _write(path, files, request, file := io.BytesIO(), None)
    rows = np.frombuffer(file.getbuffer(), f"u{facts.bits // 8}").reshape(-1, prod(facts.shape))
    return ArrayTable(rows, str(path), facts.shape, None, is_table=False), facts


def _through_cache(
    path: Path, files: Sequence[Path], stats: Sequence[os.stat_result], request: Request
) -> tuple[DiskTable, Decoded]:
    """Return what is kept, after decoding it if nothing is; `OSError` if it cannot be kept."""
    import PIL
    import platformdirs
    from filelock import FileLock

    asked = request.image_size, request.color, request.skip_broken, request.run_shape
    key = hashlib.sha256(repr((__version__, PIL.__version__, path.resolve(), asked)).encode())
    for file, each in zip(files, stats, strict=True):
        # a file may be given its old time, but not its old time of change
        own = str(file), each.st_size, each.st_mtime_ns, each.st_ctime_ns
        key.update(repr(own).encode())
    folder = platformdirs.user_cache_path("discretevae") / "pictures"
    kept = folder / f"{key.hexdigest()[:32]}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.with_suffix(".lock")):  # of two that start together, one waits
        if (found := _found(kept, len(files))) is None:
            with atomic_file(kept) as out:
                out.write(bytes(_HEADER_BYTES))
                facts = _write(path, files, request, out, folder)
                out.write(json.dumps(asdict(facts)).encode())
                size = len(files) - len(facts.skipped), prod(facts.shape)
                head = {"descr": f"<u{facts.bits // 8}", "fortran_order": False, "shape": size}
                out.seek(0)
                np.lib.format.write_array_header_1_0(out, head)
            _make_room(kept)
            found = NpyTable(kept, facts.shape), facts
    found[0].name = str(path)
    return found


def _found(kept: Path, n_files: int) -> tuple[NpyTable, Decoded] | None:
    """Return what is kept, if it is whole, and note that it was used."""
    with contextlib.suppress(
        OSError, DataError, TypeError, ValueError, LookupError, AttributeError
    ):
        table = NpyTable(kept)
        with kept.open("rb") as file:
            file.seek(table.offset + prod(table.shape) * table.dtype.itemsize)
            values = json.loads(file.read(MAX_JSON_BYTES))
        facts = Decoded(**values | {"shape": tuple(values["shape"])})
        numbers = {*facts.skipped, *(first for _, first in facts.lost.values())}
        is_whole = len(facts.skipped) + table.shape[0] == n_files and numbers <= {*range(n_files)}
        if is_whole and table.dtype == f"<u{facts.bits / 8:g}":
            os.utime(kept, ns=(time.time_ns(), table.stamp.modified_ns))
            return NpyTable(kept, facts.shape), facts
    return None


def _make_room(kept: Path) -> None:
    """Remove what was not used for the longest time, also what a killed process left."""
    total = 0
    with contextlib.suppress(OSError):  # another process is faster, or has it open
        entries = {each: each.stat() for each in kept.parent.iterdir()}
        for each in sorted(entries, key=lambda each: entries[each].st_atime, reverse=True):
            total += entries[each].st_size
            if total > CACHE_BYTES and each != kept:
                each.unlink()


def _write(
    path: Path, files: Sequence[Path], request: Request, out: IO[bytes], folder: Path | None
) -> Decoded:
    """Write the values of all pictures, one behind the other, and return what else they tell.

    Args:
        path: of the folder, or of one file.
        files: of the pictures.
        request: how they are read.
        out: where values go; of pictures that turn out to be in color, from the start again.
        folder: that ``out`` lies in; None for one in memory.
    """
    begin, facts = out.tell(), None
    skipped: list[int] = []
    lost: dict[str, tuple[int, int]] = {}
    peak, threads = 0, min(16, torch.get_num_threads())
    pictures = ahead(partial(_read, request), files, threads)
    bar = track(pictures, f"decoding {path.name}", len(files), show=request.progress)
    for number, picture in enumerate(bar):
        if picture is None:
            skipped.append(number)
            continue
        values, bits = picture.values, picture.bits
        if facts is None:
            first, facts = files[number], Decoded(values.shape, bits)
            if folder is None:
                check_size(str(path), (len(files), *values.shape), bits // 8)
            elif len(files) * values.nbytes > shutil.disk_usage(folder).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        _require_alike(path, first, facts, files[number], picture)
        if values.ndim > len(facts.shape):  # all before it are grey
            out.seek(begin)
            out.truncate()
            return _write(path, files, replace(request, color="rgb"), out, folder)
        in_color = values if values.ndim == len(facts.shape) else np.stack([values] * 3, -1)
        out.write(in_color.tobytes())
        peak = max(peak, picture.peak)
        for what in picture.lost:
            n, example = lost.get(what, (0, number))
            lost[what] = n + 1, example
    if facts is None:
        raise DataError(
            f"{path}: no file that can be read, out of {len(files):,}. Leave `skip_broken` out to "
            "see what is wrong with the first one."
        )
    return replace(facts, peak=peak, skipped=skipped, lost=lost)


def _read(request: Request, file: Path) -> Pixels | None:
    try:
        return read_picture(file, request)
    except DataError:
        if not request.skip_broken:
            raise
        return None


def _require_alike(path: Path, first: Path, facts: Decoded, file: Path, picture: Pixels) -> None:
    """Refuse a picture of another size, or of other bits, than the first one."""
    (height, width), (h, w) = facts.shape[:2], picture.values.shape[:2]
    if (height, width) != (h, w):
        raise DataError(
            f"{path}: pictures of different sizes: {first.name} is {height}x{width}, {file.name} "
            f"is {h}x{w} (height x width). Pass one size for all, for example "
            "`image_size=(32, 32)`."
        )
    if picture.bits != facts.bits:
        raise DataError(
            f"{path}: {first.name} is of {facts.bits} bits, {file.name} of {picture.bits}, and "
            "white is not the same value in both. Save all with 8 or all with 16 bits."
        )
