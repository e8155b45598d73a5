"""A model with a codebook, from the command line: trained, used, and refused in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from discretevae.cli import call

CODE = ("--latent", "categorical:4x8", "--quantizer", "vector:3", "--hidden", "16")
VQ = ("--objective", "vq", "--vq", "decay=0.9")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codebooks") / "run"
    assert call(["train", *CODE, *VQ, "--epochs", "2", "--out", str(folder)]) == 0
    return folder


def test_what_a_run_is_used_for(run, cli, tmp_path):
    found = json.loads(cli("evaluate", run, "--samples", "3", "--json").out)
    assert found["kl"]["value"] == pytest.approx(4 * np.log(8), rel=1e-5)
    assert found["bound"]["value"] == pytest.approx(found["elbo"]["value"], abs=1e-3)
    codes = tmp_path / "codes.npy"
    assert cli("encode", run, "--out", codes).status == 0
    assert np.load(codes).shape[1] == 4
    for command in ("sample", "reconstruct"):
        assert cli(command, run, "--out", tmp_path / f"{command}.png").status == 0
    prior = ("prior", run, "--epochs", "2", "--samples", "2", "--out", tmp_path / "prior")
    assert cli(*prior).status == 0
    assert cli("export", run, "--onnx", "--out", tmp_path / "onnx").status == 0


def test_a_run_is_gone_on_with_and_says_what_differs(run, cli):
    said = cli("train", "--resume", run, "--vq", "decay=0.5")
    assert said.status == 2
    assert "--vq is beta=0.25,decay=0.9,revive=0.05,entropy=0 in" in said.err
    said = cli("train", "--resume", run, "--quantizer", "vector:5")
    assert said.status == 2
    assert "--quantizer is vector:3 in" in said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--objective", "vq"), "--objective vq needs a quantizer. Give one"),
        (("--quantizer", "vector:3"), "--quantizer vector:3 needs a categorical code"),
        ((*CODE, "--quantizer", "vector"), "missing a required argument: 'dim'"),
        ((*CODE, "--quantizer", "vectr:3"), "Did you mean vector?"),
        ((*CODE, "--vq", "beta=1"), "--vq belongs to --objective vq"),
        ((*CODE, "--objective", "vq", "--vq", "beta=-1"), "beta must be >= 0"),
        ((*CODE, "--objective", "vq", "--estimator", "reinmax"), "cannot be estimated by ReinMax"),
    ],
    ids=lambda value: None if isinstance(value, tuple) else value[:20],
)
def test_mistakes_are_one_line(options, said, cli, tmp_path):
    found = cli("train", *options, "--out", tmp_path / "run")
    assert found.status == 2
    assert said in found.err
    assert found.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_compression_says_that_it_cannot(run, cli, tmp_path):
    found = cli("compress", run, "--out", tmp_path / "x.dvz")
    assert found.status == 2
    assert found.err.count("\n") == 1
