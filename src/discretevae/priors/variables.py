"""The variables of a code, and the priors that it can have."""

from __future__ import annotations

from discretevae.errors import ConfigError
from discretevae.families import Bernoulli, Categorical, Family, parts_of


def discrete_widths(family: Family) -> tuple[int, ...]:
    """Return how many columns each discrete variable has in a flat code, in order.

    A bit has 1, a category K; Gaussian parts have no discrete variable.

    Raises:
        ConfigError: there is no discrete variable at all.

    Example:
        >>> discrete_widths(Categorical(2, 5)), discrete_widths(Bernoulli(3))
        ((5, 5), (1, 1, 1))
    """
    widths: list[int] = []
    for part in parts_of(family):
        if isinstance(part, Bernoulli):
            widths += [1] * part.n_variables
        elif isinstance(part, Categorical):
            widths += [part.n_categories] * part.n_variables
    if not widths:
        raise ConfigError(
            f"an autoregressive prior needs bits or categories; {family.spec} has none. "
            f"Choose {choices_for(family)}."
        )
    return tuple(widths)


def choices_for(family: Family) -> str:
    """Return the priors that a family can have, as the end of an error message.

    Example:
        >>> choices_for(Categorical(2, 5))
        'fixed, factorized or autoregressive'
    """
    parts = parts_of(family)
    names = ["fixed", "factorized"]
    if any(part.n_states is not None for part in parts):
        names.append("autoregressive")
    if isinstance(family, Bernoulli):
        names.append("layer:200")
    if len(parts) == 1 and parts[0].n_states is None:
        names.append("mixture:10")
    return f"{', '.join(names[:-1])} or {names[-1]}"
