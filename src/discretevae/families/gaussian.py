"""Real numbers: D independent normal variables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from discretevae.config import LatentSpec
from discretevae.families.base import Family


@dataclass(frozen=True)
class Gaussian(Family):
    """D independent normals; ``eta`` ``[B, D, 2]`` is (μ/σ², −1/(2σ²)), z ``[S, B, D]`` is real.

    T(z) = (z, z²), A(η) = Σ_d −η₁²/(4η₂) − ½ ln(−2η₂), h(z) = (2π)^{−D/2}. The network returns
    (μ, ln σ²), from which `natural_parameters` forms η.

    Args:
        n_variables: D.

    Example:
        >>> family = Gaussian(1)
        >>> eta = family.natural_parameters(torch.tensor([[1.5, 0.0]]))   # μ = 1.5, σ = 1
        >>> eta
        tensor([[[ 1.5000, -0.5000]]])
        >>> family.kl(eta, family.fixed_eta())                            # ½ μ²
        tensor([1.1250])
    """

    n_variables: int

    @cached_property
    def spec(self) -> LatentSpec:
        """Return ``gaussian:D``."""
        return LatentSpec("gaussian", self.n_variables)

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """Return ``(D, 2)``."""
        return (self.n_variables, 2)

    @property
    def z_shape(self) -> tuple[int, ...]:
        """Return ``(D,)``."""
        return (self.n_variables,)

    def natural_parameters(self, raw: Tensor) -> Tensor:
        """(μ, ln σ²) ``[B, 2D]`` to η = (μ/σ², −1/(2σ²)) ``[B, D, 2]``."""
        mu, log_var = raw.reshape(*raw.shape[:-1], self.n_variables, 2).unbind(-1)
        precision = torch.exp(-log_var)
        return torch.stack((mu * precision, -0.5 * precision), -1)

    def fixed_eta(self) -> Tensor:
        """Return the standard normal: (0, −½) for each variable."""
        return torch.tensor([0.0, -0.5]).expand(self.eta_shape).contiguous()

    def moments(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """(μ, σ²) of each variable, each ``[B, D]``."""
        var = -0.5 / eta[..., 1]
        return eta[..., 0] * var, var

    def log_normalizer(self, eta: Tensor) -> Tensor:
        """Return A(η) = Σ_d μ²/(2σ²) + ln σ, ``[B]``."""
        mu, var = self.moments(eta)
        return (0.5 * mu * eta[..., 0] + 0.5 * var.log()).sum(-1)

    def mean(self, eta: Tensor) -> Tensor:
        """Return ∇A(η) = (μ, μ² + σ²), ``[B, D, 2]``."""
        mu, var = self.moments(eta)
        return torch.stack((mu, mu.square() + var), -1)

    def sufficient_statistics(self, z: Tensor) -> Tensor:
        """Return T(z) = (z, z²), ``[S, B, D, 2]``."""
        return torch.stack((z, z.square()), -1)

    def log_prob(self, eta: Tensor, z: Tensor) -> Tensor:
        """Return ln q(z) = Σ_d −(z_d − μ_d)²/(2σ_d²) − ½ ln(2π σ_d²), ``[S, B]``."""
        mu, var = self.moments(eta)
        return (-0.5 * ((z - mu).square() / var + var.log() + math.log(2 * math.pi))).sum(-1)

    def entropy(self, eta: Tensor) -> Tensor:
        """Return H = Σ_d ½ ln(2πe σ_d²), ``[B]``."""
        _, var = self.moments(eta)
        return (0.5 * (var.log() + math.log(2 * math.pi * math.e))).sum(-1)

    def kl_per_variable(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """Return KL(q_d ‖ p_d), ``[B, D]``."""
        mu, var = self.moments(eta)
        prior_mu, prior_var = self.moments(prior_eta)
        ratio = var / prior_var
        return 0.5 * (ratio - 1 - ratio.log() + (mu - prior_mu).square() / prior_var)

    def sample(self, eta: Tensor, n_samples: int, *, generator: torch.Generator | None) -> Tensor:
        """Return z = μ + σε, ε ~ N(0, 1), ``[S, B, D]``; differentiable in ``eta``."""
        mu, var = self.moments(eta)
        noise = torch.randn(
            (n_samples, *mu.shape), dtype=eta.dtype, device=eta.device, generator=generator
        )
        return mu + var.sqrt() * noise

    def mode(self, eta: Tensor) -> Tensor:
        """μ, ``[B, D]``."""
        return self.moments(eta)[0]

    def to_codes(self, z: Tensor) -> Tensor:
        """Return the real numbers themselves, ``[N, D]``."""
        return z

    def from_codes(self, codes: Tensor) -> Tensor:
        """Return the real numbers themselves, ``[N, D]``."""
        return codes.to(torch.get_default_dtype())
