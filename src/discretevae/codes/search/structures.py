"""Structures that find near bits: a plain scan, inverted lists, or a graph; faiss does the work.

A structure depends on the rows and on nothing else, and is never saved: faiss' own files are read
by native code that trusts the lengths and links in them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np

from discretevae.errors import ConfigError, did_you_mean, needs_extra

Array = np.ndarray[Any, np.dtype[Any]]

IndexKind = Literal["flat", "ivf", "hnsw"]
INDEX_KINDS: tuple[str, ...] = get_args(IndexKind)

ROWS_PER_CENTROID = 100
"""Rows that the centroids of inverted lists are learned from; faiss wants 39 at least."""

PROBED_SHARE = 0.1
"""Of all lists, those looked through by default."""

LINKS = 16
"""Links of a row to others on each upper level of the graph; twice as many on the lowest. The
middle of the 12 to 48 that the authors of HNSW advise for most data."""

BUILD_EFFORT, SEARCH_EFFORT = 40, 128
"""Candidates that are kept while the graph is built (faiss' own default) and searched (8 times
faiss' default: codes have many ties, among which a short walk gets stuck)."""


class Structure:
    """Packed bits at the places 0, 1, …, N − 1, among which the nearest to a query are found.

    ``flat`` compares a query with every row: it is exact, and of rows equally far the one at the
    lower place comes first. ``ivf`` has √N lists of rows around centroids, and compares the rows of
    the nearest few. ``hnsw`` links rows to near ones on several levels (Malkov & Yashunin 2018); a
    query walks along the links. All are built on one thread, so that the same rows make the same
    structure: sums of floats and the order of insertion must not change.

    Args:
        kind: ``flat``, ``ivf`` or ``hnsw``.
        bits: uint8 ``[N, W]``.

    Raises:
        MissingExtraError: faiss is not installed.
    """

    def __init__(self, kind: str, bits: Array) -> None:
        faiss = load_faiss()
        n, n_bits = len(bits), 8 * bits.shape[1]
        self.kind, self._n_lists = kind, max(1, min(math.isqrt(n), n // 39))
        spelling = {"flat": "BFlat", "ivf": f"BIVF{self._n_lists}", "hnsw": f"BHNSW{LINKS}"}
        self._index = faiss.index_binary_factory(n_bits, spelling[kind])
        with one_thread():
            if kind == "ivf":
                self._index.cp.min_points_per_centroid = 1  # else it warns of fewer rows than 39
                step = max(1, n // (ROWS_PER_CENTROID * self._n_lists))
                self._index.train(np.ascontiguousarray(bits[::step]))
            elif kind == "hnsw":
                self._index.hnsw.efConstruction = BUILD_EFFORT
            self._index.add(bits)

    def search(self, queries: Array, k: int, effort: int | None) -> tuple[Array, Array]:
        """Return the differing bits int32 ``[Q, k]`` and the places int64 ``[Q, k]``.

        Args:
            queries: uint8 ``[Q, W]``.
            k: neighbors of each, the nearest first.
            effort: of ``ivf`` the lists looked through, of ``hnsw`` the candidates kept; None for
                the default. All rows are compared for a query that finds fewer than k.

        Raises:
            ConfigError: the effort is below 1, or given for ``flat``.
        """
        if effort is not None and self.kind == "flat":
            raise ConfigError("`effort` is for the kinds ivf and hnsw: flat looks at every row.")
        if effort is not None and effort < 1:
            raise ConfigError(f"`effort` must be an int >= 1. Got {effort}.")
        exact = self._index
        if self.kind == "ivf":
            effort = effort or math.ceil(PROBED_SHARE * self._n_lists)
            self._index.nprobe = min(effort, self._n_lists)
        elif self.kind == "hnsw":
            self._index.hnsw.efSearch = max(k, min(effort or SEARCH_EFFORT, self._index.ntotal))
            exact = self._index.storage
        distances, places = self._index.search(queries, k)
        incomplete = (places < 0).any(1)
        if incomplete.any():
            if self.kind == "ivf":
                self._index.nprobe = self._n_lists
            rest = np.ascontiguousarray(queries[incomplete])
            distances[incomplete], places[incomplete] = exact.search(rest, k)
        return distances.astype(np.int32, copy=False), places


def require_kind(kind: Any) -> None:
    """Refuse a kind of structure that does not exist.

    Raises:
        ConfigError: it is none of `INDEX_KINDS`.
    """
    if kind not in INDEX_KINDS:
        raise ConfigError(f"`kind`: unknown value {kind!r}. {did_you_mean(str(kind), INDEX_KINDS)}")


def load_faiss() -> Any:
    """Return the library.

    Raises:
        MissingExtraError: it is not installed.
    """
    with needs_extra("search", "searching codes needs faiss"):
        import faiss
    return faiss


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let faiss compute on one thread inside the block."""
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
