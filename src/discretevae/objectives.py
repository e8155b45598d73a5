"""What is maximized. How its gradient is estimated is the estimator's business.

Where KL(q ‖ p) has no closed form, as under an autoregressive prior, ln p(z) joins what the
estimator integrates, and the entropy of q, which has one, stays outside.

======================  ==========================================  =====================
objective               per row                                     estimators
======================  ==========================================  =====================
``elbo``                E_q ln p(x|z) − KL(q(z|x) ‖ p(z))           all but ``vimco``
``multi-sample``        E ln 1/K Σ_k p(x, z_k)/q(z_k|x)             ``vimco``
``marginal``            ln p(x), exactly                            ``exact``
``wake-sleep``          the K-sample bound, self-normalized         ``importance``
======================  ==========================================  =====================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from discretevae.config import TrainConfig
from discretevae.errors import ConfigError
from discretevae.estimators import (
    VIMCO,
    Estimator,
    Exact,
    Importance,
    UnorderedSet,
    default_estimator,
    estimator_for,
    with_gradient_of,
)
from discretevae.estimators.base import effective_sample_size
from discretevae.families import MAX_STATES, Family, is_enumerable
from discretevae.model import DiscreteVAE


@dataclass(frozen=True, eq=False)
class Terms:
    """An objective of a batch, and the ELBO's two parts as the paper plots them; nats per row.

    Args:
        surrogate: ``[B]``, equal to the objective; backward through it gives the gradient.
        log_likelihood: ``[B]``, an estimate of E_q ln p(x|z), detached.
        kl: ``[B]``, KL(q(z|x) ‖ p(z)), detached; in closed form where the prior has one, else
            −H(q) − E_q ln p(z) at the samples that were drawn.
        diagnostics: the estimator's further figures, each ``[B]``.
        control_loss: what trains the estimator's own parameters, if it has any.
        again: further losses on the same batch, each to be formed after the step before it.
    """

    surrogate: Tensor
    log_likelihood: Tensor
    kl: Tensor
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)
    control_loss: Tensor | None = None
    again: Sequence[Callable[[], Tensor]] = ()

    @property
    def elbo(self) -> Tensor:
        """E_q ln p(x|z) − KL, ``[B]``."""
        return self.log_likelihood - self.kl

    @property
    def loss(self) -> Tensor:
        """−objective, averaged over rows (never over pixels): call ``backward`` on it.

        The estimator's own loss, if any, adds its gradient but not its value.
        """
        loss = -self.surrogate.mean()
        if self.control_loss is None:
            return loss
        return with_gradient_of(loss, loss + self.control_loss)

    def losses(self) -> Iterator[Tensor]:
        """The losses of this batch, one optimizer step each: ``loss``, then those of ``again``."""
        yield self.loss
        for further in self.again:
            yield further()


Objective = Callable[..., Terms]


def elbo(
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    *,
    generator: torch.Generator | None,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """The evidence lower bound E_q(z|x)[ln p(x|z)] − KL(q(z|x) ‖ p(z))  (paper, eq. 5, negated).

    The gradient is split as in the paper's figure 4: the decoder learns from its own backward
    pass at the sampled codes, the encoder from the estimator's surrogate; unless the estimator
    asks for it, nothing flows through the sample.

    With ``kl_weight`` β ≠ 1 or ``free_bits`` λ > 0 the KL is replaced by β Σ_d max(λ, KL_d), where
    KL_d of a latent variable is the mean over the batch (Kingma et al. 2016, eq. 15 with one
    variable to a group): against a code that is given up before the decoder has learned to use it.
    What is maximized is then no bound on ln p(x). Free bits need a KL in closed form.

    Args:
        model: the model.
        x: rows ``[B, P]``.
        estimator: how the gradient of the first term is estimated.
        generator: the source of the samples.
        kl_weight: β.
        free_bits: λ, nats per latent variable.

    Raises:
        ConfigError: free bits are asked for, and the prior's KL has no closed form.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> generator = torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE(config, generator=generator)
        >>> terms = elbo(model, torch.rand(5, 4), Importance(), generator=generator)
        >>> terms.loss.backward()
        >>> bool(torch.isclose(terms.loss, -terms.elbo.mean()))
        True
    """
    eta = model.eta(x)
    if not model.prior.has_closed_kl:
        require_closed_kl(model, free_bits)
        return _elbo_with_prior(model, x, eta, estimator, generator, kl_weight)
    estimate = estimator(model.family, eta, model.log_likelihood(x), generator=generator)
    is_plain = kl_weight == 1 and free_bits == 0
    kl = model.prior.kl(eta)

    def penalty(eta: Tensor) -> Tensor:
        return model.prior.kl(eta) if is_plain else _shaped_kl(model, eta, kl_weight, free_bits)

    def once_more(surrogate: Callable[[Tensor], Tensor]) -> Tensor:
        eta = model.eta(x)
        return -(surrogate(eta) - penalty(eta)).mean()

    return Terms(
        estimate.surrogate - (kl if is_plain else penalty(eta)),
        estimate.value,
        kl.detach(),
        estimate.diagnostics,
        estimate.control_loss,
        [partial(once_more, surrogate) for surrogate in estimate.again],
    )


def _elbo_with_prior(
    model: DiscreteVAE,
    x: Tensor,
    eta: Tensor,
    estimator: Estimator,
    generator: torch.Generator | None,
    weight: float,
) -> Terms:
    """E_q[ln p(x|z) + β ln p(z)] + β H(q), for priors without a closed KL."""
    f = model.log_joint(x, generator=generator, prior_weight=weight)
    estimate = estimator(model.family, eta, f, generator=generator)
    entropy = model.family.entropy(eta)

    def once_more(surrogate: Callable[[Tensor], Tensor]) -> Tensor:
        eta = model.eta(x)
        return -(surrogate(eta) + weight * model.family.entropy(eta)).mean()

    log_prior = f.expected_log_prior(eta)
    return Terms(
        estimate.surrogate + weight * entropy,
        estimate.value - weight * log_prior,
        -(entropy.detach() + log_prior),
        estimate.diagnostics,
        estimate.control_loss,
        [partial(once_more, surrogate) for surrogate in estimate.again],
    )


def require_closed_kl(model: DiscreteVAE, free_bits: float | None) -> None:
    """Refuses free bits under a prior whose KL has no closed form.

    Raises:
        ConfigError: they are asked for.
    """
    if free_bits and not model.prior.has_closed_kl:
        raise ConfigError(
            f"free bits need a KL in closed form, which prior {model.config.prior} has not. "
            "Leave --free-bits out, or choose --prior fixed or factorized."
        )


def _shaped_kl(model: DiscreteVAE, eta: Tensor, weight: float, free: float) -> Tensor:
    """β Σ_d max(λ, KL_d), ``[B]``: its mean over rows is that of the definition."""
    kl = model.prior.kl_per_variable(eta)
    counts = kl.detach().mean(0) > free
    return weight * torch.where(counts, kl, kl.new_tensor(free)).sum(-1)


def multi_sample(
    model: DiscreteVAE, x: Tensor, estimator: Estimator, *, generator: torch.Generator | None
) -> Terms:
    """The K-sample bound E ln 1/K Σ_k p(x, z_k)/q(z_k|x)  (Burda et al. 2016, eq. 8).

    Args:
        model: the model.
        x: rows ``[B, P]``.
        estimator: one that estimates this bound, such as `VIMCO`.
        generator: the source of the samples.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> generator = torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE(config, generator=generator)
        >>> multi_sample(model, torch.rand(5, 4), VIMCO(), generator=generator).surrogate.shape
        torch.Size([5])
    """
    _require_exact_prior(model, "multi-sample")
    eta = model.eta(x)
    joint = model.log_joint(x, generator=generator)
    estimate = estimator(model.family, eta, joint, generator=generator)
    log_likelihood, log_prior = joint.seen or (estimate.value, estimate.value)
    return Terms(
        estimate.surrogate,
        log_likelihood,
        _kl(model, eta, log_prior),
        {"ess": estimate.diagnostics["ess"]} if "ess" in estimate.diagnostics else {},
        estimate.control_loss,
    )


def marginal(
    model: DiscreteVAE, x: Tensor, estimator: Estimator, *, generator: torch.Generator | None
) -> Terms:
    """The likelihood itself, for codes that can be enumerated.

    The decoder and the prior maximize ln p(x) = ln Σ_n p(z_n) p(x|z_n). The encoder, which that
    does not need, minimizes KL(p(z|x) ‖ q(z|x)) to the exact posterior, its own separate loss.
    Because the posterior covers all states that explain a row, no category dies for want of
    samples, as happens to categories under the ELBO.

    Args:
        model: the model; its code has at most 4,096 states.
        x: rows ``[B, P]``.
        estimator: `Exact`; there is nothing to estimate.
        generator: not drawn from.

    Raises:
        ConfigError: the code has too many states.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=4, latent="categorical:3", hidden=(8,))
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> terms = marginal(model, torch.rand(5, 4), Exact(), generator=None)
        >>> bool((terms.surrogate >= terms.elbo).all())            # ln p(x) ≥ ELBO
        True
    """
    _require_exact_prior(model, "marginal")
    eta = model.eta(x)
    table = model.log_likelihood(x).table()
    log_prior = model.prior.log_prob_table()
    log_joint = table + log_prior
    log_px = torch.logsumexp(log_joint, 1)
    posterior = torch.softmax(log_joint.detach(), 1)
    log_q = model.family.log_prob_table(eta)
    # the encoder's loss adds its gradient, not its value: cross-entropy to the exact posterior
    surrogate = with_gradient_of(log_px, log_px + (posterior * log_q).sum(1))
    q = log_q.detach().exp()
    expected = (q * table.detach()).sum(1)
    return Terms(surrogate, expected, _kl(model, eta, q @ log_prior.detach()))


def wake_sleep(
    model: DiscreteVAE, x: Tensor, estimator: Importance, *, generator: torch.Generator | None
) -> Terms:
    """Reweighted wake-sleep: both networks learn from self-normalized importance weights.

    With z_k ~ q(z|x) and w̃_k = w_k / Σ_j w_j, w_k = p(x, z_k)/q(z_k|x):
    decoder and prior: Σ_k w̃_k ∂ln p(x, z_k); encoder: Σ_k w̃_k ∂ln q(z_k|x), the "wake-phase
    q-update". Self-normalization makes both consistent in K, biased for finite K. Source:
    Bornschein & Bengio 2015, eq. 5, 7 and 8.

    Args:
        model: the model.
        x: rows ``[B, P]``.
        estimator: whose ``samples`` is K; its proposal is the posterior.
        generator: the source of the samples.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> generator = torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE(config, generator=generator)
        >>> estimator = Importance(samples=5)
        >>> terms = wake_sleep(model, torch.rand(5, 4), estimator, generator=generator)
        >>> terms.loss.backward()
    """
    _require_exact_prior(model, "wake-sleep")
    eta = model.eta(x)
    z = model.family.sample(eta, estimator.samples, generator=generator).detach()
    log_likelihood = model.log_likelihood(x)(z)
    log_prior = model.prior.log_prob(z)
    log_joint = log_likelihood + log_prior
    log_q = model.family.log_prob(eta, z)
    log_weight = (log_joint - log_q).detach()
    weight = torch.softmax(log_weight, 0)
    bound = torch.logsumexp(log_weight, 0) - math.log(estimator.samples)
    term = (weight * (log_joint + log_q)).sum(0)
    return Terms(
        with_gradient_of(bound, term),
        log_likelihood.detach().mean(0),
        _kl(model, eta, log_prior.detach().mean(0)),
        {"ess": effective_sample_size(log_weight)},
    )


def _kl(model: DiscreteVAE, eta: Tensor, log_prior: Tensor) -> Tensor:
    """KL(q ‖ p), ``[B]``, detached: closed, or −H(q) − E_q ln p(z) with the latter given."""
    if model.prior.has_closed_kl:
        return model.prior.kl(eta).detach()
    return -(model.family.entropy(eta) + log_prior).detach()


def _require_exact_prior(model: DiscreteVAE, objective: str) -> None:
    if not model.prior.is_exact:
        raise ConfigError(
            f"objective {objective} needs ln p(z) itself, of which prior {model.config.prior} "
            "gives a bound. Choose --objective elbo."
        )


OBJECTIVES: Mapping[str, Objective] = {
    "elbo": elbo,
    "multi-sample": multi_sample,
    "marginal": marginal,
    "wake-sleep": wake_sleep,
}
"""Every objective by the name that ``--objective`` takes."""

DEFAULT_ESTIMATORS = {"multi-sample": "vimco", "marginal": "exact", "wake-sleep": "importance"}
"""What is taken when an objective is named and no estimator."""


def estimator_name(family: Family, config: TrainConfig) -> str:
    """What ``--estimator`` says, or the name of the default in its place.

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
    """The estimator that a configuration asks for, or the default of its objective and code.

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
    if isinstance(estimator, (Exact, UnorderedSet)) and not is_enumerable(family):
        raise ConfigError(
            f"estimator {name} needs a code of at most {MAX_STATES:,} states; {family.spec} has "
            f"more. Choose --estimator {default_estimator(family)}, or a smaller code."
        )
    return estimator


def check_pair(objective: str, estimator: Estimator) -> None:
    """Refuses a pair of objective and estimator that makes no sense.

    Raises:
        ConfigError: it makes none; the sensible ones are named.

    Example:
        >>> check_pair("elbo", Importance())
        >>> try:
        ...     check_pair("marginal", Importance())
        ... except ConfigError as error:
        ...     print(error)
        objective marginal cannot be estimated by Importance. Choose --estimator exact.
    """
    wanted = {"multi-sample": VIMCO, "marginal": Exact, "wake-sleep": Importance}.get(objective)
    name = type(estimator).__name__
    if wanted is None:
        if isinstance(estimator, VIMCO):
            raise ConfigError(
                "vimco estimates the K-sample bound, not the ELBO. Choose --objective multi-sample."
            )
    elif not isinstance(estimator, wanted):
        raise ConfigError(
            f"objective {objective} cannot be estimated by {name}. "
            f"Choose --estimator {DEFAULT_ESTIMATORS[objective]}."
        )
    elif isinstance(estimator, Importance):
        if estimator.proposal != "posterior" or estimator.xi is not None:
            raise ConfigError(
                "objective wake-sleep draws from the posterior. Leave the proposal out."
            )
        if estimator.samples < 2:
            raise ConfigError("objective wake-sleep needs samples >= 2. Got 1.")


__all__ = [
    "DEFAULT_ESTIMATORS",
    "OBJECTIVES",
    "Terms",
    "check_pair",
    "choose_estimator",
    "elbo",
    "estimator_name",
    "marginal",
    "multi_sample",
    "wake_sleep",
]
