"""What is maximized. How its gradient is estimated is the estimator's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from discretevae.estimators import Estimator, with_gradient_of
from discretevae.model import DiscreteVAE


@dataclass(frozen=True, eq=False)
class Terms:
    """The evidence lower bound of a batch, split as the paper plots it; nats per row, ``[B]``.

    Args:
        log_likelihood: the estimate of E_q ln p(x|z), detached.
        kl: KL(q(z|x) ‖ p(z)) in closed form, detached.
        surrogate: equal to ``elbo``; backward through it gives the gradient estimate.
        diagnostics: the estimator's further figures, each ``[B]``.
        control_loss: what trains the estimator's own parameters, if it has any.
    """

    log_likelihood: Tensor
    kl: Tensor
    surrogate: Tensor
    diagnostics: Mapping[str, Tensor]
    control_loss: Tensor | None = None

    @property
    def elbo(self) -> Tensor:
        """E_q ln p(x|z) − KL, ``[B]``."""
        return self.log_likelihood - self.kl

    @property
    def loss(self) -> Tensor:
        """−ELBO, averaged over rows (never over pixels): a scalar to call ``backward`` on.

        The estimator's own loss, if any, adds its gradient but not its value.
        """
        loss = -self.surrogate.mean()
        return (
            loss if self.control_loss is None else with_gradient_of(loss, loss + self.control_loss)
        )


def elbo(
    model: DiscreteVAE, x: Tensor, estimator: Estimator, *, generator: torch.Generator | None
) -> Terms:
    """The evidence lower bound and its gradient.

    ELBO = E_q(z|x)[ln p(x|z)] − KL(q(z|x) ‖ p(z))  (paper, eq. 5; here without its sign).

    The gradient is split as in the paper's figure 4: the decoder learns from its own backward
    pass at the sampled codes, the encoder from the estimator's surrogate; unless the estimator
    asks for it, nothing flows through the sample.

    Args:
        model: the model.
        x: rows ``[B, P]``.
        estimator: how the gradient of the first term is estimated.
        generator: the source of the samples.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> from discretevae.estimators import Importance
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> generator = torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE(config, generator=generator)
        >>> terms = elbo(model, torch.rand(5, 4), Importance(), generator=generator)
        >>> terms.loss.backward()
        >>> bool(torch.isclose(terms.loss, -terms.elbo.mean()))
        True
    """
    eta = model.eta(x)
    estimate = estimator(model.family, eta, model.log_likelihood(x), generator=generator)
    kl = model.prior.kl(eta)
    return Terms(
        estimate.value,
        kl.detach(),
        estimate.surrogate - kl,
        estimate.diagnostics,
        estimate.control_loss,
    )


__all__ = ["Terms", "elbo"]
