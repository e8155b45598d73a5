"""Networks over the places of a code, ``[N, P, W]`` to the same: output i sees inputs 0 … i."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn


class Transformer(nn.Module):
    """Layers of causal attention and a small network each, both behind norms without parameters.

    Source: Vaswani et al., "Attention Is All You Need" (NeurIPS 2017), with the norms of Xiong et
    al., "On Layer Normalization in the Transformer Architecture" (ICML 2020).
    """

    def __init__(self, n_layers: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Attention(width) for _ in range(n_layers)])

    def forward(self, x: Tensor, cache: dict[int, Tensor] | None = None) -> Tensor:
        """Return an output of each place.

        With a cache, empty at first, x is the next place alone; keys and values are kept in it.
        """
        for i, layer in enumerate(self.layers):
            x = layer(x, cache, i)
        return _norm(x)


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.n_heads = 1 if width % 32 else width // 32
        self.attended, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, cache: dict[int, Tensor] | None, number: int) -> Tensor:
        heads = self.attended(_norm(x)).reshape(*x.shape[:2], 3, self.n_heads, -1)
        heads = heads.permute(2, 0, 3, 1, 4)  # [3, N, heads, P, W / heads]
        query, kept = heads[0], heads[1:]
        if cache is not None:
            kept = cache[number] = torch.cat([*(cache[n] for n in cache if n == number), kept], -2)
        key, value = kept
        found = F.scaled_dot_product_attention(query, key, value, is_causal=cache is None)
        x = x + self.joined(found.transpose(1, 2).flatten(2))
        changed: Tensor = x + self.down(F.gelu(self.up(_norm(x))))
        return changed


class GatedConvolutions(nn.Module):
    """Convolutions over the rows above a place, and over what lies to its left.

        v ← v + g(a),             a = 2×3 convolution of v, up to this row      v: x, a row lower
        h ← h + W g(b + U a),     b = 1×3 convolution of h, up to this place    h: x

    with g(a, a′) = tanh(a) σ(a′). Each layer reaches one row and one column further, two to the
    left. Source: van den Oord et al., "Conditional Image Generation with PixelCNN Decoders"
    (NeurIPS 2016), with shifted inputs in place of masks, and v added to its update.
    """

    def __init__(self, n_layers: int, width: int, grid_width: int) -> None:
        super().__init__()
        self.grid_width = grid_width
        self.layers = nn.ModuleList([_Gated(width) for _ in range(n_layers)])

    def forward(self, x: Tensor) -> Tensor:
        """Return an output of each place; there may be fewer than a grid has."""
        n_places = x.shape[1]
        x = F.pad(x, (0, 0, 0, -n_places % self.grid_width))  # to whole rows
        h = x.reshape(len(x), -1, self.grid_width, x.shape[2]).movedim(-1, 1)
        v = F.pad(h, (0, 0, 1, -1))
        for layer in self.layers:
            v, h = layer(v, h)
        return h.flatten(2).mT[:, :n_places]


class _Gated(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.above = nn.Conv2d(width, 2 * width, (2, 3))
        self.left = nn.Conv2d(width, 2 * width, (1, 3))
        self.between = nn.Conv2d(2 * width, 2 * width, 1)
        self.joined = nn.Conv2d(width, width, 1)

    def forward(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        above = self.above(F.pad(v, (1, 1, 1, 0)))
        left = self.left(F.pad(h, (2, 0))) + self.between(above)
        return v + _gate(above), h + self.joined(_gate(left))


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return a.tanh() * b.sigmoid()


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])
