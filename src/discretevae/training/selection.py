"""Rows that stand for all of them, and rows that stay on the device."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from discretevae.data import Rows
from discretevae.data.stores.sparse import Sparse
from discretevae.likelihoods import Likelihood
from discretevae.objectives.gradient_noise import PROBE_ROWS
from discretevae.system.randomness import generator_for

MEAN_ROWS = 4096
"""Rows in one go when their mean is formed."""

RESIDENT_SHARE = 0.25
"""Largest share of a GPU's free memory that rows may take up there for good."""


def resident(rows: Rows, device: torch.device) -> Rows:
    """Move rows to the GPU that needs them at every step, if they fit there with ease.

    Moved once as they are stored, bytes as bytes, they need not be gathered, converted and moved
    batch by batch. Rows on disk and sparse ones stay where they are.
    """
    if device.type != "cuda" or not isinstance(rows.values, Tensor):
        return rows
    free, _ = torch.cuda.mem_get_info(device)
    if rows.values.nbytes > free * RESIDENT_SHARE:
        return rows
    return replace(rows, values=rows.values.to(device))


def some_rows(rows: Rows, count: int, seed: int, purpose: str) -> Tensor:
    """Return the numbers of at most ``count`` rows, drawn because a file may be sorted by class."""
    return torch.randperm(len(rows), generator=generator_for(seed, purpose))[:count]


def probe_rows(rows: Rows, seed: int) -> Tensor:
    """Return the fixed batch ``[B, P]`` on which gradients are measured, binarized once."""
    generator = generator_for(seed, "probe binarization")
    chosen = some_rows(rows, PROBE_ROWS, seed, "probe rows")
    return rows.batch(chosen, generator=generator)


def mean_row(rows: Rows, likelihood: Likelihood) -> Tensor:
    """Return the mean ``[C]`` of the `Likelihood.expand` of the rows, each by its weight.

    Missing cells are left out of the mean of their column.
    """
    if rows.binarize == "dynamic":
        rows = rows.binarized("none")  # a draw from Bernoulli(x) has the mean x
    weights = torch.ones(len(rows)) if rows.weights is None else rows.weights
    if isinstance(rows.values, Sparse) and rows.binarize == "none":
        sums = torch.from_numpy(weights.double().numpy() @ rows.values.matrix)
        return (sums / (weights.sum(dtype=torch.float64) * rows.divisor)).float()
    total, known = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    done = 0
    for chunk in rows.chunks(MEAN_ROWS):
        x, w = likelihood.expand(chunk).double(), weights[done : done + len(chunk)].double()
        total = total + w @ x.nan_to_num(nan=0.0)
        known = known + w @ (~x.isnan()).double()
        done += len(chunk)
    return (total / known).float()
