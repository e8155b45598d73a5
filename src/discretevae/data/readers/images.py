"""A folder of pictures: each becomes one row of grey values."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from discretevae.data.readers.request import Request
from discretevae.data.rows import Rows
from discretevae.data.stores.values import check_size
from discretevae.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""Named so that Pillow does not try others; PostScript, for one, would start a program."""


def read_image_folder(path: Path, request: Request) -> Rows:
    """Read every picture of a folder and of the folders in it, sorted by name.

    Colors become grey, what is transparent becomes white, and of an animation the first picture
    counts. If every picture lies in a sub-folder, the sub-folders are the classes: label k is the
    k-th sub-folder by name. Hidden files and folders are skipped.

    Args:
        path: the folder.
        request: ``image_size`` (height, width) that every picture is resized to, None if all are
            one size; ``divisor``, None for 255.

    Raises:
        DataError: no pictures, a file that is no picture, or pictures of different sizes.
    """
    files = _files(path)
    if not files:
        raise DataError(f"{path}: no pictures in this folder. Read are {', '.join(_FORMATS)}.")
    values = _read_all(path, files, request.image_size)
    folders, labels = [file.parent for file in files], None
    if path not in folders:
        labels = np.unique([folder.name for folder in folders], return_inverse=True)[1]
    return Rows.from_array(
        values,
        labels=labels,
        # Pictures are 8-bit by nature, even those that happen to hold 0 and 1 only.
        divisor=255.0 if request.divisor is None else request.divisor,
        name=str(path),
        copy=False,
    )


def _files(path: Path) -> list[Path]:
    files: list[Path] = []
    for entry in visible(path):
        files.extend(visible(entry) if entry.is_dir() else [entry])
    for file in files:
        if file.is_dir():
            raise DataError(
                f"{file}: pictures may lie one folder deep, not two. Move its files up, or pass "
                "that folder itself."
            )
        if not file.is_file():  # to open a pipe would wait for ever
            raise DataError(f"{file}: a broken link or no regular file. Remove it.")
    return files


def visible(path: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted by name, but those that are hidden."""
    return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))


def _read_all(
    path: Path, files: list[Path], image_size: tuple[int, int] | None
) -> npt.NDArray[np.uint8]:
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow only warns of pictures whose size could fill the memory, up to twice its limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        shape = _read(files[0], image_size).shape
        check_size(str(path), (len(files), *shape), 1)
        values = np.empty((len(files), *shape), np.uint8)
        for row, file in enumerate(files):
            picture = _read(file, image_size)
            if picture.shape != shape:
                raise DataError(
                    f"{path}: pictures of different sizes: {files[0].name} is {shape[0]}x"
                    f"{shape[1]}, {file.name} is {picture.shape[0]}x{picture.shape[1]} (height x "
                    "width). Pass one size for all, for example `image_size=(32, 32)`."
                )
            values[row] = picture
    return values


def _read(file: Path, image_size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=_FORMATS) as image:
            grey = _grey(image)
        if image_size is not None:
            height, width = image_size
            grey = grey.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(grey, np.uint8)
    except (MemoryError, PermissionError, DataError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: too large a picture ({error}) Make it smaller.") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{file}: not a picture. Read are {', '.join(_FORMATS)}; move other files elsewhere."
        ) from None
    except Exception as error:
        # Decoders of damaged files raise almost anything: struct.error, SyntaxError, IndexError.
        raise DataError(f"{file}: damaged picture ({error}). Replace or remove it.") from None


def _grey(image: Picture) -> Picture:
    from PIL import Image, ImageOps

    mode = image.mode
    if mode.startswith("I") or mode == "F":
        wide = np.asarray(image)
        if mode == "F" or wide.min() < 0 or wide.max() > 65535:
            raise DataError(
                f"{_source(image)}: pictures of mode {mode} have no fixed white. "
                "Save it with 8 or 16 bits."
            )
        # Pillow clips 16-bit values to 255; the upper 8 bits are what was meant.
        image = Image.fromarray((wide >> 8).astype(np.uint8))
    image = ImageOps.exif_transpose(image)
    if mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L")


def _source(image: Picture) -> str:
    return str(getattr(image, "filename", "picture"))
