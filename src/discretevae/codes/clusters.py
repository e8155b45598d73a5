"""Clusters that a model itself has: components of its prior, or categories of its code.

Nothing is clustered here. A mixture prior says with which probability a code comes from each of
its components, and a categorical variable is a cluster number; both are read off for every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from discretevae.codes.packing import CHUNK_VALUES
from discretevae.data import Rows
from discretevae.data.objects import RowsLike
from discretevae.errors import ConfigError, DataError
from discretevae.evaluation.bounds import DECODER_ROWS
from discretevae.families import Categorical, Family, Gaussian, Product, parts_of, parts_with_eta
from discretevae.model.row_checks import require_fit, require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.priors import FactorizedPrior, MixturePrior
from discretevae.system.arrays import Array

ClusterKind = Literal["component", "category", "cluster"]

MEAN_ROWS = 256
"""Rows over which the picture of a cluster of codes is averaged."""

CENTER_DRAWS = 256
"""Of bits and further categories beside the clusters', over which a center is averaged."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """The cluster of every row, as `clusters` finds it.

    Args:
        labels: the most probable cluster of each row, from 0, int64 ``[N]``; of equal ones the
            lowest.
        probabilities: of each cluster given the row, float32 ``[N, K]``.
        kind: ``component`` of a mixture prior, ``category`` of the code, or ``cluster`` of
            pooled codes.

    Example:
        >>> p = np.array([[0.5, 0.5, 0], [0, 1, 0], [0.25, 0.75, 0]], np.float32)
        >>> found = Clusters(p.argmax(1), p, "component")
        >>> found.sizes, found.members(1)
        (array([1, 2, 0]), array([1, 2]))
        >>> found.entropy.round(4)                                   # ln 2, 0, …
        array([0.6931, 0.    , 0.5623])
    """

    labels: Array
    probabilities: Array
    kind: ClusterKind

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_clusters(self) -> int:
        """K, with those that no row is in."""
        return int(self.probabilities.shape[1])

    @property
    def sizes(self) -> Array:
        """Rows of each cluster, int64 ``[K]``."""
        return np.bincount(self.labels, minlength=self.n_clusters)

    @property
    def confidence(self) -> Array:
        """The probability of each row's own cluster, float32 ``[N]``."""
        own: Array = np.take_along_axis(self.probabilities, self.labels[:, None], 1)[:, 0]
        return own

    @property
    def entropy(self) -> Array:
        """The entropy of each row's cluster, −Σ_k p_k ln p_k, 0 to ln K nats; float64 ``[N]``."""
        p = self.probabilities.astype(np.float64)
        # p ln p → 0 with p → 0; abs, so that no −0 comes out
        entropy: Array = np.abs((p * np.log(np.where(p > 0, p, 1))).sum(1))
        return entropy

    def members(self, cluster: int) -> Array:
        """Return the rows of a cluster, the most certain first, equal ones in their order.

        A cluster that there is not is refused (`ConfigError`).
        """
        if not 0 <= cluster < self.n_clusters:
            raise ConfigError(
                f"cluster must be an int from 0 to {self.n_clusters - 1}. Got {cluster}."
            )
        rows = np.flatnonzero(self.labels == cluster)
        order = np.argsort(-self.probabilities[rows, cluster], kind="stable")
        found: Array = rows[order]
        return found


@torch.no_grad()
def clusters(
    model: DiscreteVAE, rows: RowsLike, *, progress: Callable[[int], object] | None = None
) -> Clusters:
    """Return the cluster of every row under the model; labels are not looked at.

    A Gaussian code with a mixture prior, a *component*:

        p(k|z) = π_k N(z; μ_k, σ_k²) / Σ_j π_j N(z; μ_j, σ_j²)   at z = E_q[z|x].

    A code with one categorical variable, alone or as a part, a *category*: q(k|x) of the encoder.
    Of several such parts the first is taken.

    Args:
        model: the model.
        rows: N rows, binarized as in training; dynamic ones are thresholded at 0.5.
        progress: called with the number of rows done after every chunk.

    Raises:
        ConfigError: the model has no clusters.
        DataError: the rows do not fit the model, or are too large for it.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="gaussian:2", prior="mixture:5")
        >>> found = clusters(model, data.test)
        >>> found.kind, found.labels.shape, found.probabilities.shape, found.sizes.sum().item()
        ('component', (297,), (297, 5), 297)
    """
    require_model(model)
    kind = require_clusters(model)
    rows = require_fit(model, rows)
    count = n_clusters(model)
    # a mixture looks at every component in every dimension of the code
    widest = max(rows.n_features, count * model.family.n_variables)
    size = max(1, min(DECODER_ROWS, CHUNK_VALUES // widest))
    probabilities = np.empty((len(rows), count), np.float32)
    done = 0
    for x in rows.deterministic().chunks(size, progress=progress):
        found = _probabilities(model, model.eta(x.to(model.device)))
        probabilities[done : done + len(x)] = found.cpu().numpy()
        done += len(x)
    bad = int((~np.isfinite(probabilities)).any(1).sum())
    if bad:
        raise DataError(
            f"{rows.name}: the code of {bad:,} of {len(rows):,} rows is beyond float32. "
            "Rescale their values."
        )
    return Clusters(probabilities.argmax(1).astype(np.int64), probabilities, kind)


@torch.no_grad()
def cluster_centers(model: DiscreteVAE, *, seed: int = 0) -> Tensor:
    """Decode the center of each cluster: E[x|z], ``[K, P]`` on the CPU.

    Of a component z is its mean. Of a category z is that category, with a Gaussian part at the
    mean of its prior; over bits and further categories, which have no middle, the picture is
    averaged with 256 draws from their prior, the same ones for each cluster.

    Args:
        model: with clusters.
        seed: of these draws.

    Raises:
        ConfigError: the model has no clusters.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=4, latent="categorical:3+gaussian:2", hidden=(8,))
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> cluster_centers(model).shape
        torch.Size([3, 4])
    """
    require_model(model)
    require_clusters(model)
    prior, family = model.prior, model.family
    if isinstance(prior, MixturePrior):
        return model.likelihood.mean(model.output(prior.means)).cpu()
    number = _category_part(family)
    part = parts_of(family)[number]
    one_hot = part.from_codes(torch.arange(n_clusters(model)).unsqueeze(1)).to(model.device)
    if not isinstance(family, Product):
        return model.likelihood.mean(model.output(one_hot)).cpu()
    generator = torch.Generator(model.device).manual_seed(seed)
    pieces = family.split_z(prior.sample(CENTER_DRAWS, generator=generator))
    for i, other in enumerate(family.parts):
        if isinstance(other, Gaussian):
            pieces[i] = _prior_mean(model, i, other).expand_as(pieces[i])
    if not any(p.n_states is not None for i, p in enumerate(family.parts) if i != number):
        pieces = [piece[:1] for piece in pieces]
    shown = []
    for z in one_hot:
        pieces[number] = z.expand_as(pieces[number])
        shown.append(model.likelihood.mean(model.output(family.join_z(pieces))).mean(0))
    return torch.stack(shown).cpu()


def mean_pictures(rows: Rows, members: Iterable[Array]) -> Tensor:
    """Return the mean picture of each group of rows, over its first ones, ``[K, P]``."""
    shown = rows.binarized("none")
    return torch.stack([shown.batch(torch.from_numpy(own[:MEAN_ROWS])).mean(0) for own in members])


def require_clusters(model: DiscreteVAE) -> ClusterKind:
    """Return the kind of clusters that a model has; refuse one that has none (`ConfigError`)."""
    if isinstance(model.prior, MixturePrior):
        return "component"
    if _category_part(model.family) >= 0:
        return "category"
    raise ConfigError(
        f"latent {model.family.spec} with prior {model.config.prior} has no clusters, which are "
        "the components of a mixture prior or the values of one categorical variable. Train with "
        "`latent='gaussian:10'`, `prior='mixture:10'` and `pretrain=10`, or with "
        "`latent='categorical:10'`."
    )


def n_clusters(model: DiscreteVAE) -> int:
    """Return K of a model with clusters, whether rows are in them or not."""
    if isinstance(model.prior, MixturePrior):
        return model.prior.n_components
    return int(parts_of(model.family)[_category_part(model.family)].eta_shape[-1])


def _category_part(family: Family) -> int:
    """Return the number of the first part that is one categorical variable; −1 for none."""
    for i, part in enumerate(parts_of(family)):
        if isinstance(part, Categorical) and part.n_variables == 1:
            return i
    return -1


def _probabilities(model: DiscreteVAE, eta: Tensor) -> Tensor:
    """Return the probability of each cluster given rows with these parameters of q, ``[B, K]``."""
    prior, family = model.prior, model.family
    if not isinstance(prior, MixturePrior):
        part, own = parts_with_eta(family, eta)[_category_part(family)]
        return part.mean(own)[:, 0]
    return prior.responsibilities(family.mode(eta))


def _prior_mean(model: DiscreteVAE, number: int, part: Gaussian) -> Tensor:
    """Return the prior's mean of the Gaussian part with this number, ``[D]``."""
    prior, family = model.prior, model.family
    if isinstance(prior, FactorizedPrior) and isinstance(family, Product):
        return part.moments(family.split_eta(prior.eta())[number])[0]
    return torch.zeros(part.z_shape, device=model.device)  # standard normal, by every other prior
