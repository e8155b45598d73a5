"""The graph of neighboring rows, and random walks from row to row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from discretevae.data import Rows
from discretevae.data.objects import RowsLike, as_rows
from discretevae.data.stores.sparse import Sparse
from discretevae.errors import ConfigError
from discretevae.networks.counts import TOPICS

MAX_ROWS = 300_000
"""The time grows with the square: 69,000 rows took 46 s of one core, by which these would take
15 minutes."""

COMPONENTS = 64
"""Principal components in which distances are taken, where rows have more features. On MNIST the
nearest neighbor by them has the row's label in 97.8 % of all rows, by all pixels in 97.4 %."""

SAMPLE_VALUES = 2**26
"""Values that the principal components are found from at most: 256 MB."""

PIECE_ROWS = 4096


@dataclass(frozen=True, eq=False)
class NeighborGraph:
    """Rows joined to rows.

    Args:
        starts: int64 ``[N + 1]``: the neighbors of row n lie in ``ends[starts[n]:starts[n + 1]]``.
        ends: int64 ``[E]``, numbers of rows.

    Example:
        >>> graph = NeighborGraph(torch.tensor([0, 1, 2, 2]), torch.tensor([1, 0]))
        >>> generator = torch.Generator().manual_seed(0)
        >>> graph.walk(torch.tensor([0, 1, 2]), 3, generator=generator).tolist()
        [1, 0, 2]
    """

    starts: Tensor
    ends: Tensor

    @property
    def degrees(self) -> Tensor:
        """The number of neighbors of each row, int64 ``[N]``."""
        return self.starts.diff()

    def walk(self, rows: Tensor, n_steps: int, *, generator: torch.Generator | None) -> Tensor:
        """Walk at random, each step to one of the neighbors, all of them equally likely.

        A row without neighbors stays where it is.

        Args:
            rows: where the walks begin, int64 ``[B]``.
            n_steps: T.
            generator: the source of the draws, on its own device.

        Returns:
            Where they end, int64 ``[B]`` on the CPU.
        """
        device = "cpu" if generator is None else generator.device
        chance = torch.rand(n_steps, len(rows), generator=generator, device=device).cpu()
        for u in chance:
            first, degree = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
            # u < 1, but u times a degree may be rounded up to it
            chosen = first + (u * degree).long().minimum((degree - 1).clamp_min(0))
            end = self.ends[chosen.clamp_max(len(self.ends) - 1)] if len(self.ends) else rows
            rows = torch.where(degree > 0, end, rows)
        return rows


def mutual_neighbors(rows: RowsLike, n_neighbors: int, *, seed: int = 0) -> NeighborGraph:
    """Join two rows if each is among the K nearest of the other, by Euclidean distance.

    A row that lies apart is among the nearest of few or none, so that a walk never enters or
    leaves it by an edge that only one side has; a walk's stationary distribution does not
    favor rows that are everybody's neighbor. Where rows have more than 64 features, distances are
    those of their first 64 principal components; of sparse counts those of `topic_vectors` in 200
    directions.

    Args:
        rows: N rows in memory; of dynamic ones the most likely values are compared.
        n_neighbors: K; fewer if there are fewer rows.
        seed: of the search for the principal components.

    Raises:
        ConfigError: the rows lie on disk, or are too many.

    Example:
        >>> rows = Rows.from_array([[0.0], [0.1], [0.2], [0.9]])
        >>> mutual_neighbors(rows, 2).degrees.tolist()               # the last is nobody's
        [2, 2, 2, 0]
    """
    import scipy.sparse
    from sklearn.neighbors import NearestNeighbors

    rows = as_rows(rows)
    if rows.is_streamed:
        raise ConfigError(
            f"{rows.name}: neighbors are looked for among rows in memory, and these lie on disk. "
            "Give fewer rows, or choose `target='row'`."
        )
    if len(rows) > MAX_ROWS:
        raise ConfigError(
            f"{rows.name}: neighbors of {len(rows):,} rows would take hours; at most {MAX_ROWS:,} "
            "are accepted. Give fewer rows, or choose `target='row'`."
        )
    points, n = _points(rows.deterministic(), seed), len(rows)
    k = min(n_neighbors, n - 1)
    if k == 0:
        return NeighborGraph(torch.zeros(n + 1, dtype=torch.int64), torch.empty(0).long())
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points)
    found = search.kneighbors(return_distance=False).ravel()  # without the row itself
    shape, begins = (n, n), np.arange(n).repeat(k)
    nearest = scipy.sparse.csr_array((np.ones(n * k, np.int8), (begins, found)), shape)
    mutual = nearest.minimum(nearest.T).tocsr()
    mutual.sort_indices()
    starts, ends = (torch.from_numpy(a.astype(np.int64)) for a in (mutual.indptr, mutual.indices))
    return NeighborGraph(starts, ends)


def topic_vectors(
    rows: Rows, *others: Rows, n: int, seed: int
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Return sparse rows of counts, and others, as tf-idf in n directions, on length 1: ``[N, n]``.

    Source: Deerwester et al., "Indexing by Latent Semantic Analysis" (JASIS 1990).
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    tables = _tfidf(rows, *others)
    svd = TruncatedSVD(min(n, rows.n_features), random_state=seed).fit(tables[0])
    return [normalize(svd.transform(table)).astype(np.float32) for table in tables]


def topical_counts(rows: Rows) -> Sparse:
    """Return sparse rows of counts, weighted by tf-idf, each with the sum that it had, ``[N, P]``.

    Words that are everywhere, which say nothing of a topic, are most of a text's counts.
    """
    from sklearn.preprocessing import normalize

    table = normalize(_tfidf(rows)[0], norm="l1")
    sums = cast(Sparse, rows.values).matrix.sum(1, dtype=np.float32)
    return Sparse(table.multiply(sums[:, None]).tocsr())


def _tfidf(*parts: Rows) -> list[Any]:
    """Return tf-idf of sparse rows of counts, as the first part weights the words."""
    from sklearn.feature_extraction.text import TfidfTransformer

    tables = [cast(Sparse, part.values).matrix.astype(np.float32) for part in parts]
    for table in tables:
        table.eliminate_zeros()  # of which the logarithm would be taken
    tfidf = TfidfTransformer(sublinear_tf=True).fit(tables[0])
    return [tfidf.transform(table) for table in tables]


def _points(rows: Rows, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the rows, or their first principal components or topics, ``[N, n]``."""

    def piece(index: Tensor | slice) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rows.vectors(index).numpy()

    if rows.are_counts:
        return topic_vectors(rows, n=TOPICS, seed=seed)[0]
    pieces = [slice(start, start + PIECE_ROWS) for start in range(0, len(rows), PIECE_ROWS)]
    if rows.n_features <= COMPONENTS and not rows.is_mixed:
        return np.concatenate([piece(part) for part in pieces])
    from sklearn.decomposition import PCA

    n_sample = max(256, SAMPLE_VALUES // rows.n_features)
    order = np.random.default_rng(seed).permutation(len(rows))[:n_sample]
    sample = piece(torch.from_numpy(np.sort(order)))
    pca = PCA(min(COMPONENTS, len(sample)), random_state=seed).fit(sample)
    return np.concatenate([pca.transform(piece(part)).astype(np.float32) for part in pieces])
