"""Rows that are near each other by their codes: an index that is built, saved and searched.

The distance of two codes is the number of latent variables in which they differ: for bits the
Hamming distance. torch is imported only where a model encodes; an index is loaded and searched by
codes without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from discretevae.codes.ids import as_ids, ids_of, new_ids, places_of, require_distinct
from discretevae.codes.packed import require_packed
from discretevae.codes.search.entries import Entries, encode_entries, ids_and_names
from discretevae.codes.search.hamming import (
    bits_per_difference,
    of_places,
    require_searchable,
    search_bits,
)
from discretevae.codes.search.neighbors import Neighbors
from discretevae.config import LatentSpec
from discretevae.config.checks import must
from discretevae.errors import ConfigError, DataError, count, needs_extra, require_type
from discretevae.system.arrays import Array
from discretevae.system.files import as_path
from discretevae.system.tensor_files import read_arrays, write_arrays

if TYPE_CHECKING:
    from discretevae.data.objects import RowsLike
    from discretevae.model.vae import DiscreteVAE


FORMAT_VERSION = 1

Places = Sequence[tuple[int, int]]


class CodeIndex:
    """Codes of rows with an id each, among which the nearest to a query are found.

    The distance is the number of latent variables that differ. Neighbors are sorted by distance,
    and by id where the distance is the same, also at the end of the list, which makes the answer
    unique.

    faiss compares a query with all codes. Its own structure is built at the first search after a
    change and never saved: its files are read by native code that trusts the lengths in them.

    `build` makes one of rows, `from_codes` of codes, and `load` reads one.

    Example:
        >>> index = CodeIndex.from_codes(np.array([[0], [7], [6]], np.uint8), "bernoulli:8")
        >>> index.search_codes(np.array([[7]], np.uint8), k=2).ids
        array([[1, 2]])
    """

    def __init__(self, entries: Entries, latent: LatentSpec, fingerprint: str | None) -> None:
        require_searchable(latent)
        if not len(entries.ids):
            raise DataError("an index needs at least 1 row. Got none.")
        require_packed(latent, entries.codes)
        self.latent, self.fingerprint = latent, fingerprint
        self._entries = entries
        self._searched: Any = None

    @classmethod
    def from_codes(
        cls,
        codes: Array,
        latent: str | LatentSpec,
        *,
        ids: Any = None,
        names: Sequence[str] | None = None,
        fingerprint: str | None = None,
    ) -> CodeIndex:
        """Return an index of codes.

        Args:
            codes: packed codes ``[N, ·]`` as `pack_codes` and ``encode`` give them.
            latent: what they are, such as ``bernoulli:64``.
            ids: N whole numbers from 0 on, no two alike; None for 0, 1, …, N − 1.
            names: of the rows, which may repeat; None where the ids will do.
            fingerprint: of the model that wrote the codes; without it they can be searched by
                codes only.

        Raises:
            ConfigError: the code has a Gaussian part.
            DataError: the codes are not of this latent, none at all, or ids or names do not fit
                them.
        """
        spec = LatentSpec.of(latent)
        require_type("codes", codes, np.ndarray, "Give what pack_codes returns.", DataError)
        entries = Entries.of(codes, new_ids(ids, len(codes)), names)
        return cls(entries, spec, fingerprint)

    @classmethod
    def build(
        cls,
        model: DiscreteVAE,
        rows: RowsLike,
        *,
        ids: Any = None,
        progress: Callable[[int], object] | None = None,
    ) -> CodeIndex:
        """Return an index of the most likely code of every row.

        Args:
            model: whose code is discrete throughout.
            rows: N rows, binarized as in training.
            ids: as for `from_codes`; None for those of the rows, or their numbers in the source.
                Ids of rows that are texts, or repeat, become names.
            progress: called with the number of rows encoded after every chunk.

        Raises:
            ConfigError: the code has a Gaussian part.
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
        from discretevae.model.row_checks import require_fit, require_model

        # mistakes are named before the rows are encoded, which takes its time
        require_model(model)
        require_searchable(model.family.spec)
        rows = require_fit(model, rows)
        entries = encode_entries(model, rows, *ids_and_names(rows, ids), progress)
        return cls(entries, model.config.latent, fingerprint(model))

    def __len__(self) -> int:
        return len(self._entries.ids)

    @property
    def ids(self) -> Array:
        """Ids of all rows, int64 ``[N]``, rising."""
        return self._entries.ids.copy()

    @property
    def names(self) -> list[str] | None:
        """Names of all rows, in the order of `ids`; None where the ids are the names."""
        return None if self._entries.names is None else self._entries.names.tolist()

    def codes_of(self, ids: Any) -> Array:
        """Return the packed codes of rows, ``[n, ·]`` (`DataError` if there are no such ids).

        Example:
            >>> index = CodeIndex.from_codes(np.array([[5], [7]], np.uint8), "bernoulli:8")
            >>> index.codes_of([1])
            array([[7]], dtype=uint8)
        """
        return self._entries.take(places_of(as_ids(ids), self._entries.ids)).codes

    def search(
        self, model: DiscreteVAE, rows: RowsLike, k: int = 10, *, places: Places | None = None
    ) -> Neighbors:
        """Return the k rows whose codes are nearest to those of other rows.

        Args:
            model: the one that the index was built with.
            rows: Q queries, binarized as in training.
            k: neighbors of each.
            places: as for `search_codes`.

        Raises:
            ConfigError: k is out of range, or the places are no places of the code.
            DataError: the index was built with another model, or the rows do not fit it.
        """
        from discretevae.model.row_checks import require_fit

        self.require_model(model)
        self._require_depth(k)
        rows = require_fit(model, rows)
        load_faiss()  # that it is missing is said before the rows are encoded
        queries = encode_entries(model, rows, np.arange(len(rows)), None, None)
        own = self._entries.own_places(ids_of(rows), queries.sums)
        found = self._entries.own_first(
            self.search_codes(queries.codes, k, places=places), own, queries.codes
        )
        own_ids = np.where(own >= 0, self._entries.ids[own], -1)
        return replace(found, own=found.ids == own_ids[:, None])

    def search_codes(self, codes: Array, k: int = 10, *, places: Places | None = None) -> Neighbors:
        """Return the k rows nearest to codes; needs no model.

        Args:
            codes: packed codes of Q queries, ``[Q, ·]``, of the model that wrote the index.
            k: neighbors of each.
            places: of a grid, (row, column) of those that are compared; None for all.

        Raises:
            ConfigError: k is out of range, or the places are no places of the code.
            DataError: the codes are of another kind or width.

        Example:
            >>> codes = np.array([[0x0F], [0xF1]], np.uint8)
            >>> index = CodeIndex.from_codes(codes, "bernoulli:4@1x2")
            >>> index.search_codes(np.array([[0xFF]], np.uint8), k=1, places=[(0, 0)]).ids
            array([[1]])
        """
        self._require_depth(k)
        entries, latent, codes = self._entries, self.latent, np.asarray(codes)
        if places is not None:
            latent, codes = of_places(self.latent, codes, places)
        bits = search_bits(latent, codes)
        if self._searched is None or self._searched[0] != places:
            stored = entries.codes
            if places is not None:
                _, stored = of_places(self.latent, stored, places)
            self._searched = places, load_faiss().IndexBinaryFlat(8 * bits.shape[1])
            self._searched[1].add(search_bits(latent, stored))
        # of codes equally far faiss gives those first that were added first
        different, found = self._searched[1].search(bits, int(k))
        distances = (different // bits_per_difference(latent)).astype(np.int32, copy=False)
        names = None if entries.names is None else entries.names[found]
        return Neighbors(distances, entries.ids[found], names=names)

    def add(
        self,
        model: DiscreteVAE,
        rows: RowsLike,
        *,
        ids: Any = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Add further rows.

        Args:
            model: the one that the index was built with.
            rows: n rows, binarized as in training.
            ids: n whole numbers that are not taken; None for those of the rows as for `build`,
                where numbers in the source that are taken become those behind the largest.
            progress: as for `build`.

        Raises:
            DataError: another model, rows that do not fit it, or ids that are taken; the index is
                then what it was before.
        """
        from discretevae.model.row_checks import require_fit

        self.require_model(model)
        rows = require_fit(model, rows)
        named = ids_and_names(rows, ids, self._entries.ids)  # mistakes, before rows are encoded
        self._keep(self._entries.joined(encode_entries(model, rows, *named, progress)))

    def add_codes(
        self, codes: Array, *, ids: Any = None, names: Sequence[str] | None = None
    ) -> None:
        """Add further codes, packed as `pack_codes` gives them.

        Raises:
            DataError: codes of another kind, or ids that are taken; the index is then what it was.

        Example:
            >>> index = CodeIndex.from_codes(np.array([[5], [7]], np.uint8), "bernoulli:8")
            >>> index.add_codes(np.array([[1]], np.uint8), ids=[40])
            >>> index.ids
            array([ 0,  1, 40])
        """
        numbers = new_ids(ids, len(codes), self._entries.ids)
        require_packed(self.latent, codes)
        self._keep(self._entries.joined(Entries.of(codes, numbers, names)))

    def remove(self, ids: Any) -> None:
        """Remove the rows with these ids, or all with these names.

        Raises:
            DataError: an id or name is not there, an id is given twice, or no row would be left;
                the index is then what it was.

        Example:
            >>> index = CodeIndex.from_codes(np.array([[5], [7]], np.uint8), "bernoulli:8")
            >>> index.remove([0])
            >>> index.ids
            array([1])
        """
        entries, given = self._entries, np.asarray(ids)
        if given.dtype.kind in "UO" and entries.names is not None:
            places = entries.places(given)
        else:
            require_distinct(numbers := as_ids(ids))
            places = places_of(numbers, entries.ids)
        kept = np.delete(np.arange(len(self)), places)
        if not len(kept):
            raise DataError("no row would be left in the index. Delete the file instead.")
        self._keep(entries.take(kept))

    def save(self, path: str | Path) -> None:
        """Write codes, ids, names and the fingerprint of the model, atomically (`OSError`)."""
        head = {
            "index_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "latent": str(self.latent),
        }
        write_arrays(Path(path), self._entries.to_arrays(), head)

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
        path = as_path(path, "path")
        try:
            arrays, head = read_arrays(path)
            if (version := head["index_version"]) == FORMAT_VERSION:
                entries = Entries.from_arrays(arrays)
                latent = LatentSpec.of(head["latent"])
                return cls(entries, latent, head["fingerprint"])
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
        """Refuse a model other than the one whose codes these are (`DataError`)."""
        from discretevae.codes.fingerprints import fingerprint

        if self.fingerprint is None:
            raise DataError("the index was made of codes without a model. Use search_codes.")
        if fingerprint(model) != self.fingerprint:
            raise DataError(
                "the index was built with another model, whose codes mean something else. Give "
                "the model of the index, or build the index again."
            )

    def _keep(self, entries: Entries) -> None:
        self._entries, self._searched = entries, None

    def _require_depth(self, k: int) -> None:
        if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
            raise ConfigError(must("k", "an int >= 1", k))
        if k > len(self):
            raise ConfigError(
                f"`k` is {k:,}, but the index holds {count(len(self), 'row')}. Ask for fewer."
            )


def load_faiss() -> Any:
    """Return the library (`MissingExtraError` without it)."""
    with needs_extra("search", "searching codes needs faiss"):
        import faiss
    return faiss
