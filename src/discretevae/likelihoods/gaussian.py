"""Real numbers, with noise of a given or of a learned size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from discretevae.config import LikelihoodSpec
from discretevae.errors import ConfigError
from discretevae.likelihoods.base import Support

SCALE_FLOOR = 1e-3
"""The least σ that can be learned. Rounding to k/255 alone is noise of 1.1e-3."""


@dataclass(frozen=True)
class GaussianLikelihood:
    """p(x|z) = Π_p N(x_p; x̂_p, σ²) with x̂ = ``output``, for rows of real numbers.

    Channels: x̂.

    Args:
        scale: σ, in the units of x.

    Raises:
        ConfigError: σ is not > 0 and finite.

    Example:
        >>> likelihood = GaussianLikelihood()
        >>> likelihood.log_prob(torch.zeros(1, 1, 2), torch.zeros(1, 2))            # −ln 2π
        tensor([[-1.8379]])
        >>> print(GaussianLikelihood(0.1).spec)
        gaussian:0.1
    """

    channels: ClassVar[int] = 1
    support: ClassVar[Support] = "real"
    needs_unit_interval: ClassVar[bool] = False
    is_probability: ClassVar[bool] = False

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check σ."""
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"scale must be > 0 and finite. Got {self.scale}.")

    @property
    def spec(self) -> LikelihoodSpec:
        """Return ``gaussian``, or ``gaussian:σ``."""
        return LikelihoodSpec.gaussian(self.scale)

    def n_outputs(self, n_features: int) -> int:
        """Return P."""
        return n_features

    def is_surrogate_for(self, x: Tensor) -> bool:
        """Return False, for it is a density for every x."""
        return False

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """−½ Σ_p ((x_p − x̂_p)/σ)² − P ln σ − P/2 ln 2π, ``[S, B]``."""
        squares = (x - output).square().sum(-1)
        return (-0.5 / self.scale**2) * squares - self._constant(x)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return (x·x̂ᵀ − ½ (x·x + x̂·x̂))/σ² − P ln σ − P/2 ln 2π, ``[B, N]``."""
        if self.scale == 1:
            return _minus_half_squares(output, x) - self._constant(x)
        # the expanded square cancels, and 1/σ² would magnify what rounding leaves of it
        wide = _minus_half_squares(output.double(), x.double()) / self.scale**2
        return (wide - self._constant(x)).to(output.dtype)

    def mean(self, output: Tensor) -> Tensor:
        """Return x̂ itself."""
        return output

    def output_for(self, mean: Tensor) -> Tensor:
        """Return x̂ itself."""
        return mean

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return x̂ + σε, ε ~ N(0, 1)."""
        return output.detach() + self.scale * _noise(output, generator)

    def _constant(self, x: Tensor) -> float:
        return x.shape[-1] * (math.log(self.scale) + 0.5 * math.log(2 * math.pi))


class LearnedGaussianLikelihood(nn.Module):
    """p(x|z) = Π_p N(x_p; x̂_p, σ_p²) with x̂ = ``output`` and one σ_p for each feature, learned.

    σ_p² = e^{2 s_p} + 10⁻⁶ with s_p = ``log_scale``: without a floor a feature that never changes
    would drive σ_p to 0 and the density to infinity. σ_p does not depend on z.

    Channels: x̂.

    Args:
        n_features: P.

    Attributes:
        log_scale: s, ``[P]``, a parameter. It starts from 0, that is σ_p = 1, which suits
            standardized data; `start_at` sets it to what the data vary by.

    Example:
        >>> likelihood = LearnedGaussianLikelihood(2)
        >>> likelihood.start_at(torch.tensor([0.5, 0.1]))
        >>> likelihood.scale()
        tensor([0.5000, 0.1000], grad_fn=<SqrtBackward0>)
    """

    spec = LikelihoodSpec("gaussian", None)
    channels = 1
    support: Support = "real"
    needs_unit_interval = False
    is_probability = False

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(n_features))

    def scale(self) -> Tensor:
        """σ, ``[P]``."""
        return (torch.exp(2 * self.log_scale) + SCALE_FLOOR**2).sqrt()

    @torch.no_grad()
    def start_at(self, std: Tensor) -> None:
        """Set σ to the standard deviation of each feature over the data, ``[P]``.

        It is the best σ of a decoder that returns the mean of the data, whatever the code; training
        has only to make it smaller.
        """
        variance = std.to(self.log_scale).square() - SCALE_FLOOR**2
        # ten times below the floor itself there is nothing more to win
        self.log_scale.copy_(0.5 * torch.log(variance.clamp(min=SCALE_FLOOR**2 / 100)))

    def n_outputs(self, n_features: int) -> int:
        """Return P."""
        return n_features

    def is_surrogate_for(self, x: Tensor) -> bool:
        """Return False, for it is a density for every x."""
        return False

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """−½ Σ_p ((x_p − x̂_p)/σ_p)² − Σ_p ln σ_p − P/2 ln 2π, ``[S, B]``."""
        scale = self.scale()
        return -0.5 * ((x - output) / scale).square().sum(-1) - self._constant(scale)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the square expanded, a matrix product in float64, since it cancels; ``[B, N]``."""
        scale = self.scale().double()
        wide = _minus_half_squares(output / scale, x / scale) - self._constant(scale)
        return wide.to(output.dtype)

    def mean(self, output: Tensor) -> Tensor:
        """Return x̂ itself."""
        return output

    def output_for(self, mean: Tensor) -> Tensor:
        """Return x̂ itself."""
        return mean

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return x̂ + σε, ε ~ N(0, 1)."""
        return output.detach() + self.scale().detach() * _noise(output, generator)

    def extra_repr(self) -> str:
        """Return the number of features."""
        return f"n_features={len(self.log_scale)}"

    @staticmethod
    def _constant(scale: Tensor) -> Tensor:
        return scale.log().sum() + 0.5 * len(scale) * math.log(2 * math.pi)


def _minus_half_squares(output: Tensor, x: Tensor) -> Tensor:
    """−½ Σ_p (x_bp − x̂_np)² as a matrix product, ``[B, N]``."""
    squares = x.square().sum(-1, keepdim=True) + output.square().sum(-1)
    return x @ output.T - 0.5 * squares


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)
