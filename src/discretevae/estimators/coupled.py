"""Coupled estimators for categories: several codes whose differences replace a baseline.

`ARSM` swaps the exponentials behind a category; the other two break a stick. With the
categories of a variable in ascending order of q, a category is the place of the first 1 among
K − 1 independent bits:

    α_k = η_k − ln Σ_{l>k} e^{η_l},   p_k = σ(α_k) = q_k / Σ_{l≥k} q_l,   z = min{k: b_k = 1} or K

Antithetic bits (`antithetic.coupled_bits`) make antithetic categories, and the probability of
every pair of places is a product. The variables of a row are coupled all at once, but
independently of one another, so that one pair of f-values serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from discretevae.config.checks import an_int
from discretevae.estimators.antithetic import coupled_bits, one_minus_correlation
from discretevae.estimators.base import CATEGORIES, PAIRS, Estimate, Estimator, Integrand, injected
from discretevae.families import Family
from discretevae.families.categorical import one_hot


@dataclass(frozen=True, kw_only=True)
class ARSM(Estimator):
    """Augment-REINFORCE-swap-merge: one Dirichlet vector, every swap of two of its entries.

        π_d ~ Dirichlet(1_K),   z_d = argmin_k π_dk e^{−η_dk}
        ∂E f/∂η_dc ≈ Σ_j (f(z^{c⇌j}) − 1/K Σ_m f(z^{m⇌j})) (1/K − π_dj)

    z^{c⇌j} is the code of all variables at once after the entries c and j of every π_d have been
    exchanged. Unbiased: E[f(z)(1 − Kπ_dc)] is the gradient, π is exchangeable, and the mean over m
    takes away a term of expectation zero. With K = 2 it is `ARM`.

    The price is K(K − 1)/2 + 1 decoder rows for any D: 46 for K = 10, 4,951 for K = 100. One
    variable alone has only K states; summing over them is exact and costs less.

    Diagnostics: ``disagreement``, the share of swaps that change the code; at 0 the encoder learns
    nothing.

    Example:
        >>> from discretevae.families import Categorical
        >>> ARSM().evaluations_for(Categorical(5, 4))
        7
        >>> eta = torch.zeros(1, 5, 4, requires_grad=True)
        >>> f, generator = lambda z: z[..., 0].sum(-1), torch.Generator().manual_seed(0)
        >>> ARSM()(Categorical(5, 4), eta, f, generator=generator).surrogate.shape
        torch.Size([1])

    Source: Yin, Yue & Zhou, "ARSM: Augment-REINFORCE-Swap-Merge Estimator for Gradient
    Backpropagation Through Categorical Variables" (ICML 2019). The paper evaluates only swaps that
    lead to new codes; here all are, so that the cost is known beforehand.
    """

    name = "arsm"
    is_unbiased = True
    kinds = CATEGORIES

    @property
    def evaluations(self) -> int:
        """The least there is: 2, for K = 2; see `evaluations_for`."""
        return 2

    def evaluations_for(self, family: Family) -> int:
        """Return K(K − 1)/2 + 1 for K categories."""
        k = family.spec.n_categories
        return k * (k - 1) // 2 + 1

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw one π per variable, and score the codes of all swaps."""
        self.require_kind(family)
        logits = eta.detach()
        k = logits.shape[-1]
        pi = torch.empty_like(logits).exponential_(generator=generator)
        pi = pi / pi.sum(-1, keepdim=True)
        swaps, number = _swaps(k, logits.device)
        # entry by entry: one permutation of the last dimension for every swap
        place = (pi.log()[..., swaps].movedim(-2, 0) - logits).argmin(-1)
        fz = f(one_hot(place, k, logits.dtype))
        centred = (fz.detach() - fz[:1].detach())[number]
        against_mean = centred - centred.mean(0)
        gradient = torch.einsum("cjb,bdj->bdc", against_mean, 1 / k - pi)
        changed = (place[1:] != place[:1]).any(-1).to(logits.dtype).mean(0)
        return injected(fz, eta, gradient, diagnostics={"disagreement": changed})


@dataclass(frozen=True, kw_only=True)
class DisARMSB(Estimator):
    """DisARM on the bits of the broken stick, the bits that nobody looks at integrated out.

    With places k ≤ k̃ of two antithetic codes in one variable (f stands for the code that stops
    first, f̃ for the other) the gradient with respect to the sticks is

        at k:              ½ (f − f̃) σ(|α_k|)
        from k + 1 to k̃:   ½ (f − f̃) (p − b̃)        b̃ = 1 at k̃ alone

    and nothing elsewhere, or where k = k̃; ∂α/∂η carries it to η. The second line is DisARM's
    ½ (f − f̃)(b − b̃) σ(|α|) averaged over the bit b that the first code never reads, given b̃.

    Args:
        samples: decoder rows per data row, even: ``samples``/2 independent pairs are averaged.

    Diagnostics: ``disagreement``, the share of variables in which the codes of a pair differ.

    Example:
        >>> from discretevae.families import Categorical
        >>> eta = torch.zeros(1, 2, 3, requires_grad=True)
        >>> f, generator = lambda z: z[..., 0].sum(-1), torch.Generator().manual_seed(0)
        >>> DisARMSB()(Categorical(2, 3), eta, f, generator=generator).surrogate.shape
        torch.Size([1])

    Source: Dong, Mnih & Tucker, "Coupled Gradient Estimators for Discrete Latent Variables"
    (NeurIPS 2021), the stick-breaking estimator. Implementations differ in the order of the
    categories: every one is unbiased, here it is ascending.
    """

    name = "disarm-sb"
    is_unbiased = True
    kinds = CATEGORIES

    samples: int = field(default=2, metadata=PAIRS)

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw the pairs; the gradient of the sticks is pulled back to η."""
        self.require_kind(family)
        order, sticks = _sticks(eta)
        alpha = sticks.detach()
        place = _places(alpha, 2, self.samples // 2, generator)
        fz = f(_codes(place, order, eta.dtype).flatten(0, 1))
        f_pair = fz.detach().reshape(2, -1, fz.shape[1])
        first, last = place.amin(0).unsqueeze(-1), place.amax(0).unsqueeze(-1)
        # the code that stops first less the other; zero where both stop together
        sign = torch.sign(place[1] - place[0])
        gap = 0.5 * ((f_pair[0] - f_pair[1]).unsqueeze(-1) * sign).unsqueeze(-1)
        k = torch.arange(alpha.shape[-1], device=alpha.device)
        stop = torch.sigmoid(alpha.abs()) * (k == first)
        unread = (torch.sigmoid(alpha) - (k == last).to(alpha.dtype)) * ((k > first) & (k <= last))
        gradient = (gap * (stop + unread)).mean(0)
        diagnostics = {"disagreement": _apart(place, eta.dtype)}
        return injected(fz, sticks, gradient, diagnostics=diagnostics)


@dataclass(frozen=True, kw_only=True)
class CARMS(Estimator):
    """Any number of mutually antithetic categories, every pair of them weighed as independent.

        ∂E f/∂η_d ≈ 1/(n(n − 1)) Σ_{i<j} (f(z_i) − f(z_j)) (z_id − z_jd) ω_d(z_id, z_jd)
        ω_d(z, z̃) = q(z) q(z̃) / r_n(z, z̃)

    r_n is the probability of a pair under sticks whose n bits are coupled as in `ARMS` (Dirichlet
    copula); with i the smaller place and ρ_k the correlation of two bits,

        ω = 1/(1 − ρ_i) Π_{k<i} (1 − p_k) / (1 − p_k(1 − ρ_k)).

    Unbiased because r_n > 0 wherever the two differ, in the ascending order of the categories.
    K = 2 is `ARMS`, n = 2 is DisARM-IW of Dong et al. (2021), and ρ = 0 would be REINFORCE with the
    leave-one-out baseline (ω = 1).

    Args:
        samples: n ≥ 2, codes per row, all coupled with one another.

    Diagnostics: ``disagreement``, the share of variables in which two of the codes differ;
    ``largest_weight``, the largest ω that occurred in the row.

    Example:
        >>> from discretevae.families import Categorical
        >>> eta = torch.zeros(1, 2, 4, requires_grad=True)
        >>> f, generator = lambda z: z[..., 0].sum(-1), torch.Generator().manual_seed(0)
        >>> CARMS(samples=3)(Categorical(2, 4), eta, f, generator=generator).value.shape
        torch.Size([1])

    Source: Dimitriev & Zhou, "CARMS: Categorical-Antithetic-REINFORCE Multi-Sample Gradient
    Estimator" (NeurIPS 2021): any coupling whose pair probabilities are known, and are positive
    where two categories differ, is unbiased. Implementations differ in it. Antithetic uniforms
    through one inverse cumulative distribution would leave pairs out; the sticks here never do.
    """

    name = "carms"
    is_unbiased = True
    kinds = CATEGORIES

    samples: int = field(default=4, metadata=an_int(2))

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw n coupled codes, and weigh the difference of f of every pair."""
        self.require_kind(family)
        n = self.samples
        order, alpha = _sticks(eta.detach())
        place = _places(alpha, n, 1, generator)
        z = _codes(place, order, eta.dtype).squeeze(1)
        diagnostics = {"disagreement": _apart(place, eta.dtype)}
        place = place.squeeze(1)
        fz = f(z)
        f_each = fz.detach()
        first = torch.minimum(place.unsqueeze(0), place.unsqueeze(1))
        differ = place.unsqueeze(0) != place.unsqueeze(1)
        # the smaller of two different places is not the last
        table = pair_weights(alpha, n).expand(n, n, *alpha.shape)
        weight = table.gather(-1, first.clamp_max(alpha.shape[-1] - 1).unsqueeze(-1)).squeeze(-1)
        weight = torch.where(differ, weight, 0)
        gap = f_each.unsqueeze(1) - f_each.unsqueeze(0)
        # Σ_{i<j} (f_i − f_j)(z_i − z_j) ω_ij = Σ_i z_i Σ_j (f_i − f_j) ω_ij
        pull = (gap.unsqueeze(-1) * weight).sum(1) / (n * (n - 1))
        diagnostics["largest_weight"] = weight.amax((0, 1, -1))
        return injected(fz, eta, (pull.unsqueeze(-1) * z).sum(0), diagnostics=diagnostics)


def pair_weights(alpha: Tensor, n: int) -> Tensor:
    """Return q q̃ / r of two different places by the smaller of them, ``[B, D, K−1]``, for n codes.

        ω_i = 1/(1 − ρ_i) Π_{k<i} (1 − p_k) / (1 − p_k(1 − ρ_k))

    from r(i, j) = Π_{k<i} P_k(0, 0) · P_i(1, 0) · q_j/T_{i+1} for i < j, where
    P_k(0, 0) = (1 − p_k)(1 − p_k(1 − ρ_k)) and P_i(1, 0) = p_i(1 − p_i)(1 − ρ_i).

    ``alpha`` are the logits of the sticks in ascending order, ``[B, D, K−1]``.
    """
    p, apart = torch.sigmoid(alpha), one_minus_correlation(alpha, n, "dirichlet")
    passed = (1 - p) / (1 - p * apart)
    before = torch.cat((torch.ones_like(p[..., :1]), passed[..., :-1].cumprod(-1)), -1)
    return before / apart


def _sticks(eta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the categories in ascending order of q, ``[B, D, K]``, and α, ``[B, D, K−1]``."""
    order = eta.detach().argsort(dim=-1, stable=True)
    ascending = eta.gather(-1, order)
    rest = ascending.flip(-1).logcumsumexp(-1).flip(-1)
    return order, ascending[..., :-1] - rest[..., 1:]


def _places(alpha: Tensor, n: int, groups: int, generator: torch.Generator | None) -> Tensor:
    """Return the place, 0 to K − 1, where each of n coupled codes stops, ``[n, groups, B, D]``."""
    bits = coupled_bits(alpha.expand(groups, *alpha.shape), n, "dirichlet", generator)
    return (bits.cumsum(-1) == 0).sum(-1)


def _codes(place: Tensor, order: Tensor, dtype: torch.dtype) -> Tensor:
    """Return places in the sorted stick as one-hot codes, ``[n, groups, B, D, K]``."""
    category = order.expand(*place.shape, -1).gather(-1, place.unsqueeze(-1)).squeeze(-1)
    return one_hot(category, order.shape[-1], dtype)


def _swaps(k: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return permutations ``[P, k]``, none and then every swap, and the number of each c⇌j."""
    one, other = torch.triu_indices(k, k, offset=1, device=device)
    index = torch.arange(1, len(one) + 1, device=device)
    swaps = torch.arange(k, device=device).repeat(len(one) + 1, 1)
    swaps[index, one], swaps[index, other] = other, one
    number = torch.zeros((k, k), dtype=torch.long, device=device)
    number[one, other] = number[other, one] = index
    return swaps, number


def _apart(place: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the share of pairs and variables whose places differ, ``[B]``."""
    differ = (place.unsqueeze(0) != place.unsqueeze(1)).to(dtype)
    return differ.sum((0, 1)).mean((0, -1)) / (len(place) * (len(place) - 1))
