"""The base class of priors, and which of them a code can have."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.errors import ConfigError
from discretevae.families import Bernoulli, Categorical, Family, parts_of, states_like


class Prior(nn.Module, ABC):
    """p(z) over the codes of a family.

    A prior of one's own needs `log_prob` and `sample`; only priors of the family's own form have a
    closed divergence.

    Attributes:
        family: the code's family.
        has_closed_kl: whether `kl` and `kl_per_variable` exist.
        sample_options: names of what `sample` takes besides.
        n_classes: of labels that it is conditioned on, which `log_prob` then takes.
        lr: learning rate that fits it to codes.
    """

    has_closed_kl: ClassVar[bool] = False
    sample_options: tuple[str, ...] = ()
    n_classes: int = 0
    lr: float = 5e-3

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return ln p(z), nats per row: ``[S, B, *z_shape]`` to ``[S, B]``, or with any other lead.

        Differentiable in the prior's parameters, and in z where z is real or relaxed.
        """

    @abstractmethod
    def sample(
        self, n: int, *, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        """Draw ``n`` codes, ``[n, *z_shape]``.

        Args:
            n: number of codes.
            generator: the source of the draws; None takes torch's global one.
            temperature: T divides the natural parameters of each conditional: the logits of bits
                and categories, so that T → 0 takes the likeliest; a normal keeps its mean and its
                σ is multiplied by √T. 1 is the model itself.

        Raises:
            ConfigError: the temperature is not above 0.
        """

    def kl(self, eta: Tensor) -> Tensor:
        """Return KL(q(z|x) ‖ p(z)), nats per row, ``[B]`` (`ConfigError` without a closed form)."""
        return self.kl_per_variable(eta).sum(-1)

    def kl_per_variable(self, eta: Tensor) -> Tensor:
        """Return the same for each variable of the code, ``[B, D]``."""
        raise ConfigError(
            f"KL(q ‖ p) has no closed form under {type(self).__name__}. Estimate it as "
            "−H(q) − E_q ln p(z), with the family's entropy and the prior's log_prob."
        )

    def log_prob_table(self) -> Tensor:
        """Return ln p of every z in the order of ``enumerate``, ``[N]``; errors as there."""
        return self.log_prob(states_like(self.family, self._like()))

    def _like(self) -> Tensor:
        """Return a tensor of the prior's own type and device."""
        return next(itertools.chain(self.parameters(), self.buffers()))


def require_sampling(temperature: float, top_k: int | None = None) -> None:
    """Refuse a temperature that is not above 0, and ``top_k`` below 1 (`ConfigError`).

    Example:
        >>> require_sampling(0.5)
    """
    if not 0 < temperature < math.inf:
        raise ConfigError(f"`temperature` must be > 0 and finite. Got {temperature}.")
    if top_k is not None and top_k < 1:
        raise ConfigError(f"`top_k` must be an int >= 1. Got {top_k}.")


def draw(
    logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None
) -> Tensor:
    """Draw a variable by its logits: one-hot of ``[n, K]``, or the bit of ``[n, 1]``.

    ``top_k`` leaves the k likeliest values, and those that are as likely as the k-th.

    Example:
        >>> draw(torch.tensor([[0.0, 2.0, 1.0]]), 1.0, 1, None)
        tensor([[0., 1., 0.]])
    """
    logits = logits / temperature
    n, n_values = logits.shape
    part: Family = Bernoulli(1) if n_values == 1 else Categorical(1, n_values)
    if n_values == 1 and top_k == 1:
        logits = logits * math.inf
    elif top_k is not None and top_k < n_values:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -math.inf)
    return part.sample(logits.reshape(n, *part.eta_shape), 1, generator=generator).reshape(n, -1)


def log_conditionals(z: Tensor, logits: Tensor) -> Tensor:
    """Return Σ_d ln p(z_d) of variables with these logits, ``[N, D, K]`` each: ``[N]``.

    Of bits K is 1. Smooth in z.
    """
    if z.shape[-1] == 1:
        return (z * logits - F.softplus(logits)).sum((-1, -2))
    return (z * torch.log_softmax(logits, -1)).sum((-1, -2))


def discrete_widths(family: Family) -> tuple[int, ...]:
    """Return how many columns each discrete variable has in a flat code, in order.

    A bit has 1, a category K; a code without discrete variables is refused (`ConfigError`).
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
        'fixed, factorized, autoregressive or transformer'
    """
    parts = parts_of(family)
    names = ["fixed", "factorized"]
    if any(part.n_states is not None for part in parts):
        names.append("autoregressive")
    if len(parts) == 1 and parts[0].n_states is not None:
        names.append("transformer")
    if len(parts) == 1 and parts[0].n_states is None:
        names.append("mixture:10")
    return f"{', '.join(names[:-1])} or {names[-1]}"
