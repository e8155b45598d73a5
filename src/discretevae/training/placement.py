"""The start of what is placed by the rows: weights of words, a mixture prior, and a codebook."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from discretevae.data.neighbors import SAMPLE_VALUES
from discretevae.data.objects import RowsLike
from discretevae.data.rows import Rows
from discretevae.data.stores.sparse import Sparse
from discretevae.errors import ConfigError, DataWarning, count
from discretevae.families import Gaussian
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.counts import CountLinear
from discretevae.networks.quantizers import Codebook
from discretevae.objectives.quantized import quantized_networks
from discretevae.priors import MixturePrior
from discretevae.system.arrays import Array
from discretevae.training.selection import MEAN_ROWS

MAX_ROWS = 20_000
"""Rows that are clustered at most: the eigenvectors of a graph of so many take seconds."""

NEIGHBORS = 10
"""Neighbors that each point is joined with."""

EIGENVECTORS = 30
"""Of the graph; more add nothing, since the powers of their eigenvalues are close to 0."""

POWER = 10
"""On six sets of 20,000 codes of MNIST the tenth power gave the labels 93 to 95 % accuracy; the
fifth fell to 88 % on one of them, the twentieth to 81 %."""


def diffusion_labels(
    points: Array, n_clusters: int, *, power: float = POWER, seed: int = 0
) -> Array:
    """Return the cluster of each point on their neighborhood graph, ``[N]`` numbers from 0.

    On the graph that joins each point with its 10 nearest, with adjacency A and degrees d, the
    eigenvectors v_j of D^{−½} A D^{−½} and their eigenvalues λ_j give the diffusion map
    u_nj = λ_j^t v_nj of 30 eigenvectors (Coifman & Lafon 2006, eq. 6): points are near each other
    when many paths of t steps join them, however their cluster is bent. Its rows, scaled to length
    1 as in Ng, Jordan & Weiss 2001, are clustered by k-means. The powers of λ let more eigenvectors
    than clusters be used, since those that separate little count for little. Long thin clusters
    want a larger ``power`` t.
    """
    import scipy.sparse
    from scipy.sparse.linalg import eigsh
    from sklearn.cluster import KMeans
    from sklearn.neighbors import kneighbors_graph

    n = len(points)
    if n < max(2 * n_clusters, NEIGHBORS + 2):
        raise ConfigError(
            f"{n} rows are too few for {n_clusters} clusters. "
            f"Give at least {max(2 * n_clusters, NEIGHBORS + 2)}."
        )
    graph = kneighbors_graph(points, NEIGHBORS)
    graph = graph.maximum(graph.T)
    scale = scipy.sparse.diags_array(1 / np.sqrt(np.asarray(graph.sum(1)).ravel()))
    count = min(max(EIGENVECTORS, n_clusters), n - 2)
    start = np.random.default_rng(seed).normal(size=n)
    values, vectors = eigsh(scale @ graph @ scale, k=count, which="LA", tol=1e-6, v0=start)
    embedded = vectors * np.clip(values, 0, None) ** power
    embedded /= np.maximum(np.linalg.norm(embedded, axis=1, keepdims=True), 1e-12)
    labels: Array = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(embedded)
    return labels


def place_words(model: DiscreteVAE, rows: Rows) -> None:
    """Set the weight of each word in an encoder of counts; warn of rows without any."""
    store, parts = rows.values, rows.chunks(MEAN_ROWS)
    if isinstance(store, Sparse):
        parts = iter([store.matrix])
    sums = [[torch.as_tensor((part != 0).sum(axis)) for axis in (0, 1)] for part in parts]
    frequency = torch.stack([words for words, _ in sums]).sum(0, dtype=torch.float64)
    for layer in model.encoder.modules():
        if isinstance(layer, CountLinear):
            layer.idf.copy_(1 + torch.log((1 + len(rows)) / (1 + frequency)))
            if layer.topics is not None:
                layer.topics.copy_(_directions(rows, layer.idf, layer.topics.shape[1]))
    empty = (torch.cat([sizes for _, sizes in sums]) == 0).nonzero().flatten().tolist()
    if empty:
        what = f"{count(len(empty), 'row')} without a single count, the first with the id"
        warnings.warn(f"{rows.name}: {what} {rows.row_ids[empty[0]]}.", DataWarning, stacklevel=2)


def _directions(rows: Rows, idf: Tensor, n: int) -> Tensor:
    """Return n directions of LSA, those of most of the tf-idf values of some rows, ``[P, n]``."""
    import scipy.sparse
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    store = rows.values
    most = MAX_ROWS if isinstance(store, Sparse) else max(256, SAMPLE_VALUES // rows.n_features)
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(len(rows))[:most].copy())
    if isinstance(store, Sparse):
        table = store.subset(chosen).matrix.astype(np.float32)
    else:
        table = scipy.sparse.csr_array(rows.batch(chosen.sort().values).numpy())
    values = normalize(table.log1p().multiply(idf.cpu().numpy()).tocsr())
    svd = TruncatedSVD(min(n, *table.shape), random_state=0).fit(values)
    found = torch.from_numpy(svd.components_.T)
    return torch.cat([found, found.new_zeros(len(found), n - found.shape[1])], 1)


@torch.no_grad()
def place_mixture(model: DiscreteVAE, rows: RowsLike, *, seed: int = 0) -> None:
    """Set the components of a mixture prior to the clusters of the codes of ``rows``.

    A component gets its cluster's share of the rows, and the mean and the covariance of its codes:
    Cov[μ(x)] + E[diag σ²(x)] for q(z|x) = N(μ(x), diag σ²(x)). Clusters are found by
    `diffusion_labels`, on at most 20,000 of the rows. Without such a start the components of a
    mixture end up on top of each other or share what they should separate.

    Args:
        model: with a Gaussian code and a mixture prior, which is changed in place.
        rows: N rows, binarized as in training.
        seed: of the choice of rows and of the clustering.

    Raises:
        ConfigError: the model has no mixture prior, or there are too few rows.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> from discretevae.data import load_data
        >>> config = ModelConfig(n_features=64, latent="gaussian:3", prior="mixture:4")
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> place_mixture(model, load_data("digits").test)
        >>> model.prior.sample(2, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3])
    """
    rows = require_fit(model, rows)
    prior, family = model.prior, model.family
    if not isinstance(prior, MixturePrior) or not isinstance(family, Gaussian):
        raise ConfigError(
            f"only a mixture prior can be placed. Got prior {model.config.prior}. "
            "Train with `latent='gaussian:10'` and `prior='mixture:10'`."
        )
    order = np.random.default_rng(seed).permutation(len(rows))[:MAX_ROWS]
    chosen = rows.subset(torch.from_numpy(np.sort(order)))
    means, variances = [], []
    for x in chosen.chunks(4096, seed=seed):
        mean, variance = family.moments(model.eta(x.to(model.device)))
        means.append(mean.double().cpu())
        variances.append(variance.double().cpu())
    mean, variance = torch.cat(means), torch.cat(variances)
    labels = torch.from_numpy(diffusion_labels(mean.numpy(), prior.n_components, seed=seed)).long()
    prior.place(*component_moments(labels, mean, variance, prior.n_components))


def component_moments(
    labels: Tensor, mean: Tensor, variance: Tensor, n_components: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return shares ``[K]``, means ``[K, D]`` and covariances ``[K, D, D]`` of labeled codes.

    Labels are numbers below K ``[N]``, with μ(x) and σ²(x) ``[N, D]``.
    """
    is_member = torch.nn.functional.one_hot(labels, n_components).to(mean).T
    count = is_member.sum(1, keepdim=True).clamp_min(1)
    center = is_member @ mean / count
    apart = mean - center[labels]
    spread = torch.diag_embed(is_member @ variance / count)
    for k in range(n_components):
        own = apart[labels == k]
        spread[k] += own.T @ own / count[k]
    return is_member.sum(1) / len(labels), center, spread


PLACED_ROWS = 10_000
"""Vectors that a codebook's clusters are found among, or `PLACED_PER_VECTOR` times K if more."""

PLACED_PER_VECTOR = 20


@torch.no_grad()
def place_codebook(model: DiscreteVAE, rows: RowsLike, *, seed: int = 0) -> None:
    """Set the vectors of a codebook to the clusters that k-means finds in the encoder's outputs.

    Fewer distinct outputs than vectors leave the others on top of them, until training moves them.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    rows = require_fit(model, rows)
    encoder, _ = quantized_networks(model)
    codebook = encoder.quantizer
    if not isinstance(codebook, Codebook):
        raise ConfigError(f"quantizer {model.config.quantizer} has no vectors to place.")
    k, dim = codebook.vectors.shape
    n = math.ceil(max(PLACED_ROWS, PLACED_PER_VECTOR * k) / model.family.n_variables)
    order = np.random.default_rng(seed).permutation(len(rows))[:n]
    chosen = rows.subset(torch.from_numpy(np.sort(order)))
    chunks = [encoder.rounded(x.to(model.device)).cpu() for x in chosen.chunks(4096, seed=seed)]
    points = torch.cat(chunks).reshape(-1, dim).double().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than vectors
        found = KMeans(min(k, len(points)), n_init=1, max_iter=30, random_state=seed).fit(points)
    # round and round again where there are fewer points than vectors
    numbers = torch.arange(k) % len(found.cluster_centers_)
    vectors = torch.from_numpy(found.cluster_centers_)[numbers]
    uses = torch.bincount(torch.from_numpy(found.labels_).long(), minlength=k) / len(points)
    error = found.inertia_ / len(points)
    codebook.place(vectors.to(codebook.vectors), uses.to(codebook.shares), error)
