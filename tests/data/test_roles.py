"""Columns by name: labels, row ids, what is left out, and the order of a run."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

from discretevae.data import Dataset, Schema, load_data, load_rows
from discretevae.data.readers.request import Request
from discretevae.data.readers.roles import take_apart
from discretevae.errors import DataError, DataWarning

X = [[0.5, 0.25], [0.75, 1.5], [2.5, 3.5]]
"""The values of the columns a and b of every table below."""


def table(path, columns):
    """Write columns as text or as Parquet, by the suffix."""
    if path.suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table(list(columns.values()), names=list(columns)), path)
        return path
    mark = "\t" if path.suffix == ".tsv" else ","
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    path.write_text("".join(mark.join(map(str, line)) + "\n" for line in lines))
    return path


def features(names="ab"):
    return {name: [row["ab".index(name)] for row in X] for name in names}


SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])


@pytest.fixture(params=[False, True])
def streamed(request, monkeypatch):
    if request.param:
        monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)


def read_quietly(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return load_rows(path, **options)


@SUFFIXES
def test_columns_are_given_roles(tmp_path, streamed, suffix):
    others = {"who": ["x", "y", "z"], "kind": ["ant", "cat", "ant"], "note": ["", "?", "n"]}
    path = table(tmp_path / f"t{suffix}", others | features())
    rows = load_rows(path, label="kind", row_id="who", ignore=("note",))
    assert rows.columns == ("a", "b")
    assert rows.batch(slice(None)).tolist() == X
    assert rows.ids.tolist() == ["x", "y", "z"]
    assert (rows.labels.tolist(), rows.classes) == ([0, 1, 0], ("ant", "cat"))
    assert rows.subset(slice(1, None)).row_ids.tolist() == ["y", "z"]


@SUFFIXES
@pytest.mark.parametrize("role", ["label", "row_id", "ignore"])
def test_a_column_that_is_not_there_is_refused(tmp_path, suffix, role):
    path = table(tmp_path / f"t{suffix}", features())
    with pytest.raises(DataError, match=r"no column 'aa'. Did you mean a\?"):
        load_rows(path, **{role: ("aa",) if role == "ignore" else "aa"})


@pytest.mark.parametrize("role", ["label", "row_id", "ignore"])
def test_roles_need_names(tmp_path, role):
    path = tmp_path / "t.csv"
    path.write_text("1,2.5\n3,4\n")
    with pytest.raises(DataError, match=r"has no line of names, so '1' .* pass `header=True`"):
        load_rows(path, **{role: ("1",) if role == "ignore" else "1"})
    assert load_rows(path, header=True, ignore=("1",)).columns == ("2.5",)


LABELS = [
    (["setosa", "virginica", "setosa"], [0, 1, 0], ("setosa", "virginica")),
    (["10", "2", "9"], [10, 2, 9], None),
    (["v10", "v2", "v10"], [1, 0, 1], ("v2", "v10")),
    ([True, False, True], [1, 0, 1], None),
    ([3, 1, 2], [3, 1, 2], None),
    ([3.0, 1.0, 2.0], [3, 1, 2], None),
    (["yes", "no", "no"], [1, 0, 0], ("no", "yes")),
    (["01", "02", "01"], [0, 1, 0], ("01", "02")),
]


@SUFFIXES
@pytest.mark.parametrize(("values", "labels", "classes"), LABELS)
@pytest.mark.parametrize("name", ["label", "Target", "species"])
def test_labels_are_classes(tmp_path, suffix, values, labels, classes, name):
    path = table(tmp_path / f"t{suffix}", features() | {name: values})
    rows = load_rows(path, label=name if name == "species" else None)
    assert rows.columns == ("a", "b")
    assert (rows.labels.tolist(), rows.classes) == (labels, classes)


@SUFFIXES
def test_labels_that_are_fractions(tmp_path, suffix):
    path = table(tmp_path / f"t{suffix}", {"target": [1.5, 2, 3]} | features())
    with pytest.warns(DataWarning, match="column target .* as a feature"):
        rows = load_rows(path)
    assert rows.columns == ("target", "a", "b")
    assert rows.batch(slice(None))[:, 0].tolist() == [1.5, 2, 3]
    with pytest.raises(DataError, match="column 'target' holds fractions, so it is no `label`"):
        load_rows(path, label="target")


def test_a_column_that_turns_out_to_be_a_feature_late(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",a,target\n" + "".join(f"{i},1,{i}\n" for i in range(300)) + "0.5,2,0.25\n")
    with pytest.warns(DataWarning, match="as a feature"):
        rows = load_rows(path)
    assert rows.columns == ("", "a", "target")
    assert rows.labels is rows.ids is None
    assert rows.batch(slice(299, None)).tolist() == [[299, 1, 299], [0.5, 2, 0.25]]


ROW_NUMBERS = [
    ("", [0, 1, 2]),
    ("", [1, 2, 3]),
    ("", [28, 11, 10]),
    ("", ["u", "v", "w"]),
    ("Unnamed: 0", [5, 3, 9]),
    ("Unnamed: 0.1", [5, 3, 9]),
    ("rownames", [1, 2, 3]),
    ("row.names", ["Kent", "Essex", "York"]),
    ("__index_level_0__", [1, 2, 0]),
]


@SUFFIXES
@pytest.mark.parametrize(("name", "values"), ROW_NUMBERS)
def test_row_numbers_are_ids(tmp_path, streamed, suffix, name, values):
    path = table(tmp_path / f"t{suffix}", {name: values} | features())
    with pytest.warns(DataWarning, match="was taken for row ids, and is no feature") as caught:
        rows = load_rows(path)
    assert len(caught) == 1
    assert rows.columns == ("a", "b")
    assert rows.ids.tolist() == values
    assert rows.batch(slice(None)).tolist() == X


@SUFFIXES
@pytest.mark.parametrize("values", [[0.5, 0.5, 0.25], [0.1, 0.2, 0.3], [1, 1, 1]])
def test_what_is_called_like_row_numbers_and_holds_none_is_a_feature(tmp_path, suffix, values):
    path = table(tmp_path / f"t{suffix}", {"rownames": values} | features())
    with pytest.warns(DataWarning, match="'rownames' holds no row ids and was read as a feature"):
        rows = load_rows(path, divisor=1)
    assert rows.columns == ("rownames", "a", "b")
    assert rows.batch(slice(None))[:, 0].tolist() == pytest.approx(values)


@SUFFIXES
def test_row_numbers_of_joined_tables_repeat(tmp_path, suffix):
    columns = {name: [*values, *values] for name, values in ({"": [0, 1, 2]} | features()).items()}
    with pytest.warns(DataWarning) as caught:
        rows = load_rows(table(tmp_path / f"t{suffix}", columns))
    assert "3 of 6 row ids repeat others" in str(caught[-1].message)
    assert rows.ids.tolist() == [0, 1, 2, 0, 1, 2]
    assert rows.columns == ("a", "b")


@SUFFIXES
def test_row_numbers_written_twice(tmp_path, suffix):
    path = table(tmp_path / f"t{suffix}", {"": [0, 1, 2], "Unnamed: 0": [4, 5, 6]} | features())
    rows = read_quietly(path)
    assert (rows.columns, rows.ids.tolist()) == (("a", "b"), [0, 1, 2])


def test_a_feature_that_counts_the_rows_is_told_of(tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f"{i},{i * i % 7}\n" for i in range(5, 305))
    for names, said in (("", "name the columns"), ("id,a\n", "'id' numbers the rows, .* `row_id`")):
        path.write_text(names + rows)
        with pytest.warns(DataWarning, match=said):
            assert load_rows(path, divisor=1).n_features == 2
    assert load_rows(path, divisor=1, row_id="id").n_features == 1
    path.write_text("id,a\n" + "".join(f"{i}.5,1\n" for i in range(300)))
    assert load_rows(path, divisor=1).n_features == 2
    path.write_text("id,a\n" + "".join(f"{i % 256},1\n" for i in range(300)))
    assert load_rows(path, divisor=1).n_features == 2


def test_an_index_of_two_levels(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",,a\nx,1,0.5\nx,2,0.25\ny,1,0.75\n")
    rows = read_quietly(path)
    assert (rows.columns, rows.ids.tolist()) == (("a",), ["x 1", "x 2", "y 1"])


@SUFFIXES
def test_row_numbers_beside_ids_that_are_asked_for(tmp_path, suffix):
    path = table(tmp_path / f"t{suffix}", {"": [0, 1, 2], "who": ["x", "y", "y"]} | features())
    with pytest.warns(DataWarning) as caught:
        rows = load_rows(path, row_id="who")
    assert (rows.columns, rows.ids.tolist()) == (("a", "b"), ["x", "y", "y"])
    said = " ".join(str(each.message) for each in caught)
    assert "no name, was taken for row ids" in said
    assert "1 of 3 row ids repeat others" in said


@SUFFIXES
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["007", "008", "009"], ["007", "008", "009"]),
        ([9, -8, 7], [9, -8, 7]),
        ([1.0, 2.0, 3.0], [1, 2, 3]),
        (["2020-01-01", "2020-01-02", "2020-01-03"], ["2020-01-01", "2020-01-02", "2020-01-03"]),
    ],
)
def test_ids_are_texts_or_whole_numbers(tmp_path, suffix, values, expected):
    path = table(tmp_path / f"t{suffix}", features() | {"who": values})
    assert load_rows(path, row_id="who").ids.tolist() == expected


@SUFFIXES
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, 1, 2], "column 'who' holds no row ids"),
        (["a", "", "b"], "1 missing values in column 'who', the first in row 1"),
        (["a", "b" * 500, "c"], "row ids of up to 500 characters are too long for 3 rows"),
    ],
)
def test_ids_that_are_refused(tmp_path, monkeypatch, suffix, values, message):
    monkeypatch.setattr("discretevae.data.readers.roles.ID_BYTES", 999)
    path = table(tmp_path / f"t{suffix}", features() | {"who": values})
    with pytest.raises(DataError, match=message):
        load_rows(path, row_id="who")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('"a" "b"\n"1" 0.5 0.25\n"2" 0.75 1.5\n"3" 2.5 3.5\n', [1, 2, 3]),
        ('"a" "b"\n"r 1" 0.5 0.25\n"r 2" 0.75 1.5\n"r 3" 2.5 3.5\n', ["r 1", "r 2", "r 3"]),
        ("a,b\n9,0.5,0.25\n7,0.75,1.5\n8,2.5,3.5\n", [9, 7, 8]),
        ("a\tb\nx\t0.5\t0.25\ny\t0.75\t1.5\nz\t2.5\t3.5\n", ["x", "y", "z"]),
    ],
)
def test_a_line_of_names_with_one_cell_fewer(tmp_path, text, ids):
    path = tmp_path / "t.txt"
    path.write_text(text)
    rows = read_quietly(path)
    assert (rows.columns, rows.ids.tolist()) == (("a", "b"), ids)
    assert rows.batch(slice(None)).tolist() == X
    path.write_text("a,b\n0.5,0.25,1\n0.5,0.5,1\n")
    with pytest.raises(DataError, match="names has 2 cells, the rows 3"):
        load_rows(path)


def pandas_noted(path, columns, index):
    import json

    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    noted = index if isinstance(index, bytes) else json.dumps({"index_columns": index}).encode()
    whole = pa.table(columns)
    pq.write_table(whole.replace_schema_metadata({b"pandas": noted}), path)
    return path


@pytest.mark.parametrize(
    ("extra", "index", "ids"),
    [
        ({"__index_level_0__": [5, 3, 4]}, ["__index_level_0__"], [5, 3, 4]),
        ({"who": ["x", "y", "z"]}, ["who"], ["x", "y", "z"]),
        ({"year": [2020, 2020, 2020]}, ["year"], [2020] * 3),
        (
            {"p": ["x", "x", "y"], "q": [1, 2, 1]}, ["p", "q"], ["x 1", "x 2", "y 1"]
        ),
        ({}, [{"kind": "range", "name": None, "start": 0, "stop": 3, "step": 1}], None),
        ({}, [{"kind": "range", "name": None, "start": 9, "stop": 3, "step": -2}], None),
        ({}, [{"kind": "range", "name": None, "start": 5, "stop": 99, "step": 1}], None),
        ({}, [{"kind": "range", "start": 0, "stop": 2**99, "step": 1}], None),
        ({}, [{"kind": "range", "start": "x", "stop": None, "step": 0}], None),
        ({}, b"{]", None),
        ({}, b"\xff", None),
        ({}, b"7", None),
        ({}, ["gone", 3, None], None),
    ],
)  # fmt: skip
def test_the_index_that_pandas_noted(tmp_path, streamed, extra, index, ids):
    path = pandas_noted(tmp_path / "t.parquet", features() | extra, index)
    rows = read_quietly(path)
    assert rows.columns == ("a", "b")
    assert (None if rows.ids is None else rows.ids.tolist()) == ids
    assert rows.batch(slice(None)).tolist() == X


def test_frames_as_pandas_writes_them(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(features())
    shuffled = frame.set_axis([7, 2, 5])
    for path, write, written, ids in (
        (tmp_path / "a.csv", "to_csv", frame, [0, 1, 2]),
        (tmp_path / "b.csv", "to_csv", shuffled, [7, 2, 5]),
        (tmp_path / "c.parquet", "to_parquet", shuffled, [7, 2, 5]),
        (tmp_path / "d.parquet", "to_parquet", frame.set_axis(["x", "y", "z"]), ["x", "y", "z"]),
    ):
        getattr(written, write)(path)
        rows = read_quietly(path)
        assert (rows.columns, rows.ids.tolist()) == (("a", "b"), ids)


def schema_of(path):
    rows = load_rows(path)
    return Schema.of(Dataset("mine", rows, rows))


@SUFFIXES
def test_the_columns_of_a_run_are_put_in_order(tmp_path, streamed, suffix):
    schema = schema_of(table(tmp_path / f"a{suffix}", features("ab")))
    path = table(tmp_path / f"b{suffix}", features("ba") | {"label": [1, 2, 3]})
    with pytest.warns(DataWarning, match="put in order by name") as caught:
        rows = load_rows(path, schema=schema)
    assert len(caught) == 1
    assert rows.columns == ("a", "b")
    assert rows.batch(slice(None)).tolist() == X
    assert rows.labels.tolist() == [1, 2, 3]
    for wrong, message in (
        ({"a": [1, 2, 3]}, "without 'b'"),
        (features() | {"c": [1, 2, 3]}, "with foreign 'c'"),
        ({"x": [1, 2, 3], "y": [1, 2, 3]}, "without 'a', 'b'; with foreign 'x', 'y'"),
        ({"A": [1, 2, 3], "b": [1, 2, 3]}, "without 'a'; with foreign 'A'"),
    ):
        with pytest.raises(DataError, match=message):
            load_rows(table(path, wrong), schema=schema)


def test_without_names_columns_of_a_run_go_by_position(tmp_path):
    schema = schema_of(table(tmp_path / "a.csv", features("ab")))
    path = tmp_path / "b.csv"
    path.write_text("0.5,0.25\n1,2\n")
    assert load_rows(path, schema=schema).batch(slice(None)).tolist() == [[0.5, 0.25], [1, 2]]
    path.write_text("0.5,0.25,3\n1,2,4\n")
    with pytest.raises(DataError, match="rows have 3 features, but the model takes 2"):
        load_rows(path, schema=schema)


def test_numbers_that_are_names_of_a_run(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("7,3\n1,2\n3,4\n")
    rows = load_rows(path, header=True, divisor=1)
    schema = Schema.of(Dataset("mine", rows, rows))
    path.write_text("3,7\n2,1\n4,3\n")
    with pytest.warns(DataWarning, match="put in order by name"):
        assert load_rows(path, schema=schema).batch(slice(None)).tolist() == [[1, 2], [3, 4]]


def test_row_numbers_that_a_run_did_not_have(tmp_path):
    schema = schema_of(table(tmp_path / "a.csv", features("ab")))
    # the first rows of such tables may all have one number
    path = table(tmp_path / "b.csv", {"": [4, 4, 4]} | features())
    rows = read_quietly(path, schema=schema)
    assert (rows.columns, rows.ids.tolist()) == (("a", "b"), [4, 4, 4])
    path = table(tmp_path / "b.csv", {"": [0.5, 0.5, 4]} | features())
    with pytest.raises(DataError, match="with foreign ''"):
        load_rows(path, schema=schema)


def test_shards_with_roles(tmp_path, streamed):
    table(tmp_path / "0.parquet", {"": [3, 1, 2]} | features("ab") | {"kind": ["p", "q", "p"]})
    table(tmp_path / "1.parquet", {"": [6, 4, 5]} | features("ba") | {"kind": ["q", "q", "r"]})
    with pytest.warns(DataWarning) as caught:
        rows = load_rows(tmp_path, label="kind")
    said = [str(each.message) for each in caught]
    assert len(said) == len(set(said)) == 2
    assert any("stand in several orders" in each for each in said)
    assert (rows.columns, rows.ids.tolist()) == (("a", "b"), [3, 1, 2, 6, 4, 5])
    assert rows.classes == ("p", "q", "r")
    assert rows.batch(slice(None)).tolist() == [*X, *X]
    first = tmp_path.parent / f"{tmp_path.name}.parquet"
    schema = schema_of(table(first, features("ba")))
    rows = read_quietly(tmp_path, schema=schema, ignore=("kind",))
    assert rows.batch(slice(None)).tolist() == [row[::-1] for row in [*X, *X]]


def test_values_of_other_types(tmp_path, streamed):
    from decimal import Decimal

    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        "category": pa.array([2, 7, 2]).dictionary_encode(),
        "price": pa.array([Decimal("1.50"), Decimal("2.25"), Decimal("-3.00")]),
        "pair": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int16(), 2)),
        "list": pa.array([[0.5], [1.5], [2.5]]),
        "large": pa.array([[1, 2], [3, 4], [5, 6]], pa.large_list(pa.uint8())),
        "flag": pa.array([True, False, True]),
    }
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=2)
    rows = load_rows(path)
    assert rows.columns == (
        "category", "price", "pair[0]", "pair[1]", "list[0]", "large[0]", "large[1]", "flag"
    )  # fmt: skip
    expected = [
        [2, 1.5, 1, 2, 0.5, 1, 2, 1], [7, 2.25, 3, 4, 1.5, 3, 4, 0], [2, -3, 5, 6, 2.5, 5, 6, 1]
    ]  # fmt: skip
    assert rows.batch(slice(None)).tolist() == expected
    assert load_rows(path, ignore=("pair", "list", "large")).columns == (
        "category",
        "price",
        "flag",
    )
    schema = Schema.of(Dataset("mine", rows, rows))
    turned = dict(reversed(columns.items()))
    pq.write_table(pa.table(turned), path, row_group_size=1)
    assert read_quietly(path, schema=schema).batch(slice(None)).tolist() == expected


def test_lists_of_another_length_in_a_later_group(tmp_path, streamed):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"v": [[1, 2], [3, 4], [5, 6, 7]]}), path, row_group_size=2)
    with pytest.raises(DataError, match=r"a list of 3 values in column 'v', row 2 .* have 2"):
        load_rows(path)


def test_what_is_no_number_may_have_another_role(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    times = pa.array([0, 60, 120], pa.timestamp("s"))
    kinds = pa.array(["x", "y", "x"]).dictionary_encode()
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(features() | {"time": times, "kind": kinds, "s": [{"q": 1}] * 3}), path)
    rows = load_rows(path, row_id="time", label="kind", ignore=("s",))
    assert rows.columns == ("a", "b")
    assert rows.ids.tolist()[1] == "1970-01-01 00:01:00.000"
    assert (rows.labels.tolist(), rows.classes) == ([0, 1, 0], ("x", "y"))


def test_labels_and_ids_follow_the_split(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,x,label\n" + "".join(f"r{i},{i / 8},k{i % 3}\n" for i in range(40)))
    data = load_data(path, row_id="id")
    for part in (data.train, data.test):
        numbers = part.source_numbers.tolist()
        assert part.ids.tolist() == [f"r{i}" for i in numbers]
        assert [part.classes[k] for k in part.labels.tolist()] == [f"k{i % 3}" for i in numbers]
        assert np.array_equal(part.batch(slice(None))[:, 0].numpy() * 8, numbers)


def test_quotes_hold_marks_and_line_ends(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('id,a,note\nu,0.5,"x, ""y""\nz"\nv,0.25,5" pipe\nw,0.75,\n')
    rows = load_rows(path, row_id="id", ignore=("note",))
    assert rows.ids.tolist() == ["u", "v", "w"]
    assert rows.batch(slice(None)).tolist() == [[0.5], [0.25], [0.75]]
    path.write_text('id,a,note\nu,0.5,"x"\nv,0.25,b,c\n')
    with pytest.raises(DataError, match=re.escape("line 3 has 4 cells, the lines before it 3")):
        load_rows(path, row_id="id", ignore=("note",))


def test_texts_in_tables_with_decimal_commas(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id;a;label\nu.1,x;0,5;p,q\nu.2,y;0,25;r.s\n")
    with pytest.warns(DataWarning, match="decimal commas"):
        rows = load_rows(path, row_id="id")
    assert rows.ids.tolist() == ["u.1,x", "u.2,y"]
    assert rows.classes == ("p,q", "r.s")
    assert rows.batch(slice(None)).tolist() == [[0.5], [0.25]]


@pytest.mark.parametrize(
    ("names", "request_", "expected"),
    [
        (["a", "b"], Request(), ((0, 1), None, ())),
        (["class", "a"], Request(), ((1,), 0, ())),
        (["class", "a"], Request(columns=("class", "a")), ((0, 1), None, ())),
        (["a", "rownames"], Request(), ((0, 1), None, ())),
        (["a", "__index_level_0__"], Request(), ((0,), None, (1,))),
        (["", "a"], Request(columns=("", "a")), ((0, 1), None, ())),
        (["", "a", "class"], Request(ignore=("class",)), ((1,), None, (0,))),
    ],
)
def test_roles_by_names(names, request_, expected):
    parts = take_apart(names, request_, "mine", lambda i: np.array([i, 7]))
    label = None if parts.labels is None else parts.labels[0]
    ids = () if parts.ids is None else (parts.ids[0],)
    assert (parts.features, label, ids) == expected


@pytest.mark.parametrize("name", ["id", "ID", "index"])
def test_ids_in_any_order_that_are_features_are_told_of(tmp_path, name):
    path = tmp_path / "a.csv"
    lines = [f"{i},{i % 3 / 10}" for i in range(40, 0, -1)]
    path.write_text("\n".join([f"{name},x", *lines]))
    with pytest.warns(DataWarning, match=f"column '{name}' numbers the rows, and is a feature"):
        assert load_rows(path).n_features == 2
    assert load_rows(path, row_id=name).n_features == 1
