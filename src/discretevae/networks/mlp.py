"""Fully connected networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import assert_never

import torch
from torch import nn

from discretevae.config import ColumnSpec
from discretevae.config.activations import RELU, Activation
from discretevae.config.model_config import Init
from discretevae.networks.columns import ColumnInput
from discretevae.networks.counts import CountLinear
from discretevae.networks.layers import Layers


class MLP(Layers):
    """Linear layers with an activation between them: ``[N, n_in]`` to ``[N, n_out]``.

    Args:
        sizes: widths from input to output, at least two.
        activation: between the layers; the last one is linear.
        of_counts: whether the input are counts, for a `CountLinear` as first layer.
        columns: of an input whose columns are of several kinds, for a `ColumnInput` before the
            layers; ``sizes`` then begins with its outputs.
        init: how the initial weights are drawn, as `initialize` has it.
        generator: the source of the initial weights; None takes torch's global one.

    Example:
        >>> MLP([784, 1024, 50], generator=torch.Generator().manual_seed(0))
        MLP(
          (0): Linear(in_features=784, out_features=1024, bias=True)
          (1): ReLU(inplace=True)
          (2): Linear(in_features=1024, out_features=50, bias=True)
        )
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Activation = RELU,
        of_counts: bool = False,
        columns: Sequence[ColumnSpec] = (),
        init: Init = "torch",
        generator: torch.Generator | None = None,
    ) -> None:
        layers: list[nn.Module] = [ColumnInput(columns)] if columns else []
        with torch.device("meta"):
            for n_in, n_out in itertools.pairwise(sizes):
                kind = CountLinear if of_counts and not layers else nn.Linear
                layers += [kind(n_in, n_out), activation_module(activation)]
        super().__init__(*layers[:-1], init=init, generator=generator)
        self.sizes = tuple(sizes)


def activation_module(activation: Activation) -> nn.Module:
    """Return torch's module for an activation.

    Example:
        >>> activation_module(Activation("leaky-relu", 0.2))
        LeakyReLU(negative_slope=0.2, inplace=True)
    """
    if activation.name == "tanh":
        return nn.Tanh()
    # in place: nobody else reads what a layer hands to its activation, and memory is saved
    if activation.name == "leaky-relu":
        return nn.LeakyReLU(activation.slope, inplace=True)
    if activation.name == "relu":
        return nn.ReLU(inplace=True)
    assert_never(activation.name)
