"""The base of likelihoods of 8-bit values: all 256 probabilities of a feature side by side."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LEVELS = 256
TOP = LEVELS - 1

PIECE = 1 << 22
"""Probabilities held at a time: 16 MiB as float32, and some ten such tensors while one is
differentiated."""

LogMasses = Callable[[Tensor], Tensor]
"""ln p(k) of every value: parameters ``[C, *shape]`` to ``[256, *shape]``."""


def levels(x: Tensor) -> Tensor:
    """k of x = k/255, still as floats."""
    return (x * TOP).round()


def table(log_masses: LogMasses, channels: int, output: Tensor, x: Tensor) -> Tensor:
    """ln p(x_b | state n) from the 256 probabilities of every state and feature, ``[B, N]``.

    N·P·256 probabilities and B·N·P additions, a few features at a time; of the probabilities at
    most `PIECE` are held, and they are computed again on the way back rather than kept.

    Args:
        log_masses: of the likelihood.
        channels: C.
        output: ``[N, C·P]``.
        x: ``[B, P]``.
    """
    n_states, n_features = len(output), x.shape[-1]
    parameters = output.reshape(n_states, channels, n_features).permute(1, 2, 0)  # [C, P, N]
    k = levels(x).long()
    step = max(1, PIECE // (LEVELS * max(1, n_states) * _components(channels)))

    def part(parameters: Tensor, k: Tensor) -> Tensor:
        width = k.shape[1]
        masses = log_masses(parameters).reshape(LEVELS * width, n_states)
        chosen = k * width + torch.arange(width, device=k.device)
        return F.embedding_bag(chosen, masses, mode="sum")

    total = output.new_zeros(len(x), n_states)
    for start in range(0, n_features, step):
        pieces = parameters[:, start : start + step], k[:, start : start + step]
        total = total + checkpoint(part, *pieces, use_reentrant=False, preserve_rng_state=False)
    return total


def sample(
    log_masses: LogMasses, channels: int, output: Tensor, *, generator: torch.Generator | None
) -> Tensor:
    """Draw k by inverting the distribution function, and return k/255: ``[..., P]``."""
    n_features = output.shape[-1] // channels

    def draw(parameters: Tensor) -> Tensor:
        below = log_masses(parameters).exp().cumsum(0)
        u = torch.rand(below.shape[1:], dtype=below.dtype, device=below.device, generator=generator)
        k = (below <= u * below[-1]).sum(0).clamp(max=TOP)
        return k.to(parameters.dtype) / TOP

    # a few features at a time, as in `table`
    rows = output.detach().reshape(-1, channels, n_features).transpose(0, 1).reshape(channels, -1)
    step = max(1, PIECE // (LEVELS * _components(channels)))
    parts = [draw(part) for part in torch.split(rows, step, dim=1)]
    return torch.cat(parts).reshape(*output.shape[:-1], n_features)


def _components(channels: int) -> int:
    """Tensors of 256 numbers for each feature that are formed at once."""
    return max(1, channels // 3)
