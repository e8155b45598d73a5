"""Labels that nobody knows: empty, NaN, None or −1, wherever they come from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from discretevae.data import Dataset, Rows, Schema, load_rows

X = [[0.5, 5.5], [1.5, 6.5], [2.5, 7.5]]


@pytest.mark.parametrize(
    ("labels", "numbers", "classes"),
    [
        ([2, -1, 0], [2, -1, 0], None),
        (np.array([2, np.nan, 0]), [2, -1, 0], None),
        ([2, None, 0], [2, -1, 0], None),
        (["2", "", "0"], [2, -1, 0], None),
        (["dog", "", "cat"], [1, -1, 0], ("cat", "dog")),
        (np.array(["dog", None, "cat"], object), [1, -1, 0], ("cat", "dog")),
        (["", "", ""], [-1, -1, -1], None),
    ],
)
def test_arrays(labels, numbers, classes):
    rows = Rows.from_array(X, labels=labels)
    assert (rows.labels.tolist(), rows.classes) == (numbers, classes)


@pytest.mark.parametrize("column", [[2, None, 0], ["dog", None, "cat"]])
def test_tables(tmp_path, column):
    frame = pd.DataFrame({"a": [0.5, 1.5, 2.5], "b": [5.5, 6.5, 7.5], "label": column})
    frame.to_csv(tmp_path / "t.csv", index=False)
    columns = {"a": [0.5, 1.5, 2.5], "b": [5.5, 6.5, 7.5], "label": column}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    numbers, classes = ([2, -1, 0], None) if column[0] == 2 else ([1, -1, 0], ("cat", "dog"))
    for source in (tmp_path / "t.csv", tmp_path / "t.parquet", frame):
        rows = load_rows(source)
        assert (rows.labels.tolist(), rows.classes) == (numbers, classes)
        assert rows.n_features == 2


@pytest.mark.parametrize("text", ["NA", "nan", "null", " "])
def test_what_stands_for_nothing_in_a_text(tmp_path, text):
    (tmp_path / "t.csv").write_text(f"a,b,label\n.5,5.5,x\n1.5,6,{text}\n2.5,7,y\n")
    assert load_rows(tmp_path / "t.csv").labels.tolist() == [0, -1, 1]


def test_a_line_on_the_rows_counts_classes_that_are_known():
    assert "labels of 2 classes" in Rows.from_array(X, labels=[2, -1, 0]).kind_of_values
    assert "labels of 2 classes" in Rows.from_array(X, labels=[1, -1, 1]).kind_of_values


def test_a_run_holds_new_rows_against_its_classes():
    rows = Rows.from_array(X, labels=["dog", "", "cat"])
    schema = Schema.of(Dataset("mine", rows, rows))
    assert schema.classes == ("cat", "dog")
    assert schema.hold(Rows.from_array(X, labels=["", "dog", "dog"])).labels.tolist() == [-1, 1, 1]
