"""A run so small that it is trained and resumed in no time."""

from __future__ import annotations

from pathlib import Path

import torch

from discretevae.config import ModelConfig, TrainConfig
from discretevae.data import Dataset, Rows, Schema
from discretevae.data.datasets import DrawnSplit
from discretevae.data.schema import split_rows
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.run_folder.saved_run import schema_bytes


def model() -> DiscreteVAE:
    """Fresh, always the same."""
    return fresh_model(ModelConfig(n_features=9, latent="bernoulli:5", hidden=(4,)), seed=0)


def data() -> Dataset:
    """16 rows and 4 held out."""
    values = (torch.arange(180).reshape(20, 9) % 7 > 3).to(torch.uint8)
    rows = Rows(values, divisor=1.0, name="rows")
    return Dataset("rows", rows.subset(slice(0, 16)), rows.subset(slice(16, 20)))


def schemas() -> list[bytes]:
    """Of a table that was split, of scaled columns, and of a source with parts and classes."""
    table = torch.arange(180).reshape(20, 9) % 7
    split = DrawnSplit(20, 0.1, 0)
    named = Rows.from_array(table, columns=list("abcdefghi"), scale="standard")
    labels = ["cat", "dog"] * 10
    both = Rows.from_array(table, image_shape=(3, 3), divisor=6, labels=labels)
    plain = Rows.from_array(table, divisor=1)
    return [
        schema_bytes(Schema.of(Dataset("rows", *split_rows(rows, split), split)))
        for rows in (named, plain)
    ] + [schema_bytes(Schema.of(Dataset("rows", both, both)))]


def training(epochs: int) -> TrainConfig:
    """Two steps an epoch."""
    return TrainConfig(epochs=epochs, batch_size=8)


def newest_state(run: Path) -> Path:
    """The file that a resumed run goes on from."""
    return max((run / "checkpoint").glob("*.safetensors"))
