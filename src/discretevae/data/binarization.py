"""From grey values to 0 and 1."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from discretevae.config import BINARIZE_MODES, BinarizeMode
from discretevae.errors import ConfigError, did_you_mean
from discretevae.system.randomness import seed_for

PHILOX_NUMBERS = 4
"""Numbers of 64 bits that Philox makes of a counter."""


def binarize(x: Tensor, mode: BinarizeMode, generator: torch.Generator | None = None) -> Tensor:
    """Make grey values binary, or leave them.

    `none` returns x itself; `threshold` is 1 where x > 0.5; `dynamic` draws each value from
    Bernoulli(x), anew at each call. The draw uses `generator` only and never touches the global
    random state; 0 stays 0 and 1 stays 1.

    Args:
        x: grey values in [0, 1], any shape.
        mode: `none`, `threshold` or `dynamic`.
        generator: needed by `dynamic`. Numbers are drawn on its device and moved to that of x.

    Returns:
        A tensor of the shape of x.

    Raises:
        ConfigError: unknown mode, or `dynamic` without a generator.

    Example:
        >>> binarize(torch.tensor([0.0, 0.3, 0.5, 0.9]), "threshold")
        tensor([0., 0., 0., 1.])
    """
    require_mode(mode)
    if mode == "none":
        return x
    if mode == "threshold":
        return (x > 0.5).float()
    if generator is None:
        raise ConfigError(
            "rows of dynamic binarization need a torch.Generator to be drawn from. Got none. Pass "
            "generator, or take rows.deterministic()."
        )
    u = torch.rand(x.shape, generator=generator, device=generator.device).to(x.device)
    return (u < x).float()


def binarize_rows(x: Tensor, numbers: Tensor, seed: int) -> Tensor:
    """Return a draw of Bernoulli(x) for each row, which follows from its number and the seed alone.

    It does not depend on the rows that are drawn together, nor on anything drawn before.

    Args:
        x: grey values in [0, 1], ``[B, P]``.
        numbers: of the rows, int64 ``[B]``.
        seed: of all draws.

    Example:
        >>> x = torch.full((2, 3), 0.5)
        >>> both = binarize_rows(x, torch.tensor([7, 4]), seed=0)
        >>> bool((both[1] == binarize_rows(x[1:], torch.tensor([4]), seed=0)[0]).all())
        True
    """
    width = -(-x.shape[1] // PHILOX_NUMBERS)
    at, drawn = numbers.tolist(), []
    start = 0
    while start < len(at):
        # numbers that follow each other are drawn in one go
        stop = start + 1
        while stop < len(at) and at[stop] == at[stop - 1] + 1:
            stop += 1
        random = np.random.Generator(
            np.random.Philox(key=seed_for(seed, "binarization"), counter=at[start] * width)
        )
        u = random.random((stop - start, width * PHILOX_NUMBERS), np.float64)
        drawn.append(u[:, : x.shape[1]])
        start = stop
    u = np.concatenate(drawn) if drawn else np.empty(x.shape)
    return (torch.from_numpy(u).to(x.device) < x).float()


def require_mode(mode: str) -> None:
    """Refuse a mode that is not one of `BINARIZE_MODES` (`ConfigError`)."""
    if mode not in BINARIZE_MODES:
        raise ConfigError(f"binarize: unknown mode {mode!r}. {did_you_mean(mode, BINARIZE_MODES)}")
