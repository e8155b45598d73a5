"""From what a user gives to a model to the rows that it takes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from discretevae.config import LatentSpec, LikelihoodSpec
from discretevae.data import Rows
from discretevae.data.columns import TableScale
from discretevae.data.objects import as_rows
from discretevae.data.ranges import require_bytes, require_counts, require_unit_interval
from discretevae.data.scale import require_width
from discretevae.data.stores.sparse import Sparse
from discretevae.errors import DataError, kind_of
from discretevae.likelihoods import Likelihood


def suited_likelihood(rows: Rows, latent: LatentSpec | None = None) -> LikelihoodSpec:
    """Return ``bernoulli`` for 0 and 1 and for pictures, ``student`` for scaled columns.

    Other real values, which may be of any size, get ``gaussian:learned``; so do scaled columns
    under a code of a single category, whose states are clusters: with one σ for all they are found
    more surely.

    Counts, which are sparse, get ``multinomial``.
    Pictures in 8-bit colors get ``logistic``, a probability, because no published figures call for
    a surrogate. Of the two for 8-bit values it fits photographs better and takes less time.
    Tables whose columns are of several kinds get ``mixed``.
    Fractions in [0, 1] are taken for grey values if rows are pictures, or all are k/255.

    Example:
        >>> str(suited_likelihood(Rows.from_array([[0.5, 0.1], [0.25, 1.0]])))
        'gaussian:learned'
    """
    if isinstance(rows.scale, TableScale):
        return LikelihoodSpec("mixed", columns=rows.scale.specs)
    if rows.are_counts:
        return LikelihoodSpec("multinomial")
    low, high = rows.value_range
    if rows.scale is not None and rows.image_shape is None:
        is_cluster = latent is not None and (latent.kind, latent.n_variables) == ("categorical", 1)
        return LikelihoodSpec("gaussian", None) if is_cluster else LikelihoodSpec("student")
    if rows.scale is not None or low < 0 or high > 1:
        return LikelihoodSpec("gaussian", None)
    is_picture = rows.image_shape is not None or rows.divisor != 1
    is_color = rows.image_shape is not None and len(rows.image_shape) == 3
    if is_color and rows.are_bytes and not rows.is_binary:
        return LikelihoodSpec("logistic")
    # asked for last, since all values may have to be read for it
    if is_picture or isinstance(rows.values, Sparse) or rows.is_binary or rows.are_bytes:
        return LikelihoodSpec("bernoulli")
    return LikelihoodSpec("gaussian", None)


def require_x(x: object, n_features: int) -> None:
    """Refuse what is no batch of rows (`DataError`)."""
    if not (
        isinstance(x, Tensor) and x.ndim == 2 and x.shape[1] == n_features and x.is_floating_point()
    ):
        got = kind_of(x)
        if isinstance(x, Tensor):
            got = f"{x.dtype} {list(x.shape)}"
        raise DataError(
            f"x must be a tensor of floats [B, {n_features}]. Got {got}. Rows.batch gives such "
            "tensors; encode and encode_rows take arrays, too."
        )


def require_values(rows: Rows, n_features: int, likelihood: Likelihood) -> None:
    """Refuse rows of another width, or with values that the likelihood does not know.

    Raises:
        DataError: they are such rows.
    """
    require_width(rows.n_features, n_features, rows.name)
    if likelihood.support == "columns" or rows.is_mixed:
        require_columns(rows, likelihood)
    elif likelihood.support == "bytes":
        require_bytes(rows)
    elif likelihood.support == "counts":
        require_counts(rows)
    elif likelihood.needs_unit_interval:
        require_unit_interval(rows)


def require_columns(rows: Rows, likelihood: Likelihood) -> None:
    """Refuse rows whose columns are not of the kinds that the likelihood has (`DataError`)."""
    own = rows.scale.specs if isinstance(rows.scale, TableScale) else ()
    if own != likelihood.spec.columns:
        raise DataError(
            f"{rows.name}: its columns are not of the kinds of `likelihood` {likelihood.spec}. "
            "Read it by the schema of the run, load_rows(data, schema=run.schema); or train with "
            "`likelihood='auto'`."
        )


def as_x(x: Any, n_features: int, likelihood: Likelihood) -> Tensor:
    """Return x ``[B, P]`` as a tensor of floats, from a tensor, an array or `Rows`.

    Raises:
        DataError: another width, values that the likelihood does not know, or whole numbers that
            may be grey values.
    """
    if isinstance(x, Tensor) and x.is_floating_point():
        require_x(x, n_features)
        if likelihood.needs_unit_interval and x.numel() and not 0 <= x.min() <= x.max() <= 1:
            raise DataError(
                f"x must lie in [0, 1]. Got values from {x.min():g} to {x.max():g}. Divide them as "
                "in training; Rows does so."
            )
        if likelihood.support == "counts" and not ((x >= 0) & (x == x.round())).all():
            raise DataError(
                f"x must be counts 0, 1, 2, … Got values from {x.min():g} to {x.max():g}."
            )
        return x
    rows = as_rows(x, are_counts=likelihood.support == "counts")
    require_values(rows, n_features, likelihood)
    return rows.deterministic().batch(slice(None))
