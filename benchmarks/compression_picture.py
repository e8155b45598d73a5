"""Draws what `compression.py` measured: bits per value of every way to store the same rows.

    python benchmarks/compression_picture.py docs/results/compression

The folder holds ``compression.json``, an object with one result of `compression.py` for each set of
data; ``compression.png`` is written beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from discretevae.cli.ending import finish
from discretevae.plots.pictures import save_figure

OURS, THEIRS = "#0072B2", "#B0B4B8"


def panel(axes: Axes, name: str, result: dict[str, Any]) -> None:
    """One set of data: a bar for each way, the shortest on top, and the model's bound."""
    ours = min(file["bits_per_value"] for file in result["files"])
    sizes = {"discretevae compress": ours}
    sizes |= {way: size for way, size in result["others_bits_per_value"].items() if size}
    ways = sorted(sizes, key=sizes.__getitem__, reverse=True)
    colors = [OURS if way == "discretevae compress" else THEIRS for way in ways]
    bars = axes.barh(ways, [sizes[way] for way in ways], color=colors)
    axes.bar_label(bars, fmt="%.3f", padding=3, fontsize=8)
    axes.axvline(result["bound_bits_per_value"], color="black", lw=0.8, ls=":")
    axes.margins(x=0.15)
    axes.set_title(f"{name}, {result['rows']:,} test rows", fontsize=10)
    axes.set_xlabel("bits per pixel; dotted: the model's bound")
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Reads the figures and draws them."""
    folder = Path(sys.argv[1])
    results = json.loads((folder / "compression.json").read_text())
    figure = Figure(figsize=(5.5 * len(results), 3.2), layout="constrained")
    for axes, (name, result) in zip(
        figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
    ):
        panel(axes, name, result)
    save_figure(figure, folder / "compression.png")
    print(folder / "compression.png")


if __name__ == "__main__":
    finish(main)
