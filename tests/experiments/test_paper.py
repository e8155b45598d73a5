"""The paper again: the command, its runs and its report; the arithmetic is in test_claims."""

from __future__ import annotations

import json
import math
import os
import re
import runpy
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from discretevae.cli import call
from discretevae.errors import RunError
from discretevae.experiments.paper import running
from discretevae.experiments.paper.experiments import (
    EXPERIMENTS,
    FIGURES,
    FULL,
    QUICK,
    VARIANTS,
    parse_figures,
    run_config,
)
from discretevae.experiments.paper.findings import finished_runs

ROOT = Path(__file__).resolve().parents[2]
PAGE = runpy.run_path(str(ROOT / "scripts/paper_page"))

ALL = ("reproduce", "all", "--quick")
ONE = ("reproduce", "fig12", "--quick", "--epochs", "3")
RUNS = [f"{name}/{variant}" for name in EXPERIMENTS for variant in VARIANTS]
CLAIMS = (
    "The loss falls steadily",
    "The gradient's variance falls as training goes on",
    "One category is worse than bits, and holds at most ln 20 nats",
    "Categories act as clusters",
    "Ours: how much sooner, how much better",
    "All runs",
)
WEIGHTS = {
    "model": "CNN-BVAE", "init": "he", "precision": "float32", "epochs": 16, "elbo": "-177.5",
    "kl": None, "active": 48,
}  # fmt: skip
MNIST = {"n_features": 784, "image_shape": (28, 28), "divisor": 255.0}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The folder of a whole quick reproduction, made once. Do not change it."""
    out = tmp_path_factory.mktemp("reproduction") / "paper-quick"
    assert call([*ALL, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A reproduction of one figure, with two short runs, made once. Do not change it."""
    out = tmp_path_factory.mktemp("reproduction") / "one"
    assert call([*ONE, "--out", str(out)]) == 0
    return out


@pytest.fixture
def one(made, tmp_path):
    """A copy of it, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "one"))


def page_of(folder: Path) -> str:
    """The report of a reproduction, as the script writes it."""
    return PAGE["markdown"](json.loads((folder / "report.json").read_text()))


def section(report: str, title: str) -> str:
    """What stands below a heading that holds the title."""
    match = re.search(rf"^##+ [^\n]*{re.escape(title)}[^\n]*\n(.*?)(?=^##|\Z)", report, re.M | re.S)
    assert match is not None, title
    return match[1]


def table(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def strict(text: str) -> dict:
    """JSON as its definition has it, without NaN and the infinities."""

    def refuse(word):
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def without_times(report: dict) -> dict:
    for run in report["runs"]:
        del run["seconds"]
    del report["sooner"]
    return report


# --- the whole, small ------------------------------------------------------------------------


@pytest.mark.draws
def test_the_second_time_everything_is_there_and_every_figure_is_drawn(quick, cli):
    before = {p: p.stat().st_mtime_ns for p in quick.glob("*/*/**/*") if p.is_file()}
    numbers = (quick / "report.json").read_bytes()
    status, out, err = cli(*ALL, "--out", quick)
    assert (status, err) == (0, "")
    assert out.count("(was there)") == len(RUNS)
    assert out.splitlines()[-1] == f"numbers  {quick / 'report.json'}"
    assert {p: p.stat().st_mtime_ns for p in quick.glob("*/*/**/*") if p.is_file()} == before
    assert (quick / "report.json").read_bytes() == numbers
    assert {p.name for p in (quick / "figures").iterdir()} == {f"{name}.png" for name in FIGURES}
    for name in FIGURES:
        path = quick / "figures" / f"{name}.png"
        assert path.stat().st_size < 300_000
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert 1000 < image.width < 1300
            assert 400 < image.height < 1400
            assert np.asarray(image.convert("L")).std() > 10


def test_the_report_has_every_figure_claim_and_run(quick):
    report = page_of(quick)
    assert "quick run" in report.splitlines()[2]
    assert "nothing of the paper" in report.splitlines()[2]
    assert re.findall(r"^## Figure (\d+)", report, re.M) == [n.removeprefix("fig") for n in FIGURES]
    for target in re.findall(r"!\[[^]]+\]\(([^)]+)\)", report):
        assert (quick / target).is_file()
    for title in CLAIMS:
        rows = table(section(report, title))
        assert len(rows) >= 3
        assert len({len(row) for row in rows}) == 1
        assert all(cell for row in rows for cell in row)
    assert len(table(section(report, "All runs"))) == 2 + len(RUNS)
    readings = {name: section(report, f"Figure {name[3:]}:").split("\n\n")[1] for name in FIGURES}
    assert readings["fig6"] == (
        "Initial weights: torch; M: 1 (FC-BVAE paper, FC-CVAE paper), 2 (FC-BVAE ours), "
        "no sampling (FC-CVAE ours); likelihood: bernoulli; decoder's first layer: 256 wide; "
        "products in: float32."
    )
    assert readings["fig13"] == (
        "Initial weights: he; M: 1 (CNN-BVAE paper), 2 (CNN-BVAE ours); likelihood: bernoulli; "
        "decoder's first layer: 128 wide; products in: float32."
    )
    assert len(table(section(report, "at most ln 20"))) == 2 + 4
    assert len(table(section(report, "clusters"))) == 2 + 4
    assert len(table(section(report, "how much sooner"))) == 2 + 6
    assert "because the runs are not there" not in report
    assert "nan" not in report
    assert "bf16" not in report


def test_the_documentation_takes_the_report_over_with_its_pictures(quick, tmp_path):
    left_over = tmp_path / "paper/fig99.png"
    left_over.parent.mkdir()
    left_over.touch()
    (tmp_path / "paper/weights.json").write_text(json.dumps({"runs": [WEIGHTS]}))
    page = PAGE["take_over"](quick, tmp_path)
    shown = re.findall(r"\]\((.+?)\)", page.read_text())
    assert shown == [f"paper/{name}.png" for name in FIGURES]
    assert all(
        (tmp_path / path).read_bytes() == (quick / "figures" / Path(path).name).read_bytes()
        for path in shown
    )
    assert not left_over.exists()
    # what was measured by itself stays, and is a section of the page
    assert json.loads((tmp_path / "paper/weights.json").read_text()) == {"runs": [WEIGHTS]}
    assert "| CNN-BVAE | he | float32 | 16 | −177.5 | – | 48 |" in page.read_text()
    asked = " ".join(FIGURES) + " --quick"
    assert f"$ discretevae reproduce {asked} --out runs/paper\n" in page.read_text()


def test_other_numbers_of_epochs_are_taken_and_the_page_asks_for_them(cli, quick):
    asked = ("--epochs", "7", "--cnn-epochs", "3")
    assert "7 epochs of the paper's protocol (3 for a CNN)" in cli("reproduce", *asked).out
    numbers = json.loads((quick / "report.json").read_text())
    for run in numbers["runs"]:
        config = run["config"]
        config["training"]["epochs"] = {"mlp": 7, "cnn": 3}[config["model"]["network"]]
    options = PAGE["options_of"](numbers)
    assert options.split() == ["--quick", *asked]


def test_the_numbers_are_those_of_the_runs(quick):
    numbers = strict((quick / "report.json").read_text())
    assert numbers["format"] == "discretevae-reproduction"
    assert numbers["stand_in"] == "digits"
    assert numbers["figures"] == list(FIGURES)
    assert numbers["missing"] == []
    assert [run["run"] for run in numbers["runs"]] == RUNS
    for run in numbers["runs"]:
        summary = json.loads((quick / run["run"] / "summary.json").read_text())
        assert run["test"] == summary["test"]
        assert run["seconds"] == summary["last_epoch"]["cpu_seconds"]
        assert run["config"]["training"]["seed"] == 0
        assert (run["clusters"] is None) == ("bvae" in run["run"])
        if run["clusters"] is not None:
            # of the same rows, by another way
            assert run["clusters"]["categories"] == run["test"]["codes_used"]
    methods = [run["method"] for run in numbers["runs"][:4]]
    assert methods == ["importance", "disarm", "importance", "marginal, exact"]
    assert {pair["most"] for pair in numbers["worse"]} == {math.log(20)}
    assert all(pair["kl"] <= pair["most"] for pair in numbers["worse"])


# --- a part of it ----------------------------------------------------------------------------


def test_what_was_not_asked_for_is_absent_and_said(one, cli):
    report = page_of(one)
    others = ", ".join(name for name in FIGURES if name != "fig12")
    assert f"because the runs are not there: {others}." in report
    assert "No run of the paper's protocol has more than 5 epochs" in report
    assert [p.name for p in (one / "figures").iterdir()] == ["fig12.png"]
    assert sorted(p.name for p in one.iterdir()) == [
        "fc-bvae-fashion", "figures", "report.json",
    ]  # fmt: skip
    # what another call adds stands beside it; a picture without its runs goes
    (one / "figures" / "fig6.png").write_bytes(b"old")
    said = cli("reproduce", "fig12", "--quick", "--epochs", "3", "--out", one, "--json")
    assert (said.status, said.err) == (0, "")
    printed = strict(said.out)
    assert printed.pop("out") == str(one)
    assert printed == strict((one / "report.json").read_text())
    assert printed["figures"] == ["fig12"]
    assert [run["run"] for run in printed["runs"]] == [
        "fc-bvae-fashion/paper", "fc-bvae-fashion/ours",
    ]  # fmt: skip
    assert [run["epochs"] for run in printed["runs"]] == [3, 1]
    assert not (one / "figures" / "fig6.png").exists()


def test_without_a_name_nothing_is_started(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = cli("reproduce")
    assert (status, err) == (0, "")
    for figure in FIGURES.values():
        assert f"{figure.name:<6} {figure.title}" in out
    assert "discretevae reproduce all --quick" in out
    listed = strict(cli("reproduce", "--json").out)
    assert list(listed) == list(FIGURES)
    assert list(tmp_path.iterdir()) == []


def interrupted(cli, monkeypatch, run, *args):
    with monkeypatch.context() as patch:
        patch.setattr(running, "run", run)
        status, _, err = cli(*args)
    assert status == 130
    assert len(err.splitlines()) == 1
    assert err.endswith("Run it again to go on.\n")
    return err


@pytest.mark.parametrize("when", ["in a run", "after its training", "between two runs"])
def test_ctrl_c_is_gone_on_with_to_the_bit(when, made, cli, tmp_path, monkeypatch):
    calls = []

    def stopping(*args, progress, **options):
        calls.append(options["out"])

        def press(at):
            progress(at)
            if when == "in a run" and (at.epoch, at.step) == (2, 3):
                os.kill(os.getpid(), signal.SIGINT)

        if when == "between two runs" and len(calls) == 2:
            raise KeyboardInterrupt
        return run(*args, progress=press, **options)

    def pressed(*_: object, **__: object):
        raise KeyboardInterrupt

    run, out = running.run, tmp_path / "other"
    with monkeypatch.context() as patch:
        if when == "after its training":
            patch.setattr("discretevae.experiments.run.evaluate", pressed)
        err = interrupted(cli, monkeypatch, stopping, *ONE, "--out", out)
    if when == "in a run":
        # the step in which the signal comes, or the one after
        assert re.match("Stopped: fc-bvae-fashion/paper: in epoch 2 after step 3; all is", err)
    assert (out / "report.json").exists() == (when == "between two runs")
    status, said, err = cli(*ONE, "--out", out)
    assert (status, err) == (0, "")
    assert said.count("(was there)") == (when == "between two runs")
    for variant in VARIANTS:
        weights = Path("fc-bvae-fashion", variant, "model.safetensors")
        assert (out / weights).read_bytes() == (made / weights).read_bytes()
    reports = [without_times(json.loads((f / "report.json").read_text())) for f in (out, made)]
    assert reports[0] == reports[1]


def test_a_run_that_was_prolonged_is_not_finished(one):
    config = one / "fc-bvae-fashion" / "paper" / "config.json"
    values = json.loads(config.read_text())
    values["training"]["epochs"] = 9
    config.write_text(json.dumps(values))
    assert list(finished_runs(one)) == [("fc-bvae-fashion", "ours")]


# --- mistakes --------------------------------------------------------------------------------

QUICK_ONE = ("fig12", "--quick")
MISTAKES = {
    "unknown": (("fig66",), ("figure 'fig66' is unknown. Did you mean fig6? Choices: fig6,",)),
    "two": (("fgi7", "8"), ("'fgi7'", "Did you mean fig7?", "'8' is unknown")),
    "epochs": (("fig6", "--epochs", "0"), ("--epochs must be an int >= 1. Got 0.",)),
    "cnn": (("--cnn-epochs", "-2"), ("--cnn-epochs must be an int >= 1. Got -2.",)),
    "seed": (("fig6", "--seed", "-1"), ("--seed must be an int >= 0. Got -1.",)),
    "other seed": (
        (*QUICK_ONE, "--out", "one", "--epochs", "3", "--seed", "5"),
        ("one/fc-bvae-fashion/paper: holds a run with seed 0, not 5.",),
    ),
    "no number": (("fig6", "--epochs", "many"), ("Got many.", "--help")),
    "device": ((*QUICK_ONE, "--device", "gpu"), ("'gpu'", "--device cpu")),
    "file": ((*QUICK_ONE, "--out", "file"), ("file: is a file, not a folder.",)),
    "not ours": ((*QUICK_ONE, "--out", "full"), ("full: holds a report.json that is not ours.",)),
    "not a run": (
        (*QUICK_ONE, "--out", "part"),
        ("part/fc-bvae-fashion/ours: holds files that are not ours. Choose another --out.",),
    ),
    "other epochs": (
        (*QUICK_ONE, "--out", "one", "--epochs", "5"),
        ("one/fc-bvae-fashion/paper: holds a run with epochs 3, not 5. Ask for what is there, "
         "choose another --out, or delete the folder. The same with 1 other.",),
    ),
    "corrupt summary": (
        (*QUICK_ONE, "--out", "broken", "--epochs", "3"),
        ("broken/fc-bvae-fashion/paper/summary.json: corrupt (KeyError: 'last_epoch')",),
    ),
    "metrics cut": (
        (*QUICK_ONE, "--out", "cut", "--epochs", "3"),
        ("cut/fc-bvae-fashion/ours/metrics.jsonl: corrupt, it holds 0 of 1 epochs.",),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def places(made, tmp_path_factory):
    """Folders to make mistakes with. Do not change them."""
    here = tmp_path_factory.mktemp("places")
    for name in ("one", "broken", "cut"):
        shutil.copytree(made, here / name)
    (here / "broken/fc-bvae-fashion/paper/summary.json").write_text('{"last": 3}')
    (here / "cut/fc-bvae-fashion/ours/metrics.jsonl").write_text("")
    (here / "file").write_text("mine")
    (here / "full").mkdir()
    (here / "full/report.json").write_text("mine")
    (here / "part/fc-bvae-fashion/ours").mkdir(parents=True)
    (here / "part/fc-bvae-fashion/ours/thesis.tex").write_text("mine")
    return here


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(mistake, cli, places, monkeypatch):
    monkeypatch.chdir(places)
    before = {p: p.stat().st_mtime_ns for p in places.rglob("*")}
    args, says = MISTAKES[mistake]
    status, out, err = cli("reproduce", *args)
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert len(err.splitlines()) == 1
    for part in says:
        assert part in err
    assert {p: p.stat().st_mtime_ns for p in places.rglob("*")} == before


def test_a_full_run_is_not_made_over_a_quick_one(made):
    config = run_config(EXPERIMENTS["fc-bvae-fashion"], "paper", FULL, **MNIST)
    with pytest.raises(RunError, match=r"source digits, not fashion-mnist, .* and \d+ more\. Ask"):
        running._require_free(made, {("fc-bvae-fashion", "paper"): config})


def test_words_follow_the_numbers(quick):
    """A report says better, worse and never as the numbers are."""
    markdown = sys.modules["paper_report"]
    changes = [{"ratio": r} for r in (0.5, 2.0, None)]
    assert markdown._falls(changes) == "1 of 2 runs where it is known at both ends"
    assert markdown._falls(changes[:1]) == "1 of 1 run"
    assert markdown._range([0.5, 0.5]) == "50.0 %"
    assert markdown._range([0.5, 0.25]) == "25.0 % to 50.0 %"
    run = {"title": "One", "variant": "ours", "test": {"active_units": 0}}
    other = {"title": "Two", "variant": "paper", "test": {"active_units": 1}}
    assert "anything: One (ours)." in markdown._collapsed({"runs": [run, other]})[0]
    assert markdown._collapsed({"runs": [other]}) == []
    report = page_of(quick)
    for pair in json.loads((quick / "report.json").read_text())["worse"]:
        if pair["bits"].endswith("paper"):
            word = "worse" if pair["difference"] > 0 else "better"
            assert f"{abs(pair['difference']):.2f} ± {pair['se']:.2f} nats {word} than" in report


# --- what is trained -------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_protocols(name):
    experiment = EXPERIMENTS[name]
    paper, ours = (run_config(experiment, v, FULL, **MNIST) for v in VARIANTS)
    epochs = 100 if name.startswith("cnn") else 300
    training = paper.training
    assert (training.epochs, training.batch_size, training.lr) == (epochs, 2048, 1e-3)
    assert (training.estimator, training.samples, training.objective) == ("importance", 1, "elbo")
    assert paper.model == ours.model
    assert str(paper.model.latent) == ("categorical:100" if "cvae" in name else "bernoulli:50")
    assert paper.model.hidden == (None if name.startswith("cnn") else (1024,))
    assert ours.training.epochs == round(epochs / 3)
    assert (ours.training.batch_size, ours.training.estimator) == (None, None)
    assert ours.training.objective == ("marginal" if "cvae" in name else "elbo")
    assert paper.data.source == ("fashion-mnist" if "fashion" in name else "mnist")
    assert paper.training.seed == ours.training.seed == 0
    small = run_config(experiment, "ours", QUICK, **MNIST)
    assert small.data.source == "digits"
    assert small.training.epochs < 20


@pytest.mark.parametrize(
    ("name", "value", "usual", "said"),
    [("precision", "bf16", "float32", "bf16 is no part of"), ("seed", 3, 0, "The seed is 3.")],
)
def test_precision_and_seed_are_those_of_both_and_are_said(
    name, value, usual, said, cli, quick, tmp_path
):
    """Nothing is said of the usual; the page of the documentation asks for what was asked for."""
    out, docs = tmp_path / "runs", tmp_path / "docs"
    asked = ("reproduce", "fig12", "--quick", "--epochs", "2", f"--{name}", str(value))
    status, _, err = cli(*asked, "--out", out)
    assert (status, err) == (0, "")
    numbers = json.loads((out / "report.json").read_text())
    assert [run["config"]["training"][name] for run in numbers["runs"]] == [value, value]
    assert said in page_of(out)
    assert said not in page_of(quick)
    docs.mkdir()
    page = PAGE["take_over"](out, docs).read_text()
    assert f"$ discretevae {' '.join(asked)} --out runs/paper\n" in page
    status, _, err = cli(*asked[:-2], "--out", out)
    assert status == 2
    assert f"holds a run with {name} {value}, not {usual}" in err


def test_every_experiment_is_in_a_figure():
    assert {name for figure in parse_figures(["all"]) for name in figure.experiments} == set(
        EXPERIMENTS
    )
    assert [figure.name for figure in parse_figures(["fig9", "all"])] == list(FIGURES)
    assert parse_figures([]) == []
