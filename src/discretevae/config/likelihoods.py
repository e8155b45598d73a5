"""The likelihood p(x|z) in words."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from discretevae.errors import ConfigError, did_you_mean

LikelihoodKind = Literal[
    "bernoulli", "continuous-bernoulli", "gaussian", "beta-binomial", "logistic"
]

LIKELIHOOD_KINDS: tuple[LikelihoodKind, ...] = (
    "bernoulli",
    "continuous-bernoulli",
    "gaussian",
    "beta-binomial",
    "logistic",
)
MAX_COMPONENTS = 100
SCALES = (1e-6, 1e6)
"""The least and the largest σ that is taken: beyond them the data are better rescaled."""


@dataclass(frozen=True)
class LikelihoodSpec:
    """The likelihood in words: its kind, and the option of the kinds that have one.

    Args:
        kind: ``bernoulli``, ``continuous-bernoulli``, ``gaussian``, ``beta-binomial`` or
            ``logistic``.
        scale: σ of ``gaussian``; None when it is learned, one for each feature.
        n_components: M, the components of ``logistic``.

    Example:
        >>> parse_likelihood("gaussian:0.1")
        LikelihoodSpec(kind='gaussian', scale=0.1, n_components=1)
        >>> str(parse_likelihood("logistic:1"))
        'logistic'
    """

    kind: LikelihoodKind
    scale: float | None = 1.0
    n_components: int = 1

    def __str__(self) -> str:
        """The shortest spelling that `parse_likelihood` reads back."""
        if self.scale is None:
            return f"{self.kind}:learned"
        if self.scale != 1:
            short = f"{self.scale:g}"
            return f"{self.kind}:{short if float(short) == self.scale else repr(self.scale)}"
        return self.kind if self.n_components == 1 else f"{self.kind}:{self.n_components}"


def parse_likelihood(text: str) -> LikelihoodSpec:
    """Reads ``gaussian:0.1``, ``logistic:5`` and the like.

    | text | p(x given z) |
    |---|---|
    | ``bernoulli`` | Bernoulli; a surrogate for grey values |
    | ``continuous-bernoulli`` | a density on [0, 1] |
    | ``gaussian``, ``gaussian:0.1``, ``gaussian:learned`` | N(x̂, σ²), σ = 1, given, or learned |
    | ``beta-binomial`` | a probability of 8-bit values |
    | ``logistic``, ``logistic:5`` | the same, of one or several logistic components |

    Raises:
        ConfigError: the text is none of these, or its option is out of range.

    Example:
        >>> parse_likelihood("gaussian:learned").scale is None
        True
        >>> parse_likelihood("gausian")
        Traceback (most recent call last):
        ...
        discretevae.errors.ConfigError: likelihood 'gausian' is unknown. Did you mean gaussian? \
Choices: bernoulli, continuous-bernoulli, gaussian, beta-binomial, logistic.
    """
    name, colon, option = str(text).strip().partition(":")
    for kind in LIKELIHOOD_KINDS:
        if name == kind:
            break
    else:
        raise ConfigError(f"likelihood {name!r} is unknown. {did_you_mean(name, LIKELIHOOD_KINDS)}")
    if not colon:
        return LikelihoodSpec(kind)
    if kind == "gaussian":
        return LikelihoodSpec(kind, scale=_scale(text, option))
    if kind == "logistic":
        return LikelihoodSpec(kind, n_components=_components(text, option))
    raise ConfigError(f"likelihood {text!r} cannot be read: {kind} has no option. Write {kind}.")


def _scale(text: str, option: str) -> float | None:
    if option == "learned":
        return None
    try:
        scale = float(option)
    except ValueError:
        scale = math.nan
    low, high = SCALES
    if not low <= scale <= high:
        raise ConfigError(
            f"likelihood {text!r} must have a standard deviation from {low:g} to {high:g}. Got "
            f"{option!r}. Write it like gaussian:0.1, or gaussian:learned."
        )
    return scale


def _components(text: str, option: str) -> int:
    match = re.fullmatch(r"0*([0-9]{1,3})", option)
    if match is None or not 1 <= int(match[1]) <= MAX_COMPONENTS:
        raise ConfigError(
            f"likelihood {text!r} must have 1 to {MAX_COMPONENTS} components. Got {option!r}. "
            "Write it like logistic:5."
        )
    return int(match[1])


__all__ = ["LIKELIHOOD_KINDS", "LikelihoodKind", "LikelihoodSpec", "parse_likelihood"]
