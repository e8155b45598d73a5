"""`discretevae runs`, and what is written for TensorBoard."""

from __future__ import annotations

import json
import os
import time

import pytest
from click.testing import CliRunner

from discretevae.cli import group
from discretevae.run_folder.history import read_metrics
from discretevae.system.locks import LOCK


def call(*args: object) -> str:
    found = CliRunner().invoke(group, list(map(str, args)), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run, one that is prolonged but not there yet, and one that is damaged."""
    folder = tmp_path_factory.mktemp("runs")
    small = ("--hidden", 4, "--lr", 0.01)
    call("train", *small, "--latent", "bernoulli:4", "--epochs", 2, "--out", folder / "a")
    call("train", *small, "--latent", "categorical:3", "--epochs", 1, "--out", folder / "b" / "c")
    summary = json.loads((folder / "b" / "c" / "summary.json").read_text())
    summary["last_epoch"]["epoch"] = 0  # evaluated before it was prolonged
    (folder / "b" / "c" / "summary.json").write_text(json.dumps(summary))
    call("train", *small, "--latent", "gaussian:2", "--epochs", 1, "--out", folder / "d")
    (folder / "d" / "metrics.jsonl").write_text("{")
    (folder / "notes").mkdir()
    return folder


def test_all_runs_are_listed_with_their_figures(runs):
    rows = {row["run"]: row for row in json.loads(call("runs", runs, "--json"))}
    a, c, d = (rows[str(runs / name)] for name in ("a", "b/c", "d"))
    assert len(rows) == 3
    tested = json.loads((runs / "a" / "summary.json").read_text())["test"]["elbo"]
    assert (a["state"], a["epoch"], a["epochs"]) == ("finished", 2, 2)
    assert (a["elbo"], a["se"]) == (tested["value"], tested["se"])
    assert (a["data"], a["latent"], a["estimator"]) == ("digits", "bernoulli:4", "exact")
    assert (c["state"], c["elbo"]) == ("stopped", read_metrics(runs / "b" / "c")[-1].test_elbo)
    assert d["state"] == "damaged"
    assert "metrics.jsonl: corrupt" in d["problem"]


def test_the_table_for_people(runs):
    lines = call("runs", runs).splitlines()
    assert lines[0].split()[:3] == ["run", "data", "code"]
    assert len(lines) == 4
    assert "2/2" in lines[1]
    assert "finished" in lines[1]
    assert "±" in lines[1]


def test_the_order(runs):
    by_elbo = json.loads(call("runs", runs, "--sort", "elbo", "--json"))
    known = [row["elbo"] for row in by_elbo if row["elbo"] is not None]
    assert known == sorted(known, reverse=True)
    assert by_elbo[-1]["state"] == "damaged"
    os.utime(runs / "a" / "config.json", (time.time() + 100,) * 2)
    assert json.loads(call("runs", runs, "--sort", "time", "--json"))[0]["run"].endswith("a")


def test_a_run_under_way_is_said_to_be(runs):
    import fcntl

    with (runs / "a" / LOCK).open("r") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        rows = {row["run"]: row for row in json.loads(call("runs", runs, "--json"))}
    assert rows[str(runs / "a")]["state"] == "running"


def test_nothing_to_list(tmp_path):
    assert "no runs. Make one" in call("runs", tmp_path)
    assert json.loads(call("runs", tmp_path, "--json")) == []


def test_tensorboard_gets_every_figure(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    call(
        "train", "--hidden", 4, "--latent", "bernoulli:4", "--epochs", 2, "--tensorboard",
        "--out", folder,
    )  # fmt: skip
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    history = read_metrics(folder)
    for name in ("loss", "test_elbo", "grad_variance"):
        scalars = events.Scalars(name)
        assert [event.step for event in scalars] == [1, 2]
        assert [event.value for event in scalars] == pytest.approx(
            [getattr(metrics, name) for metrics in history], rel=1e-6
        )


def test_without_tensorboard_it_is_said_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    found = CliRunner().invoke(
        group, ["train", "--hidden", "4", "--tensorboard", "--out", str(tmp_path / "run")]
    )
    assert "discretevae[tensorboard]" in str(found.exception)
    assert not (tmp_path / "run").exists()
