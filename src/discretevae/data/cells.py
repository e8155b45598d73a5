"""Values of a column: which are missing, which kind they are of, and their levels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from discretevae.config import ColumnKind
from discretevae.config.columns import MAX_LEVELS
from discretevae.data.readers.dialect import BOOLEANS, is_decimal_comma, is_thousands
from discretevae.data.stores.values import Array
from discretevae.errors import DataError

FEW_NUMBERS = 10
"""Whole numbers that do not begin at 0 and have at most so many values are levels, not amounts."""

MOST_COUNT = 10_000
"""Whole numbers beyond are amounts, not counts."""

TAILS = 3.0
"""Excess kurtosis above which a normal distribution is far from a column's."""

MOST_MIXED = 0.5
"""Share of a column's cells that may be numbers while others are texts."""

DECIMALS = 6
"""The most decimals of a column whose restored values are rounded to them."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")

_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}([T ].*)?")


def kind_of_values(values: Array, what: str) -> ColumnKind:
    """Return the kind of a column, by the values that are there.

    | values | kind |
    |---|---|
    | texts | ``categorical``; of true and false, or yes and no, ``boolean`` |
    | 0 and 1 | ``boolean`` |
    | whole numbers from 0 to at most 10,000 | ``count`` |
    | whole numbers of at most 10 values | ``categorical`` |
    | numbers from 0 to 1 that fill more than half of it | ``bounded`` |
    | numbers above 0 that are skewed, their logarithms less | ``positive`` |
    | others with an excess kurtosis above 3 | ``heavy-tailed`` |
    | others | ``real`` |

    Raises:
        DataError: no values, dates, or numbers among texts.
    """
    values = present(values)
    if not len(values):
        raise DataError(f"{what} has no values at all. Leave it out by `ignore`.")
    if values.dtype == object:
        texts = [str(value) for value in values]
        if all(_DATE.fullmatch(text) for text in texts):
            raise DataError(
                f"{what} holds dates, such as {texts[0]!r}. Write them as numbers, such as days "
                "since the first, or leave the column out by `ignore`."
            )
        _require_readable(texts, what)
        numbers = [_number(text) is not None for text in texts]
        if MOST_MIXED <= np.mean(numbers) < 1:
            other = texts[numbers.index(False)]
            raise DataError(
                f"{what} holds numbers, and texts such as {other!r}. Correct these cells, empty "
                "them, or pass `kind` to say that it is categorical."
            )
        is_boolean = {text.casefold() for text in texts} in BOOLEANS and len(set(texts)) == 2
        return "boolean" if is_boolean else "categorical"
    if values.dtype == np.bool_:
        return "boolean"
    x = values.astype(np.float64)
    low, high = x.min(), x.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return "real"  # which refuses them
    if (x == np.rint(x)).all() and low < high:
        few = np.unique(values[: 100 * FEW_NUMBERS])
        if low == 0 and high <= MOST_COUNT:
            return "boolean" if high == 1 else "count"
        if len(few) <= FEW_NUMBERS and len(np.unique(values)) <= FEW_NUMBERS:
            return "categorical"
    elif low >= 0 and high <= 1 and high - low > 0.5:
        return "bounded"
    if low == high:
        return "real"
    if low > 0 and _moment(x, 3) > 1 and abs(_moment(np.log(x), 3)) < _moment(x, 3):
        return "positive"
    return "heavy-tailed" if _moment(x, 4) > 3 + TAILS else "real"


def _moment(x: Array, power: int) -> float:
    """Return the mean of a power of the standardized values: skewness, or kurtosis."""
    with np.errstate(all="ignore"):  # what overflows is refused when it is scaled
        return float((((x - x.mean()) / (x.std() or 1.0)) ** power).mean())


def is_hole(value: object) -> bool:
    """Return whether a cell of a column of texts is empty, or says so."""
    return value is None or str(value).strip().casefold() in ("", "na", "nan", "n/a", "null")


def _require_readable(texts: Sequence[str], what: str) -> None:
    """Refuse numbers and booleans that are written in another way, and no texts (`DataError`)."""
    for text in texts:
        if _CONTROL.search(text):
            raise DataError(
                f"{what} holds {text[:40]!r}, which is no text. Save it as a plain table."
            )
        if is_thousands(text) or is_decimal_comma(text):
            how = "without marks between thousands" if is_thousands(text) else "with a point"
            raise DataError(f"{what} holds numbers such as {text!r}. Write them {how}.")
    lower = {text.casefold(): text for text in texts}
    for words in BOOLEANS:
        if lower.keys() & words and lower.keys() - words:
            word = lower[min(lower.keys() & words)]
            other = lower[min(lower.keys() - words)]
            raise DataError(
                f"{what} holds booleans such as {word!r}, and {other!r}. Write all of a column as "
                "numbers, or all as booleans of one kind."
            )


def are_holes(values: Array) -> Array:
    """Return which values of a column ``[N]`` are missing."""
    if values.dtype == object:
        return np.array([is_hole(value) for value in values], np.bool_)
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    return np.zeros(len(values), np.bool_)


def present(values: Array) -> Array:
    """Return the values of a column that are there."""
    there: Array = values[~are_holes(values)]
    return there


def levels_of(values: Array, kind: ColumnKind, what: str) -> tuple[str, ...]:
    """Return the levels of a column as texts, in order."""
    texts = set(as_texts(values))
    if kind == "boolean":
        if len(texts) > 2:
            raise DataError(f"{what} has {len(texts):,} different values, and is no boolean.")
        if len(texts) < 2:
            texts |= {"0", "1"} if texts <= {"0", "1"} else {"False", "True"}
        if len(texts) != 2:
            raise DataError(f"{what} has one value only. Leave it out by `ignore`.")
    most = min(MAX_LEVELS, max(2 * FEW_NUMBERS, len(values) // 2))
    if len(texts) > most or len(texts) == len(values) > 2:
        raise DataError(
            f"{what} has {len(texts):,} different texts in {len(values):,} rows, too many for "
            f"levels. Leave it out by `ignore`, name the rows by it "
            "with `row_id`, or count its words with `text`."
        )

    def place(text: str) -> tuple[float, str]:
        number = _number(text)
        return math.inf if number is None else number, text

    return tuple(sorted(texts, key=place))


def as_texts(values: Array) -> list[str]:
    """Return values as texts; whole numbers without decimals."""
    if values.dtype.kind == "f" and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    return [str(value).strip() for value in values.tolist()]


def decimals_of(numbers: Array) -> int | None:
    """Return the least number of decimals that all numbers are written with, up to `DECIMALS`."""
    fitting = (d for d in range(DECIMALS + 1)
               if np.allclose(np.round(numbers, d), numbers, rtol=1e-12, atol=0))  # fmt: skip
    return next(fitting, None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def typed(level: str) -> Any:
    """Return a level as it came: whole numbers and booleans are not texts."""
    if level in ("True", "False"):
        return level == "True"
    return int(level) if re.fullmatch(r"-?(0|[1-9]\d{0,17})", level) else level
