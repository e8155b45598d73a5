"""The PSNR of reconstructions, and the perplexity of a code's symbols, by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from discretevae.config import ModelConfig
from discretevae.data import Rows
from discretevae.evaluation.bounds import evaluate, row_scores
from discretevae.model.vae import DiscreteVAE


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def model_for(latent, *, quantizer=None, likelihood="gaussian", scale=6.0):
    """Weights so large that codes differ from row to row."""
    is_grid = "@" in latent
    config = ModelConfig(
        n_features=108, latent=latent, network="resnet" if is_grid else "mlp", quantizer=quantizer,
        width=4 if is_grid else None, hidden=None if is_grid else (8,), image_shape=(6, 6, 3),
        likelihood=likelihood,
    )  # fmt: skip
    model = DiscreteVAE(config, generator=seeded())
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(scale)
    return model


def pictures(n=30):
    values = torch.randint(0, 256, (n, 6, 6, 3), generator=seeded(1), dtype=torch.uint8)
    return Rows.from_array(values.numpy())


def perplexity(symbols):
    """Of numbers: e^H of their shares."""
    share = np.unique(symbols, return_counts=True)[1] / np.size(symbols)
    return math.exp(-(share * np.log(share)).sum())


def test_psnr_is_the_mean_over_pictures_of_8_bit_reconstructions():
    model, rows = model_for("bernoulli:5"), pictures()
    x = rows.batch(slice(None))
    shown = (model.reconstruct(x).clamp(0, 1) * 255).round().double()
    error = (shown - 255 * x.double()).square().mean(1)
    by_hand = 10 * torch.log10(255**2 / error)
    scores = row_scores(model, rows, samples=3)
    assert torch.allclose(scores.psnr, by_hand, atol=1e-4)
    found = evaluate(model, rows, samples=3).psnr
    assert found.value == pytest.approx(by_hand.mean().item(), abs=1e-4)
    assert found.se == pytest.approx(by_hand.std().item() / math.sqrt(30), rel=1e-4)


def test_a_flawless_picture_has_a_finite_psnr():
    model = model_for("bernoulli:5")
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
        model.decoder[-1].bias.fill_(51 / 255)
    flat = Rows.from_array(np.full((4, 6, 6, 3), 51, np.uint8))
    assert evaluate(model, flat, samples=1).psnr.value == pytest.approx(
        10 * math.log10(255**2 * 108), abs=1e-3
    )


@pytest.mark.parametrize(
    "rows",
    [
        Rows.from_array(np.random.default_rng(0).random((9, 6, 6, 3)).astype("f4")),
        Rows.from_array(np.random.default_rng(0).integers(0, 256, (9, 108)).astype("u1")),
        pictures().binarized("threshold"),
    ],
    ids=["no bytes", "no pictures", "binarized"],
)
def test_other_rows_have_no_psnr(rows):
    assert evaluate(model_for("bernoulli:5"), rows, samples=1).psnr is None


@pytest.mark.parametrize(
    ("latent", "quantizer"),
    [
        ("bernoulli:3@3x3", None), ("categorical:5@3x3", None), ("categorical:2x3@3x3", None),
        ("categorical:2x3@3x3", "vector:2"), ("bernoulli:3@3x3", "sphere"),
        ("categorical:4x5", "vector:2"), ("categorical:5", None),
    ],
)  # fmt: skip
def test_the_perplexity_of_symbols_that_are_counted_together(latent, quantizer):
    """Of a grid what a place says; with a codebook what a variable says, wherever it stands."""
    model, rows = model_for(latent, quantizer=quantizer), pictures()
    codes = model.encode(rows.batch(slice(None))).numpy().astype(int)
    spec = model.config.latent
    values, together = spec.n_categories or 2, 1
    if spec.grid and quantizer != "vector:2":
        together = spec.variables_per_place
    digits = codes.reshape(-1, together)
    symbols = sum(digits[:, i] * values**i for i in range(together))
    usage = evaluate(model, rows, samples=1).usage
    assert usage.perplexity == pytest.approx(perplexity(symbols))
    assert usage.perplexity_share == pytest.approx(usage.perplexity / values**together)
    assert usage.perplexity > 1


def test_variables_that_share_nothing_are_counted_apart():
    model, rows = model_for("categorical:3x4"), pictures()
    codes = model.encode(rows.batch(slice(None))).numpy()
    mean = np.mean([math.log(perplexity(column)) for column in codes.T])
    assert evaluate(model, rows, samples=1).usage.perplexity == pytest.approx(math.exp(mean))


def test_large_symbols_and_mixed_codes_have_none():
    for latent in ("bernoulli:21@1x1", "categorical:3+gaussian:2", "gaussian:2"):
        usage = evaluate(model_for(latent), pictures(), samples=1).usage
        assert usage.perplexity is usage.perplexity_share is None


def test_the_command_prints_both(cli, tmp_path):
    np.save(tmp_path / "colors.npy", pictures(60).values.reshape(-1, 6, 6, 3).numpy())
    trained = cli(
        "train", "--data", tmp_path / "colors.npy", "--latent", "bernoulli:2@3x3", "--width", "4",
        "--epochs", "1", "--out", tmp_path / "run",
    )  # fmt: skip
    assert trained.status == 0, trained.err
    assert "PSNR of reconstructions [dB]" in trained.out
    assert "of 4 (" in trained.out
    found = json.loads(cli("evaluate", tmp_path / "run", "--json", "--samples", "2").out)
    assert found["psnr"].keys() == {"value", "se"}
    assert 0.25 <= found["perplexity_share"] == found["perplexity"] / 4 <= 1
    cli("evaluate", tmp_path / "run", "--per-row", tmp_path / "rows.csv", "--samples", "2")
    assert (tmp_path / "rows.csv").read_text().splitlines()[0].endswith(",psnr")
