"""Objectives nearer to ln p(x) than the ELBO: many samples, all states, importance weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from discretevae.config.run_config import require_prior
from discretevae.estimators import Estimator, with_gradient_of
from discretevae.estimators.base import effective_sample_size
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives.terms import Terms, natural_parameters


def multi_sample(
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    *,
    generator: torch.Generator | None,
    encoder_input: Tensor | None = None,
) -> Terms:
    """Return the K-sample bound E ln 1/K Σ_k p(x, z_k)/q(z_k|x)  (Burda et al. 2016, eq. 8).

    Its arguments are those of every `Objective`; the estimator is one of this bound, as `VIMCO` is.

    Example:
        >>> from discretevae.estimators import VIMCO
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> generator = torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE(config, generator=generator)
        >>> multi_sample(model, torch.rand(5, 4), VIMCO(), generator=generator).surrogate.shape
        torch.Size([5])
    """
    eta = natural_parameters(model, x, estimator, encoder_input)
    require_prior(model.config.prior, "multi-sample")
    joint = model.log_joint(x, generator=generator)
    estimate = estimator(model.family, eta, joint, generator=generator)
    log_likelihood, log_prior = joint.last_means or (estimate.value, estimate.value)
    return Terms(
        estimate.surrogate,
        log_likelihood,
        _kl(model, eta, log_prior),
        {"ess": estimate.diagnostics["ess"]} if "ess" in estimate.diagnostics else {},
        estimate.control_loss,
    )


def marginal(
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    *,
    generator: torch.Generator | None,
    encoder_input: Tensor | None = None,
) -> Terms:
    """Return the likelihood itself, for codes that can be enumerated.

    The decoder and the prior maximize ln p(x) = ln Σ_n p(z_n) p(x|z_n). The encoder, which that
    does not need, minimizes KL(p(z|x) ‖ q(z|x)) to the exact posterior, its own separate loss.
    Because the posterior covers all states that explain a row, no category dies for want of
    samples, as happens to categories under the ELBO.

    Its arguments are those of every `Objective`. The code has at most 4,096 states; there is
    nothing to estimate, so that the estimator is `Exact`, and ``generator`` is not drawn from.

    Raises:
        ConfigError: the code has too many states.

    Example:
        >>> from discretevae.estimators import Exact
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=4, latent="categorical:3", hidden=(8,))
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> terms = marginal(model, torch.rand(5, 4), Exact(), generator=None)
        >>> bool((terms.surrogate >= terms.elbo).all())            # ln p(x) ≥ ELBO
        True
    """
    eta = natural_parameters(model, x, estimator, encoder_input)
    require_prior(model.config.prior, "marginal")
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
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    *,
    generator: torch.Generator | None,
    encoder_input: Tensor | None = None,
) -> Terms:
    """Reweighted wake-sleep: both networks learn from self-normalized importance weights.

    With z_k ~ q(z|x) and w̃_k = w_k / Σ_j w_j, w_k = p(x, z_k)/q(z_k|x):
    decoder and prior: Σ_k w̃_k ∂ln p(x, z_k); encoder: Σ_k w̃_k ∂ln q(z_k|x), the "wake-phase
    q-update". Self-normalization makes both consistent in K, biased for finite K. Source:
    Bornschein & Bengio 2015, eq. 5, 7 and 8.

    Its arguments are those of every `Objective`; the estimator is `Importance` with K samples,
    whose proposal is the posterior.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> from discretevae.estimators import Importance
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> generator = torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE(config, generator=generator)
        >>> estimator = Importance(samples=5)
        >>> terms = wake_sleep(model, torch.rand(5, 4), estimator, generator=generator)
        >>> terms.loss.backward()
    """
    eta = natural_parameters(model, x, estimator, encoder_input)
    require_prior(model.config.prior, "wake-sleep")
    n_samples = estimator.evaluations
    z = model.family.sample(eta, n_samples, generator=generator).detach()
    log_likelihood = model.log_likelihood(x)(z)
    log_prior = model.prior.log_prob(z)
    log_joint = log_likelihood + log_prior
    log_q = model.family.log_prob(eta, z)
    log_weight = (log_joint - log_q).detach()
    weight = torch.softmax(log_weight, 0)
    bound = torch.logsumexp(log_weight, 0) - math.log(n_samples)
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
