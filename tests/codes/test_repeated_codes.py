"""Search where many rows have the same code, as those of trained models do."""

from __future__ import annotations

import numpy as np
import pytest

from discretevae import CodeIndex
from discretevae.codes.search.distinct import DistinctCodes
from discretevae.codes.search.structures import INDEX_KINDS as KINDS


def repeated(bits: int, distinct: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes of rows, some code in hundreds of them, and queries among which are unused codes."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (distinct, bits // 8), dtype=np.uint8)
    p = rng.dirichlet(np.full(distinct, 0.3))
    return codes[rng.choice(distinct, n, p=p)], codes[rng.choice(distinct, 60)]


def apart(a: np.ndarray, b: np.ndarray, latent: str) -> np.ndarray:
    """Variables that differ, counted one by one: ``[Q, N]``."""
    if latent.startswith("bernoulli"):
        a, b = np.unpackbits(a, axis=1), np.unpackbits(b, axis=1)
    return (a[:, None] != b[None]).sum(2)


def nearest(distance: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All rows sorted by (distance, id), the first k."""
    order = np.stack([np.lexsort((ids, row)) for row in distance])[:, :k]
    return np.take_along_axis(distance, order, 1), ids[order]


def require_exact(index: CodeIndex, queries, codes, ids, k: int) -> None:
    found = index.search_codes(queries, k)
    distances, expected = nearest(apart(queries, codes, str(index.latent)), ids, k)
    assert np.array_equal(found.distances, distances)
    assert np.array_equal(found.ids, expected)


@pytest.mark.parametrize("effort", [None, 1, 200])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("bits", "distinct"), [(8, 200), (16, 2000), (64, 2000)])
def test_rows_of_the_query_s_own_code_are_never_missed(kind, bits, distinct, effort):
    """Those at distance 0 are exact, ids too. Of the ten nearest at the default effort at least
    0.95 are as near as they should be: the least share of seeds 1 to 10 was 0.963, of ivf with 64
    bits; all others were 1."""
    if kind == "flat" and effort is not None:
        return
    codes, queries = repeated(bits, distinct, 5000)
    ids = np.random.default_rng(1).permutation(10**6)[: len(codes)]
    index = CodeIndex.from_codes(codes, f"bernoulli:{bits}", kind=kind, ids=ids)
    found = index.search_codes(queries, 10, effort=effort)
    distance = apart(queries, codes, f"bernoulli:{bits}")
    distances, expected = nearest(distance, ids, 10)
    own = distances == 0
    assert own.any(1).sum() > 20  # of 60
    assert not own.any(1).all()
    assert np.array_equal(found.ids[own], expected[own])
    assert np.array_equal(found.distances == 0, own)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert all(len(set(row)) == 10 for row in found.ids.tolist())
    if effort is None:
        assert (found.distances <= distances[:, -1:]).mean() >= 0.95
    if kind == "flat":
        assert np.array_equal(found.ids, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 7, 500])
def test_all_codes_equal(kind, k):
    codes, ids = np.full((500, 2), 9, np.uint8), np.random.default_rng(0).permutation(500)
    index = CodeIndex.from_codes(codes, "bernoulli:16", kind=kind, ids=ids)
    require_exact(index, np.array([[9, 9], [0, 255]], np.uint8), codes, ids, k)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [60, 61, 300, 1000])
def test_more_neighbors_than_distinct_codes_are_exact(kind, k):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 60, (1000, 1)).astype(np.uint8)
    ids = rng.permutation(5000)[:1000]
    index = CodeIndex.from_codes(codes, "bernoulli:8", kind=kind, ids=ids)
    assert len(np.unique(codes)) == 60
    require_exact(index, codes[:20] ^ np.uint8(3), codes, ids, k)


@pytest.mark.parametrize("latent", ["bernoulli:8", "categorical:2x30", "categorical:256"])
@pytest.mark.parametrize("k", [1, 2, 9, 40, 199])
def test_flat_cuts_ties_of_many_codes_by_id(latent, k):
    """Several codes at the last distance, each of several rows, their ids interleaved."""
    rng = np.random.default_rng(k)
    values, width = (30, 2) if "x" in latent else (256, 1)
    codes = rng.integers(0, values, (200, width)).astype(np.uint8)
    ids = rng.permutation(200)
    require_exact(CodeIndex.from_codes(codes, latent, ids=ids), codes[:50], codes, ids, k)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_row_of_a_code_goes_and_comes_again(kind):
    codes, _ = repeated(16, 300, 2000)
    lone = np.array([[0b10101010, 0b11001100]], np.uint8)
    assert not (codes == lone).all(1).any()
    index = CodeIndex.from_codes(codes, "bernoulli:16", kind=kind)
    for number in (9000, 3000):
        index.add_codes(lone, ids=[number])
        found = index.search_codes(lone, 2)
        assert (found.ids[0, 0], found.distances[0, 0]) == (number, 0)
        assert found.distances[0, 1] > 0
        index.remove([number])
        found = index.search_codes(lone, 2)
        assert number not in found.ids
        assert (found.distances > 0).all()
    # one row of many goes; the others stay
    own = index.search_codes(codes[:1], 2).ids[0]
    index.remove(own[:1])
    again = index.search_codes(codes[:1], 1)
    assert (again.ids[0, 0], again.distances[0, 0]) == (own[1], 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_index_answers_alike(kind, tmp_path):
    codes, queries = repeated(16, 2000, 5000)
    ids = np.random.default_rng(1).permutation(5000)
    index = CodeIndex.from_codes(codes, "bernoulli:16", kind=kind, ids=ids)
    index.save(tmp_path / "a.index")
    again = CodeIndex.load(tmp_path / "a.index")
    assert np.array_equal(again.search_codes(queries).ids, index.search_codes(queries).ids)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_codes_that_are_all_equally_far_still_find_their_own(kind):
    """No walk is led anywhere; the query's own code is looked up."""
    codes = np.random.default_rng(0).integers(0, 2000, (5000, 1)).astype(np.uint16)
    index = CodeIndex.from_codes(codes, "categorical:2000", kind=kind)
    found = index.search_codes(codes[:100], 1, effort=1)
    assert not found.distances.any()
    assert np.array_equal(found.ids[:, 0], [np.flatnonzero(codes == own)[0] for own in codes[:100]])


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_islands_far_from_each_other_are_found(kind):
    """Eight tight groups of codes, 64 bits: a graph may fall into pieces. Recall at least 0.98;
    the least of seeds 1 to 10 was 0.992."""
    rng = np.random.default_rng(0)
    centers = rng.random((8, 64)) < 0.5
    bits = centers[rng.integers(0, 8, 4000)] ^ (rng.random((4000, 64)) < 0.03)
    codes = np.packbits(bits, axis=1)
    exact = CodeIndex.from_codes(codes, "bernoulli:64").search_codes(codes[:100])
    found = CodeIndex.from_codes(codes, "bernoulli:64", kind=kind).search_codes(codes[:100])
    assert not found.distances[:, 0].any()
    assert (found.distances <= exact.distances[:, -1:]).mean() >= 0.98


@pytest.mark.parametrize("effort", [2000, 10**12])
def test_as_many_candidates_as_codes_make_hnsw_exact(effort):
    codes, queries = repeated(16, 2000, 5000)
    index = CodeIndex.from_codes(codes, "bernoulli:16", kind="hnsw")
    found = index.search_codes(queries, effort=effort)
    exact = CodeIndex.from_codes(codes, "bernoulli:16").search_codes(queries)
    assert np.array_equal(found.ids, exact.ids)
    assert np.array_equal(found.distances, exact.distances)


@pytest.mark.parametrize("kind", KINDS)
def test_no_queries_find_nothing(kind):
    found = CodeIndex.from_codes(
        np.zeros((20, 1), np.uint8), "bernoulli:8", kind=kind
    ).search_codes(np.zeros((0, 1), np.uint8), 3)
    assert found.ids.shape == found.distances.shape == (0, 3)


def test_chunks_of_rows_change_nothing(monkeypatch):
    codes, queries = repeated(8, 40, 2000)
    index = CodeIndex.from_codes(codes, "bernoulli:8")
    whole = index.search_codes(queries, 30)
    monkeypatch.setattr("discretevae.codes.search.distinct.CHUNK_ROWS", 3000)
    parts = index.search_codes(queries, 30)
    assert np.array_equal(whole.ids, parts.ids)
    assert np.array_equal(whole.distances, parts.distances)


def test_distinct_codes_that_end_in_zeros_are_told_apart():
    codes = np.array([[1, 0], [1, 1], [0, 0], [1, 0], [0, 1], [0, 0]], np.uint8)
    distinct = DistinctCodes(codes)
    assert distinct.codes.tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]
    assert distinct.places(codes).tolist() == [0, 1, 2, 0, 3, 2]
    assert distinct.places(np.array([[2, 0], [0, 2], [1, 1]], np.uint8)).tolist() == [-1, -1, 1]


def test_memory_is_that_of_the_rows():
    """Two codes, and k half of the rows: ten numbers for each row, whatever N (measured)."""
    import tracemalloc

    codes = np.zeros((200_000, 2), np.uint8)
    codes[::2] = 1
    index = CodeIndex.from_codes(codes, "bernoulli:16")
    tracemalloc.start()
    index.search_codes(codes[:3], 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000 * 8 * 12
