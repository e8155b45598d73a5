"""The part of a code that the data use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from discretevae.config import ModelConfig
from discretevae.families import Family, family_of, parts_of, parts_with_eta
from discretevae.model.vae import DiscreteVAE
from discretevae.system.arrays import Array

MAX_VALUES = 1 << 20
"""Of a symbol whose values are counted."""

ACTIVE_VARIANCE = 0.01
"""A latent variable whose posterior mean varies less than this over rows is called inactive."""


@dataclass(frozen=True)
class CodeUsage:
    """The part of the code that the data use.

    Of a code with a Gaussian part, ``codes_used`` and ``code_entropy`` are of its discrete part.

    Args:
        codes_used: distinct most-likely codes over the rows; None for a Gaussian code.
        active_units: latent variables whose posterior mean varies over rows by more than 0.01
            (for a category: the summed variance of its K probabilities).
        code_entropy: entropy in nats of the distribution of most-likely codes over the rows, at
            most ln min(rows, states); None for a Gaussian code.
        perplexity: e^H of the symbols of the most likely codes over the rows. Of a grid, what the
            variables of a place say together is one symbol, and all places are counted together;
            with a learned codebook each variable is one, counted together. Of another code H is
            the mean over the variables. None of several parts, real numbers, or symbols of more
            than 2^20 values.
        perplexity_share: the same by the number of values of a symbol, such as 512 = 2⁹.
    """

    codes_used: int | None
    active_units: int
    code_entropy: float | None
    perplexity: float | None = None
    perplexity_share: float | None = None


class UsageTally:
    """Tally of what `CodeUsage` needs, chunk by chunk."""

    def __init__(self, config: ModelConfig) -> None:
        self.config, self.family = config, family_of(config.latent)
        self.codes: list[Array] = []
        self.sums = [torch.zeros(())] * len(parts_of(self.family))
        self.squares = list(self.sums)
        self.rows = 0

    def add(self, eta: Tensor) -> None:
        """Add one chunk's natural parameters, ``[B, *eta_shape]``."""
        self.rows += len(eta)
        packed = []
        for i, (part, part_eta) in enumerate(parts_with_eta(self.family, eta)):
            discrete = part.n_states is not None
            mean = (part.mean(part_eta) if discrete else part.mode(part_eta)).double().cpu()
            self.sums[i] = self.sums[i] + mean.sum(0)
            self.squares[i] = self.squares[i] + mean.square().sum(0)
            if discrete:
                codes = part.to_codes(part.mode(part_eta)).cpu().numpy()
                is_bits = part.spec.kind == "bernoulli"
                packed.append(np.packbits(codes, axis=1) if is_bits else codes)
        if packed:
            self.codes.append(np.concatenate(packed, 1) if len(packed) > 1 else packed[0])

    def result(self) -> CodeUsage:
        """Return the usage over all chunks."""
        active = 0
        for part, total, squares in zip(
            parts_of(self.family), self.sums, self.squares, strict=True
        ):
            variance = squares / self.rows - (total / self.rows).square()
            per_variable = variance.reshape(part.n_variables, -1).sum(1)
            active += int((per_variable > ACTIVE_VARIANCE).sum())
        if not self.codes:
            return CodeUsage(None, active, None)
        codes = np.concatenate(self.codes)
        _, counts = np.unique(codes, axis=0, return_counts=True)
        entropy, (perplexity, share) = float(_entropy(counts)), self._perplexity(codes)
        return CodeUsage(len(counts), active, entropy, perplexity, share)

    def _perplexity(self, codes: Array) -> tuple[float | None, float | None]:
        """Return the perplexity of a symbol and its share, of codes as they are kept."""
        latent, quantizer = self.config.latent, self.config.quantizer
        has_codebook = quantizer is not None and quantizer.kind == "vector"
        n_together = latent.variables_per_place if latent.grid and not has_codebook else 1
        n_values = (latent.n_categories or 2) ** n_together
        if latent.kind not in ("bernoulli", "categorical") or n_values > MAX_VALUES:
            return None, None
        if latent.kind == "bernoulli":
            codes = np.unpackbits(codes, axis=1, count=latent.n_variables)
        digits = codes.reshape(-1, latent.n_variables // n_together, n_together)
        symbols = digits @ (latent.n_categories or 2) ** np.arange(n_together)
        n_groups = 1 if latent.grid or has_codebook else symbols.shape[1]
        own = symbols + n_values * (np.arange(symbols.shape[1]) % n_groups)
        counts = np.bincount(own.ravel(), minlength=n_groups * n_values)
        perplexity = math.exp(_entropy(counts.reshape(n_groups, n_values)).mean())
        return perplexity, perplexity / n_values


def _entropy(counts: Array) -> Array:
    """Return −Σ p ln p over the last axis, p the shares of counts."""
    share = counts / counts.sum(-1, keepdims=True)
    entropy: Array = abs((share * np.log(np.where(share > 0, share, 1))).sum(-1))
    return entropy


def n_discrete_states(family: Family) -> int | None:
    """Return the number of values of the discrete part of a code; None if it has none.

    Example:
        >>> from discretevae.families import family_of
        >>> n_discrete_states(family_of("categorical:10+gaussian:16"))
        10
        >>> n_discrete_states(family_of("gaussian:16")) is None
        True
    """
    counts = [part.n_states for part in parts_of(family) if part.n_states is not None]
    return math.prod(counts) if counts else None


def kl_per_variable(model: DiscreteVAE, eta: Tensor) -> Tensor:
    """Return KL(q(z_d|x_n) ‖ p(z_d)) of natural parameters ``[N, *eta_shape]``: ``[N, D]``, nats.

    Where the prior has no such parts, p is the reference: uniform, or standard normal.
    """
    if model.prior.has_closed_kl:
        return model.prior.kl_per_variable(eta)
    return model.family.kl_per_variable(eta, model.family.fixed_eta().to(eta))
