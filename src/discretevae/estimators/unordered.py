"""Samples without replacement: no decoder row is spent twice on the same code.

k different states are drawn as by taking one after the other from what is left. For a set S, the
order forgotten, and D the set of all states,

    p(S) = Σ_{s∈S} q(s) p^{D∖s}(S∖s)
    R(S, s) = p^{D∖s}(S∖s) / p(S)                                    (leave-one-out ratio)
    E_q f = E_S[Σ_{s∈S} q(s) R(S, s) f(s)]

where p^{D∖C} is the same draw from the states outside C, renormalised. With the chance that C
has come first and S∖C comes next written as a recursion over the subsets of S,

    p^{D∖C}(S∖C) = Σ_{a∈S∖C} q(a) / q(D∖C) · p^{D∖(C∪a)}(S∖(C∪a)),   p^{D∖S}(∅) = 1,

every ratio is a sum of positive terms: 2^k subsets, no cancellation, nothing to integrate.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor

from discretevae.config.checks import an_int
from discretevae.estimators.base import DISCRETE, Estimate, Estimator, Integrand, with_gradient_of
from discretevae.families import Family, states_like

MAX_SAMPLES = 10
"""The recursion visits 2^k subsets of the sample."""


@dataclass(frozen=True, kw_only=True)
class UnorderedSet(Estimator):
    """k different codes per row, the order in which they came integrated out, with a baseline.

        ∂E f/∂η ≈ Σ_{s∈S} w_s (f(s) − Σ_{s'∈S} v_ss' f(s')) ∂ln q(s)/∂η
        ∂E f/∂θ_D ≈ Σ_{s∈S} w_s ∂f(s)/∂θ_D,   w_s = q(s) R(S, s),   Σ_s w_s = 1
        v_ss' = q(s') p^{D∖{s,s'}}(S∖{s,s'}) / p^{D∖s}(S∖s),   v_ss = q(s),   Σ_s' v_ss' = 1

    Unbiased: given that s came first, the baseline is q(s) f(s) plus (1 − q(s)) times the same
    estimate on the states without s, of expectation E_q f; it therefore does not correlate with
    the score of s. With k as large as the number of states both gradients are exact.

    The states of the whole code are one domain, drawn by the Gumbel-top-k trick: one Gumbel per
    state and row, no decoder rows. The code must therefore be enumerable.

    Args:
        samples: k, from 2 to 10; where the code has fewer states, all of them are taken.

    Diagnostics: ``coverage``, q(S), the probability of the codes that were looked at.

    Raises:
        ConfigError: ``samples`` is out of range, or the code has too many states.

    Example:
        >>> from discretevae.families import Categorical
        >>> eta = torch.zeros(1, 1, 3, requires_grad=True)
        >>> class Second:
        ...     def __call__(self, z):
        ...         return z[..., 1].sum(-1)
        >>> generator = torch.Generator().manual_seed(0)
        >>> estimator = UnorderedSet(samples=3)                 # all three states: no noise left
        >>> estimate = estimator(Categorical(1, 3), eta, Second(), generator=generator)
        >>> estimate.value
        tensor([0.3333])
        >>> torch.autograd.grad(estimate.surrogate.sum(), eta)
        (tensor([[[-0.1111,  0.2222, -0.1111]]]),)

    Source: Kool, van Hoof & Welling, "Estimating Gradients for Discrete Random Variables by
    Sampling without Replacement" (ICLR 2020): the unordered set estimator and its policy gradient
    with the built-in baseline. Implementations differ in the ratios: the paper integrates them
    numerically, for any k; here they are summed over subsets, to rounding, for k ≤ 10.
    """

    name = "unordered-set"
    is_unbiased = True
    kinds = DISCRETE

    samples: int = field(default=4, metadata=an_int(2, MAX_SAMPLES))

    def evaluations_for(self, family: Family) -> int:
        """Return the smaller of k and the number of states."""
        return min(self.samples, family.n_states or self.samples)

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw k different states per row, and weigh them by their leave-one-out ratios."""
        self.require_enumerable(family)
        states = states_like(family, eta)
        statistics = states.flatten(1)
        # ηᵀT(z) − A(η), with A(η) from the very sum, so that the q(s) add up to 1 to rounding
        log_q = (eta.detach().flatten(1) @ statistics.T).log_softmax(-1)
        index = _without_replacement(log_q, self.evaluations_for(family), generator)
        log_p = log_q.gather(1, index).T
        log_rest = log_q.scatter(1, index, -torch.inf).logsumexp(1)
        w, v = set_weights(log_p, log_rest)

        z = states[index.T]
        fz = f(z)
        gap = fz.detach().unsqueeze(1) - fz.detach().unsqueeze(0)
        # f(s) − Σ_s' v_ss' f(s') as a sum of differences: exactly zero for a constant f
        advantage = (v * gap).sum(1)
        value = (w * fz.detach()).sum(0)
        term = (w * fz + w * advantage * family.log_prob(eta, z)).sum(0)
        return Estimate(value, with_gradient_of(value, term), {"coverage": log_p.exp().sum(0)})


def set_weights(log_p: Tensor, log_rest: Tensor) -> tuple[Tensor, Tensor]:
    """Return w_s = q(s) R(S, s) ``[k, B]`` and v_ss' ``[k, k, B]`` of the baseline; both sum to 1.

    Args:
        log_p: ln q of the k states of the set, ``[k, B]``.
        log_rest: ln of the probability of all other states, ``[B]``; −∞ if there are none.

    Example:
        >>> log_p = torch.tensor([[0.5], [0.25]]).log()
        >>> w, _ = set_weights(log_p, torch.tensor([0.25]).log())       # 0.6 = ½·½ / (¼ + 1/6)
        >>> w.T
        tensor([[0.6000, 0.4000]])
    """
    k, device = len(log_p), log_p.device
    sizes, pairs = _subsets(k, device)
    levels = [torch.zeros_like(log_rest).unsqueeze(0)]
    outside = log_rest.unsqueeze(0)
    # ln p^{D∖C}(S∖C) for all subsets C of one size at a time, from C = S down to C = ∅
    for left, to in sizes:
        p_left = log_p[left]
        # ln q(D∖C), from that of C and one more
        outside = torch.logaddexp(outside[to[:, 0]], p_left[:, 0])
        levels.append((p_left + levels[-1][to]).logsumexp(1) - outside)
    whole, single = levels[k][0], levels[k - 1]
    w = (log_p + single - whole).exp()
    v = (log_p + levels[k - 2][pairs] - single.unsqueeze(1)).exp()
    diagonal = torch.eye(k, dtype=torch.bool, device=device).unsqueeze(-1)
    return w, torch.where(diagonal, log_p.exp(), v)


@functools.cache
def _subsets(k: int, device: torch.device) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Return the number of the subsets C of {1, …, k}, size by size from k − 1 down.

    Returns:
        For every size the numbers outside of C, ``[n, k − size]``, and the places of C with each of
        them among the subsets that are larger by one; and the places of {s, t} among those of size
        2, ``[k, k]``, with any on the diagonal.
    """
    position = {(1 << k) - 1: 0}
    positions, sizes = [position], []
    with torch.inference_mode(False):
        for size in range(k - 1, -1, -1):
            chosen = list(itertools.combinations(range(k), size))
            left = [[a for a in range(k) if a not in c] for c in chosen]
            mask = [sum(1 << a for a in c) for c in chosen]
            pairs = zip(mask, left, strict=True)
            larger = [[position[m | 1 << a] for a in rest] for m, rest in pairs]
            sizes.append((torch.tensor(left, device=device), torch.tensor(larger, device=device)))
            position = {m: i for i, m in enumerate(mask)}
            positions.append(position)
        of_pair = positions[k - 2]
        number = [[of_pair.get(1 << s | 1 << t, 0) for t in range(k)] for s in range(k)]
        return sizes, torch.tensor(number, device=device)


def _without_replacement(log_q: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    """Draw k different states of each row, ``[B, k]``, one after the other (Gumbel-top-k).

    −ln E with E ~ Exp(1) is a Gumbel; the largest ln q − ln E come first.
    """
    e = torch.empty_like(log_q).exponential_(generator=generator)
    return (log_q - e.log()).topk(k, dim=1).indices
