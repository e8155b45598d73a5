"""The functions of z that estimators integrate: ln p(x|z) or ln p(x, z) of a batch."""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from discretevae.families import Family, states_like
from discretevae.likelihoods import Likelihood
from discretevae.networks.freezing import frozen
from discretevae.priors import Prior


class Scored(Protocol):
    """The parts of a model that a function of z needs: everything but its encoder."""

    family: Family
    likelihood: Likelihood
    prior: Prior
    decoder: Any

    def output(self, z: Tensor) -> Tensor:
        """Return the decoder's outputs for codes."""


class LogLikelihood:
    """f(z) = ln p(x|z) for a batch of rows: what the gradient estimators integrate.

    Args:
        model: with the decoder and the likelihood.
        x: ``[B, P]``.

    Example:
        >>> from discretevae import DiscreteVAE, ModelConfig
        >>> config = ModelConfig(n_features=4, latent="categorical:3", hidden=(8,))
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> f = model.log_likelihood(torch.rand(5, 4))
        >>> z = model.family.enumerate()                           # [3, 1, 3]
        >>> f(z.unsqueeze(1).expand(3, 5, 1, 3)).shape             # 15 decoder rows
        torch.Size([3, 5])
        >>> f.table().shape                                        # 3 decoder rows
        torch.Size([5, 3])
    """

    def __init__(self, model: Scored, x: Tensor, *, is_frozen: bool = False) -> None:
        self.model = model
        self.x = x
        self.is_frozen = is_frozen

    def __call__(self, z: Tensor) -> Tensor:
        """Return f of codes ``[S, B, *z_shape]``, in nats per row: ``[S, B]``."""
        with frozen(self.model.decoder, self.model.likelihood, when=self.is_frozen):
            return self.model.likelihood.log_prob(self.model.output(z), self.x)

    def table(self) -> Tensor:
        """Return f of every row and every state, ``[B, N]`` (`ConfigError` for too many)."""
        states = states_like(self.model.family, self.x)
        with frozen(self.model.decoder, self.model.likelihood, when=self.is_frozen):
            return self.model.likelihood.table(self.model.output(states), self.x)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return f ``[S, B]`` and ∂f/∂z ``[S, B, *z_shape]`` from one forward and backward pass.

        The gradient of what f learns is formed in that same backward pass and handed out when
        ``backward`` is called on f, provided that all samples have equal weights, as in a mean over
        samples and rows; else a second pass is made.
        """
        parameters = () if self.is_frozen else self.parameters()
        value, grad = _OnePass.apply(self, z, *parameters)  # type: ignore[no-untyped-call]
        return value, grad

    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Return what f learns: the decoder's parameters, and the likelihood's if it has any."""
        return *_trained(self.model.decoder), *_trained(self.model.likelihood)

    def frozen(self) -> LogLikelihood:
        """Return the same f, through which no gradient reaches its parameters."""
        return type(self)(self.model, self.x, is_frozen=True)


class LogJoint(LogLikelihood):
    """f(z) = ln p(x|z) + w ln p(z): what is integrated where KL(q ‖ p) has no closed form.

    The entropy of q, which has one, stays outside: −ln q(z) in f would add to the variance of the
    encoder's gradient and tell nothing.

    Args:
        model: with the decoder, the likelihood and the prior.
        x: ``[B, P]``.
        generator: the source of what a prior must draw.
        prior_weight: w.

    Attributes:
        last_means: the means over samples of ln p(x|z) and ln p(z) in the last call, each ``[B]``,
            detached; None before one.
        last_table: ln p(z) of all states in the last `table`, ``[N]``, detached; None before one.

    Example:
        >>> from discretevae import DiscreteVAE, ModelConfig
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", prior="autoregressive")
        >>> generator = torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE(config, generator=generator)
        >>> f = model.log_joint(torch.rand(5, 4), generator=generator)
        >>> z = torch.zeros(2, 5, 3)
        >>> log_px_given_z = model.log_likelihood(f.x)(z)
        >>> bool(torch.allclose(f(z), log_px_given_z + model.prior.log_prob(z)))
        True
    """

    def __init__(
        self,
        model: Scored,
        x: Tensor,
        *,
        generator: torch.Generator | None = None,
        prior_weight: float = 1.0,
        is_frozen: bool = False,
    ) -> None:
        super().__init__(model, x, is_frozen=is_frozen)
        self.generator, self.prior_weight = generator, prior_weight
        self.last_means: tuple[Tensor, Tensor] | None = None
        self.last_table: Tensor | None = None

    @torch.no_grad()
    def expected_log_prior(self, eta: Tensor) -> Tensor:
        """Return an estimate of E_q ln p(z), ``[B]``: the sum over a table, or one draw from q.

        The codes that an estimator evaluates need not follow q, so they cannot serve here.
        """
        family = self.model.family
        if self.last_table is not None:
            return family.log_prob_table(eta).exp() @ self.last_table
        z = family.sample(eta, 1, generator=self.generator)
        return self.model.prior.log_prob(z)[0]

    def __call__(self, z: Tensor) -> Tensor:
        """Return f of codes ``[S, B, *z_shape]``, in nats per row: ``[S, B]``."""
        log_likelihood, log_prior = super().__call__(z), self._log_prior(z)
        self.last_means = log_likelihood.detach().mean(0), log_prior.detach().mean(0)
        return log_likelihood + self.prior_weight * log_prior

    def table(self) -> Tensor:
        """Return f of every row and every state of an enumerable code, ``[B, N]``."""
        log_prior = self._log_prior(states_like(self.model.family, self.x))
        self.last_table = log_prior.detach()
        return super().table() + self.prior_weight * log_prior

    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Return the parameters of decoder, likelihood and prior."""
        return *super().parameters(), *_trained(self.model.prior)

    def frozen(self) -> LogJoint:
        """Return the same f, through which no gradient reaches its parameters."""
        return LogJoint(
            self.model,
            self.x,
            generator=self.generator,
            prior_weight=self.prior_weight,
            is_frozen=True,
        )

    def _log_prior(self, z: Tensor) -> Tensor:
        with frozen(self.model.prior, when=self.is_frozen):
            return self.model.prior.log_prob(z)


_may_wait: contextvars.ContextVar[bool] = contextvars.ContextVar("may_wait", default=True)


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Let `LogLikelihood.value_and_grad` assume that all samples have the same weight.

    Checking the weights means waiting for the device, which a step that is recorded as a CUDA graph
    cannot do. Where the weights differ all the same, the gradient is NaN, so that nobody is misled.
    """
    before = _may_wait.set(False)
    try:
        yield
    finally:
        _may_wait.reset(before)


def _trained(part: object) -> tuple[nn.Parameter, ...]:
    """Return the parameters that are to be trained; a user may have excluded some."""
    if not isinstance(part, nn.Module):
        return ()
    return tuple(parameter for parameter in part.parameters() if parameter.requires_grad)


class _OnePass(torch.autograd.Function):
    """Compute f(z) and ∂f/∂z at once, and keep the parameters' gradient for `backward`."""

    @staticmethod
    def forward(
        ctx: Any, f: LogLikelihood, z: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = f(z)
            grad, *ctx.kept = torch.autograd.grad(
                value.sum(), (z, *parameters), materialize_grads=True
            )
        ctx.f, ctx.z, ctx.parameters, ctx.may_wait = f, z, parameters, _may_wait.get()
        ctx.mark_non_differentiable(grad)
        return value.detach(), grad

    @staticmethod
    def backward(ctx: Any, weight: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        kept, ctx.kept = ctx.kept, None  # None on a second backward: it was used up
        if kept is not None:
            first = weight.flatten()[0]
            alike = (weight == first).all()
            if not ctx.may_wait:
                first = torch.where(alike, first, math.nan)
            if not ctx.may_wait or bool(alike):
                return None, None, *(grad.mul_(first) for grad in kept)
        with torch.enable_grad():
            value = ctx.f(ctx.z.detach())
        grads = torch.autograd.grad(value, ctx.parameters, weight, materialize_grads=True)
        return None, None, *grads
