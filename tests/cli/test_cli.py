"""The command line from outside: what it prints and writes, how it stops and goes on."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import discretevae
from discretevae.cli import COMMANDS, call
from discretevae.data import load_rows
from discretevae.run_folder.saved_run import load_run
from discretevae.system import files

SMALL = ("--hidden", "16", "--lr", "0.01", "--seed", "3")
LATENTS = ("bernoulli:6", "categorical:5", "gaussian:3")
TIMINGS = ("rows_per_second", "seconds", "cpu_seconds")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


def metrics_of(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in TIMINGS}
        for line in lines
    ]


# --- help and the bare process ---------------------------------------------------------------


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)])
def test_help_is_shown_on_stdout(args, cli):
    status, out, err = cli(*args)
    assert status == 0
    assert err == ""
    assert out.startswith("Usage: discretevae")
    if len(args) < 2:
        assert all(name in out for name in COMMANDS)
    else:
        assert "Example: discretevae" in out


def test_version(cli):
    assert cli("--version").out == f"discretevae, version {discretevae.__version__}\n"


def test_help_imports_nothing_heavy(python):
    code = """
import sys
from discretevae.cli import COMMANDS, call
for name in COMMANDS:
    assert call([name, "--help"]) == 0
assert call(["trian"]) == call(["train", "--epoch", "3"]) == 2
print(sorted({"torch", "numpy", "matplotlib", "sklearn", "rich"} & sys.modules.keys()))
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_mistake_of_a_real_process(python, tmp_path):
    done = python("-m", "discretevae", "train", "--latent", "bernouli:3", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: --latent 'bernouli' is unknown. Did you mean")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_a_real_process(python, tmp_path):
    """It is silent on standard error, never loads pyplot, and no figure leaks."""
    code = """
import gc, json, sys
from discretevae.cli import call
assert call(sys.argv[1:]) == 0
gc.collect()
from matplotlib.figure import Figure
alive = sum(type(thing) is Figure for thing in gc.get_objects())
print(json.dumps(["matplotlib.pyplot" in sys.modules, alive]))
"""
    args = ("train", "--latent", "gaussian:3", "--epochs", "3", *SMALL, "--json")
    done = python("-c", code, *args, cwd=tmp_path)
    assert done.stderr == ""
    assert done.returncode == 0
    printed, _, end = done.stdout.rstrip().rpartition("\n")
    assert json.loads(end) == [False, 0]
    result = json.loads(printed)
    assert result["run"] == "runs/digits-gaussian3"
    folder = tmp_path / result["run"]
    assert json.loads((folder / "summary.json").read_text()) == result
    for name in ("curves", "reconstructions", "samples"):
        with Image.open(folder / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 100
    assert leftovers(tmp_path) == []


def test_a_reader_that_goes_away_is_told_nothing(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "discretevae", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) in (0, 1)  # nobody sees it behind `| head`


# --- what the commands leave and print -------------------------------------------------------


@pytest.mark.parametrize("latent", LATENTS)
def test_a_run_leaves_the_files_that_are_promised(latent, trained):
    folder = trained(latent)
    expected = {
        "config.json",
        "schema.json",
        "model.safetensors",
        "metrics.jsonl",
        "summary.json",
        "lock",
        "figures/curves.png",
        "figures/reconstructions.png",
        "figures/samples.png",
    }
    if latent.startswith("categorical"):
        expected.add("figures/categories.png")
    states = {name for name in tree(folder) if name.startswith("checkpoint/")}
    assert len(states) in (1, 2)
    assert set(tree(folder)) - states == expected
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] == "discretevae-run"
    assert config["format_version"] == 2
    assert config["model"]["latent"] == latent
    assert config["training"]["epochs"] == 2
    assert [line["epoch"] for line in metrics_of(folder)] == [1, 2]


def test_train_prints_a_summary(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", np.random.default_rng(0).random((60, 12)))
    status, out, err = cli("train", "--data", "mine.npy", "--latent", "categorical:4",
                           "--epochs", "1", "--hidden", "8", "--prior", "factorized",
                           "--estimator", "importance:proposal=uniform", "--samples", "3",
                           "--binarize", "dynamic", "--batch-size", "7")  # fmt: skip
    assert (status, err) == (0, "")
    for part in ("54 training and 6 test rows of 12 values", "test ELBO", "KL(q(z|x) ‖ p(z))",
                 "ln p(x), exact", "100-sample bound", "of at most 4",
                 "run      runs/mine-categorical4/",
                 "next     discretevae evaluate runs/mine-categorical4"):  # fmt: skip
        assert part in out
    config = json.loads(Path("runs/mine-categorical4/config.json").read_text())
    assert config["data"]["source"] == str(tmp_path / "mine.npy")
    assert config["model"]["prior"] == "factorized"
    assert config["training"]["estimator"] == "importance:proposal=uniform"
    assert config["training"]["samples"] == 3
    assert config["training"]["batch_size"] == 7
    assert config["data"]["binarize"] == "dynamic"


def test_the_next_run_takes_a_free_name(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", np.random.default_rng(0).random((40, 4)))
    args = ("train", "--data", "mine.npy", "--latent", "bernoulli:2", "--epochs", "1",
            "--hidden", "4")  # fmt: skip
    assert cli(*args).status == cli(*args).status == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "mine-bernoulli2",
        "mine-bernoulli2-2",
    ]


def test_evaluate_json(cli, trained):
    status, out, err = cli("evaluate", trained("categorical:5"), "--json", "--samples", "7")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert result["rows"] == 297
    assert result["bound"]["samples"] == 7
    assert result["elbo"]["value"] <= result["log_px"]["value"]
    assert cli("evaluate", trained("categorical:5"), "--json", "--samples", "7").out == out
    assert cli("evaluate", trained("categorical:5"), "--json", "--seed", "1").out != out


def test_evaluate_table_and_other_data(cli, copied, tmp_path):
    folder = copied("bernoulli:6")
    rows = load_rows("digits", split="all")
    np.save(tmp_path / "few.npy", rows.values[:30].numpy())
    before = tree(folder)
    status, out, err = cli("evaluate", folder, tmp_path / "few.npy", "--split", "all")
    assert (status, err) == (0, "")
    assert "30 rows" in out
    assert "of 6" in out
    train = json.loads(cli("evaluate", folder, "digits", "--split", "train", "--json").out)
    assert train["rows"] == 1500
    assert tree(folder) == before


@pytest.mark.parametrize("latent", LATENTS)
def test_sample(latent, cli, trained, tmp_path):
    folder = trained(latent)
    values = tmp_path / "deep" / "er" / "s.npy"
    said = cli("sample", folder, "--n", "5", "--out", values, "--json")
    assert said.status == 0
    assert json.loads(said.out) == {"out": str(values), "rows": 5}
    first = np.load(values)
    assert first.dtype == np.float32
    assert first.shape == (5, 8, 8)
    assert ((first >= 0) & (first <= 16)).all()  # in the units of digits
    cli("sample", folder, "--n", "5", "--out", values)
    assert np.array_equal(np.load(values), first)
    cli("sample", folder, "--n", "5", "--out", values, "--seed", "1")
    assert not np.array_equal(np.load(values), first)
    assert cli("sample", folder, "--n", "5", "--out", tmp_path / "s.png").status == 0
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_go_to_the_run_unless_told(cli, copied):
    folder = copied("bernoulli:6")
    shutil.rmtree(folder / "figures")
    assert cli("sample", folder).out == f"60 rows written to {folder}/figures/samples.png\n"
    assert cli("reconstruct", folder, "--n", "5").status == 0
    assert {p.name for p in (folder / "figures").iterdir()} == {
        "samples.png",
        "reconstructions.png",
    }


def test_a_run_moves_and_its_rows_need_be_no_pictures(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = np.random.default_rng(0).normal(size=(50, 6)) * 3
    np.savetxt("t.csv", table, delimiter=",")
    assert cli("train", "--data", "t.csv", "--likelihood", "gaussian", "--latent", "bernoulli:4",
               "--epochs", "1", "--hidden", "8", "--out", "a").status == 0  # fmt: skip
    Path("a").rename("b")
    for name in ("c.npy", "r.npy"):
        command = "encode" if name == "c.npy" else "reconstruct"
        assert cli(command, "b", "--out", name).status == 0
    assert np.load("c.npy").shape == (50, 1)
    assert np.load("r.npy").shape == (5, 6)
    said = cli("sample", "b", "--out", "s.png")
    assert said.status == 2
    assert "no pictures" in said.err
    assert json.loads(cli("evaluate", "b", "--json").out)["rows"] == 5


# --- stopping and going on -------------------------------------------------------------------


def same_run(one: Path, other: Path) -> None:
    """Weights, state and metrics of two runs agree to the bit, but for what a clock says."""
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert metrics_of(one) == metrics_of(other)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    assert summaries[0]["test"] == summaries[1]["test"]


def test_the_run_in_the_current_folder_is_resumed(cli, copied, monkeypatch):
    monkeypatch.chdir(copied("bernoulli:5"))
    assert cli("train", "--resume", ".", "--epochs", "3", "--json").status == 0
    assert Path("metrics.jsonl").read_text().count("\n") == 3


def test_resume_prolongs(cli, copied, tmp_path):
    folder = copied("bernoulli:6")
    # two epochs and a third are three epochs in one go
    assert cli("train", "--resume", "--out", folder, "--epochs", "3", "--json").status == 0
    args = ("--latent", "bernoulli:6", "--epochs", "3", *SMALL, "--out", tmp_path / "whole")
    assert cli("train", *args).status == 0
    same_run(folder, tmp_path / "whole")
    assert json.loads((folder / "config.json").read_text())["training"]["epochs"] == 3
    before = (folder / "model.safetensors").read_bytes()
    assert cli("train", "--resume", folder).status == 0  # nothing is left to do
    assert (folder / "model.safetensors").read_bytes() == before


def test_ctrl_c_says_how_to_go_on(cli, forked, tmp_path):
    folder = tmp_path / "run"
    args = ("--latent", "bernoulli:4", *SMALL, "--binarize", "dynamic")
    often = ("--save-every", "0.2s", "--epochs", "100000")
    process = forked(None, "train", *args, *often, "--out", folder)
    process.wait_until(lambda: (folder / "metrics.jsonl").exists() and metrics_of(folder))
    process.send(signal.SIGINT)
    status, out, err = process.end()
    assert (status, out) == (130, "")
    assert err.startswith("Stopped: in epoch ")
    assert len(err.splitlines()) == 1
    assert f"discretevae train --resume {folder}" in err
    assert leftovers(folder) == []
    done = len(metrics_of(folder))
    assert done >= 1
    assert cli("train", "--resume", folder, "--epochs", str(done + 1)).status == 0
    whole = ("--epochs", str(done + 1), "--out", tmp_path / "whole")
    assert cli("train", *args, *whole).status == 0
    same_run(folder, tmp_path / "whole")


def test_ctrl_c_after_the_last_epoch_loses_nothing(cli, tmp_path, monkeypatch):
    def pressed(*_: object, **__: object):
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    args = ("train", "--latent", "bernoulli:4", "--epochs", "1", *SMALL, "--out", folder)
    with monkeypatch.context() as patch:
        patch.setattr("discretevae.experiments.run.evaluate", pressed)
        status, out, err = cli(*args)
    assert status == 130
    assert out == ""
    assert f"--resume {folder}" in err
    assert len(err.splitlines()) == 1
    weights = (folder / "model.safetensors").read_bytes()
    assert cli("train", "--resume", folder).status == 0
    assert (folder / "summary.json").exists()
    assert (folder / "model.safetensors").read_bytes() == weights


# --- a full disk -----------------------------------------------------------------------------


class FullDisk:
    """An os.fsync that fails from its n-th call on."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, descriptor: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


TINY = ("train", "--data", "mine.npy", "--latent", "bernoulli:3", "--epochs", "1", "--hidden", "4",
        "--batch-size", "18", "--out")  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with a small file of rows and a run on it that nothing disturbed."""
    folder = tmp_path_factory.mktemp("tiny")
    np.save(folder / "mine.npy", np.random.default_rng(0).random((40, 4)))
    with contextlib.chdir(folder):
        assert call([*TINY, "whole"]) == 0
    return folder


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5, 6, 9, 10, 11])
def test_a_full_disk_at_any_write(after, cli, tiny, monkeypatch):
    """config; (metrics, model, state) after both steps and at the end; one figure; summary."""
    monkeypatch.chdir(tiny)
    folder = Path(f"run{after}")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", FullDisk(after))
        status, out, err = cli(*TINY, folder, "--save-every", "1steps")
    assert status == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err
    assert leftovers(tiny) == []
    if after == 0:
        assert {path.name for path in folder.iterdir()} <= {"lock"}
        return
    if after >= 4:
        load_run(folder)  # what was saved before is whole
    assert cli("train", "--resume", folder).status == 0
    same_run(folder, Path("whole"))


def test_a_full_disk_that_is_real(cli, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here; root mostly can")
    try:
        folder = disk / "run"
        args = ("train", "--latent", "bernoulli:6", "--epochs", "1")
        status, out, err = cli(*args, "--hidden", "4000", "--out", folder)
        assert status == 2
        assert out == ""
        assert len(err.splitlines()) == 1
        assert "No space left on device" in err
        assert f"--resume {folder}" in err
        assert leftovers(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_that_may_not_grow(cli, copied):
    """The limit that the shell calls ulimit -f: a disk that fills up while a run goes on."""
    folder = copied("bernoulli:6")
    before = tree(folder)
    size = (folder / "model.safetensors").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 100, hard))
        status, out, err = cli("train", "--resume", folder, "--epochs", "3")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "File too large" in err
    assert f"What was saved last is in {folder}" in err
    assert leftovers(folder) == []
    after = tree(folder)
    for name in before:
        if name == "model.safetensors" or name.startswith("checkpoint/"):
            assert after[name] == before[name]
    assert cli("train", "--resume", folder).status == 0
    assert len(metrics_of(folder)) == 3


@pytest.mark.parametrize("command", ["encode", "sample", "reconstruct"])
def test_a_full_disk_leaves_the_old_file(command, cli, trained, tmp_path, monkeypatch):
    out = tmp_path / "o.npy"
    out.write_bytes(b"old")
    run = trained("bernoulli:6")  # which other tests may have made or not
    monkeypatch.setattr(files.os, "fsync", FullDisk(0))
    status, _, err = cli(command, run, "--out", out)
    assert status == 2
    assert "No space left on device" in err
    assert out.read_bytes() == b"old"
    assert leftovers(tmp_path) == []
