"""Sums over features with their gradient written down, computed a few rows at a time.

Autograd would keep every intermediate of a long elementwise formula, and pass over each of them
again. Here value and gradient are formed side by side, a few rows at a time.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

CHUNK = 1 << 15
"""Values at a time: enough to hide the cost of a call, and few enough to bound the memory."""


class Formula(Protocol):
    """ln p of single features."""

    def __call__(
        self, output: Tensor, x: Tensor, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """``[R, C, P]``, ``[R, P]`` to ln p ``[R, P]`` and its derivatives ``[R, C, P]``.

        Every step is an operation that autograd knows, so that the derivatives can be derived.
        """


def summed(formula: Formula, output: Tensor, x: Tensor, channels: int) -> Tensor:
    """Σ_p of a formula, differentiable in ``output`` any number of times.

    Args:
        formula: of one feature.
        output: ``[..., C·P]``.
        x: ``[B, P]``; leading axes broadcast.
        channels: C.

    Returns:
        ``[...]``, nats per row.
    """
    n_features = x.shape[-1]
    lead = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        output.shape[:-1], x.shape[:-1]
    )
    rows = output.expand(*lead, -1).reshape(-1, channels, n_features)
    x = x.expand(*lead, -1).reshape(-1, n_features)
    # inside of forward() autograd is always off, and inputs do not show no_grad()
    with_gradient = rows.requires_grad and torch.is_grad_enabled()
    result: Tensor = _Summed.apply(formula, rows, x, with_gradient)  # type: ignore[no-untyped-call]
    return result.reshape(lead)


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, formula: Formula, output: Tensor, x: Tensor, with_gradient: bool
    ) -> Tensor:
        value = output.new_empty(len(output))
        gradient = torch.empty_like(output) if with_gradient else None
        step = max(1, CHUNK // max(1, x.shape[1]))
        for start in range(0, len(output), step):
            rows = slice(start, start + step)
            terms, slopes = formula(output[rows], x[rows], with_gradient=with_gradient)
            torch.sum(terms, -1, out=value[rows])
            if gradient is not None and slopes is not None:
                gradient[rows] = slopes
        ctx.formula, ctx.gradient = formula, gradient
        ctx.save_for_backward(output, x)
        return value

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[None, Tensor | None, None, None]:
        gradient, ctx.gradient = ctx.gradient, None
        weight = weight[:, None, None]
        if gradient is not None and not torch.is_grad_enabled():
            return None, gradient.mul_(weight), None, None
        # a second pass over the same graph, or one that is itself differentiated
        output, x = ctx.saved_tensors
        _, slopes = ctx.formula(output, x, with_gradient=True)
        return None, slopes * weight, None, None
