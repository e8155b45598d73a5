"""A training step on batches of colors against its bare convolutions, timed in turn in one process.

The bare convolutions are those that the step itself calls (linear layers among them), with the same
rows: each forward, and where the step goes back through it, the gradients of its kernel and of what
enters it. Noise stands for pictures of 32×32×3. The ratio of the medians is the figure.

    python benchmarks/color_step.py --network cnn
    python benchmarks/color_step.py --network resnet --latent categorical:512@8x8
"""

from __future__ import annotations

import contextlib
import json
import statistics
import time

import click
import torch
from torch import Tensor, nn

from discretevae.cli.ending import finish
from discretevae.config import TrainConfig
from discretevae.config.model_config import Network
from discretevae.data import Dataset, Rows
from discretevae.model.vae import DiscreteVAE
from discretevae.training import Progress, train

WARM_UP = 3
Call = tuple[nn.Module, Tensor, bool, bool]
"""A layer, what enters it, whether gradients are formed, and whether that of the input is."""


class _EnoughError(Exception):
    """Raised to leave the loop once enough steps were timed."""


def run_bare(calls: list[Call]) -> None:
    """Run the layers of a step alone."""
    for layer, x, goes_back, needs_input in calls:
        with torch.set_grad_enabled(goes_back):
            x = x.requires_grad_(needs_input)
            out = layer(x)
            if goes_back:
                inputs = [layer.weight, x] if needs_input else [layer.weight]
                torch.autograd.grad(out, inputs, torch.ones_like(out))


def measure(model: DiscreteVAE, data: Dataset, batch_size: int, repeats: int) -> dict[str, object]:
    """Time steps and their convolutions in turn."""
    calls: list[Call] = []
    steps: list[float] = []
    bare: list[float] = []
    is_noting = True

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        if is_noting:
            (x,) = inputs
            calls.append((layer, x.detach().clone(), torch.is_grad_enabled(), x.requires_grad))

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            layer.register_forward_hook(note)
    began = time.process_time()

    def between(progress: Progress) -> None:
        nonlocal began, is_noting
        ended = time.process_time()
        if progress.metrics is None:
            is_noting = False
            steps.append(ended - began)
            ended = time.process_time()
            run_bare(calls)
            bare.append(time.process_time() - ended)
        if len(steps) >= WARM_UP + repeats:
            raise _EnoughError
        began = time.process_time()

    with contextlib.suppress(_EnoughError):
        train(model, data, TrainConfig(epochs=1000, batch_size=batch_size), progress=between)
    step, product = (statistics.median(times[WARM_UP:]) for times in (steps, bare))
    return {
        "batch_size": batch_size,
        "layers": len(calls),
        "step_ms": round(1e3 * step, 1),
        "bare_ms": round(1e3 * product, 1),
        "ratio": round(step / product, 3),
        "threads": torch.get_num_threads(),
    }


@click.command()
@click.option("--network", type=click.Choice(["cnn", "resnet"]), default="cnn", show_default=True)
@click.option("--latent", default="bernoulli:64", show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--repeats", default=15, show_default=True)
def main(network: Network, latent: str, batch_size: int, repeats: int) -> None:
    """Print the ratio of a training step to its bare convolutions."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 256, (20 * batch_size, 3072), dtype=torch.uint8, generator=generator)
    rows = Rows(values, divisor=255.0, name="noise", image_shape=(32, 32, 3))
    data = Dataset("noise", rows, rows.subset(slice(0, 100)))
    model = DiscreteVAE.for_data(data, latent=latent, network=network)
    measured = measure(model, data, batch_size, repeats)
    print(json.dumps({"network": network, "latent": latent, **measured}))


if __name__ == "__main__":
    finish(main)
