"""ReinMax, straight-through of second order, and two ways to take noise from it.

With q = softmax(η), z ~ q, p_z = (q + z)/2, g = ∂f/∂z(z) and J(y) = diag(y) − y yᵀ,

    ReinMax:       (2 J(p_z) − ½ J(q))ᵀ g
    ReinMax-Rao:   (2 E[J(y) | z] − ½ J(q))ᵀ g,   y = softmax((ln p_z + G)/τ) whose argmax is z
    ReinMax-CV:    (2 J(p_z) − ½ J(q))ᵀ (g − c) + J(q)ᵀ c,   c from the other samples

Bits are two categories with logits (η, 0), as everywhere. One decoder pass each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor

from discretevae.config.checks import NOT_NEGATIVE, POSITIVE, an_int
from discretevae.estimators.gumbel import conditional_logits, pull_back, standard_noise
from discretevae.estimators.relaxation import Points, Relaxation
from discretevae.families import Family


@dataclass(frozen=True, kw_only=True)
class ReinMax(Relaxation):
    """Straight-through of second order: Heun's method in place of Euler's.

        z ~ q,   ĝ = 1/S Σ_s (2 J(p_s) − ½ J(q))ᵀ ∂f/∂z(z_s),   p_s = (softmax(η/τ) + z_s)/2,  τ = 1

    In expectation the difference f(e_i) − f(e_j) of two categories is replaced by the trapezoid
    ½ (∂f(e_i) + ∂f(e_j))·(e_i − e_j), which is exact for any f quadratic in z; straight-through is
    exact for linear f only. Bits are two categories with logits (η, 0).

    Args:
        samples: S, samples of z per row.
        tau: τ > 0 inside p; second order holds for 1, the authors also use a little more.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> class Square:                                          # f = (z − 0.4)²
        ...     def value_and_grad(self, z):
        ...         return (z - 0.4).square().sum(-1), 2 * (z - 0.4)
        >>> eta = torch.zeros(50_000, 1, requires_grad=True)
        >>> generator = torch.Generator().manual_seed(0)
        >>> ReinMax()(Bernoulli(1), eta, Square(), generator=generator).surrogate.sum().backward()
        >>> round(eta.grad.mean().item(), 2)                       # q(1 − q)(0.6² − 0.4²) = 0.05
        0.05

    Source: Liu, Dong, Liu, Yu & Gao, *Bridging Discrete and Backpropagation: Straight-Through and
    Beyond* (NeurIPS 2023). J is taken at temperature 1 in both terms, as there.
    """

    name = "reinmax"

    tau: float = field(default=1.0, metadata=POSITIVE)

    def _points(self, family: Family, eta: Tensor, generator: torch.Generator | None) -> Points:
        z = family.sample(eta, self.samples, generator=generator)
        return z, (family.mean(eta / self.tau) + z) / 2

    def _pulled_back(self, family: Family, eta: Tensor, y: Tensor, slope: Tensor) -> Tensor:
        return _heun(family, eta, pull_back(family, y, slope), slope)


@dataclass(frozen=True, kw_only=True)
class ReinMaxRao(Relaxation):
    """`ReinMax` whose first term is that of `GumbelRao`, at the logits ln p_z.

        z ~ q,   θ = ln p_z,   x_k = θ + G_k given that z is the argmax,   y_k = softmax(x_k/τ)
        ĝ = 1/S Σ_s (2/k Σ_k J(y_sk)/τ − ½ J(q))ᵀ ∂f/∂z(z_s)

    τ trades bias for noise: a large one has little noise. The expectation is not that of `ReinMax`:
    at any τ it has a bias of its own, and is not exact for quadratic f.

    Args:
        samples: S, samples of z per row.
        tau: τ > 0 of the first term.
        resamples: k, conditional draws of the Gumbel noise per code.

    Example:
        >>> ReinMaxRao(tau=0.7, resamples=100).evaluations
        1

    Source: Wang & Bui, *Beyond ReinMax: Low-Variance Gradient Estimators for Discrete Latent
    Variables* (2026). Formulas are derived anew from the idea, for the printed ones are said to
    have misprints: the second term is at η, not at θ. Bits are an addition.
    """

    name = "reinmax-rao"

    tau: float = field(default=1.0, metadata=POSITIVE)
    resamples: int = field(default=10, metadata=an_int(1))

    def _points(self, family: Family, eta: Tensor, generator: torch.Generator | None) -> Points:
        z = family.sample(eta, self.samples, generator=generator)
        noise = standard_noise(family, eta, (self.resamples, self.samples), generator)
        x = conditional_logits(family, _logits_of_midpoint(family, eta, z), z, noise)
        return z, family.mean(x / self.tau)

    def _pulled_back(self, family: Family, eta: Tensor, y: Tensor, slope: Tensor) -> Tensor:
        return _heun(family, eta, pull_back(family, y, slope, self.tau), slope)


@dataclass(frozen=True, kw_only=True)
class ReinMaxCV(Relaxation):
    """`ReinMax` with a control variate: each slope is compared with the mean of the others.

        H(z) = 2 J(p_z) − ½ J(q),   E_q H(z) = J(q),   c_s = scale · 1/(S−1) Σ_{r≠s} ∂f/∂z(z_r)
        ĝ = 1/S Σ_s [H(z_s)ᵀ (∂f/∂z(z_s) − c_s) + J(q)ᵀ c_s]

    Its expectation is that of `ReinMax` to the digit, for c_s does not depend on z_s and E p_z p_zᵀ
    = ¼ diag(q) + ¾ q qᵀ. For linear f and ``scale`` = 1 it has no noise at all;
    where slopes at two codes differ much, c_s adds some.

    Args:
        samples: S ≥ 2, samples of z per row.
        scale: how much of the others' mean is taken; 0 is `ReinMax`.

    Example:
        >>> ReinMaxCV().evaluations
        2

    Source: the name and the aim are those of Wang & Bui (2026); the control variate is ours. Theirs
    is the difference of the Gumbel-Rao and the straight-through Gumbel gradient at ln p_z, times a
    constant. Given z, `ReinMax` does not vary: a difference of mean zero given z only adds variance
    to it, any other adds a bias.
    """

    name = "reinmax-cv"

    samples: int = field(default=2, metadata=an_int(2))
    scale: float = field(default=0.5, metadata=NOT_NEGATIVE)

    def _points(self, family: Family, eta: Tensor, generator: torch.Generator | None) -> Points:
        z = family.sample(eta, self.samples, generator=generator)
        return z, (family.mean(eta) + z) / 2

    def _pulled_back(self, family: Family, eta: Tensor, y: Tensor, slope: Tensor) -> Tensor:
        others = self.scale * (slope.sum(0) - slope) / (self.samples - 1)
        rest = slope - others
        known = pull_back(family, family.mean(eta), others)
        return _heun(family, eta, pull_back(family, y, rest), rest) + known


def _heun(family: Family, eta: Tensor, at_midpoint: Tensor, slope: Tensor) -> Tensor:
    return 2 * at_midpoint - 0.5 * pull_back(family, family.mean(eta), slope)


def _logits_of_midpoint(family: Family, eta: Tensor, z: Tensor) -> Tensor:
    """Return logits of p_z = (q + z)/2, finite where q is saturated."""
    if family.spec.kind == "bernoulli":
        sign = 2 * z - 1
        of_drawn = torch.log1p(torch.sigmoid(sign * eta))
        return sign * (of_drawn - F.logsigmoid(-sign * eta))
    log_q = torch.log_softmax(eta, -1)
    return torch.where(z > 0, torch.log1p(log_q.exp()), log_q)
