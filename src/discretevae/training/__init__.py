"""The training loop, what it keeps on disk, and how it is stopped."""

from __future__ import annotations

from discretevae.training.loop import Progress, run_training, train
from discretevae.training.preparation import Method, choose_method, prepare_training

__all__ = ["Method", "Progress", "choose_method", "prepare_training", "run_training", "train"]
