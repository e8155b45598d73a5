"""The distinct codes of many rows, each with the rows that have it.

A trained model gives many rows the same code. So every code is held and compared once, and what is
found is turned into rows here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

CHUNK_ROWS = 1 << 22
"""Candidate rows that are sorted in one go."""


class DistinctCodes:
    """The M distinct codes of the rows 0, 1, …, N − 1, in the order of their first rows.

    Args:
        codes: packed codes ``[N, ·]``.

    Example:
        >>> distinct = DistinctCodes(np.array([[7], [5], [7]], np.uint8))
        >>> distinct.codes.tolist()
        [[7], [5]]
        >>> distinct.rows(np.array([[0, 1]]), np.array([[0, 1]]), k=3)
        (array([[0, 0, 1]]), array([[0, 2, 1]]))
    """

    def __init__(self, codes: Array) -> None:
        keys = _keys(codes)
        self._rows = np.argsort(keys, kind="stable")  # the rows of a code together, rising
        in_order = keys[self._rows]
        starts = np.flatnonzero(np.append(True, in_order[1:] != in_order[:-1]))
        sizes = np.diff(np.append(starts, len(codes)))
        by_first = np.argsort(self._rows[starts])
        self._starts, self._sizes = starts[by_first], sizes[by_first]
        self.codes: Array = codes[self._rows[self._starts]]

    def rows(self, distances: Array, places: Array, k: int) -> tuple[Array, Array]:
        """Return the k nearest rows of codes that were found: their distances and numbers.

        The m = min(k, M) nearest codes are enough, if of codes equally far those with lower first
        rows were found: each code before another stands for a row before all rows of the other.

        Args:
            distances: of the codes, rising, ``[Q, m]``.
            places: of the codes, ``[Q, m]``.
            k: rows of each query, at most N.

        Returns:
            ``[Q, k]`` each, sorted by distance, and by number where the distance is the same.
        """
        step = max(1, CHUNK_ROWS // min(k * k, len(self._rows)))
        chunks = [slice(start, start + step) for start in range(0, max(1, len(places)), step)]
        parts = [self._rows_of_chunk(distances[chunk], places[chunk], k) for chunk in chunks]
        near, rows = (np.concatenate(part) for part in zip(*parts, strict=True))
        return near, rows

    def _rows_of_chunk(self, distances: Array, places: Array, k: int) -> tuple[Array, Array]:
        sizes = np.minimum(self._sizes[places], k)
        # at this distance k rows are together, so codes beyond it add nothing
        enough = (np.cumsum(sizes, 1) >= k).argmax(1)
        sizes[distances > np.take_along_axis(distances, enough[:, None], 1)] = 0
        each, ends = sizes.reshape(-1), np.cumsum(sizes)
        number_in_code = np.arange(each.sum()) - np.repeat(ends - each, each)
        rows = self._rows[np.repeat(self._starts[places.reshape(-1)], each) + number_in_code]
        near = np.repeat(distances.reshape(-1), each)
        of_query = sizes.sum(1)
        order = np.lexsort((rows, near, np.repeat(np.arange(len(sizes)), of_query)))
        first = np.cumsum(of_query) - of_query
        chosen = order[first[:, None] + np.arange(k)]
        return near[chosen], rows[chosen]


def _keys(codes: Array) -> Array:
    """Return each code as one value that can be sorted, ``[N]``.

    NumPy's byte strings are equal if they differ in zeros at the end only; of one length, none do.
    """
    wide = np.ascontiguousarray(codes)
    return wide.view(f"S{wide.itemsize * wide.shape[1]}")[:, 0]
