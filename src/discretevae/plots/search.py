"""Pictures of search: queries beside their neighbors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from discretevae.codes.ids import short_name
from discretevae.config import ImageShape
from discretevae.plots.pictures import MAX_INCHES, blank, gap_of, mosaic, show_picture

NAME_LENGTH = 14
"""Characters that fit below a picture."""


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

    Distances, and names of each query and its neighbors, are written below the pictures.
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
