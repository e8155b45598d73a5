"""The picture of a published benchmark: the curves of our runs and the number to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.figure import Figure
from protocols import Protocol

from discretevae.plots.pictures import save_figure

Curves: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
"""Of each method its runs."""

COLORS = ("#0072B2", "#D55E00", "#009E73")


def draw(protocol: Protocol, methods: Curves, path: Path) -> None:
    """−ELBO of the training batches and of the held-out rows against epochs.

    Args:
        protocol: whose best published number is a line.
        methods: of each its runs, which share a color. More methods than colors cannot be told
            apart, and are left out.
        path: of the picture.
    """
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    best = protocol.reported[-1]
    ends = [runs[0]["curve"][-1] for runs in methods.values()]
    top = max(best.value, min(-held for _, _, held in ends)) + 12
    bottom = min(best.value, *(min(train, -held) for _, train, held in ends)) - 2
    for color, (name, runs) in zip(COLORS, methods.items(), strict=False):
        for number, run in enumerate(runs):
            epochs, train, held = zip(*run["curve"], strict=True)
            is_seen = -held[-1] < top  # a brief run may end above
            label = f"{name}, held-out rows" if is_seen and number == 0 else None
            axes.plot(epochs, train, color=color, lw=0.9, ls=":")
            axes.plot(epochs, [-value for value in held], color=color, lw=1.2, label=label)
    axes.plot([], [], color="#555555", lw=0.9, ls=":", label="dotted: training batches")
    axes.axhline(
        best.value, color="#555555", lw=0.8, ls="--",
        label=f"{best.method}, {protocol.quantity}, reported {best.paper.date}",
    )  # fmt: skip
    axes.set(xlabel="epochs", ylabel="−ELBO [nats]", ylim=(bottom, top))
    axes.set_title(protocol.title, fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


__all__ = ["draw"]
