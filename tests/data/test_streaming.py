"""Rows on disk: the same rows as in memory, each once in an epoch, and only a few at a time."""

from __future__ import annotations

import itertools
import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from test_rows import REFUSED, STORED

from discretevae.data import Rows, load_data, load_rows
from discretevae.data.ranges import require_unit_interval
from discretevae.data.readers.npy import NpyTable
from discretevae.data.stores.shuffling import BlockOrder, Windowed
from discretevae.data.stores.streamed import Streamed
from discretevae.errors import DataError, DataWarning


@pytest.fixture
def small(monkeypatch):
    """Everything is streamed: blocks of 40 bytes, windows of 120, pieces of 200."""
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("discretevae.data.stores.streamed.WINDOW_BYTES", 120)
    monkeypatch.setattr("discretevae.data.stores.values.CHUNK", 200)
    monkeypatch.setattr("discretevae.data.stores.disk.PIECE_BYTES", 200)
    monkeypatch.setattr("discretevae.data.readers.npy.PIECE_BYTES", 200)
    monkeypatch.setattr("discretevae.data.readers.npy.BLOCK_BYTES", 40)
    monkeypatch.setattr("discretevae.data.readers.npy.GAP_BYTES", 12)


@pytest.fixture
def counted(monkeypatch):
    """Bytes of every read of a .npy file."""
    reads = []
    real = NpyTable._values

    def values(self, file, at, n):
        reads.append(n * self.dtype.itemsize)
        return real(self, file, at, n)

    monkeypatch.setattr(NpyTable, "_values", values)
    return reads


def numbered(n, width=4):
    """Bytes whose first two values of a row are its number."""
    table = np.random.default_rng(n).integers(0, 256, (n, width), np.uint8)
    table[:, 0], table[:, 1] = np.arange(n) // 256, np.arange(n) % 256
    return table


def numbers(x):
    """The rows' numbers, from a batch of numbered rows."""
    whole = (x[:, :2] * 255).round().long()
    return (whole[:, 0] * 256 + whole[:, 1]).tolist()


@pytest.fixture
def both(tmp_path, small):
    """The same table twice: in memory, and on disk."""

    def make(table, **options):
        np.save(tmp_path / "a.npy", table)
        rows = load_rows(tmp_path / "a.npy", **options)
        assert rows.is_streamed
        plain = Rows.from_array(table, divisor=options.get("divisor"))
        assert not plain.is_streamed
        return plain, rows

    return make


# what is read


@pytest.mark.parametrize(("array", "dtype", "divisor"), STORED)
def test_the_rules_for_values_are_those_of_arrays(both, array, dtype, divisor):
    array = np.asarray(array.detach().float() if isinstance(array, torch.Tensor) else array)
    plain, rows = both(array)
    assert (rows.divisor, rows.image_shape) == (divisor, None)
    assert rows.batch(slice(None)).dtype == torch.float32
    assert rows.values.between(0, 1).dtype == dtype
    assert torch.equal(rows.batch(slice(None)), plain.batch(slice(None)))
    assert rows.is_binary == plain.is_binary


FILES = [
    case
    for case in REFUSED
    if isinstance(case[0], np.ndarray)
    and not isinstance(case[0], np.ma.MaskedArray)
    and case[0].dtype.kind not in "OcM"
    and "labels" not in case[1]
]


@pytest.mark.parametrize(("array", "options", "message"), FILES)
def test_what_is_refused_is_that_of_arrays(tmp_path, small, array, options, message):
    np.save(tmp_path / "a.npy", array)
    options = {{"image_shape": "image_size"}.get(k, k): v for k, v in options.items()}
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - a ConfigError for some arguments
        load_rows(tmp_path / "a.npy", **options)
    assert message in str(caught.value) or options


def test_the_first_bad_value_is_named(tmp_path, small):
    table = np.full((40, 5), 0.5)
    table[31, 2] = table[39, 0] = np.nan
    np.save(tmp_path / "a.npy", table)
    with pytest.raises(DataError, match=r"a.npy: 2 values NaN.*row 31, column 2"):
        load_rows(tmp_path / "a.npy")


def test_small_whole_numbers_are_warned_of(tmp_path, small):
    np.save(tmp_path / "a.npy", np.arange(17).reshape(17, 1))
    with pytest.warns(DataWarning, match=r"from 0 to 16.*take the divisor 16"):
        load_rows(tmp_path / "a.npy")
    assert load_rows(tmp_path / "a.npy", divisor=16).batch(slice(8, 9)).item() == 0.5


@pytest.mark.parametrize("shape", [(9, 3, 4), (9, 1, 3, 4), (9, 3, 4, 1)])
def test_pictures_keep_their_shape(both, shape):
    plain, rows = both(numbered(9, 12).reshape(shape))
    assert rows.image_shape == (3, 4)
    assert torch.equal(rows.batch(slice(None)), plain.batch(slice(None)))


@pytest.mark.parametrize("shape", [(30, 6), (30, 2, 3), (30, 1, 2, 3), (30, 2, 3, 1)])
def test_fortran_order_is_loaded_but_not_streamed(tmp_path, monkeypatch, shape):
    table = np.random.default_rng(0).random(shape)
    np.save(tmp_path / "a.npy", np.asfortranarray(table))
    rows = load_rows(tmp_path / "a.npy")
    assert torch.equal(rows.batch(slice(None)), Rows.from_array(table).batch(slice(None)))
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
    with pytest.raises(DataError, match=r"Fortran order.*ascontiguousarray"):
        load_rows(tmp_path / "a.npy")


def test_what_is_stored_decides_not_the_file(tmp_path, monkeypatch):
    """Whole numbers in 8 bytes each are kept as bytes, and those fit."""
    np.save(tmp_path / "a.npy", numbered(50).astype(np.float64))
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 200)
    assert np.array_equal(load_rows(tmp_path / "a.npy").values.numpy(), numbered(50))
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 199)
    assert load_rows(tmp_path / "a.npy").is_streamed


@pytest.mark.parametrize(
    ("dtype", "divisor", "expected"),
    [(np.uint8, 255.0, 0), (np.uint8, None, 200), (np.float32, 255.0, 8000), (bool, None, 0)],
)
def test_a_file_is_looked_at_once_or_not_at_all(tmp_path, small, counted, dtype, divisor, expected):
    np.save(tmp_path / "a.npy", (numbered(500) / (1 if dtype is np.uint8 else 300)).astype(dtype))
    rows = load_rows(tmp_path / "a.npy", divisor=divisor)
    assert sum(counted) == expected
    require_unit_interval(rows)
    assert sum(counted) == expected, "the bounds are known"


def test_values_outside_the_unit_interval_are_counted(both):
    plain, rows = both(np.linspace(-0.5, 0.9, 100).reshape(50, 2))
    for table in (rows, rows.subset(slice(0, 40)), plain):
        with pytest.raises(DataError, match=r"-0.5 to 0.[69].*`likelihood='gaussian'`"):
            require_unit_interval(table)
    require_unit_interval(rows.subset(slice(25, 50)))


@given(data=st.data(), n=st.integers(1, 60), width=st.integers(1, 50))
@settings(max_examples=80, deadline=None)
def test_any_batch_is_that_of_memory(tmp_path_factory, data, n, width):
    path = tmp_path_factory.mktemp("rows") / "a.npy"
    table = np.random.default_rng(n).random((n, width)).astype(data.draw(st.sampled_from("fd")))
    np.save(path, table)
    plain = Rows.from_array(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
        patch.setattr(
            "discretevae.data.stores.streamed.WINDOW_BYTES", data.draw(st.integers(0, 900))
        )
        patch.setattr("discretevae.data.readers.npy.BLOCK_BYTES", data.draw(st.integers(1, 900)))
        patch.setattr("discretevae.data.readers.npy.GAP_BYTES", data.draw(st.integers(0, 900)))
        rows = load_rows(path)
        for _ in range(3):
            index = torch.tensor(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20)))
            index = index.long()
            assert torch.equal(rows.batch(index), plain.batch(index))
            ends = st.none() | st.integers(-70, 70)
            cut = slice(data.draw(ends), data.draw(ends), data.draw(st.none() | st.integers(1, 4)))
            assert torch.equal(rows.batch(cut), plain.batch(cut))
            chosen = index if len(index) and data.draw(st.booleans()) else cut
            if len(plain.subset(chosen)):
                rows, plain = rows.subset(chosen), plain.subset(chosen)
        assert torch.equal(rows.batch(slice(None)), plain.batch(slice(None)))
        assert len(rows) == len(plain)


def test_a_repeated_row_beside_a_gap(both):
    """As many rows as the span holds, but not those: a run must be looked at, not counted."""
    plain, rows = both(numbered(50))
    for index in ([3, 3, 4, 6], [3, 4, 4, 6], [9, 8, 8, 6], [5, 5], [5, 6, 7, 5]):
        index = torch.tensor(index)
        assert torch.equal(rows.batch(index), plain.batch(index))


def test_rows_that_are_not_there(both, monkeypatch):
    _, rows = both(numbered(50))
    part = rows.subset(torch.arange(0, 50, 2))
    for table, bad in itertools.product((rows, part), (-1, 50)):
        with pytest.raises(IndexError):
            table.batch(torch.tensor([0, bad]))


# held-out rows


def test_a_split_reads_nothing_and_is_that_of_memory(tmp_path, small, counted, monkeypatch):
    np.save(tmp_path / "a.npy", numbered(400))
    data = load_data(tmp_path / "a.npy", divisor=255.0)
    assert not counted
    assert data.train.is_streamed
    assert data.test.is_streamed
    streamed = [part.batch(slice(None)) for part in (data.train, data.test)]
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 2**30)
    plain = load_data(tmp_path / "a.npy", divisor=255.0)
    assert torch.equal(streamed[0], plain.train.batch(slice(None)))
    assert torch.equal(streamed[1], plain.test.batch(slice(None)))


def test_few_rows_are_read_once_and_kept(both, counted):
    plain, rows = both(numbered(400), divisor=255.0)
    index = torch.tensor([399, 7, 200, 201])
    few = rows.subset(index)
    assert not counted
    for _ in range(3):
        assert torch.equal(few.batch(slice(None)), plain.batch(index))
        assert torch.equal(few.batch(torch.tensor([1])), plain.batch(index[1:2]))
    assert len(counted) == 3
    assert len(few.epoch(0, 1, 3).take(0)) == 3


# an epoch


@given(data=st.data(), n=st.integers(1, 300), batch=st.integers(1, 90))
@settings(max_examples=60, deadline=None)
def test_every_row_once_in_an_epoch_and_any_step_alone(tmp_path_factory, data, n, batch):
    """Whatever the blocks, windows and batches: straddling ones, and ones larger than windows."""
    path = tmp_path_factory.mktemp("rows") / "a.npy"
    np.save(path, numbered(n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
        patch.setattr(
            "discretevae.data.stores.streamed.WINDOW_BYTES", 4 * data.draw(st.integers(1, 400))
        )
        patch.setattr("discretevae.data.readers.npy.BLOCK_BYTES", 4 * data.draw(st.integers(1, 60)))
        rows = load_rows(path, divisor=255.0)
        expected = list(range(n))
        if data.draw(st.booleans()):
            kept = torch.randperm(n, generator=torch.Generator().manual_seed(n))[: -(-n // 2)]
            expected = sorted(kept.tolist())
            rows = rows.subset(kept if data.draw(st.booleans()) else kept.sort().values)
        batches = rows.epoch(3, 1, batch)
        steps = [batches.take(step) for step in range(len(batches))]
        assert all(len(x) == batch for x in steps[:-1])
        assert 1 <= len(steps[-1]) <= batch
        assert sorted(numbers(torch.cat(steps))) == expected
        for step in data.draw(st.lists(st.integers(0, len(steps) - 1), max_size=4)):
            assert torch.equal(rows.epoch(3, 1, batch).take(step), steps[step])
            assert torch.equal(rows.batch(batches.numbers(step)), steps[step])
            assert torch.equal(batches.take(step), steps[step]), "going back"
        assert batches.take(len(steps) + 1).shape == (0, 4)
        assert batches.numbers(len(steps) + 1).shape == (0,)


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_ranks_share_a_batch_as_they_do_in_memory(both, ranks):
    plain, rows = both(numbered(101), divisor=255.0)
    for table in (plain, rows):
        whole = table.epoch(0, 2, 10)
        for step in range(len(whole)):
            x = whole.take(step)
            parts = [table.epoch(0, 2, 10).take(step, rank=r, ranks=ranks) for r in range(ranks)]
            for part, expected in zip(parts, x.tensor_split(ranks), strict=True):
                assert torch.equal(part, expected)


def test_rows_in_memory_keep_their_order():
    """Runs of earlier versions go on as they began."""
    rows = Rows.from_array(numbered(100), divisor=255.0)
    first = rows.epoch(0, 1, 8)
    assert numbers(first.take(0)) == [70, 38, 4, 59, 13, 28, 17, 90]
    assert numbers(rows.epoch(5, 3, 8).take(12)) == [85, 12, 57, 24]


def test_rows_on_disk_keep_their_order():
    """A change here would let a resumed run meet some rows twice and others never."""
    order = BlockOrder(torch.arange(0, 101, 10), 30, 0, 1)
    assert order.starts == [0, 20, 50, 70, 100]
    assert order.rows_of(0)[order.order_of(0)][:6].tolist() == [6, 61, 63, 3, 4, 66]
    assert order.rows_of(2)[order.order_of(2)][:6].tolist() == [18, 16, 73, 10, 14, 74]


def test_epochs_and_seeds_differ(both):
    _, rows = both(numbered(300), divisor=255.0)
    orders = {
        tuple(numbers(rows.epoch(seed, epoch, 300).take(0)))
        for seed, epoch in ((0, 1), (0, 2), (1, 1), (0, 1))
    }
    assert len(orders) == 3


def test_an_epoch_reads_the_file_once_and_holds_two_windows(both, counted):
    _, rows = both(numbered(3000), divisor=255.0)
    batches = rows.epoch(0, 1, 7)
    held = set()
    for step in range(len(batches)):
        batches.take(step)
        held.add(len(batches.order._held))
    assert held <= {1, 2}
    assert sum(counted) == 3000 * 4
    # a window of three blocks may have a part of a block more
    assert max(counted) <= 40
    sizes = np.diff(batches.order._order.starts)
    assert sizes.sum() == 3000
    assert sizes.max() <= 30 + 10
    assert sizes.min() >= 20


def test_a_step_in_the_middle_reads_two_windows_at_most(both, counted):
    _, rows = both(numbered(3000), divisor=255.0)
    batches = rows.epoch(0, 1, 7)
    batches.take(200)
    batches.order._thread.shutdown()
    assert sum(counted) <= 2 * 40 * 4 + 40 * 4


def test_held_out_rows_are_skipped_without_many_small_reads(both, counted):
    _, rows = both(numbered(3000), divisor=255.0)
    kept = torch.randperm(3000, generator=torch.Generator().manual_seed(0))[:2700].sort().values
    batches = rows.subset(kept).epoch(0, 1, 100)
    seen = torch.cat([batches.take(step) for step in range(len(batches))])
    assert sorted(numbers(seen)) == kept.tolist()
    assert len(counted) <= 330
    assert sum(counted) <= 3000 * 4


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    window=st.integers(1, 80),
    epoch=st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_windows_of_any_blocks_share_out_the_rows(sizes, window, epoch):
    edges = torch.tensor([0, *itertools.accumulate(sizes)])
    order = BlockOrder(edges, window, 0, epoch)
    n_rows = sum(sizes)
    rows = [order.rows_of(k) for k in range(len(order))]
    assert sorted(torch.cat([torch.empty(0).long(), *rows]).tolist()) == list(range(n_rows))
    assert order.starts == [0, *itertools.accumulate(len(part) for part in rows)]
    blocks = [set(torch.searchsorted(edges, part, right=True).tolist()) for part in rows]
    assert sum(map(len, blocks)) == len(set().union(*blocks)), "a block lies in one window"
    for k, part in enumerate(rows):
        assert (part.diff() > 0).all()
        assert sorted(order.order_of(k).tolist()) == list(range(len(part)))
        assert 0 < len(part) < window + 2 * max(sizes)


def test_a_window_is_shuffled_evenly():
    """Any row may stand at any place of its window, and any block in any window."""
    edges = torch.arange(0, 41, 2)
    first = torch.zeros(10, 40)
    for epoch in range(1, 4001):
        order = BlockOrder(edges, 10, 0, epoch)
        assert order.starts == [0, 10, 20, 30, 40]
        first[torch.arange(10), order.rows_of(0)[order.order_of(0)]] += 1
    # counts of 100 expected, standard deviation 9.9: none of 400 is off by 60
    assert (first - 100).abs().max() < 60


def test_every_window_gets_one_of_as_many_neighbors_as_there_are_windows():
    order = BlockOrder(torch.arange(0, 601, 5), 100, 0, 1)
    assert len(order) == 6
    for window in range(6):
        blocks = order.rows_of(window)[::5] // 5
        assert (blocks // 6).tolist() == list(range(20))
    hands = [BlockOrder(torch.arange(0, 601, 5), 100, 0, epoch).rows_of(0) for epoch in (1, 2)]
    assert not torch.equal(*hands)


def spread_of_a_class(batch=128, blocks=64, block=100, windows=30):
    """Standard deviation of a class's share in a batch of a sorted table, over that of perfect
    shuffling."""
    n_rows = block * blocks * windows
    labels = torch.arange(n_rows) * 10 // n_rows
    order = BlockOrder(torch.arange(0, n_rows + 1, block), block * blocks, 0, 1)
    met = torch.cat([labels[order.rows_of(k)[order.order_of(k)]] for k in range(len(order))])
    share = (met[: n_rows // batch * batch].reshape(-1, batch) == 3).double().mean(1)
    return share.std().item() / (0.1 * 0.9 / batch) ** 0.5


def test_a_table_that_is_sorted_by_class_is_shuffled_as_well_as_any(monkeypatch):
    # 1,500 batches: the ratio of an honest order is off by 0.018 (one standard deviation)
    assert spread_of_a_class() == pytest.approx(1, abs=0.07)

    def drawn(n_blocks, n_windows, generator):
        return torch.randperm(n_blocks, generator=generator)

    # blocks drawn without regard to their place, as is usual: a class may be rare for long
    monkeypatch.setattr("discretevae.data.stores.shuffling._dealt", drawn)
    assert spread_of_a_class() == pytest.approx((1 + 128 / 64) ** 0.5, rel=0.15)


# what goes wrong


@pytest.mark.parametrize("keep", [0, 50, 127, 128, 500, 1000])
def test_a_file_that_is_cut_short_meanwhile(both, tmp_path, keep):
    _, rows = both(numbered(400), divisor=255.0)
    batches = rows.epoch(0, 1, 10)
    batches.take(0)
    os.truncate(tmp_path / "a.npy", keep)
    with pytest.raises(DataError, match=rf"a.npy: changed while it was in use \({keep:,} bytes"):
        torch.cat([batches.take(step) for step in range(len(batches))])
    with pytest.raises(DataError, match="changed while it was in use"):
        rows.batch(slice(None))


def test_a_file_that_is_cut_short_between_look_and_read(both, tmp_path, monkeypatch):
    _, rows = both(numbered(400), divisor=255.0)
    monkeypatch.setattr("discretevae.data.stores.disk.Stamp.require", lambda *_: None)
    os.truncate(tmp_path / "a.npy", 500)
    with pytest.raises(DataError, match="cut short while it was read"):
        rows.batch(slice(None))


def test_a_file_that_is_written_to_meanwhile(both, tmp_path):
    _, rows = both(numbered(400), divisor=255.0)
    np.save(tmp_path / "a.npy", numbered(400)[::-1])
    os.utime(tmp_path / "a.npy", ns=(0, 0))
    with pytest.raises(DataError, match=r"changed while it was in use \(new time\)"):
        rows.batch(slice(0, 2))


def test_a_file_that_is_gone(both, tmp_path):
    _, rows = both(numbered(400), divisor=255.0)
    (tmp_path / "a.npy").unlink()
    for ask in (lambda: rows.batch(slice(0, 2)), lambda: rows.epoch(0, 1, 5).take(3)):
        with pytest.raises(DataError, match=r"a.npy: can no longer be read \(No such file"):
            ask()


def test_too_many_rows_to_number(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", numbered(400))
    monkeypatch.setattr("discretevae.data.stores.disk.MAX_BYTES", 8 * 399)
    with pytest.raises(DataError, match="400 rows; at most 399"):
        load_rows(tmp_path / "a.npy")


def test_an_error_of_the_thread_is_told_where_it_is_due():
    def read(rows):
        if 25 in rows:
            raise DataError("row 25")
        return rows[:, None]

    order = BlockOrder(torch.arange(0, 101, 10), 10, 0, 1)
    bad = next(k for k in range(len(order)) if 25 in order.rows_of(k))
    windowed = Windowed(order, read)
    for k in range(bad):
        assert len(windowed.between(10 * k, 10 * k + 10)) == 10
    for _ in range(2):
        with pytest.raises(DataError, match="row 25"):
            windowed.between(10 * bad, 10 * bad + 1)


def test_rows_on_disk_go_to_other_processes(both):
    _, rows = both(numbered(60), divisor=255.0)
    part = rows.subset(torch.arange(5, 55))
    again = pickle.loads(pickle.dumps(part))  # noqa: S301 - our own, for the processes of a rank
    assert isinstance(again.values, Streamed)
    assert torch.equal(again.batch(slice(None)), part.batch(slice(None)))
    assert torch.equal(again.epoch(0, 1, 9).take(2), part.epoch(0, 1, 9).take(2))
