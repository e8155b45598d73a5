"""Tails of columns: the share of reference rows that lie as far out as a row does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from discretevae.data import Rows
from discretevae.model.vae import DiscreteVAE
from discretevae.system.arrays import Array

MOST_ROWS = 4096
"""Of the reference rows so many are kept: a share of 1/4096 is as rare as a score needs."""

PIECE_ROWS = 4096
"""Rows whose shares are looked up in one go."""

WEIGHT = 0.5
"""Of the columns beside the model: chosen on six sets of ADBench, docs/results/tables.md."""


@dataclass(frozen=True, eq=False)
class ColumnTails:
    """Scores of tables by their columns alone, put on the scale of ln p(x).

        T(x) = Σ_p ln min(1, 2 min(F_p(x_p), 1 − F_p(x_p)))

    with F_p the share of reference rows up to x_p, the ends included on both sides, and the row
    itself counted once more. A group of outliers that the model has learned has a high p(x) all the
    same; that its columns lie far out remains. So the score of a table is the lower of ln p(x) and
    m + b (T(x) − m_T), where m and m_T are the medians over the reference rows, and b is half the
    ratio of their interquartile ranges.

    Args:
        values: of the reference rows, each column in order, float32 ``[n, P]``.
        center: (m, m_T), nats.
        slope: b.

    Source: Li et al., "ECOD: unsupervised outlier detection using empirical cumulative distribution
    functions" (2022), add up such tails of each side.
    """

    values: Array
    center: tuple[float, float]
    slope: float

    @classmethod
    def fit(cls, rows: Rows, seed: int) -> ColumnTails:
        """Return the tails of reference rows, T(x) itself until it is `calibrated`.

        Example:
            >>> rows = Rows.from_array(np.arange(20.0).reshape(20, 1), scale="standard")
            >>> shares = ColumnTails.fit(rows, 0).log_shares(rows)[:, 0]
            >>> np.exp(shares[[0, 9, 19]]).round(2).tolist()          # 4/21, at most 1, and 4/21
            [0.19, 1.0, 0.19]
        """
        table = drawn_rows(rows, MOST_ROWS, seed).batch(slice(None))
        return cls(np.sort(table.cpu().numpy(), axis=0), (0.0, 0.0), 1.0)

    def calibrated(self, rows: Rows, log_px: Array) -> ColumnTails | None:
        """Return the tails on the scale of ln p(x), ``[N]``, of reference rows.

        None if the columns do not tell them apart.
        """
        both = (np.asarray(log_px, np.float64), self.totals(rows))
        width, tail_width = (float(np.subtract(*np.quantile(s, (0.75, 0.25)))) for s in both)
        if not tail_width > 0:
            return None
        center = (float(np.median(both[0])), float(np.median(both[1])))
        return ColumnTails(self.values, center, WEIGHT * width / tail_width)

    def scores(self, rows: Rows) -> Array:
        """Return m + b (T(x) − m_T) of rows, nats, float64 ``[N]``."""
        scores: Array = self.center[0] + self.slope * (self.totals(rows) - self.center[1])
        return scores

    def totals(self, rows: Rows) -> Array:
        """Return T(x) of rows, nats, float64 ``[N]``."""
        totals: Array = self.log_shares(rows).sum(1)
        return totals

    def log_shares(self, rows: Rows) -> Array:
        """Return the terms of T(x), float64 ``[N, P]``; 0 of a value in the middle."""
        n, shares = len(self.values), np.empty((len(rows), rows.n_features))
        done = 0
        for x in rows.deterministic().chunks(PIECE_ROWS):
            for p, column in enumerate(x.cpu().numpy().T):
                known = self.values[:, p]
                up_to = np.searchsorted(known, column, side="right")
                from_on = n - np.searchsorted(known, column, side="left")
                shares[done : done + len(column), p] = 2 * (np.minimum(up_to, from_on) + 1)
            done += len(x)
        return np.log(np.minimum(1.0, shares / (n + 1)))


def drawn_rows(rows: Rows, most: int, seed: int) -> Rows:
    """Return the rows; of more than ``most`` so many, drawn in proportion to their weights."""
    if len(rows) <= most:
        return rows
    share = None if rows.weights is None else rows.weights.double().cpu().numpy()
    share = None if share is None else share / share.sum()
    n = most if share is None else min(most, int(np.count_nonzero(share)))
    drawn = np.random.default_rng(seed).choice(len(rows), n, replace=False, p=share)
    return rows.subset(torch.from_numpy(np.sort(drawn)))


def is_table(model: DiscreteVAE, rows: Rows) -> bool:
    """Return whether rows are those of a table of real numbers whose columns were scaled."""
    is_real = model.likelihood.support == "real"
    return is_real and rows.scale is not None and rows.image_shape is None
