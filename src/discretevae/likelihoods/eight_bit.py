"""The base of likelihoods of 8-bit values: all 256 probabilities of a feature side by side."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from discretevae.likelihoods.base import Likelihood, Support

LEVELS = 256
TOP = LEVELS - 1

PIECE = 1 << 22
"""Probabilities held at a time: 16 MiB as float32, and some ten such tensors while one is
differentiated."""


def levels(x: Tensor) -> Tensor:
    """k of x = k/255, still as floats."""
    return (x * TOP).round()


class EightBit(Likelihood):
    """A likelihood of x = k/255, k = 0 … 255: a probability of all 8-bit values."""

    support: ClassVar[Support] = "bytes"
    is_probability: ClassVar[bool] = True

    @abstractmethod
    def _log_mass(self, output: Tensor, k: Tensor) -> Tensor:
        """Return ln p(k) of ``[..., C, P]`` and ``[..., P]``: ``[..., P]``."""

    @abstractmethod
    def _log_masses(self, parameters: Tensor) -> Tensor:
        """Return ln p(k) of every k: ``[C, *shape]`` to ``[256, *shape]``."""

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return Σ_p ln p(k_p), k = 255 x, ``[S, B]``."""
        parameters = output.reshape(*output.shape[:-1], self.channels, x.shape[-1])
        return self._log_mass(parameters, levels(x)).sum(-1)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return sums of the masses that occur, of 256 for every state and feature, ``[B, N]``.

        N·P·256 probabilities and B·N·P additions, a few features at a time; of the probabilities at
        most `PIECE` are held, and they are computed again on the way back rather than kept.
        """
        n_states, n_features = len(output), x.shape[-1]
        parameters = output.reshape(n_states, self.channels, n_features).permute(1, 2, 0)
        k = levels(x).long()
        step = max(1, self._features_at_a_time() // max(1, n_states))

        def part(parameters: Tensor, k: Tensor) -> Tensor:
            width = k.shape[1]
            masses = self._log_masses(parameters).reshape(LEVELS * width, n_states)
            chosen = k * width + torch.arange(width, device=k.device)
            return F.embedding_bag(chosen, masses, mode="sum")

        total = output.new_zeros(len(x), n_states)
        for start in range(0, n_features, step):
            pieces = parameters[:, start : start + step], k[:, start : start + step]
            total = total + checkpoint(part, *pieces, use_reentrant=False, preserve_rng_state=False)
        return total

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Draw each k with its probability, by the inverse of the distribution function."""
        n_features = output.shape[-1] // self.channels

        def draw(parameters: Tensor) -> Tensor:
            below = self._log_masses(parameters).exp().cumsum(0)
            u = torch.rand(
                below.shape[1:], dtype=below.dtype, device=below.device, generator=generator
            )
            k = (below <= u * below[-1]).sum(0).clamp(max=TOP)
            return k.to(parameters.dtype) / TOP

        # a few features at a time, as in `table`
        rows = output.detach().reshape(-1, self.channels, n_features)
        rows = rows.transpose(0, 1).reshape(self.channels, -1)
        parts = [draw(part) for part in torch.split(rows, self._features_at_a_time(), dim=1)]
        return torch.cat(parts).reshape(*output.shape[:-1], n_features)

    def _features_at_a_time(self) -> int:
        # tensors of 256 numbers for each feature, one for each component
        return max(1, PIECE // (LEVELS * max(1, self.channels // 3)))
