"""The first layer of an encoder of tables whose columns are of several kinds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from discretevae.config import ColumnSpec
from discretevae.likelihoods.mixed import as_vectors


class ColumnInput(nn.Module):
    """Numbers that a linear layer can take: ``[N, P]`` to ``[N, C + P]``.

    Levels become one-hot, counts ln(1 + x), missing cells 0; behind them stands for each column
    whether its cell is missing.

    Example:
        >>> layer = ColumnInput([ColumnSpec("real"), ColumnSpec("categorical", 3)])
        >>> layer(torch.tensor([[0.5, 1.0], [float("nan"), 0.0]]))
        tensor([[0.5000, 0.0000, 1.0000, 0.0000, 0.0000, 0.0000],
                [0.0000, 1.0000, 0.0000, 0.0000, 1.0000, 0.0000]])
    """

    def __init__(self, columns: Sequence[ColumnSpec]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.n_out = sum(column.n_levels + 1 for column in columns)

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers of rows, ``[N, C + P]``."""
        return torch.cat((as_vectors(self.columns, x), x.isnan().to(x.dtype)), -1)
