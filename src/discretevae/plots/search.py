"""Pictures of search: queries beside their neighbors, and measures of retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from discretevae.codes.ids import short_name
from discretevae.codes.search.retrieval import RetrievalEntry, RetrievalReport
from discretevae.config import ImageShape
from discretevae.plots.comparison import COLORS
from discretevae.plots.pictures import MAX_INCHES, blank, gap_of, mosaic, show_picture

NAME_LENGTH = 14
"""Characters that fit below a picture."""

KINDS = ("model", "itq", "pca sign", "random projections")


def neighbor_figure(
    queries: torch.Tensor,
    neighbors: torch.Tensor,
    image_shape: ImageShape,
    *,
    distances: Sequence[Sequence[int]] | None = None,
    names: Sequence[Sequence[object]] | None = None,
    title: str = "Queries, and their nearest rows by code",
) -> Figure:
    """Return queries ``[Q, P]`` at the left of their neighbors ``[Q, k, P]``, the nearest first.

    Args:
        queries: Q pictures.
        neighbors: k of each.
        image_shape: height, width and channels.
        distances: to write below the neighbors.
        names: of each query and its neighbors, to write below them.
        title: of the figure.
    """
    height, width = image_shape[:2]
    count, k = neighbors.shape[:2]
    gap = gap_of(image_shape)
    text = ((distances is not None) + (names is not None)) * max(2, round(0.3 * height))
    line = height + 2 * gap + text
    left = width + 2 * gap + max(2, width // 4)
    ground = blank(count * line, left + k * (width + gap) + gap, image_shape, 1.0)
    for row in range(count):
        top = row * line
        shown = mosaic(queries[row : row + 1], image_shape, 1)
        ground[top : top + len(shown), : shown.shape[1]] = shown
        shown = mosaic(neighbors[row], image_shape, k)
        ground[top : top + len(shown), left : left + shown.shape[1]] = shown
    inches = min(9.0, 0.8 * (k + 1.5))
    size = (inches, min(inches * len(ground) / ground.shape[1] + 0.4, MAX_INCHES))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    show_picture(axes, ground, title)
    for row in range(count):
        y = row * line + height + 2 * gap + text / 2 - 0.5
        for column in range(k + 1):
            cell = [short_name(names[row][column], NAME_LENGTH)] if names else []
            cell += [str(distances[row][column - 1])] if distances and column else []
            x = gap + width / 2 + (left + (column - 1) * (width + gap) if column else 0)
            said = axes.text(x, y, "\n".join(cell), ha="center", va="center", fontsize=6)
            said.set(color="0.3", parse_math=False)
    return figure


def retrieval_figure(report: RetrievalReport) -> Figure:
    """Return curves of precision and recall, and of mAP against bits if there are several."""
    sizes = sorted({entry.n_bits for entry in report.entries})
    several = len(sizes) > 1
    figure = Figure(figsize=(10.5 if several else 5.8, 4.2), layout="constrained")
    panels = figure.subplots(1, 2 if several else 1, squeeze=False)[0]
    largest = [entry for entry in report.entries if entry.n_bits == sizes[-1]]
    _draw_curves(panels[0], largest)
    panels[0].set_title(f"{sizes[-1]} bits: precision against recall")
    if several:
        for kind in KINDS:
            _draw_sizes(panels[1], [e for e in report.entries if e.kind == kind], kind)
        panels[1].set_xscale("log", base=2)
        panels[1].set_xticks(sizes, [str(size) for size in sizes])
        panels[1].minorticks_off()
        panels[1].set_xlabel("bits of the code")
        panels[1].set_ylabel("mAP [%]")
        panels[1].set_title("mAP over the full list, ties averaged")
    for axes in panels:
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    name = Path(report.data).name
    title = f"{name}: {report.queries:,} queries, {report.gallery:,} rows searched"
    figure.suptitle(title, fontsize=10)
    return figure


def _draw_curves(axes: Axes, entries: Sequence[RetrievalEntry]) -> None:
    models = 0
    for entry in entries:
        precision, recall = 100 * entry.scores.curve
        is_model = entry.kind == "model"
        style = {"lw": 2.0, "ls": ("-", "-.", ":")[models % 3]} if is_model else {"lw": 1.2}
        models += is_model
        axes.plot(recall, precision, color=_color(entry.kind), label=_label(entry), **style)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision [%]")
    axes.set_xlim(0, 100)
    axes.xaxis.set_major_formatter("{x:.0f} %")
    axes.set_ylim(0, 101)


def _draw_sizes(axes: Axes, entries: Sequence[RetrievalEntry], kind: str) -> None:
    if entries:
        values = [100 * entry.scores.mean_average_precision for entry in entries]
        is_model = kind == "model"
        style = {"lw": 2.0, "ls": "none"} if is_model else {"lw": 1.2}
        sizes = [entry.n_bits for entry in entries]
        marker = "s" if is_model else "o"
        axes.plot(sizes, values, color=_color(kind), marker=marker, ms=5, label=kind, **style)


def _label(entry: RetrievalEntry) -> str:
    return f"{entry.name}: mAP {100 * entry.scores.mean_average_precision:.1f} %"


def _color(kind: str) -> str:
    return COLORS[KINDS.index(kind)]
