"""How options are checked, and how a problem with one is put."""

from __future__ import annotations

from collections.abc import Callable

from discretevae.errors import ConfigError, did_you_mean


def problems_of(parse: Callable[[str], object], text: str) -> list[str]:
    """What a parser says is wrong with a text."""
    try:
        parse(text)
    except ConfigError as error:
        return error.problems
    return []


def is_int(value: object, least: int) -> bool:
    """Whether the value is a whole number of at least this size; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def must(name: str, what: str, got: object) -> str:
    """The sentence on a value out of its range."""
    return f"`{name}` must be {what}. Got {got}."


def choice(name: str, got: str, choices: tuple[str, ...]) -> list[str]:
    """The sentence on a value that is none of the choices; none if it is."""
    if got in choices:
        return []
    return [f"`{name}` {got!r} is unknown. {did_you_mean(str(got), choices)}"]


__all__ = ["choice", "is_int", "must", "problems_of"]
