"""Pictures, one or a folder of them: each becomes one row, of grey values or of colors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from discretevae.config import ColorMode
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
    files, values, bits, peak = _read_all(path, files, request)
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
        divisor=divisor, name=str(path), copy=False, image_shape=values.shape[1:],
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


class _Pixels(NamedTuple):
    """A picture, ``[H, W]`` or of colors ``[H, W, 3]``, and what was lost in reading it.

    Of 1 bit, 0 and 255 are no values of the file: its peak is 0.
    """

    values: Array
    bits: int
    peak: int
    lost: tuple[str, ...] = ()


_CUT = "{} of 16 bits, not plainly grey: the upper 8 bits are read. Save in grey to keep all."
_ALPHA = "{} with transparent parts, which were laid on white."
_ANIMATED = "{} of several frames, of which the first one is read."
_GREYED = "{} in color made grey, as those of the run are."
_SKIPPED = "{} that cannot be read left out."


def _read_all(
    path: Path, files: list[Path], request: Request
) -> tuple[list[Path], Array, int, int]:
    """Return the files read, their values ``[N, H, W]`` or ``[N, H, W, 3]``, bits and peak."""
    from PIL import Image

    kept: list[Path] = []
    lost: dict[str, list[Path]] = {}
    values: Array = np.empty(0)
    bits, peak = 0, 0
    with warnings.catch_warnings():
        # Pillow only warns of pictures whose size could fill the memory, up to twice its limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for file in files:
            try:
                picture = _read(file, request)
            except DataError:
                if not request.skip_broken:
                    raise
                lost.setdefault(_SKIPPED, []).append(file)
                continue
            if picture.values.ndim == 2 and _color(request) == "rgb":
                picture = picture._replace(values=np.stack([picture.values] * 3, -1))
            for what in picture.lost:
                lost.setdefault(what, []).append(file)
            if not kept:
                shape, bits = (len(files), *picture.values.shape), picture.bits
                check_size(str(path), shape, bits // 8)
                values = np.empty(shape, picture.values.dtype)
            else:
                _require_alike(path, kept[0], (values[0], bits), file, picture)
            if picture.values.ndim == values.ndim:  # the first in color: those before it are grey
                check_size(str(path), (*values.shape, 3), bits // 8)
                wide = np.empty((*values.shape, 3), values.dtype)
                wide[: len(kept)] = values[: len(kept), ..., None]
                values = wide
            is_alike = picture.values.ndim == values.ndim - 1
            values[len(kept)] = picture.values if is_alike else picture.values[..., None]
            kept.append(file)
            peak = max(peak, picture.peak)
    for what, which in lost.items():
        # all that are left out are named, of others an example
        named = which if what == _SKIPPED else which[:1]
        names = ["/".join(file.parts[len(path.parts) :]) or file.name for file in named]
        such = f"{count(len(which), 'file')} (such as {', '.join(names)})"
        such = such.replace("such as ", "") if len(names) == len(which) else such
        warnings.warn(f"{path}: {what.format(such)}", DataWarning, stacklevel=3)
    if not kept:
        raise DataError(f"{path}: no file that can be read.")
    return kept, values[: len(kept)], bits, peak


def _require_alike(
    path: Path, first: Path, of_first: tuple[Array, int], file: Path, picture: _Pixels
) -> None:
    """Refuse a picture of another size, or of other bits, than the first one."""
    (height, width), (h, w) = of_first[0].shape[:2], picture.values.shape[:2]
    if (height, width) != (h, w):
        raise DataError(
            f"{path}: pictures of different sizes: {first.name} is {height}x{width}, {file.name} "
            f"is {h}x{w} (height x width). Pass one size for all, for example "
            "`image_size=(32, 32)`."
        )
    if picture.bits != of_first[1]:
        raise DataError(
            f"{path}: {first.name} is of {of_first[1]} bits, {file.name} of {picture.bits}, and "
            "white is not the same value in both. Save all with 8 or all with 16 bits."
        )


def _read(file: Path, request: Request) -> _Pixels:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=_FORMATS) as image:
            return _pixels(image, request, file)
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
        raise DataError(
            f"{file}: damaged picture ({error}). Replace or remove it, or leave "
            "out what is broken by `skip_broken=True`."
        ) from None


def _pixels(image: Picture, request: Request, file: Path) -> _Pixels:
    from PIL import Image, ImageOps

    size = request.image_size or (request.run_shape or ())[:2]
    # Pillow reads colors with 8 bits, whatever the file holds; its tiles name what that is
    deep_tiles = (";16B", ";16L", ";16N")
    is_deep = image.mode.startswith("I") or image.mode == "F"
    is_cut = any(kind in str(tile[3]) for tile in getattr(image, "tile", ()) for kind in deep_tiles)
    lost = [_CUT] if is_cut and not is_deep else []
    # telephones keep a second picture in a JPEG file, which no one means
    is_animated = getattr(image, "is_animated", False) and image.format != "MPO"
    lost += [_ANIMATED] if is_animated else []
    image = ImageOps.exif_transpose(image)
    if is_deep:
        return _deep(image, size, file, lost)
    has_values = image.mode != "1"
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        lost += [_ALPHA] if np.asarray(image)[..., 3].min() < 255 else []
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "LAB":
        raise DataError(f"{file}: a picture in LAB, which is not read. Save it as RGB.")
    plain = image.convert("L" if image.mode in ("1", "L") else "RGB")
    values = np.asarray(_resized(plain, size))
    is_grey = values.ndim == 2 or bool((values == values[..., :1]).all())
    if is_grey or _color(request) == "grey":
        lost += [] if is_grey or request.color == "grey" else [_GREYED]
        values = np.asarray(_resized(plain.convert("L"), size))
    return _Pixels(values, 8, int(values.max()) if has_values else 0, tuple(lost))


def _color(request: Request) -> ColorMode:
    """Return the colors that are asked for, else those of the run."""
    if request.color != "auto" or request.run_shape is None:
        return request.color
    return "rgb" if len(request.run_shape) == 3 else "grey"


def _deep(image: Picture, size: tuple[int, ...], file: Path, lost: list[str]) -> _Pixels:
    """Return a grey picture of 16 bits, in which transparent is 65535."""
    from PIL import Image

    wide = np.asarray(image)
    if image.mode == "F" or wide.min() < 0 or wide.max() > 65535:
        raise DataError(
            f"{file}: pictures of mode {image.mode} have no fixed white. Save it with 8 or 16 bits."
        )
    is_opaque = wide != image.info.get("transparency", -1)
    values = np.where(is_opaque, wide, 65535).astype(np.uint16)
    if size:  # float32, since Pillow cannot resize all pictures of 16 bits
        resized = _resized(Image.fromarray(values.astype(np.float32)), size)
        values = np.rint(np.asarray(resized)).astype(np.uint16)
    lost += [] if is_opaque.all() else [_ALPHA]
    return _Pixels(values, 16, int(wide[is_opaque].max(initial=0)), tuple(lost))


def _resized(image: Picture, size: tuple[int, ...]) -> Picture:
    from PIL import Image

    if not size:
        return image
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
