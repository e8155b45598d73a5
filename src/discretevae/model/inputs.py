"""From what a user gives to a model to the rows that it takes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from discretevae.data import Rows
from discretevae.data.objects import as_rows
from discretevae.data.ranges import require_bytes, require_unit_interval
from discretevae.data.scale import require_width
from discretevae.errors import DataError, kind_of
from discretevae.likelihoods import Likelihood


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
    if likelihood.support == "bytes":
        require_bytes(rows)
    elif likelihood.needs_unit_interval:
        require_unit_interval(rows)


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
        return x
    rows = as_rows(x)
    require_values(rows, n_features, likelihood)
    return rows.deterministic().batch(slice(None))
