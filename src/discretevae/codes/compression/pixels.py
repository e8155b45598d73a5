"""Values of a row on a stack, under a likelihood that is a probability."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from discretevae.codes.compression.byte_tables import LOG_SCALE, ByteTables
from discretevae.codes.compression.coders import (
    LN_SIGMOID,
    LOGIT_STEP,
    MAX_LOGIT,
    SIGMOID,
    Models,
    Stack,
)
from discretevae.codes.compression.fixed_point import on_grid
from discretevae.errors import ConfigError
from discretevae.likelihoods import BernoulliLikelihood, Likelihood
from discretevae.likelihoods.eight_bit import EightBit

Array = np.ndarray[Any, np.dtype[Any]]


class Bits:
    """Values 0 and 1 by logits on a grid.

    Attributes:
        top: the largest value.
        max_scored: states times features for which `scores` may be prepared, in 64 MiB.
    """

    top = 1
    max_scored = 1 << 23

    def __init__(self, models: Models) -> None:
        self._model = models.bernoulli
        self._slopes, self._offsets = np.empty((0, 0)), np.empty(0)

    def points(self, output: Tensor) -> Array:
        """Return the decoder's numbers ``[B, P]`` on the grid, ``[B, P]``."""
        return on_grid(output, LOGIT_STEP, -MAX_LOGIT, MAX_LOGIT)

    def push(self, stack: Stack, points: Array, k: Array) -> None:
        """Put a row ``[P]`` on the stack; ``points`` are those of one row."""
        stack.encode_reverse(k.astype(np.int32), self._model, SIGMOID[points])

    def pop(self, stack: Stack, points: Array) -> Array:
        """Take a row off the stack, uint8 ``[P]``."""
        values: Array = stack.decode(self._model, SIGMOID[points]).astype(np.uint8)
        return values

    def prepare(self, points: Array) -> None:
        """Prepare `scores` of all states; Σ_p k_p (ln σ(l) − ln σ(−l)) + ln σ(−l) is a product."""
        logs = np.rint(LN_SIGMOID * LOG_SCALE)
        zeros = logs[::-1][points]
        self._slopes, self._offsets = logs[points] - zeros, zeros.sum(1)

    def scores(self, k: Array) -> Array:
        """Return ln p(k_b | state n) in multiples of 2⁻¹⁶, exact whole numbers: ``[B, N]``."""
        scores: Array = k.astype(np.float64) @ self._slopes.T + self._offsets
        return scores


class Bytes:
    """Values 0 … 255 by tables of 256 probabilities; attributes and methods as of `Bits`.

    Scores are prepared in 256 MiB.
    """

    top = 255
    max_scored = 1 << 18

    def __init__(self, likelihood: Likelihood, models: Models) -> None:
        self._model = models.categorical
        self._tables = ByteTables(str(likelihood.spec), likelihood.channels)
        self._logs, self._rows = np.empty((0, 0), np.float32), np.empty((0, 0), np.int64)

    def points(self, output: Tensor) -> Array:
        """Return the decoder's numbers ``[B, C·P]`` on the grid, ``[B, P, C]``."""
        return self._tables.points(output)

    def push(self, stack: Stack, points: Array, k: Array) -> None:
        """Put a row ``[P]`` on the stack; ``points`` are those of one row."""
        stack.encode_reverse(k.astype(np.int32), self._model, self._tables.tables(points))

    def pop(self, stack: Stack, points: Array) -> Array:
        """Take a row off the stack, uint8 ``[P]``."""
        values: Array = stack.decode(self._model, self._tables.tables(points)).astype(np.uint8)
        return values

    def prepare(self, points: Array) -> None:
        """Prepare `scores`: the logarithms of every table that some state needs."""
        self._logs, self._rows = self._tables.logarithms(points)

    def scores(self, k: Array) -> Array:
        """Return ln p(k_b | state n); one row at a time, N·P numbers are looked up."""
        rows = [self._logs[self._rows, row].sum(1, dtype=np.float64) for row in k]
        return np.stack(rows) if rows else np.empty((0, len(self._rows)))


Pixels: TypeAlias = Bits | Bytes


def pixels_for(likelihood: Likelihood, models: Models) -> Pixels:
    """Return how the values of rows are coded under a likelihood.

    Raises:
        ConfigError: it is a density, which gives a value no probability.
    """
    if isinstance(likelihood, BernoulliLikelihood):
        return Bits(models)
    if isinstance(likelihood, EightBit):
        return Bytes(likelihood, models)
    raise ConfigError(
        f"likelihood {likelihood.spec} is a density, and lossless compression needs "
        "probabilities. Train with `likelihood='beta-binomial'` for 8-bit values, or with "
        "`likelihood='bernoulli'` and `binarize='threshold'` for 0 and 1."
    )
