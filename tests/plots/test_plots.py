"""Every picture: it is there, it is small, it shows something, and pyplot is never loaded."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from discretevae.config import ModelConfig
from discretevae.data import Rows, load_rows
from discretevae.model.vae import DiscreteVAE
from discretevae.plots import pictures as plots
from discretevae.run_folder.history import EpochMetrics, read_metrics
from discretevae.run_folder.saved_run import load_run

pytestmark = pytest.mark.draws

LATENTS = ("bernoulli:6", "categorical:5", "gaussian:3")


def drawn(figure: Figure, tmp_path) -> np.ndarray:
    """The pixels of a figure, from 0 to 1, after checking its file."""
    path = tmp_path / "f.png"
    plots.save_figure(figure, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert b"matplotlib" not in content  # nothing that changes without the picture
    assert len(content) < 300_000
    return np.asarray(Image.open(io.BytesIO(content)).convert("L")) / 255


def metrics(epoch: int, **changes: object) -> EpochMetrics:
    values = {
        "epoch": epoch, "loss": 30 / epoch, "log_likelihood": -28 / epoch, "kl": 2 / epoch,
        "test_elbo": -31 / epoch, "test_elbo_se": 0.1, "grad_variance": 1e-3 / epoch,
        "grad_relative_variance": None, "ess": 1.0, "active_units": 3, "codes_used": 9,
        "code_entropy": 2.0, "rows_per_second": 1e4, "seconds": 1.0, "cpu_seconds": None,
    }  # fmt: skip
    return EpochMetrics(**(values | changes))


def picture_rows(n: int, shape: tuple[int, int] = (4, 5)) -> Rows:
    values = np.random.default_rng(0).random((n, math.prod(shape))).astype(np.float32)
    return Rows.from_array(values, image_shape=shape)


def fresh(latent: str, shape: tuple[int, int] | None = (4, 5), **options: object) -> DiscreteVAE:
    features = math.prod(shape) if shape is not None else 6
    config = ModelConfig(
        n_features=features, latent=latent, hidden=(8,), image_shape=shape, **options
    )
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("latent", LATENTS)
def test_every_figure_of_a_run_on_digits(latent, trained, tmp_path):
    run = load_run(trained(latent))
    rows = load_rows("digits", split="test")
    generator = torch.Generator().manual_seed(0)
    figures = plots.run_figures(run.model, read_metrics(run.folder), rows, generator=generator)
    expected = {"curves", "reconstructions", "samples"}
    assert set(figures) == expected | ({"categories"} if "categorical" in latent else set())
    for name, figure in figures.items():
        pixels = drawn(figure, tmp_path)
        assert min(pixels.shape) > 100, name
        assert pixels.std() > 0.05, name
    # other commands leave pictures there, too
    assert {path.stem for path in (run.folder / "figures").iterdir()} >= set(figures)


@pytest.mark.parametrize("n", [1, 2, 12, 13, 36])
def test_rows_stand_above_their_reconstructions(n, tmp_path):
    model, rows = fresh("bernoulli:6"), picture_rows(40)
    figure = plots.reconstructions(model, rows, n=n, columns=12)
    mosaic = figure.axes[0].images[0].get_array().data
    assert drawn(figure, tmp_path).std() > 0.05
    shown = model.reconstruct(rows.batch(slice(None)))
    height, width = 4, 5
    gap = plots.gap_of((height, width))
    bands = math.ceil(n / 12)
    # a pair of bands: gap, rows, gap, reconstructions, gap; two gaps more to the next pair
    band = 3 * gap + 2 * height
    assert mosaic.shape == (bands * band + (bands - 1) * 2 * gap, 12 * (width + gap) + gap)
    for i in range(n):
        top = (i // 12) * (band + 2 * gap) + gap
        left = (i % 12) * (width + gap) + gap
        for table in (rows.values, shown):
            cell = mosaic[top : top + height, left : left + width]
            assert np.allclose(cell, table[i].reshape(height, width), atol=1e-6)
            top += height + gap


@pytest.mark.parametrize("n", [1, 12, 13])
def test_samples(n, tmp_path):
    model = fresh("gaussian:3")
    figure = plots.samples(model, n=n, generator=torch.Generator().manual_seed(0))
    mosaic = figure.axes[0].images[0].get_array().data
    assert mosaic.shape == (math.ceil(n / 12) * 5 + 1, 12 * 6 + 1)
    first = model.sample(n, generator=torch.Generator().manual_seed(0))[0]
    assert np.allclose(mosaic[1:5, 1:6], first.reshape(4, 5), atol=1e-6)
    drawn(figure, tmp_path)


@pytest.mark.parametrize("n", [1, 13])
def test_image_grid(n, tmp_path):
    figure = plots.image_grid(picture_rows(n).values, (4, 5), "a title")
    assert figure.axes[0].get_title() == "a title"
    assert figure.axes[0].images[0].get_array().shape[1] == min(n, 12) * 6 + 1
    assert drawn(figure, tmp_path).std() > 0.05


@pytest.mark.parametrize("k", [5, 50])
def test_categories_are_sorted_by_their_share(k, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "MAX_CATEGORIES", 30)
    model, rows = fresh(f"categorical:{k}"), picture_rows(30)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(5)
    figure = plots.categories(model, rows)
    codes = model.encode(rows.batch(slice(None))).flatten().numpy()
    share = np.bincount(codes, minlength=k) / 30
    shown = min(k, plots.MAX_CATEGORIES)
    titles = [axes.get_title() for axes in figure.axes][:shown]
    assert titles == [f"{100 * s:.1f} %" for s in sorted(share, reverse=True)[:shown]]
    title = figure.get_suptitle()
    assert title.startswith(f"{np.count_nonzero(share)} of {k} categories in use")
    best = int(share.argmax())
    picture = model.decode(torch.tensor([[best]])).reshape(4, 5)
    assert np.allclose(figure.axes[0].images[0].get_array(), picture, atol=1e-6)
    drawn(figure, tmp_path)


@pytest.mark.parametrize(
    "history",
    [
        [metrics(1)],
        [metrics(e) for e in range(1, 6)],
        [metrics(1, grad_variance=0.0)],
        [metrics(1), metrics(2, grad_variance=0.0)],
        [metrics(e, test_elbo_se=None, ess=None, codes_used=None) for e in (1, 2)],
    ],
)
def test_curves(history, tmp_path):
    figure = plots.curves(history)
    loss, likelihood, variance = figure.axes
    epochs = [m.epoch for m in history]
    for axes, index, expected in (
        (loss, 0, [m.loss for m in history]),
        (loss, 1, [-m.test_elbo for m in history]),
        (likelihood, 0, [m.log_likelihood for m in history]),
        (variance, 0, [m.grad_variance for m in history]),
    ):
        assert axes.lines[index].get_xdata().tolist() == epochs
        assert axes.lines[index].get_ydata().tolist() == pytest.approx(expected)
    markers = {axes.lines[0].get_marker() for axes in figure.axes}
    assert markers == ({"o"} if len(history) == 1 else {"None"})  # a line of one point is unseen
    assert drawn(figure, tmp_path).std() > 0.05


def test_rows_that_are_no_pictures_have_curves_only():
    model = fresh("categorical:4", shape=None)
    rows = Rows.from_array(np.full((5, 6), 0.5))
    assert set(plots.run_figures(model, [metrics(1)], rows, generator=None)) == {"curves"}


def test_values_of_a_gaussian_likelihood_are_clipped(tmp_path):
    model = fresh("bernoulli:4", likelihood="gaussian")
    with torch.no_grad():
        model.decoder[-1].bias.add_(40)
    figure = plots.reconstructions(model, picture_rows(3), n=3)
    mosaic = figure.axes[0].images[0].get_array()
    assert mosaic.min() >= 0
    assert mosaic.max() == 1


@pytest.mark.parametrize("shape", [(1, 60), (800, 1), (1, 1)])
def test_pictures_of_odd_shapes(shape, tmp_path):
    model, rows = fresh("categorical:3", shape=shape), picture_rows(20, shape)
    figures = plots.run_figures(model, [metrics(1)], rows, generator=None)
    for figure in figures.values():
        assert drawn(figure, tmp_path).size < 30e6


def test_few_colors_look_the_same(tmp_path):
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.imshow(np.random.default_rng(0).random((20, 30)), cmap="gray")
    axes.plot([0, 29], [0, 19], color="#D55E00")
    plots.save_figure(figure, tmp_path / "all.png")
    plots.save_figure(figure, tmp_path / "few.png", colors=256)
    pixels = [Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("all", "few")]
    one, other = (np.asarray(picture).astype(int) for picture in pixels)
    assert np.abs(one - other).max() < 16
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in ("all", "few")]
    assert sizes[1] < sizes[0] / 2
