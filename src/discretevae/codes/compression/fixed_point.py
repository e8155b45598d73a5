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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.codes.compression import reproducible
from discretevae.config.activations import RELU, Activation
from discretevae.errors import ConfigError
from discretevae.networks.convolutional import CHANNELS, ConvDecoder, ConvEncoder, image_sizes
from discretevae.networks.mlp import MLP
from discretevae.priors.masked import MaskedLinear, MaskedNetwork

Array = np.ndarray[Any, np.dtype[Any]]

ACTIVATION_BITS = 12
"""Activations are multiples of 2⁻¹²."""

MAX_ACTIVATION = 1 << 22
"""The largest A: an activation of 1024."""

WEIGHT_BITS = 24
"""The largest s. A float32 weight below 1 has no more bits than that."""

MAX_SUM = float(1 << 52)
"""One bit less than float64 can count to: room for the half that rounding adds."""

ALL = slice(None)

Network = Callable[[Tensor], Tensor]
"""Whole-number inputs ``[N, n_in]`` as float64 to outputs ``[N, n_out]``: exact float64 numbers."""


@dataclass(frozen=True)
class _Layer:
    """A Y = W A + B in whole numbers; outputs are multiples of 2^−``bits``."""

    weight: Tensor
    bias: Tensor | None
    bits: int


def exact_network(network: nn.Module, *, input_bits: int, scale: float, bound: int) -> Network:
    """The network as a function of whole numbers that is exact on every machine.

    Args:
        network: an MLP, or a convolutional encoder or decoder.
        input_bits: inputs are multiples of 2^−``input_bits``; 0 for bits and one-hot categories.
        scale: what the network's weights expect for an input of 1: 1/255 for bytes.
        bound: the largest input that occurs, as a whole number.

    Returns:
        A function of ``[N, n_in]`` float64 tensors of whole numbers on the CPU.

    Raises:
        ConfigError: the network is of a type that is not known, or a weight is not finite.

    Example:
        >>> net = MLP([3, 8, 2], generator=torch.Generator().manual_seed(0))
        >>> exact = exact_network(net, input_bits=0, scale=1.0, bound=1)
        >>> x = torch.tensor([[1.0, 0.0, 1.0]])
        >>> bool((exact(x.double()) - net(x)).abs().max() < 1e-3)
        True
    """
    start = _Inputs(input_bits, scale, bound)
    if isinstance(network, MLP):
        return _mlp(network, start)
    if isinstance(network, ConvEncoder):
        return _conv_encoder(network, start)
    if isinstance(network, ConvDecoder):
        return _conv_decoder(network, start)
    raise ConfigError(
        f"a {type(network).__name__} cannot be evaluated in whole numbers. Use an mlp or a cnn."
    )


@dataclass(frozen=True)
class _Inputs:
    """What enters a layer: multiples of 2^−bits, each worth ``scale``, whole numbers ≤ bound."""

    bits: int = ACTIVATION_BITS
    scale: float = 1.0
    bound: int = MAX_ACTIVATION


def _layer(weight: Tensor, bias: Tensor | None, inputs: _Inputs, *, terms: Sequence[int]) -> _Layer:
    """Rounds a layer to whole numbers.

    Args:
        weight: as the network holds it.
        bias: the same, or None.
        inputs: what enters.
        terms: the axes over which an output's sum runs.
    """
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


def _activate(sums: Tensor, bits: int, activation: Activation) -> Tensor:
    """Sums of a layer, multiples of 2^−bits, to the whole numbers that enter the next one."""
    scaled = sums * 2.0 ** (ACTIVATION_BITS - bits)
    if activation.name == "tanh":
        values = reproducible.tanh((scaled * 2.0**-ACTIVATION_BITS).numpy())
        scaled = torch.from_numpy(values) * 2.0**ACTIVATION_BITS
    elif activation.name == "relu":
        scaled = scaled.clamp(min=0)
    else:
        scaled = torch.where(scaled < 0, scaled * activation.slope, scaled)
    return torch.floor(scaled + 0.5).clamp_(-MAX_ACTIVATION, MAX_ACTIVATION)


def _linear(layer: _Layer, x: Tensor, units: slice | list[int] = ALL) -> Tensor:
    product = x @ layer.weight[units].T
    return product if layer.bias is None else product + layer.bias[units]


def _mlp(network: MLP, start: _Inputs) -> Network:
    layers: list[_Layer] = []
    for weight, bias in network.layers():
        layers.append(_layer(weight, bias, _Inputs() if layers else start, terms=(1,)))
    *hidden, last = layers

    def run(x: Tensor) -> Tensor:
        for layer in hidden:
            x = _activate(_linear(layer, x), layer.bits, network.activation)
        return _linear(last, x) * 2.0**-last.bits

    return run


class ExactConditionals:
    """A masked network in whole numbers: all conditionals at once, or one after the other.

    Args:
        network: whose inputs are bits and one-hot categories.

    Example:
        >>> net = MaskedNetwork((1, 3, 1), hidden=(8,), generator=torch.Generator().manual_seed(0))
        >>> exact = ExactConditionals(net)
        >>> exact(torch.zeros(2, 5).double()).shape, exact.begin(2).logits(1, 1, 4).shape
        (torch.Size([2, 5]), torch.Size([2, 3]))
    """

    def __init__(self, network: MaskedNetwork) -> None:
        start = _Inputs(0, 1.0, 1)
        self.activation = network.activation
        self.hidden: list[_Layer] = []
        self.degrees: list[dict[int, slice | list[int]]] = []
        for module in network.layers:
            if isinstance(module, MaskedLinear):
                self.hidden.append(_masked(module, _Inputs() if self.hidden else start))
                self.degrees.append(_by_degree(module.after))
        self.direct = _masked(network.direct, start)
        output = network.output
        self.output = None if output is None else _masked(output, _Inputs())

    def __call__(self, z: Tensor) -> Tensor:
        """Logits of all variables, ``[N, Σ widths]`` to ``[N, Σ widths]``."""
        h = z
        for layer in self.hidden:
            h = _activate(_linear(layer, h), layer.bits, self.activation)
        return self.outputs(z, h, ALL)

    def outputs(self, z: Tensor, h: Tensor, columns: slice) -> Tensor:
        """Logits of some columns from codes and the last hidden layer."""
        logits = _linear(self.direct, z, columns) * 2.0**-self.direct.bits
        if self.output is not None:
            # two exact numbers; their sum is rounded once, which IEEE 754 defines
            logits = logits + _linear(self.output, h, columns) * 2.0**-self.output.bits
        return logits

    def begin(self, n: int) -> Conditionals:
        """For ``n`` codes of which no variable is known yet."""
        return Conditionals(self, n)


class Conditionals:
    """Logits of one variable after the other, while a code becomes known.

    A hidden unit of degree m sees the variables 1 … m only and is computed once, when these are
    known: all variables together cost one pass of the network. Sums are exact, so that the logits
    are those of `ExactConditionals` to the bit.

    Args:
        exact: the network.
        n: codes.

    Attributes:
        z: the codes ``[n, Σ widths]``, zero where not yet known; to be written by the caller.
    """

    def __init__(self, exact: ExactConditionals, n: int) -> None:
        self._exact = exact
        self.z = torch.zeros(n, exact.direct.weight.shape[1], dtype=torch.float64)
        self._hidden = [torch.zeros(n, len(y.weight), dtype=torch.float64) for y in exact.hidden]

    def logits(self, known: int, start: int, stop: int) -> Tensor:
        """Logits ``[n, stop − start]`` of the columns of a variable.

        Args:
            known: variables before it, whose columns of z are written; called for 0, 1, 2 …
            start: its first column.
            stop: behind its last column.
        """
        exact, before = self._exact, self.z
        for layer, degrees, h in zip(exact.hidden, exact.degrees, self._hidden, strict=True):
            units = degrees.get(known)
            if units is not None:
                sums = _linear(layer, before, units)
                h[:, units] = _activate(sums, layer.bits, exact.activation)
            before = h
        return exact.outputs(self.z, before, slice(start, stop))


def _masked(layer: MaskedLinear, inputs: _Inputs) -> _Layer:
    return _layer(layer.weight * layer.mask(), layer.bias, inputs, terms=(1,))


def _by_degree(degrees: Sequence[int]) -> dict[int, slice | list[int]]:
    """The units of each degree; a slice where they are evenly spaced, which copies no weights."""
    units: dict[int, list[int]] = {}
    for unit, degree in enumerate(degrees):
        units.setdefault(degree, []).append(unit)
    return {degree: _as_slice(found) for degree, found in units.items()}


def _as_slice(units: list[int]) -> slice | list[int]:
    step = units[1] - units[0] if len(units) > 1 else 1
    even = range(units[0], units[-1] + 1, step)
    return slice(even.start, even.stop, step) if units == list(even) else units


def _conv_encoder(network: ConvEncoder, start: _Inputs) -> Network:
    *convolutions, (weight, bias) = network.layers(frozen=True)
    layers: list[_Layer] = []
    for kernel, shift in convolutions:
        inputs = _Inputs() if layers else start
        layers.append(_layer(kernel.flatten(1), shift, inputs, terms=(1,)))
    last = _layer(weight, bias, _Inputs(), terms=(1,))
    shape = network.image_shape
    sizes = image_sizes(shape)[1:]

    def run(x: Tensor) -> Tensor:
        h = x.reshape(len(x), 1, *shape)
        for layer, size in zip(layers, sizes, strict=True):
            # patches and a matrix product: a convolution proper may transform its inputs first
            sums = layer.weight @ F.unfold(h, 3, stride=2, padding=1)
            if layer.bias is not None:
                sums = sums + layer.bias.unsqueeze(1)
            h = _activate(sums, layer.bits, RELU).reshape(len(x), -1, *size)
        return _linear(last, h.flatten(1)) * 2.0**-last.bits

    return run


def _conv_decoder(network: ConvDecoder, start: _Inputs) -> Network:
    (weight, bias), *convolutions = network.layers(frozen=True)
    first = _layer(weight, bias, start, terms=(1,))
    # [n_from, n_to, 3, 3]: an output pixel sums over n_from and some of the nine places
    layers = [_layer(kernel, shift, _Inputs(), terms=(0, 2, 3)) for kernel, shift in convolutions]
    sizes = network.sizes

    def run(z: Tensor) -> Tensor:
        sums, bits = _linear(first, z), first.bits
        sums = sums.reshape(len(z), CHANNELS[-1], *sizes[0])
        for layer, size in zip(layers, sizes[1:], strict=True):
            h = _activate(sums, bits, RELU)
            patches = layer.weight.flatten(1).T @ h.flatten(2)
            sums = F.fold(patches, size, kernel_size=3, stride=2, padding=1)
            if layer.bias is not None:
                sums = sums + layer.bias.view(-1, 1, 1)
            bits = layer.bits
        return sums.flatten(1) * 2.0**-bits

    return run


def on_grid(values: Tensor, step: float, low: float, high: float) -> Array:
    """The numbers of the grid points next to the values: int64, from 0 at ``low``.

    Args:
        values: exact float64 numbers.
        step: between grid points, a power of two, so that the division is exact.
        low: the first grid point, a multiple of the step; what lies below goes there.
        high: the last one.

    Example:
        >>> on_grid(torch.tensor([-9.0, 0.3, 9.0]).double(), 0.5, -1.0, 1.0)
        array([0, 3, 4])
    """
    index = torch.floor(values / step + 0.5).clamp_(low / step, high / step) - low / step
    result: Array = index.long().numpy()
    return result
