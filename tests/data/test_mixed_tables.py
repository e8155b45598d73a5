"""Tables with texts, levels and missing cells: which kind a column is, and what comes back."""

import csv
import json
import warnings

import numpy as np
import pytest
import torch

from discretevae.data import Schema, load_data, load_rows
from discretevae.data.cells import kind_of_values
from discretevae.data.columns import Column, TableScale
from discretevae.errors import DataError, DataWarning

RNG = np.random.default_rng(0)
TABLE = {
    "age": ["41.5", "", "30.5", "22", "57.2", "30", "NA", "18.5", "44", "39"],
    "pet": ["cat", "dog", "cat", "", "dog", "cat", "cat", "dog", "cat", "cat"],
    "visits": ["0", "3", "1", "0", "12", "2", "", "1", "0", "4"],
    "paid": ["true", "false", "true", "true", "", "false", "true", "true", "false", "true"],
}


def write(path, table=TABLE, **more):
    table = table | more
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def objects(*values):
    return np.array(values, object)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (RNG.normal(size=500), "real"),
        (RNG.standard_t(2, size=500), "heavy-tailed"),
        (np.exp(RNG.normal(size=500)), "positive"),
        (RNG.uniform(size=500), "bounded"),
        (RNG.uniform(size=500) * 0.01, "real"),
        (RNG.poisson(3, 500), "count"),
        (RNG.poisson(3, 500) * 100_000, "heavy-tailed"),
        (RNG.integers(1, 4, 500), "categorical"),
        (RNG.integers(0, 2, 500), "boolean"),
        (np.array([True, False]), "boolean"),
        (objects("yes", "no", "yes"), "boolean"),
        (objects("a", "b", "c"), "categorical"),
        (np.full(20, 7), "real"),
    ],
)
def test_kinds_follow_from_values(values, kind):
    if kind == "heavy-tailed" and values.dtype.kind == "i":
        assert kind_of_values(values, "x") != "count"  # amounts, not counts
        return
    assert kind_of_values(values, "x") == kind


def test_a_table_is_read_column_by_column_and_comes_back(tmp_path):
    rows = load_rows(write(tmp_path / "mine.csv"))
    assert rows.is_mixed
    assert rows.has_holes
    assert [column.kind for column in rows.scale.columns] == [
        "real", "categorical", "count", "boolean",
    ]  # fmt: skip
    x = rows.batch(slice(None))
    assert x.isnan().nonzero().tolist() == [[1, 0], [3, 1], [4, 3], [6, 0], [6, 2]]
    learned = load_data(tmp_path / "mine.csv").train.batch(slice(None))
    there = learned[:, 0][~learned[:, 0].isnan()]
    assert there.mean().item() == pytest.approx(0, abs=1e-6)
    assert there.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    back = rows.scale.restore(x)
    assert back[0].tolist() == [41.5, "cat", 0, True]
    assert back[6].tolist() == [None, "cat", None, True]
    assert [row[0] for row in back] == [
        None if cell in ("", "NA") else float(cell) for cell in TABLE["age"]
    ]


def test_a_frame_is_read_as_its_file(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = write(tmp_path / "mine.csv")
    by_file, by_frame = load_rows(path), load_rows(pandas.read_csv(path))
    assert by_file.scale.columns == by_frame.scale.columns
    same = torch.equal(by_file.values.nan_to_num(nan=-9), by_frame.values.nan_to_num(nan=-9))
    assert same
    frame = pandas.DataFrame(
        {"size": pandas.Categorical([3, 1, 3, 2] * 3), "x": np.arange(12.5, 24)}
    )
    sizes = load_rows(frame).scale.columns[0]
    assert (sizes.kind, sizes.levels) == ("categorical", ("1", "2", "3"))


def test_parquet_is_read_as_its_frame(tmp_path):
    pandas, pq = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pandas.read_csv(write(tmp_path / "mine.csv"))
    frame["pet"] = frame["pet"].astype("category")
    frame.to_parquet(tmp_path / "mine.parquet")
    rows = load_rows(tmp_path / "mine.parquet")
    assert rows.scale.columns == load_rows(frame).scale.columns
    assert rows.has_holes
    day = pq.table({"x": [1.5, 2.0], "day": pq.array([0, 1], pq.timestamp("s"))})
    pq.parquet.write_table(day, tmp_path / "days.parquet")
    with pytest.raises(DataError, match="column 'day' holds dates"):
        load_rows(tmp_path / "days.parquet")


def test_levels_keep_their_names_and_new_ones_are_one_further_level(tmp_path):
    data = load_data(write(tmp_path / "mine.csv"))
    schema = Schema.of(data)
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))).scale.columns == (
        schema.scale.columns
    )
    other = write(tmp_path / "other.csv", pet=["fish", *TABLE["pet"][1:]])
    with pytest.warns(DataWarning, match="1 cell with a level that the training rows do not have"):
        rows = load_rows(other, schema=schema)
    assert rows.batch(slice(0, 1))[0, 1] == 2
    assert rows.scale.restore(rows.batch(slice(0, 1)))[0, 1] == "(unseen)"


def test_levels_and_scales_are_those_of_training_rows(tmp_path):
    n = 200
    pets = ["cat", "dog"] * (n // 2)
    table = {"pet": pets, "x": [f"{value:.3f}" for value in RNG.normal(size=n)]}
    path = write(tmp_path / "a.csv", table)
    held = load_data(path).test.source_numbers[0].item()
    pets[held] = "fish"
    with pytest.warns(DataWarning, match="1 cell with a level"):
        data = load_data(write(tmp_path / "b.csv", table | {"pet": pets}))
    assert data.train.scale.columns[0].levels == ("cat", "dog")
    assert data.test.batch(slice(0, 1))[0, 0] == 2


def test_kinds_can_be_asked_for(tmp_path):
    path = write(tmp_path / "mine.csv")
    rows = load_rows(path, kind=("visits=real", "age=positive"))
    assert [column.kind for column in rows.scale.columns][:3] == ["positive", "categorical", "real"]
    assert rows.scale.restore(rows.batch(slice(0, 1)))[0, 0] == 41.5
    numbers = write(
        tmp_path / "numbers.csv", {"a": list("123123123123"), "b": list("100101010011")}
    )
    assert not load_rows(numbers, scale="auto").is_mixed
    assert [c.kind for c in load_rows(numbers, scale="columns").scale.columns] == [
        "categorical", "boolean",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"age": ["12", "x", *"12345678"]}, "'age' holds numbers, and texts such as 'x'"),
        ({"day": [f"2024-01-{day:02}" for day in range(1, 11)]}, "'day' holds dates"),
        ({"age": [""] * 10}, "'age' has no values at all"),
        (
            {"name": [f"n{i}" for i in range(10)]},
            "9 different texts in 9 rows, too many",
        ),
    ],
)
def test_columns_without_a_kind_are_refused_by_name(tmp_path, more, reason):
    path = write(tmp_path / "mine.csv", **more)
    with pytest.raises(DataError, match=reason):
        load_rows(path)


def test_too_many_levels_are_refused(tmp_path):
    table = {"name": [f"n{i}" for i in range(100)], "x": ["1.5", "2"] * 50}
    with pytest.raises(DataError, match="90 different texts in 90 rows, too many for levels"):
        load_rows(write(tmp_path / "mine.csv", table))
    rows = load_rows(write(tmp_path / "mine.csv", table), ignore=("name",))
    assert rows.columns == ("x",)


@pytest.mark.parametrize(
    ("kind", "cell", "reason"),
    [
        ("count", "1.5", "whole numbers from 0 on. Got 1.5"),
        ("count", "-1", "whole numbers from 0 on. Got -1"),
        ("positive", "0", "numbers above 0. Got 0"),
        ("real", "inf", "finite numbers. Got inf"),
    ],
)
def test_values_that_are_not_of_the_kind_are_refused(tmp_path, kind, cell, reason):
    path = write(tmp_path / "mine.csv", visits=[cell, *TABLE["visits"][1:]])
    with pytest.raises(DataError, match=f"column 'visits' is of the kind {kind}, {reason}"):
        load_rows(path, kind=(f"visits={kind}",))


def test_new_data_are_held_against_the_kinds(tmp_path):
    schema = Schema.of(load_data(write(tmp_path / "mine.csv")))
    for more, reason in (
        ({"age": ["old", *TABLE["age"][1:]]}, "'age' holds numbers in the training data"),
        ({"paid": ["maybe", *TABLE["paid"][1:]]}, "'paid' is False or True in the training data"),
        ({"visits": ["-3", *TABLE["visits"][1:]]}, "whole numbers from 0 on. Got -3"),
    ):
        with pytest.raises(DataError, match=reason):
            load_rows(write(tmp_path / "other.csv", **more), schema=schema)
    turned = dict(reversed(TABLE.items()))
    with pytest.warns(DataWarning, match="put in order by name"):
        rows = load_rows(write(tmp_path / "turned.csv", turned), schema=schema)
    assert rows.scale.restore(rows.batch(slice(0, 1)))[0].tolist() == [41.5, "cat", 0, True]


def test_a_row_without_any_value_is_said(tmp_path):
    table = {name: ["", *cells[1:]] for name, cells in TABLE.items()}
    with pytest.warns(DataWarning, match="1 row without any value"):
        rows = load_rows(write(tmp_path / "mine.csv", table))
    assert rows.batch(slice(0, 1)).isnan().all()


def test_an_asked_scale_still_refuses_missing_cells(tmp_path):
    with pytest.raises(DataError, match="an empty cell in 'age'"):
        load_rows(write(tmp_path / "mine.csv", {"age": ["1", "", "3"], "b": ["1", "2", "3"]}),
                  scale="standard")  # fmt: skip
    with pytest.raises(DataError, match=r"no column 'agee'\. Did you mean age"):
        load_rows(write(tmp_path / "mine.csv"), kind=("agee=real",))


def test_decimals_of_a_column_come_back():
    values = np.array([1.25, 2.5, 3.0, 10.75])
    column = Column.fit(values, "real", "x")
    x = column.read(values, "x").astype(np.float64)
    assert column.restore(x) == values.tolist()
    assert column.restore(x + 1e-4) == [round(v + 1e-4 * column.width, 2) for v in values]
    exact = Column.fit(values * np.pi, "real", "x")
    assert exact.decimals is None
    whole = Column.fit(np.array([3, 1, 40_000]), "real", "x")
    assert whole.restore(whole.read(np.array([3, 40_000]), "x").astype(float)) == [3, 40_000]


def test_a_tampered_scale_is_refused():
    scale = TableScale([Column("real"), Column("categorical", levels=("a", "b"))])
    good = scale.to_dict()
    assert TableScale.from_dict(json.loads(json.dumps(good)), 2).columns == scale.columns
    for change in ({"width": 0.0}, {"kind": "reall"}, {"levels": ["a"]}, {"low": "0"}):
        bad = json.loads(json.dumps(good))
        bad["columns"][0] |= change
        with pytest.raises((ValueError, TypeError)):
            TableScale.from_dict(bad, 2)
    with pytest.raises(ValueError, match="needs 3 columns"):
        TableScale.from_dict(good, 3)


def test_nothing_is_warned_of_a_plain_mixed_table(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_rows(write(tmp_path / "mine.csv"))
