"""Every picture: curves, reconstructions, samples, categories. None of them needs a display."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from discretevae.codes.packing import encode_rows
from discretevae.codes.refining import refine_codes
from discretevae.config import ImageShape, sides_of
from discretevae.data import Rows
from discretevae.families import Categorical
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder.history import EpochMetrics
from discretevae.system.files import write_atomic

Picture = np.ndarray[Any, np.dtype[np.float64]]

PICTURES_PER_GAP = 14
"""Pictures are this many times as high as the gap between them."""

COLUMNS = 12
"""Pictures in a line."""

MAX_CATEGORIES = 200

MAX_INCHES = 50
"""Pictures one pixel wide would make a figure higher than a PNG can be."""


def save_figure(figure: Figure, path: Path, *, dpi: int = 100, colors: int | None = None) -> None:
    """Write a figure as PNG, atomically.

    With at most ``colors`` the file is less than half as large; None keeps all of them.
    """
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # a name in letters that the font lacks is drawn with boxes in their place
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    if colors is not None:
        with Image.open(buffer) as full:
            # dots of noise instead of a nearest color would cost more than they are worth
            few = full.convert("RGB").quantize(
                colors, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
            )
        buffer = io.BytesIO()
        few.save(buffer, format="png", optimize=True)
    write_atomic(path, buffer.getvalue())


def curves(history: Sequence[EpochMetrics], *, is_surrogate: bool = False) -> Figure:
    """Return loss, log-likelihood and gradient variance against epochs: the paper's figure 6."""
    unit = "[nats per row, surrogate]" if is_surrogate else "[nats per row]"
    epochs = [metrics.epoch for metrics in history]
    figure = Figure(figsize=(11, 3.3), layout="constrained")
    loss, likelihood, variance = figure.subplots(1, 3)
    loss.plot(epochs, [metrics.loss for metrics in history], label="training rows, −objective")
    loss.plot(epochs, [-metrics.test_elbo for metrics in history], "--", label="test rows, −ELBO")
    loss.set_title(f"Loss {unit}")
    loss.legend(frameon=False)
    likelihood.plot(epochs, [metrics.log_likelihood for metrics in history])
    likelihood.set_title(f"Log-likelihood: E_q ln p(x|z) {unit}")
    variance.plot(epochs, [metrics.grad_variance for metrics in history])
    spread = [metrics.grad_variance for metrics in history]
    if max(spread) > 10 * min(spread) > 0:
        variance.set_yscale("log")
    else:
        variance.set_ylim(bottom=0)
    variance.set_title("Variance of the encoder's gradient")
    for axes in (loss, likelihood, variance):
        axes.title.set_fontsize(10)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if len(epochs) == 1:
            axes.lines[0].set_marker("o")
    return figure


def reconstructions(
    model: DiscreteVAE, rows: Rows, *, n: int = 36, columns: int = COLUMNS, refine: int = 0
) -> Figure:
    """Return the first ``n`` rows above their reconstructions: the paper's figure 7."""
    x = rows.deterministic().batch(slice(0, n)).to(model.device)
    shown = model.decode(refine_codes(model, x, model.encode(x), sweeps=refine))
    bands = []
    for start in range(0, len(x), columns):
        pairs = (part[start : start + columns] for part in (x.cpu(), shown.cpu()))
        bands += [mosaic(part, shape_of(rows), columns) for part in pairs]
    return _mosaic_figure(
        _stack(bands, gap_of(shape_of(rows))), "Rows, each above its reconstruction"
    )


def samples(model: DiscreteVAE, *, n: int = 60, generator: torch.Generator | None) -> Figure:
    """Return E[x|z] for ``n`` codes drawn from the prior: the paper's figure 8."""
    pictures = model.sample(n, generator=generator).cpu()
    return _mosaic_figure(mosaic(pictures, shape_of(model.config), COLUMNS), "Samples of the prior")


def prior_samples(models: Mapping[str, DiscreteVAE], *, n: int = 48, seed: int = 0) -> Figure:
    """Return E[x|z] for codes drawn from the priors of models, by their titles."""
    bands = []
    for model in models.values():
        generator = torch.Generator(model.device).manual_seed(seed)
        pictures = model.sample(n, generator=generator).cpu()
        bands.append(mosaic(pictures, shape_of(model.config), COLUMNS))
    height, width = bands[0].shape[:2]
    inches = 8.0
    each = inches * height / width + 0.3
    figure = Figure(figsize=(inches, each * len(bands)), layout="constrained")
    for axes, title, band in zip(
        figure.subplots(len(bands), 1, squeeze=False)[:, 0], models, bands, strict=True
    ):
        show_picture(axes, band, f"Samples of the prior: {title}")
    return figure


def categories(model: DiscreteVAE, rows: Rows) -> Figure:
    """Return the decoded categories of a one-variable code, with their shares of the rows.

    Sorted by share; a category that no row is given to stands at the end with 0 %.
    """
    n_categories = model.family.eta_shape[-1]
    packed = encode_rows(model, rows)
    codes = torch.from_numpy(packed.astype(np.int64)).flatten()
    share = torch.bincount(codes, minlength=n_categories).double() / len(codes)
    order = share.argsort(descending=True, stable=True)[:MAX_CATEGORIES]
    pictures = as_images(model.decode(order.unsqueeze(1)).cpu(), shape_of(model.config))
    height, width = pictures.shape[1:3]
    columns = math.ceil(math.sqrt(len(order)))
    lines = math.ceil(len(order) / columns)
    inches = min(0.9 * lines * height / width + 0.5, MAX_INCHES)
    figure = Figure(figsize=(0.72 * columns, inches))
    in_use = int((share > 0).sum())
    figure.suptitle(
        f"{in_use} of {n_categories} categories in use; share of {len(codes):,} rows",
        fontsize=10,
        y=1 - 0.12 / inches,
        va="top",
    )
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture, category in zip(grid.flat, pictures, order.tolist(), strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"{100 * share[category].item():.1f} %", fontsize=6, pad=1.5)
    top = max(0.5, 1 - 0.55 / inches)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=top, wspace=0.08, hspace=0.28)
    return figure


def run_figures(
    model: DiscreteVAE,
    history: Sequence[EpochMetrics],
    rows: Rows,
    *,
    generator: torch.Generator | None,
    is_surrogate: bool = False,
) -> dict[str, Figure]:
    """Return every picture that fits the run, by file name without its ending.

    Rows that are no pictures have curves only.
    """
    figures = {"curves": curves(history, is_surrogate=is_surrogate)}
    if model.config.image_shape is not None and rows.image_shape is not None:
        figures["reconstructions"] = reconstructions(model, rows)
        figures["samples"] = samples(model, generator=generator)
        if isinstance(model.family, Categorical) and model.family.n_variables == 1:
            figures["categories"] = categories(model, rows)
    return figures


def image_grid(
    pictures: Tensor, image_shape: ImageShape, title: str, lines: Sequence[str] = ()
) -> Figure:
    """Return pictures ``[n, P]`` in a grid: twelve to a line, or in several lines with names."""
    of_names = len(lines) > 1
    columns = len(pictures) // len(lines) if of_names else min(COLUMNS, len(pictures))
    figure = _mosaic_figure(mosaic(pictures, image_shape, columns), title)
    if of_names:
        pitch, gap = image_shape[0] + gap_of(image_shape), gap_of(image_shape)
        centers = [(i + 0.5) * pitch + (gap - 1) / 2 for i in range(len(lines))]
        figure.axes[0].set_yticks(centers, lines, fontsize=9)
    return figure


def shape_of(described: Any) -> ImageShape:
    """Return the shape of the pictures of rows or of a configuration that has them."""
    shape: ImageShape = described.image_shape
    return shape


def as_images(pictures: Tensor, shape: ImageShape) -> Picture:
    """Return rows ``[n, P]`` as pictures, values in [0, 1]: ``[n, H, W]`` or ``[n, H, W, 3]``.

    Of four channels the first three are red, green and blue; of two, red and green.
    """
    channels = sides_of(shape).channels
    images = pictures.double().clamp(0, 1).numpy().reshape(-1, *shape)
    if channels == 2:
        images = np.concatenate((images, np.zeros_like(images[..., :1])), -1)
    return images if channels == 1 else images[..., :3]


def blank(height: int, width: int, shape: ImageShape, value: float = 0.5) -> Picture:
    """Return an empty ground for pictures of this shape."""
    return np.full((height, width, *[3] * (len(shape) > 2)), value)


def mosaic(pictures: Tensor, shape: ImageShape, columns: int) -> Picture:
    """Return pictures ``[n, P]`` side by side on a mid-grey ground, ``columns`` to a line."""
    height, width = shape[:2]
    gap = gap_of(shape)
    lines = math.ceil(len(pictures) / columns)
    ground = blank(lines * (height + gap) + gap, columns * (width + gap) + gap, shape)
    for i, picture in enumerate(as_images(pictures, shape)):
        top = gap + (i // columns) * (height + gap)
        left = gap + (i % columns) * (width + gap)
        ground[top : top + height, left : left + width] = picture
    return ground


def show_picture(axes: Axes, picture: Picture, title: str = "") -> None:
    """Draw a `mosaic` in a panel without ticks or frame."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=10)


def gap_of(shape: ImageShape) -> int:
    """Return the pixels between pictures of this size in a `mosaic`."""
    return max(1, shape[0] // PICTURES_PER_GAP)


def _stack(bands: list[Picture], gap: int) -> Picture:
    """Return bands above each other, each pair close together and apart from the next."""
    parts: list[Picture] = []
    for i, band in enumerate(bands):
        parts.append(band if i % 2 == 0 else band[gap:])
        if i % 2 == 1 and i < len(bands) - 1:
            parts.append(np.full((2 * gap, *band.shape[1:]), 0.5))
    return np.concatenate(parts)


def _mosaic_figure(picture: Picture, title: str) -> Figure:
    height, width = picture.shape[:2]
    figure = Figure(figsize=(9, min(9 * height / width + 0.4, MAX_INCHES)), layout="constrained")
    axes = figure.subplots()
    show_picture(axes, picture, title)
    return figure
