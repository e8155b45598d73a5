"""What a member may be told, and which codes it may be given: the checks that members share."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from discretevae.config import LatentKind
from discretevae.errors import ConfigError, did_you_mean
from discretevae.families import MAX_STATES, Family, is_enumerable

DISCRETE: tuple[LatentKind, ...] = ("bernoulli", "categorical")
EVERY_KIND: tuple[LatentKind, ...] = ("bernoulli", "categorical", "gaussian")


def check_options(
    member: object,
    *,
    least_samples: int = 1,
    in_pairs: bool = False,
    **choices: Collection[str],
) -> None:
    """Checks the options of a member by their names, and says all that is wrong at once.

    An option whose name has no rule here is the member's own to check.

    Args:
        member: whose attributes are its options.
        least_samples: the smallest number of samples that it can work with.
        in_pairs: its samples come in pairs, so that their number is even.
        choices: the words that an option of that name may be.

    Raises:
        ConfigError: names every option out of range.

    Example:
        >>> from types import SimpleNamespace
        >>> try:
        ...     check_options(SimpleNamespace(samples=1, copula="gausian"), copula=("gaussian",))
        ... except ConfigError as error:
        ...     print(error)
        copula 'gausian' is unknown. Did you mean gaussian? Choices: gaussian.
    """
    rules: dict[str, tuple[str, Callable[[float], bool]]] = {
        "samples": (f"be an int >= {least_samples}", lambda value: value >= least_samples),
        **dict.fromkeys(("tau", "floor"), ("be > 0", lambda value: value > 0)),
        **dict.fromkeys(("gap", "anneal"), ("be >= 0", lambda value: value >= 0)),
        **dict.fromkeys(("resamples", "hidden"), ("be an int >= 1", lambda value: value >= 1)),
        "scale": ("be finite", lambda value: True),
        "alpha": ("lie between 0 and 1", lambda value: 0 < value < 1),
        "decay": ("lie in [0, 1)", lambda value: 0 <= value < 1),
        "seed": ("be an int >= 0", lambda value: value >= 0),
    }
    if in_pairs:
        rules["samples"] = (
            "be an even int >= 2: codes come in pairs",
            lambda value: value >= 2 and value % 2 == 0,
        )
    problems = []
    for name, value in vars(member).items():
        if name in choices:
            if value not in choices[name]:
                guess = did_you_mean(value, choices[name])
                problems.append(f"{name} {value!r} is unknown. {guess}")
        elif name in rules:
            wanted, holds = rules[name]
            if not (math.isfinite(value) and holds(value)):
                problems.append(f"{name} must {wanted}. Got {value}.")
    if problems:
        raise ConfigError(problems)


def require_kind(member: object, family: Family) -> None:
    """Raises `ConfigError` unless the family's kind of code is one of the member's ``kinds``.

    Example:
        >>> from types import SimpleNamespace
        >>> from discretevae.families import Bernoulli
        >>> require_kind(SimpleNamespace(kinds=DISCRETE), Bernoulli(2))
    """
    kinds = getattr(member, "kinds", ())
    if family.spec.kind not in kinds:
        raise ConfigError(
            f"{type(member).__name__} is made for a {' or '.join(kinds)} code. "
            f"Got {family.spec}. Choose another estimator."
        )


def require_enumerable(member: object, family: Family) -> None:
    """Raises `ConfigError` unless all states of the family's code can be listed.

    Example:
        >>> from types import SimpleNamespace
        >>> from discretevae.families import Bernoulli
        >>> require_enumerable(SimpleNamespace(), Bernoulli(2))
    """
    if not is_enumerable(family):
        raise ConfigError(
            f"{type(member).__name__} works on a list of all states, at most {MAX_STATES:,} of "
            f"them. Got {family.spec}. Take a smaller code or another estimator."
        )


__all__ = ["DISCRETE", "EVERY_KIND", "check_options", "require_enumerable", "require_kind"]
