"""The convolutional decoder forwards and backwards, its biases added apart or given to torch.

Both are timed in turn in one process, on the same codes.

    python benchmarks/convolutions.py
    python benchmarks/convolutions.py --batch-size 128 --precision bf16
"""

from __future__ import annotations

import json
import statistics
import time
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import click
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from discretevae.system.allocator import keep_freed_memory
from torch import Tensor

from discretevae.cli.ending import finish
from discretevae.networks import convolutional

_PLAIN = F.conv_transpose2d


def with_bias(net: convolutional.ConvDecoder) -> AbstractContextManager[object]:
    """Makes torch's transposed convolutions take the biases of ``net``, in the order of its layers.

    The network adds them once more afterwards, so the ratio comes out a little too large.
    """
    biases = list(net.biases)[1:-1]
    calls = iter(range(10**9))

    def convolved(h: Tensor, kernel: Tensor, **options: Any) -> Tensor:
        bias = biases[next(calls) % len(biases)]
        return _PLAIN(h, kernel, bias, **options)

    return mock.patch.object(convolutional.F, "conv_transpose2d", convolved)


@click.command()
@click.option("--batch-size", default=2048, show_default=True)
@click.option("--precision", type=click.Choice(["float32", "bf16"]), default="float32")
@click.option("--rounds", default=15, show_default=True)
def main(batch_size: int, precision: str, rounds: int) -> None:
    """Print the ratio of the medians of processor time."""
    torch.set_num_threads(1)
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    net = convolutional.ConvDecoder(50, (28, 28), generator=generator)
    z = (torch.rand(batch_size, 50, generator=generator) < 0.5).float()
    direction = torch.randn(batch_size, 784, generator=generator)

    def once() -> float:
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            out = net(z)
        out.backward(direction)  # type: ignore[no-untyped-call]
        return time.process_time() - began

    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 2):
        times[0].append(once())
        with with_bias(net):
            times[1].append(once())
    ours, plain = (statistics.median(some[2:]) for some in times)
    print(json.dumps({"batch_size": batch_size, "precision": precision, "ratio": plain / ours}))


if __name__ == "__main__":
    finish(main)
