"""Grids of codes in the explorer: a place at a time, whose variables change together."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from discretevae.config import ModelConfig, RunConfig
from discretevae.data import Rows
from discretevae.explorer.answers import Explorer
from discretevae.explorer.effects import GRID_DECODES
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder.saved_run import Run


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def explorer_of(latent, n=30):
    config = ModelConfig(
        n_features=90, latent=latent, network="resnet", width=4, image_shape=(6, 5, 3)
    )
    model = DiscreteVAE(config, generator=seeded()).eval()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(6)
    rows = Rows.from_array(torch.rand(n, 6, 5, 3, generator=seeded(1)).numpy())
    run = Run(Path("runs/mine"), RunConfig(model=model.config), model)
    return Explorer(run, rows, source="rows", split="test")


LATENTS = ["bernoulli:2@3x3", "categorical:5@3x3", "categorical:2x3@3x3"]


@pytest.mark.parametrize("latent", LATENTS)
def test_a_walk_changes_a_place_at_a_time(latent):
    explorer = explorer_of(latent)
    start, end = (explorer.encode_row(row)["code"] for row in (0, 1))
    first, *steps = explorer.walk(start, end)["steps"]
    size = len(start) // 9
    assert first["variable"] is None
    code = start
    for step in steps:
        place = step["variable"] // size
        own = slice(place * size, (place + 1) * size)
        assert step["code"] == code[: own.start] + end[own] + code[own.stop :]
        code = step["code"]
    assert code == end
    differing = {i // size for i, (a, b) in enumerate(zip(start, end, strict=True)) if a != b}
    assert sorted(step["variable"] // size for step in steps) == sorted(differing)


@pytest.mark.parametrize("latent", LATENTS)
def test_the_overview_tells_of_one_place(latent):
    explorer = explorer_of(latent)
    assert explorer.model()["grid"] == (3, 3)
    size = len(explorer.variables) // 9
    told = explorer.overview(4)["variables"]
    assert [one["index"] for one in told] == list(range(4 * size, 5 * size))
    assert all(one["strength"] > 0 for one in told)
    eta = explorer.run.model.eta(explorer.gallery.x(slice(None))).detach()
    mean = explorer.run.model.family.mean(eta).mean(0)
    for one in told:
        assert torch.allclose(torch.tensor(one["usage"]), mean[one["index"]], atol=1e-6)
        assert math.isfinite(one["kl"])


def test_effects_of_many_categories_decode_few_codes():
    explorer = explorer_of("categorical:100@3x3")
    told = explorer.effects(3)
    assert len(told["categories"]) == 100
    assert told["rows"] == GRID_DECODES // 100
    assert explorer_of("bernoulli:2@3x3").effects(3)["rows"] == 30
