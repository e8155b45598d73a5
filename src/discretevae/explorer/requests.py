"""Fields of requests: sizes, types, finite numbers. Whatever else comes is a `ConfigError`.

Bodies and queries come from a browser that shows any page, so nothing in them is trusted. Every
number has bounds, and a field that is not known is refused.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from discretevae.errors import ConfigError, did_you_mean
from discretevae.explorer.pictures import Canvas
from discretevae.explorer.variables import Number, Variable

MAX_ROWS = 200
"""Rows in one answer."""

MAX_CODES = 256
"""Codes in one request."""

MAX_SAMPLES = 100
TEMPERATURES = (0.05, 3.0)

MAX_REAL = 1000.0
"""Of a real variable; a standard normal is within 6 of 0 nearly always."""

_WHOLE = re.compile(r"-?[0-9]{1,15}")


class Fields:
    """The fields of one request, read one by one; of another name than those known none is taken.

    Of a query all values are texts. What does not fit is a `ConfigError`.
    """

    def __init__(
        self, values: Mapping[str, Any], known: Iterable[str], *, is_text: bool = False
    ) -> None:
        self.values, self._is_text, known = values, is_text, list(known)
        for name in values:
            if name not in known:
                choices = did_you_mean(name[:40], known) if known else "Send none."
                raise ConfigError(f"field {shown(name)} is not known. {choices}")

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number from ``low`` to ``high``."""
        value = self._of(name, default)
        if self._is_text and isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        return int(checked_number(value, name, low, high, whole=True))

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """Return a number from ``low`` to ``high``; errors as for `whole`."""
        return checked_number(self._of(name, default), name, low, high)

    def text(self, name: str) -> str | None:
        """Return a text of a query; None where there is none."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def code(self, name: str, variables: Sequence[Variable]) -> list[Number]:
        """Return a code, see `checked_code`."""
        return checked_code(self._of(name), name, variables)

    def codes(self, name: str, variables: Sequence[Variable]) -> list[list[Number]]:
        """Return 1 to `MAX_CODES` codes, see `checked_code`."""
        value = self._of(name)
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_CODES:
            raise ConfigError(
                f"{name} must be a list of 1 to {MAX_CODES} codes. Got {shown(value)}."
            )
        return [checked_code(code, f"{name}[{i}]", variables) for i, code in enumerate(value)]

    def row_values(self, name: str, canvas: Canvas, *, in_range: bool) -> Tensor:
        """Return the values of a row, float32 ``[1, P]``; in the canvas' range if ``in_range``."""
        value = self._of(name)
        if not isinstance(value, list) or len(value) != canvas.n_values:
            raise ConfigError(
                f"{name} must be a list of {canvas.n_values} numbers. Got {shown(value)}."
            )
        limit = float(torch.finfo(torch.float32).max)
        low, high = (canvas.low, canvas.high) if in_range else (-limit, limit)
        for index, each in enumerate(value):
            checked_number(each, f"{name}[{index}]", low, high)
        return torch.tensor([value], dtype=torch.float64).float()

    def pixels(self, name: str, canvas: Canvas) -> Tensor:
        """Return the values of a row that was sent as bytes in base64, float32 ``[1, P]``."""
        value = self._of(name)
        if canvas.shape is None:
            raise ConfigError(f"{name} are of pictures, and these rows are none. Send values.")
        pixels = None
        if isinstance(value, str):
            with contextlib.suppress(ValueError):  # no base64
                pixels = base64.b64decode(value, validate=True)
        if pixels is None or len(pixels) != canvas.n_values:
            got = shown(value) if pixels is None else f"{len(pixels)} bytes"
            raise ConfigError(f"{name} must be base64 of {canvas.n_values} bytes. Got {got}.")
        return canvas.from_pixels(pixels)

    def one_of(self, *names: str) -> str:
        """Return the one of these fields that there is."""
        found = [name for name in names if name in self.values]
        if len(found) != 1:
            got = " and ".join(found) or "none"
            raise ConfigError(f"send one of {', '.join(names)}. Got {got}.")
        return found[0]

    def _of(self, name: str, default: Any = None) -> Any:
        value = self.values.get(name, default)
        if value is None:
            raise ConfigError(f"{name} is missing. Send it.")
        return value


def parse_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object (`ConfigError`)."""
    try:
        value = json.loads(body, parse_constant=_refuse)
    except RecursionError:
        raise ConfigError("the body is nested too deeply. Send a flat JSON object.") from None
    except ValueError as error:  # of syntax, of text that is not UTF-8, of endless digits
        reason = shown(str(error).split(":")[0], 80).strip("'\"")
        raise ConfigError(f"the body is no JSON ({reason}). Send a JSON object.") from None
    if not isinstance(value, dict):
        raise ConfigError(f"the body must be a JSON object. Got {shown(value)}.")
    return value


def checked_number(value: Any, name: str, low: float, high: float, *, whole: bool = False) -> float:
    """Return a value that must be a number from ``low`` to ``high``; JSON's true is none."""
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not low <= value <= high:  # NaN is not within, either
        kind, ends = ("an int", (low, high)) if whole else ("a number", (f"{low:g}", f"{high:g}"))
        raise ConfigError(f"{name} must be {kind} from {ends[0]} to {ends[1]}. Got {shown(value)}.")
    return value if whole else float(value)


def checked_code(value: Any, name: str, variables: Sequence[Variable]) -> list[Number]:
    """Return a code: one number for each variable."""
    if not isinstance(value, list) or len(value) != len(variables):
        raise ConfigError(f"{name} must be a list of {len(variables)} numbers. Got {shown(value)}.")
    found: list[Number] = []
    for variable, each in zip(variables, value, strict=True):
        where, n = f"{name}[{variable.index}]", variable.n_categories
        if n is None:
            found.append(checked_number(each, where, -MAX_REAL, MAX_REAL))
        else:
            found.append(checked_number(each, where, 0, n - 1, whole=True))
    return found


def shown(value: Any, most: int = 40) -> str:
    """Return a value for an error message: short, on one line, and of a list only its length."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if value is None:
        return "null"
    if isinstance(value, str):
        value = value[: most + 1]
    text = " ".join(ascii(value).split())
    return text if len(text) <= most else f"{text[:most]}…"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
