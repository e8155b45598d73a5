"""Sums in place of samples: over every state of a small code, or over one variable at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from discretevae.estimators.base import DISCRETE, Estimate, Estimator, Integrand, with_gradient_of
from discretevae.families import Bernoulli, Family


@dataclass(frozen=True, kw_only=True)
class Exact(Estimator):
    """E_q f = Σ_n q(z_n) f(z_n) over every state of the code: exact value, exact gradients.

    The decoder sees each state once, not once per row: with l_n = decoder(z_n), ln p(x_b|z_n) for
    all rows and states is one matrix product. For one variable of 100 categories and a batch of
    2048 that is a twentieth of the decoder rows of a single Monte-Carlo sample. Codes of up to
    4,096 states.

    Raises:
        ConfigError: the code has more states, or is Gaussian.

    Example:
        >>> from discretevae.families import Categorical
        >>> eta = torch.zeros(1, 1, 4, requires_grad=True)
        >>> class Number:
        ...     def table(self):
        ...         return torch.arange(4.0).unsqueeze(0)
        >>> Exact()(Categorical(1, 4), eta, Number(), generator=None).value   # (0 + 1 + 2 + 3)/4
        tensor([1.5000])
    """

    name = "exact"
    is_unbiased = True
    kinds = DISCRETE
    # a product of each row with the table stands for a decoder row
    evaluations = 1

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Sum over all states; ``generator`` is not drawn from."""
        self.require_enumerable(family)
        mean = (family.log_prob_table(eta).exp() * f.table()).sum(1)
        return Estimate(mean.detach(), with_gradient_of(mean, mean))


@dataclass(frozen=True, kw_only=True)
class LocalExpectation(Estimator):
    """Sums exactly over one variable at a time, with the others sampled.

    For one draw z ~ q, and z[d←k] the same with variable d set to k:

        ∂/∂η_dk E_q f ≈ Σ_j ∂q_dj/∂η_dk f(z[d←j]),   for every d with the same z

    Unbiased because z without variable d does not depend on η_d. Each variable has K − 1 other
    values, so a row costs 1 + D(K − 1) decoder rows: for short codes, or as a yardstick of how
    little variance is possible with one draw. The decoder's gradient is that of f(z).

    Source: Titsias & Lázaro-Gredilla 2015, "Local Expectation Gradients", eq. 9.

    Example:
        >>> eta = torch.zeros(1, 2, requires_grad=True)
        >>> class Sum:
        ...     def __call__(self, z):
        ...         return z.sum(-1)
        >>> generator = torch.Generator().manual_seed(0)
        >>> estimate = LocalExpectation()(Bernoulli(2), eta, Sum(), generator=generator)
        >>> torch.autograd.grad(estimate.surrogate.sum(), eta)[0]     # q(1 − q), without noise
        tensor([[0.2500, 0.2500]])
    """

    name = "local-expectation"
    is_unbiased = True
    kinds = DISCRETE
    evaluations = 2  # of a single bit

    def evaluations_for(self, family: Family) -> int:
        """Return 1 + D(K − 1)."""
        return 1 + family.n_variables * (_n_values(family) - 1)

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw one z per row and evaluate f wherever a single variable of it is changed."""
        self.require_kind(family)
        z = family.sample(eta, 1, generator=generator)
        fz = f(z)
        with torch.no_grad():
            scores = f(_changed_codes(family, z[0]))
        # [B, D, K]: f with variable d set to each of its values; the drawn value is f(z) itself
        one_hot = torch.stack((1 - z[0], z[0]), -1) if isinstance(family, Bernoulli) else z[0]
        values = fz[0].detach().reshape(-1, 1, 1) * one_hot
        others = scores.T.reshape(len(eta), family.n_variables, -1)
        values = values.masked_scatter(one_hot == 0, others.to(values))
        logits = torch.stack((torch.zeros_like(eta), eta), -1) if eta.ndim == 2 else eta
        local = (torch.softmax(logits, -1) * values).sum((-1, -2))
        return Estimate(fz[0].detach(), with_gradient_of(fz[0], fz[0] + local))


def _n_values(family: Family) -> int:
    return 2 if isinstance(family, Bernoulli) else family.z_shape[-1]


def _changed_codes(family: Family, z: Tensor) -> Tensor:
    """Return the codes that differ from z ``[B, …]`` in one variable, ``[D(K−1), B, …]``."""
    d, k = family.n_variables, _n_values(family)
    if isinstance(family, Bernoulli):
        return (z - torch.eye(d, dtype=z.dtype, device=z.device).unsqueeze(1)).abs()
    # the other values in ascending order: those below the drawn one, then those above
    values = torch.arange(k - 1, device=z.device).expand(*z.shape[:2], -1)
    values = values + (values >= z.argmax(-1, keepdim=True)).long()
    others = torch.nn.functional.one_hot(values, k).to(z).permute(1, 2, 0, 3)  # [D, K−1, B, K]
    own = torch.eye(d, dtype=torch.bool, device=z.device)[:, None, None, :, None]
    return torch.where(own, others.unsqueeze(3), z).flatten(0, 1)
