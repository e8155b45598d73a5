"""The protocol of families of codes, and enumeration of small ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from discretevae.config import LatentSpec
from discretevae.errors import ConfigError, kind_of

MAX_STATES = 4096
"""Codes with at most this many states are summed over exactly rather than sampled."""


class Family(Protocol):
    """A family of distributions of codes; shapes in the letters of the mathematics page.

    What has a body here is that of most families, which inherit it.

    Attributes:
        n_variables: D.
    """

    n_variables: int

    @property
    def spec(self) -> LatentSpec:
        """Return the family in words, as the command line spells it."""

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """Return the shape of one row's natural parameters."""

    @property
    def z_shape(self) -> tuple[int, ...]:
        """Return the shape of one row's code z: that of its natural parameters."""
        return self.eta_shape

    @property
    def n_states(self) -> int | None:
        """Return the number of values of z; None of a continuum."""
        return None

    def natural_parameters(self, raw: Tensor) -> Tensor:
        """Turn unconstrained network outputs ``[B, n]`` into ``eta`` ``[B, *eta_shape]``."""
        return raw.reshape(*raw.shape[:-1], *self.eta_shape)

    def fixed_eta(self) -> Tensor:
        """Return the natural parameters of the reference: zeros, the uniform distribution."""
        return torch.zeros(self.eta_shape)

    def log_normalizer(self, eta: Tensor) -> Tensor:
        """Return A(η), ``[B]``."""

    def mean(self, eta: Tensor) -> Tensor:
        """Return ∇A(η) = E_q[T(z)]."""

    def sufficient_statistics(self, z: Tensor) -> Tensor:
        """Return T(z): z itself."""
        return z

    def log_prob(self, eta: Tensor, z: Tensor) -> Tensor:
        """Return ln q(z), ``[S, B]``."""

    def entropy(self, eta: Tensor) -> Tensor:
        """Return H(q), ``[B]``."""

    def kl(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """Return KL(q ‖ p) for p of the same family, ``[B]``."""
        return self.kl_per_variable(eta, prior_eta).sum(-1)

    def kl_per_variable(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """Return KL(q_d ‖ p_d) of each variable of the code, ``[B, D]``; adds up to `kl`."""

    def sample(self, eta: Tensor, n_samples: int, *, generator: torch.Generator | None) -> Tensor:
        """Return ``n_samples`` draws, ``[S, B, *z_shape]``."""

    def mode(self, eta: Tensor) -> Tensor:
        """Return the most likely z, ``[B, *z_shape]``."""

    def enumerate(self) -> Tensor:
        """Return every z, ``[N, *z_shape]``.

        Raises:
            ConfigError: it is a continuum, or there are more than `MAX_STATES`.
        """
        raise _endless(self)

    def log_prob_table(self, eta: Tensor) -> Tensor:
        """Return ln q of every z in the order of `enumerate`, ``[B, N]``; errors as there."""
        raise _endless(self)

    def to_codes(self, z: Tensor) -> Tensor:
        """Return z as the numbers a user keeps, ``[N, D]``."""

    def from_codes(self, codes: Tensor) -> Tensor:
        """Return the inverse of `to_codes`."""


def _endless(family: Family) -> ConfigError:
    return ConfigError(f"{family.spec} has no finite list of states. Sample it instead.")


def is_enumerable(family: Family) -> bool:
    """Return whether sums over all states are cheap: at most `MAX_STATES` of them."""
    return family.n_states is not None and family.n_states <= MAX_STATES


def states_like(family: Family, like: Tensor) -> Tensor:
    """Return every z of a family, ``[N, *z_shape]``, of the type and on the device of a tensor.

    Kept with the family: to copy the table to a GPU is to wait for it, and a step that is recorded
    as a CUDA graph cannot. Not to be written to.
    """
    kept = vars(family).setdefault("_states", {})
    key = like.dtype, like.device
    if key not in kept:
        with torch.inference_mode(False):  # or else no training could use it afterwards
            kept[key] = family.enumerate().to(like)
    states: Tensor = kept[key]
    return states


def all_codes(sizes: Sequence[int]) -> Tensor:
    """Return every combination of values, ``[Π sizes, len(sizes)]``; the last one runs fastest.

    More than `MAX_STATES` are refused (`ConfigError`).

    Example:
        >>> all_codes([2, 2]).tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    count = math.prod(sizes)
    if count > MAX_STATES:
        raise ConfigError(
            f"the code has more than the {MAX_STATES:,} states that can be enumerated. "
            "Sample it, or make it smaller."
        )
    return torch.cartesian_prod(*[torch.arange(size) for size in sizes]).reshape(count, len(sizes))


def require_family(family: object) -> None:
    """Refuse what is no family, such as the text that describes one (`ConfigError`)."""
    if not hasattr(type(family), "natural_parameters"):
        raise ConfigError(
            f"family must be a Family. Got {kind_of(family)}. Make one with family_of, or give "
            "model.family."
        )
