"""Which rows count as 8-bit values, wherever they lie."""

import numpy as np
import pytest
from scipy import sparse

from discretevae.data import Rows, load_rows
from discretevae.data.ranges import require_bytes
from discretevae.errors import DataError

FINE = [
    np.array([[0, 255], [7, 128]], np.uint8),
    np.array([[0, 255], [7, 128]]),
    np.array([[0.0, 255.0]]),
    np.array([[0, 1], [1, 1]]),
    np.array([[True, False]]),
    np.arange(256, dtype=np.float32)[None] / np.float32(255),
    np.arange(256)[None] / 255,
    np.array([[0.0, 0.2, 1.0]]),
]
WRONG = [
    (np.array([[0.0, 0.5]]), "mine: 1 value of 2 not k/255", "such as 0.5", "continuous-bernoulli"),
    (np.array([[0.5, 1.0], [0.25, 0.0]]), "2 values of 4", "such as 0.5", "continuous-bernoulli"),
    (np.array([[0, 256]]), "1 value of 2", "such as 256", "gaussian"),
    (np.array([[-1.0, 0.0]]), "1 value of 2", "such as -1", "gaussian"),
    (np.array([[1 / 255 + 1e-4, 0.0]]), "1 value of 2", "such as 0.0040", "continuous-bernoulli"),
    (np.arange(256, dtype=np.float16)[None] / np.float16(255), "of 256", "", "continuous"),
]


@pytest.mark.parametrize("array", FINE)
def test_bytes_are_bytes_however_they_come(array):
    require_bytes(Rows.from_array(array))


@pytest.mark.parametrize(("array", "how_many", "which", "advice"), WRONG)
def test_other_values_are_refused_with_an_example(array, how_many, which, advice):
    rows = Rows.from_array(array, name="mine")
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            require_bytes(rows)
        message = str(caught.value)
        assert how_many in message
        assert which in message
        assert f"`likelihood='{advice}" in message
        assert "\n" not in message


def test_the_divisor_decides_what_a_stored_byte_stands_for():
    sixteenths = Rows.from_array(np.array([[0, 8, 16]], np.uint8), divisor=16, name="digits")
    with pytest.raises(DataError, match=r"1 value of 3 not k/255.*such as 0\.5"):
        require_bytes(sixteenths)
    require_bytes(Rows.from_array(np.array([[0, 8, 15]], np.uint8), divisor=15))


def test_built_in_digits_are_no_bytes():
    with pytest.raises(DataError, match="not k/255"):
        require_bytes(load_rows("digits"))


def test_a_subset_is_looked_at_by_itself():
    rows = Rows.from_array(np.array([[0.2, 1.0], [0.5, 0.0]]))
    require_bytes(rows.subset(slice(0, 1)))
    with pytest.raises(DataError):
        require_bytes(rows.subset(slice(1, 2)))


def test_sparse_rows_are_looked_at_entry_by_entry():
    table = np.zeros((50, 20))
    table[3, 4], table[30, 0] = 0.2, 1.0
    require_bytes(Rows.from_array(sparse.csr_array(table)))
    require_bytes(Rows.from_array(sparse.csr_array((255 * table).astype(np.uint8))))
    table[7, 7] = 0.3333
    with pytest.raises(DataError, match=r"1 value of 1,000 not k/255.*such as 0\.3333"):
        require_bytes(Rows.from_array(sparse.csr_array(table)))


def write_npy(path, table):
    np.save(path / "a.npy", table)
    return path / "a.npy"


def write_parquet(path, table):
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    from pyarrow import parquet

    columns = pa.table({f"c{i}": column for i, column in enumerate(table.T)})
    parquet.write_table(columns, path / "a.parquet")
    return path / "a.parquet"


def write_shards(path, table):
    folder = path / "shards"
    folder.mkdir()
    for number, part in enumerate(np.array_split(table, 3)):
        np.save(folder / f"part-{number}.npy", part)
    return folder


@pytest.mark.parametrize("write", [write_npy, write_parquet, write_shards])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_rows_on_disk_are_looked_at_from_end_to_end(write, is_streamed, tmp_path, monkeypatch):
    if is_streamed:
        monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
        monkeypatch.setattr("discretevae.data.stores.values.CHUNK", 200)
    table = (np.arange(600).reshape(60, 10) % 256 / 255).astype(np.float32)
    for name, last, fine in (("fine", 1.0, True), ("wrong", 0.5, False)):
        folder = tmp_path / name
        folder.mkdir()
        table[-1, -1] = last
        rows = load_rows(write(folder, table))
        assert rows.is_streamed == is_streamed
        if fine:
            require_bytes(rows)
        else:
            with pytest.raises(DataError, match="1 value of 600 not k/255"):
                require_bytes(rows)


def test_stored_bytes_are_known_without_being_read(tmp_path, monkeypatch):
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("discretevae.data.stores.values.CHUNK", 10)
    np.save(tmp_path / "a.npy", np.arange(200, dtype=np.uint8).reshape(20, 10))
    rows = load_rows(tmp_path / "a.npy")
    asked = []
    between = type(rows.values).between

    def counted(self, start, stop):
        asked.append(start)
        return between(self, start, stop)

    monkeypatch.setattr(type(rows.values), "between", counted)
    require_bytes(rows)
    assert len(asked) <= 1
