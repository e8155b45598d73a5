"""A prior fitted afterwards: what changes, what does not, and the folder that it leaves."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from discretevae.data import load_data
from discretevae.evaluation.bounds import row_scores
from discretevae.experiments.refit import refit_prior
from discretevae.run_folder.saved_run import load_run


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
    assert cli("prior", trained("gaussian:3"), "--prior", "mixture:3", "--epochs", "2",
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
        (("--prior", "fixed"), "has nothing to learn"),
        (("--prior", "mixture:3"), "needs a code of real numbers"),
        (("--prior", "autoregressive:x"), "hidden must be an int"),
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


def test_a_folder_that_is_taken_is_refused_before_anything_is_fitted(cli, trained):
    old = trained("bernoulli:6")
    said = cli("prior", old, "--out", old)
    assert said.status == 2
    assert "already holds a run" in said.err
