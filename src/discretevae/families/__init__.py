"""q(z|x) as natural-parameter exponential families of pure functions.

    q(z|x) = h(z) exp(ηᵀT(z) − A(η)),   E_q[T(z)] = ∇A(η)                    (paper, eq. 3)

Each family is a frozen description of a code (how many variables, how many categories); its methods
are pure functions of the natural parameters ``eta``. They add up the D latent variables of a row,
so log-probabilities, entropies and divergences are in nats per row. All are finite, with finite
gradients, far beyond abs(η) = 40.

``torch.distributions.ExponentialFamily`` is not used: its entropy detaches the natural parameters
and so drops the gradient without a word.
"""

from __future__ import annotations

from discretevae.config import LatentSpec
from discretevae.families.base import (
    MAX_STATES as MAX_STATES,
    Family as Family,
    is_enumerable as is_enumerable,
    require_family as require_family,
    states_like as states_like,
)
from discretevae.families.bernoulli import Bernoulli as Bernoulli
from discretevae.families.categorical import Categorical as Categorical
from discretevae.families.gaussian import Gaussian as Gaussian
from discretevae.families.product import (
    Product as Product,
    parts_of as parts_of,
    parts_with_eta as parts_with_eta,
)


def family_of(latent: str | LatentSpec) -> Family:
    """Return the family that a spec or a text like ``categorical:20x10`` describes.

    Raises:
        ConfigError: the text cannot be read.

    Example:
        >>> family_of("categorical:20x10")
        Categorical(n_variables=20, n_categories=10)
    """
    spec = LatentSpec.of(latent)
    if spec.kind == "product":
        return Product(tuple(family_of(part) for part in spec.parts))
    if spec.kind == "bernoulli":
        return Bernoulli(spec.n_variables)
    if spec.kind == "categorical":
        return Categorical(spec.n_variables, spec.n_categories)
    return Gaussian(spec.n_variables)
