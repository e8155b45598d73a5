"""q(z|x) as natural-parameter exponential families of pure functions.

    q(z|x) = h(z) exp(ηᵀT(z) − A(η)),   E_q[T(z)] = ∇A(η)                    (paper, eq. 10-11)

Every class here is a frozen description of a code (how many variables, how many categories); its
methods are pure functions of the natural parameters ``eta``. Sums over the D latent variables of
a row are taken inside, so log-probabilities, entropies and divergences are in nats per row. All
are finite, with finite gradients, far beyond abs(η) = 40.

``torch.distributions.ExponentialFamily`` is not used: its entropy detaches the natural parameters
and so drops the gradient without a word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor

from discretevae.config import LatentSpec, parse_latent
from discretevae.errors import ConfigError

MAX_STATES = 4096
"""Codes with at most this many states are summed over exactly rather than sampled."""


class Family(Protocol):
    """What every family of codes can do; shapes in the words of the mathematics page."""

    @property
    def spec(self) -> LatentSpec:
        """The family in words, as the command line spells it."""
        ...

    @property
    def n_variables(self) -> int:
        """D."""
        ...

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """Shape of one row's natural parameters."""
        ...

    @property
    def z_shape(self) -> tuple[int, ...]:
        """Shape of one row's code z."""
        ...

    @property
    def n_states(self) -> int | None:
        """How many values z can take; None when uncountably many."""
        ...

    def natural_parameters(self, raw: Tensor) -> Tensor:
        """Unconstrained network outputs ``[B, n]`` to ``eta`` ``[B, *eta_shape]``."""
        ...

    def fixed_eta(self) -> Tensor:
        """Natural parameters of the reference: uniform, or the standard normal."""
        ...

    def log_normalizer(self, eta: Tensor) -> Tensor:
        """A(η), ``[B]``."""
        ...

    def mean(self, eta: Tensor) -> Tensor:
        """∇A(η) = E_q[T(z)]."""
        ...

    def sufficient_statistics(self, z: Tensor) -> Tensor:
        """T(z)."""
        ...

    def log_prob(self, eta: Tensor, z: Tensor) -> Tensor:
        """ln q(z), ``[S, B]``."""
        ...

    def entropy(self, eta: Tensor) -> Tensor:
        """H(q), ``[B]``."""
        ...

    def kl(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """KL(q ‖ p) for p of the same family, ``[B]``."""
        ...

    def sample(self, eta: Tensor, n_samples: int, *, generator: torch.Generator | None) -> Tensor:
        """``n_samples`` draws, ``[S, B, *z_shape]``."""
        ...

    def mode(self, eta: Tensor) -> Tensor:
        """The most likely z, ``[B, *z_shape]``."""
        ...

    def enumerate(self) -> Tensor:
        """Every z, ``[N, *z_shape]``."""
        ...

    def log_prob_table(self, eta: Tensor) -> Tensor:
        """ln q of every z in the order of `enumerate`, ``[B, N]``."""
        ...

    def to_codes(self, z: Tensor) -> Tensor:
        """z as the numbers a user keeps, ``[N, D]``."""
        ...

    def from_codes(self, codes: Tensor) -> Tensor:
        """The inverse of `to_codes`."""
        ...


def is_enumerable(family: Family) -> bool:
    """Whether sums over all states are cheap: at most `MAX_STATES` of them.

    Example:
        >>> is_enumerable(Categorical(1, 100)), is_enumerable(Bernoulli(50))
        (True, False)
    """
    return family.n_states is not None and family.n_states <= MAX_STATES


def family_of(latent: str | LatentSpec) -> Family:
    """The family that a text like ``categorical:20x10`` describes.

    Raises:
        ConfigError: the text cannot be read.

    Example:
        >>> family_of("categorical:20x10")
        Categorical(n_variables=20, n_categories=10)
    """
    spec = parse_latent(latent) if isinstance(latent, str) else latent
    if spec.kind == "bernoulli":
        return Bernoulli(spec.n_variables)
    if spec.kind == "categorical":
        return Categorical(spec.n_variables, spec.n_categories)
    return Gaussian(spec.n_variables)


@dataclass(frozen=True)
class Bernoulli:
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

    @property
    def spec(self) -> LatentSpec:
        """``bernoulli:D``."""
        return LatentSpec("bernoulli", self.n_variables)

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """``(D,)``."""
        return (self.n_variables,)

    @property
    def z_shape(self) -> tuple[int, ...]:
        """``(D,)``."""
        return (self.n_variables,)

    @property
    def n_states(self) -> int:
        """2^D."""
        return 1 << self.n_variables

    def natural_parameters(self, raw: Tensor) -> Tensor:
        """The logits are the network's outputs as they are: ``[B, D]``."""
        return raw.reshape(*raw.shape[:-1], *self.eta_shape)

    def fixed_eta(self) -> Tensor:
        """Zeros: every bit is a fair coin."""
        return torch.zeros(self.eta_shape)

    def log_normalizer(self, eta: Tensor) -> Tensor:
        """A(η) = Σ_d softplus(η_d), ``[B]``."""
        return F.softplus(eta).sum(-1)

    def mean(self, eta: Tensor) -> Tensor:
        """∇A(η) = sigmoid(η): the probability that each bit is 1, ``[B, D]``."""
        return torch.sigmoid(eta)

    def sufficient_statistics(self, z: Tensor) -> Tensor:
        """T(z) = z."""
        return z

    def log_prob(self, eta: Tensor, z: Tensor) -> Tensor:
        """ln q(z) = Σ_d z_d η_d − softplus(η_d), ``[S, B]``.

        Written as −softplus((1 − 2z)η), which loses no digits when η is large.
        """
        return F.logsigmoid((2 * z - 1) * eta).sum(-1)

    def entropy(self, eta: Tensor) -> Tensor:
        """H = A(η) − η·∇A(η), ``[B]``; formed from abs(η) so that nothing cancels."""
        size = eta.abs()
        return (F.softplus(-size) + size * torch.sigmoid(-size)).sum(-1)

    def kl(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """KL(q ‖ p) = Σ_d q_d ln(q_d/p_d) + (1−q_d) ln((1−q_d)/(1−p_d)), ``[B]``."""
        on = torch.sigmoid(eta) * (F.logsigmoid(eta) - F.logsigmoid(prior_eta))
        off = torch.sigmoid(-eta) * (F.logsigmoid(-eta) - F.logsigmoid(-prior_eta))
        return (on + off).sum(-1)

    def sample(self, eta: Tensor, n_samples: int, *, generator: torch.Generator | None) -> Tensor:
        """z_d = 1 if u_d < sigmoid(η_d), one uniform u per bit, ``[S, B, D]``."""
        u = torch.rand(
            (n_samples, *eta.shape), dtype=eta.dtype, device=eta.device, generator=generator
        )
        return (u < torch.sigmoid(eta.detach())).to(eta.dtype)

    def mode(self, eta: Tensor) -> Tensor:
        """1 where η > 0, ``[B, D]``."""
        return (eta > 0).to(eta.dtype)

    def enumerate(self) -> Tensor:
        """All 2^D rows of bits, ``[2^D, D]``; row n is n in binary, highest bit first."""
        return _all_codes([2] * self.n_variables).to(torch.get_default_dtype())

    def log_prob_table(self, eta: Tensor) -> Tensor:
        """Two matrix products with the table of states, ``[B, 2^D]``."""
        states = self.enumerate().to(eta)
        return F.logsigmoid(eta) @ states.T + F.logsigmoid(-eta) @ (1 - states).T

    def to_codes(self, z: Tensor) -> Tensor:
        """Bits as uint8, ``[N, D]``."""
        return z.to(torch.uint8)

    def from_codes(self, codes: Tensor) -> Tensor:
        """uint8 bits to z, ``[N, D]``."""
        return codes.to(torch.get_default_dtype())


@dataclass(frozen=True)
class Categorical:
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
        >>> round(family.entropy(eta).item(), 4) == round(math.log(4), 4)
        True
    """

    n_variables: int
    n_categories: int

    @property
    def spec(self) -> LatentSpec:
        """``categorical:K`` or ``categorical:DxK``."""
        return LatentSpec("categorical", self.n_variables, self.n_categories)

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """``(D, K)``."""
        return (self.n_variables, self.n_categories)

    @property
    def z_shape(self) -> tuple[int, ...]:
        """``(D, K)``."""
        return (self.n_variables, self.n_categories)

    @property
    def n_states(self) -> int:
        """K^D."""
        return int(self.n_categories**self.n_variables)

    def natural_parameters(self, raw: Tensor) -> Tensor:
        """The logits are the network's outputs as they are: ``[B, D·K]`` to ``[B, D, K]``."""
        return raw.reshape(*raw.shape[:-1], *self.eta_shape)

    def fixed_eta(self) -> Tensor:
        """Zeros: every category is as likely as any other."""
        return torch.zeros(self.eta_shape)

    def log_normalizer(self, eta: Tensor) -> Tensor:
        """A(η) = Σ_d logsumexp_k η_dk, ``[B]``."""
        return torch.logsumexp(eta, -1).sum(-1)

    def mean(self, eta: Tensor) -> Tensor:
        """∇A(η) = softmax(η): the probability of each category, ``[B, D, K]``."""
        return torch.softmax(eta, -1)

    def sufficient_statistics(self, z: Tensor) -> Tensor:
        """T(z) = z, one-hot."""
        return z

    def log_prob(self, eta: Tensor, z: Tensor) -> Tensor:
        """ln q(z) = Σ_d Σ_k z_dk log_softmax(η)_dk, ``[S, B]``."""
        return (z * torch.log_softmax(eta, -1)).sum((-1, -2))

    def entropy(self, eta: Tensor) -> Tensor:
        """H = −Σ_d Σ_k q_dk ln q_dk, ``[B]``."""
        log_q = torch.log_softmax(eta, -1)
        return -(log_q.exp() * log_q).sum((-1, -2))

    def kl(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """KL(q ‖ p) = Σ_d Σ_k q_dk (ln q_dk − ln p_dk), ``[B]``."""
        log_q = torch.log_softmax(eta, -1)
        return (log_q.exp() * (log_q - torch.log_softmax(prior_eta, -1))).sum((-1, -2))

    def sample(self, eta: Tensor, n_samples: int, *, generator: torch.Generator | None) -> Tensor:
        """The inverse of the cumulative distribution at one uniform per variable, ``[S, B, D, K]``.

        One uniform instead of the K of the Gumbel-max trick: for K = 100 the draws would cost more
        than the decoder's first layer.
        """
        cumulative = torch.softmax(eta.detach(), -1).cumsum(-1)
        u = torch.rand(
            (n_samples, *eta.shape[:-1]), dtype=eta.dtype, device=eta.device, generator=generator
        )
        # [B, D, S]: searchsorted wants the sorted rows to match in all but the last dimension
        points = u.movedim(0, -1) * cumulative[..., -1:]
        index = torch.searchsorted(cumulative, points.contiguous(), right=True)
        # rounding may carry the largest u to the very end of the table
        index = index.clamp_max_(self.n_categories - 1).movedim(-1, 0)
        return self._one_hot(index, eta.dtype)

    def mode(self, eta: Tensor) -> Tensor:
        """One-hot of the largest logit, ``[B, D, K]``."""
        return self._one_hot(eta.argmax(-1), eta.dtype)

    def enumerate(self) -> Tensor:
        """All K^D one-hot codes, ``[K^D, D, K]``; the last variable runs fastest."""
        codes = _all_codes([self.n_categories] * self.n_variables)
        return self._one_hot(codes, torch.get_default_dtype())

    def log_prob_table(self, eta: Tensor) -> Tensor:
        """The log-softmax itself for one variable, else a product with the states, ``[B, K^D]``."""
        log_q = torch.log_softmax(eta, -1).flatten(-2)
        if self.n_variables == 1:
            return log_q
        return log_q @ self.enumerate().to(eta).flatten(1).T

    def to_codes(self, z: Tensor) -> Tensor:
        """Category numbers as int64, ``[N, D]``."""
        return z.argmax(-1)

    def from_codes(self, codes: Tensor) -> Tensor:
        """Category numbers to one-hot z, ``[N, D, K]``."""
        return self._one_hot(codes.long(), torch.get_default_dtype())

    def _one_hot(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        shape = (*index.shape, self.n_categories)
        return torch.zeros(shape, dtype=dtype, device=index.device).scatter_(
            -1, index.unsqueeze(-1), 1.0
        )


@dataclass(frozen=True)
class Gaussian:
    """D independent normals; ``eta`` ``[B, D, 2]`` is (μ/σ², −1/(2σ²)), z ``[S, B, D]`` is real.

    T(z) = (z, z²), A(η) = Σ_d −η₁²/(4η₂) − ½ ln(−2η₂), h(z) = (2π)^{−D/2}. The network gives
    (μ, ln σ²), from which `natural_parameters` forms η.

    Args:
        n_variables: D.

    Example:
        >>> family = Gaussian(1)
        >>> eta = family.natural_parameters(torch.tensor([[1.5, 0.0]]))   # μ = 1.5, σ = 1
        >>> eta
        tensor([[[ 1.5000, -0.5000]]])
        >>> family.kl(eta, family.fixed_eta())                            # ½ μ²
        tensor([1.1250])
    """

    n_variables: int

    @property
    def spec(self) -> LatentSpec:
        """``gaussian:D``."""
        return LatentSpec("gaussian", self.n_variables)

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """``(D, 2)``."""
        return (self.n_variables, 2)

    @property
    def z_shape(self) -> tuple[int, ...]:
        """``(D,)``."""
        return (self.n_variables,)

    @property
    def n_states(self) -> None:
        """None: a continuum."""
        return

    def natural_parameters(self, raw: Tensor) -> Tensor:
        """(μ, ln σ²) ``[B, 2D]`` to η = (μ/σ², −1/(2σ²)) ``[B, D, 2]``."""
        mu, log_var = raw.reshape(*raw.shape[:-1], self.n_variables, 2).unbind(-1)
        precision = torch.exp(-log_var)
        return torch.stack((mu * precision, -0.5 * precision), -1)

    def fixed_eta(self) -> Tensor:
        """The standard normal: (0, −½) for each variable."""
        return torch.tensor([0.0, -0.5]).expand(self.eta_shape).contiguous()

    def moments(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """(μ, σ²) of each variable, each ``[B, D]``."""
        var = -0.5 / eta[..., 1]
        return eta[..., 0] * var, var

    def log_normalizer(self, eta: Tensor) -> Tensor:
        """A(η) = Σ_d μ²/(2σ²) + ln σ, ``[B]``."""
        mu, var = self.moments(eta)
        return (0.5 * mu * eta[..., 0] + 0.5 * var.log()).sum(-1)

    def mean(self, eta: Tensor) -> Tensor:
        """∇A(η) = (μ, μ² + σ²), ``[B, D, 2]``."""
        mu, var = self.moments(eta)
        return torch.stack((mu, mu.square() + var), -1)

    def sufficient_statistics(self, z: Tensor) -> Tensor:
        """T(z) = (z, z²), ``[S, B, D, 2]``."""
        return torch.stack((z, z.square()), -1)

    def log_prob(self, eta: Tensor, z: Tensor) -> Tensor:
        """ln q(z) = Σ_d −(z_d − μ_d)²/(2σ_d²) − ½ ln(2π σ_d²), ``[S, B]``."""
        mu, var = self.moments(eta)
        return (-0.5 * ((z - mu).square() / var + var.log() + math.log(2 * math.pi))).sum(-1)

    def entropy(self, eta: Tensor) -> Tensor:
        """H = Σ_d ½ ln(2πe σ_d²), ``[B]``."""
        _, var = self.moments(eta)
        return (0.5 * (var.log() + math.log(2 * math.pi * math.e))).sum(-1)

    def kl(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """KL(q ‖ p) between normals, summed over variables, ``[B]``."""
        mu, var = self.moments(eta)
        prior_mu, prior_var = self.moments(prior_eta)
        ratio = var / prior_var
        return (0.5 * (ratio - 1 - ratio.log() + (mu - prior_mu).square() / prior_var)).sum(-1)

    def sample(self, eta: Tensor, n_samples: int, *, generator: torch.Generator | None) -> Tensor:
        """z = μ + σε, ε ~ N(0, 1), ``[S, B, D]``; differentiable in ``eta`` (paper, section 2)."""
        mu, var = self.moments(eta)
        noise = torch.randn(
            (n_samples, *mu.shape), dtype=eta.dtype, device=eta.device, generator=generator
        )
        return mu + var.sqrt() * noise

    def mode(self, eta: Tensor) -> Tensor:
        """μ, ``[B, D]``."""
        return self.moments(eta)[0]

    def enumerate(self) -> Tensor:
        """There is nothing to enumerate.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("a Gaussian code has no finite list of states. Sample it instead.")

    def log_prob_table(self, eta: Tensor) -> Tensor:
        """There is no such table.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("a Gaussian code has no finite list of states. Sample it instead.")

    def to_codes(self, z: Tensor) -> Tensor:
        """The real numbers themselves, ``[N, D]``."""
        return z

    def from_codes(self, codes: Tensor) -> Tensor:
        """The real numbers themselves, ``[N, D]``."""
        return codes.to(torch.get_default_dtype())


def _all_codes(sizes: Sequence[int]) -> Tensor:
    count = math.prod(sizes)
    if count > MAX_STATES:
        raise ConfigError(
            f"the code has more than the {MAX_STATES:,} states that can be enumerated. "
            "Sample it, or make it smaller."
        )
    return torch.cartesian_prod(*[torch.arange(size) for size in sizes]).reshape(count, len(sizes))


__all__ = [
    "MAX_STATES",
    "Bernoulli",
    "Categorical",
    "Family",
    "Gaussian",
    "family_of",
    "is_enumerable",
]
