"""What an objective tells of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from discretevae.estimators import with_gradient_of


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


__all__ = ["Objective", "Terms"]
