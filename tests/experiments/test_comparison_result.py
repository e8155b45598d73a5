"""Means over seeds, tables, files and pictures of a comparison, against computations by hand."""

from __future__ import annotations

import csv
import json
import math
import re
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.mathtext import MathTextParser
from matplotlib.patches import Rectangle

from discretevae.config import ModelConfig, RunConfig, TrainConfig
from discretevae.data import load_data
from discretevae.errors import MissingExtraError, TrainingError
from discretevae.estimators import Exact, Importance
from discretevae.experiments import comparison
from discretevae.experiments.comparison import compare
from discretevae.experiments.comparison_result import Comparison, gradient_lines, run_lines
from discretevae.objectives.gradient_reports import Bias
from discretevae.plots.comparison import elbo_figure, gradient_figure

COMMAND = ("compare", "--latent", "bernoulli:4", "--hidden", "8", "--lr", "0.01", "--repeats", "8")
TIMES = {"seconds", "step_seconds", "time_ratio", "variance_times_time"}


def config(seed: int = 0, epochs: int = 2) -> RunConfig:
    model = ModelConfig(n_features=64, latent="bernoulli:4", hidden=(8,), image_shape=(8, 8))
    return RunConfig(model=model, training=TrainConfig(epochs=epochs, lr=0.01, seed=seed))


def compared(seed: int = 0, n_seeds: int = 1, **options: object) -> Comparison:
    names = ["importance", "nvil", "exact"]
    return compare(
        load_data("digits"), config(seed), names, moments=(0, 1), repeats=8, n_seeds=n_seeds,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def three() -> Comparison:
    return compared(seed=4, n_seeds=3)


def timeless(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def test_every_seed_is_what_it_is_alone(three):
    """Also where an estimator learns, which may take nothing from one seed to the next."""
    assert three.is_complete
    assert [(run.estimator, run.seed) for run in three.runs] == [
        (name, seed) for seed in (4, 5, 6) for name in three.estimators
    ]
    alone = compared(seed=6)
    assert timeless(alone.rows()) == timeless(three.rows()[6:])
    assert [m.step for m in alone.moments] == [m.step for m in three.moments[4:]]
    for one, many in zip(alone.runs, three.runs[6:], strict=True):
        assert [m.test_elbo for m in one.history] == [m.test_elbo for m in many.history]


def test_a_reference_that_learns_begins_anew_with_every_seed():
    told = replace(config(), training=TrainConfig(epochs=1, estimator="nvil", seed=0))
    of = {"exact": Exact(), "importance": Importance()}
    both = compare(load_data("digits"), told, of, moments=(1,), repeats=8, n_seeds=2)
    second = replace(told, training=replace(told.training, seed=1))
    alone = compare(load_data("digits"), second, of, moments=(1,), repeats=8)
    assert timeless(alone.rows()) == timeless(both.rows()[2:])


def test_one_seed_is_shown_as_it_is():
    found = compared()
    assert found.over_seeds() == list(found.moments)
    for run in found.runs:
        assert found.history_of(run.estimator) == list(run.history)
    best = max(found.runs, key=lambda run: run.history[-1].test_elbo).history[-1]
    line = run_lines(found)[1]
    assert line[1] == f"{best.test_elbo:.2f} ± {best.test_elbo_se:.2f}"
    assert line[2:4] == (f"{best.active_units}", f"{best.codes_used}")


def test_means_and_standard_errors_over_seeds(three):
    elbos = [run.history[-1].test_elbo for run in three.runs if run.estimator == "nvil"]
    mean, error = statistics.fmean(elbos), statistics.stdev(elbos) / math.sqrt(3)
    last = three.history_of("nvil")[-1]
    assert (last.epoch, last.test_elbo) == (2, pytest.approx(mean, rel=1e-12))
    assert last.test_elbo_se == pytest.approx(error, rel=1e-9)
    used = [run.history[-1].codes_used for run in three.runs if run.estimator == "nvil"]
    line = next(line for line in run_lines(three) if line[0] == "nvil")
    assert line[1] == f"{mean:.2f} ± {error:.2f}"
    assert line[3].startswith(f"{statistics.fmean(used):.1f} ± ")
    start, end = three.over_seeds()
    assert (start.step, end.step) == (0, 24)
    reports = [moment.reports[0] for moment in three.moments if moment.step == 24]
    variances = [report.variance for report in reports]
    assert end.reports[0].variance == pytest.approx(statistics.fmean(variances), rel=1e-12)
    error = statistics.stdev(variances) / math.sqrt(3)
    assert end.reports[0].variance_se == pytest.approx(error, rel=1e-9)
    assert end.reports[0].bias == Bias(
        *(
            statistics.fmean(getattr(r.bias, end) for r in reports)
            for end in ("value", "low", "high")
        )
    )
    noisy = replace(three.moments[1].reports[0], snr=None, norm=None)
    moment = replace(three.moments[1], reports=(noisy, *three.moments[1].reports[1:]))
    unclear = replace(three, moments=(moment, *three.moments[2:]))
    assert unclear.over_seeds()[0].reports[0].snr is None


def test_a_seed_that_fails_is_noted_and_left_out(monkeypatch):
    trained = comparison.train

    def failing(model, data, config, *, estimator, progress):
        if (config.seed == 1 and type(estimator) is Importance) or isinstance(estimator, Exact):
            raise TrainingError("the loss became nan.")
        return trained(model, data, config, estimator=estimator, progress=progress)

    monkeypatch.setattr(comparison, "train", failing)
    found = compared(n_seeds=2)
    first, last = (next(x for x in run_lines(found) if x[0] == n) for n in ("importance", "exact"))
    own = next(run.history[-1].test_elbo for run in found.runs if run.estimator == "importance")
    assert first[1] == f"{own:.2f}"  # a single seed has no standard error over seeds
    assert first[-1] == "seed 1: the loss became nan."
    assert last == run_lines(found)[-1]
    assert last[1:] == (*["–"] * 4, "seed 0: the loss became nan.; seed 1: the loss became nan.")
    failed = [(row["seed"], row["estimator"]) for row in found.rows() if row["error"] is not None]
    assert failed == [(0, "exact"), (1, "importance"), (1, "exact")]


def test_runs_that_all_fail_show_where_they_came_to(three):
    early, late, _ = (run for run in three.runs if run.estimator == "nvil")
    early, late = replace(early, history=(), error="nan."), replace(late, error="nan.")
    (line,) = run_lines(replace(three, runs=(early, late)))[1:]
    assert line[1] == f"{late.history[-1].test_elbo:.2f}"
    assert line[-1] == "seed 4: nan.; seed 5: nan."


def test_rows_in_files_and_frames(three, tmp_path):
    rows = three.rows()
    assert [(row["estimator"], row["seed"]) for row in rows[:4]] == [
        ("importance", 4), ("nvil", 4), ("exact", 4), ("importance", 5),
    ]  # fmt: skip
    assert {row["step"] for row in rows} == {24}
    assert {row["epoch"] for row in rows} == {2}
    frame = three.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(rows[0])
    assert frame.groupby("estimator").test_elbo.mean()["nvil"] == pytest.approx(
        three.history_of("nvil")[-1].test_elbo
    )
    three.to_csv(tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [
        {key: str(v) if v is not None else "" for key, v in row.items()} for row in rows
    ] == read


def test_a_comparison_that_was_stopped_has_rows_with_gaps(three, tmp_path):
    stopped = replace(three, moments=three.moments[:3], runs=three.runs[:4])
    assert not stopped.is_complete
    rows = stopped.rows()
    assert [row["seed"] for row in rows] == [4, 4, 4, 5, 5, 5]
    assert [row["test_elbo"] is None for row in rows] == [False] * 4 + [True] * 2
    assert len({tuple(row) for row in rows}) == 1
    stopped.to_csv(tmp_path / "x.csv")
    none = replace(three, runs=())
    assert none.to_latex().count("-- & -- & -- & --") == 3
    assert stopped.over_seeds()[1].reports == three.moments[1].reports  # one seed came so far


def test_without_pandas_it_says_what_to_install(three, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"needs pandas\. Run: pip install pandas"):
        three.to_frame()


def test_latex_holds_what_the_tables_hold(three, tmp_path):
    names = ("a_b.py:C%&#", "x{y}^~\\z$", "<é>")
    reports = tuple(
        replace(r, estimator=n) for r, n in zip(three.moments[1].reports, names, strict=True)
    )
    runs = tuple(replace(r, estimator=names[i % 3]) for i, r in enumerate(three.runs))
    odd = replace(
        three, estimators=names, moments=(replace(three.moments[1], reports=reports),), runs=runs
    )
    text = odd.to_latex(tmp_path / "x.tex")
    assert (tmp_path / "x.tex").read_text(encoding="utf-8") == text
    comment, begin, *lines, end, _ = text.split("\n")
    assert comment.startswith("% Encoder gradient at step 24 of the exact run, mean ± standard")
    assert (begin, end) == (r"\begin{tabular}{llrrrrrrr}", r"\end{tabular}")
    cells = [line.removesuffix(r" \\").split(" & ") for line in lines if line != r"\hline"]
    assert {len(line) for line in cells} == {9}
    assert {line[0] for line in cells[1:]} == {
        r"a\_b.py:C\%\&\#", r"x\{y\}\textasciicircum{}\textasciitilde{}\textbackslash{}z\$",
        "$<$é$>$",
    }  # fmt: skip
    for line in cells[1:]:
        for math_text in re.findall(r"(?<!\\)\$.*?(?<!\\)\$", " ".join(line)):
            MathTextParser("agg").parse(math_text)
        # nothing is left that is a command elsewhere
        plain = re.sub(r"(?<!\\)\$.*?(?<!\\)\$|\\[a-z]+\{\}|\\[&%$#_{}]", "", " ".join(line[1:]))
        assert not set(plain) & set("\\&%$#_{}^~±–×∞≤")
    elbo = next(line[1] for line in run_lines(odd) if line[0] == names[0])
    shown = next(line[5] for line in cells if line[0].startswith("a"))
    assert shown == elbo.replace("-", "$-$").replace("±", r"$\pm$")
    variance = next(line[4] for line in gradient_lines(odd.over_seeds()[0]) if line[0] == names[0])
    mantissa, exponent = variance.split(" ")[0].split("e")
    shown = next(line[4] for line in cells if line[0].startswith("a"))
    assert shown.startswith(rf"{mantissa}$\cdot10^{{{int(exponent)}}}$ $\pm$ ")


# --- pictures --------------------------------------------------------------------------------


def bars(axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_one_epoch_and_one_moment_are_bars(three):
    of = {name: three.history_of(name)[:1] for name in three.estimators} | {"missing": []}
    for n_seeds, over in ((1, "error"), (3, "error over 3 seeds")):
        left, right = elbo_figure(of, 12, n_seeds=n_seeds).axes
        assert left.get_title().endswith(over)
        assert not [
            line for axes in (left, right) for line in axes.lines if line.get_label()[0] != "_"
        ]
        ends = [bar.get_x() + bar.get_width() for bar in bars(left)]
        assert ends[:3] == pytest.approx([of[name][0].test_elbo for name in three.estimators])
        assert [bar.get_width() for bar in bars(right)][:3] == [
            of[name][0].seconds for name in three.estimators
        ]
        assert [label.get_text() for label in left.get_yticklabels()] == list(three.estimators)
        low, high = left.get_xlim()
        assert all(low < end < high for end in ends[:3])
    for errors in (None, {"a": [0.1], "none": [0.0]}):
        left, right = gradient_figure(
            [5], {"a": [0.3], "none": [0.0]}, {"a": 1.0, "none": 2.0}, errors=errors
        ).axes
        assert bars(left)[0].get_x() + bars(left)[0].get_width() == pytest.approx(0.3)
        assert left.get_xscale() == "log"
        assert len(right.lines) > 2


def test_error_bars_show_the_standard_errors(three):
    of = {name: three.history_of(name) for name in three.estimators}
    left, _ = elbo_figure(of, 12, n_seeds=3).axes
    assert left.get_ylim()[1] > max(h[-1].test_elbo + h[-1].test_elbo_se for h in of.values())
    lengths = [
        (segment[1][1] - segment[0][1]) / 2
        for collection in left.collections
        for segment in collection.get_segments()
    ]
    assert lengths == pytest.approx([m.test_elbo_se for h in of.values() for m in h])
    left, _ = gradient_figure([0, 9], {"a": [0.3, 0.2]}, {"a": 1.0}, errors={"a": [0.05, 0.1]}).axes
    (collection,) = left.collections
    assert [s[1][1] - s[0][1] for s in collection.get_segments()] == pytest.approx([0.1, 0.2])
    assert "over seeds" in left.get_title()


# --- the command -----------------------------------------------------------------------------


def test_the_command_with_seeds_and_ones_own(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my file.py").write_text(
        "import discretevae as dv\n\nclass Mine(dv.RLOO):\n    pass\n", encoding="utf-8"
    )
    done = cli(*COMMAND, "--epochs", "1", "--seeds", "2", "--seed", "3", "--out", "new",
               "--estimators", "rloo:samples=3",
               "--estimator", "my file.py:Mine:samples=3", "--estimator", "exact")  # fmt: skip
    assert (done.status, done.err) == (0, "")
    result = json.loads(Path("new/comparison.json").read_text())
    names = ["rloo:samples=3", "my file.py:Mine:samples=3", "exact"]
    assert result["estimators"] == names
    assert [(run["seed"], run["estimator"]) for run in result["runs"]] == [
        (seed, name) for seed in (3, 4) for name in names
    ]
    rloo, mine, _ = (run["history"][0]["test_elbo"] for run in result["runs"][:3])
    assert rloo == mine
    assert "mean ± standard error over 2 seeds" in done.out
    markdown = Path("new/comparison.md").read_text()
    assert "seeds 3 to 4" in markdown
    assert "Means over seeds 3 to 4" in markdown
    assert len(Path("new/comparison.csv").read_text().splitlines()) == 7
    assert Path("new/comparison.tex").read_text().count(r"\\") == 4


def test_ctrl_c_in_the_second_seed_keeps_the_first(cli, tmp_path, monkeypatch):
    trained, calls = comparison.train, []

    def stopping(*args, **options):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return trained(*args, **options)

    monkeypatch.setattr(comparison, "train", stopping)
    args = ("--epochs", "1", "--seeds", "2", "--estimators", "rloo,exact", "--out")
    status, _, err = cli(*COMMAND, *args, tmp_path / "new")
    assert status == 130
    assert "Stopped: after 8 moments and 2 of 4 runs" in err
    result = json.loads((tmp_path / "new/comparison.json").read_text())
    assert [run["seed"] for run in result["runs"]] == [0, 0]
    assert "Not complete: 2 of 4 runs." in (tmp_path / "new/comparison.md").read_text()
    assert (tmp_path / "new/elbo.png").is_file()
