"""Sparse rows: those of the full table, to the bit, and never more than a batch of it."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from discretevae.data import Rows, load_data, load_rows
from discretevae.data.sparse import Sparse
from discretevae.errors import DataError, DataWarning

FORMATS = [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.csc_array, sp.coo_matrix, sp.coo_array]


def words(n=20, width=30, dtype=np.uint8, seed=0):
    """Counts of which nine in ten are zero."""
    rng = np.random.default_rng(seed)
    return (rng.integers(1, 200, (n, width)) * (rng.random((n, width)) < 0.1)).astype(dtype)


def same(sparse, full):
    assert isinstance(sparse.values, Sparse)
    assert (len(sparse), sparse.n_features) == (len(full), full.n_features)
    assert (sparse.divisor, sparse.is_binary) == (full.divisor, full.is_binary)
    assert torch.equal(sparse.batch(slice(None)), full.batch(slice(None)))


@pytest.mark.parametrize("make", FORMATS)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_a_matrix_of_scipy_is_the_full_table(tmp_path, make, dtype):
    table = words(dtype=dtype)
    sp.save_npz(tmp_path / "a.npz", make(table))
    sp.save_npz(tmp_path / "b.npz", make(table), compressed=False)
    full = Rows.from_array(table)
    same(Rows.from_array(make(table)), full)
    same(load_rows(tmp_path / "a.npz"), full)
    same(load_rows(tmp_path / "b.npz"), full)


@pytest.mark.parametrize("kind", [sp.lil_array, sp.dok_array, sp.dia_array, sp.bsr_array])
def test_other_formats_are_converted_in_memory_and_refused_on_disk(tmp_path, kind):
    table = words()
    same(Rows.from_array(kind(table)), Rows.from_array(table))
    if kind in (sp.dia_array, sp.bsr_array):
        sp.save_npz(tmp_path / "a.npz", kind(table))
        with pytest.raises(DataError, match=r"format '(dia|bsr)'. Read are csr, csc and coo"):
            load_rows(tmp_path / "a.npz")


@given(data=st.data(), n=st.integers(1, 12), width=st.integers(1, 12))
@settings(max_examples=80, deadline=None)
def test_any_rows_of_any_table(data, n, width):
    """Empty rows, full rows, whole numbers and others, negative ones."""
    values = st.sampled_from([0, 0, 0, 1, 2, 255, 0.5, -1, 300])
    table = np.array(data.draw(st.lists(values, min_size=n * width, max_size=n * width)))
    table = table.reshape(n, width)
    divisor = data.draw(st.sampled_from([None, 255.0, 2.0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("discretevae.data.values._FAINT", 0)
        sparse = Rows.from_array(sp.csr_array(table), divisor=divisor)
        full = Rows.from_array(table, divisor=divisor)
    same(sparse, full)
    index = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), max_size=9))).long()
    cut = slice(data.draw(st.integers(-3, 3)), None, data.draw(st.integers(1, 3)))
    for chosen in (index, cut):
        assert torch.equal(sparse.batch(chosen), full.batch(chosen))
        assert torch.equal(sparse.subset(chosen).batch(slice(None)), full.batch(chosen))
    assert sparse.values.bounds == (full.values.min(), full.values.max())
    for step in range(len(full.epoch(0, 1, 3))):
        assert torch.equal(sparse.epoch(0, 1, 3).take(step), full.epoch(0, 1, 3).take(step))


def test_entries_may_come_twice_and_in_any_order(tmp_path):
    """Those of one place are added up, in a type that holds the sum."""
    coo = sp.coo_array(
        (np.array([200, 50, 100, 5], np.uint8), ([1, 0, 1, 1], [2, 1, 2, 0])), shape=(3, 4)
    )
    expected = torch.tensor([[0, 50, 0, 0], [5, 0, 300, 0], [0, 0, 0, 0.0]])
    sp.save_npz(tmp_path / "a.npz", coo)
    assert torch.equal(load_rows(tmp_path / "a.npz").batch(slice(None)), expected)
    csr = sp.csr_array(
        (np.array([50, 100, 5, 200]), np.array([1, 2, 0, 2]), np.array([0, 1, 4, 4])), shape=(3, 4)
    )
    assert torch.equal(Rows.from_array(csr).batch(slice(None)), expected)


def test_the_rules_see_the_zeros():
    """A full column of 2s is bytes; with a zero beside it, too; 0.5 makes all floats."""
    assert Rows.from_array(sp.csr_array(np.full((3, 2), -1.5))).values.bounds == (-1.5, -1.5)
    assert Rows.from_array(sp.csr_array(np.diag([-1.5, -2.0]))).values.bounds == (-2.0, 0.0)
    assert Rows.from_array(sp.csr_array((3, 2))).is_binary
    with pytest.warns(DataWarning, match="from 0 to 7"):
        rows = Rows.from_array(sp.csr_array(np.diag([7, 5])))
    assert rows.divisor == 255
    rows.require_unit_interval()
    with pytest.raises(DataError, match=r"1 value of 4 outside \[0, 1\]; all range from -3 to 1"):
        Rows.from_array(sp.csr_array(np.diag([1, -3]))).require_unit_interval()


def test_labels_pictures_and_splits(tmp_path):
    table = words(20, 12)
    rows = Rows.from_array(sp.csr_array(table), labels=np.arange(20), image_shape=(3, 4))
    assert rows.subset(torch.tensor([3, 1])).labels.tolist() == [3, 1]
    sp.save_npz(tmp_path / "a.npz", sp.csr_array(table))
    data = load_data(tmp_path / "a.npz", image_size=(3, 4))
    np.save(tmp_path / "a.npy", table)
    full = load_data(tmp_path / "a.npy")
    assert data.image_shape == (3, 4)
    assert torch.equal(data.test.batch(slice(None)), full.test.batch(slice(None)))
    with pytest.raises(DataError, match=r"need 16 values a row\. Got 12"):
        load_data(tmp_path / "a.npz", image_size=(4, 4))
    with pytest.raises(DataError, match="need labels"):
        Rows.from_array(sp.csr_array(table), labels=np.arange(3))


def test_only_entries_and_a_batch_are_held(monkeypatch):
    """100,000 rows of 100,000 values: 40 GB if they were full, here three entries each."""
    n = 100_000
    column = np.arange(3 * n) * 7 % n
    matrix = sp.csr_array((np.ones(3 * n), column, np.arange(0, 3 * n + 1, 3)), shape=(n, n))
    made = []
    real = np.zeros
    monkeypatch.setattr(np, "zeros", lambda shape, *a: made.append(shape) or real(shape, *a))
    rows = Rows.from_array(matrix)
    rows.require_unit_interval()
    assert rows.divisor == 1
    batch = rows.epoch(0, 1, 4).take(5)
    assert batch.shape == (4, n)
    assert max(np.prod(shape) for shape in made) <= 4 * n
    held = rows.values
    assert held.starts.nbytes + held.columns.nbytes + held.entries.nbytes <= 8 * n + 15 * n + 8


# damage


def parts_of(matrix):
    file = io.BytesIO()
    sp.save_npz(file, matrix)
    file.seek(0)
    with np.load(file) as archive:
        return dict(archive)


CSR = sp.csr_array(np.array([[0, 1, 0, 2], [3, 0, 0, 0], [0, 0, 4, 5]]))
BAD = [
    ({"indices": np.array([1, 3, 0, 2, 4])}, "entries outside its 4 columns"),
    ({"indices": np.array([1, 3, 0, 2, -1])}, "entries outside its 4 columns"),
    ({"indices": np.array([1.0, 3, 0, 2, 3])}, "not a sound sparse matrix"),
    ({"indices": np.array([[1, 3, 0, 2, 3]])}, "not a sound sparse matrix"),
    ({"indices": np.array([1, 3, 0])}, "5 entries with 3 columns"),
    ({"indptr": np.array([0, 2, 3])}, "row starts|starts int64"),
    ({"indptr": np.array([0, 2, 3, 4])}, "do not share out its 5 entries"),
    ({"indptr": np.array([1, 2, 3, 5])}, "do not share out"),
    ({"indptr": np.array([0, 4, 3, 5])}, "do not share out"),
    ({"indptr": np.array([0, 2.5, 3, 5])}, "not a sound sparse matrix"),
    ({"indptr": None}, "without indptr"),
    ({"data": np.array([1, 2, np.nan, 4, 5])}, r"NaN.*row 1, column 0"),
    ({"data": np.array([1, 2, 3, 4, 1e300])}, r"too large for float32.*row 2, column 3"),
    ({"data": np.array(list("abcde"))}, "dtype <U1"),
    ({"data": np.ones((5, 1))}, "not a sound sparse matrix"),
    ({"shape": np.array([3, 4, 5])}, r"Got int64 of shape \(3,\)"),
    ({"shape": np.array([3.0, 4.0])}, "Got float64"),
    ({"shape": np.array([-3, 4])}, r"shape \(-3, 4\)"),
    ({"shape": np.array([3, 0])}, r"no values in an array of shape \(3, 0\)"),
    ({"shape": np.array([2**40, 4])}, "starts int"),
    ({"shape": np.array([3, 2**40])}, r"rows of 1,099,511,627,776 values; at most 1,048,576"),
    ({"shape": np.array([30, 4])}, "starts int"),
    ({"format": np.array("bsr")}, "format 'bsr'"),
    ({"format": np.array([1, 2])}, "format None"),
    ({"format": np.array(7)}, "format 7"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_unsound_matrices_are_refused_in_one_line(tmp_path, change, message):
    parts = {k: v for k, v in (parts_of(CSR) | change).items() if v is not None}
    np.savez(tmp_path / "a.npz", **parts)
    with pytest.raises(DataError, match=message) as caught:
        load_rows(tmp_path / "a.npz")
    assert str(tmp_path / "a.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_coordinates_do_not_promise_endless_empty_rows(tmp_path):
    np.savez(tmp_path / "a.npz", **(parts_of(CSR.tocoo()) | {"shape": np.array([2**30, 4])}))
    with pytest.raises(DataError, match="at most"):
        load_rows(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "change",
    [{"row": np.array([0, 0, 1, 2, 3])}, {"row": np.array([0, 0, -1, 2, 2])}, {"col": np.ones(4)}],
)
def test_unsound_coordinates_are_refused(tmp_path, change):
    np.savez(tmp_path / "a.npz", **(parts_of(CSR.tocoo()) | change))
    with pytest.raises(DataError, match="not a sound sparse matrix"):
        load_rows(tmp_path / "a.npz")


def test_python_objects_are_never_loaded(tmp_path):
    parts = parts_of(CSR) | {"data": np.array([object()] * 5)}
    np.savez(tmp_path / "a.npz", **parts)
    with pytest.raises(DataError, match="holds Python objects"):
        load_rows(tmp_path / "a.npz")


@given(at=st.integers(0, 10_000), by=st.integers(1, 255), keep=st.integers(0, 10_000))
@settings(max_examples=120, deadline=None, derandomize=True)
def test_a_damaged_archive_is_read_or_refused(tmp_path_factory, at, by, keep):
    path = tmp_path_factory.mktemp("sparse") / "a.npz"
    sp.save_npz(path, CSR, compressed=False)
    whole = bytearray(path.read_bytes())
    whole[at % len(whole)] ^= by
    path.write_bytes(whole[: keep if keep % 3 else None])
    try:
        rows = load_rows(path, divisor=5)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - not every damage is met
    else:
        assert rows.batch(slice(None)).isfinite().all()


def test_a_bomb_is_not_unpacked(tmp_path):
    """Zeros pack a thousand times smaller: what a header promises is looked at first."""
    np.savez_compressed(tmp_path / "a.npz", **parts_of(CSR))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    file = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(file, header)
    parts["data.npy"] = file.getvalue()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match=r"array 'data': its header promises"):
        load_rows(tmp_path / "a.npz")
