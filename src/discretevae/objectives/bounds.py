"""Objectives: the ELBO, plain or with a reshaped KL, and what comes nearer to ln p(x) than it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from discretevae.config.checks import refuse
from discretevae.config.run_config import prior_problems
from discretevae.estimators import Estimator, with_gradient_of
from discretevae.estimators.base import effective_sample_size
from discretevae.evaluation.bounds import kl_of
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives.chains import Chains, independence_sampler
from discretevae.objectives.terms import Terms, natural_parameters


def elbo(
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    *,
    generator: torch.Generator | None,
    encoder_input: Tensor | None = None,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """Return the evidence lower bound E_q(z|x)[ln p(x|z)] − KL(q(z|x) ‖ p(z))  (paper, eq. 1, 2).

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
        encoder_input: rows ``[B, P]`` that the encoder sees in place of ``x``, such as distorted
            pictures; the bound holds for any q.
        kl_weight: β.
        free_bits: λ, nats per latent variable.

    Raises:
        ConfigError: free bits are asked for, and the prior's KL has no closed form.

    Example:
        >>> from discretevae.estimators import Importance
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> generator = torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE(config, generator=generator)
        >>> terms = elbo(model, torch.rand(5, 4), Importance(), generator=generator)
        >>> terms.loss.backward()
        >>> bool(torch.isclose(terms.loss, -terms.elbo.mean()))
        True
    """
    eta = natural_parameters(model, x, estimator, encoder_input)
    return elbo_at(model, x, eta, estimator, generator, kl_weight, free_bits)


def elbo_at(
    model: DiscreteVAE,
    x: Tensor,
    eta: Tensor,
    estimator: Estimator,
    generator: torch.Generator | None,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """Return `elbo` for the natural parameters of q(z|x), whatever gave them."""
    if not model.prior.has_closed_kl:
        refuse(prior_problems(model.config.prior, free_bits))
        return _elbo_with_prior(model, x, eta, estimator, generator, kl_weight)
    estimate = estimator(model.family, eta, model.log_likelihood(x), generator=generator)
    kl = penalty = model.prior.kl(eta)
    if kl_weight != 1 or free_bits != 0:
        penalty = _shaped_kl(model, eta, kl_weight, free_bits)
    return Terms.of(estimate, estimate.surrogate - penalty, estimate.value, kl)


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
    log_prior = f.expected_log_prior(eta)
    surrogate = estimate.surrogate + weight * entropy
    return Terms.of(
        estimate, surrogate, estimate.value - weight * log_prior, -(entropy + log_prior)
    )


PRETRAINING_WEIGHT = 0.1
"""Of the KL before a mixture prior is placed. In the trials on the page of measured clusters, codes
trained with none of it, or with all of it, clustered worse."""


def pretraining(
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    *,
    generator: torch.Generator | None,
    encoder_input: Tensor | None = None,
) -> Terms:
    """Return E_q ln p(x|z) − 0.1 KL(q(z|x) ‖ p₀(z)), with p₀ uniform or standard normal.

    The objective before a mixture prior is placed. It is no bound on ln p(x), and the model's prior
    plays no part in it. Its arguments are those of every `Objective`.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=4, latent="gaussian:3", prior="mixture:2")
        >>> generator = torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE(config, generator=generator)
        >>> from discretevae.estimators import Reparametrized
        >>> estimator = Reparametrized()
        >>> pretraining(model, torch.rand(5, 4), estimator, generator=generator).kl.shape
        torch.Size([5])
    """
    eta = natural_parameters(model, x, estimator, encoder_input)
    estimate = estimator(model.family, eta, model.log_likelihood(x), generator=generator)
    kl = model.family.kl(eta, model.family.fixed_eta().to(eta))
    surrogate = estimate.surrogate - PRETRAINING_WEIGHT * kl
    return Terms.of(estimate, surrogate, estimate.value, kl)


def _shaped_kl(model: DiscreteVAE, eta: Tensor, weight: float, free: float) -> Tensor:
    """β Σ_d max(λ, KL_d), ``[B]``: its mean over rows is that of the definition."""
    kl = model.prior.kl_per_variable(eta)
    counts = kl.detach().mean(0) > free
    return weight * torch.where(counts, kl, free).sum(-1)


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
    joint = model.log_joint(x, generator=generator)
    estimate = estimator(model.family, eta, joint, generator=generator)
    log_likelihood, log_prior = joint.last_means or (estimate.value, estimate.value)
    return Terms(
        estimate.surrogate,
        log_likelihood,
        kl_of(model, eta, log_prior).detach(),
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
    return Terms(surrogate, expected, kl_of(model, eta, q @ log_prior).detach())


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
    z = model.family.sample(eta, estimator.evaluations, generator=generator).detach()
    log_likelihood = model.log_likelihood(x)(z)
    log_prior = model.prior.log_prob(z)
    log_joint = log_likelihood + log_prior
    log_q = model.family.log_prob(eta, z)
    log_weight = (log_joint - log_q).detach()
    weight = torch.softmax(log_weight, 0)
    term = (weight * (log_joint + log_q)).sum(0)
    return _sampled(model, eta, term, log_likelihood, log_prior, log_weight)


def jsa(
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    *,
    generator: torch.Generator | None,
    encoder_input: Tensor | None = None,
    chains: tuple[Chains, Tensor] | None = None,
) -> Terms:
    """Joint stochastic approximation: both networks learn at codes from a chain for every row.

    From where it stood at the last visit, a row's chain makes S moves of `independence_sampler`,
    with proposals from q(z|x); z̃_s is where it stands after each. Decoder and prior:
    1/S Σ_s ∂ln p(x, z̃_s); encoder: 1/S Σ_s ∂ln q(z̃_s|x). Under the posterior these are the
    gradients of ln p(x) and −KL(p(z|x) ‖ q(z|x)). The value is the proposals' S-sample bound.
    Source: Ou & Song 2020.

    Its arguments are those of every `Objective`, with `Importance` for S, and ``chains``: the
    chains and the numbers of the rows among them, ``[B]``; None begins new ones. The diagnostic
    ``acceptance`` is the share of accepted moves.

    Raises:
        ConfigError: the code is not discrete.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> from discretevae.estimators import Importance
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> x, mine = torch.rand(2, 4), (Chains(model.family, 5), torch.tensor([0, 3]))
        >>> terms = jsa(model, x, Importance(), generator=None, chains=mine)
        >>> mine[0].is_begun.tolist()
        [True, False, False, True, False]
    """
    eta = natural_parameters(model, x, estimator, encoder_input)
    own = torch.arange(len(x), device=x.device)
    kept, rows = chains or (Chains(model.family, len(x), x.device), own)
    start = model.family.from_codes(kept.codes[rows]).to(eta)
    proposals = model.family.sample(eta, estimator.evaluations, generator=generator).detach()
    z = torch.cat([start.unsqueeze(0), proposals])
    log_likelihood = model.log_likelihood(x)(z)
    log_prior = model.prior.log_prob(z)
    log_joint = log_likelihood + log_prior
    log_q = model.family.log_prob(eta, z)
    log_weight = (log_joint - log_q).detach()
    log_weight[0].masked_fill_(~kept.is_begun[rows], -torch.inf)
    states = independence_sampler(log_weight, generator=generator)
    kept.move(rows, z[states[-1], own])
    term = (log_joint + log_q).gather(0, states).mean(0)
    terms = _sampled(model, eta, term, log_likelihood[1:], log_prior[1:], log_weight[1:])
    is_accepted = states.diff(dim=0, prepend=torch.zeros_like(states[:1])) > 0
    acceptance = {"acceptance": is_accepted.to(eta).mean(0)}
    return replace(terms, diagnostics={**terms.diagnostics, **acceptance})


def _sampled(
    model: DiscreteVAE, eta: Tensor, term: Tensor, log_likelihood: Tensor, log_prior: Tensor,
    log_weight: Tensor,
) -> Terms:  # fmt: skip
    """Terms of draws from q, ``[K, B]``: the gradient of ``term``, the value of their bound."""
    bound = torch.logsumexp(log_weight, 0) - math.log(len(log_weight))
    return Terms(
        with_gradient_of(bound, term),
        log_likelihood.detach().mean(0),
        kl_of(model, eta, log_prior.mean(0)).detach(),
        {"ess": effective_sample_size(log_weight)},
    )
