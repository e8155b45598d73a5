"""Check that rows fit a model."""

from __future__ import annotations

from dataclasses import replace

from discretevae.config import LikelihoodSpec
from discretevae.data import Rows
from discretevae.data.objects import RowsLike, as_rows
from discretevae.data.stores.sparse import Sparse
from discretevae.errors import require_type
from discretevae.model.inputs import require_values
from discretevae.model.vae import DiscreteVAE


def require_model(model: object) -> None:
    """Refuse what is no model (`ConfigError`)."""
    advice = "Make one with DiscreteVAE.for_data, or give load_run(folder).model."
    for name in ("model", "model_"):
        if isinstance(getattr(model, name, None), DiscreteVAE):
            advice = f"Give its attribute {name}."
    require_type("model", model, DiscreteVAE, advice)


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


def require_fit(model: DiscreteVAE, rows: RowsLike) -> Rows:
    """Return rows that the model can take; of an array in their place see `as_rows`.

    Raises:
        ConfigError: no model.
        DataError: no rows, another number of features, or values that the likelihood does not
            know.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> require_fit(DiscreteVAE.for_data(data), data.test).name
        'digits'
    """
    require_model(model)
    if not isinstance(rows, Rows):
        rows = as_rows(rows)
        if rows.n_features == model.config.n_features:
            rows = replace(rows, image_shape=model.config.image_shape)
    require_values(rows, model.config.n_features, model.likelihood)
    return rows
