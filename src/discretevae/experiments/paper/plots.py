"""The paper's figures, its protocol and ours side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from discretevae.data import Rows
from discretevae.experiments.paper.experiments import VARIANTS, Kind, Variant
from discretevae.experiments.paper.findings import FinishedRun
from discretevae.model.vae import DiscreteVAE
from discretevae.plots.comparison import COLORS
from discretevae.plots.pictures import Picture, gap_of, mosaic, shape_of, show_picture
from discretevae.run_folder.history import EpochMetrics, seconds_of
from discretevae.system.randomness import generator_for

Pair: TypeAlias = Mapping[Variant, FinishedRun]
Models: TypeAlias = Callable[[FinishedRun], DiscreteVAE]
Values: TypeAlias = Sequence[float | None]
Opened: TypeAlias = Sequence[tuple[FinishedRun, DiscreteVAE]]

STYLES: Mapping[Variant, dict[str, Any]] = {
    "paper": {"color": COLORS[0], "linestyle": "-"},
    "ours": {"color": COLORS[1], "linestyle": "-"},
}
VARIANT_TITLES: Mapping[Variant, str] = {"paper": "paper's protocol", "ours": "ours"}

EARLY = 20
"""The axes follow what comes after the first such part of the epochs: a loss begins so high that
all the rest would be a flat line."""

COLUMNS = 20
"""Test rows side by side."""

SAMPLE_LINES, SAMPLE_COLUMNS = 6, 12

WIDTH, LABELS, TITLE = 11.0, 1.3, 0.36
"""Inches: of a figure, of the labels on its left, of the room for a title."""


def paper_figure(kind: Kind, pairs: Sequence[Pair], rows: Rows, models: Models) -> Figure:
    """Return a figure of the paper."""
    if kind == "curves":
        return curves_figure(pairs)
    opened = [(run, models(run)) for pair in pairs for run in map(pair.__getitem__, VARIANTS)]
    height, width = shape_of(rows)
    n_blocks = 3 if kind == "reconstructions" else 2
    band = TITLE + n_blocks * (len(opened) + 1.4) * (WIDTH - LABELS) / COLUMNS * height / width
    line = TITLE + SAMPLE_LINES * WIDTH / 2 / SAMPLE_COLUMNS * height / width
    if kind == "reconstructions":
        figure = Figure(figsize=(WIDTH, band), layout="constrained")
        _draw_reconstructions(figure, opened, rows, n_blocks)
    elif kind == "samples":
        figure = Figure(figsize=(WIDTH, line * len(pairs)), layout="constrained")
        _draw_samples(figure, opened)
    else:
        figure = Figure(figsize=(WIDTH, band + line), layout="constrained")
        parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[band, line])
        upper, lower = parts[:, 0]
        _draw_reconstructions(upper, opened, rows, n_blocks)
        _draw_samples(lower, opened)
    return figure


def curves_figure(pairs: Sequence[Pair]) -> Figure:
    """Return six panels for each model; the upper three are what the paper's figure 6 shows."""
    figure = Figure(figsize=(11, 6.1 * len(pairs)), layout="constrained")
    parts = figure.subfigures(len(pairs), 1, squeeze=False, hspace=0.05)[:, 0]
    for part, pair in zip(parts, pairs, strict=True):
        spec = pair["paper"].config.model.latent
        n, k = spec.n_variables, spec.n_categories
        code = f"one of {k} categories" if spec.kind == "categorical" else f"{n} bits"
        part.suptitle(f"{pair['paper'].title}: {code}", fontsize=12, fontweight="bold")
        _draw_curves(part.subplots(2, 3), pair)
        labels = [f"{VARIANT_TITLES[v]}: {pair[v].method}" for v in VARIANTS]
        lines = part.axes[0].lines[: len(labels)]
        part.legend(lines, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    return figure


def _draw_curves(panels: np.ndarray[Any, Any], pair: Pair) -> None:
    (loss, likelihood, variance), (elbo, kl, relative) = panels
    spec = pair["paper"].config.model.latent
    # an unknown value is a gap in the curve
    columns: list[tuple[Axes, str, Callable[[EpochMetrics], float | None]]] = [
        (loss, "Loss: −objective [nats per row]", lambda m: m.loss),
        (likelihood, "Log-likelihood: E_q ln p(x|z) [nats per row]", lambda m: m.log_likelihood),
        (kl, "KL(q(z|x) ‖ p(z)) [nats per row]", lambda m: m.kl),
    ]
    for axes, title, value in columns:
        for variant in VARIANTS:
            _draw(axes, variant, pair[variant], [value(m) for m in pair[variant].history])
        axes.set_title(title)
    _limit(loss, pair, lambda m: m.loss)
    _limit(likelihood, pair, lambda m: m.log_likelihood)
    if spec.kind == "categorical" and spec.n_variables == 1:
        most = math.log(spec.n_categories)
        kl.axhline(most, color="0.45", linewidth=1, linestyle=":")
        kl.annotate(
            f"ln {spec.n_categories}", (0.99, most), xycoords=("axes fraction", "data"),
            ha="right", va="bottom", fontsize=8.5, color="0.35",
        )  # fmt: skip
        kl.set_ylim(0, 1.15 * most)
    _draw_variance(variance, pair, "Variance of the encoder's gradient", lambda m: m.grad_variance)
    _draw_variance(
        relative, pair, "The same, by the squared gradient", lambda m: m.grad_relative_variance
    )
    times = dict(zip(VARIANTS, seconds_of(*(pair[v].history for v in VARIANTS)), strict=True))
    for variant in VARIANTS:
        run = pair[variant]
        _draw(elbo, variant, run, [m.test_elbo for m in run.history], times[variant])
    _limit(elbo, pair, lambda m: m.test_elbo)
    last, color = pair["paper"].history[-1].test_elbo, STYLES["paper"]["color"]
    elbo.axhline(last, color=color, lw=0.8, alpha=0.6, ls=":")
    elbo.set_title("Test ELBO [nats per row] against time")
    for axes in panels.flat:
        axes.title.set_fontsize(9.5)
        axes.set_xlabel("seconds of training" if axes is elbo else "epoch", fontsize=9)
        ends = [times[v][-1] if axes is elbo else len(pair[v].history) for v in VARIANTS]
        axes.set_xlim(0, 1.02 * max(ends))
        axes.tick_params(labelsize=8.5)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)


def _draw(
    axes: Axes, variant: Variant, run: FinishedRun, values: Values, x: Sequence[float] | None = None
) -> None:
    places = [m.epoch for m in run.history] if x is None else x
    shown = [math.nan if value is None else value for value in values]
    (line,) = axes.plot(places, shown, linewidth=1.5, **STYLES[variant])
    if len(shown) == 1 or None in values:
        # a value between unknown ones would not be seen
        line.set(marker=".", markersize=3 if len(shown) > 60 else 6, linewidth=0.9)


def _draw_variance(
    axes: Axes, pair: Pair, title: str, value: Callable[[EpochMetrics], float | None]
) -> None:
    """On a logarithmic axis where both signs of a change matter; no variance is said in words."""
    known: list[float] = []
    for variant in VARIANTS:
        run = pair[variant]
        values = [value(m) for m in run.history]
        above = [v if v is not None and v > 0 else None for v in values]
        _draw(axes, variant, run, above)
        known += [v for v in above if v is not None]
        if not any(above) and any(v == 0 for v in values):
            axes.annotate(
                f"{VARIANT_TITLES[variant]}: 0, an exact gradient has none",
                (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=8.5,
                color=STYLES[variant]["color"],
            )  # fmt: skip
    if known and max(known) > 10 * min(known):
        axes.set_yscale("log")
        axes.set_ylim(top=3 * max(known))
    elif known:
        axes.set_ylim(0, 1.25 * max(known))
    axes.set_title(title)


def _limit(axes: Axes, pair: Pair, value: Callable[[EpochMetrics], float]) -> None:
    histories = [pair[variant].history for variant in VARIANTS]
    late = [value(m) for each in histories for m in each[math.ceil(len(each) / EARLY) - 1 :]]
    room = 0.06 * (max(late) - min(late))
    if room > 0:
        axes.set_ylim(min(late) - room, max(late) + room)


def _draw_reconstructions(figure: FigureBase, opened: Opened, rows: Rows, blocks: int) -> None:
    """Draw test rows above what each model makes of them, several blocks of such lines."""
    x, shape = rows.batch(slice(0, blocks * COLUMNS)), shape_of(rows)
    shown = [x, *(model.reconstruct(x.to(model.device)).cpu() for _, model in opened)]
    gap = gap_of(shape)
    parts: list[Picture] = []
    for start in range(0, len(x), COLUMNS):
        lines = [mosaic(some[start : start + COLUMNS], shape, COLUMNS) for some in shown]
        parts += [lines[0], *(line[gap:] for line in lines[1:])]
        parts.append(np.ones((shape[0] // 3, lines[0].shape[1])))
    axes = figure.subplots()
    data = opened[0][0].title.split(" on ", 1)[1]
    show_picture(axes, np.concatenate(parts[:-1]), f"Test rows above reconstructions, {data}")
    labels = ["test rows", *(f"{run.experiment.model}, {run.variant}" for run, _ in opened)]
    block = len(labels) * (shape[0] + gap) + gap + shape[0] // 3
    first = [gap + line * (shape[0] + gap) + shape[0] / 2 for line in range(len(labels))]
    places = [number * block + place for number in range(blocks) for place in first]
    axes.set_yticks(places, labels * blocks)
    colors = ["black", *(STYLES[run.variant]["color"] for run, _ in opened)] * blocks
    for label, color in zip(axes.get_yticklabels(), colors, strict=True):
        label.set_color(color)


def _draw_samples(figure: FigureBase, opened: Opened) -> None:
    """Draw E[x|z] for codes drawn from the prior, a line for the variants of each model."""
    panels = figure.subplots(len(opened) // len(VARIANTS), len(VARIANTS))
    for axes, (run, model) in zip(panels.flat, opened, strict=True):
        generator = generator_for(run.config.training.seed, "figures", device=model.device)
        pictures = model.sample(SAMPLE_LINES * SAMPLE_COLUMNS, generator=generator).cpu()
        picture = mosaic(pictures, shape_of(model.config), SAMPLE_COLUMNS)
        title = f"Samples of {run.experiment.model}, {VARIANT_TITLES[run.variant]}"
        show_picture(axes, picture, title)
        axes.title.set_color(STYLES[run.variant]["color"])
