"""Categories: D independent variables of K values each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from discretevae.config import LatentSpec
from discretevae.families.base import Family, all_codes, states_like


@dataclass(frozen=True)
class Categorical(Family):
    """D independent variables of K categories; ``eta`` ``[B, D, K]``, z one-hot ``[S, B, D, K]``.

    T(z) = z, A(η) = Σ_d ln Σ_k e^{η_dk}, ∇A(η) = softmax(η). The logits are over-complete: adding
    a constant to all K of a variable changes nothing.

    Args:
        n_variables: D.
        n_categories: K.

    Example:
        >>> family, eta = Categorical(1, 4), torch.zeros(1, 1, 4)
        >>> family.mean(eta)
        tensor([[[0.2500, 0.2500, 0.2500, 0.2500]]])
        >>> family.entropy(eta)                                    # ln 4
        tensor([1.3863])
    """

    n_variables: int
    n_categories: int

    @cached_property
    def spec(self) -> LatentSpec:
        """Return ``categorical:K`` or ``categorical:DxK``."""
        return LatentSpec("categorical", self.n_variables, self.n_categories)

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """Return ``(D, K)``."""
        return (self.n_variables, self.n_categories)

    @property
    def n_states(self) -> int:
        """Return K^D."""
        return int(self.n_categories**self.n_variables)

    def log_normalizer(self, eta: Tensor) -> Tensor:
        """Return A(η) = Σ_d logsumexp_k η_dk, ``[B]``."""
        return torch.logsumexp(eta, -1).sum(-1)

    def mean(self, eta: Tensor) -> Tensor:
        """Return ∇A(η) = softmax(η): the probability of each category, ``[B, D, K]``."""
        return _softmax(eta)

    def log_prob(self, eta: Tensor, z: Tensor) -> Tensor:
        """Return ln q(z) = Σ_d Σ_k z_dk log_softmax(η)_dk, ``[S, B]``."""
        return (z * _log_softmax(eta)).sum((-1, -2))

    def entropy(self, eta: Tensor) -> Tensor:
        """Return H = −Σ_d Σ_k q_dk ln q_dk, ``[B]``."""
        log_q = _log_softmax(eta)
        return -(log_q.exp() * log_q).sum((-1, -2))

    def kl_per_variable(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """Return KL(q_d ‖ p_d) = Σ_k q_dk (ln q_dk − ln p_dk), ``[B, D]``."""
        log_q = _log_softmax(eta)
        return (log_q.exp() * (log_q - _log_softmax(prior_eta))).sum(-1)

    def sample(self, eta: Tensor, n_samples: int, *, generator: torch.Generator | None) -> Tensor:
        """Invert the cumulative distribution at one uniform per variable, ``[S, B, D, K]``.

        One uniform instead of the K of the Gumbel-max trick: for K = 100 the draws would cost more
        than the decoder's first layer.
        """
        cumulative = _softmax(eta.detach()).cumsum(-1)
        u = torch.rand(
            (n_samples, *eta.shape[:-1]), dtype=eta.dtype, device=eta.device, generator=generator
        )
        # [B, D, S]: searchsorted takes sorted rows that match in all but the last dimension
        points = u.movedim(0, -1) * cumulative[..., -1:]
        index = torch.searchsorted(cumulative, points.contiguous(), right=True)
        # rounding may carry the largest u to the very end of the table
        index = index.clamp_max_(self.n_categories - 1).movedim(-1, 0)
        return one_hot(index, self.n_categories, eta.dtype)

    def mode(self, eta: Tensor) -> Tensor:
        """Return one-hot of the largest logit, ``[B, D, K]``."""
        return one_hot(eta.argmax(-1), self.n_categories, eta.dtype)

    def enumerate(self) -> Tensor:
        """Return all K^D one-hot codes, ``[K^D, D, K]``; the last variable runs fastest."""
        codes = all_codes([self.n_categories] * self.n_variables)
        return one_hot(codes, self.n_categories, torch.get_default_dtype())

    def log_prob_table(self, eta: Tensor) -> Tensor:
        """Return ln q of all states, by a product with them if D > 1, ``[B, K^D]``."""
        log_q = _log_softmax(eta).flatten(-2)
        if self.n_variables == 1:
            return log_q
        return log_q @ states_like(self, eta).flatten(1).T

    def to_codes(self, z: Tensor) -> Tensor:
        """Return category numbers as int64, ``[N, D]``."""
        return z.argmax(-1)

    def from_codes(self, codes: Tensor) -> Tensor:
        """Turn category numbers into one-hot z, ``[N, D, K]``."""
        return one_hot(codes.long(), self.n_categories, torch.get_default_dtype())


def one_hot(index: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """Return numbers below n one-hot; torch's own ``one_hot`` waits for the device."""
    zeros = torch.zeros((*index.shape, n), dtype=dtype, device=index.device)
    return zeros.scatter_(-1, index.unsqueeze(-1), 1.0)


SHORT = 16
"""Floats in a vector register of today's processors. Of shorter rows torch's softmax takes one
number at a time, and with 10 categories this was a sixth of a step."""


def _softmax(eta: Tensor) -> Tensor:
    """softmax over the last dimension."""
    if eta.shape[-1] >= SHORT or eta.device.type != "cpu":
        return torch.softmax(eta, -1)
    return _last_as_first(torch.softmax, eta)


def _log_softmax(eta: Tensor) -> Tensor:
    """ln softmax over the last dimension."""
    if eta.shape[-1] >= SHORT or eta.device.type != "cpu":
        return torch.log_softmax(eta, -1)
    return _last_as_first(torch.log_softmax, eta)


def _last_as_first(function: Callable[[Tensor, int], Tensor], eta: Tensor) -> Tensor:
    """Apply a function of the last dimension where it is the first one in memory."""
    last = eta.ndim - 1  # −1 would do, but torch's ONNX exporter writes it as it is
    return function(eta.movedim(last, 0).contiguous(), 0).movedim(0, last).contiguous()
