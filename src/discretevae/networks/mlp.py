"""Encoders and decoders: from a row to natural parameters, from a code to a row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.config.activations import RELU, Activation


class MLP(nn.Module):
    """Linear layers with an activation between them; the last one is linear.

    The whole network is one node of the autograd graph and one parameter θ, in which weights and
    biases lie one after the other. Small steps consist mostly of bookkeeping, and this is less of
    it: one gradient to hand over and one tensor to update. Hidden gradients, which nobody else can
    see, are formed in place. The gradients are those of the plain layers (tested), of any order.
    Under ``torch.autocast`` the layers are plain ones and multiply in autocast's type; what is
    returned has the type of the parameters.

    Weights and biases start from U(−1/√n, 1/√n) with n the layer's inputs, torch's own default
    for ``nn.Linear``, but drawn from ``generator``.

    Args:
        sizes: widths from input to output, at least two.
        generator: the source of the initial weights; None takes torch's global one.
        activation: what stands between the layers.

    Attributes:
        theta: θ, ``[Σ_l n_l (n_{l−1} + 1)]``; `layers` shows it as matrices and vectors.

    Example:
        >>> net = MLP([784, 1024, 50], generator=torch.Generator().manual_seed(0))
        >>> net(torch.zeros(2, 784)).shape
        torch.Size([2, 50])
        >>> [(weight.shape, bias.shape) for weight, bias in net.layers()]
        [(torch.Size([1024, 784]), torch.Size([1024])), (torch.Size([50, 1024]), torch.Size([50]))]
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        activation: Activation = RELU,
    ) -> None:
        super().__init__()
        self.sizes, self.activation = tuple(sizes), activation
        pairs = itertools.pairwise(self.sizes)
        self.theta = nn.Parameter(torch.empty(sum(n_out * (n_in + 1) for n_in, n_out in pairs)))
        for weight, bias in _layers(self.theta.detach(), self.sizes):
            bound = 1 / math.sqrt(weight.shape[1])
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Weight ``[n_out, n_in]`` and bias ``[n_out]`` of each layer, as views of ``theta``."""
        return _layers(self.theta.detach(), self.sizes)

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """``[N, n_in]`` to ``[N, n_out]``; ``frozen`` lets no gradient reach the parameters."""
        theta = self.theta.detach() if frozen else self.theta
        if theta.dtype == torch.float32 and _is_autocast(device := x.device.type):
            # one conversion of all weights in place of one for each
            lowered = theta.to(torch.get_autocast_dtype(device))
            return _plain(x, _layers(lowered, self.sizes), self.activation).to(theta.dtype)
        result: Tensor = _MLPFunction.apply(  # type: ignore[no-untyped-call]
            x, theta, self.sizes, self.activation
        )
        return result

    @property
    def output_bias(self) -> Tensor:
        """The bias of the last layer, ``[n_out]``, as a view of ``theta``."""
        return self.layers()[-1][1]


def _is_autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _layers(theta: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    pairs = list(itertools.pairwise(sizes))
    parts = iter(torch.split(theta, [n for n_in, n_out in pairs for n in (n_out * n_in, n_out)]))
    return [(next(parts).view(n_out, n_in), next(parts)) for n_in, n_out in pairs]


class _MLPFunction(torch.autograd.Function):
    """The layers of an MLP with a backward pass that works in place on what it alone can see."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, theta: Tensor, sizes: Sequence[int], activation: Activation
    ) -> Tensor:
        *layers, (weight, bias) = _layers(theta, sizes)
        inputs = [x]
        for hidden_weight, hidden_bias in layers:
            # adding the bias afterwards is faster than addmm, which first copies it to every row
            h = torch.mm(inputs[-1], hidden_weight.t()).add_(hidden_bias)
            inputs.append(_activate(h, activation))
        ctx.sizes, ctx.activation = sizes, activation
        ctx.save_for_backward(theta, *inputs)
        return torch.mm(inputs[-1], weight.t()).add_(bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        if torch.is_grad_enabled():
            return _differentiable_backward(ctx, grad)
        theta, *inputs = ctx.saved_tensors
        layers = _layers(theta, ctx.sizes)
        needs_x, needs_theta, *_ = ctx.needs_input_grad
        theta_grad, x_grad = None, None
        if needs_theta:
            theta_grad, ones = torch.empty_like(theta), grad.new_ones(len(grad))
            grads = _layers(theta_grad, ctx.sizes)
        for layer in reversed(range(len(layers))):
            if needs_theta:
                torch.mm(grad.t(), inputs[layer], out=grads[layer][0])
                # a matrix-vector product reads ``grad`` faster than a sum over rows does
                torch.mv(grad.t(), ones, out=grads[layer][1])
            if layer > 0:
                grad = torch.mm(grad, layers[layer][0])
                _pull_back(grad, inputs[layer], ctx.activation)
            elif needs_x:
                x_grad = torch.mm(grad, layers[0][0])
        return x_grad, theta_grad, None, None


def _plain(h: Tensor, layers: Sequence[tuple[Tensor, Tensor]], activation: Activation) -> Tensor:
    """The layers one after the other, for autograd to differentiate."""
    *hidden, (weight, bias) = layers
    for hidden_weight, hidden_bias in hidden:
        h = _activate(F.linear(h, hidden_weight, hidden_bias), activation)
    return F.linear(h, weight, bias)


def _activate(h: Tensor, activation: Activation) -> Tensor:
    """The activation of ``h``, in its place."""
    if activation.name == "relu":
        return h.relu_()
    if activation.name == "tanh":
        return h.tanh_()
    return F.leaky_relu_(h, activation.slope)


def _pull_back(grad: Tensor, output: Tensor, activation: Activation) -> None:
    """Takes a gradient back through an activation whose output is at hand, in its place."""
    aten = torch.ops.aten
    if activation.name == "relu":
        aten.threshold_backward.grad_input(grad, output, 0, grad_input=grad)
    elif activation.name == "tanh":
        aten.tanh_backward.grad_input(grad, output, grad_input=grad)
    else:
        aten.leaky_relu_backward.grad_input(grad, output, activation.slope, True, grad_input=grad)


def _differentiable_backward(
    ctx: Any, grad: Tensor
) -> tuple[Tensor | None, Tensor | None, None, None]:
    """The same gradients as functions that can be differentiated again (``create_graph=True``)."""
    theta, x, *_ = ctx.saved_tensors
    output = _plain(x, _layers(theta, ctx.sizes), ctx.activation)
    needed = ctx.needs_input_grad[:2]
    wanted = [tensor for tensor, is_needed in zip((x, theta), needed, strict=True) if is_needed]
    found = iter(torch.autograd.grad(output, wanted, grad, create_graph=True))
    x_grad, theta_grad = (next(found) if is_needed else None for is_needed in needed)
    return x_grad, theta_grad, None, None


__all__ = ["MLP"]
