"""Tables on the command line: columns by name, roles, row numbers, a line of names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from discretevae.errors import DataWarning

pytestmark = pytest.mark.filterwarnings("ignore::discretevae.errors.CollapseWarning")

TINY = ("--latent", "bernoulli:2", "--hidden", "4", "--epochs", "1", "--out", "run")
NAMES = ("fever", "cough", "rash")
ROWS = np.random.default_rng(0).integers(0, 2, (40, 3))


def write(name, columns):
    lines = [columns, *zip(*columns.values(), strict=True)]
    Path(name).write_text("\n".join(",".join(map(str, line)) for line in lines))


def symptoms(names=NAMES):
    return {name: ROWS[:, NAMES.index(name)] for name in names}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_columns_of_a_run_by_name(here, cli):
    write("train.csv", symptoms())
    assert cli("train", "--data", "train.csv", *TINY).status == 0
    write("sorted.csv", symptoms(sorted(NAMES)))
    scores = [json.loads(cli("evaluate", "run", "train.csv", "--split", "all", "--json").out)]
    with pytest.warns(DataWarning, match="put in order by name"):
        said = cli("evaluate", "run", "sorted.csv", "--split", "all", "--json")
    scores.append(json.loads(said.out))
    assert scores[0]["elbo"] == scores[1]["elbo"]
    write("other.csv", {f"x{i}": ROWS[:, i] for i in range(3)})
    said = cli("evaluate", "run", "other.csv", "--split", "all")
    assert said.status == 2
    assert "without 'fever', 'cough', 'rash'; with foreign 'x0', 'x1', 'x2'" in said.err


def test_roles_as_options(here, cli):
    who = {"who": [f"p{i}" for i in range(40)], "kind": ["ant", "bee"] * 20, "note": ["?"] * 40}
    write("train.csv", who | symptoms())
    roles = ("--label", "kind", "--id", "who", "--ignore", "note")
    assert cli("train", "--data", "train.csv", *roles, *TINY).status == 0
    assert cli("encode", "run", "--split", "all", "--out", "codes.npy").status == 0
    assert Path("codes.ids.csv").read_text().split()[:3] == ["id", "p0", "p1"]
    said = cli("train", "--data", "train.csv", *TINY[:-1], "other")
    assert said.status == 2
    assert "column 'who' has 36 different texts in 36 rows" in said.err
    assert "Leave it out by --ignore, name the rows by it with --id" in said.err


def test_a_line_of_numbers_that_are_names(here, cli):
    write("train.csv", {str(year): ROWS[:, i] for i, year in enumerate((2019, 2020, 2021))})
    for option, n_rows in (("--header", 40), ("--no-header", 41)):
        scale = ("--divisor", "2021") if n_rows == 41 else ()
        said = cli("train", "--data", "train.csv", option, *scale, *TINY[:-1], option[2:])
        assert said.status == 0, said.err
        said = cli("evaluate", option[2:], "--split", "all", "--json")
        assert json.loads(said.out)["rows"] == n_rows
    with pytest.warns(DataWarning, match="taken for column names"):
        assert cli("train", "--data", "train.csv", *TINY).status == 0
