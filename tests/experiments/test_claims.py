"""The arithmetic of the paper's claims on made-up runs, where the right answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from discretevae.experiments.paper.claims import (
    change,
    clusters,
    loss_fall,
    sooner,
    worse,
)
from discretevae.run_folder.history import EpochMetrics


def epoch(number: int, **values: object) -> EpochMetrics:
    known = {
        "loss": 0.0, "log_likelihood": 0.0, "kl": 0.0, "test_elbo": 0.0, "test_elbo_se": None,
        "grad_variance": 0.0, "grad_relative_variance": None, "ess": None, "active_units": 0,
        "codes_used": None, "code_entropy": None, "rows_per_second": 1.0, "seconds": float(number),
        "cpu_seconds": None,
    }  # fmt: skip
    return EpochMetrics(epoch=number, **(known | values))


def losses(*values: float) -> list[EpochMetrics]:
    return [epoch(number, loss=loss) for number, loss in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("values", "share", "comparisons"),
    [
        (range(20, 0, -1), 1.0, 15),
        (range(20), 0.0, 15),
        ((5, 5, 5, 5, 5, 5), 0.0, 1),  # standing still is no fall
        # single epochs may rise as long as the mean of five falls: 8, 7.6, 7.4, 7.4
        ((10, 9, 7, 8, 6, 8, 8, 7), 2 / 3, 3),
        ((9, 8, 7, 6, 5), None, 0),
        ((9,), None, 0),
    ],
)
def test_how_steadily_a_loss_falls(values, share, comparisons):
    found = loss_fall(losses(*values))
    assert found["share"] == share
    assert found["comparisons"] == comparisons
    assert (found["first"], found["last"]) == (values[0], values[-1])


def test_early_and_late_variance():
    def ends(values):
        found = change(values)
        return found["first"], found["last"], found["unknown"], found["ratio"]

    assert ends([*[4.0] * 3, *[9.0] * 24, *[1.0] * 3]) == (4.0, 1.0, 0, 0.25)
    # 29 epochs have tenths of two; a single epoch is both
    assert ends([6.0, 2.0, *[99.0] * 25, 3.0, 5.0]) == (4.0, 4.0, 0, 1)
    assert ends([7.0]) == (7.0, 7.0, 0, 1)
    # what is unknown is left out and counted
    assert ends([None, 8.0, *[None] * 16, 2.0, math.nan]) == (8.0, 2.0, 18, 0.25)
    assert ends([None, 1.0]) == (None, 1.0, 1, None)
    assert ends([0.0, 0.0]) == (0.0, 0.0, 0, None)
    assert ends([4.0, 0.0]) == (4.0, 0.0, 0, 0)
    assert ends([math.inf]) == (None, None, 1, None)


def test_categories_against_labels():
    labels = np.repeat(np.arange(4), 25)
    same = clusters(labels * 7 + 3, labels)
    assert (same["purity"], same["information"]) == (1.0, pytest.approx(1.0))
    assert (same["categories"], same["labels"]) == (4, 4)
    assert same["purity_by_chance"] < 0.6
    lumped = clusters(np.zeros(100, np.int64), labels)
    assert (lumped["purity"], lumped["information"]) == (0.25, 0.0)
    assert lumped["purity_by_chance"] == 0.25
    # a category of its own for every row is pure and says little
    single = clusters(np.arange(100), labels)
    assert (single["purity"], single["purity_by_chance"]) == (1.0, 1.0)
    assert single["information"] == pytest.approx(2 * math.log(4) / (math.log(4) + math.log(100)))
    mixed = clusters(np.array([1, 1, 1, 2, 2, 2, 2]), np.array([0, 0, 1, 1, 1, 0, 2]))
    assert mixed["purity"] == 4 / 7


def test_bits_against_a_category():
    def evaluation(value, se, kl=0.0):
        return {"elbo": {"value": value, "se": se}, "kl": {"value": kl, "se": None}}

    found = worse(evaluation(-120.0, 0.3), evaluation(-150.0, 0.4, 4.5), 100)
    assert (found["difference"], found["se"], found["kl"]) == (30.0, 0.5, 4.5)
    assert found["most"] == math.log(100)
    assert worse(evaluation(-3.0, None), evaluation(-2.0, 0.1), 8)["se"] is None
    assert worse(evaluation(-3.0, None), evaluation(-2.0, 0.1), 8)["difference"] == -1.0


def elbos(*pairs: tuple[float, float]) -> list[EpochMetrics]:
    return [epoch(n, seconds=s, test_elbo=e) for n, (s, e) in enumerate(pairs, 1)]


@pytest.mark.parametrize(
    ("ours", "seconds", "share", "gain", "gain_seconds", "at_end"),
    [
        # there at once, and stays ahead until its own end
        ([(10, -100), (30, -90)], 10, 0.05, 10, 30, True),
        # passes, and goes on beyond the paper's time, which does not count for the gain
        ([(50, -120), (150, -99), (250, -50)], 150, 0.75, 1, 150, False),
        # there only after the paper's time is over
        ([(100, -130), (300, -95)], 300, 1.5, -30, 100, False),
        ([(100, -130), (200, -101)], None, None, -1, 200, True),
        # not one epoch in time
        ([(400, -80)], 400, 2.0, None, None, False),
        # the first time counts, also when it falls back
        ([(20, -100), (40, -110)], 20, 0.1, -10, 40, True),
    ],
)
def test_sooner_and_better(ours, seconds, share, gain, gain_seconds, at_end):
    paper = elbos((100, -140), (200, -100))
    found = sooner(paper, elbos(*ours))
    assert (found["target"], found["paper_seconds"]) == (-100, 200)
    assert (found["seconds"], found["share"]) == (seconds, share)
    assert (found["gain"], found["gain_seconds"], found["at_end"]) == (gain, gain_seconds, at_end)
