"""The paper's convolutional encoder and decoder, for pictures of one channel and any size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

CHANNELS = (1, 32, 64, 64, 128)
"""Of the picture and after each convolution of the encoder; the decoder goes them backwards."""


def image_sizes(image_shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Height and width of the picture and after each convolution: h → ⌈h/2⌉, four times.

    That is what a 3×3 kernel with stride 2 and padding 1 makes of them. One pixel stays one.

    Example:
        >>> image_sizes((28, 28))
        [(28, 28), (14, 14), (7, 7), (4, 4), (2, 2)]
        >>> image_sizes((9, 32))
        [(9, 32), (5, 16), (3, 8), (2, 4), (1, 2)]
    """
    sizes = [image_shape]
    for _ in CHANNELS[1:]:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


class _Layers(nn.Module):
    """Weights and biases in order, drawn from U(−1/√n, 1/√n) with n the fan-in of each layer."""

    def __init__(
        self, shapes: Sequence[tuple[tuple[int, ...], int]], generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for weight_shape, n_out in shapes:
            # fan-in as torch counts it, also for transposed convolutions: all axes but the first
            bound = 1 / math.sqrt(math.prod(weight_shape[1:]))
            for parameters, shape in ((self.weights, weight_shape), (self.biases, (n_out,))):
                initial = torch.empty(shape).uniform_(-bound, bound, generator=generator)
                parameters.append(nn.Parameter(initial))

    def layers(self, *, frozen: bool = False) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of each layer, as torch's own layers hold them; ``frozen``: detached."""
        pairs = zip(self.weights, self.biases, strict=True)
        return [(w.detach(), b.detach()) if frozen else (w, b) for w, b in pairs]


class ConvEncoder(_Layers):
    """Four convolutions and a linear layer: the encoder of table 1 in Bartler et al. (2019).

    ::

        1×H×W → 32 → 64 → 64 → 128 channels    3×3, stride 2, padding 1, ReLU after each
              → flatten → n_out                linear

    For 28×28 the sizes are 28, 14, 7, 4, 2, so that 512 numbers enter the linear layer.

    Weights and biases start from U(−1/√n, 1/√n) with n the fan-in of the layer, torch's own default
    for ``nn.Conv2d`` and ``nn.Linear``, but drawn from ``generator``.

    Args:
        image_shape: H, W: height and width of the pictures.
        n_out: outputs per row, the natural parameters.
        generator: the source of the initial weights; None takes torch's global one.

    Example:
        >>> net = ConvEncoder((28, 28), 50, generator=torch.Generator().manual_seed(0))
        >>> net(torch.zeros(2, 784)).shape
        torch.Size([2, 50])
        >>> sum(parameter.numel() for parameter in net.parameters())
        155250
    """

    def __init__(
        self,
        image_shape: tuple[int, int],
        n_out: int,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        pairs = itertools.pairwise(CHANNELS)
        n_flat = CHANNELS[-1] * math.prod(image_sizes(image_shape)[-1])
        convolutions = [((n_to, n_from, 3, 3), n_to) for n_from, n_to in pairs]
        super().__init__([*convolutions, ((n_out, n_flat), n_out)], generator)
        self.image_shape = image_shape

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """``[N, H·W]`` to ``[N, n_out]``; ``frozen`` lets no gradient reach the parameters."""
        *convolutions, (weight, bias) = self.layers(frozen=frozen)
        # reshaped to [N, 1, H, W], the memory order of one channel is open, and torch takes its own
        h = x.reshape(len(x), *self.image_shape, 1).permute(0, 3, 1, 2)
        for kernel, shift in convolutions:
            function = F.conv2d
            if _is_narrow(h, h.shape[-1]):
                function = _in_float32(function)
            h = function(h, _channels_last(kernel), shift, stride=2, padding=1).relu_()
        return F.linear(h.flatten(1), weight, bias).to(weight.dtype)


class ConvDecoder(_Layers):
    """A linear layer and four transposed convolutions: the decoder of table 1, the way back.

    ::

        n_in → 128·h·w                                linear, ReLU
             → 64 → 64 → 32 → C×H×W channels          3×3, stride 2, padding 1, ReLU between

    h×w is what four halvings leave of H×W, 2×2 for 28×28. Every layer undoes the size of its
    counterpart in the encoder: the output padding is 1 where the size to reach is even, else 0.
    The table can be read in more than one way as to how wide the first layer is; 128·h·w mirrors
    what the encoder flattens. The last layer gives logits: the sigmoid is in the likelihood.

    Args:
        n_in: inputs per row, the code.
        image_shape: H, W: height and width of the pictures.
        n_channels: C, numbers that the likelihood needs of each pixel.
        generator: the source of the initial weights, as in `ConvEncoder`; None takes torch's
            global one.

    Example:
        >>> net = ConvDecoder(50, (28, 28), generator=torch.Generator().manual_seed(0))
        >>> net(torch.zeros(2, 50)).shape
        torch.Size([2, 784])
        >>> sum(parameter.numel() for parameter in net.parameters())
        155585
    """

    def __init__(
        self,
        n_in: int,
        image_shape: tuple[int, int],
        *,
        n_channels: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        sizes = image_sizes(image_shape)
        n_flat = CHANNELS[-1] * math.prod(sizes[-1])
        pairs = itertools.pairwise((*reversed(CHANNELS[1:]), n_channels))
        convolutions = [((n_from, n_to, 3, 3), n_to) for n_from, n_to in pairs]
        super().__init__([((n_flat, n_in), n_flat), *convolutions], generator)
        self.sizes = tuple(reversed(sizes))

    def forward(self, z: Tensor, *, frozen: bool = False) -> Tensor:
        """``[N, n_in]`` to ``[N, C·H·W]``; ``frozen`` lets no gradient reach the parameters."""
        (weight, bias), *convolutions, last = self.layers(frozen=frozen)
        h = F.linear(z, weight, bias).reshape(len(z), CHANNELS[-1], *self.sizes[0])
        h = _channels_last(h)
        for (kernel, shift), (height, width) in zip(convolutions, self.sizes[1:-1], strict=True):
            function = F.conv_transpose2d
            if _is_narrow(h, width):
                function = _in_float32(function)
            h = function(
                h.relu_(),
                _channels_last(kernel),
                stride=2,
                padding=1,
                output_padding=(1 - height % 2, 1 - width % 2),
            )
            # given to the transposed convolution, the bias makes its backward pass take twice as
            # long on a CPU: torch 2.13 forms the gradient of a bias as slowly as that of the kernel
            h = h.add_(shift.to(h.dtype).view(-1, 1, 1))
        return _few_channels(h.relu_(), *last, self.sizes[-1]).flatten(1)

    @property
    def output_bias(self) -> Tensor:
        """The biases of the last layer, ``[C]``, which all pixels share."""
        bias: Tensor = self.biases[-1]
        return bias.detach()


def _is_narrow(h: Tensor, width: int) -> bool:
    """Whether bfloat16 is to be kept away from a convolution of pictures of this width.

    What oneDNN makes of pictures one or two pixels wide is neither right nor always finite
    (torch 2.13): one pixel wide, the gradient of the kernel on any processor; on those that
    multiply tiles of bfloat16, also the values, and two pixels wide as well.
    """
    return width <= 2 and h.device.type == "cpu" and torch.is_autocast_enabled("cpu")


def _in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A convolution that autocast leaves alone."""

    def convolved(h: Tensor, kernel: Tensor, *shift: Tensor, **options: Any) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return function(h.to(kernel.dtype), kernel, *shift, **options)

    return convolved


def _few_channels(h: Tensor, kernel: Tensor, shift: Tensor, size: tuple[int, int]) -> Tensor:
    """The transposed convolution to few channels: ``[N, 32, h, w]`` to ``[N, C, H, W]``.

    Every place of h gives a patch of 3×3 values, and they add up where they overlap. Forwards, on a
    CPU, torch's own takes three times as long, and much of the decoder's time.
    """
    patches = h.permute(0, 2, 3, 1).flatten(1, 2) @ kernel.flatten(1)
    patches = patches.to(kernel.dtype)  # under autocast, which has multiplied in a shorter type
    folded = F.fold(patches.transpose(1, 2), size, kernel_size=3, stride=2, padding=1)
    return folded + shift.view(-1, 1, 1)


def _channels_last(tensor: Tensor) -> Tensor:
    """The same numbers with the channels side by side in memory.

    This saves a quarter of the decoder's forward pass on a CPU. Parameters stay in torch's plain
    order, so that a file of them says nothing of it.
    """
    return tensor.contiguous(memory_format=torch.channels_last)


__all__ = ["ConvDecoder", "ConvEncoder", "image_sizes"]
