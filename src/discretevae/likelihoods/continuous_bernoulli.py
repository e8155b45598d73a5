"""A density on [0, 1] in place of the Bernoulli surrogate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from discretevae.config import LikelihoodSpec
from discretevae.likelihoods.base import Likelihood, Support

MIN_MEAN = 0.01
"""`output_for` keeps so far from 0 and 1: a mean of m near 0 needs a logit of about −1/m."""

_SMALL = 0.30517578
"""Below it the series are used, which omit less than 1e-15. No round number: a logit that
equals it would get the second derivative of both sides."""

_VALUE = math.log(math.sinh(_SMALL / 2) / (_SMALL / 2))
_SLOPE = 0.5 / math.tanh(_SMALL / 2) - 1 / _SMALL


@dataclass(frozen=True)
class ContinuousBernoulliLikelihood(Likelihood):
    """p(x|z) = Π_p C(λ_p) λ_p^{x_p} (1 − λ_p)^{1 − x_p}, λ = sigmoid(output), x in [0, 1].

    C(λ) = 2 artanh(1 − 2λ) / (1 − 2λ), and 2 at λ = ½, makes it integrate to one. In the logit l:

        p(x) = l e^{xl} / (e^l − 1) = exp(xl − A(l)),   A(l) = ln((e^l − 1) / l)
        E[x|z] = A′(l) = 1/(1 − e^{−l}) − 1/l,          not λ

    It is an exponential cut off at 0 and 1, so A and A′ are smooth at l = 0, where both use their
    series. Being a density, it may exceed 1: a feature that is always 0 earns ln abs(l), without
    end.

    Channels: the logits of λ.

    Example:
        >>> likelihood = ContinuousBernoulliLikelihood()
        >>> likelihood.log_prob(torch.tensor([[4.0]]), torch.tensor([[1.0]]))      # a density > 1
        tensor([1.4048])
        >>> likelihood.mean(torch.tensor([0.0, 4.0]))                              # sigmoid: 0.98
        tensor([0.5000, 0.7687])

    Source: Loaiza-Ganem & Cunningham, "The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders" (NeurIPS 2019), eq. 8 and 9. Implementations that work with λ lose
    digits near λ = ½ and at both ends; the logit has neither problem.
    """

    spec: ClassVar[LikelihoodSpec] = LikelihoodSpec("continuous-bernoulli")
    support: ClassVar[Support] = "unit interval"
    is_probability: ClassVar[bool] = False

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return Σ_p x_p l_p − A(l_p) for logits l = ``output``, ``[S, B]``."""
        return (x * output - _normalizer_and_mean(output)[0]).sum(-1)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return x·l_nᵀ − Σ_p A(l_np): one matrix product, ``[B, N]``."""
        return x @ output.T - _normalizer_and_mean(output)[0].sum(-1)

    def mean(self, output: Tensor) -> Tensor:
        """Return a′(l)."""
        return _normalizer_and_mean(output)[1]

    def output_for(self, mean: Tensor) -> Tensor:
        """Return the l with A′(l) = mean, found by halving; the mean is kept in [0.01, 0.99]."""
        target = mean.double().clamp(MIN_MEAN, 1 - MIN_MEAN)
        low = torch.full_like(target, -1.1 / MIN_MEAN)
        high = -low
        for _ in range(60):  # 2⁻⁶⁰ of the first interval
            middle = (low + high) / 2
            is_below = _normalizer_and_mean(middle)[1] < target
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        return low.to(mean.dtype)

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return the inverse of the distribution function, x = ln(1 + u (e^l − 1)) / l."""
        logits = output.detach()
        u = torch.rand(logits.shape, dtype=logits.dtype, device=logits.device, generator=generator)
        # of an exponential that falls; where it rises, seen from the other end
        size = logits.abs().clamp(min=1e-6)
        x = (-torch.log1p(u * torch.expm1(-size)) / size).clamp(0, 1)
        return torch.where(logits > 0, 1 - x, x)


def _normalizer_and_mean(logits: Tensor) -> tuple[Tensor, Tensor]:
    """A(l) = l/2 + ln(sinh(l/2) / (l/2)), and A′(l)."""
    value, slope = log_sinh_ratio(logits)
    return value + logits * 0.5, slope + 0.5


def log_sinh_ratio(l: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741 - the symbol for a logit
    """g(l) = ln(sinh(l/2) / (l/2)) and g′(l) = ½ coth(l/2) − 1/l, with g(0) = g′(0) = 0.

    The plain formulas lose digits near 0, where series take their place. The series of what is cut
    off at ±c and the plain formula of what is cut off below c are added up, less g(c): one of the
    two is always constant. That costs a third of choosing between them.

    Example:
        >>> log_sinh_ratio(torch.tensor([4.0, -20.0]))
        (tensor([0.5952, 7.0043]), tensor([ 0.2687, -0.4500]))
    """
    small = l.clamp(-_SMALL, _SMALL)
    square = small * small
    series = (((square / -9676800 + 1 / 181440) * square - 1 / 2880) * square + 1 / 24) * square
    slopes = (((square / 47900160 - 1 / 1209600) * square + 1 / 30240) * square - 1 / 720) * square
    big = l.abs().clamp(min=_SMALL)
    down = (-big).exp()
    up = 1 - down
    value = series + ((up / big).log() + big * 0.5 - _VALUE)
    direct = down / up - 1 / big + (0.5 - _SLOPE)
    return value, (slopes + 1 / 12) * small + l.sign() * direct
