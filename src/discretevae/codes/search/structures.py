"""What finds near bits: a plain scan, inverted lists, or a graph; faiss does the work.

Each structure can be taken apart into arrays and put together again from them. faiss' own file
format is neither written nor read: its reader is native code that trusts lengths and numbers of
links, and what it makes of a crafted file is read or written without a bounds check. Here every
number that comes from a file is checked before faiss sees it.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, get_args

import numpy as np

from discretevae.errors import ConfigError, DataError, MissingExtraError, did_you_mean

Array = np.ndarray[Any, np.dtype[Any]]

IndexKind = Literal["flat", "ivf", "hnsw"]
INDEX_KINDS: tuple[str, ...] = get_args(IndexKind)

ROWS_PER_CENTROID = 100
"""Rows that the centroids of inverted lists are learned from; faiss wants 39 at least."""

PROBED_SHARE = 0.1
"""Of all lists, those looked through by default."""

LINKS = 16
"""Links of a node to others on each upper level of the graph; twice as many on the lowest."""

BUILD_EFFORT, SEARCH_EFFORT = 40, 128
"""Candidates that are kept while the graph is built and searched."""


class Structure(Protocol):
    """Bits at places 0, 1, …, N − 1, among which the nearest to a query are found."""

    def add(self, bits: Array) -> None:
        """Puts rows ``[n, W]`` at the next places."""
        ...

    def keep(self, bits: Array, places: Array) -> Structure:
        """A structure of the rows at these places only; ``bits`` are theirs."""
        ...

    def search(self, queries: Array, k: int, effort: int | None) -> tuple[Array, Array]:
        """Differing bits int32 ``[Q, k]`` and places int64 ``[Q, k]``, the nearest first."""
        ...

    def arrays(self) -> dict[str, Array]:
        """All that is needed beside the bits to put it together again."""
        ...


class Flat:
    """Compares a query with every row: exact; of rows equally far, that of the lower place.

    Args:
        width: W, bytes of a row.
    """

    def __init__(self, width: int) -> None:
        self._index = load_faiss().IndexBinaryFlat(8 * width)

    def add(self, bits: Array) -> None:
        """Appends them."""
        self._index.add(bits)

    def keep(self, bits: Array, places: Array) -> Flat:
        """Made anew: it is a copy of the bits and no more."""
        kept = Flat(bits.shape[1])
        kept.add(bits)
        return kept

    def search(self, queries: Array, k: int, effort: int | None) -> tuple[Array, Array]:
        """Effort means nothing here."""
        if effort is not None:
            raise ConfigError("effort is for the kinds ivf and hnsw: flat looks at every row.")
        return _found(self._index.search(queries, k))

    def arrays(self) -> dict[str, Array]:
        """Nothing but the bits."""
        return {}


class Inverted:
    """Rows in lists around centroids; those of the nearest few lists are compared with a query.

    Args:
        centroids: packed bits ``[L, W]``.
    """

    def __init__(self, centroids: Array) -> None:
        faiss = load_faiss()
        self.centroids, self.lists = centroids, np.zeros(0, np.int32)
        self._quantizer = faiss.IndexBinaryFlat(8 * centroids.shape[1])
        self._quantizer.add(centroids)
        # the lists do not own the quantizer: it must live as long as they do
        self._index = faiss.IndexBinaryIVF(self._quantizer, 8 * centroids.shape[1], len(centroids))
        self._index.is_trained = True

    @classmethod
    def learned(cls, bits: Array) -> Inverted:
        """Centroids of √N lists, from rows that are taken evenly; empty as yet."""
        faiss = load_faiss()
        n, width = bits.shape
        count = max(1, min(math.isqrt(n), n // 39))
        step = max(1, n // (ROWS_PER_CENTROID * count))
        quantizer = faiss.IndexBinaryFlat(8 * width)
        index = faiss.IndexBinaryIVF(quantizer, 8 * width, count)
        with one_thread():  # sums of floating point numbers, whose order must not change
            if count == 1:
                quantizer.add(bits[:1].copy())
            else:
                index.train(np.ascontiguousarray(bits[::step]))
        return cls(np.ascontiguousarray(quantizer.reconstruct_n(0, count)))

    def add(self, bits: Array) -> None:
        """Puts each row into the list of its nearest centroid, the first of several."""
        _, nearest = self._quantizer.search(bits, 1)
        self.install(bits, nearest[:, 0].astype(np.int32))

    def install(self, bits: Array, lists: Array) -> None:
        """Puts each row into a list that is known."""
        faiss = load_faiss()
        numbers = lists.astype(np.int64)
        pointers = faiss.swig_ptr(bits), None, faiss.swig_ptr(numbers)
        self._index.add_core(len(bits), *pointers)
        self.lists = np.concatenate([self.lists, lists])

    def keep(self, bits: Array, places: Array) -> Inverted:
        """The same centroids."""
        kept = Inverted(self.centroids)
        kept.install(bits, self.lists[places])
        return kept

    def search(self, queries: Array, k: int, effort: int | None) -> tuple[Array, Array]:
        """Looks through ``effort`` lists; through all for a query whose lists hold too little."""
        count = len(self.centroids)
        self._index.nprobe = _effort(effort, math.ceil(PROBED_SHARE * count), count)
        distances, places = _found(self._index.search(queries, k))
        short = (places < 0).any(1)
        if short.any():
            self._index.nprobe = count
            again = _found(self._index.search(np.ascontiguousarray(queries[short]), k))
            distances[short], places[short] = again
        return distances, places

    def arrays(self) -> dict[str, Array]:
        """Centroids, and the list of every row."""
        return {"centroids": self.centroids, "lists": self.lists}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], bits: Array) -> Inverted:
        """Put together again.

        Raises:
            DataError: the arrays are not those of inverted lists of these rows.
        """
        centroids, lists = arrays["centroids"], arrays["lists"]
        _require_array("centroids", centroids, np.uint8, (max(1, len(centroids)), bits.shape[1]))
        _require_array("lists", lists, np.int32, (len(bits),))
        if len(lists) and not 0 <= lists.min() <= lists.max() < len(centroids):
            raise DataError(f"lists beyond the {len(centroids)} there are")
        structure = cls(centroids)
        structure.install(bits, lists)
        return structure


class Graph:
    """Rows linked to near ones, on several levels; a query walks from link to link.

    HNSW of Malkov & Yashunin (2018). Rows are linked one after the other on one thread, so that
    the same rows make the same graph.

    Args:
        width: W, bytes of a row.
    """

    def __init__(self, width: int) -> None:
        faiss = load_faiss()
        self._index = faiss.IndexBinaryHNSW(8 * width, LINKS)
        self._index.hnsw.efConstruction = BUILD_EFFORT

    def add(self, bits: Array) -> None:
        """Links the rows; the levels follow from how many there were before."""
        self._index.hnsw.rng = load_faiss().RandomGenerator(12_345 + self._index.ntotal)
        with one_thread():
            self._index.add(bits)

    def keep(self, bits: Array, places: Array) -> Graph:
        """Linked anew: links through what is gone would be missing."""
        kept = Graph(bits.shape[1])
        kept.add(bits)
        return kept

    def search(self, queries: Array, k: int, effort: int | None) -> tuple[Array, Array]:
        """Keeps ``effort`` candidates, k at least; scans where the walk ends with too few."""
        self._index.hnsw.efSearch = max(k, _effort(effort, SEARCH_EFFORT, self._index.ntotal))
        distances, places = _found(self._index.search(queries, k))
        short = (places < 0).any(1)
        if short.any():
            queries = np.ascontiguousarray(queries[short])
            distances[short], places[short] = _found(self._index.storage.search(queries, k))
        return distances, places

    def arrays(self) -> dict[str, Array]:
        """Levels of every row, links of every row and level, and where a walk begins."""
        faiss, hnsw = load_faiss(), self._index.hnsw
        links = np.empty(hnsw.neighbors.size(), np.int32)
        faiss.memcpy(faiss.swig_ptr(links), hnsw.neighbors.data(), links.nbytes)
        levels = faiss.vector_to_array(hnsw.levels)
        return {"levels": levels, "links": links, "entry": np.array([hnsw.entry_point], np.int32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], bits: Array) -> Graph:
        """Put together again.

        Raises:
            DataError: the arrays are no graph of these rows.
        """
        faiss, graph = load_faiss(), cls(bits.shape[1])
        index, hnsw = graph._index, graph._index.hnsw
        room = faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64)
        levels, links, entry = arrays["levels"], arrays["links"], arrays["entry"]
        firsts = _checked_firsts(levels, links, entry, room, len(bits))
        index.storage.add(bits)
        index.ntotal = len(bits)
        faiss.copy_array_to_vector(levels, hnsw.levels)
        faiss.copy_array_to_vector(firsts.astype(np.uint64), hnsw.offsets)
        hnsw.neighbors.resize(len(links))
        faiss.memcpy(hnsw.neighbors.data(), faiss.swig_ptr(links), links.nbytes)
        hnsw.entry_point, hnsw.max_level = int(entry[0]), int(levels.max()) - 1
        return graph


def build(kind: str, bits: Array) -> Structure:
    """A structure of this kind that holds the rows.

    Raises:
        ConfigError: no such kind.
        MissingExtraError: faiss is not installed.
    """
    structure: Structure
    if kind == "flat":
        structure = Flat(bits.shape[1])
    elif kind == "ivf":
        structure = Inverted.learned(bits)
    elif kind == "hnsw":
        structure = Graph(bits.shape[1])
    else:
        raise ConfigError(f"kind: unknown value {kind!r}. {did_you_mean(kind, INDEX_KINDS)}")
    structure.add(bits)
    return structure


def restored(kind: str, arrays: Mapping[str, Array], bits: Array) -> Structure:
    """The structure that gave these arrays; every number in them is checked.

    Raises:
        DataError: the arrays are not those of such a structure of these rows.
    """
    try:
        if kind == "ivf":
            return Inverted.from_arrays(arrays, bits)
        if kind == "hnsw":
            return Graph.from_arrays(arrays, bits)
    except KeyError as error:
        raise DataError(f"no array {error}") from None
    return build("flat", bits)


def load_faiss() -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("faiss")
    except ImportError:
        raise MissingExtraError(
            "searching codes needs faiss. Run: pip install 'discretevae[search]'"
        ) from None


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, faiss computes on one thread."""
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _found(found: tuple[Array, Array]) -> tuple[Array, Array]:
    distances, places = found
    return distances.astype(np.int32, copy=False), places


def _effort(asked: int | None, default: int, most: int) -> int:
    if asked is None:
        return max(1, min(default, most))
    if asked < 1:
        raise ConfigError(f"effort must be an int >= 1. Got {asked}.")
    return min(asked, most)


def _require_array(name: str, array: Array, dtype: Any, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise DataError(
            f"{name} is {array.dtype} {list(array.shape)}, not {np.dtype(dtype).name} {list(shape)}"
        )


def _checked_firsts(levels: Array, links: Array, entry: Array, room: Array, n: int) -> Array:
    """Where the links of each row begin, ``[N + 1]``, of a graph in which no link leads astray.

    A row on ``levels`` = ℓ has links on the levels 0 … ℓ − 1, in ``room[ℓ]`` places in all; −1 is
    none. A link on a level must lead to a row that is on this level too.
    """
    _require_array("levels", levels, np.int32, (n,))
    _require_array("entry", entry, np.int32, (1,))
    if not 1 <= levels.min() <= levels.max() < len(room):
        raise DataError(f"levels from {levels.min()} to {levels.max()}")
    counts = room[levels]
    firsts = np.concatenate([[0], np.cumsum(counts)])
    _require_array("links", links, np.int32, (int(firsts[-1]),))
    if not 0 <= entry[0] < n or levels[entry[0]] != levels.max():
        raise DataError(f"a walk that begins at {entry[0]}")
    if links.min() < -1 or links.max() >= n:
        raise DataError(f"links from {links.min()} to {links.max()}")
    within = np.arange(len(links)) - np.repeat(firsts[:-1], counts)
    level = np.searchsorted(room, within, side="right") - 1
    if (levels[links] <= level)[links >= 0].any():
        raise DataError("links to rows that are not on their level")
    return firsts


__all__ = [
    "INDEX_KINDS",
    "Flat",
    "Graph",
    "IndexKind",
    "Inverted",
    "Structure",
    "build",
    "load_faiss",
    "one_thread",
    "restored",
]
