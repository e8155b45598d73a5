"""A run so small that it is trained and resumed in no time."""

from __future__ import annotations

from pathlib import Path

import torch

from discretevae.config import ModelConfig, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.model.vae import DiscreteVAE, fresh_model


def model() -> DiscreteVAE:
    """Fresh, always the same."""
    return fresh_model(ModelConfig(n_features=9, latent="bernoulli:5", hidden=(4,)), seed=0)


def data() -> Dataset:
    """16 rows and 4 held out."""
    values = (torch.arange(180).reshape(20, 9) % 7 > 3).to(torch.uint8)
    rows = Rows(values, divisor=1.0, name="rows")
    return Dataset("rows", rows.subset(slice(0, 16)), rows.subset(slice(16, 20)))


def training(epochs: int) -> TrainConfig:
    """Two steps an epoch."""
    return TrainConfig(epochs=epochs, batch_size=8)


def newest_state(run: Path) -> Path:
    """The file that a resumed run goes on from."""
    return max((run / "checkpoint").glob("*.safetensors"))
