"""The structure that finds near codes; faiss compares them.

It depends on the rows and on nothing else, and is never saved: faiss' own files are read by native
code that trusts the lengths and links in them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from discretevae.codes.search.distinct import DistinctCodes
from discretevae.codes.search.hamming import bits_per_difference, search_bits
from discretevae.config import LatentSpec
from discretevae.errors import needs_extra

Array = np.ndarray[Any, np.dtype[Any]]


class Structure:
    """Codes of the rows 0, 1, …, N − 1, among which the nearest to a query are found.

    Each of the M distinct codes is held once, and a query is compared with all of them.

    Args:
        latent: what the codes are.
        codes: packed codes ``[N, ·]``.

    Raises:
        MissingExtraError: faiss is not installed.
    """

    def __init__(self, latent: LatentSpec, codes: Array) -> None:
        self.latent, self.distinct = latent, DistinctCodes(codes)
        bits = search_bits(latent, self.distinct.codes)
        self._index = load_faiss().IndexBinaryFlat(8 * bits.shape[1])
        self._index.add(bits)

    def search(self, codes: Array, k: int) -> tuple[Array, Array]:
        """Return distances int32 ``[Q, k]`` and rows int64 ``[Q, k]``, sorted by both.

        Args:
            codes: packed codes of the queries, ``[Q, ·]``.
            k: rows of each, at most N.

        Raises:
            DataError: the codes are of another kind or width.
        """
        bits = search_bits(self.latent, codes)
        # of codes equally far faiss gives those first that were added first
        different, places = self._index.search(bits, min(k, len(self.distinct.codes)))
        different = different.astype(np.int32, copy=False)
        return self.distinct.rows(different // bits_per_difference(self.latent), places, k)


def load_faiss() -> Any:
    """Return the library.

    Raises:
        MissingExtraError: it is not installed.
    """
    with needs_extra("search", "searching codes needs faiss"):
        import faiss
    return faiss
