"""Which value of a picture is white: 255, 1 in a mask, 4095 in a file of 12-bit values."""

from __future__ import annotations

import warnings

import numpy as np

from discretevae.data.readers.request import Request
from discretevae.data.stores.disk import DiskTable
from discretevae.data.stores.values import FAINT, Array
from discretevae.errors import DataWarning, count

_WHITES = (255, 1023, 4095, 16383, 65535)
"""White of 8, 10, 12, 14 and 16 bits: what cameras and scanners write into files of 16 bits."""


def choose_white(bits: int, peak: int, n: int, request: Request, name: str) -> tuple[float, float]:
    """Return the divisor of n pictures of 8 or 16 bits, and the value of white in their files.

    Without a divisor the largest value decides. A divisor of the user is taken as it is. That of a
    run is the value of white in the run, and pictures with larger values are brought to it.

    Warns:
        DataWarning: white is not what the files alone would say.

    Example:
        >>> choose_white(16, 65535, 3, Request(), "mine")
        (65535.0, 65535.0)
    """
    white = float(next(each for each in _WHITES if each >= peak)) if bits == 16 else 255.0
    is_scaled = request.scale not in (None, "auto")
    divisor = 1.0 if is_scaled else request.divisor
    if divisor is None:
        divisor = white = 1.0 if peak == 1 else white
        # a single picture may be dark by chance
        is_news = (1 < peak < FAINT and n > 1) or white == 1 or (bits == 16 and white < 65535)
    else:
        exceeds = request.run_white == divisor and not is_scaled and peak > divisor
        if not exceeds and not (bits == 8 and divisor > 255):
            white = divisor
        is_news = white != divisor
    if is_news:
        warnings.warn(
            f"{name}: {count(n, 'picture')} of {bits} bits with values up to {peak:,}, of which "
            f"{white:,g} is taken for white. If another value is white, give it as `divisor`.",
            DataWarning,
            stacklevel=4,
        )
    return divisor, white


def with_white(table: DiskTable, peak: int, divisor: float, white: float) -> DiskTable | Array:
    """Return pictures ``[N, P]`` in units in which the divisor is white, as bytes if they can.

    What is larger than both white and the peak, the largest value of the files, stands for white.
    """
    limit = max(white, peak)
    if white == divisor and limit >= 255 and table.dtype == np.uint8:
        return table
    are_bytes = divisor in (255, white) and limit * divisor <= 255 * white
    result = np.empty(table.shape, np.uint8 if are_bytes else np.float32)
    for start, part in table.pieces():
        # multiplied first, in float64: white becomes the divisor exactly, and x is 1
        scaled = np.minimum(part.astype(np.float64), limit) * divisor / white
        result[start : start + len(part)] = np.rint(scaled) if are_bytes else scaled
    return result
