"""Check that rows fit a model."""

from __future__ import annotations

from discretevae.config import LikelihoodSpec
from discretevae.data import Rows
from discretevae.data.ranges import require_bytes, require_unit_interval
from discretevae.data.stores.sparse import Sparse
from discretevae.errors import DataError
from discretevae.model.vae import DiscreteVAE


def require_rows(rows: object) -> None:
    """Refuse an array in place of rows, which know what their values stand for.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(rows, Rows):
        raise DataError(
            f"rows must be Rows. Got {type(rows).__name__}. Make them with Rows.from_array."
        )


def suited_likelihood(rows: Rows) -> LikelihoodSpec:
    """Return ``bernoulli`` for 0 and 1 and for pictures, else ``gaussian:learned``.

    Fractions in [0, 1] are taken for grey values if rows are pictures, or all are k/255.

    Example:
        >>> str(suited_likelihood(Rows.from_array([[0.5, 0.1], [0.25, 1.0]])))
        'gaussian:learned'
    """
    low, high = rows.value_range
    if rows.scale is not None or low < 0 or high > 1:
        return LikelihoodSpec("gaussian", None)
    is_picture = rows.image_shape is not None or rows.divisor != 1
    # asked for last, since all values may have to be read for it
    if is_picture or isinstance(rows.values, Sparse) or rows.is_binary or rows.are_bytes:
        return LikelihoodSpec("bernoulli")
    return LikelihoodSpec("gaussian", None)


def require_fit(model: DiscreteVAE, rows: Rows) -> None:
    """Refuses rows that the model cannot take.

    Raises:
        DataError: no `Rows`, another number of features, or values that the likelihood does not
            know.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> require_fit(DiscreteVAE.for_data(data), data.test)
    """
    require_rows(rows)
    expected = model.config.n_features
    if rows.n_features != expected:
        raise DataError(
            f"{rows.name}: rows have {rows.n_features} features, but the model takes {expected}. "
            "Give data of the model's own width."
        )
    if model.likelihood.support == "bytes":
        require_bytes(rows)
    elif model.likelihood.needs_unit_interval:
        require_unit_interval(rows)
