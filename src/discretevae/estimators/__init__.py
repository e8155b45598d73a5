"""Gradient estimators: one protocol, one file per idea, one table of names."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping

from discretevae.config import LatentKind
from discretevae.errors import ConfigError, did_you_mean
from discretevae.estimators.antithetic import ARM, ARMS, DisARM
from discretevae.estimators.base import Estimate, Estimator, Integrand, with_gradient_of
from discretevae.estimators.control_variate import REBAR, RELAX, MuProp
from discretevae.estimators.coupled import ARSM, CARMS, DisARMIW, DisARMSB
from discretevae.estimators.double_control import RODEO, DoubleCV
from discretevae.estimators.exact import Exact, LocalExpectation
from discretevae.estimators.importance import Importance
from discretevae.estimators.multisample import VIMCO
from discretevae.estimators.partwise import PartWise
from discretevae.estimators.relaxation import (
    GappedST,
    GumbelRao,
    GumbelSoftmax,
    ReinMax,
    STGumbel,
    StraightThrough,
)
from discretevae.estimators.reparametrized import Reparametrized
from discretevae.estimators.score import EMA, NVIL, RLOO
from discretevae.estimators.unordered import UnorderedSet
from discretevae.estimators.vq import VQ
from discretevae.families import Family, Product, is_enumerable

ESTIMATORS: Mapping[str, type[Estimator]] = {
    "importance": Importance,
    "reparametrized": Reparametrized,
    "exact": Exact,
    "local-expectation": LocalExpectation,
    "ema": EMA,
    "nvil": NVIL,
    "rloo": RLOO,
    "arm": ARM,
    "disarm": DisARM,
    "arms": ARMS,
    "arsm": ARSM,
    "carms": CARMS,
    "disarm-sb": DisARMSB,
    "disarm-iw": DisARMIW,
    "unordered-set": UnorderedSet,
    "muprop": MuProp,
    "rebar": REBAR,
    "relax": RELAX,
    "double-cv": DoubleCV,
    "rodeo": RODEO,
    "vimco": VIMCO,
    "straight-through": StraightThrough,
    "gumbel-softmax": GumbelSoftmax,
    "st-gumbel": STGumbel,
    "gumbel-rao": GumbelRao,
    "gapped-st": GappedST,
    "reinmax": ReinMax,
    "vq": VQ,
}
"""Every estimator by its name."""


def default_estimator(family: Family) -> str:
    """The member that is taken for the ELBO when none is named.

    What measurement picked: no noise where the code can be enumerated, DisARM for longer codes of
    bits, ReinMax for several categorical variables. ReinMax is biased; nothing unbiased came near
    it there (results page, "Estimators side by side").

    Example:
        >>> from discretevae.families import family_of
        >>> codes = ("bernoulli:50", "categorical:100", "categorical:20x10")
        >>> [default_estimator(family_of(latent)) for latent in codes]
        ['disarm', 'exact', 'reinmax']
    """
    if family.spec.kind == "gaussian":
        return "reparametrized"
    if isinstance(family, Product) and not is_enumerable(family):
        discrete = [part for part in family.parts if part.n_states is not None]
        return "+".join(map(_default_of_part, discrete))
    if is_enumerable(family):
        return "exact"
    return "disarm" if family.spec.kind == "bernoulli" else "reinmax"


MAX_PART_STATES = 32
"""A part of at most so many states is summed over by default: at every row's own draw of the other
parts, so that each state costs a decoder row."""


def _default_of_part(part: Family) -> str:
    if part.n_states is not None and part.n_states <= MAX_PART_STATES:
        return "exact"
    return "disarm" if part.spec.kind == "bernoulli" else "reinmax"


def estimator_for(text: str, family: Family, *, samples: int | None = None) -> Estimator:
    """Reads an estimator for a code of any kind.

    For a code of several parts that is one estimator for each discrete part, joined by + in their
    order, or one name for all of them; ``exact`` sums over the whole code where it can.

    Args:
        text: as `make_estimator` reads it, several joined by +.
        family: the code.
        samples: sets the option of that name.

    Raises:
        ConfigError: as `make_estimator`; or the parts and the estimators do not match.

    Example:
        >>> from discretevae.families import family_of
        >>> hybrid = family_of("categorical:10+gaussian:16")
        >>> estimator_for("exact", hybrid).members
        (Exact(),)
        >>> estimator_for("disarm+reinmax", family_of("bernoulli:50+categorical:20x10")).members
        (DisARM(samples=2), ReinMax(samples=1, tau=1.0))
    """
    if not isinstance(family, Product):
        return make_estimator(text, kind=family.spec.kind, samples=samples)
    if text == "exact" and is_enumerable(family):
        return Exact()
    discrete = [part for part in family.parts if part.n_states is not None]
    texts = text.split("+")
    if len(texts) == 1:
        texts *= len(discrete)
    if len(texts) != len(discrete):
        raise ConfigError(
            f"estimator {text!r} is {len(texts)} estimators, but {family.spec} has "
            f"{len(discrete)} discrete parts. Give one for each, or one for all."
        )
    pairs = zip(texts, discrete, strict=True)
    return PartWise([make_estimator(t, kind=part.spec.kind, samples=samples) for t, part in pairs])


def make_estimator(text: str, *, kind: LatentKind, samples: int | None = None) -> Estimator:
    """Reads ``NAME[:option=value,…]``, such as ``importance:proposal=tempered,tau=0.7``.

    Args:
        text: name and options.
        kind: the kind of code that it is for.
        samples: sets the option of that name, unless the text does.

    Raises:
        ConfigError: unknown name or option, unreadable value, or a member that cannot handle the
            kind of code; the sensible choices are named.

    Example:
        >>> make_estimator("importance:proposal=tempered,tau=0.7", kind="bernoulli", samples=2)
        Importance(samples=2, proposal='tempered', tau=0.7, alpha=0.1, xi=None)
    """
    name, _, rest = text.strip().partition(":")
    if name not in ESTIMATORS:
        raise ConfigError(f"estimator {name!r} is unknown. {did_you_mean(name, ESTIMATORS)}")
    cls = ESTIMATORS[name]
    types_of = option_types(cls)
    options: dict[str, object] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if key not in types_of or not equals:
            raise ConfigError(
                f"estimator option {part!r} is unknown. {did_you_mean(key, types_of)} "
                f"Write {name}:option=value."
            )
        options[key] = _read(types_of[key], value, f"estimator option {key}")
    if samples is not None:
        if options.get("samples", samples) != samples:
            raise ConfigError(
                f"`samples` is given twice: {samples} and {options['samples']}. Give it once."
            )
        if "samples" not in types_of:
            raise ConfigError(f"estimator {name} takes no samples. Leave `samples` out.")
        options["samples"] = samples
    member = cls(**options)
    if kind not in member.kinds:
        fitting = [other for other, cls in ESTIMATORS.items() if kind in cls().kinds]
        raise ConfigError(
            f"estimator {text!r} cannot handle a {kind} code. Choices: {', '.join(fitting)}."
        )
    return member


def option_types(cls: type[Estimator]) -> dict[str, object]:
    """A member's options by name, those that text can spell: of a plain type or a choice of words.

    Example:
        >>> option_types(ESTIMATORS["rloo"])
        {'samples': <class 'int'>}
    """
    hints = typing.get_type_hints(cls.__init__)
    names = inspect.signature(cls).parameters
    return {name: hints[name] for name in names if not isinstance(hints[name], types.UnionType)}


def _read(hint: object, text: str, what: str) -> object:
    if hint is int or hint is float:
        try:
            return int(text) if hint is int else float(text)
        except ValueError:
            article = "an int" if hint is int else "a number"
            raise ConfigError(f"{what} must be {article}. Got {text!r}.") from None
    return text


__all__ = [
    "ARM",
    "ARMS",
    "ARSM",
    "CARMS",
    "EMA",
    "ESTIMATORS",
    "NVIL",
    "REBAR",
    "RELAX",
    "RLOO",
    "RODEO",
    "VIMCO",
    "VQ",
    "DisARM",
    "DisARMIW",
    "DisARMSB",
    "DoubleCV",
    "Estimate",
    "Estimator",
    "Exact",
    "GappedST",
    "GumbelRao",
    "GumbelSoftmax",
    "Importance",
    "Integrand",
    "LocalExpectation",
    "MuProp",
    "PartWise",
    "ReinMax",
    "Reparametrized",
    "STGumbel",
    "StraightThrough",
    "UnorderedSet",
    "default_estimator",
    "estimator_for",
    "make_estimator",
    "option_types",
    "with_gradient_of",
]
