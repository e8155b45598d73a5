"""The ELBO, plain or with a reshaped KL, and the objective of pretraining."""

from __future__ import annotations

import torch
from torch import Tensor

from discretevae.config.run_config import require_prior
from discretevae.estimators import Estimator
from discretevae.model.vae import DiscreteVAE
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
    """Return the evidence lower bound E_q(z|x)[ln p(x|z)] − KL(q(z|x) ‖ p(z))  (paper, eq. 1).

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
    if not model.prior.has_closed_kl:
        require_prior(model.config.prior, "elbo", free_bits)
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
