"""Pictures of a sweep: gain and cost of sizes of the code, and the same rows at each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from discretevae.config import ImageShape
from discretevae.evaluation.code_sizes import SizeResult
from discretevae.evaluation.measured import Measured
from discretevae.plots.comparison import COLORS
from discretevae.plots.pictures import MAX_INCHES, gap_of, mosaic, show_picture

BLUE, RED, GREEN, PINK, GREY = COLORS[0], COLORS[1], COLORS[2], COLORS[3], "0.45"

ROOM = 1.6
"""The panel of used nats is so many times as high as what is used; ceilings may run out of it."""

WIDTH, LABELS, TITLE = 9.0, 0.75, 0.34
"""Inches: of the pictures side by side, of the labels on their left, of the title."""


def size_figure(
    results: Sequence[SizeResult], *, samples: int, rows: int, size: int | None = None
) -> Figure:
    """Return bounds, used nats and reconstruction term against the size of the code.

    Bars are standard errors, which cover the runs where there are several; dots are single runs.
    The ceiling leaves the panel of used nats at the top where it is far above them. The entropy of
    codes cannot exceed ln of the number of test ``rows``; ``size`` is marked as recommended.
    """
    figure = Figure(figsize=(12.5, 4.2), layout="constrained")
    bounds, used, reconstruction = figure.subplots(1, 3)
    sizes = [result.size for result in results]

    exact = [(r.size, r.log_px) for r in results if r.log_px is not None]
    if exact:
        _draw(bounds, *zip(*exact, strict=True), color=GREEN, marker="^", label="ln p(x), exact")
    several = [result.bound for result in results]
    _draw(bounds, sizes, several, color=PINK, marker="s", label=f"{samples}-sample bound")
    _draw(bounds, sizes, [r.elbo for r in results], color=BLUE, marker="o", label="ELBO")
    _draw_runs(bounds, results, "elbo", BLUE)
    bounds.set_title("Bounds on ln p(x) of test rows [nats per row]")

    nats = [result.kl for result in results]
    _draw(used, sizes, nats, color=RED, marker="o", label="used: KL(q(z|x) ‖ p(z))")
    _draw_runs(used, results, "kl", RED)
    top = max(measured.value + (measured.se or 0.0) for measured in nats)
    if all(result.runs for result in results):
        entropies = [result.mean("code_entropy") for result in results]
        style = {"color": GREEN, "marker": "s", "markersize": 5, "lw": 1.3}
        used.plot(sizes, entropies, **style, label="entropy of the most likely codes")
        top = max(top, *entropies)
        if results[-1].ceiling > math.log(rows):  # else the ceiling is what the entropy may reach
            most = f"ln {rows:,} rows, its most"
            used.axhline(math.log(rows), color=GREEN, ls=":", lw=1, label=most)
            top = max(top, math.log(rows))
    used.plot(sizes, [r.ceiling for r in results], color=GREY, ls="--", lw=1.2, label="ceiling")
    used.set_ylim(0, ROOM * max(top, 1e-3))
    used.set_title("What the code holds [nats per row]")

    terms = [result.log_likelihood for result in results]
    _draw(reconstruction, sizes, terms, color=BLUE, marker="o", label=None)
    _draw_runs(reconstruction, results, "log_likelihood", BLUE)
    reconstruction.set_title("Reconstruction term E_q ln p(x|z) [nats per row]")

    for axes in (bounds, used, reconstruction):
        axes.title.set_fontsize(10)
        _draw_sizes(axes, sizes)
        if size is not None:
            label = f"enough: {size}" if axes is bounds else None
            axes.axvline(size, color="black", lw=1.2, ls="-.", zorder=0, label=label)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(
                fontsize=8,
                loc="upper left" if axes is used else "best",
                facecolor="white",
                edgecolor="none",
                framealpha=0.9,
            )
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def reconstruction_figure(
    x: Tensor, shown: Mapping[int, Tensor], image_shape: ImageShape, *, size: int | None = None
) -> Figure:
    """Return rows ``[n, P]``, and below them their reconstructions at every size."""
    picture = mosaic(torch.cat([x, *shown.values()]), image_shape, len(x))
    inches = min(WIDTH * picture.shape[0] / picture.shape[1], MAX_INCHES)
    figure = Figure(figsize=(WIDTH + LABELS, inches + TITLE), layout="constrained")
    axes = figure.subplots()
    enough = "" if size is None else f"; enough: {size}"
    title = f"Test rows, and their reconstructions with codes of size c{enough}"
    show_picture(axes, picture, title)
    line = image_shape[0] + gap_of(image_shape)
    places = [gap_of(image_shape) + line * i + image_shape[0] / 2 for i in range(len(shown) + 1)]
    axes.set_yticks(places, ["rows", *(f"c = {c}" for c in shown)])
    for label, c in zip(axes.get_yticklabels(), (None, *shown), strict=True):
        if c is not None and c == size:
            label.set_fontweight("bold")
            label.set_color(RED)
    return figure


def _draw(axes: Axes, sizes: Sequence[int], values: Sequence[Measured], **style: Any) -> None:
    axes.errorbar(
        sizes,
        [measured.value for measured in values],
        [measured.se or 0.0 for measured in values],
        capsize=3,
        markersize=5,
        lw=1.3,
        **style,
    )


def _draw_runs(axes: Axes, results: Sequence[SizeResult], name: str, color: str) -> None:
    """Draw every run as a dot, where sizes have several."""
    dots = [(r.size, getattr(run, name)) for r in results if len(r.runs) > 1 for run in r.runs]
    if dots:
        at, values = zip(*dots, strict=True)
        axes.scatter(at, values, s=16, color=color, alpha=0.6, lw=0)


def _draw_sizes(axes: Axes, sizes: Sequence[int]) -> None:
    """Name the sizes tried on a logarithmic axis; of those that are too near, the first."""
    axes.set_xscale("log")
    axes.set_xlabel("size c of the code")
    apart = max(0.035 * math.log(sizes[-1] / sizes[0]), 1e-9)
    named: list[int] = []
    for size in sizes:
        if not named or math.log(size / named[-1]) > apart:
            named.append(size)
    axes.set_xticks(named, [f"{size:,}" for size in named])
    axes.set_xticks([], minor=True)
    room = max(0.06 * math.log(sizes[-1] / sizes[0]), 0.1)
    axes.set_xlim(sizes[0] * math.exp(-room), sizes[-1] * math.exp(room))
