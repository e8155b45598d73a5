"""A table with texts and missing cells through every command that a practitioner calls."""

import csv
import json

import numpy as np
import pytest

from discretevae import load_run
from discretevae.cli import call
from discretevae.errors import DataWarning


def write(path, n=160, seed=0):
    rng = np.random.default_rng(seed)
    sex = rng.choice(["male", "female"], n)
    age = np.where(sex == "male", rng.normal(50, 4, n), rng.normal(25, 4, n)).round(1)
    rows = []
    for i in range(n):
        cells = [sex[i], f"{age[i]}", rng.poisson(2), f"{np.exp(rng.normal(3, 1)):.2f}"]
        hidden = [str(cell) if rng.random() > 0.15 else "" for cell in cells]
        rows.append([i + 100, int(sex[i] == "female"), *hidden])
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [["passenger", "survived", "sex", "age", "siblings", "fare"], *rows]
        )
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write(tmp_path_factory.mktemp("table") / "passengers.csv")


@pytest.fixture(scope="module")
def run(table):
    out = table.parent / "run"
    options = ["--label", "survived", "--id", "passenger", "--latent", "categorical:6"]
    options += ["--hidden", "32", "--epochs", "80", "--lr", "0.01", "--out", str(out)]
    assert call(["train", "--data", str(table), *options]) == 0
    return out


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_kinds_are_shown_and_kept(run, table, cli):
    assert str(load_run(run).config.model.likelihood) == "mixed:categorical:3,real,count,positive"
    said = cli("train", "--data", table, "--id", "passenger", "--ignore", "survived",
               "--kind", "siblings=real", "--epochs", "1", "--hidden", "4",
               "--out", run.parent / "other")  # fmt: skip
    assert said.status == 0
    assert "columns by kind" in said.err
    assert "real: age, siblings" in said.err
    assert "categorical: sex (2)" in said.err


def test_imputing_fills_the_holes_and_nothing_else(run, table, cli):
    out = run.parent / "filled.csv"
    facts = json.loads(cli("impute", run, "--out", out, "--json").out)
    before, after = read(table), read(out)
    holes = [(i, j) for i, row in enumerate(before) for j, cell in enumerate(row) if not cell]
    assert facts["filled_cells"] == len(holes) > 50
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        for j, (cell, filled) in enumerate(zip(old, new, strict=True)):
            assert (filled == cell) != ((i, j) in holes)
            assert filled
    # the age tells the sex
    guesses = [after[i][2] == ("female" if old[1] == "1" else "male")
               for i, old in enumerate(before) if i and not old[2] and old[3]]  # fmt: skip
    assert np.mean(guesses) > 0.8
    said = cli("impute", run, "--out", "filled.npy")
    assert said.status == 2
    assert "must end in .csv" in said.err


def test_levels_that_are_new_stay_in_the_filled_table(run, table, cli, tmp_path):
    lines = read(table)
    lines[1][2:4] = ["diverse", ""]
    path, out = tmp_path / "new.csv", tmp_path / "filled.csv"
    path.write_text("".join(";".join(line).replace(".", ",") + "\n" for line in lines))
    with pytest.warns(DataWarning):
        assert cli("impute", run, path, "--out", out).status == 0
    first = read(out)[1]
    assert first[2] == "diverse"
    assert "," in first[3]  # a decimal comma, as in the file


def test_samples_look_like_rows(run, cli, tmp_path):
    out = tmp_path / "synthetic.csv"
    assert cli("sample", run, "--n", 200, "--out", out).status == 0
    names, *rows = read(out)
    assert names == ["sex", "age", "siblings", "fare"]
    assert {row[0] for row in rows} == {"male", "female"}
    assert all(row[2].isdecimal() and float(row[3]) > 0 for row in rows)
    assert len({row[1] for row in rows}) > 50  # draws, not a mean for each code
    assert cli("sample", run, "--n", 50, "--mean", "--out", out).status == 0
    assert len({row[1] for row in read(out)[1:]}) <= 6
    said = cli("sample", run, "--out", tmp_path / "s.npy")
    assert said.status == 2
    assert "written as a .csv table" in said.err


def test_an_impossible_age_is_the_first_outlier(run, table, cli, tmp_path):
    odd = read(table)
    odd[5][3] = "400"
    path = tmp_path / "odd.csv"
    path.write_text("".join(",".join(line) + "\n" for line in odd))
    said = cli("outliers", run, path, "--n", 1, "--json")
    assert json.loads(said.out)["worst"][0]["id"] == 104
    said = cli("outliers", run, "--correction", "complexity")
    assert said.status == 2
    assert "values of one kind" in said.err


def test_the_other_uses_of_a_run(run, cli, tmp_path):
    for command in (
        ("cluster", run),
        ("encode", run, "--out", tmp_path / "codes.npy"),
        ("decode", run, tmp_path / "codes.npy", "--out", tmp_path / "d.csv"),
        ("reconstruct", run, "--out", tmp_path / "r.csv"),
        ("evaluate", run, "--samples", "5"),
        ("retrieval", run),
        ("export", run, "--onnx", "--out", tmp_path / "onnx"),
        ("export", run, "--pretrained", "--out", tmp_path / "shared"),
    ):
        said = cli(*command)
        assert said.status == 0, (command, said.err)
    assert read(tmp_path / "d.csv")[0] == ["sex", "age", "siblings", "fare"]
    assert cli("compress", run, "--out", tmp_path / "c.dvz").status == 2


def test_hidden_cells_and_resuming(table, cli, tmp_path):
    options = ("--data", table, "--id", "passenger", "--ignore", "survived",
               "--latent", "bernoulli:4", "--hidden", "8", "--augment", "hide=0.3",
               "--seed", "3")  # fmt: skip
    whole, parts, plain = (tmp_path / name for name in ("whole", "parts", "plain"))
    for out, epochs in ((whole, 4), (parts, 2)):
        assert cli("train", *options, "--epochs", epochs, "--out", out).status == 0
    assert cli("train", "--resume", parts, "--epochs", 4).status == 0
    shown = [option for option in options if option not in ("--augment", "hide=0.3")]
    assert cli("train", *shown, "--epochs", 4, "--out", plain).status == 0
    one, other, third = (load_run(run).model.state_dict() for run in (whole, parts, plain))
    assert all((one[name] == other[name]).all() for name in one)
    assert not all((one[name] == third[name]).all() for name in one)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--kind", "age"), "COLUMN=KIND"),
        (("--kind", "age=reall"), "COLUMN=KIND"),
        (("--kind", "agee=real"), "no column 'agee'. Did you mean age"),
        (("--scale", "standard"), "is not a number"),
        (("--augment", "shift=2"), "distorts pictures"),
    ],
)
def test_bad_options_are_refused_in_one_line(table, cli, tmp_path, options, reason):
    said = cli("train", "--data", table, "--id", "passenger", *options, "--out", tmp_path / "run")
    assert said.status == 2
    assert reason in said.err
    assert len(said.err.strip().splitlines()) == 1
