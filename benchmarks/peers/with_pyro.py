"""Pyro: `TraceGraph_ELBO`, the score function over a traced model and guide.

With one particle there is no baseline, as in our `importance` with q for a proposal. With more,
which run as one batch, the running mean of the costs is one: what the documentation offers
against the variance. ``svi`` takes `SVI.step` with Pyro's optimizer, one Adam per tensor, as its
tutorials do; ``adam`` takes the same gradients to a single fused Adam.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from peers.setups import Setup, batches
from peers.worker import Turns

VERSION = f"pyro-ppl {pyro.__version__}"


def run(setup: Setup, table: Tensor, turns: Turns, option: str) -> None:
    """Trains without end, one step at a time."""
    pyro.enable_validation(False)  # its checks are meant for debugging and would cost time
    step = _stepper(setup, option)
    rows = batches(table, setup.batch)
    while True:
        turns.begin()
        turns.end(step(next(rows)) / setup.batch)


def _stepper(setup: Setup, option: str) -> Callable[[Tensor], float]:
    encoder, decoder = nn.Sequential(*setup.encoder()), nn.Sequential(*setup.decoder())
    several = setup.evaluations > 1
    infer = {"baseline": {"use_decaying_avg_baseline": True}} if several else {}
    prior = torch.zeros(setup.bits)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=prior.expand(len(x), -1)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=encoder(x)).to_event(1), infer=infer)

    elbo = pyro.infer.TraceGraph_ELBO(
        num_particles=setup.evaluations, vectorize_particles=several, max_plate_nesting=1
    )
    if option == "svi":
        svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": setup.lr}), elbo)
        return svi.step

    optimizer = torch.optim.Adam(
        [*encoder.parameters(), *decoder.parameters()], lr=setup.lr, fused=True
    )

    def step(x: Tensor) -> float:
        optimizer.zero_grad()
        loss: float = elbo.loss_and_grads(model, guide, x)
        optimizer.step()
        return loss

    return step
