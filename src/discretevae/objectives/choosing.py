"""The estimator that goes with an objective and a code."""

from __future__ import annotations

from discretevae.config import TrainConfig
from discretevae.errors import ConfigError
from discretevae.estimators import (
    ESTIMATORS,
    VIMCO,
    Estimator,
    Exact,
    Importance,
    default_estimator,
    estimator_for,
    make_estimator,
)
from discretevae.families import MAX_STATES, Family, is_enumerable
from discretevae.objectives.chains import Chains

DEFAULT_ESTIMATORS = {
    "multi-sample": "vimco", "marginal": "exact", "wake-sleep": "importance", "jsa": "importance",
    "vq": "straight-through",
}  # fmt: skip
"""The estimator of each objective where none is named; the ELBO's depends on the code."""


def estimator_name(family: Family, config: TrainConfig) -> str:
    """Return the name of the estimator, the default's if none was chosen.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> estimator_name(Bernoulli(50), TrainConfig())
        'disarm'
    """
    default = DEFAULT_ESTIMATORS.get(config.objective) or default_estimator(family)
    if config.objective == "semi-supervised" and "+" in default:
        default = f"exact+{default.partition('+')[2]}"
    return config.estimator or default


PROPOSALS = 5
"""S of ``wake-sleep`` and ``jsa`` if none is named; of one, wake-sleep's weights say nothing."""


def choose_estimator(family: Family, config: TrainConfig) -> Estimator:
    """Return the estimator of a configuration, or the default of its objective and code.

    One that does not go with them is refused (`ConfigError`).
    """
    name, samples = estimator_name(family, config), config.samples
    if config.objective in ("wake-sleep", "jsa") and config.estimator is None and samples is None:
        samples = PROPOSALS
    if config.objective == "jsa":
        Chains(family, 0)  # refuses real numbers
    if config.objective in ("elbo", "semi-supervised"):
        estimator = estimator_for(name, family, samples=samples)
    else:  # of the code as a whole
        for part in family.spec.all_parts:
            estimator = make_estimator(name, kind=part.kind, samples=samples)
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
    """Refuse a pair of objective and estimator that makes no sense (`ConfigError`)."""
    required = DEFAULT_ESTIMATORS.get(objective)
    name = type(estimator).__name__
    if objective == "semi-supervised":
        if not isinstance(getattr(estimator, "estimators", [estimator])[0], Exact):
            raise ConfigError(
                f"objective {objective} sums over the label, the first category. Got {name}. "
                "Choose `estimator='exact'` for that part, as in exact+disarm."
            )
    elif required is None:
        if isinstance(estimator, VIMCO):
            raise ConfigError(
                "vimco estimates the K-sample bound, not the ELBO. Choose "
                "`objective='multi-sample'`."
            )
    elif not isinstance(estimator, ESTIMATORS[required]):
        raise ConfigError(
            f"objective {objective} cannot be estimated by {name}. Choose `estimator={required!r}`."
        )
    elif isinstance(estimator, Importance):
        if estimator.proposal != "posterior" or estimator.xi is not None:
            raise ConfigError(
                f"objective {objective} draws from the posterior. Leave the proposal out."
            )
        if objective == "wake-sleep" and estimator.samples < 2:
            raise ConfigError("objective wake-sleep needs samples >= 2. Got 1.")
