"""Short spellings of options: ``NAME:ARGUMENTS`` stands for a call of the constructor of that name.

    linear:0.4             Schedule.linear(0.4)
    neighbors:5x50         NeighborTarget(5, 50)
    shift=2,rotate=10      Augment(shift=2, rotate=10)
    rloo:samples=4         RLOO(samples=4)

What may stand behind the colon follows from the constructor's parameters and their types; ranges
are checked by the object that is made.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from discretevae.config.checks import Described, problems_of, refuse
from discretevae.errors import ConfigError, did_you_mean


class Spec:
    """Base of the options that have a short spelling: `of` reads it, ``str`` writes it.

    ``option`` is the parameter that takes the spec, ``form`` shows its spelling in messages, and
    ``separator`` stands between arguments without a name.
    """

    option: ClassVar[str]
    form: ClassVar[str]
    separator: ClassVar[str] = ","

    def __post_init__(self) -> None:
        refuse(problems_of(self))

    @classmethod
    def constructors(cls) -> Mapping[str, Any]:
        """Return, for every name, a spec or a function that makes one from the arguments."""
        raise NotImplementedError

    @classmethod
    def split(cls, text: str) -> tuple[str, str | None]:
        """Return the name in a spelling, and its arguments or None."""
        name, colon, arguments = text.partition(":")
        return name, arguments if colon else None

    @classmethod
    def of(cls, value: str | Self | Described[Self]) -> Self:
        """Return the spec that a spelling or an object stands for; a spec is returned as it is.

        Raises:
            ConfigError: the value is none of these, cannot be read, or is out of range.
        """
        spec = getattr(value, "spec", value)
        if isinstance(spec, str):
            spec = cls.read(spec)
        if not isinstance(spec, cls):
            raise ConfigError(
                f"`{cls.option}` must be a {cls.__name__} or its spelling, such as {cls.form}. "
                f"Got {value!r}."
            )
        return spec

    @classmethod
    def read(cls, text: str) -> Any:
        """Return what the constructor that a spelling names makes of its arguments."""
        text, known = text.strip(), cls.constructors()
        name, arguments = (text, None) if text in known else cls.split(text)
        if name not in known:
            raise ConfigError(f"`{cls.option}` {name!r} is unknown. {did_you_mean(name, known)}")
        made = known[name]
        try:
            return cls._call(made if callable(made) else lambda: made, arguments)
        except ConfigError as error:
            raise cls.refusal(text, error) from None

    @classmethod
    def refusal(cls, text: str, error: ConfigError) -> ConfigError:
        """Return what is wrong with a spelling, and examples of a right one."""
        return ConfigError(f"`{cls.option}` {text!r}: {error} Write it like {cls.form}.")

    @classmethod
    def _call(cls, make: Callable[..., Any], arguments: str | None) -> Any:
        signature = inspect.signature(make, eval_str=True)
        # what may be one of several types, such as a tensor or a function, has no spelling
        takes = {
            name: parameter
            for name, parameter in signature.parameters.items()
            if not isinstance(parameter.annotation, types.UnionType)
        }
        in_order = [p for p in takes.values() if p.kind is not p.KEYWORD_ONLY]
        values: list[object] = []
        named: dict[str, object] = {}
        separator = "," if "=" in (arguments or "") else cls.separator
        for part in () if arguments is None else arguments.split(separator):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if equals and name in takes:
                named[name] = _value(takes[name], value)
            elif in_order and not equals:
                # the last one may take any number of values
                values.append(_value(in_order[min(len(values), len(in_order) - 1)], name))
            else:
                guess = did_you_mean(name, takes) if takes else ""
                raise ConfigError(f"{part!r} is unknown. {guess}".rstrip())
        try:
            bound = signature.bind(*values, **named)
        except TypeError as error:
            raise ConfigError(f"{error}.") from None
        return make(*bound.args, **bound.kwargs)


def _value(parameter: inspect.Parameter, text: str) -> object:
    kind = parameter.annotation
    if kind is parameter.empty:  # of a class of one's own: its default tells
        kind = type(parameter.default)
    if kind is int:
        if re.fullmatch("[+-]?[0-9]{1,18}", text):
            return int(text)
        raise ConfigError(f"{parameter.name} must be an int. Got {text!r}.")
    if kind is float:
        # float() also reads 1_0 and the digits of other scripts
        with contextlib.suppress(ValueError):
            if text.isascii() and "_" not in text:
                return float(text)
        raise ConfigError(f"{parameter.name} must be a number. Got {text!r}.")
    return text


def spell(name: str, *arguments: object, separator: str = ",") -> str:
    """Return the spelling of a name and its arguments.

    Example:
        >>> spell("linear", 0.4), spell("fixed"), spell("neighbors", 5, 50, separator="x")
        ('linear:0.4', 'fixed', 'neighbors:5x50')
    """
    return f"{name}:{separator.join(map(short, arguments))}" if arguments else name


def short(value: object) -> str:
    """Return a value as short as it can be read back.

    Example:
        >>> short(1_000_000), short(2.0), short(0.1 + 0.2), short("learned")
        ('1000000', '2', '0.30000000000000004', 'learned')
    """
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if not isinstance(value, float) or float(text) == value else repr(value)
