"""The base class of likelihoods, and the unit in which others report it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from discretevae.config import LikelihoodSpec

CHUNK = 1 << 15
"""Values at a time: enough to hide the cost of a call, and few enough to bound the memory."""

Support = Literal["unit interval", "bytes", "real"]
"""Values of x: any number in [0, 1]; k/255 for k = 0 … 255; any number."""


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
        return self.support != "real"

    def n_outputs(self, n_features: int) -> int:
        """Return C·P: the numbers of the decoder for a row of P features."""
        return self.channels * n_features

    def is_surrogate_for(self, x: Tensor) -> bool:
        """Return whether `log_prob` of these rows is of no probability and no density."""
        return False

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


class Formula(Protocol):
    """ln p of single features, with its gradient written down.

    Autograd would keep every intermediate of a long elementwise formula, and pass over each of them
    again. `summed` forms value and gradient side by side, a few rows at a time.
    """

    def __call__(
        self, output: Tensor, x: Tensor, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """``[R, C, P]``, ``[R, P]`` to ln p ``[R, P]`` and its derivatives ``[R, C, P]``.

        Every step is an operation that autograd knows, so that the derivatives can be derived.
        """


def summed(formula: Formula, output: Tensor, x: Tensor, channels: int) -> Tensor:
    """Σ_p of a formula, differentiable in ``output`` any number of times.

    Args:
        formula: of one feature.
        output: ``[..., C·P]``.
        x: ``[B, P]``; leading axes broadcast.
        channels: C.

    Returns:
        ``[...]``, nats per row.
    """
    n_features = x.shape[-1]
    lead = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        output.shape[:-1], x.shape[:-1]
    )
    rows = output.expand(*lead, -1).reshape(-1, channels, n_features)
    x = x.expand(*lead, -1).reshape(-1, n_features)
    # inside of forward() autograd is always off, and inputs do not show no_grad()
    with_gradient = rows.requires_grad and torch.is_grad_enabled()
    result: Tensor = _Summed.apply(formula, rows, x, with_gradient)  # type: ignore[no-untyped-call]
    return result.reshape(lead)


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, formula: Formula, output: Tensor, x: Tensor, with_gradient: bool
    ) -> Tensor:
        value = output.new_empty(len(output))
        gradient = torch.empty_like(output) if with_gradient else None
        step = max(1, CHUNK // max(1, x.shape[1]))
        for start in range(0, len(output), step):
            rows = slice(start, start + step)
            terms, slopes = formula(output[rows], x[rows], with_gradient=with_gradient)
            torch.sum(terms, -1, out=value[rows])
            if gradient is not None and slopes is not None:
                gradient[rows] = slopes
        ctx.formula, ctx.gradient = formula, gradient
        ctx.save_for_backward(output, x)
        return value

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[None, Tensor | None, None, None]:
        gradient, ctx.gradient = ctx.gradient, None
        weight = weight[:, None, None]
        if gradient is not None and not torch.is_grad_enabled():
            return None, gradient.mul_(weight), None, None
        # a second pass over the same graph, or one that is itself differentiated
        output, x = ctx.saved_tensors
        _, slopes = ctx.formula(output, x, with_gradient=True)
        return None, slopes * weight, None, None


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
