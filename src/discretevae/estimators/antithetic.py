"""Antithetic estimators for bits: samples that are coupled so that their differences tell more.

Two codes z, z̃ are both draws from q, but of one coupling: where one bit is rare in z it is rarer
still in z̃. Only differences of f enter, so a constant in f never reaches the encoder:

    ∂E f/∂η_d = p_d(1 − p_d) E[f(z_d=1) − f(z_d=0)],   p = σ(η)
    E[½ (f(z) − f(z̃)) (z_d − z̃_d)] = P(z_d=1, z̃_d=0) E[f(z_d=1) − f(z_d=0)]

The second line holds for every exchangeable coupling that is independent between bits, because
the other bits of z and of z̃ both follow q. With ρ_d the correlation of z_d and z̃_d,
P(1, 0) = p_d(1 − p_d)(1 − ρ_d): dividing by 1 − ρ_d makes any such pair unbiased.

Every coupled code follows q by itself, so the mean of f and of ∂f/∂θ_D over all of them is
unbiased whatever the coupling.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from discretevae.config.checks import an_int, one_of
from discretevae.estimators.base import BITS, PAIRS, Estimate, Estimator, Integrand, injected
from discretevae.families import Family

Copula = Literal["dirichlet", "gaussian"]


@dataclass(frozen=True, kw_only=True)
class _Pairs(Estimator):
    """Pairs of opposite codes, whose difference in f is weighed: the base of ARM and DisARM."""

    is_unbiased = True
    kinds = BITS

    samples: int = field(default=2, metadata=PAIRS)

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw ``samples``/2 independent pairs per row."""
        self.require_kind(family)
        u, pair, likelier = _uniform_pairs(eta.detach(), self.samples // 2, generator)
        fz = f(pair.flatten(0, 1))
        before, after = fz.detach().reshape(2, -1, fz.shape[1])
        apart = pair[0] - pair[1]  # (−1)^z̃ 1[z ≠ z̃]
        gradient = self._gradient((before - after).unsqueeze(-1), u, apart, likelier)
        disagreement = apart.square().mean((0, -1))
        return injected(fz, eta, gradient, diagnostics={"disagreement": disagreement})

    @abstractmethod
    def _gradient(self, gap: Tensor, u: Tensor, apart: Tensor, likelier: Tensor) -> Tensor:
        """Return the mean over pairs, ``[B, D]``.

        ``gap`` is f(z) − f(z̃), ``[m, B, 1]``, and ``apart`` z − z̃, ``[m, B, D]``; ``u`` the
        uniform numbers behind the pairs; ``likelier`` σ(|η|), ``[B, D]``.
        """


class ARM(_Pairs):
    """Augment-REINFORCE-merge: one uniform number per bit drives two opposite codes.

        u ~ U(0, 1)^D,   z = 1[u > σ(−η)],   z̃ = 1[u < σ(η)]
        ∂E f/∂η ≈ (f(z) − f(z̃)) (u − ½)

    Unbiased. `DisARM` integrates u out for the same price and never varies more; ARM is for
    comparison.

    Args:
        samples: decoder rows per data row, even: ``samples``/2 independent pairs are averaged.

    Diagnostics: ``disagreement``, the share of bits in which the two codes of a pair differ; at 0
    the encoder learns nothing from them.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> eta = torch.zeros(1, 2, requires_grad=True)
        >>> f, generator = lambda z: z.sum(-1), torch.Generator().manual_seed(0)
        >>> ARM()(Bernoulli(2), eta, f, generator=generator).value           # z + z̃ = (1, 1)
        tensor([1.])

    Source: Yin & Zhou, "ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks"
    (ICLR 2019), theorem 1. Implementations differ in the decoder's gradient: some take that of one
    code of the pair, this one the mean of both.
    """

    name = "arm"

    def _gradient(self, gap: Tensor, u: Tensor, apart: Tensor, likelier: Tensor) -> Tensor:
        return (gap * (u - 0.5)).mean(0)


class DisARM(_Pairs):
    """ARM with its uniform numbers integrated out: only where the codes differ counts.

        ∂E f/∂η_d ≈ ½ (f(z) − f(z̃)) (−1)^{z̃_d} 1[z_d ≠ z̃_d] σ(|η_d|)

    with the pair of `ARM`. It is E[ARM | z, z̃], hence unbiased, and no coordinate varies more
    than ARM's.

    Args:
        samples: decoder rows per data row, even: ``samples``/2 independent pairs are averaged.

    Diagnostics: ``disagreement``, the share of bits in which the two codes of a pair differ.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> eta = torch.zeros(1, 2, requires_grad=True)
        >>> f, generator = lambda z: z.sum(-1), torch.Generator().manual_seed(0)
        >>> DisARM()(Bernoulli(2), eta, f, generator=generator).diagnostics["disagreement"]
        tensor([1.])

    Source: Dong, Mnih & Tucker, "DisARM: An Antithetic Gradient Estimator for Binary Latent
    Variables" (NeurIPS 2020), section 3; found independently as U2G by Yin, Ho, Yan, Qian & Zhou,
    "Probabilistic Best Subset Selection via Gradient-Based Optimization" (2020).
    """

    name = "disarm"

    def _gradient(self, gap: Tensor, u: Tensor, apart: Tensor, likelier: Tensor) -> Tensor:
        return likelier * (0.5 * gap * apart).mean(0)


@dataclass(frozen=True, kw_only=True)
class ARMS(Estimator):
    """Any number of mutually antithetic codes, each pair of which does what DisARM's pair does.

        ∂E f/∂η_d ≈ 1/(n − 1) Σ_i (f(z_i) − f̄) z_id / (1 − ρ_d),   f̄ = 1/n Σ_i f(z_i)

    The sum is the mean over all pairs of ½ (f(z_i) − f(z_j)) (z_id − z_jd) / (1 − ρ_d), each of
    which is unbiased. With n = 2 either copula gives ρ_d = −min(p, 1−p)/max(p, 1−p), and this is
    `DisARM`; with ρ = 0 it would be REINFORCE with the leave-one-out baseline.

    Args:
        samples: n ≥ 2, codes per row, all coupled with one another.
        copula: how the uniform numbers behind the n bits are coupled:
            ``dirichlet``: a flat Dirichlet vector, mapped to uniforms by its marginals;
            ``gaussian``: normals with the smallest common correlation there is, −1/(n − 1).

    Diagnostics: ``disagreement``, the share of bits in which two of the codes differ.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> eta = torch.zeros(1, 2, requires_grad=True)
        >>> f, generator = lambda z: z.sum(-1), torch.Generator().manual_seed(0)
        >>> ARMS(samples=4)(Bernoulli(2), eta, f, generator=generator).surrogate.shape
        torch.Size([1])

    Source: Dimitriev & Zhou, "ARMS: Antithetic-REINFORCE-Multi-Sample Gradient for Binary
    Variables" (ICML 2021). Here the end of the copula that repels is always put on the rarer value
    of a bit, so that z → 1 − z, η → −η changes nothing; ρ of the Gaussian copula is integrated to
    rounding instead of being looked up.
    """

    name = "arms"
    is_unbiased = True
    kinds = BITS

    samples: int = field(default=4, metadata=an_int(2))
    copula: Copula = field(default="dirichlet", metadata=one_of(get_args(Copula)))

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw n coupled codes, and correct the leave-one-out estimate for their correlation."""
        self.require_kind(family)
        logits = eta.detach()
        z = coupled_bits(logits, self.samples, self.copula, generator)
        fz = f(z)
        # less one of them first, so that a constant f leaves exact zeros
        centred = fz.detach() - fz[:1].detach()
        centred = centred - centred.mean(0)
        loo = (centred.unsqueeze(-1) * z).sum(0) / (self.samples - 1)
        gradient = loo / one_minus_correlation(logits, self.samples, self.copula)
        ones = z.sum(0)
        pairs = self.samples * (self.samples - 1) / 2
        disagreement = (ones * (self.samples - ones) / pairs).mean(-1)
        return injected(fz, eta, gradient, diagnostics={"disagreement": disagreement})


def coupled_bits(
    logits: Tensor, n: int, copula: Copula, generator: torch.Generator | None
) -> Tensor:
    """Return ``n`` mutually antithetic draws of Bernoulli(σ(logits)), ``[n, *logits.shape]``.

    The rarer value of a bit, of probability r = σ(−|η|), is taken where

        dirichlet:  (1 − d_i)^{n−1} < r,   d ~ Dirichlet(1, …, 1), so that 1 − (1 − d_i)^{n−1}
                    is uniform and P(d_i > a, d_j > b) = (1 − a − b)₊^{n−1};
        gaussian:   Φ(x_i) < r,   x_i = √(n/(n−1)) (ε_i − ε̄),   ε ~ N(0, 1)^n.
    """
    noise = torch.empty((n, *logits.shape), dtype=logits.dtype, device=logits.device)
    if copula == "dirichlet":
        d = noise.exponential_(generator=generator)
        d = d / d.sum(0)
        rare = (n - 1) * torch.log1p(-d) < torch.nn.functional.logsigmoid(-logits.abs())
    else:
        x = noise.normal_(generator=generator)
        x = (x - x.mean(0)) * math.sqrt(n / (n - 1))
        rare = x < torch.special.ndtri(torch.sigmoid(-logits.abs()))
    return torch.where(logits > 0, ~rare, rare).to(logits.dtype)


def one_minus_correlation(logits: Tensor, n: int, copula: Copula) -> Tensor:
    """Return 1 − ρ of two of the bits that `coupled_bits` draws, with the shape of ``logits``.

    1 − ρ = (r − P) / (r(1 − r)),   r = σ(−|η|),   P = P(both take the rarer value)
    dirichlet:  P = (2 r^{1/(n−1)} − 1)₊^{n−1}
    gaussian:   P = r² − 1/(2π) ∫_{asin(−1/(n−1))}^0 exp(−a²/(1 + sin t)) dt,   Φ(a) = r
    """
    r = torch.sigmoid(-logits.abs())
    # below the smallest normal number r² and P are zero beside r
    r = r.clamp_min(torch.finfo(r.dtype).tiny)
    # with n = 2 both couplings are u, 1 − u, and the root of r is r itself
    if copula == "dirichlet" or n == 2:
        root = torch.exp(r.log() / (n - 1)) if n > 2 else r
        both = (2 * root - 1).clamp_min(0) ** (n - 1)
    else:
        # Plackett's identity: the derivative of a bivariate normal probability in its correlation
        # is the density; 1 + sin t ≥ ½ here, so that few nodes are exact
        nodes, weights = _quadrature(n, r.dtype, r.device)
        a = torch.special.ndtri(r).unsqueeze(-1)
        integral = (weights * torch.exp(-a.square() / (1 + nodes.sin()))).sum(-1)
        both = r.square() - integral / (2 * math.pi)
    return (1 - both / r) / (1 - r)


@functools.cache
def _quadrature(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return 24 nodes and weights from asin(−1/(n − 1)) to 0."""
    x, weight = np.polynomial.legendre.leggauss(24)
    low = math.asin(-1 / (n - 1))
    with torch.inference_mode(False):
        nodes = torch.tensor(low / 2 * (1 - x), dtype=dtype, device=device)
        return nodes, torch.tensor(-low / 2 * weight, dtype=dtype, device=device)


def _uniform_pairs(
    logits: Tensor, pairs: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return u ``[m, B, D]``, the codes of the pairs ``[2, m, B, D]``, and σ(|η|) ``[B, D]``."""
    shape = (pairs, *logits.shape)
    u = torch.rand(shape, dtype=logits.dtype, device=logits.device, generator=generator)
    pair = torch.empty((2, *shape), dtype=logits.dtype, device=logits.device)
    on, off = torch.sigmoid(logits), torch.sigmoid(-logits)
    torch.gt(u, off, out=pair[0])
    torch.lt(u, on, out=pair[1])
    return u, pair, torch.maximum(on, off)
