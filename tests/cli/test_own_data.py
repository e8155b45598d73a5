"""A run finds its data again: moved, grown, changed; and what it wrote itself comes back."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from discretevae.errors import DataWarning
from discretevae.run_folder.history import read_metrics
from discretevae.run_folder.saved_run import load_config, load_schema

pytestmark = pytest.mark.filterwarnings("ignore::discretevae.errors.CollapseWarning")

EVERY = np.array(list(itertools.product([0, 1], repeat=10)), np.uint8)
ROWS = EVERY[np.random.default_rng(0).permutation(1024)]
TINY = ("--latent", "bernoulli:3", "--hidden", "8", "--batch-size", "64", "--epochs")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", ROWS[:300])
    return tmp_path


@pytest.fixture
def trained(here, cli):
    assert cli("train", "--data", "mine.npy", *TINY, "1", "--out", "run").status == 0
    return Path("run")


def schema_of(run):
    return load_schema(Path(run), load_config(Path(run)))


def held_out():
    split = schema_of("run").split
    return split.draw()[1].tolist()


def test_rows_that_are_added_never_change_what_was_held_out(trained, cli):
    before = held_out()
    np.save("mine.npy", ROWS[:330])
    with pytest.warns(DataWarning, match="has 30 rows more than when the run was trained"):
        said = cli("evaluate", "run", "--json")
    assert json.loads(said.out)["rows"] == 30
    with pytest.warns(DataWarning, match="They are left out"):
        assert cli("train", "--resume", "run", "--epochs", "2").status == 0
    assert schema_of(trained).digests["all"].rows == 300
    said = cli("train", "--resume", "run", "--epochs", "3", "--extend")
    assert (said.status, "300 training and 30 test rows" in said.out) == (0, True)
    schema = schema_of(trained)
    assert (schema.split.rows, schema.digests["all"].rows, held_out()) == (300, 330, before)
    assert cli("evaluate", "run").status == 0
    # and once more
    np.save("mine.npy", ROWS[:400])
    said = cli("train", "--resume", "run", "--epochs", "4", "--extend")
    assert "370 training and 30 test rows" in said.out
    assert len(read_metrics(trained)) == 4


def test_a_training_that_was_stopped_within_an_epoch_may_be_extended(here, cli):
    args = ("train", "--data", "mine.npy", *TINY, "3", "--out", "run", "--save-every", "1steps")
    assert cli(*args).status == 0
    # the newest checkpoint is one of the middle of an epoch
    states = sorted(Path("run/checkpoint").iterdir())
    states[-1].unlink()
    assert len(states) == 2
    np.save("mine.npy", ROWS[:700])
    said = cli("train", "--resume", "run", "--extend")
    assert (said.status, "670 training and 30 test rows" in said.out) == (0, True)
    assert len(read_metrics(Path("run"))) == 3
    assert cli("train", "--resume", "run", "--epochs", "4").status == 0


@pytest.mark.parametrize("what", ["cut", "replaced", "one value"])
def test_data_that_changed_are_refused(trained, cli, what):
    changed = ROWS[:300].copy()
    if what == "cut":
        changed = changed[:299]
    elif what == "replaced":
        changed = ROWS[300:600]
    else:
        changed[17, 3] ^= 1
    np.save("mine.npy", changed)
    for args in (
        ("evaluate", "run"),
        ("evaluate", "run", "mine.npy"),
        ("train", "--resume", "run"),
    ):
        said = cli(*args)
        assert (said.status, said.err.count("\n")) == (2, 1)
        assert "which rows were held out is not known" in said.err
    with pytest.warns(DataWarning, match="is not known"):
        assert cli("evaluate", "run", "--split", "all").status == 0
    said = cli("train", "--resume", "run", "--epochs", "2", "--new-data")
    assert said.status == 0
    assert cli("evaluate", "run").status == 0


def test_fewer_new_rows_leave_the_newest_state(trained, cli):
    assert cli("train", "--resume", "run", "--epochs", "3").status == 0
    np.save("mine.npy", ROWS[500:570])
    assert cli("train", "--resume", "run", "--epochs", "4", "--new-data").status == 0
    assert len(read_metrics(trained)) == 4
    said = cli("train", "--resume", "run", "--epochs", "5")
    assert (said.status, len(read_metrics(trained))) == (0, 5)


def test_data_that_moved(trained, cli):
    Path("away").mkdir()
    shutil.move("mine.npy", "away/x.npy")
    for args in (("evaluate", "run"), ("train", "--resume", "run")):
        said = cli(*args)
        assert (said.status, "Say where they are by --data" in said.err) == (2, True)
    np.save("other.npy", ROWS[400:700])
    said = cli("train", "--resume", "run", "--epochs", "2", "--data", "other.npy")
    assert (said.status, "has changed since the run" in said.err) == (2, True)
    said = cli("train", "--resume", "run", "--epochs", "2", "--data", "away/x.npy")
    assert said.status == 0
    assert cli("evaluate", "run").status == 0  # the new place is known
    # the same rows elsewhere have the same held-out rows
    shutil.copy("away/x.npy", "copy.npy")
    first = json.loads(cli("evaluate", "run", "--json").out)
    again = json.loads(cli("evaluate", "run", "copy.npy", "--json").out)
    assert first["elbo"] == again["elbo"]


def test_only_a_resumed_run_is_extended(here, cli):
    said = cli("train", "--data", "mine.npy", "--extend")
    assert said.status == 2
    assert "--extend and --new-data are for a run that is resumed" in said.err


DIGITS = ("train", "--data", "digits", "--latent", "bernoulli:8", "--hidden", "16", "--epochs", "1")


@pytest.mark.parametrize("binarize", ["none", "threshold"])
def test_what_a_run_writes_comes_back(here, cli, binarize):
    assert cli(*DIGITS, "--binarize", binarize, "--out", "run").status == 0
    assert cli("encode", "run", "--split", "test", "--out", "codes.npy").status == 0
    assert cli("decode", "run", "codes.npy", "--out", "back.npy").status == 0
    assert cli("sample", "run", "--n", "20", "--out", "drawn.npy").status == 0
    assert cli("reconstruct", "run", "--out", "again.npy").status == 0
    written = ["back.npy", "drawn.npy", "again.npy"]
    if binarize == "threshold":
        assert cli("compress", "run", "--split", "test", "--out", "test.dvz").status == 0
        assert cli("decompress", "run", "test.dvz", "--out", "rows.npy").status == 0
        rows = np.load("rows.npy")
        assert (rows.dtype, np.unique(rows).tolist()) == (np.uint8, [0, 16])
        assert cli("encode", "run", "rows.npy", "--out", "same.npy").status == 0
        assert np.array_equal(np.load("codes.npy"), np.load("same.npy"))
        written.append("rows.npy")
    for file in written:
        assert np.load(file).max() > 1.5  # in the units of digits, 0 to 16
        for args in (("encode", "--out", "x.npy"), ("outliers", "--out", "x.csv"), ("evaluate",)):
            said = cli(args[0], "run", file, "--split", "all", *args[1:])
            assert (said.status, said.err) == (0, "")


@pytest.mark.parametrize("scale", [1 / 16, 1.0])
def test_values_of_another_scale_are_refused_with_both_ranges(here, cli, scale):
    assert cli(*DIGITS, "--binarize", "threshold", "--out", "run").status == 0
    from sklearn.datasets import load_digits

    x = load_digits().data[:50] * scale
    np.save("x.npy", (x > 8) * 1 if scale == 1 else x)
    for command, *out in (
        ("encode", "--out", "y.npy"), ("outliers",), ("evaluate",), ("compress", "--out", "x.dvz"),
    ):  # fmt: skip
        said = cli(command, "run", "x.npy", "--split", "all", *out)
        assert said.status == 2
        assert "values from 0 to 1, but the training values run from 0 to 16" in said.err
        assert "--divisor" in said.err
    assert cli("encode", "run", "x.npy", "--divisor", "1", "--out", "y.npy").status == 0
    assert len(np.unique(np.load("y.npy"), axis=0)) > 1
    # who insists gets what was asked for
    assert cli("encode", "run", "x.npy", "--divisor", "16", "--out", "y.npy").status == 0
