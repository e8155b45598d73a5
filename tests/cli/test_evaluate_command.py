"""`discretevae evaluate` beyond one table: several bounds and runs, single rows, the split KL."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from discretevae.data import load_rows
from discretevae.evaluation.bounds import row_scores
from discretevae.run_folder.saved_run import load_run


def test_several_bounds_in_one_table_and_one_object(cli, trained):
    run = trained("bernoulli:6")
    told = json.loads(cli("evaluate", run, "--samples", "2,10", "--json").out)
    assert [bound["samples"] for bound in told["bounds"]] == [2, 10]
    assert told["bounds"][1]["value"] == told["bound"]["value"]
    assert told["rate"]["value"] + told["distortion"]["value"] == pytest.approx(
        -told["elbo"]["value"]
    )
    out = cli("evaluate", run, "--samples", "2,10").out
    assert "2-sample bound" in out
    assert "10-sample bound" in out


def test_grey_rows_are_called_a_surrogate_wherever_they_are_scored(cli, trained):
    run = trained("bernoulli:6")
    grey = cli("evaluate", run)
    assert "test ELBO (surrogate)" in grey.out
    assert "a surrogate that compares" in " ".join(grey.out.split())
    assert "bits per dimension" not in grey.out
    told = json.loads((run / "summary.json").read_text())["test"]
    assert told["is_surrogate"] is True
    assert told["bits_per_dimension"] is None


def test_binary_rows_have_bits_per_dimension(cli, tmp_path):
    args = ("--binarize", "threshold", "--latent", "categorical:5", "--epochs", "1")
    assert cli("train", *args, "--hidden", "8", "--out", tmp_path / "run").status == 0
    out = cli("evaluate", tmp_path / "run").out
    assert "surrogate" not in out
    assert "bits per dimension" in out
    told = json.loads(cli("evaluate", tmp_path / "run", "--json").out)
    assert told["bits_per_dimension"]["value"] == pytest.approx(
        -told["log_px"]["value"] / 64 / math.log(2)
    )


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_single_rows_as_a_file(suffix, cli, trained, tmp_path):
    run, out = trained("categorical:5"), tmp_path / "deep" / f"rows{suffix}"
    said = cli("evaluate", run, "--per-row", out, "--samples", "3,6", "--max-rows", "20")
    assert said.status == 0
    assert str(out.name) in said.out.replace("\n", "")
    opened = load_run(run)
    rows = load_rows("digits", split="test").subset(slice(0, 20))
    scores = row_scores(opened.model, rows, samples=(3, 6))
    if suffix == ".csv":
        with out.open() as file:
            lines = list(csv.DictReader(file))
        found = {key: np.array([float(line[key]) for line in lines]) for key in lines[0]}
    else:
        with np.load(out, allow_pickle=False) as arrays:
            found = dict(arrays)
    assert found.pop("id").tolist() == rows.source_numbers.tolist()
    names = {"elbo", "log_likelihood", "kl", "bound_3", "bound_6", "log_px"}
    assert set(found) == names
    assert np.array_equal(found["elbo"], scores.elbo.numpy())
    assert np.array_equal(found["bound_3"], scores.bounds[3].numpy())
    assert np.array_equal(found["log_px"], scores.log_px.numpy())


def test_several_runs_on_the_same_rows(cli, trained):
    runs = [trained(latent) for latent in ("bernoulli:6", "categorical:5", "gaussian:3")]
    args = (runs[0], "--with", runs[1], "--with", runs[2], "--samples", "4")
    said = cli("evaluate", *args)
    assert said.status == 0
    lines = [line for line in said.out.splitlines() if str(runs[0].parent.parent) in line]
    assert len(lines) >= 3
    told = json.loads(cli("evaluate", *args, "--json").out)
    assert [one["run"] for one in told] == list(map(str, runs))
    assert told[0]["elbo_difference"] is None
    test = load_rows("digits", split="test")
    first, second = (row_scores(load_run(run).model, test, samples=4).elbo for run in runs[:2])
    apart = told[1]["elbo_difference"]
    assert apart["value"] == pytest.approx((second - first).mean().item())
    # paired: less than the errors of the two means would say
    assert apart["se"] == pytest.approx((second - first).std().item() / len(test) ** 0.5)
    assert apart["se"] < math.hypot(told[0]["elbo"]["se"], told[1]["elbo"]["se"])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--samples", "x"), "--samples 'x' must be ints from 1"),
        (("--samples", "0"), "--samples '0' must be ints from 1"),
        (("--samples", "3,10"), "samples 3 does not divide 10"),
        (("--max-rows", "0"), "--max-rows must be an int >= 1. Got 0."),
        (("--per-row", "rows.txt"), "must end in .csv or .npz"),
        (("--with", "no/such/run"), "no/such/run: no such run folder"),
    ],
)
def test_what_is_refused(args, words, cli, trained):
    said = cli("evaluate", trained("bernoulli:6"), *args)
    assert said.status == 2
    assert words in said.err
    assert len(said.err.splitlines()) == 1


def test_runs_of_different_targets_are_not_compared(cli, trained, tmp_path):
    args = ("--binarize", "threshold", "--latent", "categorical:5", "--epochs", "1")
    assert cli("train", *args, "--hidden", "8", "--out", tmp_path / "run").status == 0
    said = cli("evaluate", trained("categorical:5"), "--with", tmp_path / "run")
    assert said.status == 2
    assert "different targets: --binarize none and threshold" in said.err
