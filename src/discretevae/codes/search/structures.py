"""Structures that find near codes: a plain scan, inverted lists, or a graph; faiss does the work.

A structure depends on the rows and on nothing else, and is never saved: faiss' own files are read
by native code that trusts the lengths and links in them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np

from discretevae.codes.search.distinct import DistinctCodes
from discretevae.codes.search.hamming import bits_per_difference, search_bits
from discretevae.config import LatentSpec
from discretevae.errors import ConfigError, did_you_mean, needs_extra

Array = np.ndarray[Any, np.dtype[Any]]

IndexKind = Literal["flat", "ivf", "hnsw"]
INDEX_KINDS: tuple[str, ...] = get_args(IndexKind)

CODES_PER_CENTROID = 100
"""Codes that the centroids of inverted lists are learned from; faiss wants 39 at least."""

PROBED_SHARE, LEAST_PROBED = 0.1, 16
"""Of all lists, those looked through by default; of short codes there are few lists, and looking
through more of them costs next to nothing."""

LINKS = 16
"""Links of a code to others on each upper level of the graph; twice as many on the lowest. The
middle of the 12 to 48 that the authors of HNSW advise for most data."""

BUILD_EFFORT, SEARCH_EFFORT = 40, 128
"""Candidates that are kept while the graph is built (faiss' own default) and searched (8 times
faiss' default: codes have many ties, among which a short walk gets stuck)."""


class Structure:
    """Codes of the rows 0, 1, …, N − 1, among which the nearest to a query are found.

    Each of the M distinct codes is held once. ``flat`` compares a query with all of them: it is
    exact, and of rows equally far the lower comes first. ``ivf`` has √M lists of codes around
    centroids, and compares those of the nearest few. ``hnsw`` links codes to near ones on several
    levels (Malkov & Yashunin 2018); a query walks along the links. Both look up the query's own
    code besides, so that its rows are never missed. All are built on one thread, so that the same
    rows make the same structure: sums of floats and the order of insertion must not change.

    Args:
        kind: ``flat``, ``ivf`` or ``hnsw``.
        latent: what the codes are.
        codes: packed codes ``[N, ·]``.

    Raises:
        MissingExtraError: faiss is not installed.
    """

    def __init__(self, kind: str, latent: LatentSpec, codes: Array) -> None:
        faiss = load_faiss()
        self.kind, self.latent, self.distinct = kind, latent, DistinctCodes(codes)
        bits = search_bits(latent, self.distinct.codes)
        n, n_bits = len(bits), 8 * bits.shape[1]
        self._n_lists = max(1, min(math.isqrt(n), n // 39))
        spelling = {"flat": "BFlat", "ivf": f"BIVF{self._n_lists}", "hnsw": f"BHNSW{LINKS}"}
        self._index = faiss.index_binary_factory(n_bits, spelling[kind])
        with one_thread():
            if kind == "ivf":
                self._index.cp.min_points_per_centroid = 1  # else it warns of fewer codes than 39
                step = max(1, n // (CODES_PER_CENTROID * self._n_lists))
                self._index.train(np.ascontiguousarray(bits[::step]))
            elif kind == "hnsw":
                self._index.hnsw.efConstruction = BUILD_EFFORT
            self._index.add(bits)

    def search(self, codes: Array, k: int, effort: int | None) -> tuple[Array, Array]:
        """Return distances int32 ``[Q, k]`` and rows int64 ``[Q, k]``, sorted by both.

        Args:
            codes: packed codes of the queries, ``[Q, ·]``.
            k: rows of each, at most N.
            effort: of ``ivf`` the lists looked through, of ``hnsw`` the candidates kept; None for
                the default. With as many as there are, or if too few are found, all codes are
                compared.

        Raises:
            ConfigError: the effort is below 1, or given for ``flat``.
            DataError: the codes are of another kind or width.
        """
        if effort is not None and self.kind == "flat":
            raise ConfigError("`effort` is for the kinds ivf and hnsw: flat looks at every code.")
        if effort is not None and effort < 1:
            raise ConfigError(f"`effort` must be an int >= 1. Got {effort}.")
        bits = search_bits(self.latent, codes)
        different, places = self._nearest(bits, min(k, len(self.distinct.codes)), effort)
        if self.kind != "flat":
            own = self.distinct.places(codes)
            missed = (own >= 0) & (different[:, 0] > 0)
            places[missed] = np.column_stack([own[missed], places[missed, :-1]])
            different[missed] = np.column_stack([0 * own[missed], different[missed, :-1]])
        return self.distinct.rows(different // bits_per_difference(self.latent), places, k)

    def _nearest(self, bits: Array, m: int, effort: int | None) -> tuple[Array, Array]:
        """Return the differing bits and the places of m codes, the nearest first, ``[Q, m]``."""
        index = scan = self._index
        if self.kind == "ivf":
            effort = effort or max(LEAST_PROBED, math.ceil(PROBED_SHARE * self._n_lists))
            index.nprobe = min(effort, self._n_lists)
        elif self.kind == "hnsw":
            scan, kept = index.storage, max(m, effort or SEARCH_EFFORT)
            if kept < index.ntotal:
                index.hnsw.efSearch = kept
            else:
                index = scan
        different, places = index.search(bits, m)
        incomplete = (places < 0).any(1)
        if incomplete.any():
            if self.kind == "ivf":
                index.nprobe = self._n_lists
            rest = np.ascontiguousarray(bits[incomplete])
            different[incomplete], places[incomplete] = scan.search(rest, m)
        return different.astype(np.int32, copy=False), places


def require_kind(kind: Any) -> None:
    """Refuse a kind of structure that does not exist (`ConfigError`)."""
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
