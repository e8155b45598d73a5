"""The parameters of the constructors: what they may be, and how a wrong one is put."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from discretevae.config import LikelihoodSpec, PriorSpec, Target, TrainConfig
from discretevae.errors import ConfigError

AUTO = "auto"


def require(owner: object, least: dict[str, int]) -> None:
    """Refuses parameters out of their range; all of them are named.

    Args:
        owner: the object whose parameters they are.
        least: the least value of each size of the code, by name.

    Raises:
        ConfigError: one or several are wrong.

    Example:
        >>> from types import SimpleNamespace
        >>> require(SimpleNamespace(n_bits=0), {"n_bits": 1})
        Traceback (most recent call last):
        ...
        discretevae.errors.ConfigError: The 'n_bits' parameter of SimpleNamespace must be an int \
>= 1. Got 0 instead.
    """
    problems: list[str] = []

    def must(name: str, what: str, *, holds: bool) -> None:
        if not holds:
            got = getattr(owner, name)
            problems.append(f"{_the(name, owner)} must be {what}. Got {got!r} instead.")

    for name, low in least.items():
        must(name, f"an int >= {low}", holds=is_int(getattr(owner, name), low))
    if hasattr(owner, "hidden"):
        must("hidden", "a tuple of ints >= 1", holds=_are_widths(owner.hidden))
        must("epochs", "an int >= 1", holds=is_int(owner.epochs, 1))  # type: ignore[attr-defined]
        for name in ("batch_size", "samples"):
            value = getattr(owner, name)
            must(name, "an int >= 1 or None", holds=value is None or is_int(value, 1))
        must("lr", "a finite number > 0", holds=_is_positive(owner.lr))  # type: ignore[attr-defined]
        must("verbose", "an int >= 0", holds=_is_flag(owner.verbose))  # type: ignore[attr-defined]
        problems += _spelled_problems(owner)
    if problems:
        raise ConfigError(problems)


def seed_from(random_state: Any) -> int:
    """A seed for the package's own generators; an int >= 0 is the seed itself.

    None takes fresh entropy, and leaves numpy's global state alone.

    Raises:
        ConfigError: it is no random state.

    Example:
        >>> seed_from(3), seed_from(np.random.RandomState(0)) == seed_from(np.random.RandomState(0))
        (3, True)
    """
    if random_state is None:
        return secrets.randbits(31)
    if is_int(random_state, 0) and random_state < 2**63:
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        raise ConfigError(
            "random_state must be None, an int from 0 to 2**63 - 1 or a RandomState. "
            f"Got {random_state!r} instead."
        ) from None


def is_int(value: object, least: int) -> bool:
    """Whether it is a whole number of Python's or numpy's of at least this size, and no bool.

    Example:
        >>> is_int(np.int64(2), 1), is_int(True, 0), is_int(2.0, 1)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _spelled_problems(owner: Any) -> list[str]:
    """Return what is wrong with the parameters that are words or have a short spelling."""
    reads: dict[str, Callable[[Any], object]] = {
        "likelihood": lambda value: value == AUTO or LikelihoodSpec.of(value),
        "prior": PriorSpec.of,
        "target": Target.of,
        "objective": lambda value: TrainConfig(objective=value),
    }
    problems = []
    for name, read in reads.items():
        try:
            read(getattr(owner, name))
        except ConfigError as error:
            problems += [f"{_the(name, owner)} is wrong: {problem}" for problem in error.problems]
    if owner.estimator is not None and not isinstance(owner.estimator, str):
        problems.append(
            f"{_the('estimator', owner)} must be a str or None. Got {owner.estimator!r} instead."
        )
    return problems


def _the(name: str, owner: object) -> str:
    return f"The {name!r} parameter of {type(owner).__name__}"


def _are_widths(value: object) -> bool:
    return isinstance(value, (tuple, list)) and all(is_int(width, 1) for width in value)


def _is_positive(value: object) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    return is_number and 0 < float(value) < math.inf  # type: ignore[arg-type]


def _is_flag(value: object) -> bool:
    return isinstance(value, bool) or is_int(value, 0)


__all__ = ["AUTO", "is_int", "require", "seed_from"]
