"""The batch of a step: what the encoder sees of each row, and what its code has to explain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from discretevae.config import NeighborTarget
from discretevae.data import binarize
from discretevae.data.augmentation import distort, hide
from discretevae.data.classes import UNKNOWN
from discretevae.data.neighbors import NeighborGraph, mutual_neighbors, topical_counts
from discretevae.data.stores.sparse import Sparse
from discretevae.training.preparation import PreparedTraining
from discretevae.training.selection import resident

WALKS = 8
"""Walks from each text, whose words are averaged: one other text shares few of its words."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The rows of a step that fall to this process.

    Rows ``target`` ``[B, P]`` are to be explained; the encoder sees ``encoder_input``, or else
    them. ``weight`` is the factor of this process's loss, n_own · count / n_all, which makes the
    mean over processes the mean over rows; 0 for a process without rows, which takes part only so
    that the others need not wait. ``row_weights`` are over the mean weight of all rows: the steps
    of an epoch add up to the weighted objective, whatever rows they hold.

    ``numbers`` are those of the rows among all N; None in a batch that is made by hand. Unknown
    ``labels`` are −1; ``labeled`` are some rows whose label is known, as the encoder sees them, and
    their labels.
    """

    target: Tensor
    encoder_input: Tensor | None = None
    weight: float = 1.0
    row_weights: Tensor | None = None
    numbers: Tensor | None = None
    labels: Tensor | None = None
    labeled: tuple[Tensor, Tensor] | None = None


class BatchMaker:
    """Maker of the batches of a training: shuffled, distorted, binarized, on the model's device."""

    def __init__(self, prepared: PreparedTraining, generator: torch.Generator) -> None:
        config = prepared.config
        self.seed, self.batch_size, self.ranks = config.seed, prepared.batch_size, prepared.ranks
        self.generator = generator
        self.mode = prepared.train_rows.binarize
        # a picture is distorted before it is binarized, so the rows come as they are stored
        self.rows = resident(prepared.train_rows.binarized("none"), generator.device)
        weights = self.rows.weights
        if weights is not None:
            weights = (weights.double() / weights.mean(dtype=torch.float64)).float()
        self.row_weights = weights
        self.image_shape = prepared.model.config.image_shape
        self.augment = config.augment
        self.labels = prepared.labels
        if self.labels is not None:
            self.known = (self.labels != UNKNOWN).nonzero().squeeze(1)
        self.neighbors: NeighborGraph | None = None
        self.walk_steps = 0
        self.words: Sparse | None = None
        if isinstance(config.target, NeighborTarget):
            self.walk_steps = config.target.steps
            self.neighbors = mutual_neighbors(
                prepared.train_rows, config.target.k, seed=config.seed
            )
            if prepared.train_rows.are_counts:
                self.words = topical_counts(prepared.train_rows)

    def start_epoch(self, epoch: int) -> None:
        """Shuffle the rows for an epoch, counted from 1."""
        self.order = self.rows.epoch(self.seed, epoch, self.batch_size)

    def make(self, step: int) -> Batch:
        """Return the batch of a step of the epoch, counted from 0."""
        rank, count = self.ranks.rank, self.ranks.count
        numbers = self.order.numbers(step, rank=rank, ranks=count)
        n_rows = min(self.batch_size, len(self.rows) - step * self.batch_size)
        x, target = self._rows_of(step, rank, count)
        row_weights = self.row_weights
        if row_weights is not None:
            row_weights = _moved(row_weights[numbers], self.generator.device)
        weight = len(x) * count / n_rows
        if not len(x):  # fewer rows than processes: this one keeps step on a row of another
            x, target = (whole[:1] for whole in self._rows_of(step, 0, 1))
            row_weights, numbers = None, self.order.numbers(step)[:1]
        encoder_input = None
        if self.augment is not None or self.neighbors is not None:
            encoder_input = self._as_encoded(x)
        target = binarize(target, self.mode, self.generator)
        labels = None if self.labels is None else _moved(self.labels[numbers], target.device)
        numbers = _moved(numbers, self.generator.device)
        return Batch(
            target, encoder_input, weight, row_weights, numbers, labels, self._labeled_rows()
        )

    def _as_encoded(self, x: Tensor) -> Tensor:
        """Return rows as the encoder sees them: distorted, then binarized."""
        if self.augment is not None and self.image_shape is not None:
            x = distort(x, self.augment, self.image_shape, generator=self.generator)
        elif self.augment is not None:
            x = hide(x, self.augment.hide, generator=self.generator)
        return binarize(x, self.mode, self.generator)

    def _labeled_rows(self) -> tuple[Tensor, Tensor] | None:
        """Return rows whose label is known, other ones at every step if they are many."""
        if self.labels is None:
            return None
        device, chosen = self.generator.device, self.known
        if len(chosen) > self.batch_size:
            u = torch.rand(len(chosen), generator=self.generator, device=device).cpu()
            chosen = chosen[u.topk(self.batch_size).indices]
        x = self._as_encoded(_moved(self.rows.batch(chosen), device))
        return x, _moved(self.labels[chosen], device)

    def _rows_of(self, step: int, rank: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the rows of a process and the rows that their codes have to explain."""
        device = self.generator.device
        x = _moved(self.order.take(step, rank=rank, ranks=count), device)
        if self.neighbors is None:
            return x, x
        start = self.order.numbers(step, rank=rank, ranks=count)
        if self.words is not None:
            start = start.repeat_interleave(WALKS)
        end = self.neighbors.walk(start, self.walk_steps, generator=self.generator)
        target = (
            self.rows.batch(end) if self.words is None else self.words.means(end.view(-1, WALKS))
        )
        return x, _moved(target, device)


def _moved(rows: Tensor, device: torch.device) -> Tensor:
    """Move rows without waiting for a GPU, which fetches them itself from pinned memory."""
    is_sent = device.type == "cuda" and rows.device.type == "cpu"
    return (rows.pin_memory() if is_sent else rows).to(device, non_blocking=is_sent)
