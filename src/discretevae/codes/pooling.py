"""Clusters of rows by the symbols that the places of their codes show, wherever these stand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from discretevae.codes.clusters import Clusters
from discretevae.codes.packing import encode_rows, unpack_codes
from discretevae.config import LatentSpec
from discretevae.data.objects import RowsLike
from discretevae.errors import ConfigError, DataError, require_type
from discretevae.model.row_checks import require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.system.arrays import Array

MAX_SYMBOLS = 4096
"""Values of all variables of a place together; of more, each variable is counted for itself."""


def pooled_codes(latent: LatentSpec, codes: Array) -> Array:
    """Return √(share of the places that show each symbol) of every row, float32 ``[N, F]``.

    Their Euclidean distance is √2 times the Hellinger distance of the shares.

    Args:
        latent: a grid.
        codes: ``[N, D]``, as `DiscreteVAE.encode` gives them.

    Raises:
        ConfigError: the code is no grid of bits or categories.
        DataError: the codes are of another shape, or no numbers.

    Example:
        >>> codes = np.array([[0, 1, 1, 1]])                        # two places: 01, 11
        >>> pooled_codes(LatentSpec.of("bernoulli:2@1x2"), codes).round(2).tolist()
        [[0.0, 0.0, 0.7099999785423279, 0.7099999785423279]]
    """
    require_type("latent", latent, LatentSpec, "Call LatentSpec.of.")
    require_type("codes", codes, np.ndarray, "Give .numpy() of DiscreteVAE.encode.", DataError)
    if latent.grid is None or latent.n_states is None:
        raise ConfigError(f"codes that are pooled must be a grid of symbols. Got {latent}.")
    if codes.ndim != 2 or codes.shape[1] != latent.n_variables or codes.dtype.kind not in "biuf":
        raise DataError(
            f"codes of {latent} must be numbers [N, {latent.n_variables}]. "
            f"Got {codes.dtype} {list(codes.shape)}."
        )
    n_values, size = latent.n_categories or 2, latent.variables_per_place
    symbols = codes.reshape(len(codes), latent.n_places, size).astype(np.int64)
    if n_values**size <= MAX_SYMBOLS:
        symbols, n_values, size = symbols @ n_values ** np.arange(size), n_values**size, 1
    own = symbols.reshape(len(codes), -1, size) + n_values * np.arange(size)
    n_features = n_values * size
    own += n_features * np.arange(len(codes))[:, None, None]
    counts = np.bincount(own.ravel(), minlength=len(codes) * n_features)
    shares = counts.reshape(len(codes), n_features) / latent.n_places
    pooled: Array = np.sqrt(shares, dtype=np.float32)
    return pooled


def pooled_clusters(
    model: DiscreteVAE,
    rows: RowsLike,
    n_clusters: int = 10,
    *,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Clusters:
    """Return k-means clusters of rows by their pooled codes; labels are not looked at.

    Args:
        model: whose code is a grid.
        rows: N rows, binarized as in training.
        n_clusters: K.
        seed: of the centers where k-means starts.
        progress: called with the number of rows encoded after every chunk.

    Returns:
        Clusters of the kind ``cluster``, each row with probability 1.

    Raises:
        ConfigError: the code is no grid of bits or categories.
        DataError: the rows do not fit the model, or fewer than K differ.
    """
    from sklearn.cluster import KMeans

    require_model(model)
    latent = model.config.latent
    pooled_codes(latent, np.zeros((1, latent.n_variables)))  # refuses before rows are encoded
    packed = encode_rows(model, rows, progress=progress)
    points = pooled_codes(latent, unpack_codes(model.family, packed).numpy())
    if (distinct := len(np.unique(points, axis=0))) < n_clusters:
        raise DataError(
            f"{n_clusters} clusters need so many rows that differ in their symbols. "
            f"Got {distinct}. Ask for fewer `clusters`."
        )
    labels = KMeans(n_clusters, n_init=4, random_state=seed).fit(points).labels_.astype(np.int64)
    return Clusters(labels, np.eye(n_clusters, dtype=np.float32)[labels], "cluster")
