"""Random distortions of the rows that the encoder gets."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor

from discretevae.config import ImageShape, sides_of
from discretevae.config.augmentations import Augment


def distort(
    x: Tensor, augment: Augment, image_shape: ImageShape, *, generator: torch.Generator | None
) -> Tensor:
    """Turn, shear, scale and shift each picture at random, by bilinear sampling.

    What lies outside a picture is like its edge. Values stay within those of the picture.

    Args:
        x: rows ``[B, H·W·C]``.
        augment: how far, at most.
        image_shape: (H, W), or (H, W, C); all channels of a picture move alike.
        generator: the source of the draws.

    Example:
        >>> x = torch.zeros(1, 25)
        >>> x[0, 12] = 1.0                                           # the middle of 5×5
        >>> generator = torch.Generator().manual_seed(0)
        >>> moved = distort(x, Augment(shift=1.0), (5, 5), generator=generator)
        >>> moved.shape, bool((moved > 0).sum() > 1)                 # between pixels
        (torch.Size([1, 25]), True)
    """
    height, width, channels = sides_of(image_shape)
    u = 2 * torch.rand(5, len(x), dtype=x.dtype, device=x.device, generator=generator) - 1
    angle = u[0] * math.radians(augment.rotate)
    scale = 1 + u[1] * augment.scale
    cos, sin = angle.cos() * scale, angle.sin() * scale
    # `affine_grid` counts in halves of a side: of pictures that are not square, two units
    across = cos, (u[2] * augment.shear - sin) * height / width, u[3] * 2 * augment.shift / width
    down = sin * width / height, cos, u[4] * 2 * augment.shift / height
    theta = torch.stack((torch.stack(across, -1), torch.stack(down, -1)), 1)
    pictures = x.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return moved.permute(0, 2, 3, 1).reshape(x.shape)


def hide(x: Tensor, chance: float, *, generator: torch.Generator | None) -> Tensor:
    """Return rows ``[B, P]`` with some cells missing, NaN, each by the same chance."""
    u = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    return x.masked_fill(u < chance, math.nan)
