"""discretevae: its own training loop, whole, stopped after every step until its next turn."""

from __future__ import annotations

import torch
from step import bare_products
from torch import Tensor

import discretevae
from discretevae.config import ModelConfig, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.model.vae import DiscreteVAE
from discretevae.training import Progress, train
from peers.setups import Setup
from peers.worker import Turns

VERSION = f"discretevae {discretevae.__version__}"


def run(setup: Setup, table: Tensor, turns: Turns, option: str) -> None:
    """Trains as `discretevae train` does, with the estimator that ``option`` names."""
    rows = Rows(table, divisor=1.0, name="rows")
    config = ModelConfig(
        n_features=setup.pixels,
        latent=f"bernoulli:{setup.bits}",
        hidden=setup.hidden,
        activation=f"leaky-relu:{setup.slope}" if setup.slope else "relu",
    )
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    turns.products = bare_products(model, setup.batch, setup.evaluations)

    def between(progress: Progress) -> None:
        if progress.metrics is not None:
            turns.epoch_over(progress.metrics.loss)
        else:
            turns.end()
        # what follows the last step of an epoch is no part of it, and must not run in the turn
        # of another library either: the answer waits for the epoch's figures
        if progress.metrics is not None or progress.step < progress.n_steps:
            turns.begin()

    turns.begin()
    training = TrainConfig(
        epochs=10**6, batch_size=setup.batch, lr=setup.lr, estimator=option or None
    )
    train(model, Dataset("rows", rows, rows.subset(slice(0, 100))), training, progress=between)
