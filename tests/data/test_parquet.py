"""Parquet by row groups: streamed as it is loaded, each group unpacked once in an epoch."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
import torch

from discretevae.data import Rows, load_data, load_rows
from discretevae.data.readers.parquet import ParquetTable
from discretevae.errors import DataError, DataWarning, MissingExtraError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TABLE = np.random.default_rng(0).integers(0, 256, (70, 3), np.uint8)
TABLE[:, 0] = np.arange(70)


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def columns_of(table, **others):
    return {f"c{i}": table[:, i] for i in range(table.shape[1])} | others


@pytest.fixture
def streamed(monkeypatch):
    """Everything is streamed; a window holds 20 rows of three bytes."""
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("discretevae.data.stores.streamed.WINDOW_BYTES", 60)
    monkeypatch.setattr("discretevae.data.readers.parquet.PIECE_BYTES", 120)


@pytest.fixture
def unpacked(monkeypatch, tmp_path):
    """The row groups of this test's file that were read, in order."""
    groups = []
    real = ParquetTable._batches

    def batches(self, group, fields):
        # a thread of an earlier test may still read ahead in its own file
        if self.path.parent == tmp_path:
            groups.append(group)
        return real(self, group, fields)

    monkeypatch.setattr(ParquetTable, "_batches", batches)
    return groups


DTYPES = [np.uint8, np.int64, np.float32, np.float64, bool]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group", [1, 7, 70])
def test_streamed_is_what_is_loaded(tmp_path, streamed, monkeypatch, dtype, group):
    table = (TABLE % 2 if dtype is bool else TABLE).astype(dtype)
    if dtype in (np.float32, np.float64):
        table = table / dtype(7)
    path = write(tmp_path / "a.parquet", columns_of(table), row_group_size=group)
    rows, plain = load_rows(path), Rows.from_array(table)
    assert rows.is_streamed
    assert (rows.divisor, rows.is_binary) == (plain.divisor, plain.is_binary)
    index = torch.tensor([69, 3, 3, 4, 6, 0, 35])
    for chosen in (slice(None), slice(5, 33), slice(3, 60, 4), index):
        assert torch.equal(rows.batch(chosen), plain.batch(chosen))
        assert torch.equal(rows.subset(chosen).batch(slice(None)), plain.batch(chosen))
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 2**30)
    loaded = load_rows(path)
    assert torch.equal(loaded.values, plain.values)
    assert loaded.divisor == plain.divisor


@pytest.mark.parametrize("group", [1, 7, 9, 70])
def test_an_epoch_unpacks_every_group_once(tmp_path, streamed, unpacked, group):
    path = write(tmp_path / "a.parquet", columns_of(TABLE), row_group_size=group)
    rows = load_rows(path, divisor=255.0)
    unpacked.clear()
    batches = rows.epoch(0, 1, 8)
    seen = torch.cat([batches.take(step) for step in range(len(batches))])
    assert sorted((seen[:, 0] * 255).round().int().tolist()) == list(range(70))
    assert sorted(unpacked) == list(range(-(-70 // group)))
    for step in (0, 4, 8):
        assert torch.equal(rows.epoch(0, 1, 8).take(step), batches.take(step))


def test_other_processes_may_read_it(tmp_path, streamed):
    path = write(tmp_path / "a.parquet", columns_of(TABLE), row_group_size=9)
    rows = load_rows(path)
    again = pickle.loads(pickle.dumps(rows))  # noqa: S301 - our own, for the processes of a rank
    assert torch.equal(again.epoch(0, 1, 9).take(3), rows.epoch(0, 1, 9).take(3))


def test_small_parts_in_order_unpack_every_group_once(tmp_path, streamed, unpacked):
    path = write(tmp_path / "a.parquet", columns_of(TABLE), row_group_size=20)
    rows = load_rows(path, divisor=255.0)
    kept = rows.subset(torch.arange(1, 70))
    unpacked.clear()
    for start in range(0, 69, 3):
        kept.batch(slice(start, start + 3))
    assert unpacked == [0, 1, 2, 3]


def test_labels_are_read_apart(tmp_path, streamed):
    others = {"label": np.arange(70) // 7, "label.x": np.arange(70) % 5, "": np.ones(70)}
    path = write(tmp_path / "a.parquet", columns_of(TABLE, **others), row_group_size=9)
    rows = load_rows(path)
    assert rows.is_streamed
    assert rows.labels.tolist() == others["label"].tolist()
    expected = np.column_stack([TABLE, others["label.x"], np.ones(70)])
    assert np.array_equal((rows.batch(slice(None)) * 255).round().numpy(), expected)
    assert rows.subset(torch.tensor([69, 0])).labels.tolist() == [9, 0]
    assert len(load_data(path).test.labels) == 7


def test_a_label_that_is_no_class_stays_a_feature(tmp_path, streamed):
    path = write(tmp_path / "a.parquet", {"a": [1.5, 2], "target": [0.5, 1], "b": [3, 4]})
    with pytest.warns(DataWarning, match="column target .* as a feature"):
        rows = load_rows(path)
    assert rows.labels is None
    assert rows.batch(slice(None)).tolist() == [[1.5, 0.5, 3], [2, 1, 4]]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_what_is_refused(tmp_path, monkeypatch, is_streamed):
    if is_streamed:
        monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
    path = tmp_path / "a.parquet"
    cases = [
        (pa.table({"v": ["x", "y"]}), "column 'v' is string"),
        (pa.table({"v": [1.0, None]}), "1 missing values in column 'v'"),
        (pa.table({"v": [[1], [2, 3]]}), "a list of 2 values in column 'v', row 1"),
        (pa.table({"v": [[1], [2, None]]}), "a list of 2 values in column 'v', row 1"),
        (pa.table({"v": [[1, None]]}), "1 missing values in column 'v'"),
        (pa.table({"v": [[[1], [2]]]}), "column 'v' is list"),
        (pa.table({"v": [{"a": 1}]}), "column 'v' is struct"),
        (pa.table({"v": pa.array([0, 1], pa.timestamp("s"))}), "column 'v' is timestamp"),
        (pa.table({"v": pa.array(["x", "y"]).dictionary_encode()}), "column 'v' is dictionary"),
        (pa.table({"v": pa.nulls(2)}), "column 'v' is null"),
        (pa.table({"v": [1, 2], "label": [{"a": 1}] * 2}), "names neither rows nor classes"),
        (pa.table({"v": [0.5, np.nan]}), "row 1, column 0"),
        (pa.table({"label": [1, 2]}), r"shape \(2, 0\)"),
        (pa.table({"v": pa.array([], pa.int8())}), r"shape \(0, 1\)"),
        (pa.table({"label": [1], "class": [2], "v": [1]}), "label and class all name labels"),
    ]
    for table, message in cases:
        pq.write_table(table, path)
        with pytest.raises(DataError, match=message) as caught:
            load_rows(path, scale="standard")
        assert str(caught.value).startswith(str(path))
    write(path, {"a": [1, 2], "b": [3, 4]})
    with pytest.raises(DataError, match=r"need 3 values a row\. Got 2"):
        load_rows(path, image_size=(1, 3))
    assert load_rows(path, image_size=(2, 1), divisor=4).image_shape == (2, 1)


def test_missing_values_late_in_a_streamed_file_are_found_at_once(tmp_path, streamed):
    column = pa.array([*range(69), None], pa.uint8())
    path = write(tmp_path / "a.parquet", {"v": column}, row_group_size=9)
    for how in ({"scale": "standard"}, {"divisor": 255.0}):
        with pytest.raises(DataError, match="1 missing values in column 'v'"):
            load_rows(path, **how)


def test_row_groups_that_are_too_large_to_be_streamed(tmp_path, streamed, monkeypatch):
    monkeypatch.setattr("discretevae.data.readers.parquet.GROUP_BYTES", 3 * 64)
    path = write(tmp_path / "a.parquet", columns_of(TABLE), row_group_size=65)
    with pytest.raises(DataError, match=r"up to 65 rows, of which only 64 .*row_group_size=1\."):
        load_rows(path)
    write(path, columns_of(TABLE), row_group_size=64)
    assert len(load_rows(path)) == 70


def test_long_lists_are_read_in_small_pieces(tmp_path, streamed):
    lists = pa.array(TABLE.tolist(), pa.list_(pa.uint8()))
    path = write(tmp_path / "a.parquet", {"v": lists}, row_group_size=35)
    table = ParquetTable(path)
    pieces = list(table.pieces())
    assert max(len(part) for _, part in pieces) == 120 // 8 // 3
    assert np.array_equal(np.concatenate([part for _, part in pieces]), TABLE)
    rows = load_rows(path)
    assert rows.is_streamed
    assert rows.columns == ("v[0]", "v[1]", "v[2]")
    assert np.array_equal((rows.batch(slice(None)) * 255).round().numpy(), TABLE)


def test_damage(tmp_path, streamed):
    path = write(tmp_path / "a.parquet", columns_of(TABLE), row_group_size=9)
    rows, whole = load_rows(path), path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match="changed while it was in use"):
        rows.batch(slice(0, 2))
    with pytest.raises(DataError, match="not a Parquet file, or damaged"):
        load_rows(path)
    path.unlink()
    with pytest.raises(DataError, match="not a Parquet file, or damaged"):
        rows.batch(slice(0, 2))


@pytest.mark.parametrize("at", range(4, 700, 23))
def test_a_wrong_byte_is_refused_or_read(tmp_path, streamed, at):
    """Nothing but a DataError, and no row that was never written."""
    path = write(tmp_path / "a.parquet", columns_of(TABLE / 7), row_group_size=30)
    whole = bytearray(path.read_bytes())
    whole[at] ^= 0x55
    path.write_bytes(whole)
    try:
        rows = load_rows(path)
        x = rows.batch(slice(None))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - not every damage is met
    else:
        assert x.isfinite().all()


def test_a_group_with_fewer_rows_than_promised(tmp_path, streamed, monkeypatch):
    path = write(tmp_path / "a.parquet", columns_of(TABLE), row_group_size=9)
    table = ParquetTable(path)
    table.edges = table.edges + (table.edges > 0)
    with pytest.raises(DataError, match="row group 0 does not hold 10 rows"):
        list(table.pieces())


def test_without_pyarrow_the_message_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r"pip install 'discretevae\[parquet\]'"):
        load_rows(path)
