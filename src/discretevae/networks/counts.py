"""The first layer of an encoder of counts: tf-idf, and products with the words of a row alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

TOPICS = 200
"""Directions of LSA that an encoder sees of texts, and in which neighbors are looked for."""


class CountLinear(nn.Module):
    """Wᵀ t + b of tf-idf values t of counts x: ``[N, P]`` to ``[N, n_out]``.

        t_p = √P v_p / ‖v‖,   v_p = ln(1 + x_p) idf_p,   idf_p = 1 + ln (1 + N)/(1 + N_p)

    Long and short rows so have values of one size, √P as that of P standardized features. Only
    entries that are not 0 are multiplied. N_p of N rows have word p; idf is 1 until training sets
    it. W is ``[P, n_out]``, so that the weights of a word lie together. Of more than 200 words the
    layer sees 200 directions of LSA, again on one length, and W is ``[200, n_out]``:

        t = √200 u / ‖u‖,   u = Tᵀ v

    Weights of every word would learn the training rows by heart. T ``[P, 200]`` is set by
    training and not learned; until then it is drawn at random.
    """

    idf: Tensor
    topics: Tensor | None

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        n_kept = min(n_in, TOPICS)
        self.weight = nn.Parameter(torch.empty(n_kept, n_out))
        self.bias = nn.Parameter(torch.empty(n_out))
        self.register_buffer("idf", torch.ones(n_in, device="cpu"))
        topics = None
        if n_in > TOPICS:
            drawn = torch.Generator().manual_seed(0)
            topics = torch.randn(n_in, TOPICS, generator=drawn, device="cpu") / n_in**0.5
        self.register_buffer("topics", topics)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of rows ``[N, P]`` of counts."""
        if self.topics is None:
            return self._product(x, self.weight) + self.bias
        topics: Tensor = F.normalize(self._product(x, self.topics)) * TOPICS**0.5
        return topics @ self.weight + self.bias

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return tf-idf values on length √P times a matrix of as many rows."""
        size = x.shape[1] ** 0.5
        # a GPU would have to wait for the number of entries, and a traced graph has none
        if x.device.type != "cpu" or torch._C._get_tracing_state():
            scaled: Tensor = size * F.normalize(x.log1p() * self.idf) @ weight
            return scaled
        rows, columns = x.nonzero(as_tuple=True)
        values = x[rows, columns].log1p() * self.idf[columns]
        squares = values.new_zeros(len(x)).index_add(0, rows, values.square())
        values = values * (size * squares.rsqrt())[rows]
        starts = torch.searchsorted(rows, torch.arange(len(x)))
        sums: Tensor = F.embedding_bag(
            columns, weight, starts, mode="sum", per_sample_weights=values.to(weight)
        )
        return sums
