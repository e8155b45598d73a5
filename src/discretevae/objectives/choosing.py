"""The estimator that goes with an objective and a code."""

from __future__ import annotations

from discretevae.config import TrainConfig
from discretevae.errors import ConfigError
from discretevae.estimators import (
    VIMCO,
    Estimator,
    Exact,
    Importance,
    StraightThrough,
    default_estimator,
    estimator_for,
)
from discretevae.families import MAX_STATES, Family, is_enumerable

DEFAULT_ESTIMATORS = {
    "multi-sample": "vimco",
    "marginal": "exact",
    "wake-sleep": "importance",
    "vq": "straight-through",
}
"""The estimator of each objective where none is named; the ELBO's depends on the code."""


def estimator_name(family: Family, config: TrainConfig) -> str:
    """Return the name of the estimator, the default's if none was chosen.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> estimator_name(Bernoulli(50), TrainConfig())
        'disarm'
    """
    default = DEFAULT_ESTIMATORS.get(config.objective) or default_estimator(family)
    return config.estimator or default


WAKE_SLEEP_SAMPLES = 5
"""K of ``wake-sleep`` where none is named; with one sample its weights would say nothing."""


def choose_estimator(family: Family, config: TrainConfig) -> Estimator:
    """Return the estimator of a configuration, or the default of its objective and code.

    Raises:
        ConfigError: it cannot be read, cannot handle the code, or does not fit the objective.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> choose_estimator(Bernoulli(50), TrainConfig(estimator="rloo", samples=4))
        RLOO(samples=4)
        >>> choose_estimator(Bernoulli(5), TrainConfig(objective="marginal"))
        Exact()
    """
    name, samples = estimator_name(family, config), config.samples
    if config.objective == "wake-sleep" and config.estimator is None and samples is None:
        samples = WAKE_SLEEP_SAMPLES
    estimator = estimator_for(name, family, samples=samples)
    check_pair(config.objective, estimator)
    if family.n_states == 1 and config.objective == "elbo" and not isinstance(estimator, Exact):
        raise ConfigError(
            f"a code of one state, {family.spec}, leaves nothing to estimate. Choose "
            "`estimator='exact'`."
        )
    if isinstance(estimator, Exact) and not is_enumerable(family):
        raise ConfigError(
            f"estimator {name} needs a code of at most {MAX_STATES:,} states; {family.spec} has "
            f"more. Choose `estimator={default_estimator(family)!r}`, or a smaller code."
        )
    return estimator


def check_pair(objective: str, estimator: Estimator) -> None:
    """Refuse a pair of objective and estimator that makes no sense.

    Raises:
        ConfigError: it makes none; the sensible ones are named.

    Example:
        >>> check_pair("elbo", Importance())
        >>> try:
        ...     check_pair("marginal", Importance())
        ... except ConfigError as error:
        ...     print(error)
        objective marginal cannot be estimated by Importance. Choose `estimator='exact'`.
    """
    required = {
        "multi-sample": VIMCO,
        "marginal": Exact,
        "wake-sleep": Importance,
        "vq": StraightThrough,
    }.get(objective)
    name = type(estimator).__name__
    if required is None:
        if isinstance(estimator, VIMCO):
            raise ConfigError(
                "vimco estimates the K-sample bound, not the ELBO. Choose "
                "`objective='multi-sample'`."
            )
    elif not isinstance(estimator, required):
        raise ConfigError(
            f"objective {objective} cannot be estimated by {name}. "
            f"Choose `estimator={DEFAULT_ESTIMATORS[objective]!r}`."
        )
    elif isinstance(estimator, Importance):
        if estimator.proposal != "posterior" or estimator.xi is not None:
            raise ConfigError(
                "objective wake-sleep draws from the posterior. Leave the proposal out."
            )
        if estimator.samples < 2:
            raise ConfigError("objective wake-sleep needs samples >= 2. Got 1.")
