"""The classes that a user makes: one for each kind of code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn.base import ClusterMixin
from sklearn.utils.metaestimators import available_if

from discretevae.codes.clusters import clusters
from discretevae.codes.packing import Array
from discretevae.config import LatentSpec
from discretevae.data import Rows
from discretevae.scikit_learn.base import BaseVAE


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


def _has_one_category(estimator: Any) -> bool:
    """Return True if rows are in clusters.

    Raises:
        AttributeError: they are not; says why.
    """
    if getattr(estimator, "n_variables", 1) != 1:
        raise AttributeError(
            f"{type(estimator).__name__} has clusters only with n_variables=1. Got "
            f"{estimator.n_variables}."
        )
    return True


class _Clusters(ClusterMixin):  # type: ignore[misc]
    """For codes with one category, which is the row's cluster."""

    labels_: Array

    @available_if(_has_one_category)  # type: ignore[untyped-decorator]
    def predict(self, X: Any) -> Array:  # noqa: N803 - scikit-learn's own name
        """Return the most probable category of each row under q(z|x), int64 ``[n]``, from 0.

        Only with one categorical variable.

        Raises:
            DataError: the values do not suit the model.
        """
        rows = self._rows(X)  # first, because it refuses what is not fitted
        return clusters(self.model_, rows).labels

    @available_if(_has_one_category)  # type: ignore[untyped-decorator]
    def fit_predict(self, X: Any, y: Any = None, **kwargs: Any) -> Array:  # noqa: N803
        """Return ``fit(X).labels_``; only with one categorical variable.

        Args:
            X: ``[n, P]``.
            y: ignored.
            kwargs: none.
        """
        labels: Array = super().fit_predict(X, y, **kwargs)
        return labels

    def _learn_labels(self, rows: Rows) -> None:
        if getattr(self, "n_variables", 1) == 1:
            self.labels_ = clusters(self.model_, rows).labels


@dataclass(eq=False, repr=False)
class CategoricalVAE(_Clusters, BaseVAE):
    """A variational autoencoder whose code is D categories of K; of a single one, a clustering.

    `transform` returns int64 ``[n, D]``, in columns ``category0``, ``category1`` … With
    ``n_variables=1`` there are ``predict``, ``fit_predict`` and ``labels_``, the category of each
    row of the last fit. The ELBO tends to leave categories empty; ``objective="marginal"``, the
    exact ln p(x), tends to use all.

    Args:
        n_categories: K.
        n_variables: D. All other parameters and the attributes are those of `BaseVAE`.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X = load_iris().data
        >>> vae = CategoricalVAE(n_categories=3, hidden=(16,), objective="marginal", epochs=30,
        ...                      lr=0.01, random_state=0)
        >>> labels = vae.fit_predict(X)
        >>> labels.shape, bool((vae.predict(X) == labels).all())
        ((150,), True)
    """

    n_categories: int = 10
    n_variables: int = 1

    _sizes: ClassVar = {"n_categories": 2, "n_variables": 1}

    def _latent(self) -> LatentSpec:
        return LatentSpec("categorical", int(self.n_variables), int(self.n_categories))

    def _code_names(self) -> list[str]:
        return [f"category{i}" for i in range(self.model_.family.n_variables)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.n_variables != 1:  # several categories are no clustering
            tags.estimator_type = None
        return tags


@dataclass(eq=False, repr=False)
class HybridVAE(_Clusters, BaseVAE):
    """A variational autoencoder whose code is one category of K beside D real numbers.

    The category says which cluster a row is in, the real numbers, standard normal under the prior,
    how it differs within it. `transform` returns float32 ``[n, 1 + D]``, in columns ``category0``,
    ``component0``, ``component1`` …; ``predict``, ``fit_predict`` and ``labels_`` the category.

    Args:
        n_categories: K.
        n_components: D. All other parameters and the attributes are those of `BaseVAE`.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X = load_iris().data
        >>> vae = HybridVAE(n_categories=3, n_components=1, hidden=(16,), epochs=30, lr=0.01,
        ...                 random_state=0).fit(X)
        >>> vae.transform(X).shape, vae.get_feature_names_out().tolist()
        ((150, 2), ['category0', 'component0'])
    """

    n_categories: int = 10
    n_components: int = 8

    _sizes: ClassVar = {"n_categories": 2, "n_components": 1}

    def _latent(self) -> LatentSpec:
        return LatentSpec.product(
            LatentSpec("categorical", 1, int(self.n_categories)),
            LatentSpec("gaussian", int(self.n_components)),
        )

    def _code_names(self) -> list[str]:
        n = self.model_.family.n_variables - 1
        return ["category0", *(f"component{i}" for i in range(n))]
