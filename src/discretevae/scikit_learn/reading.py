"""From a numeric matrix to rows that a likelihood can take, and back; from a matrix to codes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import _check_sample_weight, check_array
from torch import Tensor

from discretevae.codes.packing import Array
from discretevae.config import LatentSpec, LikelihoodSpec
from discretevae.data import Rows
from discretevae.errors import DataError
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE

AUTO = "auto"
NAME = "X"
"""Begins the messages about a matrix."""

MOST_COPIES = 10
"""Of rows with whole weights, on average: copies take memory, and time as so many rows would."""

PIECE = 4096
"""Rows that are multiplied at a time, because numpy makes float64 of bytes before."""


@dataclass(frozen=True, eq=False)
class Reading:
    """From the numbers of a matrix to those that the model sees; learned at the first ``fit``.

    x = (values − mean) / scale, column by column, for tables that were standardized; else
    x = values / divisor.

    Args:
        likelihood: of the model.
        divisor: as `Rows.from_array` chose it.
        mean: of the columns, float64 ``[P]``; None where they are not standardized.
        scale: their standard deviation, or 1 for a constant column, float64 ``[P]``; or None.
    """

    likelihood: LikelihoodSpec
    divisor: float = 1.0
    mean: Array | None = None
    scale: Array | None = None

    @classmethod
    def of(
        cls, values: Any, likelihood: str | LikelihoodSpec, weights: Array | None = None
    ) -> Reading:
        """Return what suits a matrix ``[N, P]``, whose rows may have weights ``[N]``.

        Raises:
            ConfigError: there is no such likelihood.
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
            scaler = StandardScaler().fit(values.astype(np.float64), sample_weight=weights)
        if not (np.isfinite(scaler.mean_).all() and np.isfinite(scaler.scale_).all()):
            raise DataError(f"{NAME}: values too large for their variance. Rescale them.")
        return cls(LikelihoodSpec("gaussian", None), 1.0, scaler.mean_, scaler.scale_)

    def rows(self, values: Any, model: DiscreteVAE, weights: Array | None = None) -> Rows:
        """Return the matrix ``[N, P]`` as rows of a width and range that the model takes.

        Raises:
            DataError: it cannot be read as the first one was.
        """
        if self.mean is None or self.scale is None:
            rows = _from_array(values, self.divisor)
        elif scipy.sparse.issparse(values):
            raise DataError(_SPARSE)
        else:
            rows = _from_array((values.astype(np.float64) - self.mean) / self.scale, 1.0)
        require_fit(model, rows)
        if weights is None:
            return rows
        return replace(rows, weights=torch.from_numpy(weights / weights.mean()).float())

    def values(self, x: Tensor) -> Array:
        """Return x ``[N, P]`` in the units of the matrix: float64 if standardized, else float32."""
        array: Array = x.cpu().numpy()
        if self.mean is None or self.scale is None:
            return array if self.divisor == 1 else array * np.float32(self.divisor)
        restored: Array = array * self.scale + self.mean
        return restored

    def log_jacobian(self, model: DiscreteVAE) -> float:
        """Return ln abs(∂x/∂values), nats per row, which turns densities of x into those of values.

        −Σ_p ln scale_p, or −P ln divisor; 0 for likelihoods that are probabilities.
        """
        if model.likelihood.is_probability:
            return 0.0
        if self.scale is not None:
            return -float(np.log(self.scale).sum())
        return -model.config.n_features * math.log(self.divisor)


_SPARSE = (
    f"{NAME}: a sparse matrix with values outside [0, 1] is refused, because to standardize its "
    "columns would fill it. Pass X.toarray(), scale X to [0, 1], or choose a likelihood."
)


def _from_array(values: Any, divisor: float | None) -> Rows:
    # shared with the caller, who writes to it no more than a single call takes
    return Rows.from_array(values, divisor=divisor, name=NAME, copy=False)


def weighted_rows(values: Any, sample_weight: Any) -> tuple[Any, Array | None]:
    """Return the matrix to learn from, ``[n, P]``, and the weights of its rows or None.

    Whole weights are copies of rows, which is what they stand for, up to `MOST_COPIES` times as
    many as there are rows. Other weights are factors. Rows without weight are left out.

    The order is that of a number formed from the values of each row, whatever order they come in.
    So a weighted matrix is learned from exactly as one with its rows repeated, in any order.

    Args:
        values: the matrix ``[N, P]``, dense or CSR.
        sample_weight: one weight for each row, one for all, or None.

    Raises:
        ValueError: scikit-learn's own, of weights that are no such numbers.
    """
    chosen, weights = np.arange(values.shape[0]), None
    if sample_weight is not None:
        every = _check_sample_weight(
            sample_weight, values, dtype=np.float64, ensure_non_negative=True
        )
        chosen = np.flatnonzero(every)
        weights = every[chosen]
        if (weights == np.rint(weights)).all() and weights.sum() <= MOST_COPIES * len(every):
            chosen, weights = np.repeat(chosen, weights.astype(np.int64)), None
    direction = np.random.default_rng(0).standard_normal(values.shape[1])
    starts = range(0, values.shape[0], PIECE)
    with np.errstate(all="ignore"):  # what overflows is refused later
        keys = np.concatenate([values[start : start + PIECE] @ direction for start in starts])
    order = np.argsort(keys[chosen], kind="stable")
    return values[chosen[order]], None if weights is None else weights[order]


def read_codes(codes: Any, spec: LatentSpec, names: list[str]) -> Tensor:
    """Return a matrix of codes as the decoder takes it, ``[n, D]``.

    Args:
        codes: the matrix.
        spec: of the code.
        names: of its columns.

    Raises:
        DataError: they are not codes of this kind.
    """
    table: Array = check_array(codes, dtype="numeric", input_name="codes")
    if table.shape[1] != spec.n_variables:
        raise DataError(
            f"codes have {table.shape[1]} columns, but the code {spec} has {spec.n_variables} "
            "variables. Give what transform returned."
        )
    is_real, largest = [], []
    for part in spec.all_parts:
        is_real += [part.kind == "gaussian"] * part.n_variables
        largest += [max(part.n_categories, 2) - 1] * part.n_variables
    is_state = (table == np.rint(table)) & (table >= 0) & (table <= largest)
    wrong = ~(is_state | is_real).all(axis=0)
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(
            f"codes are whole numbers from 0 to {largest[at]} in column {names[at]}. Got values "
            f"from {table[:, at].min():g} to {table[:, at].max():g}. Give what transform returned."
        )
    return torch.from_numpy(table.astype(np.float32 if any(is_real) else np.int64))
