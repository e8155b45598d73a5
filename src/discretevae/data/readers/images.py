"""Pictures, one or a folder of them: each becomes one row of grey values."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from discretevae.data.classes import natural_key
from discretevae.data.readers.foreign import is_picture_name, recognize
from discretevae.data.readers.request import Request, listed
from discretevae.data.readers.white import choose_white, with_white
from discretevae.data.rows import Rows
from discretevae.data.stores.values import Array, check_size
from discretevae.errors import DataError, DataWarning, count

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""Named so that Pillow does not try others; PostScript, for one, would start a program."""

_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"II*\0", b"MM\0*")

_LITTER = ("thumbs.db", "desktop.ini", "__macosx")
"""Files that systems leave in folders and archives of pictures."""


PARTS = {"train", "test", "val", "valid", "validation"}
"""Names of folders that are hardly classes."""


def read_images(path: Path, request: Request) -> Rows:
    """Read a picture, or every picture of a folder and of the folders in it, in natural order.

    Colors become grey, what is transparent becomes white, and of an animation the first picture
    counts. If every picture lies in a sub-folder, the names of the sub-folders are the classes.
    The names of the files, relative to the folder, are the ids. Hidden files and folders are
    skipped.

    Args:
        path: the file or folder.
        request: ``image_size`` (height, width) that every picture is resized to, None if all are
            one size; ``divisor``, None for the value of white, see `choose_white`.

    Raises:
        DataError: no pictures, a file that is no picture, or pictures of different sizes.

    Warns:
        DataWarning: white is another value than the files alone say, or bits were dropped.
    """
    folder, files = (path, _files(path)) if path.is_dir() else (path.parent, [path])
    size = request.run_size if request.image_size is None else request.image_size
    values, bits, peak = _read_all(path, files, size)
    divisor, white = choose_white(bits, peak, len(files), request, str(path))
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
        with_white(values, peak, divisor, white), labels=labels, ids=np.array(names),
        divisor=divisor, name=str(path), copy=False,
    )  # fmt: skip


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
        raise DataError(f"{path}: no pictures in this folder. Read are {', '.join(_FORMATS)}.")
    if not any(is_picture_name(file.name) or _starts_as_picture(file) for file in files):
        kinds = sorted({file.suffix.lower() or "nameless" for file in files})
        raise DataError(
            f"{path}: no pictures in this folder, but {', '.join(kinds[:3])} files, such as "
            f"{files[0].name}. Read are {', '.join(_FORMATS)}; pass one file of another kind by "
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


class _Grey(NamedTuple):
    """A picture as grey values; of 1 bit, 0 and 255 are no values of the file: its peak is 0."""

    values: Array
    bits: int
    peak: int
    is_cut: bool = False


def _read_all(
    path: Path, files: list[Path], size: tuple[int, int] | None
) -> tuple[Array, int, int]:
    """Return the values ``[N, H, W]`` uint8 or uint16, the bits of all files, and the peak."""
    from PIL import Image

    peak, cut = 0, []
    with warnings.catch_warnings():
        # Pillow only warns of pictures whose size could fill the memory, up to twice its limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        first = _read(files[0], size)
        shape, bits = first.values.shape, first.bits
        check_size(str(path), (len(files), *shape), bits // 8)
        values: Array = np.empty((len(files), *shape), first.values.dtype)
        for row, file in enumerate(files):
            grey = _read(file, size)
            if grey.values.shape != shape:
                height, width = grey.values.shape
                raise DataError(
                    f"{path}: pictures of different sizes: {files[0].name} is {shape[0]}x"
                    f"{shape[1]}, {file.name} is {height}x{width} (height x width). Pass one size "
                    "for all, for example `image_size=(32, 32)`."
                )
            if grey.bits != bits:
                raise DataError(
                    f"{path}: {files[0].name} is of {bits} bits, {file.name} of {grey.bits}, and "
                    "white is not the same value in both. Save all with 8 or all with 16 bits."
                )
            values[row], peak = grey.values, max(peak, grey.peak)
            if grey.is_cut:
                cut.append(file)
    if cut:
        warnings.warn(
            f"{path}: {count(len(cut), 'picture')} of 16 bits in color or with transparency, such "
            f"as {cut[0].name}: the upper 8 bits are read. Save them in grey to keep all.",
            DataWarning,
            stacklevel=3,
        )
    return values, bits, peak


def _read(file: Path, size: tuple[int, int] | None) -> _Grey:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=_FORMATS) as image:
            return _grey(image, size, file)
    except (MemoryError, PermissionError, DataError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: too large a picture ({error}) Make it smaller.") from None
    except UnidentifiedImageError:
        found = recognize(file)
        what = f" ({found.what})" if found is not None else ""
        raise DataError(
            f"{file}: not a picture{what}. Read are {', '.join(_FORMATS)}; move other files "
            "elsewhere."
        ) from None
    except Exception as error:
        # Decoders of damaged files raise almost anything: struct.error, SyntaxError, IndexError.
        raise DataError(f"{file}: damaged picture ({error}). Replace or remove it.") from None


def _grey(image: Picture, size: tuple[int, int] | None, file: Path) -> _Grey:
    from PIL import Image, ImageOps

    # Pillow reads colors with 8 bits, whatever the file holds; its tiles name what that is
    deep_tiles = (";16B", ";16L", ";16N")
    is_cut = not image.mode.startswith("I") and any(
        kind in str(tile[3]) for tile in getattr(image, "tile", ()) for kind in deep_tiles
    )
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _deep(image, size, file)
    has_values = image.mode != "1"
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    grey = image.convert("L")
    peak = int(np.asarray(grey).max()) if has_values else 0
    return _Grey(np.asarray(_resized(grey, size), np.uint8), 8, peak, is_cut)


def _deep(image: Picture, size: tuple[int, int] | None, file: Path) -> _Grey:
    """Return a grey picture of 16 bits, in which transparent is 65535."""
    from PIL import Image

    wide = np.asarray(image)
    if image.mode == "F" or wide.min() < 0 or wide.max() > 65535:
        raise DataError(
            f"{file}: pictures of mode {image.mode} have no fixed white. Save it with 8 or 16 bits."
        )
    is_opaque = wide != image.info.get("transparency", -1)
    values = np.where(is_opaque, wide, 65535).astype(np.uint16)
    if size is not None:  # float32, since Pillow cannot resize all pictures of 16 bits
        resized = _resized(Image.fromarray(values.astype(np.float32)), size)
        values = np.rint(np.asarray(resized)).astype(np.uint16)
    return _Grey(values, 16, int(wide[is_opaque].max(initial=0)))


def _resized(image: Picture, size: tuple[int, int] | None) -> Picture:
    from PIL import Image

    if size is None:
        return image
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
