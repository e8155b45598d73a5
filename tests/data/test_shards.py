"""A folder of shards: one table, sorted by name, by one set of rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from discretevae.data import Rows, load_data, load_rows
from discretevae.errors import DataError, DataWarning

TABLE = np.random.default_rng(0).integers(0, 256, (60, 4), np.uint8)
TABLE[:, 0] = np.arange(60)
CUTS = [0, 10, 11, 40, 60]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    return path


@pytest.fixture(params=[False, True], ids=["loaded", "streamed"])
def is_streamed(request, monkeypatch):
    if request.param:
        monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
        monkeypatch.setattr("discretevae.data.stores.streamed.WINDOW_BYTES", 60)
        monkeypatch.setattr("discretevae.data.readers.npy.BLOCK_BYTES", 12)
        monkeypatch.setattr("discretevae.data.readers.npy.GAP_BYTES", 4)
    return request.param


def save_parts(folder, table, suffixes=(".npy",)):
    for number, (start, stop) in enumerate(itertools.pairwise(CUTS)):
        suffix = suffixes[number % len(suffixes)]
        save(folder / f"part-{number}{suffix}", table[start:stop])


def save(path, table, **labels):
    if path.suffix == ".npy":
        np.save(path, table)
        return
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {f"c{i}": table[:, i] for i in range(table.shape[1])} | labels
    pq.write_table(pa.table(columns), path, row_group_size=3)


@pytest.mark.parametrize("suffixes", [(".npy",), (".parquet",), (".npy", ".parquet")])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_a_folder_is_the_tables_one_after_the_other(folder, is_streamed, suffixes, dtype):
    table = TABLE / np.float32(3) if dtype is np.float32 else TABLE.astype(dtype)
    save_parts(folder, table, suffixes)
    (folder / ".hidden").write_text("not looked at")
    rows, plain = load_rows(folder), Rows.from_array(table)
    assert rows.is_streamed is is_streamed
    assert (len(rows), rows.divisor, rows.name) == (60, plain.divisor, str(folder))
    index = torch.tensor([59, 9, 10, 11, 10, 39, 40, 0])
    for chosen in (slice(None), slice(8, 45), slice(9, 12), slice(0, 60, 7), index):
        assert torch.equal(rows.batch(chosen), plain.batch(chosen))
        assert torch.equal(rows.subset(chosen).batch(slice(None)), plain.batch(chosen))
    batches = rows.epoch(0, 1, 7)
    seen = torch.cat([batches.take(step) for step in range(len(batches))])
    assert torch.equal(seen.sort(0).values, plain.batch(slice(None)).sort(0).values)
    assert torch.equal(rows.epoch(0, 1, 7).take(5), batches.take(5))
    data = load_data(folder)
    assert (len(data.train), len(data.test)) == (54, 6)


def test_the_rules_look_at_all_shards(folder, is_streamed):
    """A shard of 0 and 1 only still means what it means beside the others."""
    np.save(folder / "a.npy", np.array([[0, 1]], np.uint8))
    np.save(folder / "b.npy", np.array([[0, 255]], np.uint8))
    assert load_rows(folder).divisor == 255
    assert load_rows(folder).batch(slice(0, 1))[0, 1] == torch.tensor(1 / 255)
    np.save(folder / "a.npy", np.array([[0.0, 1.0]]))
    np.save(folder / "b.npy", np.array([[0.0, 0.5]]))
    assert load_rows(folder).batch(slice(None)).tolist() == [[0, 1], [0, 0.5]]
    np.save(folder / "b.npy", np.array([[0.0, 9]]))
    with pytest.warns(DataWarning, match="from 0 to 9"):
        load_rows(folder)


def test_pictures_in_shards(folder, is_streamed):
    save_parts(folder, TABLE.reshape(60, 2, 2))
    assert load_rows(folder).image_shape == (2, 2)
    with pytest.raises(DataError, match="2x2, not 1x4"):
        load_rows(folder, image_size=(1, 4))
    save_parts(folder, TABLE)
    assert load_rows(folder, image_size=(1, 4)).image_shape == (1, 4)
    save(folder / "part-9.parquet", TABLE)
    assert load_rows(folder, image_size=(1, 4)).image_shape == (1, 4)
    with pytest.raises(DataError, match=r"need 9 values a row\. Got 4"):
        load_rows(folder, image_size=(3, 3))


def test_labels_of_all_shards(folder, is_streamed):
    save(folder / "a.parquet", TABLE[:9], label=np.arange(9))
    save(folder / "b.parquet", TABLE[9:12], label=np.arange(3))
    assert load_rows(folder).labels.tolist() == [*range(9), 0, 1, 2]
    np.save(folder / "c.npy", TABLE[12:])
    with pytest.raises(DataError, match="2 of 3 shards have labels"):
        load_rows(folder)


def test_a_bad_value_is_named_by_shard_and_row(folder, is_streamed):
    table = np.full((60, 4), 0.5)
    table[43, 2] = np.nan
    save_parts(folder, table)
    with pytest.raises(DataError, match=r"part-3.npy: 1 value NaN.*row 3, column 2"):
        load_rows(folder)


def differing():
    whole = TABLE.astype(np.float32) / 3
    return [
        (whole[:, :3], "float32 rows of 3 values, but .*a.npy: float32 rows of 4 values"),
        (TABLE, "uint8 rows of 4 values, but"),
        (whole.astype(np.float64), "float64 rows"),
        (whole.reshape(60, 2, 2), r"4 values \(2, 2\), but"),
        (whole[:0], r"b.npy: no values in an array of shape \(0, 4\)"),
        (whole[:, 0], r"b.npy: rows must come as"),
    ]


@pytest.mark.parametrize(("other", "message"), differing())
def test_shards_must_be_alike(folder, is_streamed, other, message):
    np.save(folder / "a.npy", TABLE.astype(np.float32) / 3)
    np.save(folder / "b.npy", other)
    with pytest.raises(DataError, match=message):
        load_rows(folder)


def test_columns_must_be_alike(folder):
    save(folder / "a.parquet", TABLE)
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = {f"x{i}": TABLE[:, i] for i in range(4)}
    pq.write_table(pa.table(names), folder / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet: other columns than .*a.parquet"):
        load_rows(folder)


def test_other_files_are_refused(folder):
    np.save(folder / "a.npy", TABLE)
    Image.new("L", (4, 4)).save(folder / "picture.png")
    with pytest.raises(DataError, match=r"picture.png: a folder of shards holds .npy and .parquet"):
        load_rows(folder)
    (folder / "picture.png").unlink()
    (folder / "more").mkdir()
    with pytest.raises(DataError, match="more: a folder of shards holds"):
        load_rows(folder)
    (folder / "more").rmdir()
    (folder / "b.npy").symlink_to(folder / "nowhere.npy")
    with pytest.raises(DataError, match=r"b.npy: a folder of shards holds"):
        load_rows(folder)
    (folder / "b.npy").unlink()
    (folder / "b.npy").write_bytes((folder / "a.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"b.npy ends after 239 of 240 bytes"):
        load_rows(folder)


def test_a_shard_that_changes_meanwhile(folder, monkeypatch):
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
    save_parts(folder, TABLE)
    rows = load_rows(folder)
    np.save(folder / "part-2.npy", TABLE[:5])
    rows.batch(slice(0, 11))
    with pytest.raises(DataError, match=r"part-2.npy: changed while it was in use"):
        rows.batch(slice(0, 12))


def test_a_folder_of_pictures_stays_one(folder):
    for number in range(3):
        Image.new("L", (4, 5), 100 + number).save(folder / f"{number}.png")
    assert load_rows(folder).image_shape == (5, 4)
