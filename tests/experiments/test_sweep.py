"""Sizes of the code: the rule on tables made by hand, the runs, the pictures and the command."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from discretevae.cli import call
from discretevae.cli.arguments import Numbers
from discretevae.config import DataConfig, LatentSpec, ModelConfig, RunConfig, TrainConfig
from discretevae.data import load_data
from discretevae.errors import ConfigError, RunError, TrainingInterrupted
from discretevae.evaluation.code_sizes import (
    BIT,
    Choice,
    SizeResult,
    SizeRun,
    Step,
    ceiling_of,
    choose_size,
    steps_of,
)
from discretevae.evaluation.measured import Measured, mean_of
from discretevae.experiments import run as runs, sweep as sweeps
from discretevae.experiments.sweep import sweep
from discretevae.experiments.sweep_plan import latent_at, pattern_of, plan
from discretevae.plots.sweep import reconstruction_figure, size_figure

SIZES = "2,3,14"
COMMAND = ("sweep", "--sizes", SIZES, "--hidden", "4", "--lr", "0.01", "--epochs", "1")
KEYS = {
    "format", "format_version", "is_complete", "latent", "sizes", "seeds", "samples", "rows",
    "choice", "results", "steps", "config",
}  # fmt: skip
RESULT_KEYS = {
    "size", "latent", "estimator", "ceiling", "elbo", "log_likelihood", "kl", "bound", "log_px",
    "behind", "used", "elbo_spread", "code_entropy", "codes_used", "active_units", "seconds",
    "runs",
}  # fmt: skip


def table(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(v) for key, v in value.items() if key != "seconds"}
    return [without_times(v) for v in value] if isinstance(value, list) else value


# --- the rule ----------------------------------------------------------------------------------

ROWS = table(-90, -70, -80, -100)
WIGGLE = table(1, -1, 1, -1)
"""Mean 0; standard error over 4 rows √(4/3)/2 = 0.577."""

RULE = {
    # sizes with their ELBOs: recommended, best, stopped
    "grows to the end": ({2: ROWS - 9, 4: ROWS - 5, 8: ROWS}, (8, 8, False)),
    "best in the middle": ({2: ROWS - 9, 4: ROWS, 8: ROWS - 1}, (4, 4, True)),
    "best first": ({2: ROWS, 4: ROWS - 1, 8: ROWS - 2}, (2, 2, True)),
    "all the same": ({2: ROWS, 4: ROWS, 8: ROWS}, (2, 2, True)),
    "the last two the same": ({2: ROWS - 9, 4: ROWS, 8: ROWS}, (4, 4, True)),
    "just within": ({2: ROWS - 9, 4: ROWS - 0.57 + WIGGLE, 8: ROWS}, (4, 8, True)),
    "just beyond": ({2: ROWS - 9, 4: ROWS - 0.58 + WIGGLE, 8: ROWS}, (8, 8, False)),
    "a worse one between": ({2: ROWS - 0.1 + WIGGLE, 4: ROWS - 5, 8: ROWS}, (2, 8, True)),
    "order does not matter": ({8: ROWS, 2: ROWS - 9, 4: ROWS}, (4, 4, True)),
    "a single row": ({2: table(-9), 4: table(-5), 8: table(-5)}, (4, 4, True)),
    "several runs": (
        {2: torch.stack([ROWS - 9, ROWS - 8]), 4: torch.stack([ROWS, ROWS])},
        (4, 4, False),
    ),
    # the runs of 2 are 0.5 behind in the mean, by 0 and by 1: se = 0.7071/√2 = 0.5
    "runs that differ": (
        {2: torch.stack([ROWS, ROWS - 1]), 4: torch.stack([ROWS, ROWS])},
        (2, 4, True),
    ),
}


@pytest.mark.parametrize("case", RULE)
def test_the_rule_by_hand(case):
    elbos, expected = RULE[case]
    choice = choose_size(elbos)
    assert (choice.size, choice.best, choice.has_stopped) == expected
    assert list(choice.behind) == sorted(elbos)
    assert choice.behind[choice.best] == Measured(0.0, choice.behind[choice.best].se)
    assert f"Size {choice.size}" in choice.reason
    assert ("larger ones" in choice.reason) == (not choice.has_stopped)
    assert ("the smallest tried" in choice.reason) == (choice.size == min(elbos))


def test_differences_are_taken_row_by_row():
    """Unpaired, both sizes would be within the standard error of a mean of rows, 6.5 nats."""
    behind = choose_size({4: ROWS - 2 + 0.1 * WIGGLE, 8: ROWS}).behind[4]
    assert behind.value == pytest.approx(2)
    assert behind.se == pytest.approx(0.1 * math.sqrt(4 / 3) / 2)
    assert mean_of(ROWS).se == pytest.approx(6.4550, abs=1e-4)
    # rows in another order are another pairing, and the rule must say another size
    order = torch.tensor([3, 0, 1, 2])
    assert choose_size({4: ROWS - 2, 8: ROWS}).size == 8
    assert choose_size({4: (ROWS - 2)[order], 8: ROWS}).size == 4


def test_the_standard_error_covers_runs():
    noise = torch.randn(3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    runs = noise + table(0, 1, 5).unsqueeze(1)
    found = mean_of(runs)
    means = runs.mean(1)
    rows = runs.mean(0).var() / 50
    assert found.value == pytest.approx(runs.mean().item())
    assert found.se == pytest.approx(math.sqrt(rows + means.var() / 3))
    assert mean_of(table(3.0)) == Measured(3.0, None)
    assert mean_of(table(3.0, 5.0).unsqueeze(1)).se == pytest.approx(1.0)


@pytest.mark.parametrize(
    "elbos", [{}, {2: ROWS}, {2: ROWS, 4: ROWS[:3]}, {2: ROWS, 4: ROWS.expand(2, 4)}]
)
def test_the_rule_refuses_what_cannot_be_compared(elbos):
    with pytest.raises(ConfigError, match="at least two sizes with tables of one shape"):
        choose_size(elbos)


def test_a_fall_is_blamed_on_the_training():
    behind = {2: Measured(4.0, 0.1), 4: Measured(0.0, 0.0), 8: Measured(0.29, 0.1)}
    assert Choice(4, 4, True, behind).doubt is None
    worse = behind | {8: Measured(0.31, 0.1), 16: Measured(9.0, 0.1)}
    doubt = Choice(4, 4, True, worse).doubt
    assert doubt is not None
    assert doubt.startswith("Size 16 is worse than 4 by 9.00 ± 0.10 nats")
    # one that is smaller and worse is as it should be
    assert Choice(4, 4, True, {2: Measured(9.0, 0.1), 4: Measured(0.0, 0.0)}).doubt is None


def result(latent: str, **means: float) -> SizeResult:
    values = {"elbo": -3.0, "log_likelihood": -2.0, "kl": 1.0, "bound": -2.5} | means
    spec = LatentSpec.of(latent)
    run = SizeRun(
        seed=0, folder="4", log_px=None, code_entropy=1.0, codes_used=3, active_units=2,
        seconds=1.0, **values,
    )  # fmt: skip
    return SizeResult(
        size=spec.n_categories or spec.n_variables,
        latent=latent,
        estimator="exact",
        ceiling=ceiling_of(spec),
        log_px=None,
        runs=(run,),
        **{name: Measured(value, 0.1) for name, value in values.items()},
    )


def step_of(smaller: str, larger: str, before, after) -> Step:
    results = [result(smaller), result(larger)]
    (step,) = steps_of(results, {results[0].size: before, results[1].size: after})
    return step


def test_a_step_counts_by_added_bit():
    before = {"log_likelihood": table(-20, -30), "kl": table(2, 3)}
    after = {"log_likelihood": table(-17, -26), "kl": table(4, 4)}
    step = step_of("bernoulli:4", "bernoulli:6", before, after)
    assert step.bits == pytest.approx(2)
    assert step.log_likelihood.value == pytest.approx(1.75)
    assert step.kl.value == pytest.approx(0.75)
    assert (step.elbo.value, step.elbo.se) == (pytest.approx(1.0), pytest.approx(0.5))
    # from 4 to 16 categories are two bits as well
    again = step_of("categorical:4", "categorical:16", before, after)
    assert again.bits == pytest.approx(2)
    assert again.elbo.value == pytest.approx(1.0)
    # bits that are used to the full cost ln 2 each and pay exactly what they cost here
    full = {name: values + 2 * BIT for name, values in before.items()}
    step = step_of("bernoulli:4", "bernoulli:6", before, full)
    assert (step.kl.value, step.elbo.value) == (pytest.approx(BIT), pytest.approx(0, abs=1e-12))


@pytest.mark.parametrize(
    ("latent", "nats"),
    [
        ("bernoulli:7", 7 * BIT),
        ("categorical:9", math.log(9)),
        ("categorical:5x9", 5 * math.log(9)),
    ],
)
def test_the_ceiling_is_that_of_a_uniform_code(latent, nats):
    assert ceiling_of(LatentSpec.of(latent)) == pytest.approx(nats)


# --- patterns ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "pattern", "at_seven"),
    [
        ("bernoulli", "bernoulli:c", "bernoulli:7"),
        ("categorical", "categorical:c", "categorical:7"),
        (" categorical:cx10 ", "categorical:cx10", "categorical:7x10"),
        ("categorical:20xc", "categorical:20xc", "categorical:20x7"),
        ("categorical:3+bernoulli:c", "categorical:3+bernoulli:c", "categorical:3+bernoulli:7"),
    ],
)
def test_patterns(asked, pattern, at_seven):
    assert pattern_of(asked) == pattern
    assert latent_at(pattern, 7) == at_seven


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("bernouli", "`latent` 'bernouli' is unknown. Did you mean bernoulli?"),
        ("bernoulli:50", "latent 'bernoulli:50' leaves no size to sweep"),
        ("categorical:cxc", "latent 'categorical:cxc' leaves several sizes to sweep"),
        ("bernoulli:cx2", "`latent` 'bernoulli:cx2': too many"),
        ("bernoulli:", "`latent` 'bernoulli:': n_variables must be an int"),
        ("gaussian", "has no ceiling. Take bits or categories."),
        ("gaussian:c", "has no ceiling. Take bits or categories."),
        ("", "`latent` '' is unknown"),
    ],
)
def test_patterns_that_cannot_be_read(asked, says):
    with pytest.raises(ConfigError) as caught:
        pattern_of(asked)
    assert says in str(caught.value)


def test_a_plan_says_all_that_is_wrong():
    told = RunConfig(model=ModelConfig(n_features=4), training=TrainConfig(estimator="exact"))
    with pytest.raises(ConfigError) as caught:
        plan(told, [0, 2, 2, 30], latent="bernoulli", n_seeds=0)
    problems = str(caught.value)
    for part in ("size 0 must be", "size 2 is named twice", "`n_seeds` must be", "exact"):
        assert part in problems
    with pytest.raises(ConfigError, match="at most 50 sizes"):
        plan(told, range(1, 99), latent="bernoulli", n_seeds=1)


# --- the runs and the command ------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A sweep on digits, made once. Do not change it."""
    out = tmp_path_factory.mktemp("sweep") / "made"
    assert call([*COMMAND, "--out", str(out)]) == 0
    return out


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "copy"))


def read(folder: Path) -> dict:
    return json.loads((folder / "sweep.json").read_text())


def test_everything_is_written(made):
    found = read(made)
    assert set(found) == KEYS
    assert (found["format"], found["format_version"]) == ("discretevae-sweep", 1)
    assert found["is_complete"]
    assert (found["latent"], found["sizes"]) == ("bernoulli:c", [2, 3, 14])
    assert [set(row) for row in found["results"]] == [RESULT_KEYS] * 3
    assert [row["latent"] for row in found["results"]] == [f"bernoulli:{c}" for c in (2, 3, 14)]
    assert [row["estimator"] for row in found["results"]] == ["exact", "exact", "disarm"]
    assert [row["log_px"] is None for row in found["results"]] == [False, False, True]
    assert [step["bits"] for step in found["steps"]] == [pytest.approx(1), pytest.approx(11)]
    for row in found["results"]:
        assert 0 <= row["kl"]["value"] <= row["ceiling"] == pytest.approx(row["size"] * BIT)
        gap = row["log_likelihood"]["value"] - row["kl"]["value"]
        assert row["elbo"]["value"] == pytest.approx(gap)
        assert row["code_entropy"] <= min(row["ceiling"], math.log(297)) + 1e-9
    assert sum(row["behind"]["value"] == 0 for row in found["results"]) >= 1
    assert found["choice"]["size"] in found["sizes"]


def test_the_figures_are_those_of_each_run(made):
    """Measured again row by row, they are what the run's own evaluation says."""
    for row in read(made)["results"]:
        test = json.loads((made / str(row["size"]) / "summary.json").read_text())["test"]
        for name in ("elbo", "kl", "log_likelihood", "bound"):
            assert row[name]["value"] == pytest.approx(test[name]["value"], rel=1e-5)
            assert row[name]["se"] == pytest.approx(test[name]["se"], rel=1e-4)
        for name in ("codes_used", "active_units", "code_entropy"):
            assert row[name] == test[name]


@pytest.mark.draws
def test_pictures_show_something(copy, cli):
    assert cli(*COMMAND, "--out", copy).status == 0  # the runs are there
    with Image.open(copy / "figures" / "sweep.png") as image:
        assert image.size == (1250, 420)
        assert np.asarray(image.convert("L")).std() > 10
    with Image.open(copy / "figures" / "reconstructions.png") as image:
        # four lines of twelve 8×8 pictures with gaps of one pixel, and a title
        assert image.size == (975, int(100 * (9 * 37 / 109 + 0.34)))
        assert np.asarray(image.convert("L")).std() > 10


def test_what_is_finished_is_left_alone_and_more_may_be_added(copy, cli, monkeypatch):
    before = {path: path.read_bytes() for path in copy.glob("[0-9]*/**/*") if path.is_file()}
    trained = []
    ours = runs.run
    monkeypatch.setattr(runs, "run", lambda *a, **k: trained.append(k["out"].name) or ours(*a, **k))
    status, out, err = cli(*COMMAND, "--out", copy)
    assert (status, err, trained) == (0, "", [])
    assert out.count("(was there)") == 3
    assert all(path.read_bytes() == content for path, content in before.items())
    first = read(copy)
    args = ("--sizes", "2,5", "--seeds", "2")
    status, out, err = cli(*COMMAND, "--out", copy, *args)
    assert (status, err) == (0, "")
    assert trained == ["2-seed1", "5", "5-seed1"]
    found = read(copy)
    assert (found["sizes"], found["seeds"]) == ([2, 5], [0, 1])
    assert without_times(found["results"][0]["runs"][0]) == without_times(
        first["results"][0]["runs"][0]
    )
    assert found["results"][0]["elbo_spread"] == pytest.approx(
        abs(found["results"][0]["runs"][0]["elbo"] - found["results"][0]["runs"][1]["elbo"])
        / 2**0.5
    )
    assert "seeds ±" in out
    assert "One run per size" not in out


def test_an_interrupted_sweep_ends_like_an_uninterrupted_one(made, cli, tmp_path, monkeypatch):
    folder, calls = tmp_path / "new", []
    ours = runs.run

    def stopping(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            told = options["progress"]

            def interrupt(at):
                told(at)
                if at.step == 5:
                    raise KeyboardInterrupt

            options["progress"] = interrupt
        return ours(*args, **options)

    monkeypatch.setattr(runs, "run", stopping)
    status, _, err = cli(*COMMAND, "--out", folder)
    assert status == 130
    assert len(err.splitlines()) == 1
    assert "Run it again to go on." in err
    partial = read(folder)
    assert not partial["is_complete"]
    assert partial["choice"] is None
    assert [row["size"] for row in partial["results"]] == [2]
    monkeypatch.setattr(runs, "run", ours)
    status, out, err = cli(*COMMAND, "--out", folder, "--json")
    assert (status, err) == (0, "")
    printed = json.loads(out)
    assert printed.pop("out") == str(folder)
    assert printed == read(folder)
    assert without_times(printed) == without_times(read(made))
    for size in SIZES.split(","):
        weights = [(at / size / "model.safetensors").read_bytes() for at in (made, folder)]
        assert weights[0] == weights[1]


def test_ctrl_c_within_a_run_names_the_code(copy, cli, monkeypatch):
    def stopped(*args, **options):
        raise TrainingInterrupted("after step 3; saved.", "x")

    monkeypatch.setattr(runs, "run", stopped)
    status, _, err = cli(*COMMAND, "--sizes", "2,4", "--out", copy)
    assert status == 130
    assert err == "Stopped: bernoulli:4: after step 3; saved. Run it again to go on.\n"


def test_the_table_for_people(copy, cli):
    status, out, _ = cli(*COMMAND, "--out", copy)
    assert status == 0
    found = read(copy)
    for part in (
        "bernoulli:c on 297 test rows of digits, nats per row; * is enough",
        f"{found['choice']['size']}*",
        "per bit",
        found["choice"]["reason"],
        "bernoulli:14: only ",  # the warning of a run, at the end and not between the lines
        "One run per size",
        f"{copy}/figures/sweep.png".rsplit("/", 1)[1],
        "reconstructions.png",
    ):
        assert part in out
    assert "…" not in out


def test_dynamic_rows_are_drawn_once_for_all_sizes(tmp_path, monkeypatch):
    seen = []
    ours = sweeps.row_scores

    def noting(model, rows, **options):
        seen.append(rows)
        return ours(model, rows, **options)

    monkeypatch.setattr(sweeps, "row_scores", noting)
    data = load_data("digits")
    model = ModelConfig(n_features=64, hidden=(4,), image_shape=(8, 8))
    training = TrainConfig(epochs=1, lr=0.01)
    config = RunConfig(model=model, training=training, data=DataConfig(binarize="dynamic"))
    state = torch.random.get_rng_state()
    found = sweep(
        data, config, [13, 2], out=tmp_path / "new",
        latent="categorical", samples=5,
    )  # fmt: skip
    assert torch.equal(state, torch.random.get_rng_state())
    assert [one.latent for one in found.results] == ["categorical:2", "categorical:13"]
    rows, again = seen
    assert rows is again
    assert (rows.is_binary, rows.binarize) == (True, "none")
    grey = data.test.batch(slice(0, 297))
    drawn = rows.batch(slice(0, 297))
    assert ((drawn == 1) & (grey == 0)).sum() == 0
    assert ((drawn == 0) & (grey == 1)).sum() == 0
    # drawn as Bernoulli(x): 19,008 values, 5 standard errors
    assert abs((drawn - grey).mean()) < 5 * 0.5 / math.sqrt(drawn.numel())
    assert 0.3 < drawn[(grey > 0.4) & (grey < 0.6)].mean() < 0.7


def test_rows_that_are_no_pictures_have_one_picture(cli, tmp_path):
    values = np.random.default_rng(0).random((60, 5)).astype(np.float32)
    np.save(tmp_path / "table.npy", values)
    args = ("--data", tmp_path / "table.npy", "--latent", "categorical:cx3", "--sizes", "1,2")
    status, out, err = cli(*COMMAND, *args, "--out", tmp_path / "new")
    assert (status, err) == (0, "")
    assert [path.name for path in (tmp_path / "new" / "figures").iterdir()] == ["sweep.png"]
    assert "reconstructions" not in out
    assert [row["latent"] for row in read(tmp_path / "new")["results"]] == [
        "categorical:3",
        "categorical:2x3",
    ]


MISTAKES = {
    "not ints": (("--sizes", "2,x,3.5"), ("--sizes '2,x,3.5' must be ints from 1",)),
    "empty": (("--sizes", ""), ("--sizes '' must be ints from 1",)),
    "one": (("--sizes", "4"), ("at least two sizes. Got 4.",)),
    "zero": (("--sizes", "0,4"), ("--sizes '0,4' must be ints from 1",)),
    "duplicate": (("--sizes", "4,2,4"), ("size 4 is named twice. Name it once.",)),
    "negative": (("--sizes", "-2,4"), ("--sizes '-2,4' must be ints from 1",)),
    "too large": (("--sizes", "2,2000000"), ("the code has more than 1,000,000 units",)),
    "endless": (("--sizes", "2," + "9" * 5000), ("9' must be ints from 1 to",)),
    "one category": (("--latent", "categorical", "--sizes", "1,2"), ("at least 2 categories",)),
    "kind": (("--latent", "bernouli"), ("Did you mean bernoulli?",)),
    "no place": (("--latent", "bernoulli:50"), ("leaves no size to sweep",)),
    "gaussian": (("--preset", "fc-gvae"), ("has no ceiling. Take bits or categories.",)),
    "estimator": (("--estimator", "rlo"), ("'rlo' is unknown",)),
    "unfit": (("--estimator", "exact"), ("bernoulli:14",)),
    "several": (
        ("--sizes", "4,4", "--seeds", "0", "--epochs", "0", "--latent", "x"),
        ("size 4 is named twice", "--seeds must be", "--epochs must be", "--latent 'x'"),
    ),
    "seed": (("--seed", str(2**63 - 1), "--seeds", "2"), ("seed must be",)),
    "file": (("--out", "file"), ("file: is a file, not a folder. Choose another --out.",)),
    "not ours": (("--out", "full"), ("full: holds files that are not ours.",)),
    "other JSON": (("--out", "json"), ("json: holds files that are not ours.",)),
    "data": (("--data", "nowhere.csv"), ("nowhere.csv: no such file",)),
    "network": (("--hidden", "1000000000000"), ("Make it smaller.",)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(mistake, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    for name, file in (("full", "mine.txt"), ("json", "sweep.json")):
        Path(name).mkdir()
        Path(name, file).write_text('{"format": "other"}')
    before = sorted(tmp_path.rglob("*"))
    args, says = MISTAKES[mistake]
    status, out, err = cli(*COMMAND, "--out", "new", *args)
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert len(err.splitlines()) == 1
    for part in says:
        assert part in err
    assert sorted(tmp_path.rglob("*")) == before


OTHERS = {
    "training": (("--lr", "0.02"), "holds a sweep with lr 0.01, not 0.02."),
    "pattern": (("--latent", "categorical:c"), "latent bernoulli:c, not categorical:c"),
    "seed": (("--seed", "5"), "seed 0, not 5"),
    "prolonged": (("--epochs", "9"), "epochs 1, not 9"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_configuration_is_refused(other, copy, cli):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    args, says = OTHERS[other]
    status, out, err = cli(*COMMAND, "--out", copy, *args)
    assert (status, out) == (2, "")
    assert says in err
    assert "choose another --out, or delete the folder." in err
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_run_of_another_configuration_is_refused(copy, cli):
    config = json.loads((copy / "3" / "config.json").read_text())
    config["training"]["lr"] = 0.5
    (copy / "3" / "config.json").write_text(json.dumps(config))
    status, _, err = cli(*COMMAND, "--out", copy)
    assert status == 2
    assert f"{copy}/3: holds a run with lr 0.5, not 0.01." in " ".join(err.split())


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("sweep.json", "{"),
        ("sweep.json", "[]"),
        ("sweep.json", '{"format": "discretevae-sweep"}'),
        ("2/summary.json", "{}"),
        ("2/summary.json", '{"last_epoch": {"epoch": 1, "seconds": "x"}}'),
    ],
)
def test_a_damaged_file_is_one_line(file, content, copy, cli):
    (copy / file).write_text(content)
    status, _, err = cli(*COMMAND, "--out", copy)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert file in err
    assert "delete it and run again." in err


def test_help_ends_with_an_example(cli):
    status, out, _ = cli("sweep", "--help")
    assert status == 0
    example = "discretevae sweep --data mnist --sizes 2,5,10,20,50,100 --epochs 15"
    assert f"Example: {example}" in out
    for option in ("--sizes", "--seeds", "--latent", "--estimator", "--binarize", "--out"):
        assert option in out
    for option in ("--resume", "--tensorboard", "--patience"):
        assert option not in out
    assert Numbers().convert("2, 5,10", None, None) == [2, 5, 10]


# --- pictures ----------------------------------------------------------------------------------


def test_the_recommended_size_is_marked():
    results = [result(f"bernoulli:{c}", kl=0.3 * c) for c in (1, 2, 50, 51, 4000)]
    figure = size_figure(results, samples=7, rows=100, size=50)
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        marks = [line for line in axes.lines if list(line.get_xdata()) == [50, 50]]
        assert len(marks) == 1
        # 50 and 51 cannot both be named
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "50", "4,000"]
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words == ["enough: 50", "7-sample bound", "ELBO"]
    plain = size_figure(results[:1], samples=7, rows=100)
    assert not any("enough" in str(line.get_label()) for line in plain.axes[0].lines)
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    lines = reconstruction_figure(x, {1: x, 50: x}, (2, 3), size=50).axes[0].get_yticklabels()
    assert [label.get_fontweight() for label in lines] == ["normal", "normal", "bold"]


def test_runs_stand_beside_their_mean():
    one = result("bernoulli:4")
    two = dataclasses.replace(one, runs=(one.runs[0], dataclasses.replace(one.runs[0], elbo=-5.0)))
    assert two.mean("elbo") == -4.0
    assert two.spread("elbo") == pytest.approx(math.sqrt(2))
    assert one.spread("elbo") is None
    dots = size_figure([two], samples=7, rows=100).axes[0].collections[-1].get_offsets()
    assert sorted(np.asarray(dots)[:, 1].tolist()) == [-5.0, -3.0]


def test_a_model_too_large_is_refused_before_anything_is_trained(tmp_path):
    data = load_data("digits")
    told = RunConfig(model=ModelConfig(n_features=64, hidden=(10**12,), image_shape=(8, 8)))
    with pytest.raises(ConfigError, match="Make it smaller"):
        sweep(data, told, [2, 4], out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="`samples` must be"):
        sweep(data, told, [2, 4], out=tmp_path / "new", samples=0)
    small = RunConfig(model=ModelConfig(n_features=64, hidden=(2,)))
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="is a file"):
        sweep(data, small, [2, 4], out=tmp_path / "file")
