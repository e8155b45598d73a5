"""Whether torch.compile pays: the same training step with it and without, in one process.

The model is 784-200-200-200 with 200 bits, batches of 100, two decoder evaluations: many small
operations, which is where a compiler has most to gain. A compiled step cannot hold a generator of
random numbers, so both steps get uniform numbers that are drawn outside; optimizer and products are
the same in both.

    python benchmarks/compiled.py
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import click
import torch
from step import bare_products
from torch import Tensor

from discretevae.cli.ending import finish
from discretevae.config import ModelConfig
from discretevae.config.latents import LatentKind
from discretevae.estimators import Estimate, Estimator, Integrand
from discretevae.estimators.base import injected
from discretevae.families import Family
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import elbo

CONFIG = ModelConfig(
    n_features=784, latent="bernoulli:200", hidden=(200, 200), activation="leaky-relu:0.3"
)
BATCH_SIZE = 100


@dataclass(frozen=True)
class GivenDisARM(Estimator):
    """`DisARM` with one pair, whose uniform numbers ``[B, D]`` are given."""

    uniform: Tensor

    is_unbiased: ClassVar[bool] = True
    kinds: ClassVar[tuple[LatentKind, ...]] = ("bernoulli",)
    evaluations: ClassVar[int] = 2

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Estimate as `DisARM` does."""
        q = torch.sigmoid(eta.detach())
        pair = torch.stack(((self.uniform < q), (self.uniform > 1 - q))).to(eta)
        fz = f(pair)
        first, second = fz.detach()
        half = 0.5 * (first - second).unsqueeze(-1)
        likelier = torch.maximum(q, 1 - q)
        return injected(fz, eta, likelier * half * (pair[0] - pair[1]))


@click.command()
@click.option("--rounds", default=200, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(rounds: int, threads: int) -> None:
    """Print medians of processor milliseconds for a step, and how long compiling took."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    model = DiscreteVAE(CONFIG, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    x = (torch.rand(BATCH_SIZE, 784, generator=generator) < 0.3).float()
    products = bare_products(model, BATCH_SIZE, 2)

    def loss(x: Tensor, uniform: Tensor) -> Tensor:
        return elbo(model, x, GivenDisARM(uniform), generator=None).loss

    def step(of: Callable[[Tensor, Tensor], Tensor]) -> float:
        start = time.process_time()
        value = of(x, torch.rand(BATCH_SIZE, 200, generator=generator))
        value.item()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return 1e3 * (time.process_time() - start)

    def bare() -> float:
        start = time.process_time()
        products()
        return 1e3 * (time.process_time() - start)

    compiled = torch.compile(loss, fullgraph=True)
    start = time.perf_counter()
    for _ in range(3):
        step(compiled)
    took = time.perf_counter() - start
    for _ in range(10):
        step(loss), bare()
    times = [(step(loss), step(compiled), bare()) for _ in range(rounds)]
    plain, fast, base = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        json.dumps(
            {
                "plain_ms": round(plain, 2),
                "compiled_ms": round(fast, 2),
                "products_ms": round(base, 2),
                "plain_by_products": round(plain / base, 3),
                "compiled_by_products": round(fast / base, 3),
                "compiling_s": round(took, 1),
            }
        )
    )


if __name__ == "__main__":
    finish(main)
