"""p(z): the prior over codes, fixed or learned; one protocol, one file per idea."""

from __future__ import annotations

from typing import assert_never

import torch

from discretevae.config.activations import RELU, Activation
from discretevae.config.model_config import Init
from discretevae.config.priors import PriorSpec
from discretevae.families import Family, require_family
from discretevae.priors.autoregressive import (
    DEFAULT_HIDDEN as DEFAULT_HIDDEN,
    AutoregressivePrior as AutoregressivePrior,
)
from discretevae.priors.base import Prior as Prior, discrete_widths as discrete_widths
from discretevae.priors.factorized import FactorizedPrior as FactorizedPrior
from discretevae.priors.mixture import MixturePrior as MixturePrior
from discretevae.priors.places import PlacePrior as PlacePrior


def make_prior(
    prior: str | PriorSpec,
    family: Family,
    *,
    grid: tuple[int, int] | None = None,
    activation: Activation = RELU,
    init: Init = "torch",
    generator: torch.Generator | None = None,
) -> Prior:
    """Return the prior that a spec or its spelling describes, with fresh weights.

    Args:
        prior: such as ``autoregressive:256,256``.
        family: of the codes.
        grid: (height, width) of the codes in places; None of flat ones.
        activation: between the layers of the prior's networks, if it has any.
        init: how their initial weights are drawn, as `initialize` has it.
        generator: the source of the initial weights; None takes torch's global one.

    Raises:
        ConfigError: the text cannot be read, or the prior cannot serve the family; those that
            can are named.

    Example:
        >>> from discretevae.families import Bernoulli, Gaussian
        >>> make_prior("mixture:10", Gaussian(3), generator=torch.Generator()).n_components
        10
        >>> make_prior("mixture:10", Bernoulli(3))
        Traceback (most recent call last):
        ...
        discretevae.errors.ConfigError: a mixture prior needs a code of real numbers; \
bernoulli:3 is none. Choose fixed, factorized, autoregressive or transformer.
    """
    spec = PriorSpec.of(prior)
    require_family(family)
    if spec.kind == "mixture":
        return MixturePrior(family, spec.size, generator=generator)
    if spec.kind == "autoregressive":
        hidden = DEFAULT_HIDDEN if spec.hidden is None else spec.hidden
        return AutoregressivePrior(
            family, hidden=hidden, activation=activation, init=init, generator=generator
        )
    if spec.kind == "transformer" or spec.kind == "convolution":
        return PlacePrior(family, spec, grid=grid, init=init, generator=generator)
    if spec.kind == "fixed" or spec.kind == "factorized":
        return FactorizedPrior(family, learned=spec.kind == "factorized")
    assert_never(spec.kind)
