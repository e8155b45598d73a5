"""Names of rows in an index, and a query that is itself there."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from discretevae.codes.ids import as_names
from discretevae.codes.search.entries import MAX_NAME_BYTES, Entries
from discretevae.codes.search.index import CodeIndex
from discretevae.config import ModelConfig
from discretevae.data import Rows, load_rows
from discretevae.errors import DataError
from discretevae.model.vae import fresh_model
from discretevae.system.tensor_files import read_arrays, write_arrays

N = 40
NAMES = ["img2.png", "img10.png", "a,b", 'say "so"', "two\nlines", "雪/Größe.png", "", "x" * 5000,
         "1", "-1", "\udcff.png", "img2.png"]  # fmt: skip
NAMES += [f"p/img{i}.png" for i in range(N - len(NAMES))]


@pytest.fixture(scope="module")
def model():
    return fresh_model(ModelConfig(n_features=9, latent="bernoulli:2", hidden=(8,)), seed=0)


@pytest.fixture
def rows():
    values = torch.rand(N, 9, generator=torch.Generator().manual_seed(0))
    return Rows.from_array(values, ids=as_names(NAMES))


def codes_of(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 1), dtype=np.uint8)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=20), st.randoms())
@settings(max_examples=60, deadline=None)
def test_names_come_back_with_their_rows(tmp_path_factory, names, random):
    path = tmp_path_factory.mktemp("index") / "a.index"
    ids = random.sample(range(1000), len(names))
    CodeIndex.from_codes(codes_of(len(names)), "bernoulli:8", ids=ids, names=names).save(path)
    index = CodeIndex.load(path)
    assert dict(zip(index.ids.tolist(), index.names, strict=True)) == dict(
        zip(ids, names, strict=True)
    )


def test_what_is_found_goes_by_its_name(model, rows, tmp_path):
    index = CodeIndex.build(model, rows)
    assert index.names == NAMES
    index.save(tmp_path / "a.index")
    for held in (index, CodeIndex.load(tmp_path / "a.index")):
        found = held.search(model, rows, 5)
        assert (found.names == as_names(NAMES)[found.ids]).all()
        for parts in (found.to_dict(), json.loads(json.dumps(found.to_dict()))):
            assert parts["names"] == found.names.tolist()
    assert (
        CodeIndex.from_codes(codes_of(3), "bernoulli:8").search_codes(codes_of(3), 2).names is None
    )


def test_a_query_is_marked_where_it_is_itself(model, rows):
    index = CodeIndex.build(model, rows)
    found = index.search(model, rows, N)
    # the code has 4 values: many rows are at distance 0, and one of each is the query
    assert (found.own == (found.ids == np.arange(N)[:, None])).all()
    assert ((found.distances == 0).sum(1) > 1).any()
    some = index.search(model, rows.subset(torch.tensor([7, 3])), N)
    assert some.ids[some.own].tolist() == [7, 3]
    # the same name, another picture; the same picture, another name
    other = Rows.from_array(1 - rows.values, ids=rows.ids)
    assert not index.search(model, other, N).own.any()
    renamed = replace(rows, ids=as_names([f"copy of {name}" for name in NAMES]))
    assert not index.search(model, renamed, N).own.any()


def test_a_file_is_itself_among_others_that_are_alike(model, rows):
    names = ["cat/img1.png", "dog/img1.png", "img1.png", "a/cat/img1.png", "cat/big-img1.png"]
    alike = Rows.from_array(rows.values[:1].repeat(5, 1), ids=as_names(names))
    index = CodeIndex.build(model, alike)

    def own(name):
        query = replace(alike.subset(slice(0, 1)), ids=as_names([name]))
        found = index.search(model, query, 5)
        return set(found.names[found.own].tolist())

    assert own("dog/img1.png") == {"dog/img1.png"}
    assert own("img1.png") == {"img1.png"}
    assert own("p/cat/img1.png") == own("g1.png") == own("dog/img2.png") == set()


def test_numbers_of_rows_are_marked_too(model, rows):
    plain = replace(rows, ids=None)
    test = plain.subset(torch.tensor([5, 9, 30]))
    index = CodeIndex.build(model, test)
    assert (index.ids.tolist(), index.names) == ([5, 9, 30], None)
    found = index.search(model, plain, 3)
    assert found.own.any(1).nonzero()[0].tolist() == [5, 9, 30]
    # another table of the same numbers
    assert not index.search(model, Rows.from_array(1 - rows.values), 3).own.any()


def test_a_query_comes_before_other_rows_of_its_code(model):
    alike = Rows.from_array(
        torch.full((1, 9), 0.3).repeat(30, 1) + torch.arange(30)[:, None] * 1e-6
    )
    index = CodeIndex.build(model, alike)
    found = index.search(model, alike, 3)
    assert (found.ids[:, 0] == np.arange(30)).all()
    assert found.own[:, 0].all()
    assert not found.own[:, 1:].any()
    assert (found.ids[9] == [9, 0, 1]).all()
    assert (index.search(model, alike, 1).ids[:, 0] == np.arange(30)).all()
    # without a name nobody is itself
    assert (index.search_codes(index.codes_of([7, 8]), 3).ids == [0, 1, 2]).all()


def test_copies_of_a_row_are_no_other_row(model, rows):
    twice = Rows.from_array(torch.cat([rows.values[:2], rows.values[:2]]))
    found = CodeIndex.build(model, twice).search(model, twice, 4)
    assert (found.own == (found.ids == np.arange(4)[:, None])).all()


def test_whole_numbers_that_differ_are_ids_and_others_names(model, rows):
    def built(ids):
        index = CodeIndex.build(model, replace(rows.subset(slice(0, 3)), ids=np.array(ids)))
        return index.ids.tolist(), index.names

    assert built([70, 7, 8]) == ([7, 8, 70], None)
    assert built([7, 7, 8]) == ([0, 1, 2], ["7", "7", "8"])
    assert built([-7, 7, 8]) == ([0, 1, 2], ["-7", "7", "8"])
    assert built(["7", "x", "8"]) == ([0, 1, 2], ["7", "x", "8"])
    repeated = replace(rows.subset(slice(0, 3)), ids=np.array([7, 7, 8]))
    index = CodeIndex.build(model, repeated)
    # rows of one id are told apart by their values
    assert index.search(model, repeated, 3).own.sum() == 3


def test_rows_are_added_with_their_names(model, rows):
    first, rest = (rows.subset(part) for part in (slice(0, 12), slice(12, None)))
    index = CodeIndex.build(model, first)
    index.add(model, rest)
    whole = CodeIndex.build(model, rows)
    assert (index.ids.tolist(), index.names) == (whole.ids.tolist(), whole.names)
    assert (index.search(model, rows, 9).own == whole.search(model, rows, 9).own).all()
    # numbers beside names become names
    index.add(model, replace(rest, ids=None), ids=range(500, 528))
    assert index.names[N:] == [str(i) for i in range(500, 528)]
    numbers = CodeIndex.build(model, replace(first, ids=None))
    numbers.add(model, rest)
    assert numbers.names == [*map(str, range(12)), *NAMES[12:]]


def test_parts_of_a_source_keep_their_numbers(model, rows):
    plain = replace(rows, ids=None)
    even, odd = plain.subset(slice(0, None, 2)), plain.subset(slice(1, None, 2))
    index = CodeIndex.build(model, even)
    index.add(model, odd)
    assert index.ids.tolist() == list(range(N))
    assert index.search(model, plain, N).own.sum() == N
    index.add(model, Rows.from_array(rows.values[:3]))  # of another source
    assert index.ids.tolist() == list(range(N + 3))
    own = replace(rows.subset(slice(0, 2)), ids=np.array([3, 70]))
    with pytest.raises(DataError, match="ids must be new, but 3 is there already"):
        index.add(model, own)
    assert len(index) == N + 3


def test_rows_are_removed_by_their_names(model, rows):
    index = CodeIndex.build(model, rows)
    index.remove(np.array(["img2.png", "two\nlines"]))  # two of the one, one of the other
    assert len(index) == N - 3
    assert {"img2.png", "two\nlines"}.isdisjoint(index.names)
    index.remove([1])  # by number too
    assert "img10.png" not in index.names
    for missing in (["img2.png"], ["a,b", "nowhere"]):
        with pytest.raises(DataError, match=r"names must be in the index, but '.*' is not"):
            index.remove(np.array(missing))
    assert len(index) == N - 4
    found = index.search(model, rows, 2)
    assert set(found.names.ravel()) <= set(index.names)
    with pytest.raises(DataError, match="no row would be left"):
        index.remove(as_names(index.names))


def test_names_have_a_limit_and_fit_the_rows():
    for names, message in (
        (["a"], "1 names for 2 rows"),
        (["a", "é" * MAX_NAME_BYTES], "at most 65,536 bytes"),
    ):
        with pytest.raises(DataError, match=message):
            CodeIndex.from_codes(codes_of(2), "bernoulli:8", names=names)
    CodeIndex.from_codes(codes_of(2), "bernoulli:8", names=["a", "x" * MAX_NAME_BYTES])


@pytest.mark.parametrize(
    "change",
    [
        {"sums": np.zeros(3, np.uint32)},
        {"sums": np.zeros(2, np.int64)},
        {"names": np.zeros(5, np.int64)},
        {"names": np.full(5, 255, np.uint8)},
        {"name_lengths": np.array([6, -1])},
        {"name_lengths": np.array([2**63 - 1, 2**63 - 1])},
        {"name_lengths": np.array([5])},
        {"name_lengths": np.array([2, 2])},
        {"name_lengths": np.array([[2, 3]])},
        {"name_lengths": np.array([2.0, 3.0])},
        {"name_lengths": None},
    ],
    ids=repr,
)
def test_names_that_do_not_fit_are_a_damaged_file(change, tmp_path):
    path = tmp_path / "a.index"
    CodeIndex.from_codes(codes_of(2), "bernoulli:8", names=["ab", "cde"]).save(path)
    arrays, head = read_arrays(path)
    changed = {name: each for name, each in (arrays | change).items() if each is not None}
    write_arrays(path, changed, head)
    with pytest.raises(DataError, match="no index of codes, or damaged"):
        CodeIndex.load(path)


def test_an_index_without_names_or_sums_is_read(tmp_path):
    path = tmp_path / "a.index"
    CodeIndex.from_codes(codes_of(2), "bernoulli:8").save(path)
    arrays, head = read_arrays(path)
    del arrays["sums"]
    write_arrays(path, arrays, head)
    index = CodeIndex.load(path)
    assert (index.ids.tolist(), index.names) == ([0, 1], None)


def test_codes_without_rows_are_not_taken_for_a_query(model, rows):
    plain = replace(rows, ids=None)
    whole = CodeIndex.build(model, plain)
    bare = CodeIndex.from_codes(
        whole.codes_of(whole.ids), "bernoulli:2", fingerprint=whole.fingerprint
    )
    assert not bare.search(model, plain, N).own.any()


def test_entries_are_sorted_by_id():
    codes = codes_of(4)
    held = Entries.of(codes, np.array([3, 0, 2, 1]), ["d", "a", "c", "b"])
    assert held.names.tolist() == ["a", "b", "c", "d"]
    assert held.codes.tolist() == codes[[1, 3, 2, 0]].tolist()


# --- the commands ----------------------------------------------------------------------------


@pytest.fixture
def named(monkeypatch):
    """Digits go by such names on the command line."""
    from discretevae.cli.inputs import Inputs

    names = as_names([*NAMES[:-1], *(f"p/img{i}.png" for i in range(100, 1897))][:1797])
    load = Inputs.load

    def with_ids(self, *args):
        rows = load(self, *args)
        return replace(rows, ids=names[rows.source_numbers.numpy()])

    monkeypatch.setattr(Inputs, "load", with_ids)
    return names


def test_the_commands_name_rows(cli, trained, named, tmp_path):
    run, path = trained("bernoulli:8"), tmp_path / "a.index"
    assert cli("index", run, "--split", "test", "--out", path).status == 0
    numbers = load_rows("digits", split="test").source_numbers.numpy()
    assert CodeIndex.load(path).names == named[numbers].tolist()
    said = cli("search", path, "--run", run, "--k", 297, "--json")
    values = json.loads(said.out)
    assert values["queries"] == named[numbers].tolist()
    names, own = np.array(values["names"], object), np.array(values["own"])
    assert (names == named[numbers][np.array(values["ids"])]).all()
    assert names[own].tolist() == named[numbers].tolist()
    lines = cli("search", path, "--run", run, "--k", 297).out.splitlines()
    assert len(lines) == 13
    assert all(line.count(", itself)") == 1 for line in lines[:12])
    for suffix in ("npz", "json"):
        assert cli("search", path, "--run", run, "--out", tmp_path / f"f.{suffix}").status == 0
    with np.load(tmp_path / "f.npz", allow_pickle=False) as arrays:
        assert arrays["queries"].tolist() == values["queries"]
        assert arrays["names"].tolist() == names[:, :10].tolist()
        assert arrays["own"].tolist() == own[:, :10].tolist()
    told = json.loads((tmp_path / "f.json").read_text())
    assert told["names"] == names[:, :10].tolist()

    np.save(tmp_path / "gone.npy", named[numbers][:3].astype(str))
    said = cli("index", run, "--add-to", path, "--remove", tmp_path / "gone.npy")
    assert said.out == f"294 rows written to {path}\n"
    said = cli("index", run, "--add-to", path, "--remove", tmp_path / "gone.npy")
    assert said.status == 2
    assert "names must be in the index" in said.err


@pytest.mark.draws
def test_pictures_are_drawn_with_names(cli, trained, named, tmp_path):
    run, path, picture = trained("bernoulli:8"), tmp_path / "a.index", tmp_path / "a.png"
    assert cli("index", run, "--split", "train", "--out", path).status == 0
    said = cli("search", path, "--run", run, "--picture", picture, "--data", "digits")
    assert said.status == 0, said.err
    assert picture.read_bytes()[1:4] == b"PNG"
