"""8-bit values as counts: a Beta-distributed share of 255."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor

from discretevae.config import LikelihoodSpec
from discretevae.likelihoods.eight_bit import LEVELS, TOP, EightBit

MAX_LOG_CONCENTRATION = 8.0
"""Beyond α + β = e⁸ the masses are those of a binomial to within 5 % of its width."""


@dataclass(frozen=True)
class BetaBinomialLikelihood(EightBit):
    """p(k|z) = C(255, k) B(k + α, 255 − k + β) / B(α, β) for x = k/255, k = 0 … 255.

    A count of 255 trials whose chance of success is drawn from Beta(α, β). With α, β < 1 the
    masses pile up at both ends, as the pixels of a drawing do; with α = β = 1 they are uniform.

        α = s σ(l),   β = s σ(−l),   ln s = 8 − softplus(8 − c),   E[x|z] = σ(l)

    Channels: the logit l of the mean; c, the logarithm of the concentration s = α + β, which
    levels off at s = e⁸.

    ln p is formed from ln α and ln β, so that both may vanish, and in float64, which keeps what
    large ln Γ cancel.

    Example:
        >>> likelihood = BetaBinomialLikelihood()
        >>> output = torch.tensor([[0.0, 0.6931]])                    # α = β = 1: ln 1/256
        >>> likelihood.log_prob(output, torch.tensor([[0.2]])).round(decimals=3)
        tensor([-5.5450])
        >>> likelihood.mean(output)
        tensor([[0.5000]])

    Source: Townsend, Bird & Barber, "Practical lossless compression with latent variables using
    bits back coding" (ICLR 2019), section 3.2, use it for MNIST. Implementations differ in how α
    and β follow from the outputs; two exponentials are common. Mean and concentration are kept
    apart so that `mean` and a start at the mean of the data have closed forms.
    """

    spec: ClassVar[LikelihoodSpec] = LikelihoodSpec("beta-binomial")
    channels: ClassVar[int] = 2

    def mean(self, output: Tensor) -> Tensor:
        """σ(l)."""
        return torch.sigmoid(output[..., : output.shape[-1] // 2])

    def output_for(self, mean: Tensor) -> Tensor:
        """Return the logit of the mean, kept 0.001 away from 0 and 1, and c = 0."""
        logits = torch.logit(mean, eps=1e-3)
        return torch.cat((logits, torch.zeros_like(logits)), -1)

    def _log_mass(self, output: Tensor, k: Tensor) -> Tensor:
        """Return ln p(k) of ``[..., 2, P]`` and ``[..., P]``, formed in float64: ``[..., P]``.

        From Γ(α) = Γ(1 + α)/α the parts that α → 0 or β → 0 make infinite are logarithms alone:

            ln p = ln C(255, k) + [k > 0] ln σ(l) + [k < 255] ln σ(−l) + [0 < k < 255] ln s
                 + ln B̃(a₁, b₁, 255 + s) − ln B̃(1 + α, 1 + β, 1 + s),
            B̃(a, b, c) = Γ(a) Γ(b) / Γ(c),   a₁ = max(k, 1) + α,   b₁ = max(255 − k, 1) + β
        """
        k = k.double()
        log_p, log_q, log_s = _logarithms(*output.double().unbind(-2))
        alpha, beta, s = (log_s + log_p).exp(), (log_s + log_q).exp(), log_s.exp()
        above, below = k.clamp(max=1), (TOP - k).clamp(max=1)
        binomial = math.lgamma(LEVELS) - torch.lgamma(k + 1) - torch.lgamma(LEVELS - k)
        ends = above * log_p + below * log_q + (above + below - 1) * log_s
        upper = _log_beta(k.clamp(min=1) + alpha, (TOP - k).clamp(min=1) + beta, TOP + s)
        value = binomial + ends + upper - _log_beta(1 + alpha, 1 + beta, 1 + s)
        return value.to(output.dtype)

    def _log_masses(self, parameters: Tensor) -> Tensor:
        """ln p(k) of every k, ``[2, *shape]`` to ``[256, *shape]``, without a Gamma function.

        p(k + 1)/p(k) = (255 − k)/(k + 1) · (k + α)/(254 − k + β): their logarithms are added up,
        and the sum of all p(k) is made one.
        """
        log_p, log_q, log_s = _logarithms(*parameters)
        alpha, beta = (log_s + log_p).exp(), (log_s + log_q).exp()
        k = torch.arange(TOP, dtype=alpha.dtype, device=alpha.device)
        k = k.reshape(-1, *[1] * alpha.ndim)
        within = k[1:-1]
        steps = torch.cat(
            (
                (log_s + log_p - (beta + (TOP - 1)).log()).unsqueeze(0),
                ((alpha + within) / (beta + (TOP - 1 - within))).log(),
                ((alpha + (TOP - 1)).log() - log_s - log_q).unsqueeze(0),
            )
        )
        sums = (steps + ((TOP - k) / (k + 1)).log()).cumsum(0)
        return torch.cat((torch.zeros_like(sums[:1]), sums)).log_softmax(0)


def _logarithms(logit: Tensor, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln σ(l), ln σ(−l) and ln s, exact to rounding however small they make α and β."""
    log_p = F.logsigmoid(logit)
    log_s = F.logsigmoid(raw - MAX_LOG_CONCENTRATION) + MAX_LOG_CONCENTRATION
    return log_p, log_p - logit, log_s


def _log_beta(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return ln Γ(a) Γ(b) / Γ(c)."""
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(c)
