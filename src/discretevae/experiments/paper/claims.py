"""Claims of the paper, as arithmetic on the metrics of runs. Nothing is drawn or worded here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class LossFall:
    """Share of the comparisons in which the mean over five epochs was below the one before.

    Args:
        share: that share; None with fewer than six epochs.
        comparisons: how many there are, epochs − 5.
        first: loss of the first epoch [nats per row].
        last: of the last.
    """

    share: float | None
    comparisons: int
    first: float
    last: float


def loss_fall(history: Sequence[EpochMetrics]) -> LossFall:
    """Return how steadily the training loss fell, over at least one epoch."""
    losses = [metrics.loss for metrics in history]
    means = [fmean(losses[i : i + WINDOW]) for i in range(len(losses) - WINDOW + 1)]
    falls = [after < before for before, after in itertools.pairwise(means)]
    return LossFall(fmean(falls) if falls else None, len(falls), losses[0], losses[-1])


@dataclass(frozen=True)
class Change:
    """A figure early and late in a run.

    Args:
        first: mean over the first tenth of the epochs; None if it is unknown in all of them.
        last: over the last tenth, likewise.
        unknown: epochs without a figure, in the whole run.
    """

    first: float | None
    last: float | None
    unknown: int

    @property
    def ratio(self) -> float | None:
        """Last by first; None where that says nothing."""
        if self.first is None or self.last is None or self.first == 0:
            return None
        return self.last / self.first


def change(values: Sequence[float | None]) -> Change:
    """Return the means over the first and the last tenth of a run's epochs, at least one each.

    Unknown values (None, NaN, infinite) are left out and counted. The first epoch is in: it is
    measured when it is over.
    """
    part = max(1, len(values) // PART)
    known = [v if v is not None and math.isfinite(v) else None for v in values]
    first, last = ([v for v in some if v is not None] for some in (known[:part], known[-part:]))
    return Change(fmean(first) if first else None, fmean(last) if last else None, known.count(None))


def clusters(categories: Labels, labels: Labels) -> dict[str, float]:
    """Compare categories ``[N]`` with labels ``[N]`` that no training saw, see `match_clusters`.

    Returns:
        ``purity`` and ``information``, the normalized mutual information; the same ``by_chance``,
        after the labels are shuffled: what so many categories of these sizes give for nothing; and
        how many ``categories`` are in use and ``labels`` there are.

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


@dataclass(frozen=True)
class Worse:
    """The ELBO of bits against that of one category, on the same test rows.

    Args:
        difference: bits − category [nats per row].
        se: its standard error, as if the rows were not the same ones, which makes it too large;
            None for a single row.
        kl: KL(q(z|x) ‖ p(z)) of the category [nats per row].
        most: ln K, which it cannot exceed under a uniform prior [nats].
    """

    difference: float
    se: float | None
    kl: float
    most: float


def worse(bits: dict[str, Any], category: dict[str, Any], n_categories: int) -> Worse:
    """Compare two evaluations as ``summary.json`` holds them."""
    one, other = bits["elbo"], category["elbo"]
    se = None if None in (one["se"], other["se"]) else math.hypot(one["se"], other["se"])
    difference = one["value"] - other["value"]
    return Worse(difference, se, category["kl"]["value"], math.log(n_categories))


@dataclass(frozen=True)
class Sooner:
    """Ours against the paper's protocol, by the test ELBO after each epoch.

    Args:
        target: the paper's last test ELBO [nats per row].
        paper_seconds: of its training.
        seconds: after which ours was there first; None if it never was.
        share: the same by ``paper_seconds``.
        gain: test ELBO of ours − ``target``, at the last epoch of ours that was over within
            ``paper_seconds`` [nats per row]; None if none was.
        gain_seconds: when that epoch was over.
        at_end: whether it is the last one, so that ours was done before the paper.
    """

    target: float
    paper_seconds: float
    seconds: float | None
    share: float | None
    gain: float | None
    gain_seconds: float | None
    at_end: bool


def sooner(paper: Sequence[EpochMetrics], ours: Sequence[EpochMetrics]) -> Sooner:
    """Return how much sooner ours is where the paper ends, and how much better at that time."""
    paper_times, times = seconds_of(paper, ours)
    target, limit = paper[-1].test_elbo, paper_times[-1]
    elbos = [metrics.test_elbo for metrics in ours]
    there = next((time for time, elbo in zip(times, elbos, strict=True) if elbo >= target), None)
    within = [time for time in times if time <= limit]
    return Sooner(
        target,
        limit,
        there,
        None if there is None else there / limit,
        elbos[len(within) - 1] - target if within else None,
        within[-1] if within else None,
        len(within) == len(ours),
    )
