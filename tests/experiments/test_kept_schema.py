"""What a run knows of its data survives a kill at any moment, and a resume that is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import discretevae as dv
from discretevae.errors import DataError, DataWarning, RunError
from discretevae.experiments.run import run
from discretevae.run_folder.history import read_metrics
from discretevae.run_folder.saved_run import load_config, load_run, load_schema
from discretevae.system import files

pytestmark = [
    pytest.mark.filterwarnings("ignore::discretevae.errors.CollapseWarning"),
    pytest.mark.filterwarnings("ignore::discretevae.errors.CheckpointWarning"),
]

ROWS = np.random.default_rng(0).integers(0, 2, (400, 10), np.uint8)
TRAIN = ("train", "--data", "mine.npy", "--latent", "bernoulli:3", "--hidden", "8",
         "--batch-size", "64", "--epochs")  # fmt: skip


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the package handles it."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", ROWS[:300])
    return tmp_path


@pytest.fixture
def trained(here, cli):
    assert cli(*TRAIN, "1", "--out", "run").status == 0
    return Path("run")


@pytest.fixture
def killed_at(monkeypatch):
    """A function that lets the n-th write of a file from now on be the last moment of a process."""
    atomic_file = files.atomic_file

    def at(number):
        left = iter(range(number, -1, -1))

        def write(path):
            if next(left) == 0:
                raise KilledError
            return atomic_file(path)

        monkeypatch.setattr(files, "atomic_file", write)

    yield at
    monkeypatch.setattr(files, "atomic_file", atomic_file)


def schema_of(folder):
    return load_schema(Path(folder), load_config(Path(folder)))


def contents(folder):
    names = ("config.json", "schema.json", "model.safetensors")
    return {name: (Path(folder) / name).read_bytes() for name in names}


def write_attempts(cli, killed_at, *args):
    """Runs a command that ends before its first, second, … write; stops when one goes through."""
    for number in range(100):
        shutil.rmtree("try", ignore_errors=True)
        if Path("run").exists():
            shutil.copytree("run", "try")
        killed_at(number)
        try:
            said = cli(*args)
        except KilledError:
            killed_at(10**6)
            yield number
        else:
            assert said.status == 0, said.err
            return


def test_a_new_run_that_is_killed_anywhere_begins_again(here, cli, killed_at):
    args = (*TRAIN, "2", "--out", "try", "--resume")
    assert cli(*TRAIN, "2", "--out", "whole").status == 0
    moments = 0
    for _ in write_attempts(cli, killed_at, *args):
        said = cli(*args)
        assert said.status == 0, said.err
        assert contents("try") == contents("whole")
        moments += 1
    assert moments >= 5  # configuration, schema, and metrics, weights and state of both epochs


@pytest.mark.parametrize("again", ["the same command", "without --extend"])
def test_an_extended_run_that_is_killed_anywhere_keeps_what_was_held_out(
    trained, cli, killed_at, again
):
    held = schema_of("run").split
    np.save("mine.npy", ROWS[:330])
    args = ("train", "--resume", "try", "--epochs", "2", "--extend")
    shutil.copytree("run", "try")
    assert cli(*args).status == 0
    whole = contents("try")
    for _ in write_attempts(cli, killed_at, *args):
        n_rows = schema_of("try").digests["all"].rows
        assert (n_rows in (300, 330), schema_of("try").split) == (True, held)
        if again == "the same command":
            assert cli(*args).status == 0
            assert contents("try") == whole
        elif n_rows == 330:  # which it knows, and goes on with
            assert cli("train", "--resume", "try", "--epochs", "2").status == 0
            assert contents("try") == whole
        else:
            with pytest.warns(DataWarning, match="30 rows more"):
                assert cli("train", "--resume", "try", "--epochs", "2").status == 0
        assert len(read_metrics(Path("try"))) == 2
        assert schema_of("try").split == held


def test_a_run_on_new_data_that_is_killed_anywhere_goes_on_with_the_same_command(
    trained, cli, killed_at
):
    np.save("other.npy", ROWS[200:])
    args = ("train", "--resume", "try", "--epochs", "2", "--data", "other.npy", "--new-data")
    shutil.copytree("run", "try")
    assert cli(*args).status == 0
    whole = contents("try")
    for _ in write_attempts(cli, killed_at, *args):
        assert cli(*args).status == 0
        assert contents("try") == whole


@pytest.mark.parametrize("flags", [("--extend",), ("--new-data",), ("--epochs", "5")])
def test_a_resume_that_is_refused_changes_nothing(trained, cli, flags):
    state = next(Path("run/checkpoint").iterdir())
    state.write_bytes(state.read_bytes()[:-1])
    np.save("mine.npy", ROWS[: 300 if "5" in flags else 330])
    before = contents("run")
    said = cli("train", "--resume", "run", *flags)
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert contents("run") == before


def test_a_folder_that_was_removed_is_made_again_with_its_schema(here):
    data, config = dv.load_data("mine.npy"), _config()
    done = []

    def remove(progress):
        if progress.metrics is None and not done:
            done.append(progress)
            shutil.rmtree("run")

    run(data, config, out="run", samples=1, progress=remove, save_every="1steps")
    assert schema_of("run").digests["all"].rows == 300
    assert load_run("run").config == load_run("run").config


def _config(epochs=1, **data):
    return dv.RunConfig(
        model=dv.ModelConfig(n_features=10, latent="bernoulli:3", hidden=(8,)),
        training=dv.TrainConfig(epochs=epochs, batch_size=64),
        data=dv.DataConfig(source="mine.npy", **data),
    )


@pytest.mark.parametrize("what", ["grown", "cut", "changed", "other split"])
def test_python_resumes_only_on_the_data_of_the_run(here, what):
    run(dv.load_data("mine.npy"), _config(), out="run", samples=1)
    changed = ROWS[: {"grown": 330, "cut": 299}.get(what, 300)].copy()
    changed[7, 7] ^= what == "changed"
    np.save("mine.npy", changed)
    data = dv.load_data("mine.npy", split_seed=int(what == "other split"))
    before = contents("run")
    with pytest.raises(DataError, match="held out"):
        run(data, _config(2), out="run", resume=True, samples=1)
    assert contents("run") == before
    assert run(data, _config(2), out="run", resume=True, new_data=True, samples=1) is not None
    assert schema_of("run").digests["all"].rows == len(changed)


def test_test_rows_of_python_are_watched_too(here):
    rows = dv.Rows.from_array(ROWS[:300])

    def data(rows):
        return dv.Dataset("mine", rows.subset(slice(0, 250)), rows.subset(slice(250, 300)))

    run(data(rows), _config(), out="run", samples=1)
    run(data(rows), _config(2), out="run", resume=True, samples=1)
    other = ROWS[:300].copy()
    other[290, 0] ^= 1
    with pytest.raises(DataError, match="has changed since the run was trained"):
        run(data(dv.Rows.from_array(other)), _config(3), out="run", resume=True, samples=1)


def test_a_configuration_that_says_otherwise_of_the_data_is_refused(here):
    with pytest.raises(dv.ConfigError, match=r"divisor 1.0, but the configuration says 16"):
        run(dv.load_data("mine.npy"), _config(divisor=16), out="run", samples=1)
    assert not Path("run").exists()


def test_a_damaged_schema_is_not_trained_over(trained, cli):
    path = trained / "schema.json"
    path.write_bytes(path.read_bytes().replace(b'"rows": 300', b'"rows": 301'))
    before = contents("run")
    for args in (("evaluate", "run"), ("train", "--resume", "run", "--epochs", "2")):
        said = cli(*args)
        assert (said.status, said.err.count("\n")) == (2, 1)
        assert "schema.json: corrupt: it was changed since it was written" in said.err
    with pytest.raises(RunError, match=r"schema.json"):
        run(dv.load_data("mine.npy"), _config(2), out="run", resume=True, samples=1)
    assert contents("run") == before
