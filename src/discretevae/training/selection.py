"""Which rows a training looks at for what, and their mean."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from discretevae.config import TrainConfig
from discretevae.data import Rows
from discretevae.data.split import held_out
from discretevae.errors import ConfigError
from discretevae.objectives.gradient_noise import PROBE_ROWS
from discretevae.system.randomness import generator_for

MEAN_ROWS = 4096
"""Rows in one go when their mean is formed."""

RESIDENT_SHARE = 0.25
"""Of a GPU's free memory, what rows may take up there for good."""


def validation_split(rows: Rows, config: TrainConfig) -> tuple[Rows, Rows | None]:
    """The rows to learn from, and those that are looked at to stop in time."""
    if not config.validation:
        return rows, None
    n_held = round(len(rows) * config.validation)
    if not 0 < n_held < len(rows):
        raise ConfigError(
            f"validation {config.validation:g} of {len(rows):,} rows leaves {n_held} to validate "
            "on. Give more rows, or another share."
        )
    learned, held = held_out(len(rows), n_held, config.seed)
    return rows.subset(learned), rows.subset(held)


def resident(rows: Rows, device: torch.device) -> Rows:
    """The rows on the device where they are needed at every step, if they fit there with ease.

    Sent once as they are stored, bytes as bytes, they need not be gathered, converted and sent
    batch by batch. What lies on disk or is sparse stays where it is.

    Args:
        rows: N rows of P values, as stored: one or four bytes for each value.
        device: of the model.

    Example:
        >>> rows = Rows.from_array([[0.0, 0.5], [1.0, 0.25]])
        >>> resident(rows, torch.device("cpu")) is rows
        True
    """
    if device.type != "cuda" or not isinstance(rows.values, Tensor):
        return rows
    free, _ = torch.cuda.mem_get_info(device)
    if rows.values.nbytes > free * RESIDENT_SHARE:
        return rows
    return replace(rows, values=rows.values.to(device))


def some_rows(rows: Rows, count: int, seed: int, purpose: str) -> Tensor:
    """Which rows stand for all: drawn at random, because a file may be sorted by class."""
    return torch.randperm(len(rows), generator=generator_for(seed, purpose))[:count]


def probe_rows(rows: Rows, seed: int) -> Tensor:
    """Return the fixed batch ``[B, P]`` that the gradient's variance is measured on."""
    index = some_rows(rows, PROBE_ROWS, seed, "probe rows")
    return rows.batch(index, generator=generator_for(seed, "probe binarization"))


def mean_of(rows: Rows) -> Tensor:
    """Return the mean training row, ``[P]``, of the values that training meets."""
    if rows.binarize == "dynamic":
        rows = rows.binarized("none")  # a dynamic draw has the mean of x itself
    total = torch.zeros(rows.n_features, dtype=torch.float64)
    for x in rows.chunks(MEAN_ROWS):
        total += x.sum(0, dtype=torch.float64)
    return (total / len(rows)).float()


__all__ = ["mean_of", "probe_rows", "resident", "some_rows", "validation_split"]
