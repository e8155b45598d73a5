"""A model's networks in whole numbers: the same outputs to the bit, whoever computes them.

A matrix product of float32 or float64 depends, in its last bits, on the size of the batch, the
number of threads, the library and the processor, for each adds up in another order. Sums of whole
numbers below 2⁵³ are exact in float64 and therefore do not. Here weights and activations are whole
numbers that stand for multiples of powers of two,

    w = W 2⁻ˢ,   a = A 2⁻¹²,   W, A whole,   n max abs(W) max abs(A) + max abs(B) ≤ 2⁵²,

with n the terms of a sum and the largest s ≤ 24 for which the bound holds in each layer, whatever
its inputs may be. Every partial sum is then exact, in whatever order it is formed. Between layers
activations are rounded to multiples of 2⁻¹² and kept within ±1024.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.codes.compression import reproducible
from discretevae.errors import ConfigError
from discretevae.networks.convolutional import (
    Convolution,
    Pictures,
    PicturesOfRows,
    RowsOfPictures,
    TransposedConvolution,
)
from discretevae.priors.masked import MaskedLinear, MaskedNetwork
from discretevae.system.arrays import Array

ACTIVATION_BITS = 12
"""Activations are multiples of 2⁻¹²."""

MAX_ACTIVATION = 1 << 22
"""The largest A: an activation of 1024."""

WEIGHT_BITS = 24
"""The largest s. A float32 weight below 1 has no more bits than that."""

MAX_SUM = float(1 << 52)
"""One bit less than float64 can count to: room for the half that rounding adds."""

Network = Callable[[Tensor], Tensor]
"""Whole-number inputs ``[N, n_in]`` as float64 to outputs ``[N, n_out]``: exact float64 numbers."""


@dataclass(frozen=True)
class _Layer:
    """A Y = W A + B in whole numbers; outputs are multiples of 2^−``bits``."""

    weight: Tensor
    bias: Tensor | None
    bits: int


def exact_network(network: nn.Module, *, input_bits: int, scale: float, bound: int) -> Network:
    """Return the network as a function of whole numbers that is exact on every machine.

    It takes ``[N, n_in]`` float64 tensors of whole numbers on the CPU, multiples of
    2^−``input_bits`` up to ``bound``; the network's weights expect ``scale`` for an input of 1,
    such as 1/255 for bytes. Layers of other kinds than `SUMS`, `ACTIVATIONS` and `MOVES`, and
    weights that are not finite, are refused (`ConfigError`).
    """
    inputs = _Inputs(input_bits, scale, bound)
    steps: list[Network] = []
    bits: int | None = None  # of sums that no activation has rounded yet
    for layer in network if isinstance(network, nn.Sequential) else [network]:
        if type(layer) in SUMS and bits is None:
            step, bits = SUMS[type(layer)](layer, inputs)
            steps.append(step)
        elif type(layer) in ACTIVATIONS and bits is not None:
            steps.append(partial(_activate, bits=bits, activation=layer))
            bits, inputs = None, _Inputs()
        elif type(layer) in MOVES:
            steps.append(layer)
        else:
            raise _not_exact(layer)
    if bits is None:
        raise _not_exact(network)
    last = bits

    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x * 2.0**-last

    return run


def _not_exact(layer: nn.Module) -> ConfigError:
    return ConfigError(
        "compression computes networks in whole numbers, and knows no way to do so for "
        f"{type(layer).__name__} at this place. Use an mlp or a cnn, or an nn.Sequential of "
        "nn.Linear with nn.ReLU, nn.LeakyReLU or nn.Tanh between."
    )


@dataclass(frozen=True)
class _Inputs:
    """The input of a layer: multiples of 2^−bits, each worth ``scale``, whole numbers ≤ bound."""

    bits: int = ACTIVATION_BITS
    scale: float = 1.0
    bound: int = MAX_ACTIVATION


def _layer(weight: Tensor, bias: Tensor | None, inputs: _Inputs, *, terms: Sequence[int]) -> _Layer:
    """Round a layer to whole numbers; ``terms`` are the axes over which an output's sum runs."""
    if not bool(weight.isfinite().all() and (bias is None or bias.isfinite().all())):
        raise ConfigError("the model has weights that are not finite. Train it again.")
    weight = weight.detach().cpu().double() * inputs.scale
    n_terms = math.prod(weight.shape[axis] for axis in terms)
    # the largest weight n times rather than a sum of weights, whose last bit would be open; 2⁻²⁴
    # is room for the rounding
    largest = n_terms * (weight.abs().max().item() + 2.0**-WEIGHT_BITS) * inputs.bound
    if bias is not None:
        bias = bias.detach().cpu().double()
        largest += (bias.abs().max().item() + 1) * 2.0**inputs.bits
    bits = min(WEIGHT_BITS, math.frexp(MAX_SUM / largest)[1] - 1)
    whole = torch.floor(weight * 2.0**bits + 0.5)
    total = bits + inputs.bits
    shift = None if bias is None else torch.floor(bias * 2.0**total + 0.5)
    return _Layer(whole, shift, total)


def _activate(sums: Tensor, bits: int, activation: nn.Module) -> Tensor:
    """Turn sums of a layer, multiples of 2^−bits, into the whole input of the next one."""
    scaled = sums * 2.0 ** (ACTIVATION_BITS - bits)
    if isinstance(activation, nn.Tanh):
        values = reproducible.tanh((scaled * 2.0**-ACTIVATION_BITS).numpy())
        scaled = torch.from_numpy(values) * 2.0**ACTIVATION_BITS
    elif isinstance(activation, nn.LeakyReLU):
        scaled = torch.where(scaled < 0, scaled * activation.negative_slope, scaled)
    else:
        scaled = scaled.clamp(min=0)
    return torch.floor(scaled + 0.5).clamp_(-MAX_ACTIVATION, MAX_ACTIVATION)


def _linear(layer: _Layer, x: Tensor) -> Tensor:
    product = x @ layer.weight.T
    return product if layer.bias is None else product + layer.bias


def _linear_sums(module: nn.Linear, inputs: _Inputs) -> tuple[Network, int]:
    layer = _layer(module.weight, module.bias, inputs, terms=(1,))
    return partial(_linear, layer), layer.bits


def _convolution_sums(module: Convolution, inputs: _Inputs) -> tuple[Network, int]:
    layer = _layer(module.weight.flatten(1), module.bias, inputs, terms=(1,))

    def run(h: Tensor) -> Tensor:
        # patches and a matrix product: a convolution proper may transform its inputs first
        sums = layer.weight @ F.unfold(h, 3, stride=2, padding=1)
        if layer.bias is not None:
            sums = sums + layer.bias.unsqueeze(1)
        height, width = ((side + 1) // 2 for side in h.shape[2:])
        return sums.reshape(len(h), -1, height, width)

    return run, layer.bits


def _transposed_sums(module: TransposedConvolution, inputs: _Inputs) -> tuple[Network, int]:
    # [n_from, n_to, 3, 3]: an output pixel sums over n_from and some of the nine places
    layer = _layer(module.weight, module.bias, inputs, terms=(0, 2, 3))
    padding = module.output_padding

    def run(h: Tensor) -> Tensor:
        patches = layer.weight.flatten(1).T @ h.flatten(2)
        size = tuple(2 * side - 1 + more for side, more in zip(h.shape[2:], padding, strict=True))
        sums = F.fold(patches, size, kernel_size=3, stride=2, padding=1)
        return sums if layer.bias is None else sums + layer.bias.view(-1, 1, 1)

    return run, layer.bits


SUMS: Mapping[type[nn.Module], Callable[[Any, _Inputs], tuple[Network, int]]] = {
    nn.Linear: _linear_sums,
    Convolution: _convolution_sums,
    TransposedConvolution: _transposed_sums,
}
"""Layers that add up, as functions of whole numbers and the bits of their sums."""

ACTIVATIONS = nn.ReLU, nn.LeakyReLU, nn.Tanh
MOVES = nn.Flatten, nn.Identity, Pictures, PicturesOfRows, RowsOfPictures
"""Layers that compute nothing."""


class ExactConditionals:
    """A masked network in whole numbers, whose inputs are bits and one-hot categories."""

    def __init__(self, network: MaskedNetwork) -> None:
        start = _Inputs(0, 1.0, 1)
        self.activation: nn.Module = nn.Identity()
        self.hidden: list[_Layer] = []
        for module in network.hidden:
            if not isinstance(module, MaskedLinear):
                self.activation = module
            else:
                self.hidden.append(_masked(module, _Inputs() if self.hidden else start))
        self.direct = _masked(network.direct, start)
        output = network.output
        self.output = None if output is None else _masked(output, _Inputs())

    def __call__(self, z: Tensor) -> Tensor:
        """Return logits of all variables, each of those before it: ``[N, Σ widths]``."""
        logits, h = _linear(self.direct, z) * 2.0**-self.direct.bits, z
        for layer in self.hidden:
            h = _activate(_linear(layer, h), layer.bits, self.activation)
        if self.output is None:
            return logits
        # two exact numbers; their sum is rounded once, which IEEE 754 defines
        return logits + _linear(self.output, h) * 2.0**-self.output.bits


def _masked(layer: MaskedLinear, inputs: _Inputs) -> _Layer:
    return _layer(layer.weight * layer.mask(), layer.bias, inputs, terms=(1,))


def on_grid(values: Tensor, step: float, low: float, high: float) -> Array:
    """Return the numbers of the grid points next to exact float64 values: int64, from 0 at ``low``.

    The step is a power of two, so that the division is exact, and ``low`` a multiple of it. What
    lies outside of the grid goes to its first or last point.
    """
    index = torch.floor(values / step + 0.5).clamp_(low / step, high / step) - low / step
    result: Array = index.long().numpy()
    return result
