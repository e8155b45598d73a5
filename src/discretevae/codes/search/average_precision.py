"""Average precision of a ranking by distance, with ties in the open.

Few bits leave thousands of rows at one distance, and nothing says which of them comes first. Here
every measure is its **expectation over all orders of the rows that are equally far**, in closed
form. It follows from two counts alone, the rows and the relevant rows at each distance.

Take the rows at one distance: n of them, r relevant, behind N₀ nearer ones of which R₀ are
relevant. Place i of this group, place N₀ + i of the list, is relevant with probability r/n; then
of the i − 1 places before it in the group (i − 1)(r − 1)/(n − 1) are expected to be. So

    E Σ_i rel_i · precision_i = r/n Σ_{i=1}^n (R₀ + 1 + (i − 1)(r − 1)/(n − 1)) / (N₀ + i)
                              = r/n ((R₀ + 1) h + (r − 1)/(n − 1) (n − (N₀ + 1) h)),
    h = Σ_{i=1}^n 1/(N₀ + i) = H(N₀ + n) − H(N₀),   H the harmonic numbers.

Source: McSherry & Najork, "Computing Information Retrieval Performance Measures Efficiently in
the Presence of Tied Scores" (ECIR 2008). Many implementations rank ties by the order of the rows
in the gallery instead, which is one draw from what is averaged here, and not a random one where
the rows are sorted in some way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from discretevae.codes.search.hamming import bits_per_difference, hamming_distances, search_bits
from discretevae.config import LatentSpec
from discretevae.errors import ConfigError, DataError
from discretevae.system.arrays import Array

CHUNK_DISTANCES = 1 << 23
"""Distances that are held at a time."""


@dataclass(frozen=True, eq=False)
class RetrievalScores:
    """Measures of retrieval; means over queries, in [0, 1].

    Args:
        mean_average_precision: over the full ranked list, expected over the order of ties.
        se: its standard error over queries; None for one query.
        at_top: average precision of the first k rows: the mean of the precision at each relevant
            row among them, so that the divisor is the number found there.
        precision: share of the first k rows that are relevant.
        recall: share of the true neighbors of a query that are among the first k rows.
        queries: Q.
        gallery: N.
    """

    mean_average_precision: float
    se: float | None
    at_top: Mapping[int, float]
    precision: Mapping[int, float]
    recall: Mapping[int, float]
    queries: int
    gallery: int

    def to_dict(self) -> dict[str, Any]:
        """Return the measures for JSON."""
        return {
            "mean_average_precision": {"value": self.mean_average_precision, "se": self.se},
            "mean_average_precision_at": {str(k): v for k, v in self.at_top.items()},
            "precision_at": {str(k): v for k, v in self.precision.items()},
            "recall_at": {str(k): v for k, v in self.recall.items()},
        }


def mean_average_precision(
    query_codes: Array,
    gallery_codes: Array,
    query_labels: Any,
    gallery_labels: Any,
    *,
    latent: str | LatentSpec,
    top: int | None = None,
) -> float:
    """Return mAP of a gallery ranked by the distance of codes; rows of the same label are relevant.

        AP = 1/R Σ_{i: rel_i} (relevant rows among the first i) / i,   mAP = mean over queries

    expected over the order of rows at the same distance. A query without relevant rows counts 0.

    Args:
        query_codes: packed codes ``[Q, ·]`` as `pack_codes` gives them.
        gallery_codes: ``[N, ·]``.
        query_labels: whole numbers ``[Q]``; or whether each has each of L labels, ``[Q, L]``, of
            which one in common makes a row relevant.
        gallery_labels: ``[N]`` or ``[N, L]``.
        latent: what the codes are, such as ``bernoulli:64``.
        top: k, only the first k rows are looked at, and R is the number of relevant rows among
            them; None for the full list, and all relevant rows.

    Raises:
        ConfigError: ``top`` is below 1.
        DataError: codes of another kind, none at all, or labels that do not fit them.

    Example:
        >>> codes, labels = np.array([[0], [1], [3]], np.uint8), [5, 6, 5]
        >>> found = mean_average_precision(codes[:1], codes, [5], labels, latent="bernoulli:8")
        >>> round(found, 6)                                         # at distances 0, 1 and 2
        0.833333
    """
    spec = LatentSpec.of(latent)
    queries, gallery = (search_bits(spec, np.asarray(c)) for c in (query_codes, gallery_codes))
    labels = _checked_labels(queries, gallery, query_labels, gallery_labels)
    each = bits_per_difference(spec)
    parts = []
    for _, distances, relevant in _compared(queries, gallery, *labels):
        at, relevant_at = _counts(distances // each, relevant)
        parts.append(expected_average_precision(at, relevant_at, top=top))
    return float(np.concatenate(parts).mean())


def expected_average_precision(at: Array, relevant_at: Array, *, top: int | None = None) -> Array:
    """Return AP of each query, expected over the order of rows at the same distance: ``[Q]``.

    ``at`` are rows at each distance from 0 on, ``[Q, G]``, ``relevant_at`` the relevant ones.

    The closed form stands at the head of this module. Where ``top`` cuts through a group of ties,
    the number of relevant rows above the cut is hypergeometric; given it, its rows are again in
    random order, so that the closed form is averaged over it.
    """
    n, r = at.astype(np.float64), relevant_at.astype(np.float64)
    before, relevant_before = np.cumsum(at, 1) - at, np.cumsum(r, 1) - r
    gain = _group(n, r, before, relevant_before)
    if top is None or top >= at.sum(1).max(initial=0):
        return _divided(gain.sum(1), r.sum(1))
    if top < 1:
        raise ConfigError(f"top must be an int >= 1. Got {top}.")
    from scipy.stats import hypergeom

    whole = before + at <= top
    score, found = (gain * whole).sum(1), (r * whole).sum(1)
    result = _divided(score, found)
    # a group that begins above the cut and ends below it; at most one of each query
    for query, group in np.argwhere((before < top) & ~whole).tolist():
        size, hits = at[query, group], relevant_at[query, group]
        ahead = before[query, group]
        x = np.arange(min(hits, top - ahead) + 1)
        p = hypergeom.pmf(x, size, hits, top - ahead)
        partial = _group(np.float64(top - ahead), x, ahead, found[query])
        result[query] = (p * _divided(score[query] + partial, found[query] + x)).sum()
    return result


def expected_hits(at: Array, hits_at: Array, k: int) -> Array:
    """Return the number of wanted rows among the first k, expected over ties: ``[Q]``.

    ``at`` are rows at each distance, ``[Q, G]``, and ``hits_at`` those of them that are wanted.
    """
    before = np.cumsum(at, 1) - at
    share = np.clip(k - before, 0, at) / np.maximum(at, 1)
    hits: Array = (share * hits_at).sum(1)
    return hits


def retrieval_scores(
    query_bits: Array,
    gallery_bits: Array,
    query_labels: Array,
    gallery_labels: Array,
    true_neighbors: Array,
    *,
    tops: tuple[int, ...] = (1000,),
    precisions: tuple[int, ...] = (10, 100, 1000),
    recalls: tuple[int, ...] = (10, 100, 1000),
) -> RetrievalScores:
    """Return all measures of one ranking; those whose k exceeds the gallery are left out.

    Bits are packed as `search_bits` gives them, labels as for `mean_average_precision`;
    ``true_neighbors`` are the gallery rows nearest to each query in truth, ``[Q, m]``.
    """
    labels = _checked_labels(query_bits, gallery_bits, query_labels, gallery_labels)
    n = len(gallery_bits)
    tops, precisions, recalls = (
        tuple(k for k in ks if k <= n) for ks in (tops, precisions, recalls)
    )
    rows: list[Array] = []
    for chunk, distances, relevant in _compared(query_bits, gallery_bits, *labels):
        at, relevant_at = _counts(distances, relevant)
        is_true = np.zeros(relevant.shape, np.bool_)
        np.put_along_axis(is_true, true_neighbors[chunk], True, axis=1)
        _, true_at = _counts(distances, is_true)
        rows.append(
            np.stack(
                [
                    expected_average_precision(at, relevant_at),
                    *(expected_average_precision(at, relevant_at, top=k) for k in tops),
                    *(expected_hits(at, true_at, k) / true_neighbors.shape[1] for k in recalls),
                    *(expected_hits(at, relevant_at, k) / k for k in precisions),
                ]
            )
        )
    table = np.concatenate(rows, 1)
    means, q = iter(table.mean(1).tolist()), table.shape[1]
    value = next(means)
    at_top, recall, precision = ({k: next(means) for k in ks} for ks in (tops, recalls, precisions))
    return RetrievalScores(
        mean_average_precision=value,
        se=None if q < 2 else float(table[0].std(ddof=1) / np.sqrt(q)),
        at_top=at_top,
        precision=precision,
        recall=recall,
        queries=q,
        gallery=n,
    )


def _checked_labels(
    queries: Array, gallery: Array, query_labels: Any, gallery_labels: Any
) -> tuple[Array, Array]:
    """Return labels as arrays, one for each code, or refuse them."""
    labels = np.asarray(query_labels), np.asarray(gallery_labels)
    for name, codes, found in zip(("query", "gallery"), (queries, gallery), labels, strict=True):
        if not len(codes) or found.shape[:1] != (len(codes),):
            raise DataError(
                f"{name} labels must be one for each of {len(codes):,} codes, at least 1. Got "
                f"shape {found.shape}."
            )
    return labels


def _compared(
    queries: Array, gallery: Array, query_labels: Array, gallery_labels: Array
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield some queries, their distances to all rows, and which rows are relevant."""
    step = max(1, CHUNK_DISTANCES // len(gallery))
    for start in range(0, len(queries), step):
        chunk = slice(start, start + step)
        if query_labels.ndim == 2:
            relevant = query_labels[chunk].astype(np.float32) @ gallery_labels.T > 0
        else:
            relevant = query_labels[chunk, None] == gallery_labels
        yield chunk, hamming_distances(queries[chunk], gallery), relevant


def _counts(distances: Array, relevant: Array) -> tuple[Array, Array]:
    """Return rows and relevant rows at each distance, int64 ``[Q, G]`` each."""
    q, groups = len(distances), int(distances.max()) + 1
    cell = distances + groups * np.arange(q)[:, None]
    at, relevant_at = (
        np.bincount(part, minlength=q * groups).reshape(q, groups)
        for part in (cell.reshape(-1), cell[relevant])
    )
    return at, relevant_at


def _group(n: Any, r: Any, before: Any, relevant_before: Any) -> Array:
    """Return Σ rel_i · precision_i over a group of ties, as at the head of the module."""
    from scipy.special import digamma

    h = digamma(before + n + 1) - digamma(before + 1)  # of harmonic numbers
    slope = np.where(n > 1, (r - 1) / np.maximum(n - 1, 1), 0.0)
    gain: Array = (
        r / np.maximum(n, 1) * ((relevant_before + 1) * h + slope * (n - (before + 1) * h))
    )
    return gain


def _divided(total: Any, count: Any) -> Array:
    """Return total / count; 0 where nothing was counted."""
    return np.asarray(total / np.maximum(count, 1))
