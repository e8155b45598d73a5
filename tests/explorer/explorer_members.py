"""The models that every test of the explorer goes through, and how to read its pictures."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import torch

from discretevae import DiscreteVAE, load_data
from discretevae.config import DataConfig, ModelConfig, RunConfig
from discretevae.explorer.answers import Explorer
from discretevae.explorer.guards import HEADERS
from discretevae.explorer.variables import to_numbers
from discretevae.run_folder.saved_run import Run

MODELS = (  # latent, prior
    ("bernoulli:6", "fixed"),
    ("bernoulli:5", "autoregressive"),
    ("categorical:4", "fixed"),
    ("categorical:3x4", "factorized"),
    ("gaussian:3", "fixed"),
    ("gaussian:3", "mixture:4"),
    ("bernoulli:3+categorical:4+gaussian:2", "fixed"),
)
DISCRETE = tuple(model for model in MODELS if "gaussian" not in model[0])


def explorer_of(latent="bernoulli:6", prior="fixed", *, rows=None, binarize="none", **options):
    """An explorer over 120 rows of digits, and a fresh model whose outputs differ well by code."""
    rows = load_data("digits").test.subset(slice(0, 120)) if rows is None else rows
    config = ModelConfig(
        n_features=rows.n_features,
        latent=latent,
        prior=prior,
        hidden=(16,),
        image_shape=rows.image_shape,
        likelihood=options.pop("likelihood", "bernoulli"),
    )
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(5)).eval()
    with torch.no_grad():
        for network in (model.encoder, model.decoder):
            for parameter in network.parameters():
                parameter.mul_(3)
    run = Run(Path("runs/mine"), RunConfig(model=config, data=DataConfig(binarize=binarize)), model)
    return Explorer(run, rows, source="digits", split="test", **options)


def pixels(picture) -> np.ndarray:
    return np.frombuffer(base64.b64decode(picture["pixels"]), np.uint8)


def grey(x: torch.Tensor) -> np.ndarray:
    """Pixels of values in [0, 1], ``[N, P]``."""
    return (x.double() * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def codes_of(explorer, n=20) -> list[list[float]]:
    return to_numbers(explorer.variables, explorer.gallery.codes[:n])


def is_error(answer, status: int) -> bool:
    """Whether it is one sentence in JSON with the headers of every answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].endswith(".")
    return all(answer.headers[name] == value for name, value in HEADERS.items())
