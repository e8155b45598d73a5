"""Check that rows fit a model."""

from __future__ import annotations

from dataclasses import replace

from discretevae.data import Rows
from discretevae.data.objects import RowsLike, as_rows
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


def require_fit(model: DiscreteVAE, rows: RowsLike) -> Rows:
    """Return rows that the model can take (`DataError`); of an array in their place see `as_rows`.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> require_fit(DiscreteVAE.for_data(data), data.test).name
        'digits'
    """
    require_model(model)
    if not isinstance(rows, Rows):
        rows = as_rows(rows, are_counts=model.likelihood.support == "counts")
        if rows.n_features == model.config.n_features:
            rows = replace(rows, image_shape=model.config.image_shape)
    require_values(rows, model.config.n_features, model.likelihood)
    return rows
