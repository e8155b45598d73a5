"""Runs that are given labels: training, resuming, accuracy, samples of a class."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from discretevae.config import ModelConfig
from discretevae.errors import ConfigError
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder.saved_run import load_run

NAMES = np.array(["cat", "dog", "ant"])


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """Pictures of three classes, half of them without a name."""
    path = tmp_path_factory.mktemp("animals") / "animals.npz"
    kinds = np.arange(240) % 3
    x = np.zeros((240, 4, 4), np.uint8)
    x[np.arange(240), kinds] = 1
    names = np.where(np.arange(240) < 120, NAMES[kinds], "")
    np.savez(path, x=x, y=names)
    return path


@pytest.fixture(scope="module")
def run_folder(animals, tmp_path_factory):
    return animals.parent / "run"


TINY = ("--latent", "bernoulli:2", "--hidden", "16", "--lr", "0.02")


def test_a_run_given_labels(cli, animals, run_folder):
    command = ("train", "--data", animals, "--condition", "label", *TINY, "--out", run_folder)
    assert cli(*command, "--epochs", 8, "--json").status == 0
    run = load_run(run_folder)
    assert str(run.config.model.latent) == "categorical:3+bernoulli:2"
    assert run.schema.classes == ("ant", "cat", "dog")
    said = cli(*command, "--epochs", 9, "--resume")  # the same command prolongs it
    assert said.status == 0, said.err
    found = json.loads(cli("evaluate", run_folder, "--json").out)
    assert found["accuracy"]["value"] == 1.0
    assert "accuracy of the labels" in cli("evaluate", run_folder).out


def test_rows_of_unknown_label_are_not_scored(cli, animals, tmp_path):
    out = tmp_path / "clusters"
    command = ("train", "--data", animals, "--latent", "categorical:3", "--epochs", 1)
    assert cli(*command, "--out", out).status == 0
    found = json.loads(cli("cluster", out, "--json").out)
    named = [each["majority"]["label"] for each in found["clusters"] if each["majority"]]
    assert set(named) <= {0, 1, 2}
    assert sum(each["rows"] for each in found["clusters"]) == 240
    said = cli("retrieval", out)
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "a label for every row" in said.err


def test_samples_of_a_class(cli, run_folder, tmp_path):
    assert "36 rows written" in cli("sample", run_folder).out  # 12 of each class
    for name in NAMES:
        out = tmp_path / "x.npy"
        assert cli("sample", run_folder, "--label", name, "--n", 7, "--out", out).status == 0
        rows = np.load(out).reshape(7, 4, 4)
        assert (rows.mean(2).argmax(1) == list(NAMES).index(name)).all()
    said = cli("sample", run_folder, "--label", "cow")
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "--label 'cow' is unknown. The classes are ant, cat, dog." in said.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--objective", "marginal"), "--condition label is --objective semi-supervised. Got"),
        (("--latent", "bernoulli:2@2x2"), "no part of several can be a grid"),
        (("--kl-warmup", 2), "--kl-warmup change the ELBO"),
        (("--estimator", "rloo+disarm"), "sums over the label"),
    ],
)
def test_what_does_not_go_with_labels_is_said_in_one_line(cli, animals, options, message):
    said = cli("train", "--data", animals, "--condition", "label", *options)
    assert said.status == 2
    assert message in said.err


def test_rows_without_labels_are_refused(cli, tmp_path):
    np.save(tmp_path / "x.npy", np.eye(20, 8, dtype=np.uint8))
    said = cli("train", "--data", tmp_path / "x.npy", "--condition", "label")
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "has no labels" in said.err
    said = cli("train", "--data", tmp_path / "x.npy", "--latent", "categorical:3",
               "--objective", "semi-supervised", "--out", tmp_path / "run")  # fmt: skip
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "no row has a label" in said.err


def test_a_label_replaces_the_first_part_of_the_drawn_code_and_nothing_else():
    config = ModelConfig(n_features=4, latent="categorical:3+bernoulli:2+gaussian:1", hidden=(5,))
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))

    def code(**options):
        seen = []
        hook = model.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        model.sample(6, generator=torch.Generator().manual_seed(1), **options)
        hook.remove()
        return seen[0]

    free, held = code(), code(label=2)
    assert held[:, :3].argmax(1).tolist() == [2] * 6
    assert torch.equal(free[:, 3:], held[:, 3:])
    each = torch.tensor([0, 1, 2, 0, 1, 2])
    assert torch.equal(code(label=each)[:, :3].argmax(1), each)


@pytest.mark.parametrize(
    ("latent", "prior"), [("bernoulli:3", "fixed"), ("categorical:3", "autoregressive")]
)
def test_a_code_without_a_label_has_none_to_draw(latent, prior):
    config = ModelConfig(n_features=4, latent=latent, hidden=(5,), prior=prior)
    with pytest.raises(ConfigError, match="`label` needs another prior"):
        DiscreteVAE(config).sample(2, label=1)
