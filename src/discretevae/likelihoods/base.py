"""The base class of likelihoods, and the unit in which others report it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from discretevae.config import LikelihoodSpec

Support = Literal["unit interval", "bytes", "real", "counts", "columns"]
"""Values of x: any number in [0, 1]; k/255 for k = 0 … 255; any number; 0, 1, 2, …; those of each
column, NaN where missing."""


class Likelihood(ABC):
    """A likelihood p(x|z) = Π_p p(x_p|z).

    The decoder returns C numbers for each of the P features of a row, channel by channel:
    ``output`` is ``[..., C·P]``, and as ``[..., C, P]`` its channel c holds what the likelihood
    calls its c-th parameter. That is also how a convolution with C output channels lays them out.

    Attributes:
        support: what x may be.
        is_probability: whether exp(`log_prob`) sums to one over the values that x can take
            (for Bernoulli: over 0 and 1); False for densities, which may exceed 1.
    """

    support: ClassVar[Support]
    is_probability: ClassVar[bool]

    @property
    @abstractmethod
    def spec(self) -> LikelihoodSpec:
        """Its kind and options in words."""

    @property
    def channels(self) -> int:
        """C: 1, unless a likelihood says otherwise."""
        return 1

    @property
    def needs_unit_interval(self) -> bool:
        """Whether every x must lie in [0, 1]."""
        return self.support in ("unit interval", "bytes")

    def n_outputs(self, n_features: int) -> int:
        """Return C·P: the numbers of the decoder for a row of P features."""
        return self.channels * n_features

    def is_surrogate_for(self, x: Tensor) -> bool:
        """Return whether `log_prob` of these rows is of no probability and no density."""
        return False

    def expand(self, x: Tensor) -> Tensor:
        """Return x as the numbers whose means `output_for` takes, ``[..., P]``."""
        return x

    @abstractmethod
    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return ln p(x|z) of every sample and row: ``[S, B, C·P]``, ``[B, P]`` to ``[S, B]``."""

    @abstractmethod
    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return ln p(x_b | state n): ``[N, C·P]``, ``[B, P]`` to ``[B, N]``."""

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """Return E[x|z], the picture to show, in the units of x: ``[..., C·P]`` to ``[..., P]``."""

    @abstractmethod
    def output_for(self, mean: Tensor) -> Tensor:
        """Return an output with this `mean`, ``[P]`` to ``[C·P]``; values out of reach move."""

    @abstractmethod
    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return a draw x ~ p(x|z), in the units of x: ``[..., C·P]`` to ``[..., P]``."""


def bits_per_dimension(nats: float, n_features: int) -> float:
    """−nats / (P ln 2): the bits of a row for each of its features.

    It is the length of a code under a likelihood that is a probability (``is_probability``), and
    can then be compared between models of the same values. Of a density it is no length: it may
    be negative, and x → 2x adds one.

    Args:
        nats: ln p(x) or a bound on it, nats per row.
        n_features: P.

    Example:
        >>> round(bits_per_dimension(-784 * 1.5 * 0.6931471805599453, 784), 6)
        1.5
    """
    return -nats / (n_features * math.log(2))
