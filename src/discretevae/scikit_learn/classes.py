"""The classes that a user makes: one for each kind of code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sklearn.base import ClusterMixin
from torch import Tensor

from discretevae.codes.clusters import clusters
from discretevae.config import LatentSpec, ObjectiveName
from discretevae.data.classes import read_labels
from discretevae.scikit_learn.base import BaseVAE
from discretevae.scikit_learn.reading import new_rows
from discretevae.system.arrays import Array


@dataclass(eq=False, repr=False)
class BernoulliVAE(BaseVAE):
    """A variational autoencoder whose code is D bits: hashes to search by, or binary features.

    `transform` returns uint8 ``[n, D]`` of {0, 1}, in columns ``bit0``, ``bit1`` …

    Args:
        n_bits: D. All other parameters and the attributes are those of `BaseVAE`.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().data[:200] > 7
        >>> vae = BernoulliVAE(n_bits=8, hidden=(64,), objective="marginal", epochs=5, lr=0.01,
        ...                    random_state=0).fit(X)
        >>> codes = vae.transform(X)
        >>> codes.dtype, codes.shape, vae.inverse_transform(codes).shape
        (dtype('uint8'), (200, 8), (200, 64))
        >>> vae.score_samples(X[:3]).shape
        (3,)
    """

    n_bits: int = 32

    _sizes: ClassVar = {"n_bits": 1}

    def _latent(self) -> LatentSpec:
        return LatentSpec("bernoulli", int(self.n_bits))

    def _code_names(self) -> list[str]:
        return [f"bit{i}" for i in range(self.model_.family.n_variables)]


@dataclass(eq=False, repr=False)
class CategoricalVAE(BaseVAE):
    """A variational autoencoder whose code is D categories of K; for clusters see `ClusterVAE`.

    `transform` returns int64 ``[n, D]``, in columns ``category0``, ``category1`` …

    Args:
        n_categories: K.
        n_variables: D. All other parameters and the attributes are those of `BaseVAE`.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X = load_iris().data
        >>> vae = CategoricalVAE(n_categories=4, n_variables=2, hidden=(16,), epochs=30, lr=0.01,
        ...                      random_state=0).fit(X)
        >>> vae.transform(X).shape, vae.get_feature_names_out().tolist()
        ((150, 2), ['category0', 'category1'])
    """

    n_categories: int = 10
    n_variables: int = 1

    _sizes: ClassVar = {"n_categories": 2, "n_variables": 1}

    def _latent(self) -> LatentSpec:
        return LatentSpec("categorical", int(self.n_variables), int(self.n_categories))

    def _code_names(self) -> list[str]:
        return [f"category{i}" for i in range(self.model_.family.n_variables)]


@dataclass(eq=False, repr=False)
class ClusterVAE(ClusterMixin, BaseVAE):  # type: ignore[misc]
    """A clustering: a variational autoencoder whose code is one category, the row's cluster.

    A mixture p(x) = Σ_k p(k) p(x|k) whose components a decoder describes, and an encoder that says
    which one a row is from. It is trained on ln p(x) itself, because the ELBO tends to leave
    clusters empty; some may be empty all the same. `transform` returns what `predict` does as a
    column, int64 ``[n, 1]``; `inverse_transform` of it the mean of each row's cluster.

    Args:
        n_clusters: K.
        objective: as for `BaseVAE`, but ``marginal`` by default; or ``semi-supervised``: clusters
            are the labels 0 to K − 1 in ``y`` of `fit`, −1 where unknown.
        lr: as for `BaseVAE`, but 0.01 by default. All other parameters and the attributes are those
            of `BaseVAE`.

    Attributes:
        labels_: the cluster of each row of the last fit, int64 ``[n]``, from 0.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X = load_iris().data
        >>> vae = ClusterVAE(n_clusters=3, hidden=(16,), epochs=30, random_state=0)
        >>> labels = vae.fit_predict(X)
        >>> labels.shape, bool((vae.predict(X) == labels).all())
        ((150,), True)
    """

    n_clusters: int = 10
    objective: ObjectiveName = field(default="marginal", kw_only=True)
    lr: float = field(default=0.01, kw_only=True)

    _sizes: ClassVar = {"n_clusters": 1}

    def predict(self, X: Any) -> Array:  # noqa: N803 - scikit-learn's own name
        """Return the most probable cluster of each row under q(z|x), int64 ``[n]``, from 0.

        Raises:
            DataError: the values do not suit the model.
        """
        rows = self._rows(X)  # first, because it refuses what is not fitted
        return clusters(self.model_, rows).labels

    def _latent(self) -> LatentSpec:
        return LatentSpec("categorical", 1, int(self.n_clusters))

    def _known_labels(self, y: Any, n: int) -> Tensor | None:
        return read_labels(y, n, "y")[0] if self.objective == "semi-supervised" else None

    def _code_names(self) -> list[str]:
        return ["cluster"]

    def _learn_labels(self, values: Any) -> None:
        self.labels_ = clusters(self.model_, new_rows(values, self._schema, self.model_)).labels
