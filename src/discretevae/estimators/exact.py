"""Sums in place of samples: over every state of a small code, or over one variable at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from discretevae.estimators.base import (
    BITS,
    DISCRETE,
    PAIRS,
    Estimate,
    Estimator,
    Integrand,
    with_gradient_of,
)
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


@dataclass(frozen=True, kw_only=True)
class BitFlip(Estimator):
    """BitFlip-1: sums exactly over one bit, drawn anew for each code, with the others sampled.

        z ~ q,   j ~ uniform over the D bits
        ĝ_d = 1[d = j] D q_d(1 − q_d) (f(z[d←1]) − f(z[d←0]))

    `LocalExpectation` for a single bit, at two decoder rows instead of 1 + D. All but one
    coordinate are zero, so it varies much in the middle; but where q is near 0 or 1 its variance
    goes as (q(1 − q))², that of `DisARM` only as q(1 − q). Value and decoder's gradient are sums
    over the bit as well: q_j f(z[j←1]) + (1 − q_j) f(z[j←0]).

    Args:
        samples: decoder rows per data row, even: ``samples``/2 codes and bits are averaged.

    Example:
        >>> eta = torch.zeros(1, 1, requires_grad=True)
        >>> f, generator = lambda z: z.sum(-1), torch.Generator().manual_seed(0)
        >>> estimate = BitFlip()(Bernoulli(1), eta, f, generator=generator)
        >>> torch.autograd.grad(estimate.surrogate.sum(), eta)[0]     # a single bit: no noise
        tensor([[0.2500]])

    Source: Kunes, Yin, Land, Haviv, Pe'er & Tavaré, "Gradient Estimation for Binary Latent
    Variables via Gradient Variance Clipping" (AAAI 2023). Its sum for value and decoder is ours.
    """

    name = "bitflip"
    is_unbiased = True
    kinds = BITS

    samples: int = field(default=2, metadata=PAIRS)

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw ``samples``/2 codes per row, and score each with and without its own bit flipped."""
        self.require_kind(family)
        z = family.sample(eta, self.samples // 2, generator=generator)
        own = _one_bit_each(z, generator)
        fz = f(torch.cat((z, (z - own).abs()))).reshape(2, *z.shape[:2])
        q = family.mean(eta.detach())
        drawn = ((1 - (z - q).abs()) * own).sum(-1)  # q_j of the value that was drawn
        mean = (drawn * fz[0] + (1 - drawn) * fz[1]).mean(0)
        gap = (fz[0] - fz[1]).detach().unsqueeze(-1)
        gradient = family.n_variables * q * (1 - q) * (own * (2 * z - 1) * gap).mean(0)
        return Estimate(mean.detach(), with_gradient_of(mean, mean + (gradient * eta).sum(-1)))


def _one_bit_each(z: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return codes of the shape of z ``[m, B, D]`` with a single bit set, each alike likely."""
    u = torch.rand(z.shape[:2], dtype=z.dtype, device=z.device, generator=generator)
    place = (u * z.shape[-1]).long().clamp_max(z.shape[-1] - 1).unsqueeze(-1)
    return torch.zeros_like(z).scatter_(-1, place, 1.0)


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
    # not by one_hot, which waits for the device
    is_value = values.unsqueeze(-1) == torch.arange(k, device=z.device)
    others = is_value.to(z).permute(1, 2, 0, 3)  # [D, K−1, B, K]
    own = torch.eye(d, dtype=torch.bool, device=z.device)[:, None, None, :, None]
    return torch.where(own, others.unsqueeze(3), z).flatten(0, 1)
