"""One picture in a file: its values, and what was lost in reading it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from discretevae.config import ColorMode
from discretevae.data.readers.foreign import recognize
from discretevae.data.readers.request import Request
from discretevae.data.stores.values import Array
from discretevae.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""Named so that Pillow does not try others; PostScript, for one, would start a program."""


class Pixels(NamedTuple):
    """A picture, ``[H, W]`` or of colors ``[H, W, 3]``, and what was lost in reading it.

    Of 1 bit, 0 and 255 are no values of the file: its peak is 0.
    """

    values: Array
    bits: int
    peak: int
    lost: tuple[str, ...] = ()


_CUT = "{} of 16 bits, not plainly grey: the upper 8 bits are read. Save in grey to keep all."
_ALPHA = "{} with transparent parts, which were laid on white."
_CMYK = "{} in CMYK, made red, green and blue without a color profile."
_ANIMATED = "{} of several frames, of which the first one is read."
_GREYED = "{} in color made grey, as those of the run are."


def read_picture(file: Path, request: Request) -> Pixels:
    """Return a picture as red, green and blue, or as grey if it is, or is asked for as grey.

    Raises:
        DataError: no picture, a damaged one, too large, or of a kind that is not read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=FORMATS) as image:
            return _pixels(image, request, file)
    except (MemoryError, DataError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: too large a picture ({error}) Make it smaller.") from None
    except UnidentifiedImageError:
        found = recognize(file)
        what = f" ({found.what})" if found is not None else ""
        raise DataError(
            f"{file}: not a picture{what}. Read are {', '.join(FORMATS)}; move other files "
            "elsewhere."
        ) from None
    except PermissionError:
        raise DataError(f"{file}: no permission to read it. Change its access rights.") from None
    except Exception as error:
        # Decoders of damaged files raise almost anything: struct.error, SyntaxError, IndexError.
        raise DataError(
            f"{file}: damaged picture ({error}). Replace or remove it, or leave "
            "out what is broken by `skip_broken=True`."
        ) from None


def _pixels(image: Picture, request: Request, file: Path) -> Pixels:
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
    lost += [_CMYK] if image.mode == "CMYK" else []
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
    values, color = np.asarray(_resized(plain, size)), _color(request)
    is_grey = values.ndim == 2 or bool((values == values[..., :1]).all())
    if is_grey or color == "grey":
        lost += [] if is_grey or request.color == "grey" else [_GREYED]
        values = np.asarray(_resized(plain.convert("L"), size))
    if values.ndim == 2 and color == "rgb":
        values = np.stack([values] * 3, -1)
    return Pixels(values, 8, int(values.max()) if has_values else 0, tuple(lost))


def _color(request: Request) -> ColorMode:
    """Return the colors that are asked for, else those of the run."""
    if request.color != "auto" or request.run_shape is None:
        return request.color
    return "rgb" if len(request.run_shape) == 3 else "grey"


def _deep(image: Picture, size: tuple[int, ...], file: Path, lost: list[str]) -> Pixels:
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
    return Pixels(values, 16, int(wide[is_opaque].max(initial=0)), tuple(lost))


def _resized(image: Picture, size: tuple[int, ...]) -> Picture:
    from PIL import Image

    if not size:
        return image
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
