"""The paper's unsaid choices, and initial weights: their runs, and the pages made of them."""

from __future__ import annotations

import itertools
import json
import runpy
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from discretevae.config import INITS, ModelConfig, TrainConfig, preset
from discretevae.data import Dataset, load_data
from discretevae.errors import CollapseWarning, RunError, TrainingInterrupted
from discretevae.experiments.paper.experiments import EXPERIMENTS
from discretevae.model.vae import fresh_model
from discretevae.networks.convolutional import CHANNELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def choices():
    return runpy.run_path(str(ROOT / "benchmarks/paper_choices.py"))


@pytest.fixture(scope="module")
def weights():
    return runpy.run_path(str(ROOT / "benchmarks/initial_weights.py"))


@pytest.fixture(scope="module")
def paper_page():
    return runpy.run_path(str(ROOT / "scripts/paper_page"))


@pytest.fixture(scope="module")
def digits():
    data = load_data("digits")
    return Dataset("digits", data.train.subset(slice(64)), data.test.subset(slice(32)))


@pytest.fixture
def cli_of():
    def call(main, *arguments):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        return result.exit_code, result.output

    return call


def cells(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# --- the paper's unsaid choices --------------------------------------------------------------


def test_every_choice_is_tried_once_the_telling_ones_first(choices):
    plan = choices["plan"]()
    assert len(plan) == len(set(plan)) == len({choice.name for choice in plan}) == 3 * 2 * 2 * 3
    told = [(c.init, c.samples, c.likelihood, c.first) for c in plan]
    assert set(told[:6]) == {
        (init, 1, like, 128) for init, like in itertools.product(INITS, ("bernoulli", "gaussian"))
    }
    assert set(told[6:9]) == {(init, 5, "bernoulli", 128) for init in INITS}
    assert {c[:3] for c in told[9:11]} == {("he", 1, "bernoulli")}


@pytest.mark.parametrize("init", INITS)
def test_the_usual_choice_is_the_model_of_the_paper_s_figures(init, choices, digits):
    model = choices["model_of"](choices["Choice"](init, 1, "gaussian", 128), digits, 3)
    config = ModelConfig(
        n_features=64, latent="bernoulli:50", network="cnn", image_shape=(8, 8), init=init,
        likelihood="gaussian",
    )  # fmt: skip
    expected = fresh_model(config, seed=3).state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert model.likelihood.spec == config.likelihood


def test_the_squared_error_is_that_of_every_pixel(choices, digits):
    x = digits.test.batch(slice(None))
    mean = digits.train.batch(slice(None)).mean(0)
    assert choices["of_the_mean_row"](digits) == pytest.approx((x - mean).square().mean().item())
    model = choices["model_of"](choices["Choice"]("he", 1, "bernoulli", 32), digits, 0)
    expected = (x - model.reconstruct(x)).square().mean().item()
    assert choices["squared_error"](digits.test, model) == pytest.approx(expected, rel=1e-5)


def test_runs_are_kept_and_prolonged_and_all_are_written(choices, digits, tmp_path, monkeypatch):
    """Stopped and given again for another part: what is there is not trained again."""
    main = choices["main"].callback
    trained = []

    def train(folder, data, choice, config):
        trained.append((choice.name, config.epochs))
        return choices["trained"](folder, data, choice, config)

    monkeypatch.setitem(main.__globals__, "trained", train)
    monkeypatch.setitem(main.__globals__, "load_data", lambda *_, **__: digits)
    out = tmp_path / "choices.json"
    how = {"source": "digits", "data_dir": None, "precision": "float32", "batch_size": 32}
    threads = torch.get_num_threads()
    for only, epochs in (
        ("he-m1-bernoulli-32", 1), ("he-m1-bernoulli-32", 1), ("he-m1-gaussian-32", 1),
        ("he-m1-bernoulli-32", 2), ("he-m1-bernoulli-32", 1),
    ):  # fmt: skip
        main(tmp_path / "runs", out, only, epochs, seed=0, **how)
    torch.set_num_threads(threads)
    assert trained == [
        ("he-m1-bernoulli-32", 1), ("he-m1-gaussian-32", 1), ("he-m1-bernoulli-32", 2),
    ]  # fmt: skip
    runs = json.loads(out.read_text())["runs"]
    assert [(r["likelihood"], r["epochs"], r["width"]) for r in runs] == [
        ("bernoulli", 2, 32), ("gaussian", 1, 32),
    ]  # fmt: skip
    assert all(run["collapsed"] == (run["active"] == 0) for run in runs)


@pytest.mark.parametrize("script", ["choices", "weights"])
def test_a_part_that_does_not_exist_is_refused(script, request, tmp_path, cli_of):
    status, err = cli_of(request.getfixturevalue(script)["main"], tmp_path / "r", "--only", "hee")
    assert status == 2
    assert "'hee'" in err
    assert not (tmp_path / "r").exists()


def choice(init="he", samples=1, likelihood="bernoulli", first=128, error=0.03, active=40):
    return {
        "init": init, "samples": samples, "likelihood": likelihood, "first": first,
        "data": "mnist", "width": 4 * first, "estimator": "importance", "batch_size": 2048,
        "lr": 1e-3, "precision": "bf16", "seed": 0, "epochs": 30, "elbo": -170.0, "kl": 12.0,
        "active": active, "bits": 50, "squared_error": error, "collapsed": active == 0,
    }  # fmt: skip


def test_the_section_shows_every_run_and_what_each_choice_changes(paper_page, tmp_path):
    runs = [
        choice(), choice(samples=5, error=0.024), choice(init="torch", error=0.06, active=0),
        choice(init="torch", likelihood="gaussian", error=0.03), choice(likelihood="gaussian"),
        choice(first=32, error=0.033), choice(first=512) | {"epochs": 7},
    ]  # fmt: skip
    page, kept = tmp_path / "paper.md", tmp_path / "paper/choices.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps({"mean_row_squared_error": 0.0673, "runs": runs}))
    page.write_text("# The page\n" + paper_page["MADE"] + "\n$ as before\n")
    for _ in range(2):  # it is written in the place of what was there
        paper_page["renew"](tmp_path)
        text = page.read_text()
        assert text.startswith("# The page\n\n## What the paper leaves unsaid\n")
        assert text.endswith("\n$ as before\n")
        assert text.count(paper_page["HEADING"]) == 1
    assert "CNN-BVAE on MNIST" in text
    assert "batches of 2,048 rows, 7 or 30 epochs" in text
    assert "it is 0.0673 for" in text
    rows = cells(text)
    assert len(rows) == (2 + len(runs)) + (2 + 4)
    assert rows[2:4] == [
        ["Bernoulli", "he", "1", "128", "30", "−170.00", "12.00", "40", "0.0330", "no"],
        ["Bernoulli", "torch", "1", "512", "30", "−170.00", "12.00", "0", "0.0600", "yes"],
    ]
    assert rows[-4:] == [
        ["initial weights", "he → torch", "2", "1.50 (1.00 to 2.00)", "0", "1"],
        ["M", "1 → 5", "1", "0.80 (0.80 to 0.80)", "0", "0"],
        ["likelihood", "Bernoulli → N(x̂, 1)", "2", "0.75 (0.50 to 1.00)", "1", "0"],
        ["first layer", "512 → 128", "1", "1.10 (1.10 to 1.10)", "0", "0"],
    ]


def test_a_page_of_another_hand_is_left_alone(paper_page, tmp_path):
    page = tmp_path / "paper.md"
    page.write_text("# Mine\n")
    with pytest.raises(RunError, match="no page that this script wrote"):
        paper_page["renew"](tmp_path)
    assert page.read_text() == "# Mine\n"


def test_the_committed_page_is_that_of_the_committed_numbers(paper_page):
    text = (ROOT / "docs/results/paper.md").read_text()
    assert paper_page["unsaid"](ROOT / "docs/results") in text
    base = preset(EXPERIMENTS["cnn-bvae-mnist"].preset)
    usual = ModelConfig(n_features=784, network=base.network, image_shape=(28, 28))
    assert paper_page["USUAL"] == {
        "init": usual.init, "samples": 1, "likelihood": "bernoulli", "first": CHANNELS[-1],
    }  # fmt: skip


@pytest.mark.parametrize("script", ["choices", "weights"])
def test_ctrl_c_says_to_give_the_same_command_again(script, request, digits, tmp_path, monkeypatch):
    """Not to resume the one run in which it came, which would leave out the rest."""
    module = request.getfixturevalue(script)

    def stopped(*_, **__):
        raise TrainingInterrupted("in epoch 1 after step 2; all is saved.", tmp_path)

    monkeypatch.setitem(module["trained"].__globals__, "train", stopped)
    what = ("fc-bvae", "he", 0, 1)
    if script == "choices":
        what = (module["plan"]()[0], TrainConfig(epochs=1))
    with pytest.raises(TrainingInterrupted, match=r"all is saved. Run it again to go on.") as ended:
        module["trained"](tmp_path / "run", digits, *what)
    assert ended.value.folder is None
    assert not (tmp_path / "run" / "result.json").exists()


# --- initial weights under the package's own defaults ----------------------------------------


def run_of(init, seed, elbo, epochs=10):
    made = {"data": "mnist", "model": "fc-bvae", "init": init, "seed": seed, "epochs": epochs}
    return made | {"elbo": elbo, "active": 50 - seed}


def test_the_page_compares_seeds_that_all_have(weights):
    runs = [
        run_of("torch", 0, -120.0), run_of("glorot", 0, -119.0), run_of("he", 0, -117.0),
        run_of("torch", 1, -122.0), run_of("glorot", 1, -120.0), run_of("he", 1, -121.0),
        run_of("torch", 2, -9.0), run_of("he", 2, -9.0),
        run_of("he", 0, -130.0, epochs=2), run_of("torch", 0, -130.0, epochs=2),
    ]  # fmt: skip
    assert cells(weights["page_of"](runs))[2:] == [
        ["MNIST", "FC-BVAE", "10", "2", "−121.00 ± 1.00", "−119.50 ± 0.50", "**−119.00 ± 2.00**",
         "2.00 ± 1.00", "50, 50, 50"],
    ]  # fmt: skip


def test_figures_of_a_finished_run_say_how_long_it_was(weights, digits, tmp_path):
    with pytest.warns(CollapseWarning):
        weights["trained"](tmp_path / "fc-bvae-digits-he-1", digits, "fc-bvae", "he", 1, 2)
    (found,) = weights["finished"](tmp_path)
    assert [found[k] for k in ("data", "model", "init", "seed", "epochs")] == [
        "digits", "fc-bvae", "he", 1, 2,
    ]  # fmt: skip
    assert found["elbo"] <= found["bound"] < 0


def test_the_page_of_initial_weights_is_that_of_its_numbers(weights):
    kept = ROOT / "docs/results/initial-weights.json"
    runs = json.loads(kept.read_text())["runs"]
    assert kept.with_suffix(".md").read_text() == weights["page_of"](runs)
