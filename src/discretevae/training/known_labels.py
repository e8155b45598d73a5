"""The labels that the objective ``semi-supervised`` learns from."""

from __future__ import annotations

import torch
from torch import Tensor

from discretevae.config import LatentSpec, TrainConfig
from discretevae.data import Rows
from discretevae.data.classes import UNKNOWN, is_known
from discretevae.errors import ConfigError, DataError
from discretevae.system.randomness import generator_for


def known_labels(rows: Rows, latent: LatentSpec, config: TrainConfig) -> Tensor:
    """Return the label of each training row, int64 ``[N]``; −1 of rows whose label is not used."""
    labels, n_categories = rows.labels, latent.all_parts[0].n_categories
    if labels is None or not (known := is_known(labels)).any():
        raise DataError(
            f"{rows.name}: no row has a label, and `objective='semi-supervised'` learns from some. "
            "Give data with labels, which may be empty or -1 where they are unknown."
        )
    low, high = int(labels.min()), int(labels.max())
    n_names = n_categories if rows.classes is None else len(rows.classes)
    is_numbered = labels[known].min() >= 0 and low >= UNKNOWN and high < n_categories
    if not is_numbered or n_names != n_categories:
        got = f"{low} to {high}" if rows.classes is None else f"{n_names} classes"
        raise DataError(
            f"{rows.name}: labels must be the {n_categories} categories of the code's first part: "
            f"names of so many classes, or 0 to {n_categories - 1}, -1 where unknown. Got {got}. "
            "Choose another `latent`, or number the labels from 0."
        )
    n = config.supervision.labels
    return labels if not n else _some(labels, n, config.seed)


def _some(labels: Tensor, n: int, seed: int) -> Tensor:
    """Return n of the labels that are known, of each class as many as can be, the others −1."""
    n_known = int((labels != UNKNOWN).sum())
    if n > n_known:
        raise ConfigError(f"`supervision` asks for {n:,} labels, and {n_known:,} are known.")
    order = torch.randperm(len(labels), generator=generator_for(seed, "known labels"))
    turn = torch.full((len(labels),), len(labels))  # when a row of its class is chosen
    for label in sorted(set(labels.tolist())):
        if label != UNKNOWN:
            of_class = order[labels[order] == label]
            turn[of_class] = torch.arange(len(of_class))
    chosen = order[turn[order].argsort(stable=True)][:n]
    return torch.full_like(labels, UNKNOWN).index_copy(0, chosen, labels[chosen])
