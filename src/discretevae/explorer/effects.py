"""Effects of latent variables on the picture, and the order in which to change several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from discretevae.evaluation.bounds import DECODER_ROWS
from discretevae.explorer.galleries import Gallery, spread
from discretevae.explorer.variables import Variable
from discretevae.model.vae import DiscreteVAE

EFFECT_ROWS = 256
"""Codes over which the effect of a variable is averaged."""

GRID_DECODES = 512
"""Codes decoded for the effect of a variable of a grid, whose networks take longer, and for the
overview of a place."""

OVERVIEW_DECODES = 4096
"""Codes decoded for the overview of all variables together, half a second for 50 bits of MNIST."""

MAX_SETTINGS = 256
"""Categories of one variable that are pictured, from the first."""

STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Of a real variable, standard deviations away from its mean."""


def settings_of(variable: Variable, gallery: Gallery) -> list[float]:
    """Return the values that a variable is set to: 0, 1; 0 … K−1; mean + step · std of the rows."""
    if variable.n_categories is not None:
        return [float(k) for k in range(min(variable.n_categories, MAX_SETTINGS))]
    column = gallery.codes[:, variable.index].double()
    mean, std = float(column.mean()), float(column.std(correction=0))
    return [mean + step * std for step in STEPS]


@torch.no_grad()
def effect(
    model: DiscreteVAE, codes: Tensor, variable: Variable, settings: Sequence[float]
) -> Tensor:
    """Return the mean picture with one variable set to each of some values: ``[n, P]``, CPU.

    e(v) = 1/N Σ_n E[x | z_n with z_d = v]   over the codes z_n of N rows, ``[N, V]``
    """
    # rows that differ in this variable only are one: with a single category, all of them are
    others = codes.clone()
    others[:, variable.index] = 0
    distinct, counts = torch.unique(others, dim=0, return_counts=True)
    weights = counts.double() / len(codes)
    means = []
    for some in torch.split(torch.tensor(settings), max(1, DECODER_ROWS // len(distinct))):
        changed = distinct.repeat(len(some), 1)
        changed[:, variable.index] = some.repeat_interleave(len(distinct)).to(codes.dtype)
        pictures = decoded(model, changed).double().reshape(len(some), len(distinct), -1)
        means.append(torch.einsum("sup,u->sp", pictures, weights))
    return torch.cat(means).float()


def strength(model: DiscreteVAE, gallery: Gallery, variable: Variable, n_settings: int) -> float:
    """Return how much a variable moves the picture: the mean over values of max_v e − min_v e.

    Of a bit that is mean |on − off|. Fewer rows are changed than for `effect` alone, so that all
    ``n_settings`` of all variables together decode about `OVERVIEW_DECODES` codes.
    """
    most = GRID_DECODES if model.config.latent.grid else OVERVIEW_DECODES
    n = max(1, min(EFFECT_ROWS, most // n_settings))
    codes = gallery.codes[spread(len(gallery), n)]
    means = effect(model, codes, variable, settings_of(variable, gallery))
    return float((means.amax(0) - means.amin(0)).mean())


def gentlest_first(
    model: DiscreteVAE, start: Tensor, end: Tensor, groups: Sequence[list[int]]
) -> list[list[int]]:
    """Return the groups of variables in which two codes ``[V]`` differ, the gentlest first.

    The order is by single effects: each group alone is set to its values in ``end``, the others
    stay as in ``start``, and the mean absolute change of the picture is compared. Of equal changes
    the first group comes first.
    """
    differing = [group for group in groups if bool((start[group] != end[group]).any())]
    single = start.repeat(len(differing) + 1, 1)
    for at, group in enumerate(differing, 1):
        single[at, group] = end[group]
    first, *others = torch.cat([decoded(model, part) for part in torch.split(single, DECODER_ROWS)])
    changes = [float((other - first).abs().mean()) for other in others]
    return [group for _, group in sorted(zip(changes, differing, strict=True))]


def decoded(model: DiscreteVAE, codes: Tensor) -> Tensor:
    """Return E[x|z] of codes ``[N, V]`` that lie on the CPU, ``[N, P]`` there too."""
    return model.decode(codes.to(model.device)).cpu()
