"""A prior fitted afterwards: what changes, what does not, and the folder that it leaves."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from discretevae.data import load_data
from discretevae.errors import ConfigError
from discretevae.evaluation.bounds import row_scores
from discretevae.experiments.refit import refit_prior
from discretevae.run_folder.saved_run import load_run
from discretevae.system.randomness import generator_for


@pytest.mark.draws
def test_encoder_and_decoder_stay_and_the_gain_is_the_prior_s(cli, trained, tmp_path):
    old = trained("bernoulli:6")
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    out = tmp_path / "new"
    said = cli("prior", old, "--out", out, "--epochs", "4", "--samples", "5", "--json")
    assert said.status == 0, said.err
    assert before == {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    told = json.loads(said.out)
    first, second = load_run(old), load_run(out)
    assert str(second.config.model.prior) == "autoregressive"
    assert second.config.training == first.config.training
    new = second.model.state_dict()
    for name, weight in first.model.state_dict().items():
        if not name.startswith("prior"):
            assert torch.equal(weight, new[name]), name
    test = load_data("digits").test
    scores = [row_scores(run.model, test, samples=5) for run in (first, second)]
    assert torch.equal(scores[0].log_likelihood, scores[1].log_likelihood)
    gain = (scores[1].elbo - scores[0].elbo).mean().item()
    assert told["gain"]["value"] == pytest.approx(gain)
    assert gain > 0
    assert told["after"]["kl"]["value"] < told["before"]["kl"]["value"]
    assert len(told["history"]) == 4
    with Image.open(out / "figures" / "samples.png") as picture:
        assert min(picture.size) > 200


def test_the_new_folder_is_a_run_like_any_other_that_cannot_be_resumed(cli, trained, tmp_path):
    out = tmp_path / "new"
    assert cli("prior", trained("gaussian:3"), "mixture:3", "--epochs", "2",
               "--out", out).status == 0  # fmt: skip
    assert "finished" in cli("runs", tmp_path).out
    assert cli("evaluate", out).status == 0
    assert cli("sample", out, "--temperature", "0.5").status == 0
    said = cli("train", "--resume", out)
    assert said.status == 2
    assert "its prior was fitted afterwards" in said.err


def test_the_same_seed_gives_the_same_bits(trained, tmp_path):
    run, data = load_run(trained("categorical:5")), load_data("digits")
    state = torch.random.get_rng_state()
    one, two, other = (
        refit_prior(run, data, "autoregressive:8", out=tmp_path / name, epochs=1, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    same = one.model.state_dict(), two.model.state_dict()
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])
    assert one.gain == two.gain != other.gain


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("fixed",), "has nothing to learn"),
        (("mixture:3",), "needs a code of real numbers"),
        (("autoregressive:x",), "hidden must be an int"),
        (("convolution",), "needs a grid of codes, such as bernoulli:9@8x8. Got bernoulli:6."),
        (("--condition", "label"), "no autoregressive prior is conditioned on labels"),
        (("--epochs", "0"), "epochs must be an int >= 1"),
        (("--lr", "nan"), "lr must be"),
    ],
)
def test_what_is_refused_leaves_nothing(args, words, cli, trained, tmp_path):
    out = tmp_path / "new"
    said = cli("prior", trained("bernoulli:6"), *args, "--out", out)
    assert said.status == 2
    assert words in said.err
    assert not out.exists()


def test_a_prior_given_labels_draws_the_class_that_is_named(cli, trained, tmp_path):
    out, values = tmp_path / "new", tmp_path / "values.npy"
    said = cli("prior", trained("bernoulli:6"), "transformer:1x16", "--condition", "label",
               "--epochs", "30", "--samples", "5", "--json", "--out", out)  # fmt: skip
    assert said.status == 0, said.err
    assert json.loads(said.out)["gain"]["value"] > 0
    assert str(load_run(out).config.model.prior) == "transformer:1x16,classes=10"
    assert "120 rows written" in cli("sample", out).out
    with Image.open(out / "figures" / "samples.png") as picture:
        assert picture.height > picture.width * 0.8  # a line of each class
    drawn = []
    for y in (0, 7):
        assert cli("sample", out, "--label", y, "--out", values).status == 0
        drawn.append(torch.from_numpy(np.load(values)).reshape(60, 64))
        generator = generator_for(0, "figures")
        expected = load_run(out).model.sample(60, generator=generator, label=y)
        assert torch.allclose(drawn[-1] / 16, expected, atol=1e-5)
    assert not torch.equal(*drawn)
    said = cli("sample", out, "--label", "cat")
    assert said.status == 2
    assert "--label 'cat' is unknown. The classes are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in said.err


def test_options_that_the_prior_of_a_run_does_not_take_are_refused(cli, trained, tmp_path):
    for option, how in (
        ("--label", "given labels by --condition label"), ("--top-k", "such as transformer"),
    ):  # fmt: skip
        said = cli("sample", trained("bernoulli:6"), option, "1", "--out", tmp_path / "a.npy")
        assert said.status == 2
        assert f"{option} needs another prior, {how}. Got fixed." in said.err


def test_the_new_run_lies_beside_the_old_one(cli, trained, tmp_path):
    shutil.copytree(trained("bernoulli:6"), tmp_path / "old")
    said = cli("prior", tmp_path / "old", "transformer:1x8", "--epochs", "1", "--samples", "2")
    assert said.status == 0, said.err
    assert str(load_run(tmp_path / "old-transformer").config.model.prior) == "transformer:1x8"
    assert "bits/dimension" in said.out


def test_rows_without_labels_are_refused_in_one_line(cli, tmp_path):
    np.save(tmp_path / "rows.npy", np.eye(20, 8, dtype=np.uint8))
    config = ("--latent", "bernoulli:3", "--hidden", "4", "--epochs", "1")
    run = tmp_path / "run"
    assert cli("train", "--data", tmp_path / "rows.npy", *config, "--out", run).status == 0
    said = cli("prior", run, "transformer:1x8", "--condition", "label")
    assert said.status == 2
    assert "They have none. Leave --condition out." in said.err
    assert not (tmp_path / "run-transformer").exists()


def test_a_grid_gets_convolutions_where_no_prior_is_named(cli, tmp_path):
    model = ("--network", "resnet", "--width", "4", "--latent", "bernoulli:2@4x4")
    assert cli("train", *model, "--epochs", "1", "--out", tmp_path / "run").status == 0
    said = cli("prior", tmp_path / "run", "--epochs", "1", "--samples", "1")
    assert said.status == 0, said.err
    run = load_run(tmp_path / "run-convolution")
    assert str(run.config.model.prior) == "convolution:4x64"
    assert run.model.prior.grid == (4, 4)
    assert cli("evaluate", run.folder, "--samples", "1").status == 0


def test_a_condition_is_none_or_label(trained, tmp_path):
    run, data = load_run(trained("bernoulli:6")), load_data("digits")
    with pytest.raises(ConfigError, match="`condition` must be none or label"):
        refit_prior(run, data, "transformer", out=tmp_path / "new", condition="labels")


def test_a_folder_that_is_taken_is_refused_before_anything_is_fitted(cli, trained):
    old = trained("bernoulli:6")
    said = cli("prior", old, "--out", old)
    assert said.status == 2
    assert "already holds a run" in said.err
