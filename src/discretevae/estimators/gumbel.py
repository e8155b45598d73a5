"""Perturbed logits: the noise behind a discrete code, and the soft code it would give.

    x = η + G,   z = one_hot(argmax x) ~ q,   y = softmax(x/τ)       G_k ~ Gumbel
    bits:   x = η + L,   z = 1[x > 0] ~ q,   y = sigmoid(x/τ)        L ~ logistic

A logistic is the difference of two Gumbels, so that a bit is two categories. Either the noise is
drawn and the code follows, or the code is given and the noise is what can have led to it
(`conditional_logits`).

Sources: Jang, Gu & Poole, *Categorical Reparameterization with Gumbel-Softmax* (ICLR 2017);
Maddison, Mnih & Teh, *The Concrete Distribution* (ICLR 2017); given the code: Tucker, Mnih,
Maddison, Lawson & Sohl-Dickstein, *REBAR* (NeurIPS 2017).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor

from discretevae.families import Family


def standard_noise(
    family: Family, eta: Tensor, lead: tuple[int, ...], generator: torch.Generator | None
) -> Tensor:
    """Return Gumbel noise for categories, logistic for bits: ``[*lead, *eta.shape]``.

    η plus this noise has the hard code of q: argmax for categories, sign for bits.
    """
    u = torch.rand((*lead, *eta.shape), dtype=eta.dtype, device=eta.device, generator=generator)
    u = u.clamp_min(torch.finfo(u.dtype).tiny)  # u = 0 happens in single precision
    if family.spec.kind == "bernoulli":
        return u.log() - torch.log1p(-u)
    return -torch.log(-torch.log(u))


def conditional_logits(family: Family, eta: Tensor, z: Tensor, noise: Tensor) -> Tensor:
    """Return η + noise, given that its hard code is z ``[S, B, *z_shape]``; smooth in η.

        categories:  x_i = logsumexp(η) + G_i for z = e_i;  x_j = −ln(e^{−x_i} + e^{−(η_j + G_j)})
        bits:        x = ±softplus(L + softplus(±η)),  + for z = 1

    The largest of Gumbels is independent of who it is, and the others are truncated at it. For
    bits this is what ln(u/(1 − u)) + η becomes with u cut to the side of z, written so that nothing
    cancels or overflows.
    """
    if family.spec.kind == "bernoulli":
        sign = 2 * z - 1
        return sign * F.softplus(noise + F.softplus(sign * eta))
    top = torch.logsumexp(eta, -1, keepdim=True) + (z * noise).sum(-1, keepdim=True)
    others = -torch.logaddexp(-top, -(eta + noise))
    return torch.where(z > 0, top, others)


def pull_back(family: Family, y: Tensor, slope: Tensor, tau: float = 1.0) -> Tensor:
    """Return J(y)ᵀ slope: y ⊙ (slope − y·slope)/τ for categories, y(1 − y) slope/τ for bits.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> pull_back(Bernoulli(1), torch.tensor([0.5]), torch.tensor([4.0]))
        tensor([1.])
    """
    if family.spec.kind == "bernoulli":
        return y * (1 - y) * slope / tau
    return y * (slope - (y * slope).sum(-1, keepdim=True)) / tau
