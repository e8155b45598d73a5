"""Rows in groups: the clusters of the model or of the codes, and the rows nearest to a code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from discretevae.codes.clusters import cluster_centers, clusters, mean_pictures, require_clusters
from discretevae.codes.pooling import pooled_codes
from discretevae.errors import ConfigError
from discretevae.explorer.galleries import Gallery
from discretevae.explorer.variables import Variable
from discretevae.model.vae import DiscreteVAE
from discretevae.system.arrays import Array

DEFAULT_GROUPS = 10
"""Groups of codes where labels do not say how many there may be."""


@dataclass(frozen=True, eq=False)
class Groups:
    """K groups of rows: the members of each, the best first, and a picture, ``[K, P]``.

    They are by ``mixture``, ``category`` or ``codes (k-means)``, and the pictures are of the
    ``decoded center`` or the ``mean of members``.
    """

    by: str
    members: list[Array]
    pictures: Tensor
    picture_of: str


def has_own_clusters(model: DiscreteVAE) -> bool:
    """Return whether the model itself has clusters, see `discretevae.codes.clusters`."""
    try:
        require_clusters(model)
    except ConfigError:
        return False
    return True


def groups_of(model: DiscreteVAE, gallery: Gallery, variables: Sequence[Variable]) -> Groups:
    """Return the model's own clusters if it has any, else k-means of the codes.

    Members of a cluster are sorted by its probability; those of k-means by their distance from its
    center. k-means looks at bits as 0 and 1, at categories as one-hot, at real variables as they
    are, and at grids of symbols as `pooled_codes` counts them; its K is the number of labels if
    there are 2 to 20 of them, else 10, and never more than there are different codes. Labels are
    used for nothing else.
    """
    if has_own_clusters(model):
        found = clusters(model, gallery.rows)
        by = "mixture" if found.kind == "component" else "category"
        members = [found.members(k) for k in range(found.n_clusters)]
        return Groups(by, members, cluster_centers(model), "decoded center")
    members = _k_means(model, gallery, variables)
    pictures = mean_pictures(gallery.rows, members)
    return Groups("codes (k-means)", members, pictures, "mean of members")


def _k_means(model: DiscreteVAE, gallery: Gallery, variables: Sequence[Variable]) -> list[Array]:
    from sklearn.cluster import KMeans

    latent = model.config.latent
    if latent.grid and latent.n_states is not None:
        points = pooled_codes(latent, gallery.codes.numpy())
    else:
        points = _points(gallery, variables)
    labels = gallery.rows.labels
    count = DEFAULT_GROUPS if labels is None else len(torch.unique(labels))
    count = count if 2 <= count <= 20 else DEFAULT_GROUPS
    count = min(count, len(np.unique(points, axis=0)))
    fitted = KMeans(count, n_init=4, random_state=0).fit(points)
    distance = np.linalg.norm(points - fitted.cluster_centers_[fitted.labels_], axis=1)
    members = []
    for k in range(count):
        own = np.flatnonzero(fitted.labels_ == k)
        members.append(own[np.argsort(distance[own], kind="stable")])
    return members


def _points(gallery: Gallery, variables: Sequence[Variable]) -> Array:
    columns = []
    for variable in variables:
        column = gallery.codes[:, variable.index]
        if variable.kind == "category" and variable.n_categories is not None:
            columns.append(torch.nn.functional.one_hot(column.long(), variable.n_categories))
        else:
            columns.append(column.unsqueeze(1))
    points: Array = torch.cat([column.float() for column in columns], 1).numpy()
    return points


def nearest(
    gallery: Gallery,
    variables: Sequence[Variable],
    code: Tensor,
    k: int,
    *,
    without: int | None = None,
) -> tuple[str, Array, Array]:
    """Return the k rows whose codes ``[V]`` are nearest, without one of them if asked.

    Before them stands the name of the distance, and behind them the distances: in how many
    discrete variables a row differs, or the Euclidean distance of real codes. Where a code has
    both kinds, rows are sorted by the number of discrete ones that differ, and among equals by the
    Euclidean distance of the real ones. Rows at the same distance are in their own order.
    """
    real = torch.tensor([variable.kind == "real" for variable in variables])
    differing = (gallery.codes[:, ~real] != code[~real]).sum(1).double().numpy()
    away = (gallery.codes[:, real].double() - code[real].double()).square().sum(1).sqrt().numpy()
    order = np.lexsort((np.arange(len(differing)), away, differing))
    if without is not None:
        order = order[order != without]
    order = order[:k]
    if bool(real.all()):
        return "Euclidean", order, away[order]
    name = "Hamming, then Euclidean" if bool(real.any()) else "Hamming"
    return name, order, differing[order]
