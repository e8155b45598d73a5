"""Codes as files: packed and unpacked, encoded and decoded."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from discretevae import pack_codes, unpack_codes
from discretevae.codes.packing import decode_codes, encode_rows, read_codes
from discretevae.data import Rows, load_rows
from discretevae.data.stores.prefetch import ahead
from discretevae.errors import DataError
from discretevae.families import Bernoulli, Categorical, Gaussian
from discretevae.run_folder.saved_run import load_run
from discretevae.system.ranks import Ranks


@given(data=st.data(), n=st.integers(1, 6), d=st.integers(1, 70))
@settings(max_examples=60, deadline=None)
def test_bits_of_any_width(data, n, d):
    bits = data.draw(hnp.arrays(np.uint8, (n, d), elements=st.integers(0, 1)))
    packed = pack_codes(Bernoulli(d), torch.from_numpy(bits))
    assert packed.dtype == np.uint8
    assert packed.shape == (n, (d + 7) // 8)
    # the first bit is the highest: the bytes are the number that the bits spell
    for row, word in zip(bits, packed, strict=True):
        spelled = "".join(map(str, row)).ljust(8 * len(word), "0")
        assert int.from_bytes(word.tobytes(), "big") == int(spelled, 2)
    back = unpack_codes(Bernoulli(d), packed)
    assert back.dtype == torch.uint8
    assert np.array_equal(back.numpy(), bits)


@given(data=st.data(), n=st.integers(1, 6), d=st.integers(1, 9), k=st.integers(2, 70_000))
@settings(max_examples=60, deadline=None)
def test_categories_of_any_number(data, n, d, k):
    codes = data.draw(hnp.arrays(np.int64, (n, d), elements=st.integers(0, k - 1)))
    family = Categorical(d, k)
    packed = pack_codes(family, torch.from_numpy(codes))
    assert packed.dtype == (np.uint8 if k <= 256 else np.uint16 if k <= 65_536 else np.int64)
    back = unpack_codes(family, packed)
    assert back.dtype == torch.int64
    assert np.array_equal(back.numpy(), codes)


@pytest.mark.parametrize(
    ("k", "dtype"),
    [(2, "u1"), (256, "u1"), (257, "u2"), (300, "u2"), (65_536, "u2"), (65_537, "i8")],
)
def test_the_least_type_holds_the_largest_category(k, dtype):
    codes = torch.tensor([[0], [k - 1]])
    packed = pack_codes(Categorical(1, k), codes)
    assert packed.dtype == np.dtype(dtype)
    assert torch.equal(unpack_codes(Categorical(1, k), packed), codes)


def test_real_codes():
    codes = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    packed = pack_codes(Gaussian(3), codes)
    assert packed.dtype == np.float32
    assert torch.equal(unpack_codes(Gaussian(3), packed), codes)


REFUSED = [
    (Bernoulli(9), np.zeros((2, 1), "u1"), r"uint8 \[2, 1\].*bernoulli:9.*uint8 \[rows, 2\]"),
    (Bernoulli(9), np.zeros((2, 9), "u1"), r"uint8 \[2, 9\]"),
    (Bernoulli(9), np.zeros((2, 2), "i1"), r"int8 \[2, 2\]"),
    (Bernoulli(9), np.zeros((2, 2), bool), r"bool \[2, 2\]"),
    (Bernoulli(9), np.zeros(2, "u1"), r"uint8 \[2\]"),
    (Bernoulli(9), np.zeros((1, 2, 2), "u1"), r"uint8 \[1, 2, 2\]"),
    (Bernoulli(9), np.array([[0, 64]], "u1"), "more than 9 bits"),
    (Categorical(2, 5), np.array([[0, 5]], "u1"), "from 0 to 5.*0 to 4"),
    (Categorical(1, 300), np.array([[300]], "u2"), "from 300 to 300.*0 to 299"),
    (Categorical(1, 300), np.array([[3]], "u1"), r"uint16 \[rows, 1\]"),
    (Categorical(1, 300), np.array([[3]], ">u2"), r"uint16 \[rows, 1\]"),
    (Categorical(1, 70_000), np.array([[-1]]), "from -1 to -1"),
    (Gaussian(2), np.zeros((1, 2)), r"float64 \[1, 2\].*float32 \[rows, 2\]"),
    (Gaussian(2), np.array([[0, np.inf]], "f4"), "NaN or infinite"),
]


@pytest.mark.parametrize(("family", "packed", "message"), REFUSED)
def test_other_codes_are_refused(family, packed, message):
    with pytest.raises(DataError, match=message) as caught:
        unpack_codes(family, packed)
    assert "Give codes that " in str(caught.value)


@given(content=st.binary(max_size=200), keep=st.integers(0, 200), at=st.integers(0, 140))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_damaged_files_are_refused(tmp_path_factory, content, keep, at):
    """Cut, or with random bytes over the header: codes or a DataError, nothing else."""
    path = tmp_path_factory.mktemp("codes") / "c.npy"
    np.save(path, np.zeros((20, 2), "u1"))
    whole = bytearray(path.read_bytes())
    whole[at : at + len(content)] = content[: max(0, 140 - at)]
    path.write_bytes(whole[: max(0, len(whole) - keep)])
    try:
        packed = read_codes(path, Bernoulli(9))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - not every damage is met
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert packed.dtype == np.uint8
        assert packed.shape[1] == 2


@pytest.mark.parametrize(
    "latent", ["bernoulli:6", "categorical:5", "gaussian:3", "categorical:3x4"]
)
def test_encode_and_decode_are_reconstruct(latent, cli, trained, tmp_path):
    folder = trained(latent)
    codes, back, direct = (tmp_path / name for name in ("c.npy", "b.npy", "r.npy"))
    said = cli("encode", folder, "--split", "test", "--out", codes, "--json")
    assert said.status == 0
    array = np.load(codes, allow_pickle=False)
    facts = {"rows": 297, "out": str(codes), "dtype": str(array.dtype), "shape": [*array.shape]}
    facts["ids"] = str(tmp_path / "c.ids.csv")
    assert json.loads(said.out) == facts
    assert cli("decode", folder, codes, "--out", back).status == 0
    assert cli("reconstruct", folder, "--n", "1000", "--out", direct).status == 0
    # matrix products of another number of rows may round otherwise, by a few units of float32
    assert np.allclose(np.load(back), np.load(direct), rtol=0, atol=2e-6)
    assert np.load(back).shape == (297, 8, 8)
    run = load_run(folder)
    rows = load_rows("digits", split="test")
    np.testing.assert_allclose(array, encode_rows(run.model, rows), rtol=1e-5, atol=1e-5)
    x = rows.batch(slice(None))
    torch.testing.assert_close(unpack_codes(run.model.family, array), run.model.encode(x))
    assert torch.allclose(decode_codes(run.model, array), run.model.reconstruct(x), atol=2e-6)
    assert cli("decode", folder, codes, "--out", tmp_path / "b.png").status == 0
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "latent", ["bernoulli:6", "categorical:5", "gaussian:3", "categorical:3x4"]
)
@pytest.mark.parametrize("where", ["memory", "disk", "sparse"])
def test_encoding_to_a_file_is_saving_what_is_encoded(
    latent, where, trained, tmp_path, monkeypatch
):
    """To the byte, in chunks of any size, wherever the rows lie."""
    monkeypatch.setattr("discretevae.codes.packing.DECODER_ROWS", 50)
    model = load_run(trained(latent)).model
    plain = load_rows("digits", split="test")
    np.save(tmp_path / "rows.npy", plain.values)
    rows = plain
    if where == "disk":
        monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
        rows = load_rows(tmp_path / "rows.npy", divisor=16)
        assert rows.is_streamed
    elif where == "sparse":
        rows = Rows.from_array(scipy.sparse.csr_array(plain.values.numpy()), divisor=16)
    codes = encode_rows(model, plain)
    assert np.array_equal(encode_rows(model, rows), codes)
    done = []
    written = encode_rows(model, rows, out=tmp_path / "c.npy", progress=done.append)
    np.save(tmp_path / "saved.npy", codes)
    assert (tmp_path / "c.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()
    assert np.array_equal(written, codes)
    assert not written.flags.writeable
    assert done == [50, 100, 150, 200, 250, 297]


class Threads:
    """Ranks that are threads of this process."""

    def __init__(self, count):
        self.count, self.here, self.barrier = count, [None] * count, threading.Barrier(count)

    def of(self, rank):
        threads = self

        class One(Ranks):
            def gather(self, tensor):
                threads.here[self.rank] = tensor
                threads.barrier.wait(60)
                found = [part.clone() for part in threads.here]
                threads.barrier.wait(60)
                return found

        return One(rank, self.count)


@pytest.mark.parametrize("latent", ["bernoulli:6", "categorical:5", "gaussian:3"])
@pytest.mark.parametrize(("count", "size"), [(2, 50), (3, 50), (2, 297), (4, 99), (5, 2)])
def test_ranks_share_the_chunks(latent, count, size, trained, tmp_path, monkeypatch):
    """Also in a last round in which there is nothing left for some of them."""
    monkeypatch.setattr("discretevae.codes.packing.DECODER_ROWS", size)
    model = load_run(trained(latent)).model
    rows = load_rows("digits", split="test")
    codes = encode_rows(model, rows)
    ranks = Threads(count)

    def encode(rank, out=None):
        with torch.no_grad():
            return encode_rows(model, rows, out=out, ranks=ranks.of(rank))

    with ThreadPoolExecutor(count) as threads:
        for found in threads.map(encode, range(count)):
            assert np.array_equal(found, codes)
        out = tmp_path / "c.npy"
        first, *others = threads.map(encode, range(count), [out] * count)
    assert np.array_equal(first, codes)
    assert np.array_equal(np.load(out), codes)
    assert all(other.shape == (0, codes.shape[1]) for other in others)


def test_two_processes_share_the_work(cli, ranks, trained, tmp_path):
    folder, alone, shared = trained("bernoulli:6"), tmp_path / "a.npy", tmp_path / "b.npy"
    assert cli("encode", folder, "--split", "test", "--out", alone).status == 0
    first, second = ranks(2, None, "encode", folder, "--split", "test", "--out", shared, "--json")
    assert (first.status, second.status, second.out) == (0, 0, "")
    assert json.loads(first.out)["rows"] == 297
    assert shared.read_bytes() == alone.read_bytes()


def test_codes_do_not_go_into_the_folder_of_the_rows(cli, trained, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    np.save(shards / "a.npy", load_rows("digits", split="test").values)
    said = cli("encode", trained("bernoulli:6"), shards, "--out", shards / "codes.npy")
    assert said.status == 2
    assert "Choose another --out" in said.err
    assert [entry.name for entry in shards.iterdir()] == ["a.npy"]
    assert cli("encode", trained("bernoulli:6"), shards, "--out", tmp_path / "c.npy").status == 0
    assert len(np.load(tmp_path / "c.npy")) == 297


def test_a_file_that_ends_while_it_is_encoded_leaves_what_was_there(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("discretevae.codes.packing.DECODER_ROWS", 50)
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
    model = load_run(trained("bernoulli:6")).model
    path, out = tmp_path / "rows.npy", tmp_path / "c.npy"
    np.save(path, load_rows("digits", split="test").values)
    rows = load_rows(path, divisor=16)
    out.write_bytes(b"before")

    def cut(done):
        if done == 100:
            path.write_bytes(path.read_bytes()[:5000])

    with pytest.raises(DataError, match="changed while it was in use"):
        encode_rows(model, rows, out=out, progress=cut)
    assert out.read_bytes() == b"before"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["c.npy", "rows.npy"]


def test_wide_rows_are_encoded_few_at_a_time(trained, monkeypatch):
    monkeypatch.setattr("discretevae.codes.packing.CHUNK_VALUES", 64 * 70)
    done = []
    rows = load_rows("digits", split="test")
    codes = encode_rows(load_run(trained("bernoulli:6")).model, rows, progress=done.append)
    assert done == [70, 140, 210, 280, 297]
    assert len(codes) == 297


def test_the_command_writes_nothing_if_the_rows_do_not_fit(cli, trained, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 5), np.uint8))
    out = tmp_path / "new" / "c.npy"
    said = cli("encode", trained("bernoulli:6"), tmp_path / "a.npy", "--out", out)
    assert said.status == 2
    assert "5 features" in said.err
    assert not out.parent.exists()


def test_what_is_read_ahead_comes_in_order_and_stops_in_time():
    made = []

    def make(n):
        made.append(n)
        if n == 4:
            raise DataError("four")
        return n

    results = ahead(make, range(10))
    assert made == []
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(DataError, match="four"):
        next(results)
    assert max(made) <= 5
    assert list(ahead(make, [])) == []


def test_all_rows_are_encoded_in_the_order_of_the_file(cli, trained, tmp_path, monkeypatch):
    folder = trained("bernoulli:6")
    rows = load_rows("digits")
    assert cli("encode", folder, "--out", tmp_path / "c.npy").status == 0
    codes = np.load(tmp_path / "c.npy")
    assert codes.shape == (1797, 1)
    monkeypatch.setattr("discretevae.codes.packing.DECODER_ROWS", 100)
    done = []
    model = load_run(folder).model
    assert np.array_equal(encode_rows(model, rows, progress=done.append), codes)
    assert done == [*range(100, 1800, 100), 1797]
    assert np.array_equal(
        decode_codes(model, codes).numpy()[1700:], decode_codes(model, codes[1700:]).numpy()
    )
