"""Kinds of the columns of a table, in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from discretevae.config.checks import an_int, one_of, problems_of, refuse
from discretevae.errors import ConfigError, did_you_mean

ColumnKind = Literal[
    "real", "heavy-tailed", "positive", "bounded", "boolean", "categorical", "count"
]
COLUMN_KINDS: tuple[ColumnKind, ...] = get_args(ColumnKind)

MAX_LEVELS = 10_000
MAX_REPEATS = 100_000


@dataclass(frozen=True)
class ColumnSpec:
    """One column of a table in words.

    | kind | x | p(x given z) |
    |---|---|---|
    | ``real`` | standardized | normal, σ learned |
    | ``heavy-tailed`` | standardized | Student's t, σ and degrees of freedom learned |
    | ``positive`` | the logarithm, standardized | normal, σ learned |
    | ``bounded`` | 0 to 1 between two ends | normal cut off at both ends, σ learned |
    | ``boolean`` | 0 or 1 | Bernoulli |
    | ``categorical:5`` | number of the level | categorical; the last level is for unseen ones |
    | ``count`` | 0, 1, 2, … | negative binomial, spread learned |

    Args:
        kind: a name of the table.
        n_levels: of a categorical column, with the one for unseen levels; else 1.

    Raises:
        ConfigError: another kind, or levels of a column that has none.

    Example:
        >>> str(ColumnSpec("categorical", 5)), ColumnSpec.of("real")
        ('categorical:5', ColumnSpec(kind='real', n_levels=1))
    """

    kind: ColumnKind = field(metadata=one_of(COLUMN_KINDS))
    n_levels: int = field(default=1, metadata=an_int(1, MAX_LEVELS + 1))

    def __post_init__(self) -> None:
        problems = problems_of(self)
        if not problems and (self.kind == "categorical") != (self.n_levels > 1):
            problems.append(f"a {self.kind} column does not have {self.n_levels} levels.")
        refuse(problems)

    @classmethod
    def of(cls, text: str) -> ColumnSpec:
        """Return the column that a spelling stands for (`ConfigError` for another one)."""
        name, _, levels = text.partition(":")
        if name not in COLUMN_KINDS:
            raise ConfigError(
                f"column kind {name!r} is unknown. {did_you_mean(name, COLUMN_KINDS)}"
            )
        if not levels:
            return cls(name)
        return cls(name, int(levels) if levels.isdecimal() and len(levels) < 9 else 0)

    def __str__(self) -> str:
        return self.kind if self.n_levels == 1 else f"{self.kind}:{self.n_levels}"


def columns_of(spelled: Iterable[str]) -> tuple[ColumnSpec, ...]:
    """Return the columns of spellings; one with ``*3`` behind it stands for three.

    Example:
        >>> [str(column) for column in columns_of(["real*2", "categorical:3"])]
        ['real', 'real', 'categorical:3']
    """
    found: list[ColumnSpec] = []
    for text in spelled:
        name, star, times = text.strip().partition("*")
        is_number = times.isdecimal() and 0 < int(times[:9]) <= MAX_REPEATS
        if star and not is_number:
            raise ConfigError(f"{text!r} must end in the number of columns, such as real*3.")
        found += [ColumnSpec.of(name)] * (int(times) if star else 1)
    return tuple(found)


def spelled_columns(columns: Iterable[ColumnSpec]) -> list[str]:
    """Return the spellings of columns, as `columns_of` reads them."""
    parts = []
    for text, group in itertools.groupby(map(str, columns)):
        n = len(list(group))
        parts.append(text if n == 1 else f"{text}*{n}")
    return parts
