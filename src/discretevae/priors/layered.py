"""A second layer of bits that explains the first, with a posterior of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.config.activations import RELU, Activation
from discretevae.config.model_config import Init
from discretevae.errors import ConfigError
from discretevae.estimators import VIMCO, Estimator, default_estimator, estimator_for
from discretevae.families import MAX_STATES, Bernoulli, Family, is_enumerable, states_like
from discretevae.networks.freezing import frozen
from discretevae.networks.mlp import MLP
from discretevae.priors.base import Prior, choices_for, require_temperature
from discretevae.priors.factorized import FactorizedPrior


class LayeredPrior(Prior):
    """p(z₁) = Σ_z₂ p(z₂) p(z₁|z₂): the bits of a code explained by further bits; a bound.

        p(z₁|z₂) = Π_d Bernoulli(z₁_d; σ(decoder(z₂)_d)),   p(z₂) = Π_e p(z₂_e), learned
        ln p(z₁) ≥ E_q(z₂|z₁)[ln p(z₁|z₂)] − KL(q(z₂|z₁) ‖ p(z₂)),   q(z₂|z₁) = σ(encoder(z₁))

    This is a variational autoencoder whose data are codes. An estimator provides the expectation
    and its gradients, as in the first layer; the divergence is in closed form, since
    ln p(z₂) − ln q(z₂|z₁) in the samples would only add to their variance. The decoder's last
    layer starts at zero, so that training starts from fair coins.

    Args:
        family: a code of bits, z₁ with D₁ of them.
        n_variables: D₂, the bits of z₂.
        hidden: widths of the encoder's hidden layers, mirrored in the decoder; () for linear ones.
        activation: between the layers.
        init: how the initial weights are drawn, as `initialize` has it.
        estimator: of the expectation; None takes what the package takes for D₂ bits: exact sums
            up to 12, `DisARM` beyond.
        generator: the source of the initial weights; None takes torch's global one.

    Raises:
        ConfigError: the code is not made of bits, D₂ is below 1, or the estimator cannot be used:
            it learns something of its own, or estimates another bound.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> prior = LayeredPrior(Bernoulli(3), 20, generator=generator)
        >>> z = prior.sample(5, generator=generator)
        >>> bound = prior.log_prob(z, generator=generator)
        >>> bound.mean().backward()
        >>> bound.shape, prior.is_exact
        (torch.Size([5]), False)

    Source: the stochastic layers of Mnih & Rezende, "Variational Inference for Monte Carlo
    Objectives" (ICML 2016), section 5, and of Tucker et al., "REBAR" (NeurIPS 2017), section 7.
    """

    is_exact: ClassVar[bool] = False

    def __init__(
        self,
        family: Family,
        n_variables: int,
        *,
        hidden: Sequence[int] = (),
        activation: Activation = RELU,
        init: Init = "torch",
        estimator: Estimator | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(family)
        if not isinstance(family, Bernoulli):
            raise ConfigError(
                f"a second layer needs a first one of bits; {family.spec} is none. "
                f"Choose {choices_for(family)}."
            )
        if n_variables < 1:
            raise ConfigError(f"n_variables must be an int >= 1. Got {n_variables}.")
        second = Bernoulli(n_variables)
        if estimator is None:
            estimator = estimator_for(default_estimator(second), second)
        _check_estimator(estimator)
        self.estimator = estimator
        sizes = (family.n_variables, *hidden, n_variables)
        self.encoder = MLP(sizes, activation=activation, init=init, generator=generator)
        self.decoder = MLP(sizes[::-1], activation=activation, init=init, generator=generator)
        for parameter in self.decoder[-1].parameters():
            nn.init.zeros_(parameter)
        self.top = FactorizedPrior(second, learned=True)

    def log_prob(self, z: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return an estimate of the bound on ln p(z₁): ``[S, B, D₁]`` to ``[S, B]``.

        Its expectation is at most ln p(z₁). Its gradient in all parameters, and in z₁, estimates
        that of the bound, without bias if the estimator has none.

        Args:
            z: z₁.
            generator: the source of z₂; None takes torch's global one.
        """
        rows, lead = self._rows(z)
        eta = self.encoder(rows)
        f = _Explained(self, rows)
        expected = self.estimator(self.top.family, eta, f, generator=generator).surrogate
        return (expected - self.top.kl(eta)).reshape(lead)

    def log_weight(self, z: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return ln p(z₁|z₂) + ln p(z₂) − ln q(z₂|z₁) at one draw z₂ ~ q(z₂|z₁): ``[S, B]``.

        E exp(log_weight) = p(z₁), so that it may stand for ln p(z₁) in an S-sample bound. Its
        gradient is that of the three logarithms at the drawn z₂: right for the decoder and
        p(z₂); what the encoder would need besides, how the draw depends on it, is left out.

        Args:
            z: z₁, ``[S, B, D₁]``.
            generator: the source of z₂; None takes torch's global one.
        """
        rows, lead = self._rows(z)
        eta = self.encoder(rows)
        second = self.top.family.sample(eta.detach(), 1, generator=generator)
        log_q = self.top.family.log_prob(eta, second)
        log_weight = _Explained(self, rows)(second) + self.top.log_prob(second) - log_q
        return log_weight.reshape(lead)

    def log_prob_table(self) -> Tensor:
        """Return ln p of every z₁ itself, no bound: the sum over every z₂, ``[N]``.

        Raises:
            ConfigError: either layer has more than 4,096 states.
        """
        second = self.top.family
        if not is_enumerable(second):
            raise ConfigError(
                f"the second layer of {second.n_variables} bits has more than the {MAX_STATES:,} "
                "states that can be summed over. Make it smaller, or choose autoregressive."
            )
        states = states_like(self.family, self._like())
        explained = _Explained(self, states).table()
        return torch.logsumexp(explained + self.top.log_prob_table(), 1)

    @torch.no_grad()
    def sample(
        self, n: int, *, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        """Draw ``n`` codes, ``[n, D₁]``: z₂ from its prior, then z₁ given z₂."""
        require_temperature(temperature)
        second = self.top.sample(n, generator=generator, temperature=temperature)
        logits = self.decoder(second) / temperature
        return self.family.sample(logits, 1, generator=generator)[0]

    def _rows(self, z: Tensor) -> tuple[Tensor, torch.Size]:
        """Return z₁ as rows ``[N, D₁]``, and their shape before."""
        return z.reshape(-1, z.shape[-1]), z.shape[:-1]


class _Explained:
    """f(z₂) = ln p(z₁|z₂) for rows z₁ ``[N, D₁]``: what the estimator integrates."""

    def __init__(self, prior: LayeredPrior, rows: Tensor, *, is_frozen: bool = False) -> None:
        self.prior, self.rows, self.is_frozen = prior, rows, is_frozen

    def __call__(self, z: Tensor) -> Tensor:
        """Return f, nats per row: ``[S, N, D₂]`` to ``[S, N]``."""
        logits = self._logits(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:-1], -1)
        return (self.rows * logits - F.softplus(logits)).sum(-1)

    def table(self) -> Tensor:
        """Return f of every row and every state of z₂, ``[N, N₂]``."""
        logits = self._logits(states_like(self.prior.top.family, self.rows))
        return self.rows @ logits.T - F.softplus(logits).sum(-1)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return f and ∂f/∂z₂: ``[S, N]``, ``[S, N, D₂]``."""
        with torch.enable_grad():
            slope_at = z.detach().requires_grad_()
            (grad,) = torch.autograd.grad(self.frozen()(slope_at).sum(), slope_at)
        return self(z.detach()), grad

    def frozen(self) -> _Explained:
        """Return the same f, through which no gradient reaches the decoder."""
        return _Explained(self.prior, self.rows, is_frozen=True)

    def _logits(self, z: Tensor) -> Tensor:
        with frozen(self.prior.decoder, when=self.is_frozen):
            logits: Tensor = self.prior.decoder(z)
        return logits


def _check_estimator(estimator: Estimator) -> None:
    name = type(estimator).__name__
    if isinstance(estimator, nn.Module):
        raise ConfigError(
            f"{name} learns something of its own, for which a prior has no loss. "
            "Choose one that does not, such as DisARM()."
        )
    if "bernoulli" not in estimator.kinds or isinstance(estimator, VIMCO):
        raise ConfigError(
            f"{name} cannot estimate the bound of a second layer of bits. "
            "Choose another, such as DisARM()."
        )
