"""The running sums of an epoch, kept on the device so that a step need not wait for it."""

from __future__ import annotations

import math

import torch

from discretevae.objectives import Terms
from discretevae.training.position import Position

NAMES = ("loss", "log_likelihood", "kl", "ess")
"""Names of the sums in `Position`."""


class Sums:
    """Sums over rows in float64 on the device of the training."""

    def __init__(self, device: torch.device) -> None:
        self.values = torch.zeros(len(NAMES), dtype=torch.float64, device=device)
        self.has_ess = False

    def start(self, position: Position) -> None:
        """Go on from the sums of a position."""
        so_far = [getattr(position, name) for name in NAMES]
        self.values.copy_(torch.tensor(so_far, dtype=torch.float64))

    def add(self, terms: Terms) -> None:
        """Add a batch."""
        loss = -terms.surrogate.detach().sum()
        self.has_ess = "ess" in terms.diagnostics
        ess = terms.diagnostics["ess"].sum() if self.has_ess else torch.zeros_like(loss)
        parts = (loss, terms.log_likelihood.sum(), terms.kl.sum(), ess)
        self.values.add_(torch.stack(parts).double())

    def loss_is_finite(self) -> bool:
        """Wait for the device, and return whether every loss so far was finite."""
        return math.isfinite(self.values[0].item())

    def read(self, position: Position) -> None:
        """Wait for the device, and write the sums into a position."""
        for name, value in zip(NAMES, self.values.tolist(), strict=True):
            setattr(position, name, value)
        position.has_ess = position.has_ess or self.has_ess
