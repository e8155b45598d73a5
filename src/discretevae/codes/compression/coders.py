"""Symbols on a stack of bits, with probabilities that are the same at both ends.

The stack is the ANS coder of constriction. Of each symbol it wants probabilities in float64, which
it turns into multiples of 2⁻²⁴ by sums, products and roundings that IEEE 754 defines; none becomes
zero. Probabilities come from tables over grids here, so that both ends have the same.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from discretevae.codes.compression import reproducible
from discretevae.codes.compression.fixed_point import on_grid
from discretevae.errors import needs_extra
from discretevae.system.arrays import Array

Stack = Any
"""An ``AnsCoder`` of constriction, which has no types."""

LOGIT_STEP = 2.0**-8
MAX_LOGIT = 16.0
"""Logits are rounded to 1/256 and kept within ±16, where σ is 1e-7 from 0 or 1."""

_GRID = np.arange(-MAX_LOGIT, MAX_LOGIT + LOGIT_STEP, LOGIT_STEP)
SIGMOID = reproducible.sigmoid(_GRID)
"""σ of every logit of the grid."""

EXP_BELOW = reproducible.exp(-np.arange(len(_GRID)) * LOGIT_STEP)
"""e to the power of a logit's distance from the largest one."""


class Models:
    """The entropy models of constriction that are needed (`MissingExtraError` without it)."""

    def __init__(self) -> None:
        with needs_extra("compress", "compression needs constriction"):
            from constriction import stream
        self._stack = stream.stack.AnsCoder
        self.bernoulli = stream.model.Bernoulli(perfect=False)
        self.categorical = stream.model.Categorical(perfect=False)

    def stack(self, words: Array) -> Stack:
        """Return a stack that holds these words, uint32; the last one must not be zero."""
        return self._stack(np.ascontiguousarray(words, dtype=np.uint32))


def seed_words(lane: int, count: int) -> Array:
    """Return the clean bits that a stack starts from: uint32 ``[count]``, the same for ever."""
    text = f"discretevae lane {lane} of {count} words".encode()
    words = np.frombuffer(hashlib.shake_256(text).digest(4 * count), "<u4").astype(np.uint32)
    words[-1] |= 1  # a stack has no zeros at its end
    return words


class Variables:
    """Bits (width 1) and categories (width K) side by side, coded with logits on the grid."""

    def __init__(self, widths: Sequence[int], models: Models) -> None:
        self.widths = tuple(widths)
        self.starts = tuple(itertools.accumulate(self.widths, initial=0))
        self._models = models
        self._runs: list[tuple[int, int, int]] = []
        first = 0
        for width, run in itertools.groupby(self.widths):
            count = len(list(run))
            self._runs.append((first, first + count, width))
            first += count

    def points(self, logits: Tensor, first: int = 0, stop: int | None = None) -> Array:
        """Return logits of some variables on the grid, ``[B, Σ widths]`` to int64.

        Of a bit's logit the number of the grid point; of a category's the distance from the
        largest one in steps of the grid, since only differences count there.
        """
        parts = []
        begin = 0
        for width, run in itertools.groupby(self.widths[first:stop]):
            end = begin + width * len(list(run))
            part = logits[:, begin:end]
            if width == 1:
                parts.append(on_grid(part, LOGIT_STEP, -MAX_LOGIT, MAX_LOGIT))
            else:
                part = part.reshape(len(part), -1, width)
                below = (part.max(2, keepdim=True).values - part).flatten(1)
                parts.append(on_grid(below, LOGIT_STEP, 0.0, 2 * MAX_LOGIT))
            begin = end
        return np.concatenate(parts, 1)

    def push(self, stack: Stack, points: Array, codes: Array) -> None:
        """Put a code ``[D]`` on the stack so that it comes off in order; points ``[Σ widths]``."""
        symbols = codes.astype(np.int32)
        for first, stop, width in reversed(self._runs):
            columns = points[self.starts[first] : self.starts[stop]]
            model, probabilities = self._model(columns, width)
            stack.encode_reverse(np.ascontiguousarray(symbols[first:stop]), model, probabilities)

    def pop(self, stack: Stack, points: Array) -> Array:
        """Take a code off the stack: int32 ``[D]``."""
        parts = []
        for first, stop, width in self._runs:
            columns = points[self.starts[first] : self.starts[stop]]
            parts.append(stack.decode(*self._model(columns, width)))
        return np.concatenate(parts)

    def pop_one(self, stack: Stack, points: Array) -> int:
        """Take one variable off the stack; its points ``[width]``."""
        return int(stack.decode(*self._model(points, len(points)))[0])

    def columns(self, codes: Array) -> Array:
        """Return codes ``[B, D]`` as networks take them, categories one-hot."""
        flat = np.zeros((len(codes), self.starts[-1]))
        for d, (start, width) in enumerate(zip(self.starts, self.widths, strict=False)):
            if width == 1:
                flat[:, start] = codes[:, d]
            else:
                flat[np.arange(len(codes)), start + codes[:, d]] = 1
        return flat

    def _model(self, points: Array, width: int) -> tuple[Any, Array]:
        if width == 1:
            return self._models.bernoulli, SIGMOID[points]
        return self._models.categorical, EXP_BELOW[points.reshape(-1, width)]
