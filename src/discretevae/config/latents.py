"""The latent code in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from discretevae.config.checks import an_int, one_of, problems_of, refuse
from discretevae.config.spelling import Spec, spell
from discretevae.errors import ConfigError

LatentKind = Literal["bernoulli", "categorical", "gaussian", "product"]

MAX_UNITS = 1_000_000
"""Of a code, counting the categories of each variable: a larger one is a slip of the pen."""


@dataclass(frozen=True)
class LatentSpec(Spec):
    """The latent code in words: its kind, its number of variables, its categories, its parts.

    ``bernoulli:50`` is 50 bits, ``categorical:100`` one variable of 100 categories,
    ``categorical:20x10`` 20 variables of 10 categories each, ``gaussian:16`` 16 real numbers, and
    ``categorical:10+gaussian:16`` one category beside 16 real numbers. Families have the same
    words: ``Bernoulli(50).spec``.

    A code must be able to say something, so ``categorical:1`` is refused as a slip. A single state
    has its use where clusters are counted, as the model of one cluster; its spelling is
    ``categorical:1x1``.

    Args:
        kind: ``bernoulli``, ``categorical``, ``gaussian``, or ``product`` of several parts.
        n_variables: D, the number of latent variables, those of all parts together.
        n_categories: K, the categories of each variable; 0 unless categorical.
        parts: of a product, in their order; else ().

    Raises:
        ConfigError: a size is out of range, or several parts are Gaussian.

    Example:
        >>> LatentSpec.of("categorical:20x10")
        LatentSpec(kind='categorical', n_variables=20, n_categories=10, parts=())
        >>> [str(part) for part in LatentSpec.of("categorical:10+gaussian:16").parts]
        ['categorical:10', 'gaussian:16']
    """

    option = "latent"
    form = "bernoulli:50, categorical:100, categorical:20x10, gaussian:16 or several joined by +"
    separator = "x"

    kind: LatentKind = field(metadata=one_of(get_args(LatentKind)))
    n_variables: int = field(metadata=an_int(1))
    n_categories: int = 0
    parts: tuple[LatentSpec, ...] = ()

    def __post_init__(self) -> None:
        problems = problems_of(self)
        n_gaussian = sum(part.kind == "gaussian" for part in self.parts)
        if self.kind == "categorical" and self.n_categories < (1 if self.n_variables == 1 else 2):
            problems.append(_too_few_categories(self.n_categories))
        if any(part.n_states == 1 for part in self.parts):
            problems.append(_too_few_categories(1))
        if n_gaussian > 1:
            problems.append(f"{n_gaussian} Gaussian parts are one. Add up their variables.")
        if not problems and self.n_units > MAX_UNITS:
            problems.append(f"the code has more than {MAX_UNITS:,} units. Ask for less.")
        refuse(problems)

    @property
    def all_parts(self) -> tuple[LatentSpec, ...]:
        """The parts of a product; of any other code, itself alone."""
        return self.parts or (self,)

    @property
    def n_states(self) -> int | None:
        """The number of states of a discrete code; None where a part is Gaussian.

        Example:
            >>> LatentSpec.of("bernoulli:3+categorical:2x5").n_states
            200
        """
        if any(part.kind == "gaussian" for part in self.all_parts):
            return None
        states: int = math.prod((p.n_categories or 2) ** p.n_variables for p in self.all_parts)
        return states

    @property
    def n_units(self) -> int:
        """Variables, each counted as often as it has categories."""
        return sum(part.n_variables * max(part.n_categories, 1) for part in self.all_parts)

    @classmethod
    def product(cls, *parts: LatentSpec) -> LatentSpec:
        """Return the code of several parts."""
        return cls("product", sum(part.n_variables for part in parts), parts=parts)

    @classmethod
    def read(cls, text: str) -> LatentSpec:
        """Return the code that a spelling stands for, whose parts are joined by +."""
        parts = [super(LatentSpec, cls).read(part) for part in text.split("+")]
        try:
            return parts[0] if len(parts) == 1 else cls.product(*parts)
        except ConfigError as error:
            raise cls.refusal(text, error) from None

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return what makes the code of each kind from its sizes."""

        def bernoulli(n_variables: int) -> LatentSpec:
            return cls("bernoulli", n_variables)

        def gaussian(n_variables: int) -> LatentSpec:
            return cls("gaussian", n_variables)

        def categorical(*sizes: int) -> LatentSpec:
            if len(sizes) not in (1, 2):
                raise ConfigError(f"it has one or two sizes. Got {len(sizes)}.")
            if sizes == (1,):
                raise ConfigError(_too_few_categories(1))
            return cls("categorical", 1 if len(sizes) == 1 else sizes[0], sizes[-1])

        return {"bernoulli": bernoulli, "categorical": categorical, "gaussian": gaussian}

    def __str__(self) -> str:
        if self.parts:
            return "+".join(map(str, self.parts))
        is_short = self.n_variables == 1 and self.n_categories > 1
        sizes = [] if is_short else [self.n_variables]
        sizes += [self.n_categories] if self.n_categories else []
        return spell(self.kind, *sizes, separator=self.separator)


def _too_few_categories(count: int) -> str:
    return f"there must be at least 2 categories, or the code can say nothing. Got {count}."
