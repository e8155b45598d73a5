"""Columns that make a row an outlier: score by score, with missing cells, by the command."""

import json

import numpy as np
import pytest
import torch

from discretevae import DiscreteVAE, Rows, explain_outliers, fit_outliers, load_data, load_rows
from discretevae.codes.explaining import typical_row
from discretevae.errors import ConfigError

TABLE = np.random.default_rng(0).normal(size=(80, 3)) * (1, 5, 0.1) + (0, 100, 3)


def on_scale(values, scale):
    return Rows(torch.from_numpy(scale.apply(np.array(values))), scale=scale)


def test_what_a_column_takes_is_the_difference_of_two_scores():
    rows = Rows.from_array(TABLE, scale="standard")
    model = DiscreteVAE.for_data(rows, latent="bernoulli:3", likelihood="student", hidden=(8,))
    outliers = fit_outliers(model, rows, contamination=0.1)
    odd = on_scale([[0.0, 180.0, 3.0], [9.0, 100.0, 5.0]], rows.scale)
    taken = explain_outliers(outliers, odd, rows)
    typical = np.sort(TABLE, 0)[39]  # the lower one of the two in the middle
    assert np.allclose(rows.scale.restore(typical_row(rows)[None]), typical, rtol=1e-5)
    for row, values in enumerate(([0.0, 180.0, 3.0], [9.0, 100.0, 5.0])):
        for p in range(3):
            mended = list(values)
            mended[p] = rows.scale.restore(typical_row(rows)[None])[0, p]
            before, after = outliers.score_samples(on_scale([values, mended], rows.scale))
            assert taken[row, p] == pytest.approx(after - before, abs=1e-4)
    assert taken.argmax(1).tolist() == [1, 2]


def test_levels_and_missing_cells():
    table = np.column_stack([TABLE[:, 0], np.arange(80) % 2 * 3 + 1.0, np.arange(80) % 4 == 0])
    table[3, 0] = np.nan
    rows = load_rows(table, scale="columns")
    model = DiscreteVAE.for_data(rows, latent="bernoulli:2", hidden=(8,))
    taken = explain_outliers(
        fit_outliers(model, rows, contamination=0.1), rows.subset([3, 4]), rows
    )
    assert taken[0, 0] == 0
    assert taken[1, 0] != 0
    assert typical_row(rows)[2] == 0  # three in four
    assert torch.isfinite(typical_row(rows)).all()


def test_pictures_are_not_explained():
    data = load_data("digits")
    model = DiscreteVAE.for_data(data, latent="bernoulli:2", hidden=(8,))
    outliers = fit_outliers(model, data.test)
    with pytest.raises(ConfigError, match="these rows are pictures"):
        explain_outliers(outliers, data.test, data.test)


def test_the_command_names_columns_and_values(cli, tmp_path):
    table = TABLE.copy()
    table[7, 1] = 300
    np.savetxt(tmp_path / "t.csv", table, "%.3f", ",", header="a,b,c", comments="")
    run = tmp_path / "run"
    options = ("--latent", "bernoulli:2", "--hidden", "8", "--epochs", "3", "--out", run)
    assert cli("train", "--data", tmp_path / "t.csv", *options).status == 0
    said = cli("outliers", run, "--explain", "--n", 1)
    assert said.status == 0
    assert "b 300 (+" in said.out
    facts = json.loads(cli("outliers", run, "--explain", "--n", 2, "--json").out)
    first = facts["worst"][0]["reasons"][0]
    assert (first["column"], first["value"]) == ("b", pytest.approx(300, rel=1e-4))
    assert first["nats"] > 1
    assert "reasons" not in json.loads(cli("outliers", run, "--json").out)["worst"][0]
    assert cli("train", "--epochs", 1, "--hidden", 4, "--out", tmp_path / "digits").status == 0
    said = cli("outliers", tmp_path / "digits", "--explain", "--samples", 2)
    assert said.status == 2
    assert "these rows are pictures" in said.err
