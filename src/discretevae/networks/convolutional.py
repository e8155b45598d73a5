"""The paper's convolutional encoder and decoder, for pictures of any size."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.config import ImageShape, sides_of
from discretevae.config.model_config import Init
from discretevae.networks.layers import Layers

CHANNELS = (1, 32, 64, 64, 128)
"""Of a grey picture and after each convolution of the encoder; the decoder goes them backwards."""


def image_sizes(image_shape: ImageShape) -> list[tuple[int, int]]:
    """Return height and width of the picture and after each convolution: h → ⌈h/2⌉, four times.

    That is what a 3×3 kernel with stride 2 and padding 1 makes of them. One pixel stays one.
    """
    sizes = [sides_of(image_shape)[:2]]
    for _ in CHANNELS[1:]:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


class ConvEncoder(Layers):
    """Four convolutions and a linear layer: the encoder of table 1 in Bartler et al. (2019).

    ::

        C×H×W → 32 → 64 → 64 → 128 channels    3×3, stride 2, padding 1, ReLU after each
              → flatten → n_out                linear

    ``[N, H·W·C]`` to ``[N, n_out]``; C is 1 in the paper. For 28×28 the sizes are 28, 14,
    7, 4, 2, so that 512 numbers enter the linear layer.

    Args:
        image_shape: H, W of the pictures, and C of colors.
        n_out: outputs per row, the natural parameters.
        init: how the initial weights are drawn, as `initialize` has it.
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
        image_shape: ImageShape,
        n_out: int,
        *,
        init: Init = "torch",
        generator: torch.Generator | None = None,
    ) -> None:
        layers: list[nn.Module] = [PicturesOfRows(image_shape)]
        n_flat = CHANNELS[-1] * math.prod(image_sizes(image_shape)[-1])
        with torch.device("meta"):
            channels = sides_of(image_shape).channels, *CHANNELS[1:]
            for n_from, n_to in itertools.pairwise(channels):
                layers += [Convolution(n_from, n_to, 3, 2, 1), nn.ReLU(inplace=True)]
            layers += [nn.Flatten(), nn.Linear(n_flat, n_out)]
        super().__init__(*layers, init=init, generator=generator)


class ConvDecoder(Layers):
    """A linear layer and four transposed convolutions: the decoder of table 1, the way back.

    ::

        n_in → 128·h·w                                linear, ReLU
             → 64 → 64 → 32 → C×H×W channels          3×3, stride 2, padding 1, ReLU between

    ``[N, n_in]`` to ``[N, C·H·W]``, colors in the order of `RowsOfPictures`. h×w is what four
    halvings leave of H×W, 2×2 for 28×28. Every layer undoes the size of its counterpart in the
    encoder: the output padding is 1 where the size to reach is even, else 0. The table can be read
    in more than one way as to how wide the first layer is; 128·h·w mirrors what the encoder
    flattens, ``first`` changes the 128. The last layer gives logits: the sigmoid is in the
    likelihood.

    Args:
        n_in: inputs per row, the code.
        image_shape: H, W of the pictures, and their channels where they have colors.
        n_channels: numbers that the likelihood needs of each value.
        first: channels after the linear layer.
        init: how the initial weights are drawn, as `initialize` has it.
        generator: the source of the initial weights; None takes torch's global one.

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
        image_shape: ImageShape,
        *,
        n_channels: int = 1,
        first: int = CHANNELS[-1],
        init: Init = "torch",
        generator: torch.Generator | None = None,
    ) -> None:
        smallest, *sizes = reversed(image_sizes(image_shape))
        n_last = n_channels * sides_of(image_shape).channels
        pairs = itertools.pairwise((first, *reversed(CHANNELS[1:-1]), n_last))
        with torch.device("meta"):
            layers: list[nn.Module] = [nn.Linear(n_in, first * math.prod(smallest))]
            layers += [nn.ReLU(inplace=True), Pictures(first, smallest)]
            for (n_from, n_to), (height, width) in zip(pairs, sizes, strict=True):
                padding = (1 - height % 2, 1 - width % 2)
                layers += [TransposedConvolution(n_from, n_to, 3, 2, 1, padding)]
                layers += [nn.ReLU(inplace=True)]
        super().__init__(
            *layers[:-1], RowsOfPictures(n_channels, image_shape), init=init, generator=generator
        )


class Pictures(nn.Module):
    """``[N, C·H·W]`` to ``[N, C, H, W]`` with the channels of a pixel side by side in memory.

    In torch's usual order the encoder takes up to 1.2 times as long there and back on a CPU, the
    decoder 1.1 to 1.3 times (``benchmarks/convolutions.py``).
    """

    def __init__(self, channels: int, image_shape: tuple[int, int]) -> None:
        super().__init__()
        self.channels, self.image_shape = channels, image_shape

    def forward(self, x: Tensor) -> Tensor:
        """Give rows the shape of pictures."""
        pictures = x.reshape(-1, self.channels, *self.image_shape)
        return pictures.contiguous(memory_format=torch.channels_last)


class PicturesOfRows(nn.Module):
    """Rows of data ``[N, H·W·C]``, the colors of a pixel side by side, to ``[N, C, H, W]``."""

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.sides = sides_of(image_shape)

    def forward(self, x: Tensor) -> Tensor:
        """Give rows the shape of pictures; nothing is copied."""
        # [N, 1, H, W] may be read in both orders; strides that came from [N, H, W, 1] decide it
        return x.reshape(-1, *self.sides).permute(0, 3, 1, 2)


class RowsOfPictures(nn.Flatten):
    """The numbers of a likelihood, ``[N, L·C, H, W]``, to ``[N, L·H·W·C]``: L rows side by side.

    Channel l·C + c holds the l-th number of each value of color c. That is the order in which a
    `Likelihood` takes what a decoder gives, each of the L rows in the order of a row of data.
    """

    def __init__(self, n_numbers: int, image_shape: ImageShape) -> None:
        super().__init__()
        self.n_numbers, self.sides = n_numbers, sides_of(image_shape)

    def forward(self, h: Tensor) -> Tensor:
        """Make rows of pictures."""
        height, width, channels = self.sides
        parts = h.reshape(-1, self.n_numbers, channels, height, width)
        return parts.permute(0, 1, 3, 4, 2).flatten(1)


class Convolution(nn.Conv2d):
    """`torch.nn.Conv2d`, kept in float32 where oneDNN's bfloat16 is wrong."""

    def forward(self, h: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C', H', W']``."""
        if not _is_narrow(h, width=2):
            return super().forward(h)
        with torch.autocast("cpu", enabled=False):
            return super().forward(h.to(self.weight.dtype))


class TransposedConvolution(nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` that adds its bias itself, likewise kept in float32.

    torch 2.13 forms the gradient of a bias that it adds as slowly as that of the kernel: there and
    back the decoder then takes 1.2 times as long on a CPU, 1.8 times in bfloat16.
    """

    def forward(self, h: Tensor, output_size: list[int] | None = None) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C', H', W']``."""
        if not _is_narrow(h, width=1):
            return self._convolved(h)
        with torch.autocast("cpu", enabled=False):
            return self._convolved(h.to(self.weight.dtype))

    def _convolved(self, h: Tensor) -> Tensor:
        options = self.stride, self.padding, self.output_padding
        h = F.conv_transpose2d(h, self.weight, None, *options)  # type: ignore[arg-type]
        return h if self.bias is None else h.add_(self.bias.to(h.dtype).view(-1, 1, 1))


def _is_narrow(h: Tensor, *, width: int) -> bool:
    """Return whether bfloat16 must be kept away from a convolution of pictures of this width.

    What oneDNN makes of pictures one or two pixels wide is neither right nor always finite
    (torch 2.13): one pixel wide, the gradient of the kernel on any processor; on those that
    multiply tiles of bfloat16, also the values, and two pixels wide as well.
    """
    is_bfloat16 = h.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return is_bfloat16 and h.shape[-1] <= width
