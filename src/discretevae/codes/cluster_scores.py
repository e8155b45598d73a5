"""Agreement of clusters with labels that nobody showed to the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from discretevae.errors import DataError
from discretevae.system.arrays import Array


@dataclass(frozen=True, eq=False)
class ClusterScores:
    """Agreement of clusters and classes; shares and indices, not percent.

    Args:
        accuracy: share of the rows whose cluster is matched with their class, in [0, 1]; clusters
            and classes are matched one to one.
        nmi: normalized mutual information, in [0, 1].
        ari: adjusted Rand index, at most 1; 0 is what chance gives.
        purity: share of the rows that are of the largest class of their cluster, in [0, 1].
        mapping: the class of each cluster that has one; pairs that share no row are left out.
        confusion: rows of each cluster and class, int64 ``[K', C]``.
        clusters: the K' cluster numbers that occur, ascending.
        classes: the C labels that occur, ascending.
    """

    accuracy: float
    nmi: float
    ari: float
    purity: float
    mapping: Mapping[int, int]
    confusion: Array
    clusters: tuple[int, ...]
    classes: tuple[int, ...]

    @property
    def majority(self) -> dict[int, tuple[int, float]]:
        """The largest class of each cluster and its share of it; of equal ones the lowest."""
        found = {}
        for cluster, counts in zip(self.clusters, self.confusion, strict=True):
            top = int(counts.argmax())
            found[cluster] = (self.classes[top], float(counts[top] / counts.sum()))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON; cluster numbers that are keys are text there."""
        return {
            "accuracy": self.accuracy,
            "nmi": self.nmi,
            "ari": self.ari,
            "purity": self.purity,
            "mapping": {str(cluster): of for cluster, of in self.mapping.items()},
            "clusters": list(self.clusters),
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
        }


def match_clusters(labels: Any, truth: Any) -> ClusterScores:
    """Compare clusters with classes; the numbers of either make no difference.

        accuracy = 1/N max_m Σ_n 1[m(c_n) = y_n],   m one to one
        nmi = 2 I(c; y) / (H(c) + H(y))
        ari = (RI − E RI) / (max RI − E RI),   RI the share of pairs of rows on which both agree
        purity = 1/N Σ_k max_y #{n: c_n = k, y_n = y}

    for clusters c = ``labels`` and classes y = ``truth``. The best m is found by the Hungarian
    method. With more clusters than classes some clusters have no class, with fewer some classes
    have no cluster, and the rows of either count as wrong: an accuracy of 1 needs as many
    clusters as classes. Purity has no such price and tends to grow with the number of clusters.

    Args:
        labels: the cluster of each row, whole numbers ``[N]``.
        truth: the class of each row, whole numbers ``[N]``.

    Raises:
        DataError: no rows, other shapes, or numbers that are not whole.

    Example:
        >>> scores = match_clusters([2, 2, 2, 0, 0, 1], [5, 5, 7, 7, 7, 7])
        >>> scores.accuracy, scores.purity, dict(scores.mapping)     # 4 and 5 rows of 6
        (0.6666666666666666, 0.8333333333333334, {0: 7, 2: 5})

    Source: of the indices, scikit-learn. Implementations differ: some publish the purity, or
    give several clusters one class, under the name of accuracy; and some normalize the mutual
    information by √(H(c) H(y)).
    """
    # they take a second to load, which is nothing to do with finding clusters
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    c, y = _whole(labels, "labels"), _whole(truth, "truth")
    if len(c) != len(y):
        raise DataError(
            f"{len(c):,} labels and {len(y):,} of truth do not go together. Give one of each for "
            "every row."
        )
    clusters, classes = np.unique(c), np.unique(y)
    confusion = contingency_matrix(c, y)
    first, second = linear_sum_assignment(confusion, maximize=True)
    pairs = [(k, j) for k, j in zip(first, second, strict=True) if confusion[k, j]]
    return ClusterScores(
        accuracy=float(confusion[first, second].sum() / len(c)),
        nmi=float(normalized_mutual_info_score(y, c)),
        ari=float(adjusted_rand_score(y, c)),
        purity=float(confusion.max(1).sum() / len(c)),
        mapping={int(clusters[k]): int(classes[j]) for k, j in pairs},
        confusion=confusion,
        clusters=tuple(clusters.tolist()),
        classes=tuple(classes.tolist()),
    )


def _whole(values: Any, name: str) -> Array:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iub":
        raise DataError(
            f"{name} must be whole numbers [N], one for each row. Got {array.dtype} "
            f"{list(array.shape)}."
        )
    return array.astype(np.int64)
