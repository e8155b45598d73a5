"""Pictures of estimators side by side: variance, cost, ELBO."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from discretevae.run_folder.history import EpochMetrics

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's, told apart with any colour vision; without yellow, too pale for a line."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
POINT = {"markersize": 8.5}
TICKS = tuple(m * 10.0**e for e in range(-4, 6) for m in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
LINES = ("-", "--", "-.", ":")


def gradient_figure(
    steps: Sequence[int],
    variances: Mapping[str, Sequence[float]],
    time_ratios: Mapping[str, float],
    *,
    errors: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Return variance along a run, and at its end against the time of a step; logarithmic axes.

    Along the dashed lines variance × time is the same: the further to the lower left, the better.
    An estimator without variance stands on the lower edge. A single step has bars, not lines.
    """
    figure = _figure(len(variances))
    along, against = figure.subplots(1, 2)
    places = range(len(steps))
    positive = [v for values in variances.values() for v in values if 0 < v < math.inf]
    for axes in (along, against):
        axes.set_yscale("log")
        if positive:
            axes.set_ylim(min(positive) / 2.5, max(positive) * 2)
    against.set_xscale("log")
    known = [ratio for ratio in time_ratios.values() if ratio > 0]
    left, right = min(known, default=1) / 1.3, max(known, default=1) * 1.3
    _draw_equal_products(against, left, right)
    against.set_xlim(left, right)
    for number, (name, values) in enumerate(variances.items()):
        style = _style(number)
        shown, error = [v if v > 0 else math.nan for v in values], errors[name] if errors else None
        style["label"] = name if values[-1] > 0 else f"{name} (none)"
        if len(steps) > 1:
            along.errorbar(places, shown, error, **style)
        if values[-1] > 0:
            against.errorbar(time_ratios[name], values[-1], error and error[-1], **style | POINT)
        else:
            edge = {"transform": against.get_xaxis_transform(), "clip_on": False}
            against.errorbar(time_ratios[name], 0.0, **style | POINT | edge)
    if len(steps) > 1:
        along.set_xticks(places, [f"{step:,}" for step in steps])
        along.set_xlim(-0.2, len(steps) - 0.8)
        along.set_xlabel("steps of the reference run")
    else:
        ends = along.get_ylim()
        along.set_yscale("linear")
        along.set_xscale("log")
        widths = np.ravel([errors[name] for name in variances]) if errors else None
        _draw_bars(along, list(variances), np.ravel(list(variances.values())), widths, ends)
    over = "" if errors is None else " ± 1 s.e. over seeds"
    along.set_title(f"Variance of the encoder's gradient{over}", fontsize=10)
    against.set_title(f"The same at step {steps[-1]:,} against its price", fontsize=10)
    against.set_xlabel("time of a step, importance M = 1 takes 1")
    ticks = [tick for tick in TICKS if left <= tick <= right]
    against.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    against.set_xticks([], minor=True)
    against.annotate(
        "dashed: equal variance × time",
        (0.98, 0.98),
        xycoords="axes fraction",
        ha="right",
        va="top",
        fontsize=8,
        color="0.35",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
    )
    _finish(figure, along, against)
    return figure


def elbo_figure(
    histories: Mapping[str, Sequence[EpochMetrics]], steps_per_epoch: int, *, n_seeds: int = 1
) -> Figure:
    """Test ELBO of each estimator's own model, against steps and against training seconds.

    The lower end of the axis follows the last epochs, so that a poor start does not flatten the
    rest. Of one seed, a band of one standard error (over test rows) is drawn around the best curve;
    means over several have bars of one standard error over them. A single epoch has bars of ELBO
    and time, not lines.
    """
    drawn = {name: history for name, history in histories.items() if history}
    figure, over = _figure(len(drawn)), "" if n_seeds == 1 else f" over {n_seeds} seeds"
    by_steps, by_seconds = figure.subplots(1, 2, sharey=True)
    if drawn and max(map(len, drawn.values())) == 1:
        _draw_epoch(by_steps, by_seconds, {name: history[0] for name, history in drawn.items()})
        by_steps.set_title(f"Test ELBO [nats per row] ± 1 standard error{over}", fontsize=10)
        by_seconds.set_title("Training seconds", fontsize=10)
        _finish(figure, by_steps, by_seconds)
        return figure
    for number, (name, history) in enumerate(histories.items()):
        if not history:
            continue
        n = max(1, len(history) // 8)
        every = (len(history) - 1) % n, n  # the last one, too
        style = _style(number) | {"label": name, "markevery": every, "errorevery": every}
        values = [metrics.test_elbo for metrics in history]
        errors = [metrics.test_elbo_se or 0.0 for metrics in history] if over else None
        steps = [metrics.epoch * steps_per_epoch for metrics in history]
        by_steps.errorbar(steps, values, errors, **style)
        by_seconds.errorbar([metrics.seconds for metrics in history], values, errors, **style)
    if drawn:
        _limit(by_steps, list(drawn.values()))
    if drawn and not over:
        best = max(drawn, key=lambda name: drawn[name][-1].test_elbo)
        epochs, means, widths = np.array(
            [(m.epoch, m.test_elbo, m.test_elbo_se or 0) for m in drawn[best]]
        ).T
        band = epochs * steps_per_epoch, means - widths, means + widths
        by_steps.fill_between(*band, color="0.5", alpha=0.18, lw=0, zorder=0)
    what = f"bars: ± 1 standard error{over}" if over else "grey: the best ± 1 standard error"
    by_steps.set_title(f"Test ELBO [nats per row]; {what}", fontsize=10)
    by_seconds.set_title("The same against time", fontsize=10)
    by_steps.set_xlabel("training steps")
    by_seconds.set_xlabel("training seconds")
    _finish(figure, by_steps, by_seconds)
    return figure


def _figure(members: int) -> Figure:
    return Figure(figsize=(11.5, max(4.0, 0.19 * members + 0.7)), layout="constrained")


def _style(number: int) -> dict[str, Any]:
    """Colour, marker and line that no other of the first 28 has together."""
    n = len(COLORS)
    return {
        "color": COLORS[number % n],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number // n % len(LINES)],
        "markersize": 6,
        "linewidth": 1.4,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
        "elinewidth": 1.0,
        "capsize": 2.5,
    }


def _draw_epoch(elbo: Axes, seconds: Axes, epochs: Mapping[str, EpochMetrics]) -> None:
    values, errors, times = np.array(
        [(m.test_elbo, m.test_elbo_se or 0, m.seconds) for m in epochs.values()]
    ).T
    ends = _padded(np.concatenate([values - errors, values + errors]))
    _draw_bars(elbo, list(epochs), values, errors, ends)
    _draw_bars(seconds, list(epochs), times, None, (0.0, 1.05 * times.max()))


def _draw_bars(
    axes: Axes, names: Sequence[str], values: Any, errors: Any, ends: tuple[float, float]
) -> None:
    """Draw a bar for each name from the lower end of the axis, with its standard error."""
    places, low = range(len(names)), ends[0]
    colors = [_style(place)["color"] for place in places]
    axes.barh(places, values - low, 0.7, low, color=colors, xerr=errors, capsize=3)
    axes.set_xlim(*ends)
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _draw_equal_products(axes: Axes, left: float, right: float) -> None:
    bottom, top = axes.get_ylim()
    decades = range(math.floor(math.log10(bottom * left)), math.ceil(math.log10(top * right)) + 1)
    for exponent in decades:
        ends = [10.0**exponent / left, 10.0**exponent / right]
        axes.plot([left, right], ends, "--", color="0.75", lw=0.8, zorder=0)
    axes.set_ylim(bottom, top)


def _limit(axes: Axes, histories: Sequence[Sequence[EpochMetrics]]) -> None:
    values = [metrics.test_elbo for history in histories for metrics in history]
    top = max(m.test_elbo + (m.test_elbo_se or 0) for history in histories for m in history)
    last = [history[-1].test_elbo for history in histories]
    best, spread = max(values), max(values) - min(last)
    room = max(2.5 * spread, 0.3 * (best - min(values)), 1e-6)
    axes.set_ylim(max(best - room, min(values) - 0.05 * room), top + 0.06 * room)


def _finish(figure: Figure, *panels: Axes) -> None:
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if panels[-1].get_legend_handles_labels()[0]:
        handles = panels[-1].get_legend_handles_labels()
        figure.legend(*handles, loc="outside right upper", frameon=False, fontsize=8.5)


def _padded(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    margin = 0.12 * max(float(np.ptp(values)), 1.0)
    return float(values.min()) - margin, float(values.max()) + margin
