"""From a numeric matrix to rows that a likelihood can take, and back; from a matrix to codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import scipy.sparse
import torch
from sklearn.utils.validation import _check_sample_weight, check_array
from torch import Tensor

from discretevae.config import LatentSpec, LikelihoodSpec, ScaleMode, scale_for
from discretevae.data import Rows, Schema
from discretevae.data.columns import TableScale
from discretevae.data.readers.frames import cells_of_frame, frame_has_cells, frame_of
from discretevae.data.readers.mixed import mixed_rows
from discretevae.data.readers.request import Request
from discretevae.errors import DataError
from discretevae.model.inputs import suited_likelihood
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE
from discretevae.system.arrays import Array

AUTO = "auto"
NAME = "X"
"""Begins the messages about a matrix."""

MOST_COPIES = 10
"""Of rows with whole weights, on average: copies take memory, and time as so many rows would."""

PIECE = 4096
"""Rows that are multiplied at a time, because numpy makes float64 of bytes before."""


def first_rows(
    values: Any,
    likelihood: str | LikelihoodSpec,
    scale: ScaleMode | None,
    columns: Array | None,
    weights: Array | None,
    table: TableScale | None,
    latent: LatentSpec,
) -> tuple[Rows, LikelihoodSpec]:
    """Return a matrix ``[N, P]`` to fit as rows, and the likelihood that suits it.

    ``columns`` are names, ``weights`` of the rows, ``[N]``, and ``table`` is the scale of values
    whose columns are of several kinds; each may be None.

    Raises:
        ConfigError: there is no such likelihood.
        DataError: the values cannot be read so.
    """
    asked = None if likelihood == AUTO else LikelihoodSpec.of(likelihood)
    if asked is None and scipy.sparse.issparse(values):
        stored = values.data
        are_counts = stored.size and stored.min() >= 0 and (stored == np.rint(stored)).all()
        if stored.size and not are_counts and not (stored.min() >= 0 and stored.max() <= 1):
            raise DataError(_SPARSE)
    names = None if columns is None else [str(name) for name in columns]
    if table is not None:
        rows = _table_rows(values, table, names, weights)
        return rows, suited_likelihood(rows)
    rows = Rows.from_array(
        values, scale=scale_for(scale, asked), name=NAME, columns=names,
        is_table=names is not None, weights=weights, copy=False,
    )  # fmt: skip
    return rows, asked or suited_likelihood(rows, latent)


def new_rows(values: Any, schema: Schema, model: DiscreteVAE, weights: Array | None = None) -> Rows:
    """Return a matrix ``[N, P]`` as rows of the kind that the model was fitted to.

    Raises:
        DataError: it cannot be read as the first one was.
    """
    if schema.scale is not None and scipy.sparse.issparse(values):
        raise DataError(_SPARSE)
    if isinstance(schema.scale, TableScale):
        return schema.hold(_table_rows(values, schema.scale, schema.columns, weights))
    # shared with the caller, who writes to it no more than a single call takes
    rows = Rows.from_array(
        values, scale=schema.scale, divisor=None if schema.scale else schema.divisor, name=NAME,
        columns=schema.columns, weights=weights, copy=False,
    )  # fmt: skip
    rows = schema.hold(rows)
    require_fit(model, rows)
    return rows


def has_cells(X: Any) -> bool:  # noqa: N803
    """Return whether a table holds texts, categories or missing cells."""
    if (frame := frame_of(X)) is not None:
        return frame_has_cells(frame)
    is_float = not scipy.sparse.issparse(X) and getattr(X, "dtype", np.dtype(object)).kind == "f"
    return is_float and X.ndim == 2 and bool(np.isnan(X).any())


def cells_of(X: Any, scale: TableScale | None) -> tuple[Array, TableScale]:  # noqa: N803
    """Return x ``[N, P]``, NaN where missing, of columns of several kinds, and their scale.

    Without one it is that of these rows.

    Raises:
        DataError: a column that has no kind, or values that are not of its kind.
    """
    if (frame := frame_of(X)) is not None:
        columns, names = cells_of_frame(frame), frame.names
    else:
        columns = list(check_array(X, dtype="numeric", ensure_all_finite="allow-nan").T)
        names = None
    rows = mixed_rows(columns, Request(scale=scale), name=NAME, names=names)
    values: Array = cast(Tensor, rows.values).numpy()
    return values, cast(TableScale, rows.scale)


def in_source_units(schema: Schema, x: Tensor, like: Any = None) -> Any:
    """Return x ``[n, P]`` in the units of X; of columns with names and several kinds as a frame.

    The frame has the index of the frame ``like``, if that is one of pandas.
    """
    values = schema.in_source_units(x)
    if not schema.is_mixed or schema.columns is None:
        return values
    try:
        import pandas as pd
    except ImportError:  # the frame was one of another package
        return values
    index = like.index if isinstance(like, pd.DataFrame) else None
    return pd.DataFrame(values, index, columns=list(schema.columns)).infer_objects()


def _table_rows(
    values: Array, scale: TableScale, names: Sequence[str] | None, weights: Array | None
) -> Rows:
    """Return x ``[N, P]`` on a scale as rows."""
    shares = None if weights is None else torch.from_numpy(weights / weights.mean()).float()
    columns = None if names is None else tuple(names)
    x = torch.from_numpy(np.ascontiguousarray(values))
    return Rows(x, name=NAME, columns=columns, scale=scale, weights=shares)


def log_jacobian(model: DiscreteVAE, schema: Schema) -> float:
    """Return −P ln divisor for densities, nats per row, which makes them those of the values.

    That of scaled columns is in all scores already.
    """
    if model.likelihood.is_probability:
        return 0.0
    return -schema.n_features * math.log(schema.divisor)


_SPARSE = (
    f"{NAME}: a sparse matrix with values outside [0, 1] that are no counts is refused, because to "
    "standardize its columns would fill it. Pass X.toarray(), scale X to [0, 1], or choose a "
    "likelihood."
)


def weighted_rows(
    values: Any, sample_weight: Any, labels: Tensor | None = None
) -> tuple[Any, Array | None, Tensor | None]:
    """Return the matrix to learn from, ``[n, P]``, and weights and labels of its rows or None.

    Whole weights are copies of rows, which is what they stand for, up to `MOST_COPIES` times as
    many as there are rows. Other weights are factors. Rows without weight are left out.

    The order is that of a number formed from the values of each row, whatever order they come in.
    So a weighted matrix is learned from exactly as one with its rows repeated, in any order.

    Args:
        values: the matrix ``[N, P]``, dense or CSR.
        sample_weight: one weight for each row, one for all, or None.
        labels: of the rows, ``[N]``, or None.

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
        if (weights == weights[0]).all():  # equal weights are none
            weights = np.ones(len(chosen))
        if (weights == np.rint(weights)).all() and weights.sum() <= MOST_COPIES * len(every):
            chosen, weights = np.repeat(chosen, weights.astype(np.int64)), None
    direction = np.random.default_rng(0).standard_normal(values.shape[1])
    starts = range(0, values.shape[0], PIECE)
    with np.errstate(all="ignore"):  # what overflows is refused later
        pieces = (values[start : start + PIECE] for start in starts)
        keys = np.concatenate([_without_nan(piece) @ direction for piece in pieces])
    labels = None if labels is None else labels[torch.from_numpy(chosen)]
    order = np.lexsort((np.zeros(len(chosen)) if labels is None else labels.numpy(), keys[chosen]))
    labels = None if labels is None else labels[torch.from_numpy(order)]
    return values[chosen[order]], None if weights is None else weights[order], labels


def _without_nan(values: Any) -> Any:
    is_float = not scipy.sparse.issparse(values) and values.dtype.kind == "f"
    return np.nan_to_num(values, nan=0.5) if is_float else values


def read_codes(codes: Any, spec: LatentSpec, names: list[str]) -> Tensor:
    """Return a matrix of codes as the decoder takes it, ``[n, D]``.

    Raises:
        DataError: they are not codes of this kind.
    """
    table: Array = check_array(codes, dtype="numeric", input_name="codes")
    if table.shape[1] != spec.n_variables:
        raise DataError(
            f"codes have {table.shape[1]} columns, but the code {spec} has {spec.n_variables} "
            "variables. Give what transform returned."
        )
    largest = max(spec.n_categories, 2) - 1
    wrong = ~((table == np.rint(table)) & (table >= 0) & (table <= largest)).all(axis=0)
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(
            f"codes are whole numbers from 0 to {largest} in column {names[at]}. Got values "
            f"from {table[:, at].min():g} to {table[:, at].max():g}. Give what transform returned."
        )
    return torch.from_numpy(table.astype(np.int64))
