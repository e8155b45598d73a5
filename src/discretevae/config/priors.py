"""The prior over codes in words, and what a training can ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from discretevae.config.checks import is_int, one_of, problems_of, refuse
from discretevae.config.spelling import Spec, spell

PriorKind = Literal[
    "fixed", "factorized", "autoregressive", "mixture", "transformer", "convolution"
]

OVER_PLACES = ("transformer", "convolution")

MAX_WIDTH = 100_000


@dataclass(frozen=True)
class PriorSpec(Spec):
    """The prior in words: its kind, its size, the widths of its networks.

    =============================  =========================================================
    ``fixed``                      uniform, or the standard normal of a Gaussian code
    ``factorized``                 Π_d p(z_d), learned
    ``autoregressive``             Π_d p(z_d|z_<d) by a masked network
    ``autoregressive:256,256``     with these hidden widths
    ``autoregressive:linear``      without hidden layers
    ``mixture:10``                 10 normal components
    ``transformer:2x128``          Π_i p(z_i|z_<i) over places, 2 layers of width 128
    ``convolution:4x64``           the same by masked convolutions, for grids
    ``convolution:classes=10``     p(z|y) of labels from 0 to 9
    =============================  =========================================================

    Args:
        kind: ``fixed``, ``factorized``, ``autoregressive``, ``mixture``, ``transformer`` or
            ``convolution``.
        size: components of a mixture; 0 for the other kinds.
        hidden: widths of the hidden layers of its networks; () for linear ones, None for the
            default of the kind. Of a transformer or convolutions, their layers and their width.
        classes: number of the labels that these two are conditioned on; 0 for none.

    Raises:
        ConfigError: a size is out of range.

    Example:
        >>> PriorSpec.of("autoregressive:512,512")
        PriorSpec(kind='autoregressive', size=0, hidden=(512, 512), classes=0)
        >>> str(PriorSpec.mixture(10))
        'mixture:10'
    """

    option = "prior"
    form = "fixed, autoregressive:256,256, transformer:2x128, convolution:4x64 or mixture:10"

    kind: PriorKind = field(metadata=one_of(get_args(PriorKind)))
    size: int = 0
    hidden: tuple[int, ...] | None = None
    classes: int = 0

    def __post_init__(self) -> None:
        problems = problems_of(self)
        sizes = [self.size] if self.kind == "mixture" else []
        if self.classes and self.kind not in OVER_PLACES:
            problems.append(f"no {self.kind} prior is conditioned on labels, but a transformer is.")
        for size in (*sizes, *(self.hidden or ()), self.classes + 1):
            if not (is_int(size, 1) and size <= MAX_WIDTH):
                problems.append(f"sizes must be ints from 1 to {MAX_WIDTH:,}. Got {size!r}.")
        refuse(problems)

    @property
    def has_closed_kl(self) -> bool:
        """True if KL(q ‖ p) has a closed form: where p has the form of q."""
        return self.kind in ("fixed", "factorized")

    @classmethod
    def autoregressive(cls, *hidden: int) -> Self:
        """Return a masked network with these hidden widths, or with the default ones."""
        return cls("autoregressive", hidden=hidden or None)

    @classmethod
    def mixture(cls, n_components: int) -> Self:
        """Return a mixture of normal components."""
        return cls("mixture", n_components)

    @classmethod
    def transformer(cls, layers: int = 2, width: int = 128, *, classes: int = 0) -> Self:
        """Return a causal transformer over the places of a code."""
        return cls("transformer", hidden=(layers, width), classes=classes)

    @classmethod
    def convolution(cls, layers: int = 4, width: int = 64, *, classes: int = 0) -> Self:
        """Return masked convolutions over the places of a grid."""
        return cls("convolution", hidden=(layers, width), classes=classes)

    @classmethod
    def split(cls, text: str) -> tuple[str, str | None]:
        """Return the name in a spelling, and its arguments: over places 2x128 for 2,128."""
        name, sizes = super().split(text)
        return name, sizes.replace("x", ",") if sizes and name in OVER_PLACES else sizes

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return a spec, or what makes one from its sizes, for each kind."""
        return {
            "fixed": cls("fixed"),
            "factorized": cls("factorized"),
            "autoregressive": cls.autoregressive,
            "autoregressive:linear": cls("autoregressive", hidden=()),
            "mixture": cls.mixture,
            "transformer": cls.transformer,
            "convolution": cls.convolution,
        }

    def __str__(self) -> str:
        if self.kind == "autoregressive" and self.hidden == ():
            return "autoregressive:linear"
        if self.kind in OVER_PLACES:
            spelled = spell(self.kind, *self.hidden or (), separator="x")
            return spelled + f",classes={self.classes}" * (self.classes > 0)
        return spell(self.kind, *[self.size] * (self.size > 0), *(self.hidden or ()))
