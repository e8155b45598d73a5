"""8-bit values as a continuous one that was rounded: discretised logistic distributions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor

from discretevae.config import LikelihoodSpec
from discretevae.errors import ConfigError
from discretevae.likelihoods.eight_bit import LEVELS, TOP, EightBit

MIN_LOG_SCALE = -8.0
"""The least ln s: a logistic of this width lies within one of the 256 values to 99 %."""

EDGES = 5
"""Of the 255 terms of a mean, so many are formed at once: they take that multiple of the memory."""

_LEAST_DELTA = 1e-30
"""Least probability of the 254 inner values, so that its logarithm is finite for any width."""

_START_LOG_SCALE = -2.0
_SPREAD = 0.25


@dataclass(frozen=True)
class LogisticLikelihood(EightBit):
    """p(k|z) = Σ_m π_m [F((k + ½)/255; μ_m, s_m) − F((k − ½)/255; μ_m, s_m)] for x = k/255.

    F(t; μ, s) = σ((t − μ)/s). The tails belong to the ends: F(−½/255) counts as 0 and
    F(255½/255) as 1, so that μ far outside of [0, 1] puts nearly everything on 0 or 255.

        ln p = ln σ(b) + ln σ(−a) + ln(1 − e^{−δ}),   a, b = (k ∓ ½ − 255 μ)/(255 s), δ = 1/(255 s)

    is the same without a difference of two close numbers.

    Channels: μ and then the raw ln s, when M = 1; else M logits of π, M times μ, M times the raw
    ln s. ln s = −8 + softplus(raw + 8).

    Args:
        n_components: M.

    Raises:
        ConfigError: M is not an int ≥ 1.

    Example:
        >>> likelihood = LogisticLikelihood()
        >>> output = torch.tensor([[0.0, -2.0]])                      # half of it lies below 0
        >>> likelihood.log_prob(output, torch.tensor([[0.0], [1.0]])).exp()
        tensor([0.5036, 0.0006])
        >>> LogisticLikelihood(5).n_outputs(784) // 784
        15

    Source: Salimans, Karpathy, Chen & Kingma, "PixelCNN++" (ICLR 2017), eq. 2, without the
    dependence between colors. Others differ in their units (x in [−1, 1]), in the least s, and in
    that many replace small masses by a density times a width, where all of these are exact.
    """

    n_components: int = 1

    def __post_init__(self) -> None:
        """Check M."""
        if not isinstance(self.n_components, int) or self.n_components < 1:
            raise ConfigError(f"n_components must be an int >= 1. Got {self.n_components}.")

    @property
    def spec(self) -> LikelihoodSpec:
        """Return ``logistic``, or ``logistic:M``."""
        return LikelihoodSpec.logistic(self.n_components)

    @property
    def channels(self) -> int:
        """2 for one component, 3·M for several."""
        return 2 if self.n_components == 1 else 3 * self.n_components

    def mean(self, output: Tensor) -> Tensor:
        """Return Σ_{j=1}^{255} P(k ≥ j) / 255,  P(k ≥ j) = Σ_m π_m σ((μ_m − (j − ½)/255)/s_m)."""
        n_features = output.shape[-1] // self.channels
        logits, mu, raw = _split(output.reshape(-1, self.channels, n_features))
        inverse_scale = (-log_scale(raw)).exp()
        above = torch.zeros_like(mu)
        edges = (torch.arange(TOP, dtype=mu.dtype, device=mu.device) + 0.5) / TOP
        for some in edges.reshape(-1, EDGES, 1, 1, 1):
            above = above + torch.sigmoid((mu - some) * inverse_scale).sum(0)
        weights = 1.0 if logits is None else logits.softmax(1)
        mean = (above / TOP * weights).sum(1)
        return mean.reshape(*output.shape[:-1], n_features)

    def output_for(self, mean: Tensor) -> Tensor:
        """Return equal components of a fixed width, side by side, moved to this mean by halving.

        The mean is kept 0.001 away from 0 and 1.
        """
        target = mean.double().clamp(1e-3, 1 - 1e-3)
        low, high = torch.full_like(target, -4), torch.full_like(target, 5)
        for _ in range(60):  # 2⁻⁶⁰ of the first interval
            middle = (low + high) / 2
            is_below = self.mean(self._placed(middle)) < target
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        return self._placed(low).to(mean.dtype)

    def _placed(self, center: Tensor) -> Tensor:
        """Return the output whose components lie around this center: ``[P]`` to ``[C·P]``."""
        width = torch.full_like(center, _START_LOG_SCALE)
        if self.n_components == 1:
            return torch.cat((center, width))
        m = self.n_components
        offsets = torch.linspace(-_SPREAD, _SPREAD, m).tolist()
        parts = [torch.zeros_like(center)] * m + [center + o for o in offsets] + [width] * m
        return torch.cat(parts)

    def _log_mass(self, output: Tensor, k: Tensor) -> Tensor:
        """Return ln p(k) of ``[..., C, P]`` and ``[..., P]``: ``[..., P]``."""
        logits, mu, raw = _split(output)
        terms = component(mu, raw, k.unsqueeze(-2))
        if logits is None:
            return terms.squeeze(-2)
        return (terms + logits.log_softmax(-2)).logsumexp(-2)

    def _log_masses(self, parameters: Tensor) -> Tensor:
        """ln p(k) of every k: ``[C, *shape]`` to ``[256, *shape]``."""
        flat = parameters.flatten(1)
        k = torch.arange(LEVELS, dtype=flat.dtype, device=flat.device).unsqueeze(1)
        return self._log_mass(flat, k).reshape(LEVELS, *parameters.shape[1:])


def _split(output: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    """Logits of π, μ and raw ln s, each ``[..., M, P]``."""
    if output.shape[-2] == 2:
        return None, output[..., :1, :], output[..., 1:, :]
    logits, mu, raw = output.chunk(3, -2)
    return logits, mu, raw


def log_scale(raw: Tensor) -> Tensor:
    """Return ln s of the decoder's number."""
    return F.softplus(raw - MIN_LOG_SCALE) + MIN_LOG_SCALE


def component(mu: Tensor, raw: Tensor, k: Tensor) -> Tensor:
    """Return ln of the mass that one logistic gives to k."""
    inverse = (-log_scale(raw)).exp()
    b = ((k + 0.5) / TOP - mu) * inverse
    a = ((k - 0.5) / TOP - mu) * inverse
    above, below = k.clamp(max=1), (TOP - k).clamp(max=1)
    delta = (inverse / TOP).clamp(min=_LEAST_DELTA)
    within = (-torch.expm1(-delta)).log()
    return below * F.logsigmoid(b) + above * F.logsigmoid(-a) + (above + below - 1) * within
