"""The latent code in words."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from discretevae.config.checks import an_int, are_ints, one_of, problems_of, refuse, rule
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

    ``bernoulli:9@8x8`` is a grid, 9 bits at each of 8×8 places: 576 variables, those of a place
    side by side, the places row by row. A family knows no places: it is that of ``bernoulli:576``.

    A code must be able to say something, so ``categorical:1`` is refused as a slip. A single state
    has its use where clusters are counted, as the model of one cluster; its spelling is
    ``categorical:1x1``.

    Args:
        kind: ``bernoulli``, ``categorical``, ``gaussian``, or ``product`` of several parts.
        n_variables: D, the number of latent variables, those of all parts or places together.
        n_categories: K, the categories of each variable; 0 unless categorical.
        parts: of a product, in their order; else ().
        grid: (height, width) in places, or None of a flat code.

    Raises:
        ConfigError: a size is out of range, several parts are Gaussian, or a part is a grid.

    Example:
        >>> LatentSpec.of("categorical:20x10")
        LatentSpec(kind='categorical', n_variables=20, n_categories=10, parts=(), grid=None)
        >>> [str(part) for part in LatentSpec.of("categorical:10+gaussian:16").parts]
        ['categorical:10', 'gaussian:16']
        >>> grid = LatentSpec.of("categorical:3x512@8x8")
        >>> grid.n_variables, grid.grid, str(grid)
        (192, (8, 8), 'categorical:3x512@8x8')
    """

    option = "latent"
    form = (
        "bernoulli:50, categorical:100, categorical:20x10, gaussian:16, several joined by +, or a "
        "grid such as bernoulli:9@8x8"
    )
    separator = "x"

    kind: LatentKind = field(metadata=one_of(get_args(LatentKind)))
    n_variables: int = field(metadata=an_int(1))
    n_categories: int = 0
    parts: tuple[LatentSpec, ...] = ()
    grid: tuple[int, int] | None = field(
        default=None, metadata=rule("two ints >= 1", lambda value: are_ints(value, 1, 2))
    )

    def __post_init__(self) -> None:
        problems = problems_of(self)
        n_gaussian = sum(part.kind == "gaussian" for part in self.parts)
        if self.kind == "categorical" and self.n_categories < (1 if self.n_variables == 1 else 2):
            problems.append(_too_few_categories(self.n_categories))
        if not problems and self.grid and (self.parts or self.n_variables % math.prod(self.grid)):
            problems.append(
                f"grid {self.grid} must have as many variables at each place. "
                f"Got {self.n_variables}."
            )
        if any(part.grid for part in self.parts):
            problems.append("no part of several can be a grid. Leave the other parts out.")
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
    def n_places(self) -> int:
        """Places of a grid; of a flat code 1."""
        return math.prod(self.grid or ())

    @property
    def variables_per_place(self) -> int:
        """Variables at each place of a grid; of a flat code all of them."""
        return self.n_variables // self.n_places

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
        parts = [cls._read_part(part) for part in text.split("+")]
        try:
            return parts[0] if len(parts) == 1 else cls.product(*parts)
        except ConfigError as error:
            raise cls.refusal(text, error) from None

    @classmethod
    def _read_part(cls, text: str) -> LatentSpec:
        of_place, at, places = text.partition("@")
        spec: LatentSpec = super().read(of_place)
        if not at:
            return spec
        sides = re.fullmatch("([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", places.strip())
        try:
            if sides is None:
                raise ConfigError(f"a grid must be HEIGHTxWIDTH. Got {places!r}.")
            grid = int(sides[1]), int(sides[2])
            return replace(spec, n_variables=spec.n_variables * math.prod(grid), grid=grid)
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
        of_place = self.variables_per_place
        sizes = [] if of_place == 1 and self.n_categories > 1 else [of_place]
        sizes += [self.n_categories] if self.n_categories else []
        places = "@{}x{}".format(*self.grid) if self.grid else ""
        return spell(self.kind, *sizes, separator=self.separator) + places


def _too_few_categories(count: int) -> str:
    return f"there must be at least 2 categories, or the code can say nothing. Got {count}."
