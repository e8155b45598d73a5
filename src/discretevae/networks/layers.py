"""Layers one after the other, and how their initial weights are drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from discretevae.config.model_config import Init
from discretevae.networks.counts import CountLinear
from discretevae.networks.quantizers import QuantizedDecoder

LAYERS = nn.Linear, nn.Conv2d, nn.ConvTranspose2d, CountLinear
"""Those whose weights are drawn here."""


class Layers(nn.Sequential):
    """Layers one after the other, built on the meta device and then given their weights."""

    def __init__(
        self, *layers: nn.Module, init: Init = "torch", generator: torch.Generator | None = None
    ) -> None:
        super().__init__(*layers)
        initialize(self, init, generator)

    def __getitem__(self, index: slice | int) -> nn.Module:
        """Return a layer, or several of them as an `nn.Sequential`."""
        # torch would make another of the subclass, whose arguments are no layers
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else list(self)[index]


@torch.no_grad()
def initialize(
    network: nn.Module, init: Init = "torch", generator: torch.Generator | None = None
) -> None:
    """Give a network that was built on the meta device its memory and its initial weights.

    It is built there because the constructors of torch's layers draw from the global random state.
    Weights of linear and convolutional layers, in the order of the modules, are drawn from
    U(−b, b), with n_in and n_out the fans as `torch.nn.init` counts them:

    - ``torch``: b = 1/√n_in, for biases too; torch's own default;
    - ``glorot``: b = √(6/(n_in + n_out)), biases are 0 (Glorot & Bengio 2010, eq. 16);
    - ``he``: b = √(6/n_in), biases are 0 (He et al. 2015, eq. 10, as a uniform law).

    Other parameters must not be on the meta device, and keep their values. Without a generator the
    weights come from torch's global one.
    """
    for layer in network.modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            if parameter.is_meta:
                # `to_empty` would import sympy, which takes a third of a second
                empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                setattr(layer, name, nn.Parameter(empty))
        if not isinstance(layer, LAYERS):
            continue
        weight = layer.weight.T if isinstance(layer, CountLinear) else layer.weight
        bound = 1 / math.sqrt(weight[0].numel())
        if init == "torch":
            nn.init.uniform_(weight, -bound, bound, generator)
        elif init == "glorot":
            nn.init.xavier_uniform_(weight, generator=generator)
        else:
            nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)
        if layer.bias is None:
            continue
        if init == "torch":
            nn.init.uniform_(layer.bias, -bound, bound, generator)
        else:
            nn.init.zeros_(layer.bias)


def output_bias(network: nn.Module) -> Tensor | None:
    """Return the bias of the last layer, flattening aside; None where it cannot be known."""
    while isinstance(network, nn.Sequential | QuantizedDecoder):
        if isinstance(network, QuantizedDecoder):
            network = network.network
            continue
        layers = [layer for layer in network if not isinstance(layer, nn.Flatten | nn.Identity)]
        network = layers[-1] if layers else nn.Identity()
    return network.bias if isinstance(network, LAYERS) else None
