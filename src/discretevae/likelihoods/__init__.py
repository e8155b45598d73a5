"""p(x|z): the log-probability of a row given the output of the decoder, in nats per row.

| class | text | x | channels |
|---|---|---|---|
| `BernoulliLikelihood` | ``bernoulli`` | 0 or 1; a surrogate between | 1 |
| `ContinuousBernoulliLikelihood` | ``continuous-bernoulli`` | [0, 1] | 1 |
| `GaussianLikelihood` | ``gaussian``, ``gaussian:σ`` | real | 1 |
| `LearnedGaussianLikelihood` | ``gaussian:learned`` | real | 1 |
| `StudentLikelihood` | ``student`` | real | 2 |
| `BetaBinomialLikelihood` | ``beta-binomial`` | k/255 | 2 |
| `ColorLogisticLikelihood` | ``color-logistic:M`` | k/255, colors | M·(colors + 2) |
| `LogisticLikelihood` | ``logistic``, ``logistic:M`` | k/255 | 2, or 3·M |
| `MultinomialLikelihood` | ``multinomial`` | 0, 1, 2, … | 1 |
| `PoissonLikelihood` | ``poisson`` | 0, 1, 2, … | 1 |
| `NegativeBinomialLikelihood` | ``negative-binomial`` | 0, 1, 2, … | 1 |
| `MixedLikelihood` | ``mixed:real*2,…`` | by the kind of each column | by the columns |

The decoder's ``output`` is ``[S, B, C·P]`` for S samples of B rows of P features and C channels.
`Likelihood.table` scores every row against every state of an enumerable code; ``output`` is then
``[N, C·P]`` and the result ``[B, N]``. All values and gradients are finite far beyond
abs(output) = 40.
"""

from __future__ import annotations

from collections.abc import Callable

from discretevae.config import ColumnSpec, LikelihoodSpec
from discretevae.errors import ConfigError
from discretevae.likelihoods.base import (
    Likelihood as Likelihood,
    Support as Support,
    bits_per_dimension as bits_per_dimension,
)
from discretevae.likelihoods.bernoulli import BernoulliLikelihood as BernoulliLikelihood
from discretevae.likelihoods.beta_binomial import BetaBinomialLikelihood as BetaBinomialLikelihood
from discretevae.likelihoods.color_logistic import (
    ColorLogisticLikelihood as ColorLogisticLikelihood,
)
from discretevae.likelihoods.continuous_bernoulli import (
    ContinuousBernoulliLikelihood as ContinuousBernoulliLikelihood,
)
from discretevae.likelihoods.counts import (
    MultinomialLikelihood as MultinomialLikelihood,
    NegativeBinomialLikelihood as NegativeBinomialLikelihood,
    PoissonLikelihood as PoissonLikelihood,
)
from discretevae.likelihoods.gaussian import (
    GaussianLikelihood as GaussianLikelihood,
    LearnedGaussianLikelihood as LearnedGaussianLikelihood,
)
from discretevae.likelihoods.logistic import LogisticLikelihood as LogisticLikelihood
from discretevae.likelihoods.mixed import MixedLikelihood as MixedLikelihood
from discretevae.likelihoods.student import StudentLikelihood as StudentLikelihood


def likelihood_named(
    likelihood: str | LikelihoodSpec, n_features: int | None = None, n_colors: int = 3
) -> Likelihood:
    """Return the likelihood that a spec or its spelling describes.

    Args:
        likelihood: such as ``gaussian:0.1``.
        n_features: P; needed by ``gaussian:learned``, ``student`` and ``negative-binomial``,
            which have a parameter for each feature.
        n_colors: channels of a pixel, for ``color-logistic``.

    Raises:
        ConfigError: there is none of that name, its option is out of range, or P is missing.

    Example:
        >>> likelihood_named("gaussian:0.1")
        GaussianLikelihood(scale=0.1)
        >>> likelihood_named("logistic:5").n_outputs(784)
        11760
    """
    spec = LikelihoodSpec.of(likelihood)
    if spec.kind == "gaussian" and spec.scale is not None:
        return GaussianLikelihood(spec.scale)
    if spec.kind == "logistic":
        return LogisticLikelihood(spec.n_components)
    if spec.kind == "color-logistic":
        return ColorLogisticLikelihood(spec.n_components, n_colors)
    if spec.kind == "mixed":
        return MixedLikelihood(_require_columns(spec))
    if spec.kind in _PLAIN:
        return _PLAIN[spec.kind]()
    if n_features is None:
        raise ConfigError(
            f"likelihood {spec} learns a number for each feature. Say how many features "
            "there are: likelihood_named(likelihood, n_features)."
        )
    return _LEARNED[spec.kind](n_features)


def _require_columns(spec: LikelihoodSpec) -> tuple[ColumnSpec, ...]:
    if not spec.columns:
        raise ConfigError(
            "likelihood mixed needs the kinds of the columns, which follow from the data. Give "
            "`likelihood='auto'` with a table, or write them like mixed:real*2,categorical:5."
        )
    return spec.columns


_PLAIN: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "continuous-bernoulli": ContinuousBernoulliLikelihood,
    "beta-binomial": BetaBinomialLikelihood,
    "multinomial": MultinomialLikelihood,
    "poisson": PoissonLikelihood,
}

_LEARNED: dict[str, Callable[[int], Likelihood]] = {
    "gaussian": LearnedGaussianLikelihood,
    "negative-binomial": NegativeBinomialLikelihood,
    "student": StudentLikelihood,
}
