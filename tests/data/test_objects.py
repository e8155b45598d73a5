"""Objects in memory become the rows that a file of the same content is."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

import discretevae as dv
from discretevae.data import Schema

NAMES = ("a", "b", "c")
X = np.random.default_rng(0).random((20, 3))
Y = np.arange(20) % 3
TORCH = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


def matches(rows, x=X):
    return np.array_equal(rows.batch(slice(None)).numpy(), np.asarray(x, np.float32))


class Column:
    def __init__(self, values, dtype):
        self.values, self.dtype = values, dtype

    def to_numpy(self):
        return np.asarray(self.values)


class Frame:
    """A frame that is asked for its columns as Polars is."""

    def __init__(self, **columns):
        self.table, self.columns = columns, list(columns)

    def get_column(self, name):
        values = self.table[name]
        return (
            values if isinstance(values, Column) else Column(values, str(np.asarray(values).dtype))
        )


def frame(**more):
    return Frame(**dict(zip(NAMES, X.T, strict=True)), **more)


@pytest.mark.parametrize(
    "source",
    [X, X.tolist(), list(torch.from_numpy(X)), torch.from_numpy(X).requires_grad_(), TORCH,
     Subset(TORCH, range(20)), scipy.sparse.csr_array(X)],
    ids=lambda source: type(source).__name__,
)  # fmt: skip
def test_every_kind_of_table_is_the_same_rows(source):
    state = torch.get_rng_state()
    rows = dv.load_rows(source)
    assert matches(rows)
    assert rows.name == type(source).__name__
    assert torch.equal(torch.get_rng_state(), state)
    has_labels = isinstance(source, Dataset)
    assert rows.labels.tolist() == Y.tolist() if has_labels else rows.labels is None
    data = dv.load_data(source, test_fraction=0.25)
    assert (len(data.train), len(data.test)) == (15, 5)


def test_a_frame_is_what_its_csv_is(tmp_path):
    kind = np.array(["cat", "ant"] * 10, object)
    made = dv.load_data(frame(label=kind), scale="standard")
    lines = [",".join([*NAMES, "label"])]
    lines += [",".join([*map(repr, map(float, x)), k]) for x, k in zip(X, kind, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    read = dv.load_data(tmp_path / "a.csv", scale="standard")
    for one, other in ((made.train, read.train), (made.test, read.test)):
        assert torch.allclose(one.values, other.values)
        assert (
            (one.columns, one.classes) == (other.columns, other.classes) == (NAMES, ("ant", "cat"))
        )
        assert torch.equal(one.labels, other.labels)


def test_roles_are_asked_for_by_name():
    source = frame(kind=np.array(list("uv") * 10, object), who=np.arange(20) + 5, junk=["x"] * 20)
    rows = dv.load_rows(source, label="kind", row_id="who", ignore=("junk",))
    assert (rows.columns, rows.classes, rows.row_ids.tolist()) == (
        NAMES, ("u", "v"), list(range(5, 25)),
    )  # fmt: skip
    with pytest.raises(dv.DataError, match=r"no numbers in column 'kind', 'junk' \(type object\)"):
        dv.load_rows(source, scale="standard")
    with pytest.raises(dv.ConfigError, match=r"no columns by name\. Leave `label`, .* out"):
        dv.load_rows(X, label="kind")


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        ([1.0, np.nan], "Float64", "1 missing value in column 'd', the first in row 1"),
        ([None, True], "Boolean", "1 missing value in column 'd', the first in row 0"),
        (["1", "2"], "String", r"no numbers in column 'd' \(type String\)"),
        ([1, 2], "category", r"no numbers in column 'd' \(type category\)"),
        ([[1, 2], [3, 4]], "List", r"'d' \(type List\)"),
        ([1j, 2j], "Complex", r"'d' \(type Complex\)"),
        ([np.inf, 1], "Float64", "infinite"),
    ],
)
def test_what_is_no_number_is_refused_by_name(values, dtype, message):
    with pytest.raises(dv.DataError, match=message):
        dv.load_rows(Frame(c=X[:2, 0], d=Column(values, dtype)), scale="standard")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array(["2020-01-01", "NaT"], "M8[D]"), "column 'd' holds dates, such as '2020-01-01"),
        ([[1, 2], [3, 4]], "column 'd' .* holds neither numbers nor texts"),
        ([1j, 2j], "column 'd' .* holds neither numbers nor texts"),
    ],
)
def test_what_is_neither_number_nor_text_is_refused_by_name(values, message):
    with pytest.raises(dv.DataError, match=message):
        dv.load_rows(Frame(c=X[:2, 0], d=Column(values, "some")))


@pytest.mark.parametrize(
    ("values", "x"),
    [
        (np.array([True, False]), [1, 0]),
        (np.array([True, False], object), [1, 0]),
        (np.array([1, 0], object), [1, 0]),
        (np.array([Decimal("0.5"), Decimal(1)], object), [0.5, 1]),
        (np.array([1, 0], np.uint64), [1, 0]),
    ],
)
def test_numbers_of_every_spelling(values, x):
    assert matches(dv.load_rows(Frame(c=values)), np.array(x)[:, None])


def test_a_run_holds_columns_by_name():
    schema = Schema.of(dv.load_data(frame(), scale="minmax"))
    expected = dv.load_rows(frame(), schema=schema)
    turned = Frame(c=X[:, 2], b=X[:, 1], a=X[:, 0])
    with pytest.warns(dv.DataWarning, match="put in order by name"):
        assert matches(dv.load_rows(turned, schema=schema), expected.batch(slice(None)))
    assert matches(dv.load_rows(X, schema=schema), expected.batch(slice(None)))
    with pytest.raises(dv.DataError, match="without 'c'; with foreign 'd'"):
        dv.load_rows(Frame(a=X[:, 0], b=X[:, 1], d=X[:, 2]), schema=schema)
    with pytest.raises(dv.DataError, match="rows have 2 features, but the model takes 3"):
        dv.load_rows(X[:, :2], schema=schema)
    with pytest.raises(dv.ConfigError, match="Rows, which are read already"):
        dv.load_rows(dv.Rows.from_array(X), schema=schema)


def test_pandas():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=NAMES)
    rows = dv.load_rows(table)
    assert matches(rows)
    assert (rows.columns, rows.ids) == (NAMES, None)
    chosen = table[table.a > 0.5]
    assert (
        dv.load_rows(chosen).row_ids.tolist() == chosen.index.tolist() != list(range(len(chosen)))
    )
    named = table.set_axis([f"row {i}" for i in range(20)]).rename_axis("who")
    assert dv.load_rows(named).row_ids[3] == dv.load_rows(named, row_id="who").row_ids[3] == "row 3"
    wide = table.assign(
        n=pandas.array([1, 0] * 10, dtype="Int64"), s=pandas.arrays.SparseArray([0, 1] * 10),
        label=pandas.Categorical(["u", "v"] * 10),
    )  # fmt: skip
    assert (dv.load_rows(wide).n_features, dv.load_rows(wide).classes) == (5, ("u", "v"))
    for kind, values in (("Int64", [1, None] * 10), ("boolean", [True, None] * 10)):
        with pytest.raises(
            dv.DataError, match="10 missing values in column 'n', the first in row 1"
        ):
            dv.load_rows(table.assign(n=pandas.array(values, dtype=kind)), scale="none")
    with pytest.raises(dv.DataError, match="'a' stands there twice"):
        dv.load_rows(table.set_axis(["a", "a", "b"], axis=1))
    with pytest.raises(dv.DataError, match=r"Series: rows must come as \[rows, features\]"):
        dv.load_rows(table["a"])


def test_polars():
    polars = pytest.importorskip("polars")
    table = polars.DataFrame(X, schema=list(NAMES))
    assert dv.load_rows(table).columns == NAMES
    assert matches(dv.load_rows(table))


@pytest.mark.parametrize("protocol", ["arrow", "interchange", "table"])
def test_frames_of_other_packages_are_read_by_pyarrow(protocol):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(dict(zip(NAMES, X.T, strict=True)))

    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            return table.__arrow_c_stream__(requested_schema)

    class Interchange:
        def __dataframe__(self, nan_as_null=False, allow_copy=True):
            return table.__dataframe__(nan_as_null, allow_copy)

    source = {"arrow": Stream(), "interchange": Interchange(), "table": table}[protocol]
    rows = dv.load_rows(source)
    assert matches(rows)
    assert rows.columns == NAMES
    with pytest.raises(dv.DataError, match="no table that can be read"):
        dv.load_rows(type("Broken", (), {"__dataframe__": 3})())


class Pictures(Dataset):
    def __init__(self, channels=1, n=6):
        self.channels, self.n = channels, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return torch.full((self.channels, 4, 5), i / 8), ["cat", "ant"][i % 2]


def test_pictures_with_names_of_classes():
    rows = dv.load_rows(Pictures())
    assert (rows.image_shape, rows.classes) == ((4, 5), ("ant", "cat"))
    assert rows.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert rows.batch(slice(None))[:, 0].tolist() == [i / 8 for i in range(6)]
    assert dv.load_rows(Pictures(3)).image_shape == (4, 5, 3)
    with pytest.raises(dv.DataError, match="1 to 4 channels before or behind height and width"):
        dv.load_rows(Pictures(6))
    with pytest.raises(dv.DataError, match="no rows"):
        dv.load_rows(Pictures(n=0))


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.zeros(3)


class Few(IterableDataset):
    def __iter__(self):
        return iter(torch.from_numpy(X))


class Items(Dataset):
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def test_what_has_no_end_is_refused(monkeypatch):
    assert matches(dv.load_rows(Few()))
    monkeypatch.setattr("discretevae.data.readers.torch_data.UNSIZED_BYTES", 1 << 14)
    with pytest.raises(dv.DataError, match="perhaps without end"):
        dv.load_rows(Endless())
    monkeypatch.setattr("discretevae.data.stores.values.MAX_BYTES", 100)
    with pytest.raises(dv.DataError, match="more than 100 bytes"):
        dv.load_rows(TORCH)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (DataLoader(TORCH), "or a torch Dataset. Got DataLoader"),
        (Items({"x": 1}), r"items must be x or \(x, y\). Got a dict of 1"),
        (Items((1, 2, 3)), "Got a tuple of 3"),
        (Items(torch.zeros(2), torch.zeros(3)), r"item 1 has a row of shape \(3,\)"),
        (Items(1.0, 2.0), r"rows must come as \[rows, features\]"),
        (Items(torch.tensor([np.nan])), "NaN"),
        (Items((torch.zeros(2), 0.5)), "labels must be whole numbers or names"),
    ],
)
def test_items_that_are_no_rows(source, message):
    with pytest.raises(dv.DataError, match=message):
        dv.load_rows(source)


def test_a_data_set_of_two_arrays():
    grey = np.random.default_rng(0).integers(0, 256, (6, 4))
    data = dv.Dataset("mine", grey, (grey > 99).astype(int))  # read as the first: divided by 255
    assert (data.train.divisor, data.test.divisor) == (255, 255)
    two = dv.Dataset("mine", frame(label=["u"] * 20), frame(label=["t", "u"] * 10))
    assert two.train.classes == two.test.classes == ("u", "t")
    assert two.test.labels.tolist() == [1, 0] * 10
    with pytest.raises(dv.DataError, match="mine, test: other columns than the run"):
        dv.Dataset("mine", frame(), Frame(a=X[:, 0]))
    with pytest.raises(dv.DataError, match=r"name must be a str. Got ndarray"):
        dv.Dataset(X, X, "mine")


def test_models_take_arrays_whose_values_can_only_be_x():
    model = dv.DiscreteVAE.for_data(X, latent="bernoulli:3", hidden=(4,))
    rows, x = dv.Rows.from_array(X), torch.from_numpy(X).float()
    expected = dv.encode_rows(model, rows)
    for source in (X, X.tolist(), x, x.double(), rows, TORCH):
        assert np.array_equal(dv.encode_rows(model, source), expected)
        assert torch.equal(model.encode(source), model.encode(x)) or source is TORCH
    assert dv.evaluate(model, X).elbo == dv.evaluate(model, rows).elbo
    assert torch.equal(dv.score_samples(model, X), dv.score_samples(model, rows))
    with pytest.raises(dv.DataError, match=r"1 value of 3 outside \[0, 1\]"):
        model.encode([[0.5, 1.5, 0.0]])
    with pytest.raises(dv.DataError, match="whole numbers from 0 to 200 in place of Rows"):
        model.encode(np.array([[0, 7, 200]]))
    with pytest.raises(dv.DataError, match="Got Frame, and a model does not know columns by name"):
        dv.evaluate(model, frame())
    assert torch.equal(model.decode([[0, 1, 1]]), model.decode(torch.tensor([[0, 1, 1]])))


def test_what_is_printed_is_short(tmp_path):
    data = dv.load_data("digits").binarized("threshold")
    model = dv.DiscreteVAE.for_data(data, latent="bernoulli:8", hidden=(32,))
    assert repr(data) == (
        "Dataset('digits', 1,500 + 297 × 64, uint8 / 16, binarize threshold, labels of 10 classes, "
        "pictures of 8×8)"
    )
    assert repr(model) == (
        "DiscreteVAE\n  features    64 (8×8)\n  code        bernoulli:8\n"
        "  network     mlp 32 relu\n  likelihood  bernoulli\n"
        "  prior       fixed\n  parameters  4,744"
    )
    assert (
        repr(Schema.of(data)) == "Schema(64 features, divisor 16, values 0 to 16, pictures of 8×8)"
    )
    run = dv.Run(Path("runs/a"), dv.RunConfig(model=model.config), model)
    assert repr(run) == (
        "Run('runs/a', 64 features of digits, code bernoulli:8, likelihood bernoulli, prior fixed)"
    )
    scaled = dv.load_rows(frame(label=["u", "v"] * 10), scale="standard")
    assert repr(scaled) == "Rows('Frame', 20 × 3, float32, standard scale, labels of 2 classes)"
    assert repr(dv.load_rows(scipy.sparse.csr_array(X))) == "Rows('csr_array', 20 × 3, sparse)"
