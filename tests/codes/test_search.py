"""Search over codes: exact where it says so, ids kept, files checked, one line for mistakes."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import torch

from discretevae import CodeIndex, DiscreteVAE, encode_rows, load_data, load_rows
from discretevae.codes.search.hamming import hamming_distances, search_bits
from discretevae.codes.search.index import FORMAT_VERSION
from discretevae.config import LatentSpec
from discretevae.errors import ConfigError, DataError, MissingExtraError
from discretevae.system.tensor_files import read_arrays, write_arrays

LATENTS = (
    "bernoulli:13",
    "bernoulli:64",
    "categorical:7",
    "categorical:5x300",
    "bernoulli:5+categorical:3x4",
)


def some_codes(latent: str, n: int, seed: int = 0) -> np.ndarray:
    """Packed codes of a few values, so that many are equally far."""
    spec, rng = LatentSpec.of(latent), np.random.default_rng(seed)
    if spec.kind == "bernoulli":
        return np.packbits(rng.random((n, spec.n_variables)) < 0.2, axis=1)
    sizes = [p.n_categories or 2 for p in (spec.parts or (spec,)) for _ in range(p.n_variables)]
    columns = [rng.integers(0, size, n) for size in sizes]
    return np.stack(columns, 1).astype(np.uint8 if max(sizes) <= 256 else np.uint16)


def differing(latent: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """In how many variables they differ, counted one by one: ``[Q, N]``."""
    spec = LatentSpec.of(latent)
    if spec.kind == "bernoulli":
        a, b = np.unpackbits(a, axis=1), np.unpackbits(b, axis=1)
    return (a[:, None] != b[None]).sum(2)


def nearest(distance: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By sorting everything by (distance, id)."""
    order = np.stack([np.lexsort((ids, row)) for row in distance])[:, :k]
    return np.take_along_axis(distance, order, 1), ids[order]


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def model(digits):
    return DiscreteVAE.for_data(digits, latent="bernoulli:16", hidden=(32,), seed=1)


@pytest.fixture(scope="module")
def codes(model, digits):
    return encode_rows(model, digits.train)


@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize("k", [1, 9, 300])
def test_flat_finds_what_sorting_everything_by_distance_and_id_finds(latent, k):
    codes, queries = some_codes(latent, 300), some_codes(latent, 40, seed=1)
    ids = np.random.default_rng(2).permutation(10_000)[:300]
    index = CodeIndex.from_codes(codes, latent, ids=ids)
    found = index.search_codes(queries, k)
    distances, expected = nearest(differing(latent, queries, codes), ids, k)
    assert np.array_equal(found.distances, distances)
    assert np.array_equal(found.ids, expected)
    assert found.ids.dtype == np.int64
    assert found.distances.dtype == np.int32


def test_many_rows_at_one_distance_are_cut_by_id():
    """More rows than faiss looks through in one go, all of them equally far."""
    codes = np.zeros((70_000, 2), np.uint8)
    codes[::2] = 255
    ids = np.random.default_rng(0).permutation(70_000)
    found = CodeIndex.from_codes(codes, "bernoulli:16", ids=ids).search_codes(codes[:3], 20)
    for row, own in enumerate(codes[:3]):
        alike = np.sort(ids[(codes == own).all(1)])
        assert np.array_equal(found.ids[row], alike[:20])
    assert not found.distances.any()


def test_an_order_of_ties_that_ignores_ids_is_noticed():
    codes, ids = np.zeros((50, 1), np.uint8), np.arange(50)[::-1].copy()
    _, expected = nearest(np.zeros((1, 50)), ids, 5)
    by_row = ids[np.arange(5)][None]
    assert not np.array_equal(by_row, expected)
    assert np.array_equal(
        CodeIndex.from_codes(codes, "bernoulli:8", ids=ids).search_codes(codes[:1], 5).ids, expected
    )


@pytest.mark.parametrize("latent", LATENTS)
def test_distances_are_numbers_of_variables(latent):
    a, b, spec = some_codes(latent, 30), some_codes(latent, 40, seed=1), LatentSpec.of(latent)
    bits = hamming_distances(search_bits(spec, a), search_bits(spec, b))
    each = 1 if spec.kind == "bernoulli" else 2
    assert np.array_equal(bits, each * differing(latent, a, b))


def test_chunks_of_bits_change_nothing(monkeypatch):
    spec, a = LatentSpec.of("categorical:5x300"), some_codes("categorical:5x300", 30)
    whole = search_bits(spec, a), hamming_distances(a.view(np.uint8), a.view(np.uint8))
    monkeypatch.setattr("discretevae.codes.search.hamming.CHUNK_VALUES", 4000)
    parts = search_bits(spec, a), hamming_distances(a.view(np.uint8), a.view(np.uint8))
    assert all(np.array_equal(x, y) for x, y in zip(whole, parts, strict=True))


def test_every_row_can_be_asked_for(codes):
    few = codes[:120]
    found = CodeIndex.from_codes(few, "bernoulli:16").search_codes(few[:5], 120)
    assert np.array_equal(np.sort(found.ids, axis=1), np.tile(np.arange(120), (5, 1)))


def test_one_row_and_one_thousand_equal_rows():
    one = CodeIndex.from_codes(np.array([[3]], np.uint8), "bernoulli:8", ids=[77])
    assert one.search_codes(np.array([[1]], np.uint8), 1).ids.tolist() == [[77]]
    same = CodeIndex.from_codes(np.zeros((1000, 1), np.uint8), "bernoulli:8")
    assert not same.search_codes(np.zeros((1, 1), np.uint8), 50).distances.any()


@pytest.mark.parametrize("latent", ["bernoulli:13", "categorical:5x300"])
def test_ids_stay_with_their_rows_through_every_change(latent, tmp_path):
    codes = some_codes(latent, 400)
    rng = np.random.default_rng(5)
    ids = rng.choice(2**40, 400, replace=False)
    index = CodeIndex.from_codes(codes[:250], latent, ids=ids[:250])
    index.add_codes(codes[250:300], ids=ids[250:300])
    gone = ids[[3, 0, 260, 299]]
    index.remove(gone)
    index.save(tmp_path / "a.index")
    index = CodeIndex.load(tmp_path / "a.index")
    index.add_codes(codes[300:], ids=ids[300:])
    index.remove(ids[[310]])
    index.save(tmp_path / "b.index")
    kept = ~np.isin(ids, [*gone, ids[310]])
    for held in (index, CodeIndex.load(tmp_path / "b.index")):
        assert len(held) == kept.sum()
        assert set(held.ids.tolist()) == set(ids[kept].tolist())
        assert np.array_equal(held.codes_of(ids[kept]), codes[kept])
        found = held.search_codes(codes[kept][:60], 5)
        fresh = CodeIndex.from_codes(codes[kept], latent, ids=ids[kept])
        expected = fresh.search_codes(codes[kept][:60], 5)
        assert np.array_equal(found.ids, expected.ids)
        true = differing(latent, codes[kept][:60], codes[kept])
        place = {number: at for at, number in enumerate(ids[kept].tolist())}
        at = np.vectorize(place.__getitem__)(found.ids)
        assert np.array_equal(found.distances, np.take_along_axis(true, at, 1))
        distances, in_order = nearest(true, ids[kept], 5)
        assert np.array_equal(found.distances, distances)
        assert np.array_equal(found.ids, in_order)


def test_answers_depend_on_the_rows_and_not_on_how_they_came_in(codes, tmp_path):
    index = CodeIndex.from_codes(codes[:1000], "bernoulli:16")
    index.search_codes(codes[:1], 1)
    index.save(tmp_path / "a.index")
    loaded = CodeIndex.load(tmp_path / "a.index")
    for held in (index, loaded):
        held.add_codes(codes[1000:])
    loaded.remove([3, 1200])
    loaded.add_codes(codes[[3, 1200]], ids=[3, 1200])
    whole = CodeIndex.from_codes(codes[::-1], "bernoulli:16", ids=np.arange(len(codes))[::-1])
    for number, held in enumerate((index, loaded, whole)):
        held.save(tmp_path / str(number))
        assert (tmp_path / str(number)).read_bytes() == (tmp_path / "0").read_bytes()
        found = held.search_codes(codes[:100], 10)
        assert np.array_equal(found.ids, index.search_codes(codes[:100], 10).ids)


def test_new_rows_get_the_numbers_behind_the_largest():
    index = CodeIndex.from_codes(np.zeros((2, 1), np.uint8), "bernoulli:8", ids=[9, 4])
    index.add_codes(np.zeros((2, 1), np.uint8))
    assert sorted(index.ids.tolist()) == [4, 9, 10, 11]


def test_a_model_and_its_codes_find_the_same(model, digits, codes):
    index = CodeIndex.build(model, digits.train)
    queries = digits.train.subset(slice(0, 20))
    found, same = index.search(model, queries, 4), index.search_codes(codes[:20], 4)
    assert np.array_equal(found.distances, same.distances)
    itself = queries.source_numbers.numpy()[:, None]  # which comes first
    for own, other, row in zip(found.ids, same.ids, itself, strict=True):
        assert own.tolist() == [*row, *(each for each in other if each != row)][:4]
    index.add(model, digits.test, ids=np.arange(5000, 5297))
    assert len(index) == 1797
    assert index.search(model, digits.test.subset(slice(0, 1)), 1797).ids.max() == 5296


def test_torch_s_random_state_is_left_alone(model, digits):
    before = torch.get_rng_state()
    CodeIndex.build(model, digits.test).search(model, digits.test, 2)
    assert torch.equal(before, torch.get_rng_state())


def test_another_model_is_refused(model, digits):
    index = CodeIndex.build(model, digits.test)
    other = DiscreteVAE.for_data(digits, latent="bernoulli:16", hidden=(32,), seed=2)
    for attempt in (index.search, index.add):
        with pytest.raises(DataError, match="built with another model"):
            attempt(other, digits.test)
    bare = CodeIndex.from_codes(encode_rows(model, digits.test), "bernoulli:16")
    with pytest.raises(DataError, match="made of codes without a model"):
        bare.search(model, digits.test)


@pytest.mark.parametrize("latent", ["gaussian:4", "categorical:4+gaussian:2"])
def test_a_gaussian_part_is_refused(latent, digits):
    model = DiscreteVAE.for_data(digits, latent=latent, hidden=(8,))
    with pytest.raises(ConfigError, match="has a Gaussian part"):
        CodeIndex.build(model, digits.test)


BYTE = np.zeros((3, 1), np.uint8)
MISTAKES = {
    "k 0": (lambda i: i.search_codes(BYTE, 0), ConfigError, "`k` must be an int >= 1. Got 0"),
    "k large": (
        lambda i: i.search_codes(BYTE, 4),
        ConfigError,
        "`k` is 4, but the index holds 3 rows",
    ),
    "width": (lambda i: i.search_codes(np.zeros((1, 2), np.uint8)), ConfigError, "`k` is 10"),
    "wide": (
        lambda i: i.search_codes(np.zeros((1, 2), np.uint8), 1),
        DataError,
        r"needs uint8 \[rows, 1\]",
    ),
    "padding": (lambda i: i.search_codes(BYTE + 1, 1), DataError, "more than 6 bits"),
    "taken": (lambda i: i.add_codes(BYTE, ids=[7, 1, 2]), DataError, "but 1, 2 are there already"),
    "twice": (lambda i: i.add_codes(BYTE, ids=[7, 7, 8]), DataError, "but 7 is there twice"),
    "few ids": (lambda i: i.add_codes(BYTE, ids=[7]), DataError, "1 ids for 3 rows"),
    "negative": (lambda i: i.add_codes(BYTE, ids=[7, -1, 9]), DataError, "from 0 to 2"),
    "fractions": (lambda i: i.add_codes(BYTE, ids=[7.0, 8, 9]), DataError, "must be whole numbers"),
    "codes": (lambda i: i.add_codes(np.zeros((3, 2), np.uint8)), DataError, "needs uint8"),
    "unknown": (lambda i: i.remove([0, 9]), DataError, "but 9 is not"),
    "gone twice": (lambda i: i.remove([0, 0]), DataError, "but 0 is there twice"),
    "all": (lambda i: i.remove([0, 1, 2]), DataError, "no row would be left"),
    "ask": (lambda i: i.codes_of([5, 6, 7, 8]), DataError, r"5, 6, 7, … \(4\) are not"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_said_and_change_nothing(mistake):
    attempt, error, message = MISTAKES[mistake]
    index = CodeIndex.from_codes(BYTE, "bernoulli:6")
    with pytest.raises(error, match=message):
        attempt(index)
    assert index.ids.tolist() == [0, 1, 2]
    assert index.search_codes(BYTE[:1], 3).ids.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("codes", "latent", "options", "message"),
    [
        (BYTE[:0], "bernoulli:8", {}, "at least 1 row"),
        (BYTE, "bernoulli:8", {"ids": [1, 1, 2]}, "1 is there twice"),
        (BYTE + 9, "categorical:9", {}, "from 9 to 9, but the model has 0 to 8"),
        (BYTE, "categorical:70000", {}, "takes 70,000 bits"),
        (BYTE, "bernoulli:8", {"ids": [0, 2**63 - 1, 1]}, None),
    ],
)
def test_what_no_index_can_be_made_of(codes, latent, options, message):
    if message is None:
        index = CodeIndex.from_codes(codes, latent, **options)
        with pytest.raises(DataError, match="no numbers are left"):
            index.add_codes(codes)
        return
    with pytest.raises((ConfigError, DataError), match=message):
        CodeIndex.from_codes(codes, latent, **options)


def test_a_damaged_file_is_refused_whatever_the_damage(codes, tmp_path):
    path = tmp_path / "a.index"
    CodeIndex.from_codes(codes[:200], "bernoulli:16").save(path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in [*range(0, 120, 3), *rng.integers(120, len(good), 10)]:
        path.write_bytes(good[:size])
        with pytest.raises(DataError, match=r"a\.index: "):
            CodeIndex.load(path)
    for bit in [*range(0, 8 * 400, 13), *rng.integers(0, 8 * len(good), 50)]:
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(DataError, match=r"a\.index: "):
            CodeIndex.load(path)
    path.write_bytes(good + b"x")
    with pytest.raises(DataError, match=r"a\.index: "):
        CodeIndex.load(path)
    path.write_bytes(good)
    assert len(CodeIndex.load(path)) == 200


def crafted(change):
    """A file with a right checksum whose arrays or head were made up."""
    return pytest.param(change, id=change.__name__)


def _with(**values):
    def change(head, arrays):
        for key, value in values.items():
            target = arrays if key in arrays else head
            target[key] = value(target[key]) if callable(value) else value

    change.__name__ = "-".join(values) + str(len(str(values)))
    return change


def _drop(key):
    def change(head, arrays):
        (arrays if key in arrays else head).pop(key)

    change.__name__ = f"no-{key}"
    return change


@pytest.mark.parametrize(
    "change",
    [
        crafted(_with(latent="bernoulli:17")),
        crafted(_with(latent="bernoulli:x")),
        crafted(_with(latent=16)),
        crafted(_with(latent="gaussian:16")),
        crafted(_drop("latent")),
        crafted(_drop("codes")),
        crafted(_drop("ids")),
        crafted(_with(ids=lambda a: a[1:].copy())),
        crafted(_with(ids=lambda a: a * 0)),
        crafted(_with(ids=lambda a: -a)),
        crafted(_with(ids=lambda a: a.astype(np.float32))),
        crafted(_with(codes=lambda a: a.reshape(-1))),
        crafted(_with(codes=lambda a: np.array(3, np.uint8))),
    ],
)
def test_a_file_made_up_with_a_right_checksum_is_refused(change, codes, tmp_path):
    path = tmp_path / "a.index"
    CodeIndex.from_codes(codes[:300], "bernoulli:16").save(path)
    arrays, head = read_arrays(path)
    write_arrays(path, arrays, head)
    assert len(CodeIndex.load(path)) == 300  # nothing was changed yet
    change(head, arrays)
    write_arrays(path, arrays, head)
    with pytest.raises(DataError, match=r"a\.index: no index of codes, or damaged") as caught:
        CodeIndex.load(path)
    assert "\n" not in str(caught.value)


def test_a_newer_format_and_other_files_are_named(tmp_path):
    path = tmp_path / "a.index"
    write_arrays(path, {}, {"index_version": FORMAT_VERSION + 1})
    with pytest.raises(DataError, match="Update discretevae"):
        CodeIndex.load(path)
    for content in (b"", b"PK" + bytes(100), b"discretevae-idx\n" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(DataError, match="no index"):
            CodeIndex.load(path)
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)"):
        CodeIndex.load(tmp_path)


def test_saving_leaves_the_old_file_if_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.index"
    index = CodeIndex.from_codes(BYTE, "bernoulli:8")
    index.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    index.add_codes(BYTE)
    with pytest.raises(OSError, match="No space"):
        index.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.index"]


def test_without_faiss_the_extra_is_named(monkeypatch, model, digits, tmp_path):
    path = tmp_path / "a.index"
    monkeypatch.setitem(sys.modules, "faiss", None)
    CodeIndex.build(model, digits.test).save(path)  # a file is made without it
    index = CodeIndex.load(path)
    codes = index.codes_of(index.ids[:1])
    for attempt in (lambda: index.search_codes(codes), lambda: index.search(model, digits.test)):
        with pytest.raises(MissingExtraError, match=r"pip install 'discretevae\[search\]'"):
            attempt()


def test_a_loaded_index_is_searched_without_torch(tmp_path, python):
    path = tmp_path / "a.index"
    CodeIndex.from_codes(BYTE, "bernoulli:8").save(path)
    code = f"""
import sys
import numpy as np
import discretevae as dv
index = dv.CodeIndex.load({str(path)!r})
print(index.search_codes(np.zeros((1, 1), np.uint8), k=2).ids.tolist(), "torch" in sys.modules)
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[[0, 1]] False\n"


@pytest.fixture
def indexed(cli, trained, tmp_path):
    """A run with an index of its training rows."""
    run, path = trained("bernoulli:8"), tmp_path / "digits.index"
    said = cli("index", run, "--split", "train", "--out", path)
    assert said.status == 0, said.err
    assert said.out == f"1,500 rows written to {path}\n"
    return run, path


def test_the_command_finds_what_the_index_finds(cli, indexed, tmp_path, digits):
    run, path = indexed
    from discretevae.run_folder.saved_run import load_run

    model = load_run(run).model
    expected = CodeIndex.load(path).search(model, digits.test, 3)
    said = cli("search", path, "--run", run, "--k", 3, "--json")
    assert said.status == 0, said.err
    values = json.loads(said.out)
    assert values["ids"] == expected.ids.tolist()
    assert values["distances"] == expected.distances.tolist()
    said = cli("search", path, "digits", "--split", "test", "--run", run, "--k", 3)
    first = "  ".join(
        f"{number} ({distance})"
        for number, distance in zip(values["ids"][0], values["distances"][0], strict=True)
    )
    assert values["queries"] == digits.test.source_numbers.tolist()
    assert said.out.splitlines()[0] == f"{values['queries'][0]}: {first}"
    for name in ("found.npz", "found.json"):
        said = cli("search", path, "--run", run, "--k", 2, "--out", tmp_path / name)
        assert said.out == f"297 rows written to {tmp_path / name}\n"
    arrays = np.load(tmp_path / "found.npz")
    assert arrays["distances"].shape == (297, 2)
    assert json.loads((tmp_path / "found.json").read_text())["ids"] == arrays["ids"].tolist()


def test_a_file_of_queries_is_searched_for_as_a_whole(cli, indexed, digits, tmp_path):
    run, path = indexed
    np.save(tmp_path / "queries.npy", digits.test.values[:30].numpy())
    said = cli("search", path, tmp_path / "queries.npy", "--run", run, "--k", 1, "--json")
    assert json.loads(said.out)["rows"] == 30


@pytest.mark.draws
def test_the_command_draws_queries_with_their_neighbors(cli, indexed, tmp_path):
    run, path = indexed
    picture = tmp_path / "near.png"
    options = ("--run", run, "--k", 4, "--picture", picture)
    said = cli("search", path, *options, "--data", "digits", "--data-split", "train")
    assert said.status == 0, said.err
    assert picture.read_bytes()[1:4] == b"PNG"
    said = cli("search", path, *options, "--data", "digits", "--data-split", "test")
    assert said.status == 2
    assert "digits: has no row" in said.err


def test_the_picture_is_of_the_rows_that_were_indexed(cli, trained, tmp_path):
    run, path, picture = trained("bernoulli:8"), tmp_path / "test.index", tmp_path / "near.png"
    assert cli("index", run, "--split", "test", "--out", path).status == 0
    options = ("--run", run, "--picture", picture, "--data")
    np.save(tmp_path / "other.npy", load_rows("digits").values.flip(0).numpy())
    said = cli("search", path, *options, tmp_path / "other.npy")
    assert said.status == 2
    assert re.search(r"rows have other codes than the rows of these\s+ids in the index", said.err)
    assert not picture.exists()
    for split in ("test", "all"):  # by their numbers in the source, rows are found in either
        assert cli("search", path, *options, "digits", "--data-split", split).status == 0


def test_without_k_there_are_ten_neighbors_or_as_many_as_there_are(cli, trained, tmp_path):
    run, path, rows = trained("bernoulli:8"), tmp_path / "one.index", tmp_path / "one.npy"
    np.save(rows, load_data("digits").test.values[:1].numpy())
    said = cli("index", run, rows, "--out", path)
    assert said.out == f"1 row written to {path}\n"
    said = cli("search", path, rows, "--run", run)
    assert (said.status, said.out) == (0, "0: 0 (0, itself)\n")


@pytest.mark.parametrize("k", ["3", 2.0, None, True, 0])
def test_k_is_a_whole_number(k, model, digits, codes):
    index = CodeIndex.build(model, digits.test)
    with pytest.raises(ConfigError, match="`k` must be an int >= 1"):
        index.search_codes(codes[:2], k)
    with pytest.raises(ConfigError, match="`k` must be an int >= 1"):
        index.search(model, digits.test, k)
    assert index.search_codes(codes[:2], np.int64(3)).ids.shape == (2, 3)


def test_arrays_are_taken_if_their_values_can_only_be_x(model, digits):
    index = CodeIndex.build(model, digits.test)
    rows = digits.test.subset(slice(0, 4))
    found = index.search(model, rows.batch(slice(None)).numpy(), k=2)
    assert np.array_equal(found.ids, index.search(model, rows, k=2).ids)
    with pytest.raises(DataError, match="rows have 4 features, but the model takes 64"):
        index.search(model, np.zeros((1, 4)))


def test_rows_are_added_and_removed_by_the_command(cli, indexed, tmp_path):
    run, path = indexed
    ids = tmp_path / "ids.npy"
    np.save(ids, np.arange(297) + 9000)
    more = ("index", run, "--split", "test", "--add-to", path)
    assert cli(*more, "--ids", ids).status == 0
    numbers = load_rows("digits", split="train").source_numbers.tolist()
    assert CodeIndex.load(path).ids.tolist() == [*numbers, *range(9000, 9297)]
    said = cli(*more, "--ids", ids)
    assert said.status == 2
    assert "9000, 9001, 9002, … (297) are there already" in said.err
    other = tmp_path / "other.index"
    said = cli("index", run, "--add-to", path, "--remove", ids, "--out", other)
    assert said.out == f"1,500 rows written to {other}\n"
    assert len(CodeIndex.load(path)) == 1797
    assert cli("index", run, "digits", "--add-to", path, "--remove", ids).status == 0
    assert len(CodeIndex.load(path)) == 1500 + 1797


def test_mistakes_on_the_command_line_are_one_line(cli, indexed, trained, tmp_path, digits):
    run, path = indexed
    other, categories = trained("categorical:6"), trained("gaussian:2")
    np.save(tmp_path / "narrow.npy", np.zeros((2, 3)))
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.save(tmp_path / "twice.npy", np.zeros(1797, np.int64))
    before, files = path.read_bytes(), sorted(tmp_path.iterdir())
    made = tmp_path / "new.index"
    cases = {
        "built with another model": ("search", path, "--run", other),
        "--k is 1,501, but the index holds 1,500": ("search", path, "--run", run, "--k", 1501),
        "k must be an int >= 1": ("search", path, "--run", run, "--k", 0),
        "rows have 3 features": ("search", path, tmp_path / "narrow.npy", "--run", run),
        "no such index": ("search", tmp_path / "no", "--run", run),
        "Pass --data.": ("search", path, "--run", run, "--picture", tmp_path / "a.png"),
        "must end in .npz or .json": ("search", path, "--run", run, "--out", tmp_path / "a.txt"),
        "has a Gaussian part": ("index", categories, "--out", made),
        "Pass --out.": ("index", run),
        "Name it with --add-to": ("index", run, "--out", made, "--remove", path),
        "another model, whose": ("index", other, "--add-to", path),
        "text.npy: ids must be whole": (
            "index",
            run,
            "--out",
            made,
            "--ids",
            tmp_path / "text.npy",
        ),
        "but 0 is there twice": ("index", run, "--out", made, "--ids", tmp_path / "twice.npy"),
        "model.safetensors: must end in .index": (
            *("index", run, "--out", run / "model.safetensors"),
        ),
        "must end in .png. Choose another --picture": (
            *("search", path, "--run", run, "--picture", tmp_path / "a.jpg", "--data", "digits"),
        ),
        "no readable .npy file": ("index", run, "--out", made, "--ids", path),
    }
    for message, args in cases.items():
        said = cli(*args)
        assert (said.status, said.out) == (2, ""), args
        assert message in said.err, (args, said.err)
        assert said.err.count("\n") == 1
    path.write_bytes(before[:-9])
    said = cli("search", path, "--run", run)
    assert said.status == 2
    assert "or damaged" in said.err
    path.write_bytes(before)
    assert sorted(tmp_path.iterdir()) == files
