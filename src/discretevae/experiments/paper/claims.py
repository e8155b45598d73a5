"""Claims of the paper, as arithmetic on the metrics of runs. Nothing is drawn or worded here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from discretevae.codes.cluster_scores import match_clusters
from discretevae.run_folder.history import EpochMetrics, seconds_of

WINDOW = 5
"""Epochs that the loss is averaged over before it is asked whether it fell."""

PART = 10
"""The gradient's variance is averaged over the first and the last such part of the epochs."""

Labels = np.ndarray[Any, np.dtype[np.int64]]


def loss_fall(history: Sequence[EpochMetrics]) -> dict[str, Any]:
    """Return how steadily the training loss fell, over at least one epoch [nats per row].

    ``share`` of the ``comparisons`` are those in which the mean over five epochs was below the one
    before; None with fewer than six epochs.
    """
    losses = [metrics.loss for metrics in history]
    means = [fmean(losses[i : i + WINDOW]) for i in range(len(losses) - WINDOW + 1)]
    falls = [after < before for before, after in itertools.pairwise(means)]
    return {
        "share": fmean(falls) if falls else None,
        "comparisons": len(falls),
        "first": losses[0],
        "last": losses[-1],
    }


def change(values: Sequence[float | None]) -> dict[str, Any]:
    """Return the means over the first and the last tenth of a run's epochs, and their ratio.

    A tenth has at least one epoch. Unknown values (None, NaN, infinite) are left out and counted;
    what nothing is known of is None. The first epoch is in: it is measured when it is over.
    """
    part = max(1, len(values) // PART)
    known = [v if v is not None and math.isfinite(v) else None for v in values]
    ends = ([v for v in some if v is not None] for some in (known[:part], known[-part:]))
    first, last = (fmean(end) if end else None for end in ends)
    ratio = last / first if first and last is not None else None
    return {"first": first, "last": last, "unknown": known.count(None), "ratio": ratio}


def clusters(categories: Labels, labels: Labels) -> dict[str, float]:
    """Compare categories ``[N]`` with labels ``[N]`` that no training saw, see `match_clusters`.

    ``information`` is the normalized mutual information. What stands ``by_chance`` is the same
    after the labels are shuffled: what so many categories of these sizes give for nothing.

    Example:
        >>> found = clusters(np.array([7, 7, 7, 2, 2]), np.array([0, 0, 1, 1, 1]))
        >>> found["purity"], round(found["information"], 3), found["categories"]
        (0.8, 0.433, 2)
    """
    found = match_clusters(categories, labels)
    chance = match_clusters(categories, np.random.default_rng(0).permutation(labels))
    return {
        "purity": found.purity,
        "information": found.nmi,
        "purity_by_chance": chance.purity,
        "information_by_chance": chance.nmi,
        "categories": len(found.clusters),
        "labels": len(found.classes),
    }


def worse(bits: dict[str, Any], category: dict[str, Any], n_categories: int) -> dict[str, Any]:
    """Compare the ELBO of bits with that of one category, of summaries of the same test rows.

    The standard error of ``difference`` is taken as if the rows were not the same, which makes it
    too large; None of a single row. Under a uniform prior ``kl`` of the category is at ``most``
    ln K.
    """
    one, other = bits["elbo"], category["elbo"]
    return {
        "difference": one["value"] - other["value"],
        "se": None if None in (one["se"], other["se"]) else math.hypot(one["se"], other["se"]),
        "kl": category["kl"]["value"],
        "most": math.log(n_categories),
    }


def sooner(paper: Sequence[EpochMetrics], ours: Sequence[EpochMetrics]) -> dict[str, Any]:
    """Return how much sooner ours is where the paper ends, and how much better at that time.

    After ``seconds``, a ``share`` of the paper's, ours first reached the paper's last test ELBO,
    ``target``; None if it never did. At its last epoch within the paper's time, over after
    ``gain_seconds``, its own was higher by ``gain``; None if there was none. ``at_end`` says
    whether that was its last epoch of all.
    """
    paper_times, times = seconds_of(paper, ours)
    target, limit = paper[-1].test_elbo, paper_times[-1]
    elbos = [metrics.test_elbo for metrics in ours]
    there = next((time for time, elbo in zip(times, elbos, strict=True) if elbo >= target), None)
    within = [time for time in times if time <= limit]
    return {
        "target": target,
        "paper_seconds": limit,
        "seconds": there,
        "share": None if there is None else there / limit,
        "gain": elbos[len(within) - 1] - target if within else None,
        "gain_seconds": within[-1] if within else None,
        "at_end": len(within) == len(ours),
    }
