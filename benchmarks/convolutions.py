"""The convolutional networks against the same layers of torch as they are.

Left out in turn: the bias that is added after a transposed convolution, and the order of memory in
which the channels of a pixel lie side by side. All are timed in turn in one process, on the same
rows.

    python benchmarks/convolutions.py
    python benchmarks/convolutions.py --batch-size 128 --precision bf16
"""

from __future__ import annotations

import copy
import json
import statistics
import time

import click
import torch
from torch import Tensor, nn

from discretevae.cli.ending import finish
from discretevae.networks.convolutional import (
    ConvDecoder,
    ConvEncoder,
    Pictures,
    TransposedConvolution,
)


class PlainBias(TransposedConvolution):
    """A transposed convolution that torch adds the bias to."""

    forward = nn.ConvTranspose2d.forward


class PlainPictures(Pictures):
    """Pictures in torch's usual order of memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Give rows the shape of pictures."""
        return x.reshape(-1, self.channels, *self.image_shape)


def without(net: nn.Module, kind: type[nn.Module], plain: type[nn.Module]) -> nn.Module:
    """The same network, some of whose layers are plain ones."""
    net = copy.deepcopy(net)
    for layer in net.modules():
        if isinstance(layer, kind):
            layer.__class__ = plain
    return net


@click.command()
@click.option("--batch-size", default=2048, show_default=True)
@click.option("--precision", type=click.Choice(["float32", "bf16"]), default="float32")
@click.option("--rounds", default=15, show_default=True)
def main(batch_size: int, precision: str, rounds: int) -> None:
    """Print the medians of processor time, there and back, by those of the package's networks."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    encoder = ConvEncoder((28, 28), 50, generator=generator)
    decoder = ConvDecoder(50, (28, 28), generator=generator)
    x = torch.rand(batch_size, 784, generator=generator)
    z = (torch.rand(batch_size, 50, generator=generator) < 0.5).float()
    cases = {
        "encoder": (encoder, x),
        "encoder, usual order": (without(encoder, Pictures, PlainPictures), x),
        "decoder": (decoder, z),
        "decoder, usual order": (without(decoder, Pictures, PlainPictures), z),
        "decoder, torch's bias": (without(decoder, TransposedConvolution, PlainBias), z),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds + 2):
        for name, (net, rows) in cases.items():
            began = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                out = net(rows)
            out.float().square().mean().backward()
            times[name].append(time.process_time() - began)
    medians = {name: statistics.median(some[2:]) for name, some in times.items()}
    ratios = {name: round(own / medians[name.split(",")[0]], 3) for name, own in medians.items()}
    print(json.dumps({"batch_size": batch_size, "precision": precision, "ratios": ratios}))


if __name__ == "__main__":
    finish(main)
