"""Search where many rows have the same code, as those of trained models do."""

from __future__ import annotations

import numpy as np
import pytest

from discretevae import CodeIndex


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


@pytest.mark.parametrize(("bits", "distinct"), [(8, 200), (16, 2000), (64, 2000)])
def test_rows_of_the_query_s_own_code_come_first(bits, distinct):
    codes, queries = repeated(bits, distinct, 5000)
    ids = np.random.default_rng(1).permutation(10**6)[: len(codes)]
    index = CodeIndex.from_codes(codes, f"bernoulli:{bits}", ids=ids)
    require_exact(index, queries, codes, ids, 10)
    own = index.search_codes(queries, 10).distances == 0
    assert own.any(1).sum() > 20  # of 60
    assert not own.any(1).all()


@pytest.mark.parametrize("k", [1, 7, 500])
def test_all_codes_equal(k):
    codes, ids = np.full((500, 2), 9, np.uint8), np.random.default_rng(0).permutation(500)
    index = CodeIndex.from_codes(codes, "bernoulli:16", ids=ids)
    require_exact(index, np.array([[9, 9], [0, 255]], np.uint8), codes, ids, k)


@pytest.mark.parametrize("k", [60, 61, 300, 1000])
def test_more_neighbors_than_distinct_codes_are_exact(k):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 60, (1000, 1)).astype(np.uint8)
    ids = rng.permutation(5000)[:1000]
    index = CodeIndex.from_codes(codes, "bernoulli:8", ids=ids)
    assert len(np.unique(codes)) == 60
    require_exact(index, codes[:20] ^ np.uint8(3), codes, ids, k)


@pytest.mark.parametrize("latent", ["bernoulli:8", "categorical:2x30", "categorical:256"])
@pytest.mark.parametrize("k", [1, 2, 9, 40, 199])
def test_ties_of_many_codes_by_id(latent, k):
    """Several codes at the last distance, each of several rows, their ids interleaved."""
    rng = np.random.default_rng(k)
    values, width = (30, 2) if "x" in latent else (256, 1)
    codes = rng.integers(0, values, (200, width)).astype(np.uint8)
    ids = rng.permutation(200)
    require_exact(CodeIndex.from_codes(codes, latent, ids=ids), codes[:50], codes, ids, k)


def test_the_last_row_of_a_code_goes_and_comes_again():
    codes, _ = repeated(16, 300, 2000)
    lone = np.array([[0b10101010, 0b11001100]], np.uint8)
    assert not (codes == lone).all(1).any()
    index = CodeIndex.from_codes(codes, "bernoulli:16")
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


def test_a_saved_index_answers_alike(tmp_path):
    codes, queries = repeated(16, 2000, 5000)
    ids = np.random.default_rng(1).permutation(5000)
    index = CodeIndex.from_codes(codes, "bernoulli:16", ids=ids)
    index.save(tmp_path / "a.index")
    again = CodeIndex.load(tmp_path / "a.index")
    assert np.array_equal(again.search_codes(queries).ids, index.search_codes(queries).ids)


def test_no_queries_find_nothing():
    index = CodeIndex.from_codes(np.zeros((20, 1), np.uint8), "bernoulli:8")
    found = index.search_codes(np.zeros((0, 1), np.uint8), 3)
    assert found.ids.shape == found.distances.shape == (0, 3)


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
