"""Rows that are near each other by their codes: an index that is built, saved and searched.

The distance of two codes is the number of latent variables in which they differ: for bits the
Hamming distance. torch is imported only where a model encodes; an index is loaded and searched by
codes without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from discretevae.codes.ids import as_ids, new_ids, places_of, require_distinct
from discretevae.codes.packed import require_packed
from discretevae.codes.search.hamming import require_searchable
from discretevae.codes.search.structures import IndexKind, Structure, load_faiss, require_kind
from discretevae.config import LatentSpec
from discretevae.config.checks import must
from discretevae.errors import ConfigError, DataError, count
from discretevae.system.tensor_files import read_arrays, write_arrays

if TYPE_CHECKING:
    from discretevae.data import Rows
    from discretevae.model.vae import DiscreteVAE

Array = np.ndarray[Any, np.dtype[Any]]

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest rows of each of Q queries, the nearest first.

    Args:
        distances: int32 ``[Q, k]``, the number of latent variables that differ.
        ids: int64 ``[Q, k]``.
        log_likelihoods: ln p(x|z) of the query under each neighbor's code, nats, float64
            ``[Q, k]``; None unless they were asked for.
    """

    distances: Array
    ids: Array
    log_likelihoods: Array | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return ids and distances as plain values for JSON."""
        values = {"distances": self.distances.tolist(), "ids": self.ids.tolist()}
        if self.log_likelihoods is not None:
            values["log_likelihoods"] = self.log_likelihoods.tolist()
        return values


class CodeIndex:
    """Codes of rows with an id each, among which the nearest to a query are found.

    The distance is the number of latent variables that differ. Neighbors are sorted by distance,
    and by id where the distance is the same; with the kind ``flat`` so are those at the end of the
    list, which makes the answer unique. The kinds ``ivf`` and ``hnsw`` may miss some, but never
    a row that has the query's own code.

    The structure that is searched holds every distinct code once. It is built at the first search
    after a change, and is not saved: of 100,000 distinct codes ``hnsw`` takes some seconds.
    `prepare` builds it at once.

    Args:
        codes: packed codes ``[N, ·]`` as `pack_codes` and ``encode`` give them.
        latent: what they are, such as ``bernoulli:64``.
        kind: ``flat`` compares with every code and is exact; ``ivf`` and ``hnsw`` look at some.
        ids: N whole numbers from 0 on, no two alike; None for 0, 1, …, N − 1.
        fingerprint: of the model that wrote the codes; without it they can be searched by codes
            only.

    Raises:
        ConfigError: the code has a Gaussian part, or the kind is unknown.
        DataError: the codes are not of this latent, none at all, or the ids do not fit them.

    Example:
        >>> index = CodeIndex(np.array([[0], [7], [6]], np.uint8), "bernoulli:8")
        >>> index.search_codes(np.array([[7]], np.uint8), k=2).ids
        array([[1, 2]])
    """

    _structure: Structure | None

    def __init__(
        self,
        codes: Array,
        latent: str | LatentSpec,
        *,
        kind: IndexKind = "flat",
        ids: Any = None,
        fingerprint: str | None = None,
    ) -> None:
        self.latent = LatentSpec.of(latent)
        require_kind(kind)
        require_searchable(self.latent)
        if not len(codes):
            raise DataError("an index needs at least 1 row. Got none.")
        require_packed(self.latent, codes)
        self.kind, self.fingerprint = kind, fingerprint
        self._keep(codes, new_ids(ids, len(codes)))

    @classmethod
    def build(
        cls,
        model: DiscreteVAE,
        rows: Rows,
        *,
        kind: IndexKind = "flat",
        ids: Any = None,
        progress: Callable[[int], object] | None = None,
    ) -> CodeIndex:
        """Return an index of the most likely code of every row.

        Args:
            model: whose code is discrete throughout.
            rows: N rows, binarized as in training.
            kind: as for the class.
            ids: as for the class.
            progress: called with the number of rows encoded after every chunk.

        Raises:
            ConfigError: the code has a Gaussian part, or the kind is unknown.
            DataError: the rows do not fit the model, or the ids do not fit the rows.

        Example:
            >>> from discretevae import DiscreteVAE, load_data
            >>> data = load_data("digits")
            >>> model = DiscreteVAE.for_data(data, latent="bernoulli:16", hidden=(32,))
            >>> index = CodeIndex.build(model, data.train)
            >>> found = index.search(model, data.train.subset(slice(7, 9)), k=3)
            >>> found.ids.shape, found.distances[:, 0].tolist()
            ((2, 3), [0, 0])
        """
        from discretevae.codes.fingerprints import fingerprint
        from discretevae.codes.packing import encode_rows

        # mistakes are named before the rows are encoded, which takes its time
        require_kind(kind)
        require_searchable(model.family.spec)
        numbers = new_ids(ids, len(rows))
        codes = encode_rows(model, rows, progress=progress)
        return cls(
            codes,
            model.family.spec,
            kind=kind,
            ids=numbers,
            fingerprint=fingerprint(model),
        )

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Array:
        """Ids of all rows, int64 ``[N]``, rising."""
        return self._ids.copy()

    def codes_of(self, ids: Any) -> Array:
        """Return the packed codes of rows, ``[n, ·]``.

        Raises:
            DataError: there are no such ids.

        Example:
            >>> index = CodeIndex(np.array([[5], [7]], np.uint8), "bernoulli:8")
            >>> index.codes_of([1])
            array([[7]], dtype=uint8)
        """
        codes: Array = self._codes[places_of(as_ids(ids), self._ids)]
        return codes

    def search(
        self,
        model: DiscreteVAE,
        rows: Rows,
        k: int = 10,
        *,
        rerank: int | None = None,
        effort: int | None = None,
    ) -> Neighbors:
        """Return the k rows whose codes are nearest to those of other rows.

        Args:
            model: the one that the index was built with.
            rows: Q queries, binarized as in training.
            k: neighbors of each.
            rerank: R ≥ k: the R nearest are sorted by ln p(x|z), the query x under the code z of
                the candidate, the largest first, and the first k are kept; None for no such step.
            effort: of ``ivf`` the lists looked through, of ``hnsw`` the candidates kept; more
                misses less and takes longer. None for the default.

        Raises:
            ConfigError: k, R or the effort is out of range.
            DataError: the index was built with another model, or the rows do not fit it.
        """
        from discretevae.codes.packing import encode_rows

        self.require_model(model)
        depth = k if rerank is None else rerank
        self._require_depth("k", k)
        if rerank is not None:
            self._require_depth("rerank", rerank)
            if rerank < k:
                raise ConfigError(f"`rerank` must be at least `k`. Got {rerank} and {k}.")
        load_faiss()  # that it is missing is said before the rows are encoded
        queries = encode_rows(model, rows)
        found = self.search_codes(queries, depth, effort=effort)
        if rerank is None:
            return found
        from discretevae.codes.search.reranking import log_likelihoods

        candidates = self._codes[places_of(found.ids.reshape(-1), self._ids)]
        log_px = log_likelihoods(model, rows, candidates, depth)
        order = np.lexsort((found.ids, found.distances, -log_px), axis=-1)[:, :k]
        parts = (found.distances, found.ids, log_px)
        return Neighbors(*(np.take_along_axis(part, order, 1) for part in parts))

    def search_codes(self, codes: Array, k: int = 10, *, effort: int | None = None) -> Neighbors:
        """Return the k rows nearest to codes; needs no model.

        Args:
            codes: packed codes of Q queries, ``[Q, ·]``, of the model that wrote the index.
            k: neighbors of each.
            effort: as for `search`.

        Raises:
            ConfigError: k or the effort is out of range.
            DataError: the codes are of another kind or width.
        """
        self._require_depth("k", k)
        distances, places = self.prepare().search(np.asarray(codes), int(k), effort)
        return Neighbors(distances, self._ids[places])

    def add(
        self,
        model: DiscreteVAE,
        rows: Rows,
        *,
        ids: Any = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Add further rows.

        Args:
            model: the one that the index was built with.
            rows: n rows, binarized as in training.
            ids: n whole numbers that are not taken; None for those behind the largest.
            progress: as for `build`.

        Raises:
            DataError: another model, rows that do not fit it, or ids that are taken; the index is
                then what it was before.
        """
        from discretevae.codes.packing import encode_rows

        self.require_model(model)
        numbers = new_ids(ids, len(rows), self._ids)  # a mistake is named before rows are encoded
        codes = encode_rows(model, rows, progress=progress)
        self.add_codes(codes, ids=numbers)

    def add_codes(self, codes: Array, *, ids: Any = None) -> None:
        """Add further codes, packed as `pack_codes` gives them.

        Raises:
            DataError: codes of another kind, or ids that are taken; the index is then what it was.

        Example:
            >>> index = CodeIndex(np.array([[5], [7]], np.uint8), "bernoulli:8")
            >>> index.add_codes(np.array([[1]], np.uint8), ids=[40])
            >>> index.ids
            array([ 0,  1, 40])
        """
        numbers = new_ids(ids, len(codes), self._ids)
        require_packed(self.latent, codes)
        self._keep(np.concatenate([self._codes, codes]), np.concatenate([self._ids, numbers]))

    def remove(self, ids: Any) -> None:
        """Remove rows.

        Raises:
            DataError: an id is not there or named twice, or no row would be left; the index is
                then what it was.

        Example:
            >>> index = CodeIndex(np.array([[5], [7]], np.uint8), "bernoulli:8")
            >>> index.remove([0])
            >>> index.ids
            array([1])
        """
        numbers = as_ids(ids)
        require_distinct(numbers)
        kept = np.delete(np.arange(len(self)), places_of(numbers, self._ids))
        if not len(kept):
            raise DataError("no row would be left in the index. Delete the file instead.")
        self._keep(self._codes[kept], self._ids[kept])

    def prepare(self) -> Structure:
        """Return the structure that is searched; build it unless it is there.

        Raises:
            MissingExtraError: faiss is not installed.
        """
        if self._structure is None:
            self._structure = Structure(self.kind, self.latent, self._codes)
        return self._structure

    def save(self, path: str | Path) -> None:
        """Write codes, ids and the fingerprint of the model, atomically.

        Raises:
            OSError: the disk is full or the folder cannot be written to.
        """
        head = {
            "index_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "latent": str(self.latent),
            "kind": self.kind,
        }
        write_arrays(Path(path), {"codes": self._codes, "ids": self._ids}, head)

    @classmethod
    def load(cls, path: str | Path) -> CodeIndex:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing, no index, of a newer format, truncated or damaged.

        Example:
            >>> CodeIndex.load("no.index")
            Traceback (most recent call last):
            ...
            discretevae.errors.DataError: no.index: no such index. Check the path.
        """
        path = Path(path)
        try:
            arrays, head = read_arrays(path)
            if (version := head["index_version"]) == FORMAT_VERSION:
                return cls(
                    arrays["codes"],
                    head["latent"],
                    kind=head["kind"],
                    ids=arrays["ids"],
                    fingerprint=head["fingerprint"],
                )
        except FileNotFoundError:
            raise DataError(f"{path}: no such index. Check the path.") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise DataError(
                f"{path}: no index of codes, or damaged "
                f"({str(error).rstrip('.').replace('`', '')}). Restore it or build it again."
            ) from None
        raise DataError(
            f"{path}: format version {version}, but this discretevae reads {FORMAT_VERSION}. "
            "Update discretevae, or build the index again."
        )

    def require_model(self, model: DiscreteVAE) -> None:
        """Refuse a model other than the one whose codes these are.

        Raises:
            DataError: it is another one, or none is known.
        """
        from discretevae.codes.fingerprints import fingerprint

        if self.fingerprint is None:
            raise DataError("the index was made of codes without a model. Use search_codes.")
        if fingerprint(model) != self.fingerprint:
            raise DataError(
                "the index was built with another model, whose codes mean something else. Give "
                "the model of the index, or build the index again."
            )

    def _keep(self, codes: Array, ids: Array) -> None:
        """Hold these rows, sorted by id: `Structure` breaks ties by place."""
        order = np.argsort(ids)
        self._codes, self._ids = codes[order], ids[order]
        self._structure = None

    def _require_depth(self, name: str, k: int) -> None:
        if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
            raise ConfigError(must(name, "an int >= 1", k))
        if k > len(self):
            raise ConfigError(
                f"`{name}` is {k:,}, but the index holds {count(len(self), 'row')}. Ask for fewer."
            )
