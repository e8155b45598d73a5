"""Storchastic: the score function, with the other sample for a baseline where there is one.

Decoder and likelihood are one deterministic function of the sample, so that its tensors are
unwrapped once; the Kullback-Leibler divergence is in closed form, a cost of its own.
"""

from __future__ import annotations

import math
from importlib.metadata import version

import storch
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution

from peers.setups import Setup, batches
from peers.worker import Turns

VERSION = f"storchastic {version('storchastic')}"


def run(setup: Setup, table: Tensor, turns: Turns, option: str) -> None:
    """Trains without end, one step at a time."""
    del option
    Distribution.set_default_validate_args(False)  # its checks would cost time
    encoder, decoder = nn.Sequential(*setup.encoder()), nn.Sequential(*setup.decoder())
    optimizer = torch.optim.Adam(
        [*encoder.parameters(), *decoder.parameters()], lr=setup.lr, fused=True
    )
    method = storch.method.ScoreFunction(
        "z",
        n_samples=setup.evaluations,
        baseline_factory="batch_average" if setup.evaluations > 1 else None,
    )

    @storch.deterministic
    def encode(x: Tensor) -> Tensor:
        return encoder(x)

    @storch.deterministic
    def divergence(eta: Tensor) -> Tensor:
        return (eta.sigmoid() * eta - F.softplus(eta) + math.log(2)).sum(-1)

    @storch.deterministic
    def misfit(z: Tensor, x: Tensor) -> Tensor:
        logits = decoder(z)
        target = x.expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)

    def step(batch: Tensor) -> float:
        optimizer.zero_grad()
        x = storch.denote_independent(batch, 0, "rows")
        eta = encode(x)
        storch.add_cost(divergence(eta), "divergence")
        storch.add_cost(misfit(method(Bernoulli(logits=eta)), x), "misfit")
        loss = storch.backward()
        optimizer.step()
        return loss.item()

    rows = batches(table, setup.batch)
    while True:
        turns.begin()
        turns.end(step(next(rows)))
