"""The score function with baselines: what the paper's estimator lacks.

    ∂/∂η E_q f = E_q[(f(z) − b) ∂ln q(z)/∂η]   for every b that does not depend on z

because E_q[∂ln q/∂η] = 0. A good b removes most of the variance: the part that comes from the size
of f rather than from its differences. The decoder's gradient, ∂f/∂θ_D averaged over the draws,
needs no baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from discretevae.config.checks import SHARE, an_int
from discretevae.estimators.base import (
    EVERY_KIND,
    Estimate,
    Estimator,
    Integrand,
    LearnedEstimator,
    NetworkEstimator,
    injected,
    score_gradient,
)
from discretevae.families import Family


@dataclass(frozen=True, kw_only=True)
class RLOO(Estimator):
    """Leave-one-out: each of S samples takes the mean of the other S − 1 for its baseline.

        ∂/∂η ≈ 1/S Σ_s (f_s − 1/(S−1) Σ_{r≠s} f_r) ∂ln q(z_s)/∂η
             = 1/(S−1) Σ_s (f_s − f̄) ∂ln q(z_s)/∂η

    Unbiased; nothing to tune; exactly zero for constant f. Source: Salimans & Knowles 2014;
    Kool, van Hoof & Welling 2019, eq. 6.

    Args:
        samples: S, at least 2.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> class Constant:
        ...     def __call__(self, z):
        ...         return torch.full(z.shape[:2], -3.0)
        >>> eta = torch.zeros(1, 2, requires_grad=True)
        >>> generator = torch.Generator().manual_seed(0)
        >>> estimate = RLOO()(Bernoulli(2), eta, Constant(), generator=generator)
        >>> torch.autograd.grad(estimate.surrogate.sum(), eta)[0]
        tensor([[0., 0.]])
    """

    name = "rloo"
    is_unbiased = True
    kinds = EVERY_KIND

    samples: int = field(default=2, metadata=an_int(2))

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw S codes per row and score each against the others."""
        z = family.sample(eta, self.samples, generator=generator).detach()
        fz = f(z)
        value = fz.detach().mean(0)
        advantage = (fz.detach() - value) * (self.samples / (self.samples - 1))
        gradient = score_gradient(family, eta, z, advantage)
        return injected(fz, eta, gradient)


@dataclass(eq=False, kw_only=True)
class EMA(LearnedEstimator):
    """A running average of f over past batches for a baseline.

    b ← decay · b + (1 − decay) · mean f after each step, so that b never depends on the z that it
    is compared with. Unbiased; one evaluation; removes the constant part of f only, not what
    differs from row to row.

    Args:
        samples: M, samples per row.
        decay: in [0, 1).

    Example:
        >>> EMA(decay=0.9).evaluations
        1
    """

    name = "ema"
    is_unbiased = True
    kinds = EVERY_KIND

    samples: int = field(default=1, metadata=an_int(1))
    decay: float = field(default=0.99, metadata=SHARE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.average: Tensor
        self.is_warm: Tensor
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("is_warm", torch.zeros((), dtype=torch.bool))

    def forward(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw M codes per row, compare f with the average so far, then move the average."""
        z = family.sample(eta, self.samples, generator=generator).detach()
        fz = f(z)
        value = fz.detach().mean(0)
        gradient = score_gradient(family, eta, z, fz.detach() - self.average)
        estimate = injected(fz, eta, gradient)
        if self.training:
            # the first batch sets the average; starting from 0 would take 1/(1 − decay) steps
            mean = value.mean().to(self.average)
            moved = torch.lerp(mean, self.average, self.decay)
            self.average.copy_(torch.where(self.is_warm, moved, mean))
            self.is_warm.fill_(True)
        return estimate


@dataclass(eq=False, kw_only=True)
class NVIL(NetworkEstimator):
    """A learned baseline: a small network of η predicts f of the row.

    b(x) = C_ψ(η(x)), with C trained on the squared error (f(z) − b)². η stands for the row: it
    is what the encoder knows of it, it is at hand for any data, and it does not depend on z.
    Unbiased whatever C says. Source: Mnih & Gregor 2014, section 2.3. Unlike there, the learning
    signal is not divided by a running standard deviation, which would bias the gradient's length.

    Args:
        samples: M, samples per row.
        hidden: width of the network.

    Attributes:
        network: C; None until `prepare` or the first call, when the size of the code is known.

    Example:
        >>> NVIL(samples=2).evaluations
        2
    """

    name = "nvil"
    is_unbiased = True
    kinds = EVERY_KIND

    samples: int = field(default=1, metadata=an_int(1))
    hidden: int = field(default=128, metadata=an_int(1))

    def n_inputs(self, family: Family) -> int:
        """Return the number of natural parameters."""
        return math.prod(family.eta_shape)

    def forward(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw M codes per row and compare f with what the network predicts."""
        network = self.network_for(family, eta)
        z = family.sample(eta, self.samples, generator=generator).detach()
        fz = f(z)
        expected = network(eta.detach().flatten(1)).squeeze(1)
        gradient = score_gradient(family, eta, z, fz.detach() - expected.detach())
        error = (fz.detach() - expected).square().mean()
        return injected(fz, eta, gradient, control_loss=error)
