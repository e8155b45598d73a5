"""The table of rows: what is refused, how it is stored, and what a batch is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from discretevae.config import DataConfig
from discretevae.data import Dataset, Rows, binarize, load_rows
from discretevae.data.ranges import require_bytes, require_unit_interval
from discretevae.data.split import held_out
from discretevae.errors import ConfigError, DataError, DataWarning

GREY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 11

STORED = [
    # array, dtype, divisor
    (np.array([[True, False]]), torch.uint8, 1),
    (np.array([[0, 1]]), torch.uint8, 1),
    (np.array([[0, 0]], np.uint8), torch.uint8, 1),
    (np.array([[0, 1]], np.int8), torch.uint8, 1),
    (np.array([[0.0, 1.0]]), torch.uint8, 1),
    (np.array([[-0.0, 1.0]], np.float16), torch.uint8, 1),
    (np.array([[0, 2]], np.uint8), torch.uint8, 255),
    (np.array([[0, 255]], ">i4"), torch.uint8, 255),
    (np.array([[0.0, 255.0]], np.float32), torch.uint8, 255),
    (np.array([[0, 256]]), torch.float32, 1),
    (np.array([[-1, 1]]), torch.float32, 1),
    (np.array([[-1.0, 1.0]]), torch.float32, 1),
    (np.array([[0.5, 1.0]]), torch.float32, 1),
    (np.array([[0.5, 255.0]]), torch.float32, 1),
    (np.array([[0.5, 1.0]], ">f8"), torch.float32, 1),
    (np.array([[2**63]], np.uint64), torch.float32, 1),
    (torch.tensor([[0.5, 1.0]], dtype=torch.bfloat16, requires_grad=True), torch.float32, 1),
    ([[0, 1], [1, 1]], torch.uint8, 1),
]


@pytest.mark.parametrize(("array", "dtype", "divisor"), STORED)
def test_storage_follows_the_values(array, dtype, divisor):
    rows = Rows.from_array(array)
    assert rows.values.dtype == dtype
    assert rows.divisor == divisor
    plain = array if isinstance(array, list) else array.tolist()
    expected = torch.from_numpy(np.array(plain, np.float32) / np.float32(divisor))
    assert torch.equal(rows.batch(slice(None)), expected)


REFUSED = [
    (np.array([["a"]]), {}, "dtype <U1"),
    (np.array([[object()]]), {}, "dtype object"),
    (np.array([[1j]]), {}, "dtype complex128"),
    (np.array([[1]], dtype="datetime64[s]"), {}, "dtype datetime64"),
    (np.zeros(2, [("a", "f4")]), {}, "dtype [('a'"),
    ([[1, 2], [3]], {}, "not a rectangular array"),
    (np.ma.masked_equal([[1, 2]], 2), {}, "masked"),
    (np.float32(3), {}, "Got shape ()"),
    (torch.eye(3).to_sparse(), {}, "a torch tensor of layout torch.sparse_coo"),
    (np.zeros(5), {}, "Got shape (5,)"),
    (np.zeros((2, 5, 6, 7)), {}, "Got shape (2, 5, 6, 7)"),
    (np.zeros((2, 2, 2, 2, 2)), {}, "Got shape (2, 2, 2, 2, 2)"),
    (np.zeros((0, 3)), {}, "shape (0, 3)"),
    (np.zeros((3, 0)), {}, "shape (3, 0)"),
    (np.array([[0, 1], [np.nan, np.inf]]), {}, "2 values NaN, infinite"),
    (np.array([[0, 1], [0, -np.inf]]), {}, "1 value NaN, infinite or too large for float32, "),
    (np.array([[0, 1], [0, -np.inf]]), {}, "row 1, column 1"),
    (np.array([[0.5, 1e300]]), {}, "row 0, column 1"),
    (np.zeros((2, 6)), {"image_shape": (2, 2)}, "need 4 values a row. Got 6"),
    (np.zeros((2, 6)), {"image_shape": (-2, -3)}, "pictures of -2x-3"),
    (GREY, {"image_shape": (4, 3)}, "3x4, not 4x3"),
    (np.zeros((2, 6)), {"labels": [1]}, "2 rows need labels of shape (2,). Got (1,)"),
    (np.zeros((2, 6)), {"labels": [0.5, 1]}, "labels must be whole numbers"),
    (np.zeros((2, 6)), {"labels": [np.inf, 1]}, "labels must be whole numbers"),
    (np.zeros((2, 6)), {"divisor": 0}, "divisor must be > 0"),
]


@pytest.mark.parametrize(("array", "options", "message"), REFUSED)
def test_bad_arrays_are_refused_in_one_line(array, options, message):
    with pytest.raises(DataError) as caught:
        Rows.from_array(array, name="mine", **options)
    assert message in str(caught.value)
    assert str(caught.value).startswith("mine")
    assert "\n" not in str(caught.value)


def test_first_bad_value_is_found_across_chunks(monkeypatch):
    monkeypatch.setattr("discretevae.data.stores.values.CHUNK", 6)
    table = np.ones((11, 3)) / 2
    table[7, 2] = table[10, 0] = np.nan
    with pytest.raises(DataError, match=r"2 values NaN.*row 7, column 2"):
        Rows.from_array(table)
    table[7, 2] = table[10, 0] = 0.25
    assert np.array_equal(Rows.from_array(table).values.numpy(), table.astype(np.float32))


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 3, 4), (2, 3, 4, 1)])
def test_pictures_carry_their_shape(shape):
    rows = Rows.from_array(GREY.reshape(shape))
    assert rows.image_shape == (3, 4)
    assert np.array_equal(rows.values.numpy(), GREY.reshape(2, 12))


def test_a_table_has_no_picture_shape_unless_told():
    assert Rows.from_array(np.zeros((2, 784))).image_shape is None
    assert Rows.from_array(np.zeros((2, 784)), image_shape=(28, 28)).image_shape == (28, 28)


def test_divisor_given_replaces_the_one_found():
    rows = Rows.from_array([[0, 1]], divisor=255)
    assert rows.batch(slice(None))[0, 1] == torch.tensor(1 / 255)
    assert Rows.from_array([[0.0, 8, 16]], divisor=16).batch(slice(None))[0].tolist() == [0, 0.5, 1]


def test_small_whole_numbers_are_warned_of():
    with pytest.warns(DataWarning, match=r"from 0 to 16.*take the divisor 16"):
        Rows.from_array(np.array([[0, 16]]))
    Rows.from_array(np.array([[0, 16]], np.uint8))  # bytes say themselves what they are


def test_the_table_is_a_copy():
    array = np.zeros((2, 2), np.uint8)
    rows = Rows.from_array(array)
    array[:] = 9
    rows.batch(slice(None))[:] = 9
    assert rows.values.sum() == 0
    floats = Rows.from_array(np.full((2, 2), 0.5, np.float32))
    floats.batch(slice(None))[:] = 9
    floats.batch(torch.tensor([0]))[:] = 9
    assert (floats.values == 0.5).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_batch_equals_numpy_exactly(dtype):
    rng = np.random.default_rng(0)
    table = (rng.random((50, 7)) * 255).astype(dtype)
    rows = Rows.from_array(table)
    index = rng.integers(0, 50, 200)
    expected = table[index].astype(np.float32) / np.float32(255 if dtype is np.uint8 else 1)
    batch = rows.batch(torch.from_numpy(index))
    assert batch.dtype == torch.float32
    assert np.array_equal(batch.numpy(), expected)
    assert torch.equal(rows.batch(slice(3, 9)), rows.batch(torch.arange(3, 9)))


def test_subset_keeps_what_belongs_to_a_row():
    rows = Rows.from_array(GREY, labels=[4, 7])
    for index in (torch.tensor([1]), slice(1, 2)):
        part = rows.subset(index)
        assert part.labels.tolist() == [7]
        assert part.image_shape == (3, 4)
        assert part.divisor == 255
        assert torch.equal(part.values, rows.values[1:])
    assert rows.subset(slice(None, None, 2)).values.is_contiguous()


@pytest.mark.parametrize(
    ("array", "options", "binary"),
    [
        ([[0, 1]], {}, True),
        ([[0, 255]], {}, True),
        ([[0, 254, 255]], {}, False),
        ([[0.0, 0.5]], {}, False),
        ([[0, 1]], {"divisor": 255}, False),
    ],
)
def test_is_binary(array, options, binary):
    assert Rows.from_array(array, **options).is_binary is binary


def test_require_unit_interval():
    require_unit_interval(Rows.from_array([[0, 255]]))
    require_unit_interval(Rows.from_array([[0.0, 0.5, 1.0]]))
    with pytest.raises(DataError) as caught:
        require_unit_interval(Rows.from_array([[-0.5, 0.5], [1.5, 3.0]], name="mine"))
    for part in ("mine", "3 values of 4", "-0.5 to 3", "`likelihood='gaussian'`"):
        assert part in str(caught.value)
    with pytest.raises(DataError, match="1 value of 2"):
        require_unit_interval(Rows.from_array([[0, 17]], divisor=16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3),), "must be [N, P]"),
        ((torch.zeros(3, 2, dtype=torch.float64),), "must be [N, P]"),
        ((torch.zeros(3, 2).T,), "contiguous"),
        ((torch.zeros(3, 2), 0.0), "divisor"),
        ((torch.zeros(3, 2), float("nan")), "divisor"),
        ((torch.zeros(3, 2), 1.0, torch.zeros(2, dtype=torch.int64)), "labels must be int64"),
        ((torch.zeros(3, 2), 1.0, torch.zeros(3)), "labels must be int64"),
        ((torch.zeros(3, 2), 1.0, None, (1, 1)), "need 1 values a row"),
    ],
)
def test_rows_refuses_parts_that_do_not_fit(arguments, message):
    with pytest.raises(DataError) as caught:
        Rows(*arguments)
    assert message in str(caught.value)


def test_dataset_refuses_parts_of_different_kinds():
    rows = Rows.from_array([[0, 1, 1, 0]])
    assert Dataset("mine", rows, rows).image_shape is None
    for other in ([[0, 1]], [[0, 1, 2, 255]], np.zeros((1, 2, 2))):
        with pytest.raises(DataError, match="train and test differ in"):
            Dataset("mine", rows, Rows.from_array(other))


shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6)


@given(
    hnp.arrays(np.float64, shapes, elements=st.floats(-1e6, 1e6, width=32)),
)
def test_round_trip_of_any_float_table(table):
    rows = Rows.from_array(table, divisor=1)
    assert np.array_equal(rows.batch(slice(None)).numpy(), table.astype(np.float32))


@given(hnp.arrays(hnp.integer_dtypes(endianness="?"), shapes))
def test_round_trip_of_any_integer_table(table):
    rows = Rows.from_array(table, divisor=1)
    assert np.array_equal(rows.batch(slice(None)).numpy(), table.astype(np.float32))


# binarize


def test_binarize_none_and_threshold():
    x = torch.tensor([0.0, 0.5, 0.51, 1.0])
    assert binarize(x, "none", None) is x
    assert binarize(x, "threshold", None).tolist() == [0, 0, 1, 1]


def test_binarize_dynamic_is_bernoulli_and_repeats():
    # 400,000 draws: a mean is off by more than 0.006 with probability < 1e-13 (Hoeffding).
    x = torch.tensor([0.0, 0.2, 0.7, 1.0]).repeat(400_000, 1)
    draw = binarize(x, "dynamic", torch.Generator().manual_seed(1))
    means = draw.double().mean(0)
    assert means[[0, 3]].tolist() == [0, 1]
    assert (means - torch.tensor([0, 0.2, 0.7, 1])).abs().max() < 0.006
    assert set(draw.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(draw, binarize(x, "dynamic", torch.Generator().manual_seed(1)))
    assert not torch.equal(draw, binarize(x, "dynamic", torch.Generator().manual_seed(2)))


def test_binarize_refuses():
    x = torch.zeros(2)
    with pytest.raises(ConfigError, match=r"need a torch.Generator to be drawn from. Got none"):
        binarize(x, "dynamic", None)
    with pytest.raises(ConfigError, match="Did you mean dynamic"):
        binarize(x, "dynamik", None)


def test_rows_know_their_binarization():
    grey = Rows.from_array([[0.0, 0.3], [0.6, 1.0]], labels=[3, 4])
    assert grey.binarize == "none"
    black = grey.binarized("threshold")
    assert black.batch(slice(None)).tolist() == [[0, 0], [1, 1]]
    assert black.values.data_ptr() == grey.values.data_ptr()
    assert (black.is_binary, grey.is_binary, grey.is_binary) == (True, False, False)
    assert black.subset(slice(1, 2)).batch(torch.tensor([0])).tolist() == [[1, 1]]
    assert black.epoch(0, 1, 2).take(0).sum() == 2
    require_bytes(black)
    dynamic = black.binarized("dynamic")
    assert torch.equal(dynamic.deterministic().batch(slice(None)), black.batch(slice(None)))
    assert black.deterministic() is black
    assert torch.equal(dynamic.binarized("none").batch(slice(None)), grey.batch(slice(None)))
    for asked in (dynamic.batch, dynamic.epoch(0, 1, 2).take):
        with pytest.raises(ConfigError, match=r"Pass generator, or take rows\.deterministic"):
            asked(slice(None) if asked == dynamic.batch else 0)
    with pytest.raises(ConfigError, match="Did you mean threshold"):
        grey.binarized("treshold")
    generator = torch.Generator().manual_seed(4)
    draws = [dynamic.batch(slice(None), generator=generator) for _ in range(40)]
    assert {tuple(draw.flatten().tolist()) for draw in draws} == {
        (0.0, a, b, 1.0) for a in (0.0, 1.0) for b in (0.0, 1.0)
    }


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(1, 50))
def test_what_is_drawn_does_not_depend_on_how_rows_are_cut(n, width, one, other):
    rows = Rows.from_array(np.full((n, width), 0.5)).binarized("dynamic")
    drawn = [torch.cat(list(rows.chunks(size, seed=7))) for size in (one, other)]
    assert torch.equal(*drawn)


def test_both_parts_of_a_data_set_are_binarized():
    rows = Rows.from_array([[0.0, 0.3], [0.6, 1.0]])
    data = Dataset("mine", rows, rows)
    assert data.binarize == "none"
    black = data.binarized("threshold")
    assert (black.train.binarize, black.test.binarize, black.binarize) == ("threshold",) * 3
    with pytest.raises(DataError, match="differ in binarize: threshold and none"):
        Dataset("mine", black.train, rows)
    assert data.binarized_by(DataConfig(binarize="dynamic")).binarize == "dynamic"
    assert black.binarized_by(DataConfig(binarize="threshold")).binarize == "threshold"
    with pytest.raises(ConfigError, match=r"data are binarized threshold.*says none"):
        black.binarized_by(DataConfig())
    with pytest.raises(ConfigError, match="Did you mean dynamic"):
        DataConfig(binarize="dynamc")


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_a_configuration_says_how_its_rows_are_binarized(split):
    rows = load_rows(DataConfig(source="digits", binarize="threshold"), split=split)
    assert (rows.binarize, rows.is_binary) == ("threshold", True)


def test_global_random_state_is_left_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    binarize(torch.rand(9, generator=torch.Generator()), "dynamic", torch.Generator())
    held_out(100, 10, seed=3)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


# split


@given(st.integers(2, 300), st.data(), st.integers(0, 2**63 - 1))
def test_held_out_is_a_partition_and_repeats(n_rows, data, seed):
    n_test = data.draw(st.integers(1, n_rows - 1))
    train, test = held_out(n_rows, n_test, seed)
    assert len(test) == n_test
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(n_rows))
    again = held_out(n_rows, n_test, seed)
    assert torch.equal(train, again[0])
    assert torch.equal(test, again[1])


def test_held_out_is_the_same_on_every_machine():
    # A change here would let rows that old models were trained on into the held-out part.
    assert held_out(20, 4, seed=0)[1].tolist() == [4, 5, 13, 19]
    assert held_out(20, 4, seed=1)[1].tolist() == [2, 5, 11, 13]
