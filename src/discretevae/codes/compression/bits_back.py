"""Bits back: a row and its code on a stack, at the price of −ln p(x) or of a bound on it.

To push a row: take z off the stack with q(z|x), which frees −ln q(z|x); push x with p(x|z), push
z with p(z). What is paid is −ln p(x|z) − ln p(z) + ln q(z|x), −ELBO in the mean. To pop it: take z
off with p(z), x off with p(x|z), and push z back with q(z|x), which restores the bits that chose z.
Codes are discrete, so that nothing need be rounded for it.
"""

from __future__ import annotations

import numpy as np
import torch

from discretevae.codes.compression.coders import Models, Stack, Variables
from discretevae.codes.compression.fixed_point import ExactConditionals, exact_network
from discretevae.codes.compression.pixels import pixels_for
from discretevae.errors import ConfigError
from discretevae.model.vae import DiscreteVAE
from discretevae.priors import AutoregressivePrior, FactorizedPrior, discrete_widths
from discretevae.system.arrays import Array


class Scheme:
    """How a model codes its rows, several lanes at a time, with z by the encoder's q(z|x).

    ``push`` puts row b of ``[B, P]`` on stack b, ``pop`` takes a row off every stack. A model whose
    code, likelihood or prior has no exact probabilities is refused (`ConfigError`).
    """

    def __init__(self, model: DiscreteVAE) -> None:
        family, prior = model.family, model.prior
        if family.n_states is None:
            raise ConfigError(
                f"latent {family.spec} has a part of real numbers, and compression is for discrete "
                "codes. Train with bits or categories, such as `latent='bernoulli:64'`."
            )
        if family.n_states == 1:
            raise ConfigError(
                f"latent {family.spec} has one state, which no coder takes. Train with more."
            )
        if not isinstance(prior, AutoregressivePrior | FactorizedPrior):
            raise ConfigError(
                f"prior {model.config.prior} gives no exact probability of a code one variable "
                "after the other. Train with a `prior` that is fixed, factorized or autoregressive."
            )
        models = Models()
        self.pixels = pixels_for(model.likelihood, models)
        widths = discrete_widths(family)
        self.n_variables = len(widths)
        self._variables = Variables(widths, models)
        top = self.pixels.top
        self._encoder = exact_network(model.encoder, input_bits=0, scale=1 / top, bound=top)
        self._decoder = exact_network(model.decoder, input_bits=0, scale=1.0, bound=1)
        self._network: ExactConditionals | None = None
        self._fixed = np.empty((0, 0), np.int64)
        if isinstance(prior, AutoregressivePrior):
            self._network = ExactConditionals(prior.network)
        else:
            eta = prior.eta().detach().cpu().double().reshape(1, -1)
            self._fixed = self._variables.points(eta)

    def push(self, stacks: list[Stack], rows: Array) -> None:
        """Take codes off with q(z|x), put rows on with p(x|z) and codes on with p(z)."""
        q = self._variables.points(self._encoder(torch.from_numpy(rows).double()))
        variables = self._variables
        codes = np.stack([variables.pop(stack, p) for stack, p in zip(stacks, q, strict=True)])
        columns = torch.from_numpy(variables.columns(codes))
        points = self.pixels.points(self._decoder(columns))
        if self._network is None:
            priors = np.broadcast_to(self._fixed, q.shape)
        else:
            priors = variables.points(self._network(columns))
        for b, stack in enumerate(stacks):
            self.pixels.push(stack, points[b], rows[b])
            variables.push(stack, priors[b], codes[b])

    def pop(self, stacks: list[Stack]) -> Array:
        """Take codes off with p(z) and rows off with p(x|z), put codes back with q(z|x)."""
        codes = self._pop_codes(stacks)
        columns = torch.from_numpy(self._variables.columns(codes))
        points = self.pixels.points(self._decoder(columns))
        pairs = zip(stacks, points, strict=True)
        rows = np.stack([self.pixels.pop(stack, point) for stack, point in pairs])
        q = self._variables.points(self._encoder(torch.from_numpy(rows).double()))
        for b, stack in enumerate(stacks):
            self._variables.push(stack, q[b], codes[b])
        return rows

    def _pop_codes(self, stacks: list[Stack]) -> Array:
        variables = self._variables
        if self._network is None:
            return np.stack([variables.pop(stack, self._fixed[0]) for stack in stacks])
        codes = np.zeros((len(stacks), self.n_variables), np.int32)
        z = torch.zeros(len(stacks), variables.starts[-1], dtype=torch.float64)
        for d, width in enumerate(variables.widths):
            start, stop = variables.starts[d], variables.starts[d + 1]
            # what is not known yet is zero, and does not enter
            points = variables.points(self._network(z)[:, start:stop], d, d + 1)
            codes[:, d] = [
                variables.pop_one(stack, p) for stack, p in zip(stacks, points, strict=True)
            ]
            chosen = torch.from_numpy(codes[:, d]).long()
            if width == 1:
                z[:, start] = chosen.double()
            else:
                z[torch.arange(len(stacks)), start + chosen] = 1
        return codes
