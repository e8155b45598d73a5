"""The two models that every library trains, and their plain layers. Needs torch alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A model and how it is trained.

    Args:
        about: one line, for the table.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        bits: D.
        slope: of the activation below 0; 0 is ReLU.
        batch: B.
        evaluations: decoder rows per data row in a step.
        lr: of Adam.
        epoch: steps of an epoch, and with the batch the rows of the table.
        epochs: after how many the losses are compared.
        turn: steps that a library takes before the next one has its turn.
        pixels: P.
    """

    about: str
    hidden: tuple[int, ...]
    bits: int
    slope: float
    batch: int
    evaluations: int
    lr: float
    epoch: int
    epochs: int
    turn: int
    pixels: int = 784

    def encoder(self, width: int | None = None) -> list[nn.Module]:
        """Layers from a row to ``width`` numbers, the bits' logits if None."""
        return self._layers((self.pixels, *self.hidden, width or self.bits))

    def decoder(self) -> list[nn.Module]:
        """Layers from a code to the logits of a row."""
        return self._layers((self.bits, *self.hidden[::-1], self.pixels))

    def _layers(self, sizes: tuple[int, ...]) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(sizes):
            activation = nn.LeakyReLU(self.slope) if self.slope else nn.ReLU()
            layers += [nn.Linear(n_in, n_out), activation]
        return layers[:-1]


SETUPS = {
    "a": Setup(
        about="FC-BVAE 784-1024-50 bits, ReLU, batch 2048, 1 sample",
        hidden=(1024,), bits=50, slope=0.0, batch=2048, evaluations=1, lr=1e-3,
        epoch=10, epochs=10, turn=1,
    ),
    "b": Setup(
        about="784-200-200-200 bits, LeakyReLU(0.3), batch 100, 2 decoder evaluations",
        hidden=(200, 200), bits=200, slope=0.3, batch=100, evaluations=2, lr=1e-3,
        epoch=200, epochs=5, turn=8,
    ),
}  # fmt: skip


def batches(table: Tensor, size: int) -> Iterator[Tensor]:
    """Batches without end: a random order every epoch, bytes gathered and made float32."""
    while True:
        for index in torch.randperm(len(table)).split(size):
            yield table.index_select(0, index).float()
