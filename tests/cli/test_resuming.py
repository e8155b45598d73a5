"""The same command again: a job script that is restarted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from discretevae.run_folder.history import read_metrics
from discretevae.run_folder.saved_run import load_config

ALL = (
    "--preset", "fc-bvae", "--hidden", "4,3", "--activation", "leaky-relu:0.20", "--init", "he",
    "--likelihood", "bernoulli", "--binarize", "none", "--image-size", "2x2", "--batch-size",
    "16", "--lr", "1e-2", "--lr-schedule", "linear:0.40", "--warmup", "2", "--clip",
    "5", "--average", "0.9", "--start", "mean", "--validation", "0.2", "--patience", "9",
    "--augment", "shift=1.0", "--seed", "3", "--precision", "float32",
)  # fmt: skip
BITS = (*ALL, "--latent", "bernoulli:6", "--estimator", "importance:tau=0.70,proposal=tempered")
REALS = (*ALL, "--latent", "gaussian:2", "--prior", "mixture:2")
TINY = ("--latent", "bernoulli:4", "--hidden", "4", "--lr", "0.01")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with rows in it."""
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", np.random.default_rng(0).random((40, 4)).astype("float32"))
    return tmp_path


@pytest.fixture
def run(here, cli):
    """A function that trains ``run`` with these options, and says what is wrong with more."""

    def trained(*args, folder="run"):
        said = cli("train", "--data", "rows.npy", "--epochs", "1", "--out", folder, *args)
        assert said.status == 0, said.err
        return Path(folder)

    return trained


@pytest.mark.parametrize("options", [BITS, REALS, TINY, ()], ids=["bits", "reals", "tiny", "none"])
def test_the_very_same_command_is_accepted(options, run, cli):
    folder = run(*options)
    before = (folder / "model.safetensors").read_bytes()
    again = ("train", "--data", "rows.npy", *options, "--epochs", "1", "--out", folder)
    for _ in range(2):
        said = cli(*again, "--resume")
        assert said.status == 0, said.err
        assert f"{folder}: all 1 epochs are done already." in said.err
        assert (folder / "model.safetensors").read_bytes() == before
    said = cli(*again, "--resume", "--json")
    assert said.status == 0
    assert said.out.startswith("{")
    said = cli(*again, "--resume", folder.absolute())
    assert said.status == 0, said.err
    said = cli(*again)
    assert (said.status, "--resume" in said.err) == (2, True)


def test_other_spellings_of_the_same_are_accepted(run, cli, here):
    folder = run(*BITS)
    (here / "below").mkdir()
    (here / "link.npy").symlink_to(here / "rows.npy")
    for args in [
        ("--lr-schedule", "linear:0.4"), ("--lr", "0.01"), ("--clip", "5.0"),
        ("--activation", "leaky-relu:0.2"), ("--estimator", "importance:proposal=tempered,tau=0.7"),
        ("--augment", "shift=1"), ("--data", here / "rows.npy"), ("--data", "./rows.npy"),
        ("--data", "below/../rows.npy"), ("--data", "link.npy"), ("--latent", "bernoulli:06"),
        ("--latent", "bernoulli:6", "--preset", "fc-bvae", "--hidden", "4,3", "--init", "he"),
    ]:  # fmt: skip
        said = cli("train", "--resume", folder, *args)
        assert said.status == 0, (args, said.err)
    assert load_config(folder).training.lr == 0.01


TABLE = "row,a,b,c,label\n" + "".join(f"{i},{i % 7},0.{i},2.5,{i % 2}\n" for i in range(40))
ROLES = ("--label", "label", "--id", "row", "--ignore", "c", "--header")


@pytest.mark.parametrize("scale", [
    (), ("--scale", "none"), ("--scale", "standard"), ("--scale", "minmax"), ("--divisor", "40"),
    ("--scale", "auto", "--likelihood", "auto"), ("--scale", "none", "--likelihood", "gaussian"),
], ids=" ".join)  # fmt: skip
def test_roles_and_scales_of_a_table_are_compared(scale, here, cli):
    Path("t.csv").write_text(TABLE)
    job = ("train", "--data", "t.csv", *ROLES, *scale, *TINY, "--epochs", "1", "--out", "run")
    assert cli(*job).status == 0
    said = cli(*job, "--resume")
    assert said.status == 0, said.err
    for other in [
        ("--label", "a"), ("--id", "b"), ("--ignore", "b"), ("--ignore", "c", "--ignore", "a"),
        ("--no-header",), ("--divisor", "3"),
        ("--scale", "standard" if "minmax" in scale else "minmax"),
    ]:  # fmt: skip
        said = cli("train", "--resume", "run", *other)
        assert said.status == 2, (other, said.err)
        assert f"{other[0].replace('--no-', '--')} is " in said.err
        assert "was given" in said.err


def test_the_default_that_was_chosen_may_be_named(run, cli):
    folder = run(*TINY)
    assert cli("train", "--resume", folder, "--estimator", "exact").status == 0
    said = cli("train", "--resume", folder, "--estimator", "disarm")
    assert said.status == 2
    assert f"--estimator is not set in {folder}, and disarm was given." in said.err


DIFFERENT = {
    ("--lr", "0.001"): "--lr is 0.01 in run, and 0.001 was given.",
    ("--latent", "bernoulli:7"): "--latent is bernoulli:6 in run, and bernoulli:7 was given.",
    ("--hidden", "none"): "--hidden is 4,3 in run, and none was given.",
    ("--activation", "tanh"): "--activation is leaky-relu:0.2 in run, and tanh was given.",
    ("--init", "glorot"): "--init is he in run, and glorot was given.",
    ("--estimator", "nonsense"): "in run, and nonsense was given.",
    ("--likelihood", "gaussian"): "--likelihood is bernoulli in run, and gaussian was given.",
    ("--prior", "factorized"): "--prior is fixed in run, and factorized was given.",
    ("--binarize", "dynamic"): "--binarize is none in run, and dynamic was given.",
    ("--image-size", "4x1"): "--image-size is 2x2 in run, and 4x1 was given.",
    ("--batch-size", "8"): "--batch-size is 16 in run, and 8 was given.",
    ("--lr-schedule", "cosine"): "--lr-schedule is linear:0.4 in run, and cosine was given.",
    ("--warmup", "0"): "--warmup is 2 in run, and 0 was given.",
    ("--clip", "1"): "--clip is 5 in run, and 1 was given.",
    ("--average", "0.99"): "--average is 0.9 in run, and 0.99 was given.",
    ("--start", "random"): "--start is mean in run, and random was given.",
    ("--validation", "0"): "--validation is 0.2 in run, and 0 was given.",
    ("--kl-warmup", "2"): "--kl-warmup is not set in run, and 2 was given.",
    ("--objective", "wake-sleep"): "--objective is elbo in run, and wake-sleep was given.",
    ("--target", "neighbors:2x3"): "--target is row in run, and neighbors:2x3 was given.",
    ("--seed", "0"): "--seed is 3 in run, and 0 was given.",
    ("--precision", "bf16"): "--precision is float32 in run, and bf16 was given.",
    ("--data", "digits"): "rows.npy in run, and digits was given.",
    ("--preset", "cnn-bvae"): "--network is mlp in run, and cnn was given by --preset cnn-bvae;",
    ("--preset", "fc-cvae"): "--latent is bernoulli:6 in run, and categorical:100 was given by "
                             "--preset fc-cvae;",
}  # fmt: skip


def test_what_differs_is_refused_with_both_values(run, cli):
    folder = run(*BITS)
    before = (folder / "config.json").read_bytes()
    for args, message in DIFFERENT.items():
        said = cli("train", "--resume", folder, *args)
        assert (said.status, said.err.count("\n"), said.out) == (2, 1, ""), args
        assert message in said.err, args
        assert "out, or start a new run." in said.err
    said = cli("train", "--resume", folder, "--seed", "4", "--lr", "0.5", "--clip", "5")
    assert said.err == (
        "Error: --lr is 0.01 in run, and 0.5 was given; --seed is 3 in run, and 4 was given. "
        "Leave them out, or start a new run.\n"
    )
    assert (folder / "config.json").read_bytes() == before


def test_a_folder_of_a_built_in_name_is_not_the_built_in_set(here, cli):
    options = ("--hidden", "4", "--latent", "bernoulli:2", "--epochs", "1", "--out", "run")
    assert cli("train", "--data", "digits", *options).status == 0
    for name in ("digits", "builtin:digits"):
        assert cli("train", "--data", name, *options, "--resume").status == 0
    Path("digits").mkdir()
    said = cli("train", "--data", "./digits", *options, "--resume")
    assert f"--data is digits in run, and {here / 'digits'} was given." in said.err


def test_what_no_result_depends_on_may_change(run, cli, here):
    folder = run(*TINY)
    said = cli(
        "train", "--resume", folder, "--epochs", "2", "--save-every", "3steps", "--device", "cpu",
        "--data-dir", here, "--no-graph", "--json",
    )  # fmt: skip
    assert (said.status, said.err) == (0, "")
    assert len(read_metrics(folder)) == 2
    said = cli("train", "--resume", folder, "--epochs", "1")
    assert (said.status, f"{folder}: all 2 epochs are done already." in said.err) == (0, True)
    assert len(read_metrics(folder)) == 2


def empty(folder):
    folder.mkdir()


def begun(folder):
    folder.mkdir()
    (folder / "lock").write_text("process 1 on nowhere\n")
    (folder / ".config.json.0a1b2c3d4e5f.tmp").write_text("{")


@pytest.mark.parametrize("prepare", [lambda folder: None, empty, begun], ids=["", "empty", "begun"])
@pytest.mark.parametrize("named", ["", "run"])
def test_a_run_that_is_not_there_begins(prepare, named, here, cli):
    prepare(here / "run")
    again = ("train", "--data", "rows.npy", *TINY, "--epochs", "1", "--out", "run", "--resume")
    said = cli(*again, *filter(None, [named]))
    assert said.status == 0, said.err
    assert len(read_metrics(Path("run"))) == 1
    assert "already" not in said.err


def test_a_run_that_was_killed_before_its_first_save_begins(run, cli):
    whole = run(*TINY)
    killed = Path(shutil.copytree(whole, "killed"))
    for path in killed.iterdir():
        if path.name != "config.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = cli("train", "--data", "rows.npy", *TINY, "--epochs", "1", "--out", killed, "--resume")
    assert said.status == 0, said.err
    assert "already" not in said.err
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_run_that_was_killed_before_its_evaluation_is_evaluated(run, cli):
    folder = run(*TINY)
    (folder / "summary.json").unlink()
    assert cli("train", "--out", folder, "--resume", *TINY).status == 0
    assert (folder / "summary.json").exists()


def test_a_training_that_stopped_early_is_not_taken_up_again(run, cli):
    early = (*TINY, "--validation", "0.2", "--patience", "1", "--epochs", "60", "--lr", "5")
    folder = run(*early)
    n_epochs = len(read_metrics(folder))
    assert n_epochs < 60
    said = cli("train", "--data", "rows.npy", "--out", folder, "--resume", *early)
    assert said.status == 0
    assert f"training stopped early, and all {n_epochs} epochs are done already." in said.err


def test_a_folder_of_something_else_is_refused(here, cli):
    Path("run").mkdir()
    Path("run/thesis.tex").write_text("x")
    said = cli("train", "--data", "rows.npy", *TINY, "--out", "run", "--resume")
    assert (said.status, "not ours" in said.err) == (2, True)
    assert [path.name for path in Path("run").iterdir()] == ["thesis.tex"]
    said = cli("train", "--resume", "nowhere")  # perhaps misspelled
    assert (said.status, "no such run folder" in said.err) == (2, True)


def test_a_damaged_configuration_is_no_new_run(run, cli):
    folder = run(*TINY)
    (folder / "config.json").write_text("{")
    said = cli("train", "--data", "rows.npy", *TINY, "--out", folder, "--resume")
    assert (said.status, "corrupt" in said.err) == (2, True)


def test_a_comparison_takes_itself_again(here, cli):
    args = ("compare", "--latent", "bernoulli:3", "--estimators", "exact,disarm")
    for data in ("rows.npy", "./rows.npy", here / "rows.npy"):
        said = cli(*args, "--data", data, "--hidden", "4", "--epochs", "1", "--out", "out")
        assert said.status == 0, said.err
