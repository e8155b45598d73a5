"""One set of decoder rows for several encoder steps: what importance sampling with q_I ≠ q buys.

The samples of the first step were drawn from q_0, the encoder as it was; once the encoder has moved
to q, the same z_s and the same f(z_s) still tell what q would gain, if they are weighed by

    w_s = q(z_s)/q_0(z_s),   ∂/∂η E_q f ≈ 1/S Σ_s w_s (f_s − b_s) ∂ln q(z_s)/∂η      (eq. 16)

The encoder alone takes the further steps: they cost no decoder row, in either direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from discretevae.config import LatentKind
from discretevae.errors import ConfigError
from discretevae.estimators.base import (
    Estimate,
    Integrand,
    injected,
    score_gradient,
    score_term,
    with_gradient_of,
)
from discretevae.estimators.options import EVERY_KIND
from discretevae.families import Family


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """`RLOO`, whose samples serve for further encoder steps by importance weights.

        step 1:       1/S Σ_s (f_s − 1/(S−1) Σ_{r≠s} f_r) ∂ln q_0(z_s)/∂η,   z_s ~ q_0
        steps 2, …:   1/S Σ_s w_s (f_s − b_s) ∂ln q(z_s)/∂η,   w_s = q(z_s)/q_0(z_s)
                      b_s = Σ_{r≠s} w_r f_r / Σ_{r≠s} w_r

    b_s is what the other samples say of E_q f. They are independent of z_s, so that for any η that
    does not depend on the draws E_{q_0}[w_s b_s ∂ln q(z_s)/∂η] = E[b_s] E_q[∂ln q/∂η] = 0, however
    the other weights are normalized: every step is unbiased for the gradient of E_q f there, and
    exactly zero for constant f.

    Two things are not what they would be with fresh samples. f is that of the first step, though
    the decoder has moved by one step since; and the η that a further step is taken at depends a
    little on the draws themselves, through the steps before it. Both vanish with the learning rate.

    Args:
        samples: S, at least 2.
        steps: encoder steps per batch in all, at least 1; with 1 this is `RLOO`.
        clip: c, the largest weight: min(w, c) takes the place of w. That keeps a few weights from
            deciding all after large steps, and biases steps 2, …; 0 leaves the weights alone.

    Raises:
        ConfigError: an option is out of range.

    Example:
        >>> from discretevae.estimators.contract import ToyIntegrand
        >>> from discretevae.families import Bernoulli
        >>> family, f = Bernoulli(2), ToyIntegrand.random(Bernoulli(2), seed=0)
        >>> eta = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        >>> generator = torch.Generator().manual_seed(0)
        >>> estimate = Reuse(steps=3)(family, eta, f, generator=generator)
        >>> moved = (eta + 0.1).detach().requires_grad_()           # stands for an encoder step
        >>> for surrogate in estimate.again:
        ...     surrogate(moved).sum().backward()
        >>> len(estimate.again), f.evaluations
        (2, [2])

    Source: Bartler, Wiewel, Mauch & Yang (EUSIPCO 2019), eq. 16, whose q_I may be any distribution,
    here q as it was some steps before. The paper takes one step per draw; reuse and baseline are
    ours. Clipped weights: Ionides, *Truncated Importance Sampling* (2008).
    """

    kinds: ClassVar[tuple[LatentKind, ...]] = EVERY_KIND

    samples: int = 2
    steps: int = 2
    clip: float = 0.0

    def __post_init__(self) -> None:
        """Checks every option, and says all that is wrong at once."""
        problems = [
            f"{name} must be an int >= {least}. Got {value}."
            for name, value, least in (("samples", self.samples, 2), ("steps", self.steps, 1))
            if value < least
        ]
        if not (math.isfinite(self.clip) and self.clip >= 0):
            problems.append(f"clip must be >= 0. Got {self.clip}.")
        if problems:
            raise ConfigError(problems)

    @property
    def is_unbiased(self) -> bool:
        """True unless further steps clip their weights."""
        return self.clip == 0 or self.steps == 1

    @property
    def evaluations(self) -> int:
        """S, whatever ``steps`` is."""
        return self.samples

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draws S codes per row, scores each against the others, and keeps them for later."""
        z = family.sample(eta, self.samples, generator=generator).detach()
        fz = f(z)
        value = fz.detach().mean(0)
        advantage = (fz.detach() - value) * (self.samples / (self.samples - 1))
        gradient = score_gradient(family, eta, z, advantage)
        again: list[Callable[[Tensor], Tensor]] = []
        if self.steps > 1:
            log_drawn = family.log_prob(eta.detach(), z)
            further = partial(self._again, family, z, fz.detach(), log_drawn)
            again = [further] * (self.steps - 1)
        return injected(fz, eta, gradient, again=again)

    def _again(
        self, family: Family, z: Tensor, fz: Tensor, log_drawn: Tensor, eta: Tensor
    ) -> Tensor:
        """1/S Σ_s w_s f_s at the η of now, ``[B]``, with the gradient of a further step."""
        log_weight = family.log_prob(eta.detach(), z) - log_drawn
        if self.clip > 0:
            log_weight = log_weight.clamp_max(math.log(self.clip))
        weight = log_weight.exp()
        advantage = weight * (fz - _others(log_weight, fz))
        return with_gradient_of((weight * fz).mean(0), score_term(family, eta, z, advantage))


def _others(log_weight: Tensor, fz: Tensor) -> Tensor:
    """Σ_{r≠s} w_r f_r / Σ_{r≠s} w_r for every s: ``[S, B]`` and ``[S, B]`` to ``[S, B]``.

    By a softmax over the others rather than as a total less one's own, of which nothing may be left
    when one weight outweighs all.

    Example:
        >>> _others(torch.tensor([[0.0], [-99.0], [0.0]]), torch.tensor([[1.0], [2.0], [3.0]]))
        tensor([[3.],
                [2.],
                [1.]])
    """
    samples = len(fz)
    itself = torch.eye(samples, dtype=torch.bool, device=fz.device).unsqueeze(-1)
    share = log_weight.expand(samples, *log_weight.shape).masked_fill(itself, -torch.inf)
    return (torch.softmax(share, 1) * fz).sum(1)


__all__ = ["Reuse"]
