"""Reparametrized sampling for Gaussian codes: the estimator that the paper starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from discretevae.config.checks import an_int
from discretevae.estimators.base import Estimate, Estimator, Integrand, with_gradient_of
from discretevae.families import Family


@dataclass(frozen=True, kw_only=True)
class Reparametrized(Estimator):
    """z = μ + σε, ε ~ N(0, 1): the gradient flows through the sample (paper, section 2).

    ∂/∂η E_q f = E_ε[∂f/∂z · ∂z/∂η], estimated with M draws of ε. Gaussian codes only: bits and
    categories have no such z.

    Args:
        samples: M, samples of z per row.

    Example:
        >>> from discretevae.families import Gaussian
        >>> eta = torch.tensor([[[0.0, -0.5]]], requires_grad=True)
        >>> class Square:
        ...     def __call__(self, z):
        ...         return z.square().sum(-1)
        >>> generator = torch.Generator().manual_seed(0)
        >>> estimator = Reparametrized(samples=10_000)
        >>> estimate = estimator(Gaussian(1), eta, Square(), generator=generator)
        >>> abs(estimate.value.item() - 1) < 0.05                       # E z² = 1
        True
    """

    name = "reparametrized"
    is_unbiased = True
    kinds = ("gaussian",)

    samples: int = field(default=1, metadata=an_int(1))

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw M codes per row as functions of η and average f over them."""
        self.require_kind(family)
        mean = f(family.sample(eta, self.samples, generator=generator)).mean(0)
        return Estimate(mean.detach(), with_gradient_of(mean, mean))
