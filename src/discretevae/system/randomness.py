"""Random generators that follow from one seed; torch's global state is never touched."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator_for(
    seed: int, *purpose: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator of its own for each purpose, all following from one seed.

    Streams of different purposes are unrelated, so that a longer evaluation, say, cannot change
    the training that comes after it.

    Args:
        seed: the run's seed.
        purpose: what it is for, such as ``"order", epoch``.
        device: where the random numbers are drawn.

    Example:
        >>> a, b = (generator_for(0, "order", epoch) for epoch in (1, 2))
        >>> torch.rand(1, generator=a).item() == torch.rand(1, generator=b).item()
        False
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def states_of(generators: Sequence[torch.Generator]) -> Tensor:
    """Return the states of generators on one kind of device, uint8 ``[n, bytes]``."""
    return torch.stack([generator.get_state() for generator in generators])


def restore_states(generators: Sequence[torch.Generator], states: Tensor) -> None:
    """Set generators to what `states_of` returned.

    Raises:
        RuntimeError: they are of another kind of device.
        ValueError: there are more or fewer of them.
        TypeError: these are no states.
    """
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state.clone())  # torch 2.13 crashes on a view


__all__ = ["generator_for", "restore_states", "states_of"]
