"""The paper's estimator: E_q f by importance sampling, so that no gradient flows through a sample.

    L_I = 1/M Σ_m f(z_m) w_m,   w_m = q(z_m|x) / q_I(z_m),   z_m ~ q_I             (eq. 14, 15)
    ∂L_I/∂θ_E = 1/M Σ_m f(z_m) w_m ∂ln q(z_m|x)/∂θ_E                               (eq. 16)
    ∂L_I/∂θ_D = 1/M Σ_m w_m ∂f(z_m)/∂θ_D                                           (eq. 17)
    with q_I = q:  ∂L_I/∂θ_E = 1/M Σ_m f(z_m) (T(z_m) − ∇A(η)) ∂η/∂θ_E             (eq. 20, 26)

Equation 16 is written with ∂q = q ∂ln q. With q_I = q this is the score-function estimator
(REINFORCE) without a baseline.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from discretevae.config import LatentKind
from discretevae.config.checks import FRACTION, POSITIVE, an_int, one_of
from discretevae.errors import ConfigError
from discretevae.estimators.base import (
    DISCRETE,
    EVERY_KIND,
    Estimate,
    Estimator,
    Integrand,
    effective_sample_size,
    injected,
    score_gradient,
    with_gradient_of,
)
from discretevae.families import Family

Proposal = Literal["posterior", "uniform", "tempered", "mixture"]


@dataclass(frozen=True, kw_only=True)
class Importance(Estimator):
    """Importance sampling of E_q f from any proposal q_I of q's own family (Bartler et al.).

    Unbiased for every proposal that reaches all states, whatever it is; how much it varies is the
    proposal's doing. Weights are formed in log space. The decoder's gradient carries the weights,
    as equation 17 says.

    Args:
        samples: M, samples of z per row.
        proposal: where z is drawn from:
            ``posterior``: q itself, ξ = η (equations 20 and 26; all weights are 1);
            ``uniform``: every state alike, ξ = 0;
            ``tempered``: ξ = τη, flatter than q for τ < 1;
            ``mixture``: with probability ``alpha`` uniform, else q. Weights stay below 1/(1 − α).
        tau: τ of ``tempered``, > 0.
        alpha: weight of the uniform part of ``mixture``, in (0, 1).
        xi: ξ itself in place of ``proposal``: a tensor that broadcasts against η, or a function of
            the (detached) η. No gradient flows into it.

    Diagnostics: ``ess``, the effective sample size (Σ_m w_m)² / Σ_m w_m² of each row, from 1 to M.

    Raises:
        ConfigError: an option is out of range, or the proposal does not exist for the family.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> estimator = Importance(samples=4, proposal="uniform")
        >>> eta = torch.zeros(1, 2, requires_grad=True)
        >>> class Sum:
        ...     def __call__(self, z):
        ...         return z.sum(-1)
        >>> generator = torch.Generator().manual_seed(0)
        >>> estimate = estimator(Bernoulli(2), eta, Sum(), generator=generator)
        >>> estimate.surrogate.shape, estimate.diagnostics["ess"]
        (torch.Size([1]), tensor([4.]))
    """

    name = "importance"
    is_unbiased = True

    samples: int = field(default=1, metadata=an_int(1))
    proposal: Proposal = field(default="posterior", metadata=one_of(get_args(Proposal)))
    tau: float = field(default=0.5, metadata=POSITIVE)
    alpha: float = field(default=0.1, metadata=FRACTION)
    xi: Tensor | Callable[[Tensor], Tensor] | None = None

    @property
    def kinds(self) -> tuple[LatentKind, ...]:
        """All three; nothing is uniform over the real line, so two proposals are discrete only."""
        if self.xi is None and self.proposal in ("uniform", "mixture"):
            return DISCRETE
        return EVERY_KIND

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw M codes per row from q_I, and weigh them by q/q_I."""
        if family.spec.kind not in self.kinds:
            raise ConfigError(
                f"proposal {self.proposal!r} does not exist for a {family.spec.kind} code. "
                "Choose posterior or tempered."
            )
        z, log_proposal = self._draw(family, eta.detach(), generator)
        fz = f(z)
        if log_proposal is None:
            ess = torch.full_like(fz[0].detach(), self.samples)
            gradient = score_gradient(family, eta, z, fz)
            return injected(fz, eta, gradient, diagnostics={"ess": ess})
        log_q = family.log_prob(eta, z)
        log_weight = log_q.detach() - log_proposal
        weight = log_weight.exp()
        weighted = weight * fz.detach()
        term = (weight * fz + weighted * log_q).mean(0)
        value = weighted.mean(0)
        ess = effective_sample_size(log_weight)
        return Estimate(value, with_gradient_of(value, term), {"ess": ess})

    def _draw(
        self, family: Family, eta: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return z and ln q_I(z) for detached η, or None for the latter where q_I is q itself."""
        uniform = torch.zeros_like(eta)
        xi = {"tempered": self.tau * eta, "uniform": uniform}.get(self.proposal)
        if self.xi is not None:
            given = self.xi(eta) if callable(self.xi) else self.xi
            xi = given.detach().to(eta).expand_as(eta)
        if xi is not None:
            z = family.sample(xi, self.samples, generator=generator).detach()
            return z, family.log_prob(xi, z)
        if self.proposal == "posterior":
            return family.sample(eta, self.samples, generator=generator).detach(), None
        from_q = family.sample(eta, self.samples, generator=generator)
        from_uniform = family.sample(uniform, self.samples, generator=generator)
        choice = torch.rand(
            from_q.shape[:2], dtype=eta.dtype, device=eta.device, generator=generator
        )
        is_uniform = choice < self.alpha
        z = torch.where(is_uniform.reshape(*is_uniform.shape, *[1] * len(family.z_shape)),
                        from_uniform, from_q)  # fmt: skip
        log_mixture = torch.logaddexp(
            family.log_prob(eta, z) + math.log1p(-self.alpha),
            family.log_prob(uniform, z) + math.log(self.alpha),
        )
        return z, log_mixture
