"""Values of a row on a stack, under a likelihood that is a probability.

Bits have logits on a grid. The numbers that the decoder gives for an 8-bit value are rounded to a
grid too, and a table of 256 probabilities, the same on every machine, belongs to each point of it.
Tables of one picture recur, in it and in the next: those that were made are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from discretevae.codes.compression import reproducible
from discretevae.codes.compression.coders import (
    LOGIT_STEP,
    MAX_LOGIT,
    SIGMOID,
    Models,
    Stack,
)
from discretevae.codes.compression.fixed_point import on_grid
from discretevae.errors import ConfigError
from discretevae.likelihoods import BernoulliLikelihood, Likelihood
from discretevae.likelihoods.beta_binomial import MAX_LOG_CONCENTRATION, BetaBinomialLikelihood
from discretevae.likelihoods.eight_bit import LEVELS, TOP, EightBit
from discretevae.likelihoods.logistic import MIN_LOG_SCALE
from discretevae.system.arrays import Array

FLOOR = 2.0**-24
"""The least probability that a table holds: the smallest that the coder can tell from zero."""

MAX_TABLES = 1 << 15
"""Tables that are kept: 64 MiB."""

LEAST_SCALE = float(reproducible.exp(np.array(MIN_LOG_SCALE)))


@dataclass(frozen=True)
class Axis:
    """The grid of one of the decoder's numbers, from its first point to its last.

    The step between points is a power of two.
    """

    step: float
    low: float
    high: float


LOGIT = Axis(1 / 32, -18, 18)
CONCENTRATION = Axis(1 / 16, -10, 16)
WEIGHT = Axis(1 / 32, -16, 16)
CENTER = Axis(1 / 4096, -4, 5)
SCALE = Axis(1 / 32, -16, 8)

Masses = Callable[[Array], Array]
"""Grid points ``[n, C]`` as real numbers to probabilities ``[n, 256]``, not yet of sum one."""


def _distinct(points: Array) -> tuple[Array, Array]:
    """Return the different rows of int32 ``[n, C]``, and which of them each row is."""
    flat = np.ascontiguousarray(points, dtype=np.int32)
    keys = flat.view(np.dtype((np.void, flat.itemsize * flat.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return flat[first], inverse


def beta_binomial_masses(points: Array) -> Array:
    """Return masses of `BetaBinomialLikelihood`, from l and c ``[n, 2]``, unscaled: ``[n, 256]``.

    From the value next to the mean outwards, by the ratios of neighbors

        p(k + 1)/p(k) = (255 − k)/(k + 1) · (k + α)/(254 − k + β),

    so that nothing overflows.
    """
    logit, raw = points.T[:, :, None]
    s = reproducible.exp(np.full_like(raw, MAX_LOG_CONCENTRATION)) / (
        1 + reproducible.exp(MAX_LOG_CONCENTRATION - raw)
    )
    p = reproducible.sigmoid(logit)
    alpha, beta = s * p, s * reproducible.sigmoid(-logit)
    k = np.arange(TOP, dtype=np.float64)
    ratios = ((TOP - k) / (k + 1)) * ((k + alpha) / (TOP - 1 - k + beta))
    start = np.rint(p * TOP)
    upwards = np.where(k >= start, ratios, 1.0).cumprod(1)
    # from the top down: entry j is the product of 1/ratio over j ≤ k < start
    inverse = np.where(k < start, 1 / ratios, 1.0)
    downwards = inverse[:, ::-1].cumprod(1)[:, ::-1]
    ones = np.ones_like(p)
    result: Array = np.concatenate((downwards, ones), 1) * np.concatenate((ones, upwards), 1)
    return result


def logistic_masses(points: Array) -> Array:
    """Return masses of `LogisticLikelihood`, from its numbers ``[n, C]``: ``[n, 256]``.

    Differences of the distribution function at k ± ½.
    """
    n_components = max(1, points.shape[1] // 3)
    *_, mu, raw = np.split(points, points.shape[1] // n_components, 1)
    scale = reproducible.exp(raw) + LEAST_SCALE
    edges = (np.arange(TOP, dtype=np.float64) + 0.5) / TOP
    total = np.zeros((len(points), LEVELS))
    for m in range(n_components):
        below = reproducible.sigmoid((edges - mu[:, m : m + 1]) / scale[:, m : m + 1])
        ends = np.zeros((len(points), 1)), np.ones((len(points), 1))
        masses = np.maximum(np.diff(np.concatenate((ends[0], below, ends[1]), 1), axis=1), 0)
        if n_components > 1:
            masses = masses * reproducible.exp(points[:, m : m + 1])
        total = total + masses
    return total


class Bits:
    """Values from 0 to ``top``, 0 and 1, by logits on a grid."""

    top = 1

    def __init__(self, models: Models) -> None:
        self._model = models.bernoulli

    def points(self, output: Tensor) -> Array:
        """Return the decoder's numbers ``[B, P]`` on the grid, ``[B, P]``."""
        return on_grid(output, LOGIT_STEP, -MAX_LOGIT, MAX_LOGIT)

    def push(self, stack: Stack, points: Array, k: Array) -> None:
        """Put a row ``[P]`` on the stack; ``points`` are those of one row."""
        stack.encode_reverse(k.astype(np.int32), self._model, self._probabilities(points))

    def pop(self, stack: Stack, points: Array) -> Array:
        """Take a row off the stack, uint8 ``[P]``."""
        values: Array = stack.decode(self._model, self._probabilities(points)).astype(np.uint8)
        return values

    def _probabilities(self, points: Array) -> Array:
        return SIGMOID[points]


class Bytes(Bits):
    """Values 0 … 255 by tables of 256 probabilities, made when first needed, see `Bits`."""

    top = 255

    def __init__(self, likelihood: EightBit, models: Models) -> None:
        self._model = models.categorical
        self.channels = likelihood.channels
        self._masses: Masses
        if isinstance(likelihood, BetaBinomialLikelihood):
            self._axes: tuple[Axis, ...] = (LOGIT, CONCENTRATION)
            self._masses = beta_binomial_masses
        else:
            m = self.channels // 3
            several = (WEIGHT,) * m + (CENTER,) * m + (SCALE,) * m
            self._axes = (CENTER, SCALE) if self.channels == 2 else several
            self._masses = logistic_masses
        self._kept: dict[bytes, Array] = {}

    def points(self, output: Tensor) -> Array:
        """Return the grid points nearest to the decoder's ``[B, C·P]``: int32 ``[B, P, C]``."""
        planes = output.reshape(len(output), self.channels, -1).unbind(1)
        columns = [
            on_grid(plane, axis.step, axis.low, axis.high).astype(np.int32)
            for plane, axis in zip(planes, self._axes, strict=True)
        ]
        return np.stack(columns, -1)

    def _probabilities(self, points: Array) -> Array:
        """Return probabilities of all 256 values, ``[..., C]`` to float64 ``[..., 256]``."""
        unique, inverse = _distinct(points.reshape(-1, self.channels))
        names = [point.tobytes() for point in unique]
        new = [i for i, name in enumerate(names) if name not in self._kept]
        if len(self._kept) + len(new) > MAX_TABLES:
            self._kept.clear()
            new = list(range(len(names)))
        if new:
            self._kept.update(zip((names[i] for i in new), self._made(unique[new]), strict=True))
        tables = np.concatenate([self._kept[names[i]] for i in inverse.tolist()])
        return tables.reshape(*points.shape[:-1], LEVELS)

    def _made(self, points: Array) -> Array:
        steps = np.array([axis.step for axis in self._axes])
        lows = np.array([axis.low for axis in self._axes])
        masses = self._masses(points * steps + lows)
        # a cumulative sum has an order, a sum has none
        total = masses.cumsum(-1)[:, -1:]
        result: Array = np.maximum(masses / total, FLOOR)
        return result


def pixels_for(likelihood: Likelihood, models: Models) -> Bits:
    """Return how values are coded under a likelihood that has probabilities (`ConfigError`)."""
    if isinstance(likelihood, BernoulliLikelihood):
        return Bits(models)
    if isinstance(likelihood, EightBit):
        return Bytes(likelihood, models)
    raise ConfigError(
        f"likelihood {likelihood.spec} is a density, of counts or of several values together, and "
        "lossless compression needs probabilities of single values. Train with "
        "`likelihood='beta-binomial'` for 8-bit values, or with `likelihood='bernoulli'` and "
        "`binarize='threshold'` for 0 and 1."
    )
