"""Refined codes: at the optimum of every single change, never worse, the same for every layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from discretevae.codes.packing import encode_rows, pack_codes
from discretevae.codes.refining import _Regions, refine_codes
from discretevae.config import ModelConfig
from discretevae.errors import ConfigError
from discretevae.model.vae import DiscreteVAE


def model_of(latent, **options):
    config = ModelConfig(n_features=options.pop("n_features", 6), latent=latent, **options)
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


def explained(model, x, codes):
    z = model.family.from_codes(codes).to(x)
    return model.likelihood.log_prob(model.output(z).unsqueeze(0), x)[0]


GRID = {"n_features": 3 * 16 * 16, "image_shape": (16, 16, 3), "network": "resnet", "width": 8}
MODELS = {
    "bits": ("bernoulli:5", {"hidden": (8,)}),
    "categories": ("categorical:3x4", {"hidden": (8,)}),
    "codebook": ("categorical:3x4", {"hidden": (8,), "quantizer": "vector:2"}),
    "grid of bits": ("bernoulli:2@8x8", GRID),
    "grid of categories": ("categorical:5@8x8", GRID | {"likelihood": "logistic"}),
    "grid of several": ("categorical:2x3@4x4", GRID | {"quantizer": "vector:2"}),
}


def rows_of(model, n=4):
    return torch.rand(n, model.config.n_features, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
def test_no_row_is_explained_worse(name):
    latent, options = MODELS[name]
    model = model_of(latent, **options)
    x = (rows_of(model) * 255).round() / 255
    codes = model.encode(x)
    refined = refine_codes(model, x, codes)
    assert refined.shape == codes.shape
    assert refined.dtype == codes.dtype
    before, after = explained(model, x, codes), explained(model, x, refined)
    assert (after >= before - 1e-5 * before.abs()).all()
    assert (after > before).any()


@pytest.mark.parametrize("latent", ["bernoulli:5", "categorical:3x4"])
def test_after_enough_sweeps_no_single_change_helps(latent):
    model = model_of(latent, hidden=(8,))
    x = rows_of(model)
    codes = refine_codes(model, x, model.encode(x), sweeps=20, candidates=3)
    best = explained(model, x, codes)
    for d in range(codes.shape[1]):
        for k in range(model.config.latent.n_categories or 2):
            other = codes.clone()
            other[:, d] = k
            assert (explained(model, x, other) <= best + 1e-5).all()


def test_regions_of_a_picture_add_up_to_its_rows():
    model = model_of("bernoulli:2@8x8", **GRID)
    x, regions = rows_of(model), _Regions.of(model)
    output = model.output(model.family.from_codes(model.encode(x)).to(x))
    parts = model.likelihood.log_prob(
        regions.of_values(output).unsqueeze(0), regions.of_values(x)
    ).reshape(len(x), regions.n)
    whole = model.likelihood.log_prob(output.unsqueeze(0), x)[0]
    torch.testing.assert_close(parts.sum(1), whole)
    top_left = x.reshape(-1, 16, 16, 3)[:, :8, :8].flatten(1)
    torch.testing.assert_close(regions.of_values(x).reshape(len(x), 4, -1)[:, 0], top_left)


@pytest.mark.parametrize("latent", ["bernoulli:2@8x8", "categorical:3x4@4x4", "bernoulli:7"])
def test_every_variable_has_one_turn_and_a_region_one_variable_at_a_time(latent):
    model = model_of(latent, **(GRID if "@" in latent else {"hidden": (8,)}))
    regions = _Regions.of(model)
    groups = regions.groups(model.config.latent.variables_per_place)
    assert sorted(torch.cat(groups).tolist()) == list(range(model.family.n_variables))
    for group in groups:
        assert len(set(regions.of_place[group].tolist())) == len(group)


def test_a_place_is_judged_by_the_pixels_of_its_own_region():
    model = model_of("bernoulli:1@8x8", **GRID)
    regions = _Regions.of(model)
    assert regions.of_place.reshape(8, 8)[:4, :4].unique().tolist() == [0]
    assert regions.of_place.reshape(8, 8)[4:, 4:].unique().tolist() == [3]


def test_rows_are_encoded_and_drawn_with_refined_codes():
    model = model_of("bernoulli:5", hidden=(8,))
    x = rows_of(model)
    refined = refine_codes(model, x, model.encode(x), sweeps=2)
    packed = encode_rows(model, x.numpy(), refine=2)
    assert (packed == pack_codes(model.family, refined)).all()
    assert torch.equal(refine_codes(model, x, model.encode(x), sweeps=0), model.encode(x))


@pytest.mark.parametrize("latent", ["gaussian:2", "bernoulli:2+gaussian:2"])
def test_real_variables_are_refused(latent):
    model = model_of(latent, hidden=(8,))
    with pytest.raises(ConfigError, match="cannot be refined"):
        encode_rows(model, rows_of(model).numpy(), refine=1)


def test_the_command_writes_refined_codes(cli, tmp_path):
    run = tmp_path / "run"
    cli("train", "--latent", "bernoulli:8", "--epochs", "1", "--hidden", "8", "--out", str(run))
    for sweeps in (0, 1):
        out = tmp_path / f"codes{sweeps}.npy"
        cli("encode", str(run), "--split", "test", "--out", str(out), "--refine", str(sweeps))
    plain, refined = (np.load(tmp_path / f"codes{s}.npy") for s in (0, 1))
    assert plain.shape == refined.shape
    assert (plain != refined).any()
    picture = tmp_path / "r.png"
    cli("reconstruct", str(run), "--refine", "1", "--n", "4", "--out", str(picture))
    assert picture.stat().st_size > 0
