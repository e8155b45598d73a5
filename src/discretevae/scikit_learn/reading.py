"""From a numeric matrix to rows that a likelihood can take, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from discretevae.codes.packing import Array
from discretevae.config import LikelihoodSpec
from discretevae.data import Rows
from discretevae.errors import DataError
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE
from discretevae.scikit_learn.parameters import AUTO

NAME = "X"
"""Starts the messages about a matrix."""


@dataclass(frozen=True, eq=False)
class Reading:
    """How the numbers of a matrix become what the model sees, learned at the first ``fit``.

    x = (values − mean) / scale, column by column, for tables that were standardized; else
    x = values / divisor.

    Args:
        likelihood: of the model.
        divisor: as `Rows.from_array` chose it.
        mean: of the columns, float64 ``[P]``; None where they are not standardized.
        scale: their standard deviation, or 1 for a constant column, float64 ``[P]``; or None.

    Example:
        >>> reading = Reading.of(np.array([[0.0, 7.0], [4.0, 7.0]]), "auto")
        >>> str(reading.likelihood), reading.mean, reading.scale
        ('gaussian:learned', array([2., 7.]), array([2., 1.]))
        >>> str(Reading.of(np.array([[0.0, 0.5]]), "auto").likelihood)
        'bernoulli'
    """

    likelihood: LikelihoodSpec
    divisor: float = 1.0
    mean: Array | None = None
    scale: Array | None = None

    @classmethod
    def of(cls, values: Any, likelihood: str | LikelihoodSpec) -> Reading:
        """What suits a matrix, ``[N, P]``.

        Raises:
            DataError: the values cannot be read so.
        """
        if likelihood != AUTO:
            return cls(LikelihoodSpec.of(likelihood), _from_array(values, None).divisor)
        stored = values.data if scipy.sparse.issparse(values) else values
        if not stored.size or (stored.min() >= 0 and stored.max() <= 1):
            return cls(LikelihoodSpec("bernoulli"))
        if scipy.sparse.issparse(values):
            raise DataError(_SPARSE)
        with np.errstate(all="ignore"):  # what overflows is refused below
            scaler = StandardScaler().fit(values.astype(np.float64))
        if not (np.isfinite(scaler.mean_).all() and np.isfinite(scaler.scale_).all()):
            raise DataError(f"{NAME}: values too large for their variance. Rescale them.")
        return cls(LikelihoodSpec("gaussian", None), 1.0, scaler.mean_, scaler.scale_)

    def rows(self, values: Any) -> Rows:
        """The matrix ``[N, P]`` as rows.

        Raises:
            DataError: it cannot be read as the first one was.
        """
        if self.mean is None or self.scale is None:
            return _from_array(values, self.divisor)
        if scipy.sparse.issparse(values):
            raise DataError(_SPARSE)
        return _from_array((values.astype(np.float64) - self.mean) / self.scale, 1.0)

    def rows_for(self, model: DiscreteVAE, values: Any) -> Rows:
        """The same, of a width and range that the model takes.

        Raises:
            DataError: they are not.
        """
        rows = self.rows(values)
        require_fit(model, rows)
        return rows

    def values(self, x: Tensor) -> Array:
        """The way back, ``[N, P]``: float64 where columns were standardized, else float32."""
        array: Array = x.cpu().numpy()
        if self.mean is None or self.scale is None:
            return array if self.divisor == 1 else array * np.float32(self.divisor)
        restored: Array = array * self.scale + self.mean
        return restored

    def log_jacobian(self, model: DiscreteVAE) -> float:
        """ln abs(∂x/∂values), nats per row: what turns the density of x into that of the values.

        −Σ_p ln scale_p, or −P ln divisor; 0 for likelihoods that are probabilities.
        """
        if model.likelihood.is_probability:
            return 0.0
        if self.scale is not None:
            return -float(np.log(self.scale).sum())
        return -model.config.n_features * math.log(self.divisor)


_SPARSE = (
    f"{NAME}: a sparse matrix with values outside [0, 1] is not taken, because to standardize its "
    "columns would fill it. Pass X.toarray(), scale X to [0, 1], or choose a likelihood."
)


def _from_array(values: Any, divisor: float | None) -> Rows:
    # shared with the caller, who writes to it no more than a single call takes
    return Rows.from_array(values, divisor=divisor, name=NAME, copy=False)


__all__ = ["NAME", "Reading"]
