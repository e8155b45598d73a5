"""Windows of a series: their values, what is held out, and scores of single times."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from discretevae import (
    ConfigError,
    DataError,
    DataWarning,
    DiscreteVAE,
    Rows,
    Schema,
    fit_outliers,
    load_data,
    load_rows,
    load_run,
    score_samples,
)
from discretevae.data.windows import Windows, over_times, times_of, windowed


def series(n=60, n_columns=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_columns))


def by_numpy(x, window, stride=1):
    """Windows ``[N, W·C]`` by NumPy's own view."""
    return sliding_window_view(x, window, axis=0)[::stride].swapaxes(1, 2).reshape(-1, window * 3)


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (7, 1), (7, 3), (60, 5)])
@pytest.mark.filterwarnings("ignore:array. the last")
def test_windows_are_those_of_numpy(window, stride):
    x = series()
    rows = windowed(Rows.from_array(x), window, stride)
    wanted = torch.tensor(by_numpy(x, window, stride)).float()
    assert torch.equal(rows.batch(slice(None)), wanted)
    assert torch.equal(rows.source_numbers, torch.arange(0, 60 - window + 1, stride))
    some = torch.arange(len(rows)).flip(0)[:4]
    assert torch.equal(rows.subset(some).batch(slice(None)), wanted[some])
    assert torch.equal(torch.cat(list(rows.chunks(3))), wanted)


def test_no_window_is_copied():
    times = Rows.from_array(series(5000))
    rows = windowed(times, 1000)
    assert rows.values.shape == (4001, 3000)
    views = rows.values._views()
    assert views.untyped_storage().data_ptr() == times.values.untyped_storage().data_ptr()
    assert rows.subset(slice(0, 9)).values.times is times
    assert rows.values.starts.nbytes == 8 * 4001


def test_a_batch_is_no_window_into_the_table():
    times = Rows.from_array(series())
    before = times.values.clone()
    windowed(times, 5).batch(slice(0, 3)).zero_()
    windowed(times, 5).batch(torch.arange(3)).zero_()
    assert torch.equal(times.values, before)


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.filterwarnings("ignore:array. the last")
def test_the_figure_of_a_time_is_the_mean_of_the_windows_that_cover_it(stride):
    rows = windowed(Rows.from_array(series(30)), 7, stride)
    rows = rows.subset(torch.tensor([0, 1, 4]))  # with a gap where the stride is large
    figures = np.array([1.0, 10.0, 100.0])
    covering = {
        t: [
            f
            for f, start in zip(figures, rows.values.starts, strict=True)
            if start <= t < start + 7
        ]
        for t in range(30)
    }
    wanted = {t: np.mean(f) for t, f in covering.items() if f}
    assert times_of(rows).source_numbers.tolist() == list(wanted)
    assert np.allclose(over_times(rows, figures), list(wanted.values()), rtol=1e-14)


def test_rows_that_are_no_windows_stay_as_they_are():
    rows, figures = Rows.from_array(series()), np.arange(60.0)
    assert times_of(rows) is rows
    assert over_times(rows, figures) is figures


def test_outliers_of_a_series_are_times():
    rows = windowed(Rows.from_array(series(), scale="standard"), 8)
    model = DiscreteVAE.for_data(rows, latent="categorical:4", hidden=(8,), likelihood="student")
    found = fit_outliers(model, rows, correction="none", contamination=0.1)
    log_px = score_samples(model, rows).numpy()
    by_hand = [
        log_px[max(0, t - 7) : t + 1].mean() for t in range(60)
    ]  # the slice ends at the last
    assert np.allclose(found.score_samples(rows), by_hand)
    assert np.allclose(found.measure(rows).bound, by_hand)
    assert found.threshold == pytest.approx(np.quantile(by_hand, 0.1))
    assert len(fit_outliers(model, rows).score_samples(rows)) == 60


def test_what_is_held_out_shares_no_time_with_what_is_learned_from():
    data = load_data(series(200), window=10, scale="standard")
    train, test = (
        {int(t) for start in part.values.starts for t in range(start, start + 10)}
        for part in (data.train, data.test)
    )
    assert not train & test
    assert max(train) + 1 == min(test)
    assert max(test) == 199
    assert len(data.test) == 19  # a tenth of 191
    scale = data.train.values.times.scale
    assert np.allclose(scale.center, series(200)[: max(train) + 1].mean(0))
    assert np.allclose(data.train.scale.center, np.tile(scale.center, 10))
    whole = load_rows(series(200), window=10, scale="standard")
    assert torch.equal(whole.source_numbers, torch.arange(191))


def test_a_schema_knows_the_columns_of_a_time():
    data = load_data(series(200), window=10, stride=2, scale="standard")
    schema = Schema.from_dict(json.loads(json.dumps(Schema.of(data).to_dict())))
    assert (schema.n_features, schema.window, schema.stride) == (30, 10, 2)
    assert len(schema.scale.center) == 3
    x = series(200)
    first = data.train.batch(slice(0, 1))
    assert np.allclose(schema.in_source_units(first), x[:10].reshape(1, 30), atol=1e-6)
    again = load_data(x, schema=schema)
    assert torch.equal(again.train.batch(slice(None)), data.train.batch(slice(None)))
    schema.require_same(again)
    x[5] += 1
    with pytest.raises(DataError, match="has changed since the run was trained"):
        schema.require_same(load_data(x, schema=schema))
    for wrong in ({"window": 7}, {"window": 0}, {"stride": 0}):
        with pytest.raises(ValueError, match="window is"):
            Schema.from_dict(schema.to_dict() | wrong)


def test_rows_behind_the_last_step_are_named():
    with pytest.warns(DataWarning, match="the last 2 rows fill no step of 3"):
        windowed(Rows.from_array(series(12)), 4, 3)


@pytest.mark.parametrize(
    ("ids", "is_wrong"),
    [
        (np.array([1, 2, 2, 5]), False),
        (np.array([1, 2, 5, 3]), True),
        (np.array(["2024-01-31", "2024-02-01", "2024-02-01T05:00", "2025-01-01"], object), False),
        (np.array(["2024-01-31", "2024-02-01", "2024-01-01", "2025-01-01"], object), True),
        (np.array(["monday", "tuesday", "friday", "a"], object), False),
    ],
)
def test_times_that_go_back_are_refused(ids, is_wrong):
    rows = Rows.from_array(series(4), ids=ids)
    if not is_wrong:
        assert windowed(rows, 3).row_ids.tolist() == ids[:2].tolist()
        return
    with pytest.raises(DataError, match=r"not in order: .* comes after .* in row"):
        windowed(rows, 3)


def test_what_has_no_windows_is_refused_in_a_line():
    with pytest.raises(DataError, match="60 rows has no window of 61"):
        windowed(Rows.from_array(series()), 61)
    with pytest.raises(DataError, match="is for tables in memory"):
        windowed(Rows.from_array(np.zeros((9, 4, 4))), 2)
    with pytest.raises(DataError, match="too few to learn from some and test on others"):
        load_data(series(), window=55)
    with pytest.raises(ConfigError, match="`stride` is of windows"):
        load_data(series(), stride=2)
    with pytest.raises(ConfigError, match="`window` must be an int >= 1"):
        load_data(series(), window=0)
    assert len(load_rows(series(), window=55)) == 6


def test_a_series_with_texts_and_holes(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["day,level,state,n"]
    for t in range(300):
        level = "" if rng.random() < 0.4 else f"{np.sin(t / 5):.3f}"
        lines.append(f"{t},{level},{'up' if t % 10 < 5 else 'down'},{rng.poisson(2)}")
    Path("mixed.csv").write_text("\n".join(lines) + "\n")
    options = ("--id", "day", "--window", "12", "--latent", "bernoulli:6", "--epochs", "2")
    assert cli("train", "--data", "mixed.csv", *options, "--out", "run").status == 0
    run = load_run("run")
    assert [c.kind for c in run.config.model.likelihood.columns[:4]] == [
        "real", "categorical", "count", "real",
    ]  # fmt: skip
    assert len(run.config.model.likelihood.columns) == 36
    rows = load_rows("mixed.csv", schema=run.schema, row_id="day")
    table = rows.values.times.batch(slice(None))
    x = rows.batch(slice(7, 8))
    assert x.isnan().sum() == table[7:19].isnan().sum() > 0
    assert torch.equal(x.nan_to_num(), table[7:19].reshape(1, 36).nan_to_num())
    assert run.schema.in_source_units(x)[0, 1] in ("up", "down")
    assert cli("outliers", "run", "mixed.csv", "--out", "o.csv").status == 0
    assert len(Path("o.csv").read_text().splitlines()) == 301
    assert cli("sample", "run", "--n", "2", "--out", "drawn.csv").status == 0
    assert Path("drawn.csv").read_text().startswith("level[0],state[0],n[0],level[1]")


def test_a_series_by_the_command_line(cli, tmp_path, monkeypatch):
    """A broken stretch of a sine is found, time by time, in a file that the run has not met."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)

    def write(name, n, broken):
        wave = np.sin(np.arange(n) / 4) + 0.05 * rng.normal(size=n)
        wave[broken] = 0
        with Path(name).open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["hour", "load", "fault"])
            lines.writerows(
                [3 * t, wave[t], int(broken.start <= t < broken.stop)] for t in range(n)
            )

    write("old.csv", 500, slice(0, 0))
    write("new.csv", 120, slice(60, 75))
    write("short.csv", 20, slice(0, 0))
    options = ("--id", "hour", "--label", "fault", "--window", "25", "--epochs", "15")
    said = cli("train", "--data", "old.csv", *options, "--latent", "bernoulli:8", "--out", "run")
    assert said.status == 0
    schema = load_run("run").schema
    assert (schema.window, schema.stride, schema.columns) == (25, 1, ("load",))
    assert cli("outliers", "run", "new.csv", "--out", "o.csv").status == 0
    with Path("o.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [int(row["id"]) for row in found] == [3 * t for t in range(120)]
    assert 60 <= int(np.argmin([float(row["score"]) for row in found])) < 75
    shown = json.loads(cli("outliers", "run", "new.csv", "--json", "--n", "1").out)
    assert shown["rows"] == 120
    assert shown["worst"][0]["class"] == 1
    assert cli("outliers", "run", "--split", "test").status == 0
    assert cli("evaluate", "run").status == 0
    assert "of a series times are scored" in cli("outliers", "run", "--explain").err
    assert cli("sample", "run", "--n", "2", "--out", "drawn.csv").status == 0
    assert Path("drawn.csv").read_text().startswith("load[0],load[1],")
    said = cli("outliers", "run", "short.csv")
    assert said.status == 2
    assert said.err.count("\n") == 1
    assert "no window of 25" in said.err
    assert isinstance(
        load_data("old.csv", schema=schema, row_id="hour", label="fault").train.values, Windows
    )
