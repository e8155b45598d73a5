"""The colors of a pixel together: a mixture of logistics in which each color sees those before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from discretevae.config import LikelihoodSpec
from discretevae.likelihoods.base import Likelihood, Support
from discretevae.likelihoods.eight_bit import TOP, levels
from discretevae.likelihoods.logistic import LogisticLikelihood, component, log_scale


@dataclass(frozen=True)
class ColorLogisticLikelihood(Likelihood):
    """p(pixel|z) = Σ_m π_m Π_c p(k_c; μ_mc + Σ_{j<c} a_mcj (x_j − ½), s_mc) for x_c = k_c/255.

    p(k; μ, s) is that of `LogisticLikelihood`; M is ``n_components``, C is ``n_colors``. The
    component is one for all colors of a pixel.

    Channels: M logits, whose sum over the colors of a pixel is that of π; M times μ; M times the
    raw ln s; M times the raw a of each color, a = tanh, which those behind it use.

    Source: Salimans, Karpathy, Chen & Kingma, "PixelCNN++" (ICLR 2017), section 2.2, without the
    pixels before. There π has one logit for a pixel.
    """

    n_components: int
    n_colors: int
    support: ClassVar[Support] = "bytes"
    is_probability: ClassVar[bool] = True

    @property
    def spec(self) -> LikelihoodSpec:
        """Return ``color-logistic:M``."""
        return LikelihoodSpec.color_logistic(self.n_components)

    @property
    def channels(self) -> int:
        """M (C + 2)."""
        return self.n_components * (self.n_colors + 2)

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the sum over pixels: of every sample and row, ``[S, B]``."""
        log_weights, mu, raw, slopes = self._parts(output)
        x = x.reshape(*x.shape[:-1], 1, -1, self.n_colors)
        for j, slope in enumerate(slopes):
            mu = mu + slope * (x[..., j : j + 1] - 0.5)
        return (component(mu, raw, levels(x)).sum(-1) + log_weights).logsumexp(-2).sum(-1)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return ln p(x_b | state n), one state after the other, ``[B, N]``."""
        states = output.unsqueeze(1)
        each = [checkpoint(self.log_prob, state, x, use_reentrant=False) for state in states]
        return torch.stack(each, -1)

    def mean(self, output: Tensor) -> Tensor:
        """Return E[x|z] with earlier colors at their means: exact but for cuts at 0 and 1."""
        log_weights, mu, raw, slopes = self._parts(output)

        def mean(center: Tensor, c: int) -> Tensor:
            parameters = torch.stack((center, raw[..., c]), -1).flatten(0, -2)
            return LogisticLikelihood().mean(parameters).reshape(center.shape)

        colors = _in_turn(mu, slopes, mean) * log_weights.exp().unsqueeze(-1)
        return colors.sum(-3).flatten(-2)

    def output_for(self, mean: Tensor) -> Tensor:
        """Return what `LogisticLikelihood` does, for colors that do not depend on each other."""
        placed = LogisticLikelihood(self.n_components).output_for(mean)
        before = len(mean) if self.n_components == 1 else 0  # it has no logits
        return F.pad(placed, (before, self.channels * len(mean) - len(placed) - before))

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Draw a component for each pixel, and its colors in turn."""
        log_weights, *parts, slopes = self._parts(output)
        weights = log_weights.movedim(-2, -1).exp()
        drawn = torch.multinomial(weights.flatten(0, -2), 1, generator=generator)
        one = F.one_hot(drawn.reshape(weights.shape[:-1]), self.n_components).movedim(-1, -2)
        mu, raw, *slopes = ((part * one.unsqueeze(-1)).sum(-3) for part in (*parts, *slopes))
        u = torch.rand(mu.shape, dtype=mu.dtype, device=mu.device, generator=generator)
        noise = log_scale(raw).exp() * torch.logit(u, eps=torch.finfo(mu.dtype).eps)

        def draw(center: Tensor, c: int) -> Tensor:
            return ((center + noise[..., c]) * TOP).round().clamp(0, TOP) / TOP

        return _in_turn(mu, slopes, draw).flatten(-2)

    def _parts(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Return ln π, ``[…, M, pixels]``; μ, raw ln s and each earlier color's a, C behind."""
        c = self.n_colors
        planes = output.reshape(*output.shape[:-1], c + 2, self.n_components, -1, c)
        logits, mu, raw, *slopes = planes.unbind(-4)
        later = torch.ones(c, c, dtype=mu.dtype, device=mu.device).triu(1)
        used = [slope.tanh() * later[j] for j, slope in enumerate(slopes)]
        return logits.sum(-1).log_softmax(-2), mu, raw, used


def _in_turn(mu: Tensor, slopes: list[Tensor], color_at: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Return the colors ``[…, C]``, each formed at a center that those before it have moved."""
    colors: list[Tensor] = []
    for c, center in enumerate(mu.unbind(-1)):
        for slope, earlier in zip(slopes, colors, strict=False):
            center = center + slope[..., c] * (earlier - 0.5)
        colors.append(color_at(center, c))
    return torch.stack(colors, -1)
