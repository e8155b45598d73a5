"""Pixels that are 0 or 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor

from discretevae.config import LikelihoodSpec
from discretevae.likelihoods.base import Likelihood, Support


@dataclass(frozen=True)
class BernoulliLikelihood(Likelihood):
    """p(x|z) = Π_p x̂_p^{x_p} (1 − x̂_p)^{1 − x_p} with x̂ = sigmoid(output).

    For x in {0, 1} this is a probability. For grey values in between it is the usual
    cross-entropy surrogate: comparable between models of the same grey data, but not a likelihood.

    Channels: the logits.

    Example:
        >>> likelihood = BernoulliLikelihood()
        >>> likelihood.log_prob(torch.zeros(1, 1, 2), torch.tensor([[0.0, 1.0]]))   # 2 ln ½
        tensor([[-1.3863]])
        >>> likelihood.is_surrogate_for(torch.tensor([[0.5, 1.0]]))
        True
    """

    spec: ClassVar[LikelihoodSpec] = LikelihoodSpec("bernoulli")
    support: ClassVar[Support] = "unit interval"
    is_probability: ClassVar[bool] = True

    def is_surrogate_for(self, x: Tensor) -> bool:
        """Return whether some value is neither 0 nor 1."""
        return bool(((x != 0) & (x != 1)).any())

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return Σ_p x_p l_p − softplus(l_p) for logits l = ``output``, ``[S, B]``."""
        output, x = torch.broadcast_tensors(output, x)  # type: ignore[no-untyped-call]
        return -F.binary_cross_entropy_with_logits(output, x, reduction="none").sum(-1)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return x·l_nᵀ − Σ_p softplus(l_np): one matrix product, ``[B, N]``."""
        return x @ output.T - F.softplus(output).sum(-1)

    def mean(self, output: Tensor) -> Tensor:
        """Return x̂ = sigmoid(output)."""
        return torch.sigmoid(output)

    def output_for(self, mean: Tensor) -> Tensor:
        """Return logit x̂, with x̂ at least 0.001 away from 0 and 1."""
        return torch.logit(mean, eps=1e-3)

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """1 with probability x̂, else 0."""
        u = torch.rand(output.shape, dtype=output.dtype, device=output.device, generator=generator)
        return (u < torch.sigmoid(output.detach())).to(output.dtype)
