"""A training step against its bare matrix products, timed in turn in one process.

The step is the package's own loop, whole: gathering rows, sampling, both networks, gradients,
Adam, bookkeeping. The products are the ten that no implementation of it can avoid, written into
memory that is already there. The ratio of the medians is the figure; lone times mean nothing on a
shared machine.

    python benchmarks/step.py
    python benchmarks/step.py --latent categorical:100 --repeats 40 --json
"""

from __future__ import annotations

import contextlib
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable

import click
import torch
from torch import Tensor

from discretevae.cli.ending import finish
from discretevae.config import PRECISIONS, Precision, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.model.vae import DiscreteVAE
from discretevae.training import Progress, train

WARM_UP = 5


class _EnoughError(Exception):
    """Raised to leave the loop once enough steps were timed."""


def bare_products(model: DiscreteVAE, batch_size: int, evaluations: int) -> Callable[[], None]:
    """The matrix products of one step: for each layer, forward, weight and input gradient.

    The first layer of either network needs no input gradient: for the encoder that would be that
    of the data, for the decoder that of the sample.
    """
    products: list[tuple[Tensor, Tensor, Tensor]] = []
    for network, rows in ((model.encoder, batch_size), (model.decoder, batch_size * evaluations)):
        for i, weight in enumerate(p.detach().clone() for p in network.parameters() if p.ndim == 2):
            x, g = torch.rand(rows, weight.shape[1]), torch.rand(rows, weight.shape[0])
            products.append((x, weight.T, torch.empty_like(g)))
            products.append((g.T, x, torch.empty_like(weight)))
            if i > 0:
                products.append((g, weight, torch.empty_like(x)))

    def run() -> None:
        for a, b, out in products:
            torch.mm(a, b, out=out)

    run.count = len(products)  # type: ignore[attr-defined]
    return run


def measure(
    latent: str,
    hidden: tuple[int, ...],
    batch_size: int,
    estimator: str,
    repeats: int,
    precision: Precision = "float32",
) -> dict[str, object]:
    """Times steps and products in turn, after a warm-up; the products always in float32."""
    rows = Rows(
        torch.randint(0, 256, (max(20_000, 4 * batch_size), 784), dtype=torch.uint8),
        divisor=255.0,
        name="noise",
    )
    data = Dataset("noise", rows, rows.subset(slice(0, 100)))
    model = DiscreteVAE.for_data(data, latent=latent, hidden=hidden)
    from discretevae.estimators import make_estimator

    member = make_estimator(estimator, kind=model.family.spec.kind)
    products = bare_products(model, batch_size, member.evaluations)
    steps: list[float] = []
    bare: list[float] = []
    began = time.perf_counter()

    def between(progress: Progress) -> None:
        nonlocal began
        ended = time.perf_counter()
        if progress.metrics is None:
            steps.append(ended - began)
            products()
            bare.append(time.perf_counter() - ended)
        if len(steps) >= WARM_UP + repeats:
            raise _EnoughError
        began = time.perf_counter()

    config = TrainConfig(epochs=10_000, batch_size=batch_size, precision=precision)
    with contextlib.suppress(_EnoughError):
        train(model, data, config, estimator=member, progress=between)
    # the first step of an epoch also waits for the figures of the last one
    per_epoch = -(-len(rows) // batch_size)
    kept = [i for i in range(WARM_UP, len(steps)) if i % per_epoch]
    ratios = [steps[i] / bare[i] for i in kept]
    step, product = (statistics.median(times[i] for i in kept) for times in (steps, bare))
    return {
        "latent": latent,
        "hidden": list(hidden),
        "batch_size": batch_size,
        "estimator": estimator,
        "precision": precision,
        "products": products.count,  # type: ignore[attr-defined]
        "step_ms": round(1e3 * step, 2),
        "bare_ms": round(1e3 * product, 2),
        "ratio": round(step / product, 3),
        "ratio_of_pairs": round(statistics.median(ratios), 3),
        "repeats": len(kept),
        "threads": torch.get_num_threads(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


@click.command()
@click.option("--latent", default="bernoulli:50", show_default=True)
@click.option("--hidden", default="1024", show_default=True)
@click.option("--batch-size", default=2048, show_default=True)
@click.option("--estimator", default="importance", show_default=True)
@click.option("--repeats", default=25, show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    latent: str,
    hidden: str,
    batch_size: int,
    estimator: str,
    repeats: int,
    precision: Precision,
    as_json: bool,
) -> None:
    """Print the ratio of a training step to its bare matrix products."""
    widths = tuple(int(width) for width in hidden.split(","))
    result = measure(latent, widths, batch_size, estimator, repeats, precision)
    if as_json:
        json.dump(result, sys.stdout, indent=2)
        print()
        return
    print(
        f"784-{hidden}-{latent}, batch {batch_size}, {estimator}, {precision}: "
        f"step {result['step_ms']} ms, its "
        f"{result['products']} matrix products {result['bare_ms']} ms; ratio {result['ratio']} "
        f"(medians of {result['repeats']}; median ratio of neighbors {result['ratio_of_pairs']}); "
        f"peak memory {result['peak_memory_mb']} MB, {result['threads']} threads"
    )


if __name__ == "__main__":
    finish(main)
