"""What the encoder is shown of a row, and what the decoder has to explain."""

from __future__ import annotations

import torch
from torch import Tensor

from discretevae.config import NeighborTarget, TrainConfig
from discretevae.data import Rows, binarize
from discretevae.data.augmentation import distort
from discretevae.data.neighbors import mutual_neighbors
from discretevae.data.rows import Batches


class Pairs:
    """Draws both for a batch: a row, distorted or not, and the same row or a neighbor of it.

    Args:
        rows: the training rows.
        config: ``augment`` and ``target`` say how.
        image_shape: (H, W) of rows that are pictures.
        generator: the source of the draws, on the device of the model.

    Raises:
        ConfigError: neighbors of rows on disk, or of too many.
    """

    def __init__(
        self,
        rows: Rows,
        config: TrainConfig,
        image_shape: tuple[int, int] | None,
        generator: torch.Generator,
    ) -> None:
        self._rows, self._mode = rows.binarized("none"), rows.binarize
        self._generator = generator
        self._image_shape = image_shape
        self._augment, self._graph = config.augment, None
        if isinstance(config.target, NeighborTarget):
            self._walk = config.target.steps
            self._graph = mutual_neighbors(rows, config.target.k, seed=config.seed)

    def take(self, batches: Batches, step: int, rank: int, ranks: int) -> tuple[Tensor, Tensor]:
        """The rows of a step that fall to a rank, and what is to be explained of each.

        Args:
            batches: of the epoch, not yet binarized.
            step: of the epoch.
            rank: which of the processes asks.
            ranks: how many there are.

        Returns:
            Two tensors ``[B, P]`` on the model's device, with the values of the data.
        """
        device = self._generator.device
        x = _moved(batches.take(step, rank=rank, ranks=ranks), device)
        if self._graph is None:
            return x, x
        begin = batches.numbers(step, rank=rank, ranks=ranks)
        end = self._graph.walk(begin, self._walk, generator=self._generator)
        return x, _moved(self._rows.batch(end), device)

    def drawn(self, x: Tensor, target: Tensor) -> tuple[Tensor | None, Tensor]:
        """What is shown, distorted and binarized; and what is explained.

        Args:
            x: of `take`.
            target: likewise.

        Returns:
            The first is None if the encoder is shown the very values that are explained.
        """
        shown = None
        if self._augment is not None or self._graph is not None:
            shown = binarize(self._distorted(x), self._mode, self._generator)
        return shown, binarize(target, self._mode, self._generator)

    def _distorted(self, x: Tensor) -> Tensor:
        if self._augment is None or self._image_shape is None:
            return x
        return distort(x, self._augment, self._image_shape, generator=self._generator)


def _moved(rows: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting for a GPU: it fetches them itself from pinned memory."""
    is_sent = device.type == "cuda" and rows.device.type == "cpu"
    return (rows.pin_memory() if is_sent else rows).to(device, non_blocking=is_sent)


__all__ = ["Pairs"]
