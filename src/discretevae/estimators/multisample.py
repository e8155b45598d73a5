"""Gradients of the K-sample bound, whose K draws share one logarithm."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from discretevae.config.checks import an_int
from discretevae.estimators.base import (
    EVERY_KIND,
    Estimate,
    Estimator,
    Integrand,
    effective_sample_size,
    with_gradient_of,
)
from discretevae.families import Family


@dataclass(frozen=True, kw_only=True)
class VIMCO(Estimator):
    """Each of K samples is compared with what the bound would be without it.

        L̂ = ln 1/K Σ_k w_k,   ln w_k = f(z_k) − ln q(z_k),   z_k ~ q
        ∂L ≈ Σ_k (L̂ − L̂_{−k}) ∂ln q(z_k) + Σ_k w_k/Σ_j w_j ∂ln w_k

    where L̂_{−k} has the mean of the other K − 1 log-weights in place of ln w_k. Unbiased for the
    gradient of E L̂, because L̂_{−k} does not depend on z_k.

    Unlike the other estimators it estimates the K-sample bound, not E_q f: f is ln p(x, z) =
    ln p(x|z) + ln p(z), and ln q is its own business. It belongs to the objective
    ``multi-sample``. Source: Mnih & Rezende 2016, eq. 9 and 10 (the geometric mean).

    Args:
        samples: K, at least 2.

    Diagnostics: ``ess``, the effective sample size of the weights w.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> class Joint:                                           # p(x, z) = ½ · 2^{−1}
        ...     def __call__(self, z):
        ...         return torch.full(z.shape[:2], math.log(0.25))
        >>> eta = torch.zeros(1, 1, requires_grad=True)
        >>> generator = torch.Generator().manual_seed(0)
        >>> VIMCO(samples=3)(Bernoulli(1), eta, Joint(), generator=generator).value   # ln p(x)
        tensor([-0.6931])
    """

    name = "vimco"
    is_unbiased = True
    kinds = EVERY_KIND

    samples: int = field(default=5, metadata=an_int(2))

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw K codes per row and score each by what it adds to the bound."""
        k = self.samples
        z = family.sample(eta, k, generator=generator).detach()
        log_q = family.log_prob(eta, z)
        fz = f(z)
        log_weight = fz - log_q
        bound = torch.logsumexp(log_weight, 0) - math.log(k)
        fixed = log_weight.detach()
        others = (fixed.sum(0) - fixed) / (k - 1)
        # [K, K, B]: row k holds all log-weights with the k-th replaced
        replaced = torch.where(
            torch.eye(k, dtype=torch.bool, device=z.device).unsqueeze(-1), others, fixed
        )
        without = torch.logsumexp(replaced, 1) - math.log(k)
        term = bound + ((bound.detach() - without) * log_q).sum(0)
        diagnostics = {"ess": effective_sample_size(fixed)}
        return Estimate(bound.detach(), with_gradient_of(bound, term), diagnostics)
