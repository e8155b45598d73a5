"""The prior over codes in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from discretevae.errors import ConfigError, did_you_mean

PriorKind = Literal["fixed", "factorized", "autoregressive", "mixture", "layer"]

PRIOR_KINDS: tuple[PriorKind, ...] = ("fixed", "factorized", "autoregressive", "mixture", "layer")

PRIOR_SPELLINGS = {
    "fixed": "fixed",
    "factorized": "factorized",
    "autoregressive": "autoregressive, autoregressive:256,256 or autoregressive:linear",
    "mixture": "mixture:10",
    "layer": "layer:200 or layer:200,256",
}
"""How each kind is written."""

MAX_PRIOR_WIDTH = 100_000


@dataclass(frozen=True)
class PriorSpec:
    """The prior in words: its kind, its size, the widths of its networks.

    Args:
        kind: ``fixed``, ``factorized``, ``autoregressive``, ``mixture`` or ``layer``.
        size: components of a mixture, or bits of a second layer; 0 for the other kinds.
        hidden: widths of the hidden layers of its networks; () for linear ones, None for the
            default of the kind.

    Example:
        >>> parse_prior("autoregressive:512,512")
        PriorSpec(kind='autoregressive', size=0, hidden=(512, 512))
        >>> str(parse_prior("layer:200"))
        'layer:200'
    """

    kind: PriorKind
    size: int = 0
    hidden: tuple[int, ...] | None = None

    def __str__(self) -> str:
        """The spelling that `parse_prior` reads back."""
        options = [str(self.size)] if self.size else []
        options += [str(width) for width in self.hidden or ()]
        if self.kind == "autoregressive" and self.hidden == ():
            options = ["linear"]
        return f"{self.kind}:{','.join(options)}" if options else self.kind


def parse_prior(text: str) -> PriorSpec:
    """Reads the spelling of a prior.

    ====================================  ===================================================
    ``fixed``                             uniform, or the standard normal of a Gaussian code
    ``factorized``                        Π_d p(z_d), learned
    ``autoregressive``                    Π_d p(z_d|z_<d) by a masked network
    ``autoregressive:256,256``            with these hidden widths
    ``autoregressive:linear``             without hidden layers
    ``mixture:10``                        10 normal components
    ``layer:200``                         a second layer of 200 bits, linear networks
    ``layer:200,256``                     with hidden layers of these widths between the two
    ====================================  ===================================================

    Raises:
        ConfigError: the text is none of these, or a size is out of range.

    Example:
        >>> parse_prior("mixture:10")
        PriorSpec(kind='mixture', size=10, hidden=None)
        >>> parse_prior("mixtures:10")
        Traceback (most recent call last):
        ...
        discretevae.errors.ConfigError: prior kind 'mixtures' is unknown. Did you mean mixture? \
Choices: fixed, factorized, autoregressive, mixture, layer.
    """
    name, colon, rest = str(text).strip().partition(":")
    for kind in PRIOR_KINDS:
        if name == kind:
            break
    else:
        raise ConfigError(f"prior kind {name!r} is unknown. {did_you_mean(name, PRIOR_KINDS)}")
    if kind == "autoregressive" and rest == "linear":
        return PriorSpec(kind, hidden=())
    sizes = _sizes(text, kind, rest) if colon else ()
    if kind == "autoregressive":
        return PriorSpec(kind, hidden=sizes or None)
    if kind == "layer" and sizes:
        return PriorSpec(kind, sizes[0], sizes[1:])
    if kind == "mixture" and len(sizes) == 1:
        return PriorSpec(kind, sizes[0])
    if kind in ("fixed", "factorized") and not colon:
        return PriorSpec(kind)
    raise ConfigError(_unreadable(text, kind))


def _sizes(text: str, kind: PriorKind, rest: str) -> tuple[int, ...]:
    """The numbers behind the colon, at least one."""
    if re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", rest) is None:
        raise ConfigError(_unreadable(text, kind))
    sizes = tuple(int(size) for size in rest.split(","))
    wrong = [size for size in sizes if not 1 <= size <= MAX_PRIOR_WIDTH]
    if wrong:
        raise ConfigError(
            f"prior {text!r} must have sizes from 1 to {MAX_PRIOR_WIDTH:,}. Got {wrong[0]:,}."
        )
    return sizes


def _unreadable(text: str, kind: PriorKind) -> str:
    return f"prior {text!r} cannot be read. Write it like {PRIOR_SPELLINGS[kind]}."


__all__ = ["PRIOR_KINDS", "PRIOR_SPELLINGS", "PriorKind", "PriorSpec", "parse_prior"]
