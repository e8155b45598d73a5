"""Which columns make a row an outlier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from discretevae.codes.outliers import Outliers
from discretevae.codes.tails import MOST_ROWS, drawn_rows
from discretevae.data import Rows
from discretevae.data.columns import TableScale
from discretevae.errors import ConfigError
from discretevae.model.row_checks import require_fit
from discretevae.system.arrays import Array

MOST_COLUMNS = 2000
"""A row of P columns is scored P times, with P² values."""


def explain_outliers(outliers: Outliers, rows: Rows, reference_rows: Rows) -> Array:
    """Return what each column takes from the score of its row, nats, float64 ``[N, P]``.

        e_p(x) = score(x with x_p made typical) − score(x)

    The typical value of a column is its median over reference rows, of a categorical column its
    most frequent level. A column with a large e_p is what makes the row unlikely: alone, or beside
    the others. A missing cell stays missing, with e_p = 0. Columns do not add up: if two of them
    are odd together, making either typical may mend both.

    Args:
        outliers: of `fit_outliers`.
        rows: N rows; each is scored P + 1 times.
        reference_rows: those that are normal.

    Raises:
        ConfigError: the rows are pictures, or have more than 2,000 columns.
        DataError: rows that do not fit the model.

    Example:
        >>> from discretevae import DiscreteVAE, fit_outliers
        >>> table = np.random.default_rng(0).normal(size=(100, 3))
        >>> rows = Rows.from_array(table, scale="standard")
        >>> odd = Rows.from_array([[0.0, 9.0, 0.0]], scale=rows.scale)
        >>> model = DiscreteVAE.for_data(rows, latent="bernoulli:2", likelihood="student")
        >>> taken = explain_outliers(fit_outliers(model, rows), odd, rows)
        >>> taken.argmax(1).tolist()
        [1]
    """
    rows = require_fit(outliers.model, rows)
    n_columns = rows.n_features
    if rows.image_shape is not None:
        raise ConfigError(
            "outliers are explained by columns of tables, and these rows are pictures."
        )
    if n_columns > MOST_COLUMNS:
        raise ConfigError(
            f"outliers are explained by at most {MOST_COLUMNS:,} columns. Got {n_columns:,}."
        )
    typical = typical_row(require_fit(outliers.model, reference_rows), outliers.seed)
    taken = np.empty((len(rows), n_columns))
    for row, x in enumerate(rows.deterministic().batch(slice(None))):
        versions = x.repeat(n_columns + 1, 1)
        changed = torch.where(x.isnan(), x, typical)
        versions[torch.arange(n_columns), torch.arange(n_columns)] = changed
        alike = replace(
            rows, values=versions, divisor=1.0, binarize="none", labels=None, numbers=None,
            ids=None, weights=None,
        )  # fmt: skip
        scores = outliers.score_samples(alike, same_draws=True)
        taken[row] = scores[:-1] - scores[-1]
    return taken


def typical_row(rows: Rows, seed: int = 0) -> Tensor:
    """Return the median of each column, or its most frequent level, float32 ``[P]``."""
    x = drawn_rows(rows.deterministic(), MOST_ROWS, seed).batch(slice(None))
    typical = x.nanmedian(0).values
    if isinstance(rows.scale, TableScale):
        for p, column in enumerate(rows.scale.columns):
            if column.kind in ("categorical", "boolean"):
                there = x[:, p][~x[:, p].isnan()]
                typical[p] = there.mode().values if len(there) else 0.0
    return typical.nan_to_num(nan=0.0)
