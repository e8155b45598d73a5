"""Real numbers with heavy tails, and noise whose size depends on the code."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.config import LikelihoodSpec
from discretevae.likelihoods.base import Likelihood, Support

LEAST_SCALE = 1e-3
"""The least σ: repeated rows and constant columns would else drive it to 0."""

UNIT_SCALE = math.log(math.expm1(1 - LEAST_SCALE))
"""An output whose σ is 1, which suits standardized columns."""

FIRST_FREEDOM = 1.5
"""ν starts from 2.7: tails that heavy cost standardized columns without any little."""

PIECE = 1 << 22
"""Values of a table, over rows, states and features, that are formed in one go."""


class StudentLikelihood(nn.Module, Likelihood):
    """p(x|z) = Π_p t(x_p; x̂_p, σ_p, ν_p), Student's t around x̂_p: a table's default.

        ln t = ln Γ((ν+1)/2) − ln Γ(ν/2) − ½ ln πν − ln σ − (ν+1)/2 ln(1 + ((x − x̂)/σ)²/ν)
        σ_p = softplus(s_p) + 10⁻³,   ν_p = 1 + softplus(``freedom``_p)

    A value far out costs the logarithm of its distance, not the square, so that a few of them bend
    neither the model nor the score of a row. σ depends on the code: some kinds of rows vary more
    than others. ν > 1 is learned for each feature, and x̂ is the mean.

    Channels: x̂; s.

    Args:
        n_features: P.

    Attributes:
        freedom: ``[P]``, a parameter.

    Example:
        >>> likelihood = StudentLikelihood(1)
        >>> far = likelihood.log_prob(torch.zeros(1, 3, 2), torch.tensor([[0.0], [10.0], [20.0]]))
        >>> [round(step, 1) for step in far.diff()[0].tolist()]         # of a Gaussian: −50, −150
        [-8.1, -2.5]
    """

    spec: ClassVar[LikelihoodSpec] = LikelihoodSpec("student")
    support: ClassVar[Support] = "real"
    is_probability: ClassVar[bool] = False
    channels: ClassVar[int] = 2

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.freedom = nn.Parameter(torch.full((n_features,), FIRST_FREEDOM))

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return Σ_p ln t(x_p), ``[S, B]``."""
        return self.cells(output, x).sum(-1)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return Σ_p ln t(x_bp) under state n, ``[B, N]``, a few features at a time."""
        n_features, center = x.shape[1], x.unsqueeze(1)
        step = max(1, PIECE // (len(x) * len(output)))
        both = output.unflatten(-1, (2, -1))  # type: ignore[no-untyped-call]
        total: Tensor = x.new_zeros(len(x), len(output))
        for first in range(0, n_features, step):
            some = slice(first, first + step)
            total = total + self._scored(both[..., some], center[..., some], some).sum(-1)
        return total

    def cells(self, output: Tensor, x: Tensor) -> Tensor:
        """Return ln t(x_p) of every value: ``[..., 2P]``, ``[..., P]`` to ``[..., P]``."""
        both = output.unflatten(-1, (2, -1))  # type: ignore[no-untyped-call]
        return self._scored(both, x, slice(None))

    def mean(self, output: Tensor) -> Tensor:
        """Return x̂."""
        return output[..., : output.shape[-1] // 2]

    def output_for(self, mean: Tensor) -> Tensor:
        """Return the mean, and s for σ = 1."""
        return torch.cat((mean, torch.full_like(mean, UNIT_SCALE)), -1)

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return x̂ + σ (ν (u^(−2/ν) − 1))^½ cos 2πv, u and v uniform: Bailey's polar method."""
        center, raw = output.detach().chunk(2, -1)
        u, v = (
            torch.rand(center.shape, dtype=torch.float64, device=center.device, generator=generator)
            for _ in range(2)
        )
        nu = self._freedom().detach().double()
        radius = (nu * torch.expm1(-2 / nu * (1 - u).log())).sqrt()
        noise = radius * torch.cos(2 * math.pi * v)
        return (center + _scale(raw) * noise).to(output.dtype)

    def extra_repr(self) -> str:
        """Return the number of features."""
        return f"n_features={len(self.freedom)}"

    def _freedom(self) -> Tensor:
        return 1 + F.softplus(self.freedom)

    def _scored(self, both: Tensor, x: Tensor, some: slice) -> Tensor:
        """Return ln t of some features, of outputs ``[..., 2, p]`` and x ``[..., p]``."""
        center, scale, nu = both[..., 0, :], _scale(both[..., 1, :]), self._freedom()[some]
        constant = torch.lgamma((nu + 1) / 2) - torch.lgamma(nu / 2) - 0.5 * (math.pi * nu).log()
        distance = (x - center) / scale
        return constant - scale.log() - (nu + 1) / 2 * torch.log1p(distance.square() / nu)


def _scale(raw: Tensor) -> Tensor:
    return F.softplus(raw) + LEAST_SCALE
