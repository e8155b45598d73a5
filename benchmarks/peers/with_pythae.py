"""pythae: the nearest it has, since none of its models has bits between encoder and decoder.

Its Gaussian `VAE` on the same layers with as many latent numbers as there are bits, or `IWAE` with
that many samples where the decoder is to be evaluated more than once. The encoder gives a mean and
a logarithm of the variance for each, so its last layer is twice as wide. Both are trained by
reparametrization. The step is that of its trainer: the model's loss, backward, Adam.
"""

from __future__ import annotations

from importlib.metadata import version

import torch
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn

from peers.setups import Setup, batches
from peers.worker import Turns

VERSION = f"pythae {version('pythae')}"


class _Encoder(BaseEncoder):
    def __init__(self, setup: Setup) -> None:
        BaseEncoder.__init__(self)
        self.layers = nn.Sequential(*setup.encoder(2 * setup.bits))

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_variance = self.layers(x).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class _Decoder(BaseDecoder):
    def __init__(self, setup: Setup) -> None:
        BaseDecoder.__init__(self)
        # its cross-entropy takes probabilities
        self.layers = nn.Sequential(*setup.decoder(), nn.Sigmoid())

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z))


def run(setup: Setup, table: Tensor, turns: Turns, option: str) -> None:
    """Trains without end, one step at a time."""
    del option
    sizes = {"input_dim": (setup.pixels,), "latent_dim": setup.bits, "reconstruction_loss": "bce"}
    parts = (_Encoder(setup), _Decoder(setup))
    model = (
        VAE(VAEConfig(**sizes), *parts)
        if setup.evaluations == 1
        else IWAE(IWAEConfig(**sizes, number_samples=setup.evaluations), *parts)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=setup.lr, fused=True)

    def step(x: Tensor) -> float:
        output = model({"data": x}, epoch=1, dataset_size=len(table), uses_ddp=False)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        return output.loss.item()

    rows = batches(table, setup.batch)
    while True:
        turns.begin()
        turns.end(step(next(rows)))
