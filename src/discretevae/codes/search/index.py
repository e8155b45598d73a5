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

from discretevae.codes.ids import (
    as_ids,
    ids_beside,
    ids_for,
    in_order_of_ids,
    is_unsorted,
    places_of,
    require_distinct,
)
from discretevae.codes.search import structures
from discretevae.codes.search.hamming import (
    bits_per_difference,
    require_searchable,
    search_bits,
)
from discretevae.codes.search.index_files import damaged, read_index, write_index
from discretevae.codes.search.structures import INDEX_KINDS, IndexKind, Structure
from discretevae.config import BINARIZE_MODES, BinarizeMode, LatentSpec, parse_latent
from discretevae.errors import ConfigError, DataError, count

if TYPE_CHECKING:
    from discretevae.data import Rows
    from discretevae.model.vae import DiscreteVAE

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Neighbors:
    """What was found near each of Q queries, the nearest first.

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
        """The object that ``search --json`` prints."""
        values = {"distances": self.distances.tolist(), "ids": self.ids.tolist()}
        if self.log_likelihoods is not None:
            values["log_likelihoods"] = self.log_likelihoods.tolist()
        return values


class CodeIndex:
    """Codes of rows with an id each, among which the nearest to a query are found.

    The distance is the number of latent variables that differ. Neighbors are sorted by distance,
    and by id where the distance is the same; with the kind ``flat`` so are those at the end of the
    list, which makes the answer unique. The kinds ``ivf`` and ``hnsw`` may miss some.

    Indexes are made by `build`, `from_codes` and `load`.

    Args:
        latent: the code.
        codes: packed codes ``[N, ·]`` as `pack_codes` gives them.
        ids: int64 ``[N]``, no two alike.
        structure: over the same rows.
        kind: ``flat``, ``ivf`` or ``hnsw``.
        fingerprint: of the model that wrote the codes; None if no model is known.
        binarize_mode: of rows before they are encoded, as in training.

    Example:
        >>> from discretevae import DiscreteVAE, load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="bernoulli:16", hidden=(32,))
        >>> index = CodeIndex.build(model, data.train)
        >>> found = index.search(model, data.train.subset(slice(7, 9)), k=3)
        >>> found.ids.shape, found.distances[:, 0].tolist()
        ((2, 3), [0, 0])
    """

    def __init__(
        self,
        latent: LatentSpec,
        codes: Array,
        ids: Array,
        structure: Structure,
        *,
        kind: IndexKind,
        fingerprint: str | None,
        binarize_mode: BinarizeMode,
    ) -> None:
        self.latent, self.kind, self.fingerprint = latent, kind, fingerprint
        self.binarize_mode = binarize_mode
        self._codes, self._ids, self._structure = codes, ids, structure

    @classmethod
    def build(
        cls,
        model: DiscreteVAE,
        rows: Rows,
        *,
        kind: IndexKind = "flat",
        ids: Any = None,
        binarize_mode: BinarizeMode = "none",
        progress: Callable[[int], object] | None = None,
    ) -> CodeIndex:
        """An index of the most likely code of every row.

        Args:
            model: whose code is discrete throughout.
            rows: N rows.
            kind: ``flat`` compares with every row and is exact; ``ivf`` and ``hnsw`` look at some.
            ids: N whole numbers from 0 on, no two alike; None for 0, 1, …, N − 1.
            binarize_mode: as in training; queries will be treated alike.
            progress: called with the number of rows encoded after every chunk.

        Raises:
            ConfigError: the code has a Gaussian part, or the kind is unknown.
            DataError: the rows do not fit the model, or the ids do not fit the rows.
            MissingExtraError: faiss is not installed.
        """
        from discretevae.codes.fingerprints import fingerprint
        from discretevae.codes.packing import encode_rows

        structures.load_faiss()  # before the rows are encoded, which takes its time
        _require_kind(kind)
        require_searchable(model.family.spec)
        numbers = ids_for(ids, len(rows), 0)
        codes = encode_rows(model, rows, binarize_mode=binarize_mode, progress=progress)
        return cls.from_codes(
            codes,
            model.family.spec,
            kind=kind,
            ids=numbers,
            fingerprint=fingerprint(model),
            binarize_mode=binarize_mode,
        )

    @classmethod
    def from_codes(
        cls,
        codes: Array,
        latent: str | LatentSpec,
        *,
        kind: IndexKind = "flat",
        ids: Any = None,
        fingerprint: str | None = None,
        binarize_mode: BinarizeMode = "none",
    ) -> CodeIndex:
        """An index of codes that are there already.

        Args:
            codes: ``[N, ·]`` as `pack_codes` and ``encode`` give them.
            latent: what they are, such as ``bernoulli:64``.
            kind: as for `build`.
            ids: as for `build`.
            fingerprint: of the model that wrote them; without it they can be searched by codes
                only.
            binarize_mode: of rows that a model is to encode.

        Raises:
            ConfigError: as for `build`.
            DataError: the codes are not of this kind, none at all, or the ids do not fit them.
            MissingExtraError: faiss is not installed.

        Example:
            >>> index = CodeIndex.from_codes(np.array([[0], [7], [6]], np.uint8), "bernoulli:8")
            >>> index.search_codes(np.array([[7]], np.uint8), k=2).ids
            array([[1, 2]])
        """
        spec = parse_latent(latent) if isinstance(latent, str) else latent
        _require_kind(kind)
        require_searchable(spec)
        if not len(codes):
            raise DataError("an index needs at least 1 row. Got none.")
        numbers = ids_for(ids, len(codes), 0)
        if kind == "flat":
            codes, numbers = in_order_of_ids(codes, numbers)
        structure = structures.build(kind, search_bits(spec, codes))
        return cls(
            spec,
            codes,
            numbers,
            structure,
            kind=kind,
            fingerprint=fingerprint,
            binarize_mode=binarize_mode,
        )

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Array:
        """Of all rows, int64 ``[N]``, in the order in which they are stored."""
        return self._ids.copy()

    def codes_of(self, ids: Any) -> Array:
        """The packed codes of rows, ``[n, ·]``.

        Raises:
            DataError: there are no such ids.

        Example:
            >>> index = CodeIndex.from_codes(np.array([[5], [7]], np.uint8), "bernoulli:8")
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
        """The k rows whose codes are nearest to those of other rows.

        Args:
            model: the one that the index was built with.
            rows: Q queries.
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
                raise ConfigError(f"rerank must be at least k. Got {rerank} and k = {k}.")
        queries = encode_rows(model, rows, binarize_mode=self.binarize_mode)
        found = self.search_codes(queries, depth, effort=effort)
        if rerank is None:
            return found
        from discretevae.codes.search.reranking import log_likelihoods

        candidates = self._codes[places_of(found.ids.reshape(-1), self._ids)]
        log_px = log_likelihoods(model, rows, candidates, depth, binarize_mode=self.binarize_mode)
        order = np.lexsort((found.ids, found.distances, -log_px), axis=-1)[:, :k]
        parts = (found.distances, found.ids, log_px)
        return Neighbors(*(np.take_along_axis(part, order, 1) for part in parts))

    def search_codes(self, codes: Array, k: int = 10, *, effort: int | None = None) -> Neighbors:
        """The k rows nearest to codes; needs no model.

        Args:
            codes: packed codes of Q queries, ``[Q, ·]``, of the model that wrote the index.
            k: neighbors of each.
            effort: as for `search`.

        Raises:
            ConfigError: k or the effort is out of range.
            DataError: the codes are of another kind or width.
        """
        self._require_depth("k", k)
        bits = search_bits(self.latent, np.asarray(codes))
        different, places = self._structure.search(bits, int(k), effort)
        distances, ids = different // bits_per_difference(self.latent), self._ids[places]
        order = np.lexsort((ids, distances), axis=-1)
        return Neighbors(np.take_along_axis(distances, order, 1), np.take_along_axis(ids, order, 1))

    def add(
        self,
        model: DiscreteVAE,
        rows: Rows,
        *,
        ids: Any = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Puts further rows in.

        Args:
            model: the one that the index was built with.
            rows: n rows.
            ids: n whole numbers that are not taken; None for those behind the largest.
            progress: as for `build`.

        Raises:
            DataError: another model, rows that do not fit it, or ids that are taken; the index is
                then what it was before.
        """
        from discretevae.codes.packing import encode_rows

        self.require_model(model)
        numbers = ids_beside(ids, len(rows), self._ids)
        codes = encode_rows(model, rows, binarize_mode=self.binarize_mode, progress=progress)
        self.add_codes(codes, ids=numbers)

    def add_codes(self, codes: Array, *, ids: Any = None) -> None:
        """Puts further codes in, packed as `pack_codes` gives them.

        Raises:
            DataError: codes of another kind, or ids that are taken; the index is then what it was.

        Example:
            >>> index = CodeIndex.from_codes(np.array([[5], [7]], np.uint8), "bernoulli:8")
            >>> index.add_codes(np.array([[1]], np.uint8), ids=[40])
            >>> index.ids
            array([ 0,  1, 40])
        """
        numbers, bits = ids_beside(ids, len(codes), self._ids), search_bits(self.latent, codes)
        if not len(codes):
            return
        all_codes = np.concatenate([self._codes, codes])
        all_ids = np.concatenate([self._ids, numbers])
        if self.kind == "flat" and is_unsorted(all_ids):
            all_codes, all_ids = in_order_of_ids(all_codes, all_ids)
            self._structure = structures.build("flat", search_bits(self.latent, all_codes))
        else:
            self._structure.add(bits)
        self._codes, self._ids = all_codes, all_ids

    def remove(self, ids: Any) -> None:
        """Takes rows out.

        Raises:
            DataError: an id is not there or named twice, or no row would be left; the index is
                then what it was.

        Example:
            >>> index = CodeIndex.from_codes(np.array([[5], [7]], np.uint8), "bernoulli:8")
            >>> index.remove([0])
            >>> index.ids
            array([1])
        """
        numbers = as_ids(ids)
        require_distinct(numbers)
        kept = np.delete(np.arange(len(self)), places_of(numbers, self._ids))
        if not len(kept):
            raise DataError("no row would be left in the index. Delete the file instead.")
        codes = self._codes[kept]
        self._structure = self._structure.keep(search_bits(self.latent, codes), kept)
        self._codes, self._ids = codes, self._ids[kept]

    def save(self, path: str | Path) -> None:
        """Writes the index, atomically.

        Raises:
            OSError: the disk is full or the folder cannot be written to.
        """
        head = {
            "fingerprint": self.fingerprint,
            "latent": str(self.latent),
            "kind": self.kind,
            "rows": len(self),
            "binarize": self.binarize_mode,
        }
        arrays = {"codes": self._codes, "ids": self._ids, **self._structure.arrays()}
        write_index(Path(path), arrays, head)

    @classmethod
    def load(cls, path: str | Path) -> CodeIndex:
        """Reads what `save` wrote.

        Raises:
            DataError: the file is missing, no index, of a newer format, truncated or damaged.
            MissingExtraError: faiss is not installed.

        Example:
            >>> CodeIndex.load("no.index")
            Traceback (most recent call last):
            ...
            discretevae.errors.DataError: no.index: no such index. Check the path.
        """
        path = Path(path)
        arrays, head = read_index(path)
        structures.load_faiss()
        try:
            return cls._from_file(arrays, head)
        except (DataError, ConfigError, TypeError, KeyError) as error:
            reason = str(error).rstrip(".")
            raise damaged(path, reason) from None

    def require_model(self, model: DiscreteVAE) -> None:
        """Refuses a model other than the one whose codes these are.

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

    @classmethod
    def _from_file(cls, arrays: dict[str, Array], head: dict[str, Any]) -> CodeIndex:
        values = {name: head[name] for name in ("fingerprint", "latent", "kind", "binarize")}
        known = isinstance(values["latent"], str) and isinstance(values["fingerprint"], str | None)
        if not known or values["binarize"] not in BINARIZE_MODES:
            raise DataError("its head names no model, code or binarization")
        kind, latent = values["kind"], parse_latent(values["latent"])
        _require_kind(kind)
        require_searchable(latent)
        codes, ids = arrays.pop("codes"), as_ids(arrays.pop("ids"))
        if not len(codes) == len(ids) == head["rows"] or not len(ids):
            raise DataError(f"{len(codes):,} codes and {len(ids):,} ids")
        require_distinct(ids)
        if kind == "flat" and is_unsorted(ids):
            raise DataError("ids that are not in order")
        structure = structures.restored(kind, arrays, search_bits(latent, codes))
        return cls(
            latent,
            codes,
            ids,
            structure,
            kind=kind,
            fingerprint=values["fingerprint"],
            binarize_mode=values["binarize"],
        )

    def _require_depth(self, name: str, k: int) -> None:
        if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
            raise ConfigError(f"{name} must be an int >= 1. Got {k!r}.")
        if k > len(self):
            raise ConfigError(
                f"{name} is {k:,}, but the index holds {count(len(self), 'row')}. Ask for fewer."
            )


def _require_kind(kind: Any) -> None:
    if not isinstance(kind, str) or kind not in INDEX_KINDS:
        raise ConfigError(f"kind: unknown value {kind!r}. Choices: {', '.join(INDEX_KINDS)}.")


__all__ = ["CodeIndex", "IndexKind", "Neighbors"]
