"""Gradient estimators: one protocol, one file per idea, one table of names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from typing import Any

from discretevae.config import LatentKind
from discretevae.config.spelling import Spec
from discretevae.errors import ConfigError
from discretevae.estimators.antithetic import ARM as ARM, ARMS as ARMS, DisARM as DisARM
from discretevae.estimators.base import (
    Estimate as Estimate,
    Estimator as Estimator,
    Integrand as Integrand,
    require_estimator as require_estimator,
    with_gradient_of as with_gradient_of,
)
from discretevae.estimators.control_variate import REBAR as REBAR, RELAX as RELAX, MuProp as MuProp
from discretevae.estimators.coupled import (
    ARSM as ARSM,
    CARMS as CARMS,
    DisARMSB as DisARMSB,
)
from discretevae.estimators.double_control import RODEO as RODEO, DoubleCV as DoubleCV
from discretevae.estimators.exact import (
    BitFlip as BitFlip,
    Exact as Exact,
    LocalExpectation as LocalExpectation,
)
from discretevae.estimators.importance import Importance as Importance
from discretevae.estimators.multisample import VIMCO as VIMCO
from discretevae.estimators.partwise import PartWise as PartWise, discrete_parts
from discretevae.estimators.reinmax import (
    ReinMax as ReinMax,
    ReinMaxCV as ReinMaxCV,
    ReinMaxRao as ReinMaxRao,
)
from discretevae.estimators.relaxation import (
    GappedST as GappedST,
    GumbelRao as GumbelRao,
    GumbelSoftmax as GumbelSoftmax,
    STGumbel as STGumbel,
    StraightThrough as StraightThrough,
)
from discretevae.estimators.reparametrized import Reparametrized as Reparametrized
from discretevae.estimators.score import EMA as EMA, NVIL as NVIL, RLOO as RLOO
from discretevae.families import MAX_STATES, Family, Product, is_enumerable, require_family

ESTIMATORS: Mapping[str, type[Estimator]] = {
    cls.name: cls
    for cls in (
        Importance, Reparametrized, Exact, LocalExpectation, BitFlip, EMA, NVIL, RLOO, ARM, DisARM,
        ARMS, ARSM, CARMS, DisARMSB, MuProp, REBAR, RELAX, DoubleCV, RODEO,
        VIMCO, StraightThrough, GumbelSoftmax, STGumbel, GumbelRao, GappedST, ReinMax, ReinMaxRao,
        ReinMaxCV,
    )
}  # fmt: skip
"""Every estimator of the package by its name."""

OWN: dict[str, type[Estimator]] = {}
"""Classes by names such as ``mine.py:Mine``, while the command runs that was given their file."""


class _Spelling(Spec):
    option = "estimator"
    form = "rloo:samples=4"

    @classmethod
    def constructors(cls) -> Mapping[str, Any]:
        return {**ESTIMATORS, **OWN}

    @classmethod
    def split(cls, text: str) -> tuple[str, str | None]:
        own = re.fullmatch(r"([^:]+\.py:\w+)(?::(.*))?", text)
        if own is None:
            return super().split(text)
        if own[1] not in OWN:
            raise ConfigError(
                f"{own[1]} is a class in a file of your own, which no run and no configuration "
                f"imports by itself. Name the file, `estimator='FOLDER/{text}'`, or in Python give "
                "train() the object."
            )
        return own[1], own[2]

    @classmethod
    def _call(cls, make: Callable[..., Any], arguments: str | None) -> Any:
        try:
            return super()._call(make, arguments)
        except Exception as error:
            if isinstance(error, ConfigError) or make not in OWN.values():
                raise
            raise ConfigError(f"{type(error).__name__}: {error}.") from None


MAX_PART_STATES = 32
"""A part of at most so many states is summed over by default: at every row's own draw of the other
parts, so that each state costs a decoder row."""


def default_estimator(family: Family, max_states: int = MAX_STATES) -> str:
    """Return the name of the estimator of the ELBO where none is given.

    Measurement picked them: no noise where the code can be enumerated, DisARM for longer codes of
    bits, ReinMax for several categorical variables. ReinMax is biased; nothing unbiased came near
    it there (results page, "Estimators side by side").
    """
    if family.spec.kind == "gaussian":
        return "reparametrized"
    if family.n_states is not None and family.n_states <= max_states:
        return "exact"
    if isinstance(family, Product):
        parts = (part for _, part in discrete_parts(family))
        return "+".join(default_estimator(part, MAX_PART_STATES) for part in parts)
    return "disarm" if family.spec.kind == "bernoulli" else "reinmax"


def estimator_for(
    estimator: str | Estimator, family: Family, *, samples: int | None = None
) -> Estimator:
    """Return the estimator that a spelling stands for, for a code of any kind.

    For a code of several parts that is one estimator for each discrete part, joined by + in their
    order, or one name for all of them; ``exact`` sums over the whole code where it can.

    Args:
        estimator: as `make_estimator` takes it, or several texts joined by +.
        family: the code.
        samples: sets the option of that name.

    Raises:
        ConfigError: as `make_estimator`; or the parts and the estimators do not match.

    Example:
        >>> from discretevae.families import family_of
        >>> hybrid = family_of("categorical:10+gaussian:16")
        >>> estimator_for("exact", hybrid).estimators
        (Exact(),)
        >>> estimator_for("disarm+reinmax", family_of("bernoulli:50+categorical:20x10")).estimators
        (DisARM(samples=2), ReinMax(samples=1, tau=1.0))
    """
    require_family(family)
    if not isinstance(family, Product) or not isinstance(estimator, str):
        return make_estimator(estimator, kind=family.spec.kind, samples=samples)
    if estimator == "exact" and is_enumerable(family):
        return Exact()
    kinds = [part.spec.kind for _, part in discrete_parts(family)]
    texts = estimator.split("+")
    if len(texts) == 1:
        texts *= len(kinds)
    if len(texts) != len(kinds):
        raise ConfigError(
            f"estimator {estimator!r} is {len(texts)} estimators, but {family.spec} has "
            f"{len(kinds)} discrete parts. Give one for each, or one for all."
        )
    pairs = zip(texts, kinds, strict=True)
    return PartWise([make_estimator(text, kind=kind, samples=samples) for text, kind in pairs])


def make_estimator(
    estimator: str | Estimator, *, kind: LatentKind, samples: int | None = None
) -> Estimator:
    """Return the estimator that ``NAME[:option=value,…]`` stands for; an object is returned itself.

    Args:
        estimator: such as ``importance:proposal=tempered,tau=0.7``.
        kind: the kind of code that it is for.
        samples: sets the option of that name, unless the text does.

    Raises:
        ConfigError: unknown name or option, unreadable or wrong value, or an estimator that cannot
            handle the kind of code; the sensible choices are named.

    Example:
        >>> make_estimator("importance:proposal=tempered,tau=0.7", kind="bernoulli", samples=2)
        Importance(samples=2, proposal='tempered', tau=0.7, alpha=0.1, xi=None)
    """
    made: Estimator = _Spelling.read(estimator) if isinstance(estimator, str) else estimator
    require_estimator(made)
    if samples is not None:
        if "samples" not in made.options():
            name = estimator if isinstance(estimator, str) else made.name
            raise ConfigError(f"estimator {name} takes no samples. Leave `samples` out.")
        is_set = not isinstance(estimator, str) or "samples=" in estimator
        if is_set and made.samples != samples:
            raise ConfigError(
                f"`samples` is given twice: {samples} and {made.samples}. Give it once."
            )
        if is_dataclass(made):
            made = replace(made, samples=samples)
        elif not is_set:
            colon = "," if _Spelling.split(str(estimator))[1] else ":"
            made = _Spelling.read(f"{estimator}{colon}samples={samples}")
    if kind not in made.kinds:
        fitting = [name for name, cls in ESTIMATORS.items() if kind in cls().kinds]
        raise ConfigError(
            f"estimator {estimator!r} cannot handle a {kind} code. Choices: {', '.join(fitting)}."
        )
    return made
