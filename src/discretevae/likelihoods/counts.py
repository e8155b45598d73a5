"""Counts of words and other events: Poisson, negative binomial, multinomial."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.config import LikelihoodSpec
from discretevae.likelihoods.base import Likelihood, Support

MAX_LOG_RATE = 20.0
"""Rates level off at e²⁰ = 5·10⁸, so that an output far beyond does not overflow."""

LEAST_MEAN = 1e-6
"""A column that never occurred starts from this mean, not from 0."""


class _Counts(Likelihood):
    """A likelihood of whole numbers from 0 on: ln p(x|z) = Σ_p x_p a_p − b + c(x)."""

    support: ClassVar[Support] = "counts"
    is_probability: ClassVar[bool] = True

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return ln p(x|z) of every sample and row, ``[S, B]``."""
        a, b = self._terms(output)
        return torch.einsum("...bp,bp->...b", a, x) - b + self._constant(x)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return ln p(x_b | state n) by a matrix product, ``[B, N]``."""
        a, b = self._terms(output)
        return x @ a.T - b + self._constant(x).unsqueeze(1)

    def output_for(self, mean: Tensor) -> Tensor:
        """Return ln mean; columns that never occurred get a small one."""
        return mean.clamp(min=LEAST_MEAN).log()

    @abstractmethod
    def _terms(self, output: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return a ``[..., P]`` and b ``[...]``."""

    def _constant(self, x: Tensor) -> Tensor:
        """Return c(x), ``[B]``."""
        return _gamma_terms(x)


class PoissonLikelihood(_Counts):
    """p(x|z) = Π_p λ_p^x_p e^{−λ_p} / x_p!,   ln λ = 20 − softplus(20 − output).

    Example:
        >>> likelihood = PoissonLikelihood()
        >>> likelihood.log_prob(torch.zeros(1, 1, 2), torch.tensor([[0.0, 1.0]]))   # e⁻¹ each
        tensor([[-2.]])
    """

    spec: ClassVar[LikelihoodSpec] = LikelihoodSpec("poisson")

    def mean(self, output: Tensor) -> Tensor:
        """Return λ."""
        return log_rate(output).exp()

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return counts drawn at these rates."""
        return torch.poisson(self.mean(output.detach()), generator=generator)

    def _terms(self, output: Tensor) -> tuple[Tensor, Tensor]:
        log_mean = log_rate(output)
        return log_mean, log_mean.exp().sum(-1)


class NegativeBinomialLikelihood(nn.Module, PoissonLikelihood):
    """Counts that vary more than Poisson's: mean λ_p, variance λ_p + λ_p²/r_p, with learned r_p.

        p(x|z) = Π_p Γ(x_p + r_p)/(Γ(r_p) x_p!) σ(u_p)^x_p σ(−u_p)^r_p,   u_p = ln λ_p − ln r_p

    The parameter `log_concentration` is ln r, ``[P]``, from 0; a large r is nearly Poisson's.

    Example:
        >>> likelihood = NegativeBinomialLikelihood(2)
        >>> x = torch.tensor([[0.0, 1.0]])
        >>> likelihood.log_prob(torch.zeros(1, 1, 2), x).exp().item()              # 1/2 · 1/4
        0.125

    Source: Lopez et al., "Deep generative modeling for single-cell transcriptomics" (2018).
    """

    spec: ClassVar[LikelihoodSpec] = LikelihoodSpec("negative-binomial")

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.log_concentration = nn.Parameter(torch.zeros(n_features))

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return counts drawn at rates that are themselves Gamma-distributed."""
        r, rate = self._log_r().detach().exp(), self.mean(output.detach())
        return drawn_counts(rate, r, generator)

    def _log_r(self) -> Tensor:
        return self.log_concentration.clamp(-MAX_LOG_RATE, MAX_LOG_RATE)

    def _terms(self, output: Tensor) -> tuple[Tensor, Tensor]:
        log_r = self._log_r()
        u = log_rate(output) - log_r
        return F.logsigmoid(u), F.softplus(u) @ log_r.exp()

    def _constant(self, x: Tensor) -> Tensor:
        r = self._log_r().double().exp()  # of large r float32 would keep no difference
        return _gamma_terms(x, r)


class MultinomialLikelihood(_Counts):
    """p(x|z) = n!/Π_p x_p! Π_p π_p^x_p,   π = softmax(output),   n = Σ_p x_p.

    The length n of a row is given, not modeled: likelihoods are those of rows of that length, a row
    without counts has ln p = 0, `mean` gives the shares π, and `sample` a row of one count.

    Example:
        >>> likelihood = MultinomialLikelihood()
        >>> likelihood.log_prob(torch.zeros(1, 1, 2), torch.tensor([[1.0, 1.0]])).exp()
        tensor([[0.5000]])

    Source: Miao et al., "Neural Variational Inference for Text Processing" (ICML 2016).
    """

    spec: ClassVar[LikelihoodSpec] = LikelihoodSpec("multinomial")

    def mean(self, output: Tensor) -> Tensor:
        """Return π, the share of each column."""
        return torch.softmax(output, -1)

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return rows of one count."""
        shares = self.mean(output.detach())
        drawn = torch.multinomial(shares.flatten(0, -2), 1, generator=generator)
        return torch.zeros_like(shares).scatter(-1, drawn.reshape(*shares.shape[:-1], 1), 1)

    def _terms(self, output: Tensor) -> tuple[Tensor, float]:
        return F.log_softmax(output, -1), 0.0

    def _constant(self, x: Tensor) -> Tensor:
        return torch.lgamma(x.sum(-1) + 1) + _gamma_terms(x)


def log_rate(output: Tensor) -> Tensor:
    """Return ln λ = 20 − softplus(20 − output)."""
    # with torch's own threshold of 20 there would be a step at an output of 0
    return MAX_LOG_RATE - F.softplus(MAX_LOG_RATE - output, threshold=40)


def drawn_counts(rate: Tensor, r: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return counts of a mean and a variance of rate + rate²/r."""
    gamma = torch._standard_gamma(r.expand(rate.shape).contiguous(), generator=generator)
    return torch.poisson(gamma * rate / r, generator=generator)


def _gamma_terms(x: Tensor, r: Tensor | None = None) -> Tensor:
    """Σ_p (ln Γ(x_p + r_p)/Γ(r_p) − ln x_p!), without r the last term alone, ``[B]``.

    It is formed in float64. On a CPU only counts that are not 0 are looked at, which are few; a GPU
    would have to wait for their number.
    """
    rows, k = None, x
    if x.device.type == "cpu":
        rows, columns = x.nonzero(as_tuple=True)
        k, r = x[rows, columns], None if r is None else r[columns]
    terms = -torch.lgamma(k.double() + 1)
    if r is not None:
        terms = terms + torch.lgamma(k + r) - torch.lgamma(r)
    sums = terms.sum(-1) if rows is None else terms.new_zeros(len(x)).index_add(0, rows, terms)
    return sums.to(x.dtype)
