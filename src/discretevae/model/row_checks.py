"""Check that rows fit a model."""

from __future__ import annotations

from discretevae.data import Rows
from discretevae.data.rows import require_rows
from discretevae.errors import DataError
from discretevae.model.vae import DiscreteVAE


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
        rows.require_bytes()
    elif model.likelihood.needs_unit_interval:
        rows.require_unit_interval()
