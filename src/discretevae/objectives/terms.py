"""The value of an objective on a batch, and what an objective is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from discretevae.estimators import Estimate, Estimator, with_gradient_of
from discretevae.estimators.base import require_estimator
from discretevae.model.row_checks import require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.priors import Prior


@dataclass(frozen=True, eq=False)
class Terms:
    """The objective of a batch, and the two parts of the ELBO; nats per row.

    Args:
        surrogate: ``[B]``, equal to the objective; backward through it gives the gradient.
        log_likelihood: ``[B]``, an estimate of E_q ln p(x|z), detached.
        kl: ``[B]``, KL(q(z|x) ‖ p(z)), detached; in closed form where the prior has one, else
            −H(q) − E_q ln p(z) at the samples that were drawn.
        diagnostics: the estimator's further figures, each ``[B]``.
        control_loss: what trains the estimator's own parameters, if it has any.
    """

    surrogate: Tensor
    log_likelihood: Tensor
    kl: Tensor
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)
    control_loss: Tensor | None = None

    @classmethod
    def of(cls, estimate: Estimate, surrogate: Tensor, log_likelihood: Tensor, kl: Tensor) -> Terms:
        """Return the terms of an estimate: its figures, and what trains its parameters."""
        figures, loss = estimate.diagnostics, estimate.control_loss
        return cls(surrogate, log_likelihood, kl.detach(), figures, loss)

    def weighted(self, weights: Tensor) -> Terms:
        """Return every figure of each row times the row's weight, ``[B]``, where 1 is the average.

        The loss is then Σ_b w_b loss_b / B. What trains the estimator's own parameters counts every
        row once: it makes the gradient less noisy, and no other.
        """
        return replace(
            self,
            surrogate=weights * self.surrogate,
            log_likelihood=weights * self.log_likelihood,
            kl=weights * self.kl,
            diagnostics={name: weights * figure for name, figure in self.diagnostics.items()},
        )

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


def natural_parameters(
    model: DiscreteVAE, x: Tensor, estimator: Estimator, encoder_input: Tensor | None
) -> Tensor:
    """Return the natural parameters of q(z|x), of arguments as an objective takes them."""
    require_parts(model, estimator)
    return model.eta(x if encoder_input is None else encoder_input)


def require_parts(model: DiscreteVAE, estimator: Estimator) -> None:
    """Refuse what is no model or no estimator (`ConfigError`)."""
    if not isinstance(getattr(model, "prior", None), Prior):  # what stands in for a model has one
        require_model(model)
    require_estimator(estimator)


class Objective(Protocol):
    """A function of a batch to maximize."""

    def __call__(
        self,
        model: DiscreteVAE,
        x: Tensor,
        estimator: Estimator,
        *,
        generator: torch.Generator | None,
        encoder_input: Tensor | None = None,
    ) -> Terms:
        """Estimate the objective of rows ``[B, P]``; arguments as of `elbo`."""
