"""What a run knows of its data, and what is refused by it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from discretevae.data import Dataset, Rows, Schema, load_data, load_rows
from discretevae.data.datasets import DrawnSplit
from discretevae.data.digest import Digest
from discretevae.data.scale import ColumnScale
from discretevae.errors import DataError, DataWarning
from discretevae.model.inputs import suited_likelihood

TABLE = np.random.default_rng(0).normal([5, -100, 1e4], [1, 20, 0.5], (60, 3))
NAMES = ["a", "b", "c"]


def of(array, **options):
    rows = Rows.from_array(array, name="mine", **options)
    return Schema.of(Dataset("mine", rows, rows))


def new(schema, array, **options):
    options = {"divisor": schema.divisor} if schema.scale is None else {"scale": schema.scale}
    return schema.hold(Rows.from_array(array, name="new", **options))


def test_a_schema_comes_back_from_json():
    rows = Rows.from_array(
        TABLE, scale="standard", columns=NAMES, labels=["x"] * 30 + ["é\n"] * 30, name="mine"
    )
    split = DrawnSplit(60, 0.1, 3)
    first, second = (rows.subset(index) for index in split.draw())
    schema = Schema.of(Dataset("mine", first, second, split))
    again = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert again.to_dict() == schema.to_dict()
    assert again.classes == ("x", "é\n")
    assert again.digests["all"] == Digest.of([rows])


BAD = [
    ("format", "other", "not written by"),
    ("format_version", 2, "format version 2"),
    ("n_features", 0, "n_features is 0"),
    ("n_features", 3.0, "n_features is 3.0"),
    ("divisor", 0, "divisor"),
    ("divisor", math.nan, "divisor"),
    ("low", "0", "low"),
    ("columns", ["a", "a", "c"], "stand there twice"),
    ("columns", ["a", "b"], "2 columns"),
    ("columns", "abc", "no names"),
    ("classes", [1, 2], "no names"),
    ("image_shape", [3], "image_shape"),
    ("image_shape", [0, 3], "image_shape"),
    ("scale", {"kind": "standard"}, "scale holds"),
    ("split", {"rows": 1, "test_fraction": 0.1, "seed": 0}, "rows"),
    ("split", {"rows": 9}, "missing"),
    ("digests", {"all": {"rows": 9, "group": 0, "stride": 1, "sums": []}}, "digest"),
    ("digests", {"all": {"rows": 9, "group": 9, "stride": 1, "sums": []}}, "digest"),
    ("digests", [], "items"),
    ("more", 1, "more"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_no_schema_is_refused(key, value, message):
    values = of(TABLE, columns=NAMES).to_dict() | {key: value}
    with pytest.raises(ValueError, match=message):
        Schema.from_dict(values)
    del values[key]
    with pytest.raises(ValueError, match=r"\w"):
        Schema.from_dict(values | {"other": 1})


@pytest.mark.parametrize("change", ["width", "low", "kind", "extra"])
def test_no_scale_is_refused(change):
    values = ColumnScale.fit("standard", [(0, TABLE)], "mine").to_dict()
    bad, message = {
        "width": ([1.0, 0.0, 1.0], "not above 0"), "low": ([1.0, 2.0], "needs 3 finite"),
        "kind": ("log", "of kind 'log'"), "extra": (1, "scale holds"),
    }[change]  # fmt: skip
    with pytest.raises(ValueError, match=message):
        ColumnScale.from_dict(values | {change: bad}, 3)


@pytest.mark.parametrize("size", [1, 7, 60])
@pytest.mark.parametrize("kind", ["standard", "minmax"])
def test_scales_are_those_of_scikit_learn_whatever_the_pieces(kind, size):
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    table = np.column_stack([TABLE, np.full(60, 0.1)])
    pieces = [(at, table[at : at + size]) for at in range(0, 60, size)]
    scale = ColumnScale.fit(kind, pieces, "mine")
    peer = (StandardScaler if kind == "standard" else MinMaxScaler)().fit(table)
    assert np.allclose(scale.apply(table), peer.transform(table), atol=1e-5)
    x = torch.from_numpy(scale.apply(table))
    assert np.allclose(scale.restore(x), table, rtol=1e-6)
    assert scale.log_jacobian == pytest.approx(-np.log(peer.scale_ if kind == "standard" else
                                                       1 / peer.scale_).sum())  # fmt: skip


SCALES = {
    "0 and 1 for 16 levels": (np.arange(64).reshape(8, 8) % 17, np.eye(8)),
    "fractions for bytes": (np.arange(256).reshape(8, 32), np.full((8, 32), 0.5)),
    "bytes for 0 and 1": (np.eye(8), np.full((8, 8), 255)),
    "counts for fractions": (np.full((20, 3), 0.5), np.full((20, 3), 40.0)),
    "fractions for counts": (np.full((20, 3), 400.5), np.full((20, 3), 0.5)),
}


@pytest.mark.parametrize("what", SCALES)
def test_values_that_cannot_be_of_the_scale(what):
    first, second = SCALES[what]
    schema = of(first, divisor=16 if "16" in what else None)
    with pytest.raises(DataError, match=r"new: values from .* but the training values run from"):
        new(schema, second)
    loose = schema.with_divisor(255.0)
    assert loose.hold(Rows.from_array(second, divisor=255.0)).divisor == 255


def test_values_that_may_be_of_the_scale():
    grey = of(np.arange(64).reshape(8, 8) % 17, divisor=16)
    for array in (np.zeros((1, 8)), np.full((2, 8), 3), np.full((2, 8), 2.5)):
        assert len(new(grey, array)) == len(array)
    bits = of(np.eye(8))
    assert len(new(bits, np.full((2, 8), 0.3))) == 2  # what `decode` writes for bits


def test_tables_in_other_units_are_refused():
    schema = of(TABLE, scale="standard", columns=NAMES)
    for other in (schema.scale.apply(TABLE), TABLE * 1000, TABLE / 1000):
        with pytest.raises(DataError, match=r"of 3 columns are on another scale"):
            new(schema, other)
    # outliers may come; one column, or few rows, prove nothing and are said
    moved = TABLE.copy()
    moved[0] *= 100
    assert len(new(schema, moved[:40])) == 40
    moved[:, 0] += 1000
    for some in (moved, TABLE[:3] * 1000):
        with pytest.warns(DataWarning, match="columns may be in other units"):
            assert len(new(schema, some)) == len(some)


def test_other_widths_are_refused_with_both():
    with pytest.raises(DataError, match="rows have 2 features, but the model takes 3"):
        new(of(TABLE), TABLE[:, :2])


def test_classes_go_by_name():
    schema = of(TABLE, labels=["b10", "b2", "a"] * 20)
    assert schema.classes == ("a", "b2", "b10")
    rows = Rows.from_array(TABLE[:2], labels=["b10", "b2"])
    held = schema.hold(rows)
    assert held.labels.tolist() == [2, 1]
    with pytest.warns(DataWarning, match="'zebra'"):
        held = schema.hold(Rows.from_array(TABLE[:3], labels=["zebra", "a", "b10"]))
    assert (held.labels.tolist(), held.classes) == ([3, 0, 2], ("a", "b2", "b10", "zebra"))
    assert schema.hold(Rows.from_array(TABLE[:2])).labels is None


@pytest.mark.parametrize(
    ("array", "options", "scaled", "likelihood"),
    [
        (np.eye(8), {}, False, "bernoulli"),
        (np.arange(256).reshape(32, 8), {}, False, "bernoulli"),
        (np.arange(256).reshape(32, 8).astype(np.uint8), {}, False, "bernoulli"),
        (np.arange(256).reshape(32, 8) / 255, {}, False, "bernoulli"),
        (np.random.default_rng(0).random((9, 4, 4)), {}, False, "bernoulli"),
        (np.random.default_rng(0).random((9, 8)), {}, True, "student"),
        (np.arange(72).reshape(9, 8) % 6, {}, True, "student"),
        ((np.arange(72).reshape(9, 8) % 6).astype(np.uint8), {"is_table": True}, True,
         "student"),
        (TABLE, {}, True, "student"),
    ],
)  # fmt: skip
def test_only_pictures_and_bits_are_grey_values(array, options, scaled, likelihood):
    rows = Rows.from_array(array, scale="auto", **options)
    assert (rows.scale is not None, str(suited_likelihood(rows))) == (scaled, likelihood)


@pytest.mark.parametrize("scale", ["standard", "minmax"])
def test_the_scale_is_learned_from_training_rows_alone(tmp_path, scale):
    path = tmp_path / "a.npy"
    np.save(path, TABLE)
    data = load_data(path, scale=scale, test_fraction=0.3)
    kept = TABLE[data.train.source_numbers]
    expected = ColumnScale.fit(scale, [(0, kept)], "kept")
    assert np.allclose(data.train.scale.center, expected.center)
    assert np.allclose(data.test.scale.width, expected.width)
    again = load_rows(path, schema=Schema.of(data))
    assert torch.equal(again.values[data.test.numbers], data.test.values)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 1000])
def test_a_digest_sees_every_change_and_where(n):
    values = np.random.default_rng(n).integers(0, 2, (n, 5), np.uint8)
    rows = Rows.from_array(values)
    digest = Digest.of([rows])
    assert digest.changed([rows]) == []
    assert Digest.of([Rows.from_array(values.astype(np.float64))]) == digest
    for row in {0, n // 2, n - 1}:
        other = values.copy()
        other[row, 2] ^= 1
        (found,) = digest.changed([Rows.from_array(other)])
        assert found[0] <= row <= found[1]
    if n > 1:
        swapped = values.copy()
        swapped[[0, n - 1]] = swapped[[n - 1, 0]]
        assert bool(digest.changed([Rows.from_array(swapped)])) == (values[0] != values[-1]).any()


def test_a_digest_of_rows_on_disk_reads_some_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("discretevae.data.digest.STREAMED_RUNS", 2)
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 2, (1000, 4), np.uint8))
    rows = load_rows(tmp_path / "a.npy")
    digest = Digest.of([rows])
    assert (rows.is_streamed, digest.stride) == (True, 7)
    assert digest.changed([rows]) == []


def test_one_column_in_other_units_is_said_by_name():
    rows = Rows.from_array(TABLE, scale="standard", columns=NAMES)
    schema = Schema.of(Dataset("mine", rows, rows))
    moved = TABLE.copy()
    moved[:, 1] *= 100
    with pytest.warns(DataWarning, match=r"1 of 3 columns may be in other units: column 'b' runs"):
        Rows.from_array(moved, scale=schema.scale, columns=NAMES)


def test_a_table_has_the_same_digest_in_every_format(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    np.savetxt(tmp_path / "a.csv", TABLE, delimiter=",", header="a,b,c", comments="", fmt="%.17g")
    np.save(tmp_path / "a.npy", TABLE)
    pq.write_table(pa.table({n: TABLE[:, i] for i, n in enumerate(NAMES)}), tmp_path / "a.parquet")
    data = load_data(tmp_path / "a.csv", scale="auto")
    schema = Schema.of(data)
    for name in ("a.csv", "a.npy", "a.parquet"):
        again = load_rows(tmp_path / name, schema=schema)
        assert schema.compare({"all": [again]}, name) == "same"
    # far from 0, too
    assert float(data.train.batch(slice(None)).std(0)[2]) == pytest.approx(1, abs=0.1)
