"""8-bit values as counts: a Beta-distributed share of 255."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor

from discretevae.config import LikelihoodSpec
from discretevae.likelihoods.eight_bit import LEVELS, TOP, EightBit, levels

MAX_LOG_CONCENTRATION = 8.0
"""Beyond α + β = e⁸ the masses are those of a binomial to within 5 % of its width."""

_SHIFT = 4
"""ln Γ(z) = ln Γ(z + 4) − ln z(z + 1)(z + 2)(z + 3), and with z ≥ 1 Stirling's series is good."""

_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
"""ln Γ(z) − (z − ½) ln z + z − ½ ln 2π = Σ_j c_j z^{1 − 2j}: 2 terms leave 3e-7 at z = 5, 6 leave
5e-12."""


@dataclass(frozen=True)
class BetaBinomialLikelihood(EightBit):
    """p(k|z) = C(255, k) B(k + α, 255 − k + β) / B(α, β) for x = k/255, k = 0 … 255.

    A count of 255 trials whose chance of success is drawn from Beta(α, β). With α, β < 1 the
    masses pile up at both ends, as the pixels of a drawing do; with α = β = 1 they are uniform.

        α = s σ(l),   β = s σ(−l),   ln s = 8 − softplus(8 − c),   E[x|z] = σ(l)

    Channels: the logit l of the mean; c, the logarithm of the concentration s = α + β, which
    levels off at s = e⁸.

    ln p is formed from ln α and ln β, so that both may vanish, and from the logarithms of ratios,
    so that float32 keeps what large ln Γ would cancel; its gradient, digamma functions, is formed
    beside it.

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

    def _log_mass(
        self, output: Tensor, x: Tensor, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """ln p(k) of ``[R, 2, P]``, ``[R, P]``, and its derivatives.

        From Γ(α) = Γ(1 + α)/α the parts that α → 0 or β → 0 make infinite are logarithms alone:

            ln p = ln C(255, k) + [k > 0] ln σ(l) + [k < 255] ln σ(−l) + [0 < k < 255] ln s
                 + ln B̃(a₁, b₁, 255 + s) − ln B̃(1 + α, 1 + β, 1 + s),
            B̃(a, b, c) = Γ(a) Γ(b) / Γ(c),   a₁ = max(k, 1) + α,   b₁ = max(255 − k, 1) + β
        """
        logit, raw = output.unbind(1)
        k = levels(x)
        log_p, log_q, log_s = _logarithms(logit, raw)
        p, q, s = log_p.exp(), log_q.exp(), log_s.exp()
        alpha, beta = s * p, s * q
        n_terms = 6 if output.dtype == torch.float64 else 2

        # the five arguments that are to be raised by 4, at 1.5 above themselves: the middle of the
        # four factors, whose product is then a polynomial in the square
        a, b = k.clamp(min=1) + alpha, (TOP - k).clamp(min=1) + beta
        y = torch.stack((a, b, 1 + alpha, 1 + beta, 1 + s)) + 1.5
        square = y * y
        product = (square - 0.25) * (square - 2.25)
        z = y + (_SHIFT - 1.5)
        r = z.reciprocal()
        a1, b1, a0, b0, s0 = z
        s1 = s + TOP  # large enough as it is
        r1 = s1.reciprocal()

        log_a1, log_b1, log_s1 = (a1 / s1).log(), (b1 / s1).log(), s1.log()
        log_a0, log_b0, log_s0 = (a0 / s0).log(), (b0 / s0).log(), s0.log()
        above, below = k.clamp(max=1), (TOP - k).clamp(max=1)
        either = above + below
        inside = either - 1
        tail = _horner(r * r, _STIRLING[:n_terms]) * r
        tail1 = _horner(r1 * r1, _STIRLING[:2]) * r1
        upper = _log_beta(a1, b1, s1, log_a1, log_b1) + tail[0] + tail[1] - tail1
        lower = _log_beta(a0, b0, s0, log_a0, log_b0) + tail[2] + tail[3] - tail[4]
        # a + b − c without the rounding of large a, b, c: it multiplies a logarithm
        logs = (2 * _SHIFT + 1.5 - either) * log_s1 - (_SHIFT + 0.5) * log_s0
        shifted = (product[2] / product[0] * (product[3] / product[1]) / product[4]).log()

        binomials = _log_binomials(k.dtype, k.device).index_select(0, k.int().flatten())
        value = binomials.view_as(k) + upper - lower + logs
        value = value + shifted + above * log_p + below * log_q + inside * log_s
        if not with_gradient:
            return value, None

        # ψ(z) less ln z, of which the ratios are at hand
        psi = _psi_less_log(r, n_terms) - (square * 4 - 5) * y / product
        common = psi[4] - _psi_less_log(r1, 2)
        to_alpha = log_a1 - log_a0 + psi[0] - psi[2] + common
        to_beta = log_b1 - log_b0 + psi[1] - psi[3] + common
        to_logit = (to_alpha - to_beta) * (alpha * q) + above * q - below * p
        to_log_s = to_alpha * alpha + to_beta * beta + inside
        return value, torch.stack((to_logit, to_log_s * (log_s - raw).exp()), 1)

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


def _log_beta(a: Tensor, b: Tensor, c: Tensor, log_a: Tensor, log_b: Tensor) -> Tensor:
    """Stirling's leading terms of ln Γ(a) Γ(b) / Γ(c) from ln a/c and ln b/c.

    Without (a + b − c − ½) ln c.
    """
    return (a - 0.5) * log_a + (b - 0.5) * log_b - (a + b - c)


def _psi_less_log(r: Tensor, n_terms: int) -> Tensor:
    """ψ(z) − ln z = −½ r − Σ_j (2j − 1) c_j r^{2j} for r = 1/z."""
    coefficients = tuple((2 * j + 1) * c for j, c in enumerate(_STIRLING[:n_terms]))
    return -r * (_horner(r * r, coefficients) * r + 0.5)


def _horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    *others, last = coefficients
    result = x * last + others.pop()
    while others:
        result = result * x + others.pop()
    return result


@functools.cache
def _log_binomials(dtype: torch.dtype, device: torch.device) -> Tensor:
    """ln C(255, k), ``[256]``."""
    k = torch.arange(LEVELS, dtype=torch.float64)
    log_factorials = torch.lgamma(k + 1)
    result = log_factorials[-1] - log_factorials - log_factorials.flip(0)
    return result.to(dtype=dtype, device=device)
