"""Encoders and decoders: from a row to natural parameters, from a code to a row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU between them; the last one is linear.

    The whole network is one node of the autograd graph, so that hidden gradients, which nobody
    else can see, are formed in place. The gradients are those of the plain layers (tested), of
    any order.

    Weights and biases start from U(−1/√n, 1/√n) with n the layer's inputs, torch's own default
    for ``nn.Linear``, but drawn from ``generator``.

    Args:
        sizes: widths from input to output, at least two.
        generator: the source of the initial weights; None takes torch's global one.

    Example:
        >>> net = MLP([784, 1024, 50], generator=torch.Generator().manual_seed(0))
        >>> net(torch.zeros(2, 784)).shape
        torch.Size([2, 50])
    """

    def __init__(self, sizes: Sequence[int], *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n_in, n_out in itertools.pairwise(sizes):
            bound = 1 / math.sqrt(n_in)
            for parameters, shape in ((self.weights, (n_out, n_in)), (self.biases, (n_out,))):
                initial = torch.empty(shape).uniform_(-bound, bound, generator=generator)
                parameters.append(nn.Parameter(initial))

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """``[N, n_in]`` to ``[N, n_out]``; ``frozen`` lets no gradient reach the parameters."""
        pairs = zip(self.weights, self.biases, strict=True)
        parameters: Iterable[Tensor] = itertools.chain.from_iterable(pairs)
        if frozen:
            parameters = (parameter.detach() for parameter in parameters)
        result: Tensor = _MLPFunction.apply(x, *parameters)  # type: ignore[no-untyped-call]
        return result


class _MLPFunction(torch.autograd.Function):
    """The layers of an MLP with a backward pass that works in place on what it alone can see."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        hidden = []
        h = x
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            # adding the bias afterwards is faster than addmm, which first copies it to every row
            h = (h @ weight.T).add_(bias).relu_()
            hidden.append(h)
        ctx.save_for_backward(x, *parameters, *hidden)
        return (h @ parameters[-2].T).add_(parameters[-1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _differentiable_backward(ctx, grad)
        saved = ctx.saved_tensors
        n_layers = len(saved) // 3
        x, parameters, hidden = saved[0], saved[1 : 2 * n_layers + 1], saved[2 * n_layers + 1 :]
        inputs, ones = (x, *hidden), grad.new_ones(len(grad))
        grads: list[Tensor | None] = [None] * (2 * n_layers + 1)
        for layer in reversed(range(n_layers)):
            weight = parameters[2 * layer]
            if ctx.needs_input_grad[2 * layer + 1]:
                grads[2 * layer + 1] = grad.T @ inputs[layer]
            if ctx.needs_input_grad[2 * layer + 2]:
                # a matrix-vector product reads ``grad`` faster than a sum over rows does
                grads[2 * layer + 2] = grad.T @ ones
            if layer > 0:
                grad = grad @ weight
                torch.ops.aten.threshold_backward.grad_input(
                    grad, inputs[layer], 0, grad_input=grad
                )
            elif ctx.needs_input_grad[0]:
                grads[0] = grad @ weight
        return tuple(grads)


def _differentiable_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The same gradients as functions that can be differentiated again (``create_graph=True``)."""
    saved = ctx.saved_tensors
    x, *parameters = saved[: len(saved) // 3 * 2 + 1]
    h = x
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        h = F.relu(F.linear(h, weight, bias))
    output = F.linear(h, parameters[-2], parameters[-1])
    wanted = [i for i, needed in enumerate(ctx.needs_input_grad) if needed]
    found = torch.autograd.grad(
        output, [(x, *parameters)[i] for i in wanted], grad, create_graph=True
    )
    grads: list[Tensor | None] = [None] * len(ctx.needs_input_grad)
    for i, gradient in zip(wanted, found, strict=True):
        grads[i] = gradient
    return tuple(grads)


__all__ = ["MLP"]
