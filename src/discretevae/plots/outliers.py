"""Outliers in pictures: the rows that each score finds least and most normal."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from discretevae.codes.outliers import OutlierScores
from discretevae.data import Rows

SHOWN = 12
"""Rows in a line, unless there are fewer."""

INCHES = 0.8
"""Width of a picture with the air around it."""

MAX_HEIGHT = 6.0
"""Of a picture in inches; higher ones are drawn smaller."""


def outlier_figure(
    found: OutlierScores,
    rows: Rows,
    image_shape: tuple[int, int],
    *,
    n: int = SHOWN,
    title: str = "",
) -> Figure:
    """Four lines of rows: the lowest and the highest by ln p(x), and by ln p(x) + L(x).

    Below each row stand its number and the score that the line is sorted by. The number of a row
    that is an outlier by the score that decides is red.

    Args:
        found: scores of ``rows``.
        rows: N rows that are pictures; they are shown as binarized.
        image_shape: (height, width).
        n: rows in a line.
        title: above.

    Example:
        >>> from discretevae import load_data
        >>> rows = load_data("digits").test
        >>> scores = np.arange(297.0)
        >>> found = OutlierScores(
        ...     scores, scores - 10, np.sign(scores - 9.5), scores, np.zeros(297), True, False
        ... )
        >>> len(outlier_figure(found, rows, (8, 8)).axes)            # 4 lines of 12
        48
    """
    height, width = image_shape
    n = min(n, len(rows))
    tall = min(INCHES * height / width, MAX_HEIGHT) + 0.34
    head = 0.45 if title else 0.1
    total = 4 * (tall + 0.26) + head
    wide = max(n * INCHES, 5.0)
    figure = Figure(figsize=(wide, total))
    if title:
        figure.suptitle(title, fontsize=10, y=1 - 0.1 / total, va="top")
    name = "ln p(x)" if found.is_exact else "bound on ln p(x)"
    if found.is_surrogate:
        name += " (surrogate)"
    for line, (scores, of, lowest) in enumerate(
        (
            (found.bound, name, True),
            (found.bound, name, False),
            (found.corrected, f"{name} + L(x)", True),
            (found.corrected, f"{name} + L(x)", False),
        )
    ):
        order = np.argsort(scores if lowest else -scores, kind="stable")[:n]
        top = total - head - line * (tall + 0.26)
        what = "lowest" if lowest else "highest"
        figure.text(0.06 / wide, (top - 0.18) / total, f"{what} {of} [nats]", fontsize=8)
        shown = rows.deterministic().batch(torch.from_numpy(order))
        for column, (row, picture) in enumerate(zip(order.tolist(), shown, strict=True)):
            left, bottom = column * INCHES + 0.06, top - 0.24 - tall + 0.34
            size = (INCHES - 0.12) / wide, (tall - 0.34) / total
            axes = figure.add_axes((left / wide, bottom / total, *size))
            axes.imshow(
                picture.reshape(height, width).numpy(),
                cmap="gray",
                vmin=0,
                vmax=1,
                interpolation="nearest",
            )
            axes.set_axis_off()
            is_outlier = found.labels[row] == -1
            below: dict[str, Any] = {
                "ha": "center",
                "va": "top",
                "fontsize": 6.5,
                "transform": axes.transAxes,
            }
            pixels = 0.03 / (tall - 0.34)
            axes.text(0.5, -pixels, f"{scores[row]:.1f}", **below)
            axes.text(
                0.5,
                -pixels - 0.12 / (tall - 0.34),
                f"row {row:,}",
                color="tab:red" if is_outlier else "0.4",
                **below,
            )
    return figure
