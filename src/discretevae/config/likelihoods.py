"""The likelihood p(x|z) in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from discretevae.config.checks import a_number, an_int, one_of
from discretevae.config.columns import ColumnSpec, columns_of, spelled_columns
from discretevae.config.spelling import Spec, spell

LikelihoodKind = Literal[
    "bernoulli", "continuous-bernoulli", "gaussian", "beta-binomial", "logistic", "color-logistic",
    "multinomial", "poisson", "negative-binomial", "student", "mixed",
]  # fmt: skip

OF_COUNTS: tuple[LikelihoodKind, ...] = ("multinomial", "poisson", "negative-binomial")

MAX_COMPONENTS = 100
SCALES = (1e-6, 1e6)
"""The least and the largest σ: beyond them the data are better rescaled."""


@dataclass(frozen=True)
class LikelihoodSpec(Spec):
    """The likelihood in words: its kind, and the option of the kinds that have one.

    | spelling | p(x given z) |
    |---|---|
    | ``bernoulli`` | Bernoulli; a surrogate for grey values |
    | ``continuous-bernoulli`` | a density on [0, 1] |
    | ``gaussian``, ``gaussian:0.1``, ``gaussian:learned`` | N(x̂, σ²), σ = 1, given, or learned |
    | ``student`` | Student's t with σ from the code: heavy tails, for tables |
    | ``beta-binomial`` | a probability of 8-bit values |
    | ``logistic``, ``logistic:5`` | the same, of one or several logistic components |
    | ``color-logistic:5`` | the same, of the colors of a pixel together |
    | ``multinomial`` | of counts: a softmax over words, the length of a row being given |
    | ``poisson`` | of counts: each column with a rate of its own |
    | ``negative-binomial`` | the same with a learned spread of each column |
    | ``mixed``, ``mixed:real*2,categorical:5`` | each column by its kind, a `ColumnSpec` |

    Args:
        kind: a name of the table.
        scale: σ of ``gaussian``; None when it is learned, one for each feature.
        n_components: M, the components of ``logistic`` and ``color-logistic``.
        columns: of ``mixed``, in their order; none for those that are found in the data.

    Raises:
        ConfigError: an option is out of range.

    Example:
        >>> LikelihoodSpec.of("gaussian:0.1")
        LikelihoodSpec(kind='gaussian', scale=0.1, n_components=1, columns=())
        >>> LikelihoodSpec.of("gausian")
        Traceback (most recent call last):
        ...
        discretevae.errors.ConfigError: `likelihood` 'gausian' is unknown. Did you mean gaussian? \
Choices: bernoulli, continuous-bernoulli, gaussian, gaussian:learned, student, beta-binomial, \
logistic, color-logistic, multinomial, poisson, negative-binomial, mixed.
    """

    option = "likelihood"
    form = "bernoulli, gaussian, gaussian:0.1, gaussian:learned or logistic:5"

    kind: LikelihoodKind = field(metadata=one_of(get_args(LikelihoodKind)))
    scale: float | None = field(default=1.0, metadata=a_number(*SCALES))
    n_components: int = field(default=1, metadata=an_int(1, MAX_COMPONENTS))
    columns: tuple[ColumnSpec, ...] = ()

    @classmethod
    def gaussian(cls, scale: float = 1.0) -> Self:
        """Return N(x̂, σ²) with the given σ; ``LikelihoodSpec("gaussian", None)`` learns it."""
        return cls("gaussian", scale)

    @classmethod
    def logistic(cls, n_components: int = 1) -> Self:
        """Return a mixture of discretized logistic distributions."""
        return cls("logistic", n_components=n_components)

    @classmethod
    def color_logistic(cls, n_components: int = 1) -> Self:
        """Return a mixture of logistic distributions of all colors of a pixel."""
        return cls("color-logistic", n_components=n_components)

    @classmethod
    def mixed(cls, *columns: str) -> Self:
        """Return the likelihood of a table whose columns are of several kinds, by their names."""
        return cls("mixed", columns=columns_of(columns))

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return a spec, or what makes one from an option, for each kind."""
        return {
            "bernoulli": cls("bernoulli"),
            "continuous-bernoulli": cls("continuous-bernoulli"),
            "gaussian": cls.gaussian,
            "gaussian:learned": cls("gaussian", None),
            "student": cls("student"),
            "beta-binomial": cls("beta-binomial"),
            "logistic": cls.logistic,
            "color-logistic": cls.color_logistic,
            **{kind: cls(kind) for kind in OF_COUNTS},
            "mixed": cls.mixed,
        }

    @property
    def is_unit(self) -> bool:
        """True if x must lie in [0, 1]."""
        return self.kind not in ("gaussian", "student", "mixed") and not self.is_count

    @property
    def is_count(self) -> bool:
        """True if x must be a whole number from 0 on."""
        return self.kind in OF_COUNTS

    def __str__(self) -> str:
        if self.scale is None:
            return f"{self.kind}:learned"
        if self.columns:
            return spell(self.kind, *spelled_columns(self.columns))
        option = self.scale if self.kind == "gaussian" else self.n_components
        return spell(self.kind, *[option] * (option != 1))
