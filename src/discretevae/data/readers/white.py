"""Which value of a picture is white: 255, 1 in a mask, 4095 in a file of 12-bit values."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from discretevae.data.readers.request import Request
from discretevae.data.stores.values import FAINT, Array, spans
from discretevae.errors import DataWarning, count

_WHITES = (255, 1023, 4095, 16383, 65535)
"""White of 8, 10, 12, 14 and 16 bits: what cameras and scanners write into files of 16 bits."""


@dataclass
class Levels:
    """The values that the pictures of a source reach.

    Args:
        numbers: of pictures, by the bits of their files: 1, 8 or 16.
        peaks: the largest value, by bits; those of 1 bit are read as 0 and 255.
        is_widened: whether all 16-bit values are 257 times an 8-bit one.
    """

    numbers: Counter[int] = field(default_factory=Counter)
    peaks: dict[int, int] = field(default_factory=dict)
    is_widened: bool = True

    def add(self, bits: int, peak: int, *, is_widened: bool) -> None:
        """Count one more picture."""
        self.numbers[bits] += 1
        self.peaks[bits] = max(peak, self.peaks.get(bits, 0))
        if bits == 16:
            self.is_widened = self.is_widened and is_widened


def choose_white(levels: Levels, request: Request, name: str) -> tuple[float, dict[int, float]]:
    """Return the divisor of a source, and the value of white in its files, by their bits.

    Without a divisor the range of all pictures decides. A divisor of the user is taken as it is.
    That of a run is the value of white in the run, and pictures with larger values are brought to
    it.

    Warns:
        DataWarning: white is not what the files alone would say, or files differ in it.

    Example:
        >>> levels = Levels(Counter({16: 3}), {16: 65535}, is_widened=False)
        >>> choose_white(levels, Request(), "mine")
        (65535.0, {16: 65535.0})
    """
    peaks = {bits: peak for bits, peak in levels.peaks.items() if bits > 1}
    own = dict.fromkeys(levels.numbers, 255.0)
    if 16 in peaks:
        own[16] = float(next(white for white in _WHITES if white >= peaks[16]))
    is_scaled = request.scale not in (None, "auto")
    divisor = 1.0 if is_scaled else request.divisor
    if divisor is None:
        if max(peaks.values(), default=0) == 1:
            own |= dict.fromkeys(peaks, 1.0)
            divisor = 1.0
        else:
            is_widened = 16 in peaks and own[16] == 65535 and levels.is_widened
            divisor = 255.0 if is_widened else max(own.values())
        # a single picture may be dark by chance
        faint = 1 < max(peaks.values(), default=0) < FAINT and levels.numbers.total() > 1
        is_news = faint or divisor == 1 or len(peaks) > 1 or own.get(16, 65535) < 65535
    else:
        for bits, peak in peaks.items():
            exceeds = request.run_white == divisor and not is_scaled and peak > divisor
            if not exceeds and not (bits == 8 and divisor > 255):
                own[bits] = divisor
        is_exact = divisor == 255 and levels.is_widened
        is_news = any(own[bits] != divisor and not (bits == 16 and is_exact) for bits in peaks)
    if is_news:
        found = "; ".join(
            f"{count(levels.numbers[bits], 'picture')} of {bits} bits with values up to "
            f"{peak:,}, of which {own[bits]:,g} is taken for white"
            for bits, peak in sorted(peaks.items())
        )
        warnings.warn(
            f"{name}: {found}. If another value is white, give it as `divisor`.",
            DataWarning,
            stacklevel=4,
        )
    return divisor, own


def to_one_scale(
    values: Array, bits: npt.NDArray[Any], levels: Levels, divisor: float, white: dict[int, float]
) -> Array:
    """Return pictures ``[N, H, W]`` in units in which the divisor is white, as bytes if they can.

    Args:
        values: uint8 or uint16; 65535 in a 16-bit picture that is darker stands for transparent.
        bits: of the files, ``[N]``.
        levels: of the values.
        divisor: of the result.
        white: by bits.
    """
    is_raw = all(each == divisor for each in white.values())
    are_bytes = divisor == 255 or is_raw
    for each, peak in levels.peaks.items():
        are_bytes = are_bytes and peak * divisor <= 255 * white[each]
    if is_raw and are_bytes and values.dtype == np.uint8:
        return values
    result = np.empty(values.shape, np.uint8 if are_bytes else np.float32)
    limit, unit = np.ones(17), np.ones(17)
    for each, of_bits in white.items():
        limit[each], unit[each] = max(of_bits, levels.peaks[each]), of_bits
    for start, stop in spans((len(values), values[0].size)):
        part = bits[start:stop, None, None]
        # multiplied first, in float64: white becomes the divisor exactly, and x is 1
        scaled = np.minimum(values[start:stop], limit[part]) * divisor / unit[part]
        result[start:stop] = np.rint(scaled) if are_bytes else scaled
    return result
