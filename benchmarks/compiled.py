"""Whether torch.compile pays: the same training step with it and without, in one process.

The model is 784-200-200-200 with 200 bits, batches of 100, two decoder evaluations: many small
operations, which is where a compiler has most to gain.

    python benchmarks/compiled.py
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import click
import torch
from torch import Tensor

from discretevae.cli.ending import finish
from discretevae.config import ModelConfig
from discretevae.estimators import DisARM
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import elbo

CONFIG = ModelConfig(
    n_features=784, latent="bernoulli:200", hidden=(200, 200), activation="leaky-relu:0.3"
)


@click.command()
@click.option("--rounds", default=60, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(rounds: int, threads: int) -> None:
    """Print medians of processor milliseconds for a step, and how long compiling took."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    model = DiscreteVAE(CONFIG, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    x = (torch.rand(100, 784, generator=generator) < 0.3).float()

    def loss() -> Tensor:
        return elbo(model, x, DisARM(), generator=generator).loss

    def step(of: Callable[[], Tensor]) -> float:
        began = time.process_time()
        value = of()
        value.item()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return 1e3 * (time.process_time() - began)

    compiled = torch.compile(loss)
    began = time.perf_counter()
    for _ in range(3):
        step(compiled)
    took = time.perf_counter() - began
    times = [(step(loss), step(compiled)) for _ in range(rounds)]
    plain, fast = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        json.dumps(
            {
                "plain_ms": round(plain, 2),
                "compiled_ms": round(fast, 2),
                "compiled_by_plain": round(fast / plain, 3),
                "compiling_s": round(took, 1),
            }
        )
    )


if __name__ == "__main__":
    finish(main)
