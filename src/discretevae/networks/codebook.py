"""A learned codebook between the networks and a categorical code."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

EPSILON = 1e-8
"""Least share of a vector that is divided by."""

NUDGE = 0.1
"""Distance between a revived vector and its parent, in root mean squared quantization errors."""

CERTAIN = 1e8
"""c of a code that is the nearest vector for sure."""


class Codebook(nn.Module):
    """K vectors e_k of E numbers: the nearest to what the encoder gives is the likeliest category.

        η_k = −c ‖h − e_k‖² = c (2 h·e_k − ‖e_k‖²) + a constant         decoder input Σ_k z_k e_k

    So q(z|x) = softmax(η) is an ordinary distribution of categories, every gradient estimator
    handles it, and its ELBO is a bound on ln p(x). As c grows, q tends to the nearest vector, the
    code of a VQ-VAE (van den Oord et al. 2017, eq. 1-2).

    Args:
        n_vectors: K.
        dim: E.
        generator: the source of the first vectors; None takes torch's global one.

    Attributes:
        vectors: e, ``[K, E]``.
        log_c: ln c, a scalar.
        shares: moving average of the share of a batch's h that chose each vector, ``[K]``.
        sums: moving average of the sum of these h over the number of all, ``[K, E]``.
        error: moving average of ‖h − e‖², a scalar.

    Example:
        >>> book = Codebook(3, 2, generator=torch.Generator().manual_seed(0))
        >>> h = book.vectors.detach()[[2, 0]].unsqueeze(0)              # [B, D, E] = [1, 2, 2]
        >>> book.logits(h).argmax(-1).tolist()
        [[2, 0]]
    """

    shares: Tensor
    sums: Tensor
    error: Tensor

    def __init__(
        self, n_vectors: int, dim: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(n_vectors, dim).normal_(generator=generator))
        self.log_c = nn.Parameter(torch.tensor(math.log(0.5)))
        self.register_buffer("shares", torch.full((n_vectors,), 1 / n_vectors))
        self.register_buffer("sums", self.vectors.detach() / n_vectors)
        self.register_buffer("error", torch.ones(()))

    def logits(self, h: Tensor) -> Tensor:
        """Return η of ``[..., D, E]``: ``[..., D, K]``, the largest for the nearest vector."""
        return self.log_c.exp() * (2 * h @ self.vectors.T - self.vectors.square().sum(-1))

    def nearest(self, h: Tensor) -> Tensor:
        """Return the number of the nearest vector, ``[..., D, E]`` to ``[..., D]``."""
        near = 2 * h @ self.vectors.T - self.vectors.square().sum(-1)
        return near.argmax(-1)

    @torch.no_grad()
    def place(self, vectors: Tensor, shares: Tensor, error: float) -> None:
        """Start at given vectors, and at the softness that fits how far rows are from them.

        Args:
            vectors: ``[K, E]``.
            shares: the share of all h that chose each, ``[K]``.
            error: mean of ‖h − e‖², which makes c = 1/2 over it: at first q is soft.
        """
        self.vectors.copy_(vectors)
        self.log_c.fill_(math.log(0.5 / max(error, 1e-12)))
        self.shares.copy_(shares)
        self.sums.copy_(self.vectors * shares[:, None])
        self.error.fill_(error)

    @torch.no_grad()
    def be_certain(self) -> None:
        """Let q be the nearest vector for sure."""
        self.log_c.fill_(math.log(CERTAIN))

    @torch.no_grad()
    def remember(self, h: Tensor, index: Tensor, decay: float) -> None:
        """Move the averages of a batch's choices: h ``[B, D, E]``, numbers ``[B, D]``."""
        flat, chosen = h.reshape(-1, h.shape[-1]), index.flatten()
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


class QuantizedEncoder(nn.Module):
    """A network of vectors and a codebook: ``[B, P]`` to the logits ``[B, D·K]``.

    Args:
        network: ``[B, P]`` to ``[B, D·E]``.
        codebook: K vectors of E numbers.
        n_variables: D.
    """

    def __init__(self, network: nn.Module, codebook: Codebook, n_variables: int) -> None:
        super().__init__()
        self.network, self.codebook, self.n_variables = network, codebook, n_variables

    def vectors(self, x: Tensor) -> Tensor:
        """Return what is quantized, ``[B, D, E]``, in the precision of the codebook."""
        h: Tensor = self.network(x).to(self.codebook.vectors.dtype)
        return h.reshape(-1, self.n_variables, self.codebook.vectors.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits; distances are not rounded as the products of networks may be."""
        h = self.vectors(x)
        with torch.autocast(h.device.type, enabled=False):
            return self.codebook.logits(h).flatten(1)


class QuantizedDecoder(nn.Module):
    """A codebook and a network of vectors: codes ``[N, D·K]`` to the likelihood's outputs.

    Args:
        codebook: K vectors of E numbers, those of the encoder.
        n_variables: D.
        network: ``[N, D·E]`` to the outputs.
    """

    def __init__(self, codebook: Codebook, n_variables: int, network: nn.Module) -> None:
        super().__init__()
        self.codebook, self.n_variables, self.network = codebook, n_variables, network

    def forward(self, z: Tensor) -> Tensor:
        """Decode Σ_k z_k e_k of each variable."""
        vectors = self.codebook.vectors
        chosen = z.reshape(-1, self.n_variables, len(vectors)) @ vectors
        output: Tensor = self.network(chosen.flatten(1))
        return output
