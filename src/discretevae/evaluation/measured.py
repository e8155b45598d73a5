"""Means with their standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Measured:
    """A mean over rows with its standard error: standard deviation over rows / √rows.

    ``se`` is None for a single row, which has no spread.

    Example:
        >>> f"{Measured(-98.1234, 0.567):.2f}", f"{Measured(1.5, None):+.1f}"
        ('-98.12 ± 0.57', '+1.5')
    """

    value: float
    se: float | None

    def __format__(self, spec: str) -> str:
        """Return the mean and behind it ± its standard error, both as the format says."""
        error = "" if self.se is None else f" ± {self.se:{spec.lstrip('+')}}"
        return f"{self.value:{spec}}{error}"


def measured(per_row: Tensor) -> Measured:
    """Return the mean over rows with its standard error.

    Example:
        >>> import torch
        >>> measured(torch.tensor([1.0, 3.0], dtype=torch.float64))
        Measured(value=2.0, se=1.0)
    """
    mean = per_row.mean().item()
    if len(per_row) < 2:
        return Measured(mean, None)
    return Measured(mean, per_row.std().item() / math.sqrt(len(per_row)))
