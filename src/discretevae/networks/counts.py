"""The first layer of an encoder of counts: tf-idf, and products with the words of a row alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn


class CountLinear(nn.Module):
    """Wᵀ t + b of tf-idf values t of counts x: ``[N, P]`` to ``[N, n_out]``.

        t_p = √P v_p / ‖v‖,   v_p = ln(1 + x_p) idf_p,   idf_p = 1 + ln (1 + N)/(1 + N_p)

    Long and short rows so have values of one size, √P as that of P standardized features. Only
    entries that are not 0 are multiplied. W is ``[P, n_out]``, so that the weights of a word lie
    together. N_p of N rows have word p; idf is 1 until training sets it.
    """

    idf: Tensor

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_out))
        self.register_buffer("idf", torch.ones(n_in, device="cpu"))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of rows ``[N, P]`` of counts."""
        size = x.shape[1] ** 0.5
        # a GPU would have to wait for the number of entries, and a traced graph has none
        if x.device.type != "cpu" or torch._C._get_tracing_state():
            scaled: Tensor = size * F.normalize(x.log1p() * self.idf) @ self.weight
            return scaled + self.bias
        rows, columns = x.nonzero(as_tuple=True)
        values = x[rows, columns].log1p() * self.idf[columns]
        squares = values.new_zeros(len(x)).index_add(0, rows, values.square())
        values = values * (size * squares.rsqrt())[rows]
        starts = torch.searchsorted(rows, torch.arange(len(x)))
        sums = F.embedding_bag(
            columns, self.weight, starts, mode="sum", per_sample_weights=values.to(self.weight)
        )
        return sums + self.bias
