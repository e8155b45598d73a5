"""An encoder and a decoder of the user's own: checked once, when the model is made."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from discretevae.errors import ConfigError

PROBE_ROWS = 2
"""Zeros that a module is tried on; more than one, so that a lost axis of rows shows."""


def require_shapes(name: str, module: nn.Module, n_in: int, n_out: int, meaning: str) -> None:
    """Refuse a module that does not take rows ``[B, n_in]`` to ``[B, n_out]`` (`ConfigError`).

    It is tried on zeros in evaluation mode; its mode and the random states stay as they were.
    ``meaning`` says what the numbers that must come out are.

    Example:
        >>> require_shapes("encoder", nn.Linear(4, 3), 4, 3, "the logits of bernoulli:3")
        >>> require_shapes("encoder", nn.Linear(4, 2), 4, 3, "the logits of bernoulli:3")
        Traceback (most recent call last):
        ...
        discretevae.errors.ConfigError: `encoder` must map [B, 4] to [B, 3], the logits of \
bernoulli:3. It maps [2, 4] to [2, 2].
    """
    if not isinstance(module, nn.Module):
        raise ConfigError(f"`{name}` must be a torch.nn.Module. Got {type(module).__name__}.")
    rule = f"`{name}` must map [B, {n_in}] to [B, {n_out}], {meaning}."
    try:
        output = _output(module, n_in)
    except Exception as error:  # the module is a user's, and may fail in any way
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise ConfigError(f"{rule} It fails on [{PROBE_ROWS}, {n_in}] ({reason}).") from error
    if not isinstance(output, Tensor) or output.shape != (PROBE_ROWS, n_out):
        got = list(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ConfigError(f"{rule} It maps [{PROBE_ROWS}, {n_in}] to {got}.")
    kept = module.state_dict()
    odd = [key for key, value in kept.items() if not isinstance(value, Tensor)]
    if odd:
        raise ConfigError(f"`{name}` keeps {odd[0]}, which is no tensor and cannot be saved.")


def _output(module: nn.Module, n_in: int) -> object:
    """Return what a module makes of zeros."""
    like = next(
        itertools.chain(module.parameters(), module.buffers()), torch.empty(0, device="cpu")
    )
    device = like.device
    modes = {part: part.training for part in module.modules()}
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices), device:
            return module.eval()(torch.zeros(PROBE_ROWS, n_in, dtype=like.dtype))
    finally:
        for part, mode in modes.items():
            part.training = mode
