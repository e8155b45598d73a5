"""Quantizers between the networks and the code: learned vectors, fixed levels, signs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from discretevae.config import LatentSpec, QuantizerSpec
from discretevae.families.categorical import one_hot

EPSILON = 1e-8
"""Least share of a vector that is divided by."""

NUDGE = 0.1
"""Distance between a revived vector and its parent, in root mean squared quantization errors."""

CERTAIN = 1e8
"""c of a code that is the nearest vector for sure."""


class Quantizer(nn.Module):
    """Points of E numbers that a network rounds to, one for each value of a variable.

        η = −c ‖h − e‖² of each point e, up to what is the same for all          decoder input: e

    So q(z|x) = softmax(η), or σ of a bit's difference, is an ordinary distribution of codes: every
    gradient estimator handles it, and its ELBO is a bound on ln p(x). As c grows, q tends to the
    nearest point, the code of a VQ-VAE. ln c is learned under the ELBO.
    """

    dim = 1

    def __init__(self, c: float) -> None:
        super().__init__()
        self.first_c, self.log_c = c, nn.Parameter(torch.tensor(math.log(c)))

    def bounded(self, h: Tensor) -> Tensor:
        """Return what is rounded, ``[B, D, E]``, of what a network gives."""
        return h

    def logits(self, h: Tensor, c: Tensor | float) -> Tensor:
        """Return η of ``[B, D, E]`` that are bounded: ``[B, *eta_shape]``."""
        raise NotImplementedError

    def nearest(self, h: Tensor) -> Tensor:
        """Return the code of the nearest points, ``[B, D, E]`` to z ``[B, *z_shape]``."""
        raise NotImplementedError

    def points_of(self, z: Tensor) -> Tensor:
        """Return the points of codes, ``[N, *z_shape]`` to ``[N, D, E]``."""
        raise NotImplementedError

    @torch.no_grad()
    def be_certain(self) -> None:
        """Let q be the nearest point for sure."""
        self.log_c.fill_(math.log(CERTAIN))


class Signs(Quantizer):
    """Bits whose points are −1 and 1.

    With ``on_sphere`` the numbers of a row, of a grid those of each place, are first scaled to a
    mean square of 1, as in binary spherical quantization (Zhao, Xiong & Krähenbühl 2024); without,
    as in lookup-free quantization (Yu et al. 2023), they have no bound and need the commitment.
    """

    def __init__(self, *, on_sphere: bool = False, n_places: int = 1) -> None:
        super().__init__(c=0.25)  # so that at first η is h
        self.on_sphere, self.n_places = on_sphere, n_places

    def bounded(self, h: Tensor) -> Tensor:
        """Return the numbers, on their sphere if asked."""
        if not self.on_sphere:
            return h
        places = h.reshape(-1, self.n_places, h.shape[1] // self.n_places)
        squares = places.square().mean(2, keepdim=True)
        return (places * torch.rsqrt(squares + EPSILON)).reshape(h.shape)

    def logits(self, h: Tensor, c: Tensor | float) -> Tensor:
        """Return η = −c (h − 1)² + c (h + 1)² = 4 c h, ``[B, D]``."""
        return (4 * c * h).squeeze(-1)

    def nearest(self, h: Tensor) -> Tensor:
        """Return 1 where a number is above 0, ``[B, D]``."""
        return (h > 0).to(h).squeeze(-1)

    def points_of(self, z: Tensor) -> Tensor:
        """Return 2z − 1, ``[N, D, 1]``."""
        return (2 * z - 1).unsqueeze(-1)


class Levels(Quantizer):
    """Categories whose points are K levels from −1 to 1: finite scalar quantization.

    Numbers are bounded by tanh (Mentzer et al. 2023). The levels lie evenly, so that of an even K
    none is 0.
    """

    points: Tensor

    def __init__(self, n_levels: int) -> None:
        super().__init__(c=(n_levels - 1) ** 2 / 8)  # σ is half the distance of two levels
        self.register_buffer("points", torch.linspace(-1, 1, n_levels))

    def bounded(self, h: Tensor) -> Tensor:
        """Return tanh of the numbers."""
        return h.tanh()

    def logits(self, h: Tensor, c: Tensor | float) -> Tensor:
        """Return η = c (2 h e − e²), ``[B, D, K]``."""
        return c * (2 * h * self.points - self.points.square())

    def nearest(self, h: Tensor) -> Tensor:
        """Return one-hot of the nearest level, ``[B, D, K]``."""
        return one_hot(self.logits(h, 1.0).argmax(-1), len(self.points), self.points.dtype)

    def points_of(self, z: Tensor) -> Tensor:
        """Return the levels, ``[N, D, 1]``."""
        return (z @ self.points).unsqueeze(-1)


class Codebook(Quantizer):
    """K vectors e_k of E numbers that are learned (van den Oord et al. 2017, eq. 1-2).

    Beside them, moving averages: ``shares`` ``[K]`` of a batch's h that chose each vector, ``sums``
    of these h over the number of all, ``[K, E]``, and ``error``, ‖h − e‖².
    """

    shares: Tensor
    sums: Tensor
    error: Tensor

    def __init__(
        self, n_vectors: int, dim: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(c=0.5)
        self.dim = dim
        self.vectors = nn.Parameter(torch.empty(n_vectors, dim).normal_(generator=generator))
        self.register_buffer("shares", torch.full((n_vectors,), 1 / n_vectors))
        self.register_buffer("sums", self.vectors.detach() / n_vectors)
        self.register_buffer("error", torch.ones(()))

    def logits(self, h: Tensor, c: Tensor | float) -> Tensor:
        """Return η = c (2 h·e − ‖e‖²), ``[B, D, K]``."""
        return c * (2 * h @ self.vectors.T - self.vectors.square().sum(-1))

    def nearest(self, h: Tensor) -> Tensor:
        """Return one-hot of the nearest vector, ``[B, D, K]``."""
        return one_hot(self.logits(h, 1.0).argmax(-1), len(self.vectors), self.vectors.dtype)

    def points_of(self, z: Tensor) -> Tensor:
        """Return the vectors of one-hot codes, ``[N, D, E]``."""
        return z @ self.vectors

    @torch.no_grad()
    def place(self, vectors: Tensor, shares: Tensor, error: float) -> None:
        """Start at given vectors ``[K, E]``, at the softness that fits how far rows are from them.

        ``shares`` ``[K]`` of all h chose each; ``error`` is the mean of ‖h − e‖², which makes
        c = 1/2 over it: at first q is soft.
        """
        self.vectors.copy_(vectors)
        self.log_c.fill_(math.log(0.5 / max(error, 1e-12)))
        self.shares.copy_(shares)
        self.sums.copy_(self.vectors * shares[:, None])
        self.error.fill_(error)

    @torch.no_grad()
    def remember(self, h: Tensor, z: Tensor, decay: float) -> None:
        """Move the averages of a batch's choices: h ``[B, D, E]``, z ``[B, D, K]``."""
        flat, chosen = h.reshape(-1, self.dim), z.argmax(-1).flatten()
        each = torch.full_like(flat[:, 0], 1 / len(flat))
        shares = torch.zeros_like(self.shares).index_add_(0, chosen, each)
        sums = torch.zeros_like(self.sums).index_add_(0, chosen, flat / len(flat))
        error = (flat - self.vectors[chosen]).square().sum(-1).mean()
        for average, new in ((self.shares, shares), (self.sums, sums), (self.error, error)):
            average.lerp_(new, 1 - decay)

    @torch.no_grad()
    def follow(self) -> None:
        """Move every vector to the mean of the h that chose it."""
        self.vectors.copy_(self.sums / self.shares.clamp_min(EPSILON)[:, None])

    @torch.no_grad()
    def revive(self, share: float) -> None:
        """Move vectors that are used less than ``share`` of the mean beside those used most.

        As Linde, Buzo & Gray (1980) split the cells of a codebook: the i-th of the least used
        goes to the i-th of the most used, a little aside, and takes over half of its use. Nothing
        is drawn, and no row is looked at, so that all processes do the same.
        """
        order = self.shares.argsort(stable=True)
        parent = order.flip(0)
        dies = self.shares[order] < share * self.shares.mean()
        # a vector cannot be both; one that nobody shares with stays where it is
        dies &= torch.arange(len(order), device=order.device) < len(order) // 2
        numbers = torch.arange(1.0, self.vectors.shape[1] + 1, device=order.device)
        aside = torch.cos(order[:, None] * numbers) * (self.error / len(numbers)).sqrt() * NUDGE
        half = self.shares[parent] / 2
        moved = self.vectors[parent] + aside
        self.vectors[order] = torch.where(dies[:, None], moved, self.vectors[order])
        self.shares[order] = torch.where(dies, half, self.shares[order])
        self.shares[parent] = torch.where(dies, half, self.shares[parent])
        halves = self.sums[parent] / 2
        self.sums[order] = torch.where(dies[:, None], moved * half[:, None], self.sums[order])
        self.sums[parent] = torch.where(dies[:, None], halves, self.sums[parent])


def quantizer_for(
    spec: QuantizerSpec, latent: LatentSpec, *, generator: torch.Generator | None = None
) -> Quantizer:
    """Return the quantizer of a configuration."""
    if spec.kind == "vector":
        return Codebook(latent.n_categories, spec.dim, generator=generator)
    if spec.kind == "levels":
        return Levels(latent.n_categories)
    return Signs(on_sphere=spec.kind == "sphere", n_places=latent.n_places)


class QuantizedEncoder(nn.Module):
    """A network ``[B, P]`` to ``[B, D·E]``, and a quantizer to the natural parameters, flat."""

    def __init__(self, network: nn.Module, quantizer: Quantizer, n_variables: int) -> None:
        super().__init__()
        self.network, self.quantizer, self.n_variables = network, quantizer, n_variables

    def rounded(self, x: Tensor) -> Tensor:
        """Return what is rounded, ``[B, D, E]``, in the precision of the quantizer."""
        h: Tensor = self.network(x).to(self.quantizer.log_c.dtype)
        return self.quantizer.bounded(h.reshape(-1, self.n_variables, self.quantizer.dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return η; distances are not rounded as the products of networks may be."""
        h = self.rounded(x)
        with torch.autocast(h.device.type, enabled=False):
            return self.quantizer.logits(h, self.quantizer.log_c.exp()).flatten(1)


class QuantizedDecoder(nn.Module):
    """The encoder's quantizer and a network of its points: flat codes to the decoder's outputs."""

    def __init__(self, quantizer: Quantizer, z_shape: tuple[int, ...], network: nn.Module) -> None:
        super().__init__()
        self.quantizer, self.z_shape, self.network = quantizer, z_shape, network

    def forward(self, z: Tensor) -> Tensor:
        """Decode the points of codes."""
        points = self.quantizer.points_of(z.reshape(-1, *self.z_shape))
        output: Tensor = self.network(points.flatten(1))
        return output
