"""p(x|z): the log-probability of a row under what the decoder says, in nats per row.

The decoder's ``output`` is ``[S, B, P]`` for S samples of B rows of P features. `table` scores
every row against every state of an enumerable code with one matrix product: ``output`` is then
``[N, P]`` and the result ``[B, N]``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor

from discretevae.errors import ConfigError


class Likelihood(Protocol):
    """What the model needs of p(x|z)."""

    name: str
    needs_unit_interval: bool

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """ln p(x|z) of every sample and row: ``[S, B, P]``, ``[B, P]`` to ``[S, B]``."""
        ...

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """ln p(x_b | state n): ``[N, P]``, ``[B, P]`` to ``[B, N]``."""
        ...

    def mean(self, output: Tensor) -> Tensor:
        """E[x|z], the picture to show; same shape as ``output``."""
        ...

    def output_for(self, mean: Tensor) -> Tensor:
        """The output whose `mean` is this, kept off values that no output reaches."""
        ...


@dataclass(frozen=True)
class BernoulliLikelihood:
    """p(x|z) = Π_p x̂_p^{x_p} (1 − x̂_p)^{1 − x_p} with x̂ = sigmoid(output).

    For x in {0, 1} this is a probability. For grey values in between it is the usual
    cross-entropy surrogate: comparable between models of the same grey data, but not a likelihood.

    Example:
        >>> likelihood = BernoulliLikelihood()
        >>> likelihood.log_prob(torch.zeros(1, 1, 2), torch.tensor([[0.0, 1.0]]))   # 2 ln ½
        tensor([[-1.3863]])
    """

    name = "bernoulli"
    needs_unit_interval = True

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Σ_p x_p l_p − softplus(l_p) for logits l = ``output``, ``[S, B]``."""
        result: Tensor = _BernoulliLogProb.apply(output, x)  # type: ignore[no-untyped-call]
        return result

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """x·l_nᵀ − Σ_p softplus(l_np): one matrix product, ``[B, N]``."""
        return x @ output.T - F.softplus(output).sum(-1)

    def mean(self, output: Tensor) -> Tensor:
        """x̂ = sigmoid(output)."""
        return torch.sigmoid(output)

    def output_for(self, mean: Tensor) -> Tensor:
        """logit x̂, with x̂ at least 0.001 away from 0 and 1."""
        return torch.logit(mean, eps=1e-3)


@dataclass(frozen=True)
class GaussianLikelihood:
    """p(x|z) = N(x; x̂, 1) with x̂ = ``output``, for rows of real numbers.

    Example:
        >>> likelihood = GaussianLikelihood()
        >>> likelihood.log_prob(torch.zeros(1, 1, 2), torch.zeros(1, 2))            # −ln 2π
        tensor([[-1.8379]])
    """

    name = "gaussian"
    needs_unit_interval = False

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """−½ Σ_p (x_p − x̂_p)² − P/2 ln 2π, ``[S, B]``."""
        return -0.5 * (x - output).square().sum(-1) - self._constant(x)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """The square expanded: −½ (x·x + x̂·x̂) + x·x̂ᵀ − P/2 ln 2π, ``[B, N]``."""
        squares = x.square().sum(-1, keepdim=True) + output.square().sum(-1)
        return x @ output.T - 0.5 * squares - self._constant(x)

    def mean(self, output: Tensor) -> Tensor:
        """x̂ itself."""
        return output

    def output_for(self, mean: Tensor) -> Tensor:
        """x̂ itself."""
        return mean

    @staticmethod
    def _constant(x: Tensor) -> float:
        return 0.5 * x.shape[-1] * math.log(2 * math.pi)


def likelihood_named(name: str) -> Likelihood:
    """The likelihood that ``--likelihood`` names.

    Raises:
        ConfigError: there is none of that name.

    Example:
        >>> likelihood_named("gaussian")
        GaussianLikelihood()
    """
    for cls in (BernoulliLikelihood, GaussianLikelihood):
        if cls.name == name:
            return cls()
    raise ConfigError(f"likelihood {name!r} is unknown. Choices: bernoulli, gaussian.")


class _BernoulliLogProb(torch.autograd.Function):
    """Σ_p x l − softplus(l), leaving the residual x − sigmoid(l) behind as its own gradient.

    One exponential serves value and gradient: with s = sigmoid(l),
    softplus(l) = max(l, 0) − ln max(s, 1 − s), whose logarithm's argument lies in [½, 1], so no
    precision is lost at either end. torch's softplus alone costs over three times its sigmoid,
    because of log1p.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        s = torch.sigmoid(logits)
        terms = torch.sub(s, 0.5).abs_().add_(0.5).log_().addcmul_(x, logits)
        value = terms.sum(-1) - torch.clamp_min(logits, 0, out=terms).sum(-1)
        ctx.save_for_backward(logits, x)
        ctx.residual = torch.sub(x, s, out=s)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        residual, ctx.residual = ctx.residual, None
        grad = grad.unsqueeze(-1)
        if residual is None or torch.is_grad_enabled():
            # a second pass over the same graph, or one that is itself differentiated
            logits, x = ctx.saved_tensors
            return (x - torch.sigmoid(logits)) * grad, None
        return residual.mul_(grad), None


__all__ = ["BernoulliLikelihood", "GaussianLikelihood", "Likelihood", "likelihood_named"]
