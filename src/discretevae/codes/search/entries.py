"""The rows of an index: codes, ids, names, and what a row that comes again is recognized by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from discretevae.codes.ids import as_names, ids_of, new_ids, places_of
from discretevae.codes.search.neighbors import Neighbors
from discretevae.errors import DataError
from discretevae.system.arrays import Array

if TYPE_CHECKING:
    from discretevae.data import Rows
    from discretevae.model.vae import DiscreteVAE


MAX_NAME_BYTES = 1 << 16
"""Of a name in UTF-8; paths have 4,096 at most."""


@dataclass(frozen=True, eq=False)
class Entries:
    """N rows of an index, sorted by id: packed codes ``[N, ·]``, and ids, int64, all different.

    Names may repeat, and are None where the ids are the names. ``sums`` are those of the values of
    each row, uint32 ``[N]``; 0 where they are not known.
    """

    codes: Array
    ids: Array
    names: Array | None
    sums: Array

    @classmethod
    def of(
        cls,
        codes: Array,
        ids: Array,
        names: Sequence[str] | Array | None = None,
        sums: Array | None = None,
    ) -> Entries:
        """Return rows given in any order; refuse too few names, or too long ones (`DataError`)."""
        if names is not None:
            names = as_names([str(name) for name in names])
            if len(names) != len(ids):
                raise DataError(f"{len(names):,} names for {len(ids):,} rows. Give one for each.")
            longest = max(map(len, map(_encoded, names)), default=0)
            if longest > MAX_NAME_BYTES:
                most = f"{MAX_NAME_BYTES:,} bytes"
                raise DataError(f"names must have at most {most}. One has {longest:,}.")
        sums = np.zeros(len(ids), np.uint32) if sums is None else sums
        return cls(codes, ids, names, sums).take(np.argsort(ids))

    def take(self, places: Array) -> Entries:
        """Return the rows at some places."""
        names = None if self.names is None else self.names[places]
        return Entries(self.codes[places], self.ids[places], names, self.sums[places])

    def joined(self, other: Entries) -> Entries:
        """Return the rows of both; where one has names, the ids of the other become names."""
        names = None
        if self.names is not None or other.names is not None:
            names = np.concatenate([self.all_names(), other.all_names()])
        parts = ((self.codes, other.codes), (self.ids, other.ids), (self.sums, other.sums))
        codes, ids, sums = map(np.concatenate, parts)
        return Entries.of(codes, ids, names, sums)

    def all_names(self) -> Array:
        """Return the names of the rows, else their ids as texts."""
        return as_names([str(i) for i in self.ids.tolist()]) if self.names is None else self.names

    def places(self, names: Array) -> Array:
        """Return the places of all rows with one of these names (`DataError` if there is none)."""
        wanted, known = set(names.tolist()), self.all_names()
        missing = sorted(wanted - set(known.tolist()))
        if missing:
            raise DataError(f"names must be in the index, but {missing[0]!r} is not.")
        return np.flatnonzero([name in wanted for name in known])

    def own_places(self, ids: Array, sums: Array) -> Array:
        """Return the places of queries that are rows of the index, int64 ``[Q]``, else -1.

        They have the same id or name, and the same values. Ids, numbers or texts, and sums are
        those of the queries.
        """
        if self.names is None and ids.dtype.kind == "i":
            at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            is_own = (self.ids[at] == ids) & (self.sums[at] == sums) & (sums > 0)
            return np.where(is_own, at, -1)
        keys = zip(self.all_names().tolist(), self.sums.tolist(), strict=True)
        known = {key: place for place, key in reversed(list(enumerate(keys))) if key[1]}
        wanted = zip(map(str, ids.tolist()), sums.tolist(), strict=True)
        return np.array([known.get(key, -1) for key in wanted])

    def own_first(self, found: Neighbors, own: Array, codes: Array) -> Neighbors:
        """Return the neighbors with the query itself before other rows of its code.

        Own are the places of the queries, ``[Q]`` or -1, and codes theirs, ``[Q, ·]``. More than
        k rows may have the code, and the query would not be among those of the least ids.
        """
        ids, distances = found.ids.copy(), found.distances.copy()
        is_there = (own >= 0) & (self.codes[own] == codes).all(1)
        for query in np.flatnonzero(is_there).tolist():
            itself = self.ids[own[query]]
            others = np.flatnonzero(ids[query] != itself)[: ids.shape[1] - 1]
            ids[query] = np.concatenate([[itself], ids[query, others]])
            distances[query] = np.concatenate([[0], distances[query, others]])
        places = places_of(ids.reshape(-1), self.ids).reshape(ids.shape)
        names = None if self.names is None else self.names[places]
        return replace(found, ids=ids, distances=distances, names=names)

    def to_arrays(self) -> dict[str, Array]:
        """Return what a file keeps; `from_arrays` takes it back."""
        arrays = {"codes": self.codes, "ids": self.ids, "sums": self.sums}
        if self.names is not None:
            each = [_encoded(name) for name in self.names]
            arrays["name_lengths"] = np.array([len(name) for name in each], np.int64)
            arrays["names"] = np.frombuffer(b"".join(each), np.uint8)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Entries:
        """Return the rows of a file; arrays that do not fit give a `KeyError` or `ValueError`."""
        codes, sums, names = arrays["codes"], arrays.get("sums"), None
        ids = new_ids(arrays["ids"], len(codes))
        if sums is not None and (sums.dtype != np.uint32 or sums.shape != ids.shape):
            raise ValueError(f"sums are {sums.dtype} {list(sums.shape)}")
        if "names" in arrays:
            names = _cut(arrays["names"], arrays["name_lengths"])
        return cls.of(codes, ids, names, sums)


def ids_and_names(rows: Rows, ids: Any, taken: Array | None = None) -> tuple[Array, Array | None]:
    """Return the ids of rows in an index, int64 ``[n]``, and their names where ids cannot be so.

    Whole numbers that are ids of the rows, and numbers of rows in their source, are ids in the
    index. Other ids of rows, texts or numbers that repeat, are names, beside ids that count on.
    Numbers given as ``ids`` take their place. Where one of the numbers in the source is ``taken``
    by another row, they count on.
    """
    own = ids_of(rows)
    if ids is None and own.dtype.kind == "i" and own.min() >= 0 and len(np.unique(own)) == len(own):
        is_free = taken is None or (
            rows.numbers is not None and not len(np.intersect1d(own, taken))
        )
        ids = own if rows.ids is not None or is_free else None
    elif ids is None:
        names = own if own.dtype.kind == "O" else as_names([str(i) for i in own.tolist()])
        return new_ids(None, len(rows), taken), names
    return new_ids(ids, len(rows), taken), None


def encode_entries(
    model: DiscreteVAE,
    rows: Rows,
    ids: Array,
    names: Array | None = None,
    progress: Callable[[int], object] | None = None,
) -> Entries:
    """Return the codes of rows, and the sums by which they are recognized."""
    from discretevae.codes.packing import encode_rows
    from discretevae.data.digest import row_sums

    sums: list[Array] = []
    codes = encode_rows(model, rows, progress=progress, look=lambda x: sums.append(row_sums(x)))
    # 0 is for sums that are not known
    short = np.maximum(np.concatenate(sums) >> np.uint64(32), 1).astype(np.uint32)
    return Entries.of(codes, ids, names, short)


def _cut(names: Array, lengths: Array) -> list[str]:
    """Return names that lie behind each other, from their bytes and their lengths."""
    if names.dtype != np.uint8 or lengths.dtype != np.int64 or (names.ndim, lengths.ndim) != (1, 1):
        raise ValueError(f"names are {names.dtype}, their lengths {lengths.dtype}")
    if not all(0 <= length <= MAX_NAME_BYTES for length in lengths.tolist()):
        raise ValueError("names are too long")
    if lengths.sum() != len(names):
        raise ValueError("names do not have their lengths")
    content, ends = names.tobytes(), np.cumsum(lengths)
    pairs = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    return [content[a:b].decode(errors="surrogatepass") for a, b in pairs]


def _encoded(name: str) -> bytes:
    return name.encode(errors="surrogatepass")  # names of files may be no text
