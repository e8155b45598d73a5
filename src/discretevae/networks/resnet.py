"""Residual convolutional encoders and decoders, for pictures of any size and number of channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from discretevae.config.model_config import Init, halvings
from discretevae.config.pictures import ImageShape, sides_of
from discretevae.networks.convolutional import (
    Convolution,
    PicturesOfRows,
    RowsOfPictures,
    TransposedConvolution,
)
from discretevae.networks.layers import Layers

SMALLEST = 4
"""Height and width at which a flat code meets the pictures are at most this."""

Grid = tuple[int, int]


class ResNetEncoder(Layers):
    """Convolutions that halve the picture, each with residual blocks, and a layer for the code.

    ::

        C×H×W → width×⌈H/2⌉×⌈W/2⌉ → … → width×h×w      3×3, stride 2, each and `depth` blocks
              → n_out/(h·w) numbers at each of h×w places    ReLU, 1×1

    ``[N, H·W·C]`` to ``[N, n_out]``, pixels row by row, the channels of a pixel side by side; of a
    grid place by place in the same way. A flat code has no places: pictures are halved down to 4×4,
    and a linear layer is the last. There is no normalization, so that a place sees the pixels near
    it and no other row of the batch.

    Args:
        image_shape: (height, width) or (height, width, channels) of the pictures.
        n_out: outputs per row, the natural parameters.
        grid: (h, w) of the code, one of `halvings`; None of a flat one.
        width: channels between the layers.
        depth: residual blocks after each halving.
        init: how the initial weights are drawn, as `initialize` has it.
        generator: the source of the initial weights; None takes torch's global one.

    Example:
        >>> net = ResNetEncoder((32, 32, 3), 576, grid=(8, 8), width=16)
        >>> net(torch.zeros(2, 3072)).shape
        torch.Size([2, 576])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        n_out: int,
        *,
        grid: Grid | None = None,
        width: int = 64,
        depth: int = 1,
        init: Init = "glorot",
        generator: torch.Generator | None = None,
    ) -> None:
        sizes, n_from = level_sizes(image_shape, grid), sides_of(image_shape).channels
        n_places = math.prod(sizes[-1])
        layers: list[nn.Module] = [PicturesOfRows(image_shape)]
        with torch.device("meta"):
            for _ in sizes[1:]:
                layers += [Convolution(n_from, width, 3, 2, 1), *blocks(width, depth)]
                n_from = width
            layers.append(nn.ReLU())
            if grid is None:
                layers += [RowsOfPictures(1, (*sizes[-1], width))]
                layers += [nn.Linear(width * n_places, n_out)]
            else:
                layers += [Convolution(width, n_out // n_places, 1)]
                layers += [RowsOfPictures(1, (*grid, n_out // n_places))]
        super().__init__(*layers, init=init, generator=generator)


class ResNetDecoder(Layers):
    """A layer for the code, and the way back of `ResNetEncoder` by transposed convolutions.

    ::

        n_in/(h·w) numbers at each of h×w places → width×h×w      3×3; a linear layer of a flat code
              → … → n_channels·C×H×W          `depth` blocks each, ReLU, transposed 4×4, stride 2

    ``[N, n_in]`` to ``[N, n_channels·H·W·C]``, the likelihood's numbers channel after channel, each
    in the order of the pixels.

    Args:
        n_in: inputs per row, the code.
        image_shape: (height, width) or (height, width, channels) of the pictures.
        n_channels: numbers that the likelihood needs of each value of a pixel.
        grid, width, depth, init, generator: as in `ResNetEncoder`.

    Example:
        >>> net = ResNetDecoder(576, (32, 32, 3), n_channels=2, grid=(8, 8), width=16)
        >>> net(torch.zeros(2, 576)).shape
        torch.Size([2, 6144])
    """

    def __init__(
        self,
        n_in: int,
        image_shape: ImageShape,
        *,
        n_channels: int = 1,
        grid: Grid | None = None,
        width: int = 64,
        depth: int = 1,
        init: Init = "glorot",
        generator: torch.Generator | None = None,
    ) -> None:
        smallest, *sizes = reversed(level_sizes(image_shape, grid))
        n_places = math.prod(smallest)
        channels = [width] * (len(sizes) - 1) + [n_channels * sides_of(image_shape).channels]
        with torch.device("meta"):
            layers: list[nn.Module] = []
            if grid is None:
                layers += [nn.Linear(n_in, width * n_places), PicturesOfRows((*smallest, width))]
            else:
                layers += [PicturesOfRows((*grid, n_in // n_places))]
                layers += [Convolution(n_in // n_places, width, 3, 1, 1)]
            for size, n_to in zip(sizes, channels, strict=True):
                layers += [*blocks(width, depth), nn.ReLU()]
                layers += [Doubling(width, n_to, size)]
        layers.append(RowsOfPictures(n_channels, image_shape))
        super().__init__(*layers, init=init, generator=generator)


class ResidualBlock(nn.Module):
    """h + g·r(h), with r two convolutions of 3×3 after a ReLU each, and g learned from 0.

    So a network of many blocks begins as one without them, and needs no normalization. Sources: He
    et al., *Identity Mappings in Deep Residual Networks* (ECCV 2016); De & Smith, *Batch
    Normalization Biases Residual Blocks Towards the Identity Function* (NeurIPS 2020).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), Convolution(width, width, 3, 1, 1),
            nn.ReLU(), Convolution(width, width, 3, 1, 1),
        )  # fmt: skip
        self.gain = nn.Parameter(torch.zeros((), device="cpu"))

    def forward(self, h: Tensor) -> Tensor:
        """Leave the shape ``[N, width, H, W]`` as it is."""
        change: Tensor = self.layers(h)
        return h + self.gain * change


class Doubling(TransposedConvolution):
    """A transposed convolution to twice the size, or one less where that is the size to reach.

    Its kernel of 4×4 at stride 2 gives every pixel as many terms, which 3×3 would not.
    """

    def __init__(self, n_from: int, n_to: int, size: Grid) -> None:
        super().__init__(n_from, n_to, 4, 2, 1)
        self.size = size

    def forward(self, h: Tensor, output_size: list[int] | None = None) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C', *size]``."""
        return super().forward(h)[..., : self.size[0], : self.size[1]]


def blocks(width: int, depth: int) -> list[nn.Module]:
    """Return residual blocks."""
    return [ResidualBlock(width) for _ in range(depth)]


def level_sizes(image_shape: ImageShape, grid: Grid | None) -> list[Grid]:
    """Return height and width of the picture and after each halving down to the grid."""
    sizes = halvings(image_shape)
    if grid is not None:
        return sizes[: sizes.index(grid, 1) + 1]
    return [size for at, size in enumerate(sizes) if at < 2 or max(sizes[at - 1]) > SMALLEST]
