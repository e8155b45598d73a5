"""Rules for the fields of a dataclass, written beside them as their metadata.

``lr: float = field(default=1e-3, metadata=POSITIVE)`` is a number above 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from numbers import Real
from typing import Any, Generic, Protocol, TypeGuard, TypeVar

from discretevae.errors import ConfigError, did_you_mean

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Problems:
    """Collect the problems that several checks find, so that all are named at once.

    Example:
        >>> problems = Problems()
        >>> for name in ("lr", "epochs"):
        ...     with problems:
        ...         raise ConfigError(must(name, "> 0", 0))
        >>> problems.require_none()
        Traceback (most recent call last):
        ...
        discretevae.errors.ConfigError: `lr` must be > 0. Got 0.; `epochs` must be > 0. Got 0.
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def __enter__(self) -> None:
        """Begin a check."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Keep what a `ConfigError` says; other errors pass."""
        if not isinstance(error, ConfigError):
            return False
        self.found += [problem for problem in error.problems if problem not in self.found]
        return True

    def require_none(self) -> None:
        """Raise a `ConfigError` with all that was found, if anything was."""
        if self.found:
            raise ConfigError(self.found)


Rule = Mapping[str, Callable[[str, Any], str]]
"""Metadata with a function from a field's name and value to what is wrong, or to nothing."""


def must(name: str, words: str, got: object) -> str:
    """Return the sentence on a parameter out of its range.

    The command line turns names in backquotes into its options.
    """
    return f"`{name}` must be {words}. Got {got!r}."


def rule(words: str, holds: Callable[[Any], bool]) -> Rule:
    """Return the rule that ``holds`` checks: a value must be what ``words`` say."""
    return {"rule": lambda name, got: "" if holds(got) else f"{name} must be {words}. Got {got!r}."}


def an_int(least: int, most: int | None = None) -> Rule:
    """Return the rule for a whole number in a range, both ends included."""
    words = f"an int >= {least}" if most is None else f"an int from {least} to {most:,}"
    return rule(words, lambda value: is_int(value, least) and (most is None or value <= most))


def a_number(least: float, most: float) -> Rule:
    """Return the rule for a number in a range, both ends included."""
    words = f"a number from {least:g} to {most:g}"
    return rule(words, lambda value: is_number(value) and least <= value <= most)


def one_of(words: Collection[str]) -> Rule:
    """Return the rule for one of several words."""
    return {
        "rule": lambda name, got: (
            "" if got in words else f"{name} {got!r} is unknown. {did_you_mean(str(got), words)}"
        )
    }


def is_int(value: object, least: int) -> bool:
    """Return whether a value is a whole number of at least this size; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def are_ints(value: object, least: int, *counts: int) -> TypeGuard[tuple[int, ...]]:
    """Return whether a value is a tuple of such numbers, as many as one of the counts says."""
    is_right = isinstance(value, tuple) and all(is_int(one, least) for one in value)
    return is_right and (not counts or len(value) in counts)  # type: ignore[arg-type]


def is_number(value: object) -> bool:
    """Return whether a value is a finite number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


FINITE = rule("a finite number", is_number)
POSITIVE = rule("> 0", lambda value: is_number(value) and value > 0)
NOT_NEGATIVE = rule(">= 0", lambda value: is_number(value) and value >= 0)
FRACTION = rule("> 0 and < 1", lambda value: is_number(value) and 0 < value < 1)
SHARE = rule(">= 0 and < 1", lambda value: is_number(value) and 0 <= value < 1)
FLAG = rule("true or false", lambda value: isinstance(value, bool))


class Described(Protocol[T_co]):
    """An object with a spec, such as ``Bernoulli(50)``."""

    @property
    def spec(self) -> T_co: ...  # noqa: D102


class Option(Generic[T]):
    """A field of a configuration that holds a spec and takes a spelling or an object as well.

    The configuration's own check turns what was given into the spec: see `problems_of`.
    """

    def __init__(self, read: Callable[[Any], T], default: T) -> None:
        self.read, self.default = read, default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, config: object | None, owner: type | None = None) -> T:
        # dataclasses ask the class for the default
        value: T = self.default if config is None else vars(config)[self.name]
        return value

    def __set__(self, config: object, value: str | T | Described[T]) -> None:
        vars(config)[self.name] = value


def read(owner: type, name: str, value: Any) -> Any:
    """Return what a field of a dataclass holds when this value is given for it (`ConfigError`)."""
    option = vars(owner).get(name)
    return option.read(value) if isinstance(option, Option) and value is not None else value


def problems_of(owner: Any, quote: str = "") -> list[str]:
    """Read the spelled options of a dataclass, and return what is wrong with its fields.

    None is right where the annotation says so. ``quote`` stands around the names of fields, a
    backquote around those that the command line has too, see `must`.
    """
    problems = []
    for field in fields(owner):
        value = vars(owner)[field.name]
        if value is None and "None" in str(field.type):
            continue
        if isinstance(vars(type(owner)).get(field.name), Option):
            try:
                vars(owner)[field.name] = read(type(owner), field.name, value)
            except ConfigError as error:
                problems += error.problems
        elif "rule" in field.metadata:
            problems += filter(None, [field.metadata["rule"](f"{quote}{field.name}{quote}", value)])
    return problems


def refuse(problems: list[str]) -> None:
    """Raise a `ConfigError` that names all problems, if there are any."""
    if problems:
        raise ConfigError(problems)
