"""Pictures in color keep their colors in every picture that is drawn."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from discretevae.codes.clusters import clusters
from discretevae.codes.outliers import fit_outliers
from discretevae.config import ModelConfig
from discretevae.data import Rows
from discretevae.explorer.pictures import canvas_for
from discretevae.model.vae import DiscreteVAE
from discretevae.plots import pictures as plots
from discretevae.plots.clusters import cluster_figure
from discretevae.plots.outliers import outlier_figure
from discretevae.plots.search import neighbor_figure

pytestmark = pytest.mark.draws

SHAPE = (6, 5, 3)
ORANGE = np.array([255, 128, 0], np.uint8)
ROWS = Rows.from_array(np.tile(ORANGE, (24, *SHAPE[:2], 1)))


def model_of_orange(latent="categorical:3"):
    """A model that draws orange, whatever the code."""
    config = ModelConfig(
        n_features=90, latent=latent, hidden=(4,), image_shape=SHAPE, likelihood="logistic"
    )
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
    model.start_at(ROWS.batch(slice(0, 1))[0])
    return model


def colors_of(figure, tmp_path) -> dict[tuple[int, ...], int]:
    """Return the colors of a figure with their number of pixels."""
    path = tmp_path / "f.png"
    plots.save_figure(figure, path)
    image = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
    colors, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(c): n for c, n in zip(colors.tolist(), counts.tolist(), strict=True)}


def drawn_clusters():
    found = clusters(model_of_orange(), ROWS)
    return cluster_figure(found, ROWS.batch(slice(0, 3)), ROWS, SHAPE)


X = ROWS.batch(slice(0, 12))
FIGURES = {
    "reconstructions": lambda: plots.reconstructions(model_of_orange(), ROWS),
    "samples": lambda: plots.samples(model_of_orange(), generator=None),
    "prior samples": lambda: plots.prior_samples({"a": model_of_orange(), "b": model_of_orange()}),
    "categories": lambda: plots.categories(model_of_orange(), ROWS),
    "grid": lambda: plots.image_grid(X, SHAPE, "a title"),
    "search": lambda: neighbor_figure(X[:3], X.reshape(3, 4, -1), SHAPE),
    "clusters": drawn_clusters,
    "outliers": lambda: outlier_figure(
        fit_outliers(model_of_orange(), ROWS).measure(ROWS), ROWS, SHAPE
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_picture_is_drawn_in_its_colors(name, tmp_path):
    found = colors_of(FIGURES[name](), tmp_path)
    is_orange = {
        color: n for color, n in found.items() if np.abs(np.array(color) - ORANGE).max() <= 2
    }
    assert sum(is_orange.values()) > 0.05 * sum(found.values())
    foreign = {color: n for color, n in found.items() if color[2] > color[0] + 40}
    assert sum(foreign.values()) < 0.01 * sum(found.values())  # no blue: channels are not swapped


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_two_to_four_channels_are_shown(channels):
    rows = torch.rand(2, 4 * 5 * channels, dtype=torch.float64)
    images = plots.as_images(rows, (4, 5, channels))
    assert images.shape == (2, 4, 5, 3)
    shown = min(channels, 3)
    expected = rows.reshape(2, 4, 5, channels)[..., :shown].numpy()
    assert np.array_equal(images[..., :shown], expected)
    assert (images[..., shown:] == 0).all()


def test_the_page_gets_the_bytes_of_every_channel():
    model = model_of_orange()
    canvas = canvas_for(model, ROWS)
    assert canvas.shape == SHAPE
    x = torch.rand(1, 90)
    picture = canvas.picture(x[0])
    assert picture["shape"] == [6, 5, 3]
    again = canvas.from_pixels(base64.b64decode(picture["pixels"]))
    assert (again - x).abs().max() <= 0.5 / 255 + 1e-6
