"""Real numbers, with noise of a given or of a learned size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from discretevae.config import LikelihoodSpec
from discretevae.errors import ConfigError
from discretevae.likelihoods.base import Likelihood, Support

SCALE_FLOOR = 1e-3
"""The least σ that can be learned. Rounding to k/255 alone is noise of 1.1e-3."""


class _Normal(Likelihood):
    """Normals around the decoder's output, x̂."""

    support: ClassVar[Support] = "real"
    is_probability: ClassVar[bool] = False

    def mean(self, output: Tensor) -> Tensor:
        """Return x̂ itself."""
        return output

    def output_for(self, mean: Tensor) -> Tensor:
        """Return x̂ itself."""
        return mean


@dataclass(frozen=True)
class GaussianLikelihood(_Normal):
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

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check σ."""
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"scale must be > 0 and finite. Got {self.scale}.")

    @property
    def spec(self) -> LikelihoodSpec:
        """Return ``gaussian``, or ``gaussian:σ``."""
        return LikelihoodSpec.gaussian(self.scale)

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """−½ Σ_p ((x_p − x̂_p)/σ)² − P ln σ − P/2 ln 2π, ``[S, B]``."""
        squares = (x - output).square().sum(-1)
        return (-0.5 / self.scale**2) * squares - self._constant(x)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return −½ Σ_p ((x_p − x̂_np)/σ)² − P ln σ − P/2 ln 2π, ``[B, N]``."""
        return (-0.5 / self.scale**2) * _squared_distances(output, x) - self._constant(x)

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return x̂ + σε, ε ~ N(0, 1)."""
        return output.detach() + self.scale * _noise(output, generator)

    def _constant(self, x: Tensor) -> float:
        return x.shape[-1] * (math.log(self.scale) + 0.5 * math.log(2 * math.pi))


class LearnedGaussianLikelihood(nn.Module, _Normal):
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

    spec: ClassVar[LikelihoodSpec] = LikelihoodSpec("gaussian", None)

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

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """−½ Σ_p ((x_p − x̂_p)/σ_p)² − Σ_p ln σ_p − P/2 ln 2π, ``[S, B]``."""
        scale = self.scale()
        return -0.5 * ((x - output) / scale).square().sum(-1) - self._constant(scale)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return −½ Σ_p ((x_p − x̂_np)/σ_p)² − Σ_p ln σ_p − P/2 ln 2π, ``[B, N]``."""
        # divided in float64: what float32 rounds off a large x/σ would be multiplied by it
        scale = self.scale().double()
        wide = -0.5 * _squared_distances(output / scale, x / scale) - self._constant(scale)
        return wide.to(output.dtype)

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return x̂ + σε, ε ~ N(0, 1)."""
        return output.detach() + self.scale().detach() * _noise(output, generator)

    def extra_repr(self) -> str:
        """Return the number of features."""
        return f"n_features={len(self.log_scale)}"

    @staticmethod
    def _constant(scale: Tensor) -> Tensor:
        return scale.log().sum() + 0.5 * len(scale) * math.log(2 * math.pi)


def _squared_distances(output: Tensor, x: Tensor) -> Tensor:
    """Σ_p (x_bp − x̂_np)², ``[N, P]``, ``[B, P]`` to ``[B, N]``, by a matrix product."""
    result: Tensor = _SquaredDistances.apply(output, x)  # type: ignore[no-untyped-call]
    return result


class _SquaredDistances(torch.autograd.Function):
    """x·x + x̂·x̂ − 2 x·x̂ᵀ, which cancels: formed around the mean of x̂, and in float64.

    The mean takes off what all have in common, as raw data far from 0 do; float64 keeps what is
    left where x̂ lie far apart. The gradient cancels far less, and is formed in the inputs' own
    type, because products in float64 cost twice as much.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(output, x)
        a, b = (each.double() for each in _around_mean(output, x))
        squares = b.norm(dim=-1, keepdim=True).square() + a.norm(dim=-1).square()
        return torch.addmm(squares, b, a.T, alpha=-2).to(output.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        output, x = ctx.saved_tensors
        a, b = _around_mean(output, x)
        to_output = 2 * (grad.sum(0).unsqueeze(1) * a - grad.T @ b)
        if not ctx.needs_input_grad[1]:
            return to_output, None
        return to_output, 2 * (grad.sum(1, keepdim=True) * b - grad @ a)


def _around_mean(output: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean of ``output`` over states from both, which leaves x − x̂ as it is."""
    center = output.detach().mean(0)
    return output - center, x - center


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)
