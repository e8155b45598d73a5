"""The latent code in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from discretevae.errors import ConfigError, did_you_mean

LatentKind = Literal["bernoulli", "categorical", "gaussian", "product"]

LATENT_KINDS: tuple[LatentKind, ...] = ("bernoulli", "categorical", "gaussian")
"""Kinds of one part; a product has several."""

MAX_LATENT_SIZE = 1_000_000


@dataclass(frozen=True)
class LatentSpec:
    """The latent code in words: its kind, its number of variables, its categories, its parts.

    Args:
        kind: ``bernoulli``, ``categorical``, ``gaussian``, or ``product`` of several parts.
        n_variables: D, the number of latent variables, those of all parts together.
        n_categories: K, the categories of each variable; 0 unless categorical.
        parts: of a product, in their order; else ().

    Example:
        >>> parse_latent("categorical:20x10")
        LatentSpec(kind='categorical', n_variables=20, n_categories=10, parts=())
        >>> str(parse_latent("categorical:100"))
        'categorical:100'
        >>> [str(part) for part in parse_latent("categorical:10+gaussian:16").parts]
        ['categorical:10', 'gaussian:16']
    """

    kind: LatentKind
    n_variables: int
    n_categories: int = 0
    parts: tuple[LatentSpec, ...] = ()

    def __str__(self) -> str:
        """The spelling that `parse_latent` reads back."""
        if self.kind == "product":
            return "+".join(map(str, self.parts))
        if self.kind != "categorical":
            return f"{self.kind}:{self.n_variables}"
        if self.n_variables == 1:
            return f"categorical:{self.n_categories}"
        return f"categorical:{self.n_variables}x{self.n_categories}"


def parse_latent(text: str) -> LatentSpec:
    """Reads ``bernoulli:50``, ``categorical:100``, ``categorical:20x10``, ``gaussian:16`` or a sum.

    ``categorical:20x10`` is 20 variables of 10 categories each; ``categorical:10+gaussian:16`` is
    one category beside 16 real numbers.

    Raises:
        ConfigError: the text is none of these, or a size is out of range.

    Example:
        >>> parse_latent("bernoulli:50").n_variables
        50
        >>> parse_latent("bernoulli:32+gaussian:8").n_variables
        40
    """
    parts = tuple(_part(part) for part in text.split("+"))
    if len(parts) == 1:
        return parts[0]
    reals = [part for part in parts if part.kind == "gaussian"]
    if len(reals) > 1:
        total = sum(part.n_variables for part in reals)
        raise ConfigError(
            f"latent {text!r} has {len(reals)} Gaussian parts, which are one. "
            f"Write gaussian:{total} once."
        )
    spec = LatentSpec("product", sum(part.n_variables for part in parts), parts=parts)
    _require_size(text, sum(_units(part) for part in parts))
    return spec


def _part(text: str) -> LatentSpec:
    kind, colon, size = text.strip().partition(":")
    if kind not in LATENT_KINDS:
        raise ConfigError(f"latent kind {kind!r} is unknown. {did_you_mean(kind, LATENT_KINDS)}")
    pattern = r"(\d+)(?:x(\d+))?" if kind == "categorical" else r"(\d+)"
    match = re.fullmatch(pattern, size)
    if not colon or match is None:
        shape = "categorical:100 or categorical:20x10" if kind == "categorical" else f"{kind}:50"
        raise ConfigError(f"latent {text!r} has no readable size. Write it like {shape}.")
    if kind != "categorical":
        spec = LatentSpec(kind, int(size))
    elif match.group(2) is None:
        spec = LatentSpec(kind, 1, int(match.group(1)))
    else:
        spec = LatentSpec(kind, int(match.group(1)), int(match.group(2)))
    if spec.n_variables < 1:
        raise ConfigError(f"latent {text!r} must have at least 1 variable. Got {spec.n_variables}.")
    if kind == "categorical" and spec.n_categories < 2:
        raise ConfigError(
            f"latent {text!r} must have at least 2 categories, or it can say nothing. "
            f"Got {spec.n_categories}."
        )
    _require_size(text, _units(spec))
    return spec


def _units(spec: LatentSpec) -> int:
    return spec.n_variables * max(spec.n_categories, 1)


def _require_size(text: str, units: int) -> None:
    if units > MAX_LATENT_SIZE:
        raise ConfigError(
            f"latent {text!r} is larger than {MAX_LATENT_SIZE:,} units. Ask for less."
        )


__all__ = ["LATENT_KINDS", "LatentKind", "LatentSpec", "parse_latent"]
