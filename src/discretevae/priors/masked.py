"""One network for all conditionals: masks let output d see the variables before d only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.config.activations import RELU, Activation
from discretevae.config.model_config import Init
from discretevae.networks.layers import initialize
from discretevae.networks.mlp import activation_module


class MaskedLinear(nn.Linear):
    """y = (W ⊙ M) x + b with M = 1[degree of the input ≤ degree of the output]."""

    def __init__(self, before: Sequence[int], after: Sequence[int], *, bias: bool = True) -> None:
        super().__init__(len(before), len(after), bias)
        self.before, self.after = tuple(before), tuple(after)
        self._mask: Tensor | None = None

    def mask(self) -> Tensor:
        """Return M, ``[n_out, n_in]`` of 0 and 1, of the weights' type and device."""
        # made when first needed: a model that is only built to learn its sizes holds no numbers
        if self._mask is None or (self._mask.dtype, self._mask.device) != (
            self.weight.dtype,
            self.weight.device,
        ):
            with torch.inference_mode(False):  # or else no training could use it afterwards
                before, after = (
                    torch.tensor(degrees, device=self.weight.device)
                    for degrees in (self.before, self.after)
                )
                self._mask = (before <= after.unsqueeze(1)).to(self.weight.dtype)
        return self._mask

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, n_in]`` to ``[N, n_out]``."""
        return F.linear(x, self.weight * self.mask(), self.bias)


class MaskedNetwork(nn.Module):
    """Logits of p(z_d|z_<d) for every variable d from one forward pass over z.

    Each hidden unit is given a degree m and sees only the variables 1 … m; the logits of variable
    d see only the hidden units of degree below d:

        h = a((W ⊙ M) z + b),   M[unit, column of z_j] = 1[j ≤ m],   1 ≤ m < D
        l = (V ⊙ M′) h + (A ⊙ M″) z + c,   M′[column of z_d, unit] = 1[m < d],   M″ = 1[j < d]

    and between hidden layers 1[m ≤ m′]. Degrees run through 1 … D − 1 again and again, so that
    each is as frequent as any other. A connects z to the logits without a detour: alone it is
    logistic regression of each variable on those before it. V, A and c start at zero, so that
    training starts from the uniform distribution.

    Args:
        widths: columns of each variable: 1 for a bit, K for a category in one-hot form.
        hidden: widths of the hidden layers; () for A and c alone.
        inputs: degrees of the input's columns, if they are not those of z: 0 for one that every
            conditional may see, d for one of variable d.
        activation: a.
        init: how the initial weights are drawn, as `initialize` has it.
        generator: the source of the initial weights; None takes torch's global one.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        hidden: Sequence[int],
        inputs: Sequence[int] | None = None,
        activation: Activation = RELU,
        init: Init = "torch",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        columns = [d for d, width in enumerate(widths, 1) for _ in range(width)]
        earlier = [d - 1 for d in columns]
        highest = max(len(widths) - 1, 1)
        seen = columns if inputs is None else inputs
        degrees = [seen, *([unit % highest + 1 for unit in range(n)] for n in hidden)]
        with torch.device("meta"):
            layers: list[nn.Module] = []
            for before, after in itertools.pairwise(degrees):
                layers += [MaskedLinear(before, after), activation_module(activation)]
            self.hidden = nn.Sequential(*layers)
            self.direct = MaskedLinear(seen, earlier)
            self.output = MaskedLinear(degrees[-1], earlier, bias=False) if hidden else None
        initialize(self.hidden, init, generator)
        for layer in (self.direct, self.output):
            if layer is not None:
                layer.to_empty(device=torch.get_default_device())
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``[N, Σ widths]`` to ``[N, Σ widths]``; logits of d are constant in z_d and later."""
        logits: Tensor = self.direct(z)
        if self.output is not None:
            logits = logits + self.output(self.hidden(z))
        return logits
