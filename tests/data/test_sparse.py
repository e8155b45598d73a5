"""Sparse rows: those of the full table, to the bit, and never more than a batch of it."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st

from discretevae.data import Rows, load_data, load_rows
from discretevae.data.ranges import require_unit_interval
from discretevae.data.stores.sparse import Sparse
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
        patch.setattr("discretevae.data.stores.values.FAINT", 0)
        sparse = Rows.from_array(sp.csr_array(table), divisor=divisor)
        full = Rows.from_array(table, divisor=divisor)
    same(sparse, full)
    index = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), max_size=9))).long()
    cut = slice(data.draw(st.integers(-3, 3)), None, data.draw(st.integers(1, 3)))
    for chosen in (index, cut):
        assert torch.equal(sparse.batch(chosen), full.batch(chosen))
        assert torch.equal(sparse.subset(chosen).batch(slice(None)), full.batch(chosen))
    assert sparse.range_facts == full.range_facts
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
    assert Rows.from_array(sp.csr_array(np.full((3, 2), -1.5))).range_facts[1:] == (-1.5, -1.5)
    assert Rows.from_array(sp.csr_array(np.diag([-1.5, -2.0]))).range_facts[1:] == (-2.0, 0.0)
    assert Rows.from_array(sp.csr_array((3, 2))).is_binary
    with pytest.warns(DataWarning, match="from 0 to 7"):
        rows = Rows.from_array(sp.csr_array(np.diag([7, 5])))
    assert rows.divisor == 255
    require_unit_interval(rows)
    with pytest.raises(DataError, match=r"1 value of 4 outside \[0, 1\]; all range from -3 to 1"):
        require_unit_interval(Rows.from_array(sp.csr_array(np.diag([1, -3]))))


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
    monkeypatch.setattr(
        np, "zeros", lambda shape, *a, **k: made.append(shape) or real(shape, *a, **k)
    )
    rows = Rows.from_array(matrix)
    require_unit_interval(rows)
    assert rows.divisor == 1
    batch = rows.epoch(0, 1, 4).take(5)
    assert batch.shape == (4, n)
    assert max(np.prod(shape) for shape in made) <= 4 * n
    held = rows.values.matrix
    assert held.indptr.nbytes + held.indices.nbytes + held.data.nbytes <= 8 * n + 15 * n + 8


# damage


def parts_of(matrix):
    file = io.BytesIO()
    sp.save_npz(file, matrix)
    file.seek(0)
    with np.load(file) as archive:
        return dict(archive)


CSR = sp.csr_array(np.array([[0, 1, 0, 2], [3, 0, 0, 0], [0, 0, 4, 5]]))
BAD = [
    ({"indices": np.array([1, 3, 0, 2, 4])}, "entries outside its 4 rows or columns"),
    ({"indices": np.array([1, 3, 0, 2, -1])}, "entries outside its 4 rows or columns"),
    ({"indices": np.array([1.0, 3, 0, 2, 3])}, "not a sound sparse matrix"),
    ({"indices": np.array([[1, 3, 0, 2, 3]])}, "not a sound sparse matrix"),
    ({"indices": np.array([1, 3, 0])}, "5 entries with 3 places"),
    ({"indptr": np.array([0, 2, 3])}, "3 starts of 3 rows"),
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
    ({"shape": np.array([2**40, 4])}, "1,099,511,627,776 rows with 5 entries; at most 536,870,912"),
    ({"shape": np.array([3, 2**40])}, r"rows of 1,099,511,627,776 values; at most 1,048,576"),
    ({"shape": np.array([30, 4])}, "4 starts of 30 rows"),
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


def refused(path, message):
    """The message, of which no memory was spent before it: less than 4 MB."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message) as caught:
            load_rows(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
@pytest.mark.parametrize("n", [2**20 + 1, 10**8, 2**30, 2**63 - 1])
def test_a_file_does_not_promise_endless_empty_rows(tmp_path, kind, n):
    """A row without entries takes nothing of a file (coo, csc), or next to nothing (packed)."""
    np.savez(tmp_path / "a.npz", **(parts_of(CSR.asformat(kind)) | {"shape": np.array([n, 4])}))
    refused(tmp_path / "a.npz", "rows with 5 entries; at most")


def test_empty_rows_are_read_up_to_the_limit(tmp_path, monkeypatch):
    coo = CSR.tocoo()
    coo.resize((2**20, 4))
    sp.save_npz(tmp_path / "a.npz", coo)
    rows = load_rows(tmp_path / "a.npz", divisor=5)
    assert len(rows) == 2**20
    assert torch.equal(rows.batch(slice(0, 3)), torch.from_numpy(CSR.toarray() / 5).float())
    assert not rows.batch(slice(3, 1000)).any()
    # more of them beside more entries: 16 rows to each
    monkeypatch.setattr("discretevae.data.stores.sparse.MAX_EMPTY_ROWS", 8)
    for n, is_fine in ((80, True), (81, False)):
        coo.resize((n, 4))
        sp.save_npz(tmp_path / "a.npz", coo)
        if is_fine:
            assert len(load_rows(tmp_path / "a.npz", divisor=5)) == n
        else:
            refused(tmp_path / "a.npz", "81 rows with 5 entries; at most 80 rows")


def test_rows_and_entries_have_a_limit_together_even_in_memory(monkeypatch):
    monkeypatch.setattr("discretevae.data.stores.sparse.MAX_ROWS_AND_ENTRIES", 8)
    assert len(Rows.from_array(CSR, divisor=5)) == 3
    monkeypatch.setattr("discretevae.data.stores.sparse.MAX_ROWS_AND_ENTRIES", 7)
    for matrix in (CSR, CSR.tocoo()):
        with pytest.raises(DataError, match="at most 7 of both together"):
            Rows.from_array(matrix)


def archive_of(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(f"{name}.npy", content)


def npy(array, length=None):
    """A file of the array, of which the header promises so many values."""
    file = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    header["shape"] = array.shape if length is None else (length,)
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes()


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
@pytest.mark.parametrize("length", [10**6, 10**8])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_lie_that_header_and_directory_tell_together_costs_nothing(
    tmp_path, part, length, compression
):
    """No packed array becomes more than 1032 times larger than itself."""
    parts = {name: npy(array) for name, array in parts_of(CSR).items()}
    parts[part] = npy(parts_of(CSR)[part], length)
    archive_of(tmp_path / "a.npz", parts, compression)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            content[at + offset : at + offset + 4] = b"\xfe\xff\xff\xff"
    (tmp_path / "a.npz").write_bytes(content)
    refused(tmp_path / "a.npz", f"'{part}' is cut short")


def test_an_array_that_is_longer_than_its_table_is_not_unpacked(tmp_path):
    parts = parts_of(CSR) | {"indptr": np.zeros(10**6, np.int64)}
    np.savez_compressed(tmp_path / "a.npz", **parts)
    assert (tmp_path / "a.npz").stat().st_size < 100_000
    refused(tmp_path / "a.npz", "'indptr' is longer than its table")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_without_a_bound_is_refused(tmp_path, compression):
    parts = {name: npy(array) for name, array in parts_of(CSR).items()}
    archive_of(tmp_path / "a.npz", parts, compression)
    refused(tmp_path / "a.npz", r"unknown compression\. Save it with numpy\.savez")


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_starts_whose_differences_overflow_are_refused(tmp_path, dtype):
    """0, 2^63 - 1, 2^64 - 2, 5: as wrapped numbers every row would have a size above 0."""
    starts = np.array([0, 2**63 - 1, 2**64 - 2, 5], np.uint64).astype(dtype)
    with np.errstate(over="ignore"):
        assert (np.diff(starts.astype(np.int64)) >= 0).all()  # what a subtraction would see
    np.savez(tmp_path / "a.npz", **(parts_of(CSR) | {"indptr": starts}))
    refused(tmp_path / "a.npz", "do not share out its 5 entries")


def test_sums_of_one_place_that_are_too_large_are_told(tmp_path):
    place = ([1, 1, 0], [2, 2, 1])
    for value in (1e308, 3e38):
        entries = np.array([value, value, 1.0], np.float64)
        sp.save_npz(tmp_path / "a.npz", sp.coo_array((entries, place), shape=(2, 3)))
        with pytest.raises(DataError, match=r"too large for float32.*row 1, column 2"):
            load_rows(tmp_path / "a.npz")
    wide = np.array([2**62, 2**62, 1])
    sp.save_npz(tmp_path / "a.npz", sp.coo_array((wide, place), shape=(2, 3)))
    assert load_rows(tmp_path / "a.npz").range_facts[1:] == (0, 2.0**63)


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
