"""The training loop, what it keeps on disk, and how it is stopped."""

from __future__ import annotations

from discretevae.training.loop import Progress, train

__all__ = ["Progress", "train"]
