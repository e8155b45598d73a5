"""Missing cells of a table, filled with what the rest of the row says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from discretevae.data.rows import Rows
from discretevae.errors import ConfigError
from discretevae.evaluation.bounds import DECODER_ROWS, LEAST_ROWS
from discretevae.families import is_enumerable, states_like
from discretevae.likelihoods import MixedLikelihood
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE
from discretevae.system.precision import computing


@computing("float32")
@torch.no_grad()
def impute(
    model: DiscreteVAE,
    rows: Rows,
    *,
    draw: bool = False,
    samples: int = 100,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Return rows whose missing cells are filled, x ``[N, P]``; the others are as they came.

        E[x_m|x_o] = Σ_z p(z|x_o) E[x_m|z],   p(z|x_o) ∝ p(z) p(x_o|z)

    with x_o the cells that are there: the sum over all codes where they can be enumerated, else
    with S draws from q(z|x_o), weighted by p(z) p(x_o|z) / q(z|x_o). Of a categorical column it is
    the likeliest level; positive columns are averaged by their logarithms.

    Args:
        model: with a `MixedLikelihood`.
        rows: N rows, read by the schema of its run.
        draw: whether to fill in a draw from p(x_m|x_o), for a table whose cells vary as real ones
            do, in place of the mean, which is the best guess of each cell.
        samples: S.
        seed: of the draws.
        progress: called with the number of rows done.

    Raises:
        ConfigError: a model whose likelihood knows no missing cells, or S < 1.
        DataError: rows that do not fit it.

    Example:
        >>> import numpy as np
        >>> from discretevae import load_rows
        >>> table = np.array([[1.0, 2.0], [np.nan, 2.5], [0.5, 1.0]])
        >>> rows = load_rows(table, scale="columns")
        >>> model = DiscreteVAE.for_data(rows, latent="bernoulli:3")
        >>> impute(model, rows).isnan().any()
        tensor(False)

    Source: Rezende et al. (2014), section 5.3, and Mattei & Frellsen, "MIWAE" (2019), eq. 8.
    """
    rows = require_fit(model, rows)
    if not isinstance(model.likelihood, MixedLikelihood):
        raise ConfigError(
            f"likelihood {model.config.likelihood} knows no missing cells. Train on a table that "
            "has some, or with `likelihood='mixed'`."
        )
    if samples < 1:
        raise ConfigError(f"`samples` must be an int >= 1. Got {samples}.")
    generator = torch.Generator(model.device).manual_seed(seed)
    size = DECODER_ROWS if is_enumerable(model.family) else max(LEAST_ROWS, DECODER_ROWS // samples)
    filled = []
    for chunk in rows.chunks(size, progress=progress):
        x = chunk.to(model.device)
        has_holes = x.isnan().any(1)
        if has_holes.any():
            guess = _guess(model, x[has_holes], draw, samples, generator)
            x[has_holes] = torch.where(x[has_holes].isnan(), guess, x[has_holes])
        filled.append(x.cpu())
    return torch.cat(filled)


def _guess(
    model: DiscreteVAE, x: Tensor, draw: bool, samples: int, generator: torch.Generator
) -> Tensor:
    """Return values of all cells of rows ``[B, P]`` by the cells that are there."""
    likelihood = cast(MixedLikelihood, model.likelihood)
    if is_enumerable(model.family):
        outputs = model.output(states_like(model.family, x))
        log_weights = likelihood.table(outputs, x) + model.prior.log_prob_table()  # [B, N]
        weights = torch.softmax(log_weights, 1)
        if not draw:
            return likelihood.collapse(weights @ likelihood.expected(outputs))
        chosen = torch.multinomial(weights, 1, generator=generator).squeeze(1)
        return likelihood.sample(outputs[chosen], generator=generator)
    eta = model.eta(x)
    z = model.family.sample(eta, samples, generator=generator)
    outputs = model.output(z)  # [S, B, C]
    log_weights = likelihood.log_prob(outputs, x) + model.prior.log_prob(z)
    weights = torch.softmax(log_weights - model.family.log_prob(eta, z), 0)  # [S, B]
    if not draw:
        means = torch.einsum("sb,sbc->bc", weights, likelihood.expected(outputs))
        return likelihood.collapse(means)
    chosen = torch.multinomial(weights.T, 1, generator=generator).squeeze(1)
    return likelihood.sample(outputs[chosen, torch.arange(len(x))], generator=generator)
