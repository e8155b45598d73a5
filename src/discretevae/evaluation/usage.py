"""The part of a code that the data use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from discretevae.families import Family, parts_of, parts_with_eta
from discretevae.model.vae import DiscreteVAE

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
    """

    codes_used: int | None
    active_units: int
    code_entropy: float | None


class UsageTally:
    """Tally of what `CodeUsage` needs, chunk by chunk."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.codes: list[np.ndarray[Any, np.dtype[Any]]] = []
        self.sums = [torch.zeros(())] * len(parts_of(family))
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
        _, counts = np.unique(np.concatenate(self.codes), axis=0, return_counts=True)
        share = counts / counts.sum()
        return CodeUsage(len(counts), active, float(-(share * np.log(share)).sum()) + 0.0)


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
