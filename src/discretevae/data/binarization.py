"""From grey values to 0 and 1."""

from __future__ import annotations

import torch
from torch import Tensor

from discretevae.config import BINARIZE_MODES, BinarizeMode
from discretevae.errors import ConfigError, did_you_mean


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


def require_mode(mode: str) -> None:
    """Refuse a mode that is not one of `BINARIZE_MODES`.

    Raises:
        ConfigError: it is unknown.
    """
    if mode not in BINARIZE_MODES:
        raise ConfigError(f"binarize: unknown mode {mode!r}. {did_you_mean(mode, BINARIZE_MODES)}")
