"""Several evaluations in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from discretevae.evaluation.bounds import Evaluation


def side_by_side(names: Sequence[str], results: Sequence[Evaluation]) -> Figure:
    """Return rate against distortion, and the bounds of every run with standard errors.

    On the left, rate = KL(q(z|x) ‖ p(z)) and distortion = −E_q ln p(x|z), whose sum is −ELBO (Alemi
    et al. 2018): along a dotted line of slope −1 the ELBO is the same, and nearer to the lower left
    it is better. On the right, ELBO, S-sample bounds and, where it is known, ln p(x).
    """
    figure = Figure(figsize=(11, 1.6 + max(3.0, 0.45 * len(names))), layout="constrained")
    plane, bounds = figure.subplots(1, 2)
    surrogate = ", surrogate" if any(result.is_surrogate for result in results) else ""
    rates = np.array([result.kl.value for result in results])
    distortions = np.array([-result.log_likelihood.value for result in results])
    colors = [f"C{i % 10}" for i in range(len(names))]
    for name, rate, distortion, color in zip(names, rates, distortions, colors, strict=True):
        plane.plot(rate, distortion, "o", color=color, label=name)
    low, high = _padded(rates)
    ends = np.array([low, high])
    for total in sorted({float(value) for value in rates + distortions}):
        plane.plot(ends, total - ends, ":", color="0.7", zorder=0, linewidth=0.8)
    plane.set_xlim(low, high)
    plane.set_ylim(*_padded(distortions))
    plane.set_xlabel("rate: KL(q(z|x) ‖ p(z))")
    plane.set_ylabel("distortion: −E_q ln p(x|z)")
    plane.set_title(f"Rate and distortion [nats per row{surrogate}]; dotted: equal ELBO")
    plane.legend(frameon=False, fontsize=8)
    heights = np.arange(len(names))[::-1]
    for height, result, color in zip(heights, results, colors, strict=True):
        shown = [("ELBO", result.elbo, "o"), *((f"{s}", b, "s") for s, b in result.bounds.items())]
        if result.log_px is not None:
            shown.append(("ln p(x)", result.log_px, "D"))
        for _, measured, marker in shown:
            bounds.errorbar(
                measured.value, height, xerr=measured.se, fmt=marker, color=color, markersize=5,
                capsize=2,
            )  # fmt: skip
    bounds.set_yticks(heights, names)
    bounds.set_ylim(-0.6, len(names) - 0.4)
    sizes = ", ".join(f"{s:,}" for s in results[0].bounds)
    bounds.set_title(f"○ ELBO   □ bound of {sizes} samples   ◇ ln p(x); ± standard error")
    bounds.set_xlabel(f"nats per row{surrogate}")
    for axes in (plane, bounds):
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _padded(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    margin = 0.12 * max(float(np.ptp(values)), 1.0)
    return float(values.min()) - margin, float(values.max()) + margin
