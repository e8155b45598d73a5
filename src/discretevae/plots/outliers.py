"""Outliers in pictures: the rows that each score finds least and most normal."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from discretevae.codes.ids import ids_of, short_name
from discretevae.codes.outliers import OutlierScores
from discretevae.config import ImageShape
from discretevae.data import Rows
from discretevae.plots.pictures import gap_of, mosaic, show_picture

SHOWN = 12
"""Rows in a line, unless there are fewer."""

INCHES = 0.8
"""Width of a picture with the air around it."""

NAME_LENGTH = 13
"""Characters that fit below a picture."""

MAX_HEIGHT = 6.0
"""Of a picture in inches; higher ones are drawn smaller."""


def outlier_figure(
    found: OutlierScores,
    rows: Rows,
    image_shape: ImageShape,
    *,
    n: int = SHOWN,
    title: str = "",
) -> Figure:
    """Return four lines of ``n`` rows: lowest and highest by ln p(x), and by ln p(x) + L(x).

    Below each row stand the score that the line is sorted by and the row's id, in red for a row
    that is an outlier by the score that decides.
    """
    height, width = image_shape[:2]
    n = min(n, len(rows))
    name = "ln p(x)" if found.is_exact else "bound on ln p(x)"
    if found.is_surrogate:
        name += " (surrogate)"
    lines = [(found.bound, name), (found.corrected, f"{name} + L(x)")]
    tall = min(INCHES * height / width, MAX_HEIGHT) + 0.6
    figure = Figure(figsize=(max(n * INCHES, 5.0), 4 * tall + 0.3), layout="constrained")
    figure.suptitle(title, fontsize=10)
    gap, ids = gap_of(image_shape), ids_of(rows)
    middles = gap + (width + gap) * np.arange(n) + (width - 1) / 2
    for number, axes in enumerate(figure.subplots(4, 1)):
        scores, of = lines[number // 2]
        what, sign = ("lowest", 1) if number % 2 == 0 else ("highest", -1)
        order = np.argsort(sign * scores, kind="stable")[:n]
        pictures = rows.deterministic().batch(torch.from_numpy(order))
        show_picture(axes, mosaic(pictures, image_shape, n))
        axes.set_title(f"{what} {of} [nats]", fontsize=8, loc="left")
        names = [
            f"row {ids[row]:,}" if rows.ids is None else short_name(ids[row], NAME_LENGTH)
            for row in order
        ]
        labels = [f"{scores[row]:.1f}\n{name}" for row, name in zip(order, names, strict=True)]
        axes.set_xticks(middles, labels, fontsize=6.5)
        for label, row in zip(axes.get_xticklabels(), order, strict=True):
            label.set_parse_math(False)
            label.set_color("tab:red" if found.labels[row] == -1 else "0.4")
    return figure
