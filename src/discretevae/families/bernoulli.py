"""Bits: D independent Bernoulli variables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor

from discretevae.config import LatentSpec
from discretevae.families.base import Family, all_codes, states_like


@dataclass(frozen=True)
class Bernoulli(Family):
    """D independent bits; ``eta`` ``[B, D]`` are their logits, z ``[S, B, D]`` is 0 or 1.

    T(z) = z, A(η) = Σ_d ln(1 + e^{η_d}), ∇A(η) = sigmoid(η)  (paper, table of section 3).

    Args:
        n_variables: D.

    Example:
        >>> family, eta = Bernoulli(2), torch.tensor([[0.0, 40.0]])
        >>> family.mean(eta)
        tensor([[0.5000, 1.0000]])
        >>> round(family.entropy(eta).item(), 4)
        0.6931
    """

    n_variables: int

    @cached_property
    def spec(self) -> LatentSpec:
        """Return ``bernoulli:D``."""
        return LatentSpec("bernoulli", self.n_variables)

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """Return ``(D,)``."""
        return (self.n_variables,)

    @property
    def n_states(self) -> int:
        """2^D."""
        return 1 << self.n_variables

    def log_normalizer(self, eta: Tensor) -> Tensor:
        """Return A(η) = Σ_d softplus(η_d), ``[B]``."""
        return F.softplus(eta).sum(-1)

    def mean(self, eta: Tensor) -> Tensor:
        """Return ∇A(η) = sigmoid(η): the probability that each bit is 1, ``[B, D]``."""
        return torch.sigmoid(eta)

    def log_prob(self, eta: Tensor, z: Tensor) -> Tensor:
        """Return ln q(z) = Σ_d z_d η_d − softplus(η_d), ``[S, B]``.

        Written as −softplus((1 − 2z)η), which loses no digits when η is large.
        """
        return F.logsigmoid((2 * z - 1) * eta).sum(-1)

    def entropy(self, eta: Tensor) -> Tensor:
        """Return H = A(η) − η·∇A(η), ``[B]``; formed from abs(η) so that nothing cancels."""
        size = eta.abs()
        return (F.softplus(-size) + size * torch.sigmoid(-size)).sum(-1)

    def kl_per_variable(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """Return KL(q_d ‖ p_d) = q_d ln(q_d/p_d) + (1−q_d) ln((1−q_d)/(1−p_d)), ``[B, D]``."""
        # the two logarithms differ by η − λ, so that one of them is enough: that of the likelier
        # value, next to which nothing cancels however certain q is
        sign = 1 - 2 * (eta < 0).to(eta)
        size, other = sign * eta, sign * prior_eta
        return F.logsigmoid(size) - F.logsigmoid(other) - torch.sigmoid(-size) * (size - other)

    def sample(self, eta: Tensor, n_samples: int, *, generator: torch.Generator | None) -> Tensor:
        """Return z_d = 1 if u_d < sigmoid(η_d), one uniform u per bit, ``[S, B, D]``."""
        u = torch.rand(
            (n_samples, *eta.shape), dtype=eta.dtype, device=eta.device, generator=generator
        )
        return (u < torch.sigmoid(eta.detach())).to(eta.dtype)

    def mode(self, eta: Tensor) -> Tensor:
        """1 where η > 0, ``[B, D]``."""
        return (eta > 0).to(eta.dtype)

    def enumerate(self) -> Tensor:
        """Return all 2^D rows of bits, ``[2^D, D]``; row n is n in binary, highest bit first."""
        return all_codes([2] * self.n_variables).to(torch.get_default_dtype())

    def log_prob_table(self, eta: Tensor) -> Tensor:
        """Return ln q of all states, by two matrix products, ``[B, 2^D]``."""
        states = states_like(self, eta)
        return F.logsigmoid(eta) @ states.T + F.logsigmoid(-eta) @ (1 - states).T

    def to_codes(self, z: Tensor) -> Tensor:
        """Return bits as uint8, ``[N, D]``."""
        return z.to(torch.uint8)

    def from_codes(self, codes: Tensor) -> Tensor:
        """Turn uint8 bits into z, ``[N, D]``."""
        return codes.to(torch.get_default_dtype())
