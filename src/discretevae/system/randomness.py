"""Random generators that follow from one seed; torch's global state is never touched."""

from __future__ import annotations

import hashlib

import torch


def generator_for(
    seed: int, *purpose: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a generator for one purpose, such as ``"order", epoch``; all follow from one seed.

    Streams of different purposes are unrelated, so that a longer evaluation, say, cannot change
    the training that comes after it.
    """
    return torch.Generator(device).manual_seed(seed_for(seed, *purpose))


def seed_for(seed: int, *purpose: str | int) -> int:
    """Return the seed of one purpose, below 2**63, which follows from the run's seed."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
