"""Codes of several parts, such as a category beside real numbers."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from discretevae.config import LatentSpec
from discretevae.errors import ConfigError
from discretevae.families.base import MAX_STATES, Family, require_family


@dataclass(frozen=True)
class Product(Family):
    """Independent parts side by side: ln q, entropy and KL are sums over them.

    Natural parameters and codes are flat: ``eta`` ``[B, n]`` and z ``[S, B, m]`` hold those of the
    parts one after the other, each flattened. `split_eta` and `split_z` take them apart again.

    Args:
        parts: families of single kinds, at least two.

    Example:
        >>> from discretevae.families import Categorical, Gaussian
        >>> family = Product((Categorical(1, 3), Gaussian(2)))
        >>> family.eta_shape, family.z_shape, family.n_states
        ((7,), (5,), None)
        >>> eta = family.natural_parameters(torch.zeros(1, 7))
        >>> round(family.kl(eta, family.fixed_eta()).item(), 6)
        0.0
        >>> family.to_codes(family.mode(eta))                       # the category, then two means
        tensor([[0., 0., 0.]])
    """

    parts: tuple[Family, ...]

    @functools.cached_property
    def spec(self) -> LatentSpec:
        """Return the parts' spellings with + between them."""
        return LatentSpec.product(*(part.spec for part in self.parts))

    @property
    def n_variables(self) -> int:  # type: ignore[override]  # follows from the parts
        """Return D, of all parts together."""
        return sum(part.n_variables for part in self.parts)

    @property
    def eta_shape(self) -> tuple[int, ...]:
        """Return ``(n,)``."""
        return (sum(math.prod(part.eta_shape) for part in self.parts),)

    @property
    def z_shape(self) -> tuple[int, ...]:
        """Return ``(m,)``."""
        return (sum(math.prod(part.z_shape) for part in self.parts),)

    @property
    def n_states(self) -> int | None:
        """Return the product of the parts' numbers; None if one of them is a continuum."""
        counts = [part.n_states for part in self.parts]
        return None if None in counts else math.prod(count for count in counts if count)

    def split_eta(self, eta: Tensor) -> list[Tensor]:
        """Split ``[..., n]`` into each part's ``[..., *eta_shape]``."""
        return _split(eta, [part.eta_shape for part in self.parts])

    def split_z(self, z: Tensor) -> list[Tensor]:
        """Split ``[..., m]`` into each part's ``[..., *z_shape]``."""
        return _split(z, [part.z_shape for part in self.parts])

    def join_z(self, codes: Sequence[Tensor]) -> Tensor:
        """Join the parts' z, ``[..., *z_shape]`` each, to ``[..., m]``."""
        shapes = [part.z_shape for part in self.parts]
        return _joined(codes, shapes)

    def natural_parameters(self, raw: Tensor) -> Tensor:
        """Return each part's, from its own share of the outputs: ``[B, n]``."""
        shares = _split(raw, [(math.prod(part.eta_shape),) for part in self.parts])
        etas = [p.natural_parameters(share) for p, share in zip(self.parts, shares, strict=True)]
        return self._join_eta(etas)

    def fixed_eta(self) -> Tensor:
        """Return the parts' references side by side."""
        return self._join_eta([part.fixed_eta() for part in self.parts])

    def log_normalizer(self, eta: Tensor) -> Tensor:
        """Return A(η) = Σ_parts A(η_part), ``[B]``."""
        return _sum(p.log_normalizer(e) for p, e in parts_with_eta(self, eta))

    def mean(self, eta: Tensor) -> Tensor:
        """Return ∇A(η), flat like ``eta``."""
        return self._join_eta([p.mean(e) for p, e in parts_with_eta(self, eta)])

    def sufficient_statistics(self, z: Tensor) -> Tensor:
        """Return T(z), flat like ``eta``: ``[S, B, n]``."""
        codes = zip(self.parts, self.split_z(z), strict=True)
        return self._join_eta([part.sufficient_statistics(code) for part, code in codes])

    def log_prob(self, eta: Tensor, z: Tensor) -> Tensor:
        """Return ln q(z) = Σ_parts ln q(z_part), ``[S, B]``."""
        codes = self.split_z(z)
        pairs = zip(parts_with_eta(self, eta), codes, strict=True)
        return _sum(p.log_prob(e, code) for (p, e), code in pairs)

    def entropy(self, eta: Tensor) -> Tensor:
        """Return H = Σ_parts H, ``[B]``."""
        return _sum(p.entropy(e) for p, e in parts_with_eta(self, eta))

    def kl(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """Return KL(q ‖ p) = Σ_parts KL, ``[B]``."""
        priors = self.split_eta(prior_eta)
        pairs = zip(parts_with_eta(self, eta), priors, strict=True)
        return _sum(p.kl(e, prior) for (p, e), prior in pairs)

    def kl_per_variable(self, eta: Tensor, prior_eta: Tensor) -> Tensor:
        """Return KL(q_d ‖ p_d) of the variables of all parts in their order, ``[B, D]``."""
        priors = self.split_eta(prior_eta)
        pairs = zip(parts_with_eta(self, eta), priors, strict=True)
        return torch.cat([p.kl_per_variable(e, prior) for (p, e), prior in pairs], -1)

    def sample(self, eta: Tensor, n_samples: int, *, generator: torch.Generator | None) -> Tensor:
        """Return draws ``[S, B, m]``; differentiable in a Gaussian part's ``eta`` only."""
        return self.join_z(
            [p.sample(e, n_samples, generator=generator) for p, e in parts_with_eta(self, eta)]
        )

    def mode(self, eta: Tensor) -> Tensor:
        """Return the most likely z, ``[B, m]``."""
        return self.join_z([p.mode(e) for p, e in parts_with_eta(self, eta)])

    def enumerate(self) -> Tensor:
        """Return every combination of the parts' states, ``[N, m]``; the last part runs fastest.

        A Gaussian part is refused (`ConfigError`), and more than `MAX_STATES`.
        """
        if self.n_states is None or self.n_states > MAX_STATES:
            raise ConfigError(
                f"{self.spec} has no list of at most {MAX_STATES:,} states. Sample it instead."
            )
        states = [part.enumerate() for part in self.parts]
        grid = torch.cartesian_prod(*[torch.arange(len(part)) for part in states])
        return self.join_z([part[grid[:, i]] for i, part in enumerate(states)])

    def log_prob_table(self, eta: Tensor) -> Tensor:
        """Return the sum over parts of each part's table, ``[B, N]``."""
        table = torch.zeros(len(eta), 1, dtype=eta.dtype, device=eta.device)
        for part, part_eta in parts_with_eta(self, eta):
            table = (table.unsqueeze(2) + part.log_prob_table(part_eta).unsqueeze(1)).flatten(1)
        return table

    def to_codes(self, z: Tensor) -> Tensor:
        """Return ``[N, D]``: int64 if all parts are discrete, else float32."""
        columns = [p.to_codes(code) for p, code in zip(self.parts, self.split_z(z), strict=True)]
        dtype = torch.int64 if self.n_states is not None else torch.float32
        return torch.cat([column.to(dtype) for column in columns], 1)

    def from_codes(self, codes: Tensor) -> Tensor:
        """Return the inverse of `to_codes`, ``[N, m]``."""
        columns = torch.split(codes, [part.n_variables for part in self.parts], 1)
        return self.join_z([p.from_codes(c) for p, c in zip(self.parts, columns, strict=True)])

    def _join_eta(self, etas: Sequence[Tensor]) -> Tensor:
        return _joined(etas, [part.eta_shape for part in self.parts])


def parts_of(family: Family) -> tuple[Family, ...]:
    """Return the parts of a product; of any other family, itself alone.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> parts_of(Bernoulli(3))
        (Bernoulli(n_variables=3),)
    """
    require_family(family)
    return family.parts if isinstance(family, Product) else (family,)


def parts_with_eta(family: Family, eta: Tensor) -> list[tuple[Family, Tensor]]:
    """Each part with its own natural parameters, ``[..., *eta_shape]``; of any family.

    Example:
        >>> from discretevae.families import Bernoulli, Categorical
        >>> family = Product((Bernoulli(2), Categorical(1, 3)))
        >>> [tuple(own.shape) for _, own in parts_with_eta(family, torch.zeros(4, 5))]
        [(4, 2), (4, 1, 3)]
        >>> [tuple(own.shape) for _, own in parts_with_eta(Bernoulli(5), torch.zeros(4, 5))]
        [(4, 5)]
    """
    etas = family.split_eta(eta) if isinstance(family, Product) else [eta]
    return list(zip(parts_of(family), etas, strict=True))


def label_logits(family: Family, eta: Tensor) -> Tensor:
    """Return the logits of q(y|x), ``[B, K]``: y is the first part of the code, a category."""
    return parts_with_eta(family, eta)[0][1].reshape(len(eta), -1)


def with_label(family: Family, z: Tensor, label: int | Tensor) -> Tensor:
    """Return codes ``[n, *z_shape]`` with a label, or one for each ``[n]``, as their first part."""
    z, first = z.clone(), parts_of(family)[0]
    numbers = torch.as_tensor(label, device=z.device).expand(len(z)).reshape(-1, 1)
    width = math.prod(first.z_shape)
    z.flatten(1)[:, :width] = first.from_codes(numbers).to(z).flatten(1)
    return z


def _split(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    pieces = torch.split(flat, [math.prod(shape) for shape in shapes], -1)
    pairs = zip(pieces, shapes, strict=True)
    return [piece.reshape(*piece.shape[:-1], *shape) for piece, shape in pairs]


def _joined(pieces: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> Tensor:
    return torch.cat(
        [p.flatten(p.ndim - len(shape)) for p, shape in zip(pieces, shapes, strict=True)], -1
    )


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(operator.add, terms)
