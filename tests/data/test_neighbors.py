"""Neighbors and walks: against brute force, and against the powers of the transition matrix."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from discretevae.data import Rows, binarize
from discretevae.data.neighbors import NeighborGraph, mutual_neighbors
from discretevae.errors import ConfigError


def points(n=60, p=3, seed=0):
    return torch.randn(n, p, generator=torch.Generator().manual_seed(seed))


def brute(x, k):
    """Who is joined to whom, ``[N, N]``, by the definition."""
    apart = torch.cdist(x.double(), x.double()).fill_diagonal_(math.inf)
    near = torch.zeros(len(x), len(x), dtype=torch.bool)
    near.scatter_(1, apart.argsort(1)[:, :k], value=True)
    return near & near.T


def joined(graph):
    n = len(graph.starts) - 1
    matrix = torch.zeros(n, n, dtype=torch.bool)
    for row in range(n):
        matrix[row, graph.ends[graph.starts[row] : graph.starts[row + 1]]] = True
    return matrix


@pytest.mark.parametrize(("k", "p"), [(1, 1), (3, 3), (7, 64), (59, 2)])
def test_two_rows_are_joined_if_each_is_among_the_nearest_of_the_other(k, p):
    x = points(p=p)
    graph = mutual_neighbors(Rows.from_array(x.numpy()), k)
    expected = brute(x, k)
    assert torch.equal(joined(graph), expected)
    assert torch.equal(graph.degrees, expected.sum(1))


def test_wide_rows_are_compared_by_their_principal_components():
    few = points(p=5)
    turned = torch.linalg.qr(torch.randn(200, 5, generator=torch.Generator().manual_seed(1)))[0]
    graph = mutual_neighbors(Rows.from_array((few @ turned.T + 3).numpy()), 4)
    assert torch.equal(joined(graph), brute(few, 4))


def test_what_is_compared_is_what_the_model_sees():
    x = torch.rand(40, 12, generator=torch.Generator().manual_seed(2))
    grey = mutual_neighbors(Rows.from_array(x.numpy()), 3)
    black = mutual_neighbors(Rows.from_array(x.numpy()).binarized("threshold"), 3)
    drawn = mutual_neighbors(Rows.from_array(x.numpy()).binarized("dynamic"), 3)
    assert torch.equal(joined(black), joined(drawn))
    assert not torch.equal(joined(grey), joined(black))
    # rows of few values lie at the same distance from many: those joined must be near enough
    x = binarize(x, "threshold")
    apart = torch.cdist(x, x).fill_diagonal_(math.inf)
    last = apart.sort(1).values[:, 2:3]
    assert bool((apart <= last)[joined(black)].all())


def test_more_neighbors_than_rows_are_all_other_rows():
    assert mutual_neighbors(Rows.from_array(points(4).numpy()), 9).degrees.tolist() == [3] * 4
    lonely = mutual_neighbors(Rows.from_array([[0.5, 1.0]]), 3)
    assert lonely.degrees.tolist() == [0]
    start = torch.zeros(2, dtype=torch.int64)
    assert lonely.walk(start, 4, generator=torch.Generator()).tolist() == [0, 0]


WALKERS = 40_000


def chi_square(graph, steps, start, seed):
    """Of where walkers end, against the power of the transition matrix; and degrees of freedom."""
    matrix = joined(graph).double()
    matrix[matrix.sum(1) == 0] = torch.eye(len(matrix), dtype=torch.float64)[matrix.sum(1) == 0]
    exact = torch.linalg.matrix_power(matrix / matrix.sum(1, keepdim=True), steps)[start]
    generator = torch.Generator().manual_seed(seed)
    ends = graph.walk(torch.full((WALKERS,), start), steps, generator=generator)
    found = torch.bincount(ends, minlength=len(matrix)).double() / WALKERS
    possible = exact > 0
    value = WALKERS * ((found - exact)[possible] ** 2 / exact[possible]).sum()
    where_none_can = found[~possible].sum() > 0
    return math.inf if where_none_can else float(value), int(possible.sum()) - 1


def limit(freedom):
    """χ² is larger with probability below 1e-6  (Wilson & Hilferty 1931, 4.75 normal deviates)."""
    return freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize(("steps", "start"), list(itertools.product([1, 2, 7], [0, 4])))
def test_walks_end_where_the_transition_matrix_says(steps, start):
    graph = mutual_neighbors(Rows.from_array(points(25).numpy()), 5)
    value, freedom = chi_square(graph, steps, start, seed=steps)
    assert value < limit(freedom)


def test_a_walk_that_prefers_the_first_neighbor_would_be_noticed():
    class Lazy(NeighborGraph):
        def walk(self, rows, n_steps, *, generator):
            ends = super().walk(rows, n_steps, generator=generator)
            first = self.ends[self.starts[rows]]
            slips = torch.rand(len(rows), generator=generator) < 0.02
            return torch.where(slips, first, ends)

    graph = mutual_neighbors(Rows.from_array(points(25).numpy()), 5)
    value, freedom = chi_square(Lazy(graph.starts, graph.ends), 4, 0, seed=0)
    assert value > limit(freedom)


def test_the_generator_and_nothing_else_decides():
    graph = mutual_neighbors(Rows.from_array(points().numpy()), 4)
    begin, state = torch.arange(60), torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - it is the global one that counts

    def ends(seed):
        return graph.walk(begin, 9, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(ends(0), ends(0))
    assert not torch.equal(ends(0), ends(1))
    wide = Rows.from_array(points(p=80).numpy())
    assert torch.equal(mutual_neighbors(wide, 3).ends, mutual_neighbors(wide, 3).ends)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_too_many_rows_and_rows_on_disk_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("discretevae.data.neighbors.MAX_ROWS", 50)
    with pytest.raises(ConfigError, match="neighbors of 60 rows would take hours"):
        mutual_neighbors(Rows.from_array(points().numpy(), name="mine"), 2)
    from discretevae.data import load_rows

    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 100)
    np.save(tmp_path / "x.npy", points().numpy())
    rows = load_rows(tmp_path / "x.npy")
    assert rows.is_streamed
    with pytest.raises(ConfigError, match="these lie on disk"):
        mutual_neighbors(rows, 2)
