"""From grey values to 0 and 1, batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor

from discretevae.config import BINARIZE_MODES, BinarizeMode
from discretevae.errors import ConfigError, did_you_mean


def binarize(x: Tensor, mode: BinarizeMode, generator: torch.Generator | None = None) -> Tensor:
    """Make grey values binary, or leave them.

    `none` returns x itself; `threshold` is 1 where x > 0.5; `dynamic` draws each value from
    Bernoulli(x), anew at each call, so that a model sees many versions of one picture. The draw
    uses `generator` only and never touches the global random state; 0 stays 0 and 1 stays 1.

    Args:
        x: grey values in [0, 1], any shape.
        mode: `none`, `threshold` or `dynamic`.
        generator: needed by `dynamic`, on the device of x.

    Returns:
        A tensor of the shape of x.

    Raises:
        ConfigError: unknown mode, or `dynamic` without a generator on the device of x.

    Example:
        >>> binarize(torch.tensor([0.0, 0.3, 0.5, 0.9]), "threshold")
        tensor([0., 0., 0., 1.])
    """
    if mode == "none":
        return x
    if mode == "threshold":
        return (x > 0.5).float()
    if mode != "dynamic":
        raise ConfigError(f"binarize: unknown mode {mode!r}. {did_you_mean(mode, BINARIZE_MODES)}")
    if generator is None or generator.device != x.device:
        got = "None" if generator is None else f"one on {generator.device}"
        raise ConfigError(
            f"binarize: mode 'dynamic' needs a torch.Generator on {x.device}. Got {got}."
        )
    return (torch.rand(x.shape, generator=generator, device=x.device) < x).float()


def most_likely(x: Tensor, mode: BinarizeMode) -> Tensor:
    """The input that a model trained with ``mode`` is most likely to have met for this row.

    Codes and reconstructions must not change from call to call, so `dynamic` is settled as
    `threshold` is: 1 where x > 0.5. With `none` it is x itself.

    Raises:
        ConfigError: unknown mode.

    Example:
        >>> most_likely(torch.tensor([0.3, 0.9]), "dynamic")
        tensor([0., 1.])
    """
    return binarize(x, "threshold" if mode == "dynamic" else mode)
