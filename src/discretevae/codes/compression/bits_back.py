"""Bits back: a row and its code on a stack, at the price of −ln p(x) or of a bound on it.

To push a row: take z off the stack with q(z|x), which frees −ln q(z|x); push x with p(x|z), push
z with p(z). What is paid is −ln p(x|z) − ln p(z) + ln q(z|x), −ELBO in the mean. To pop it: take z
off with p(z), x off with p(x|z), and push z back with q(z|x), which restores the bits that chose z.
Codes are discrete, so that nothing need be rounded for it.

With q the exact posterior the price is −ln p(x), for every z. It is used wherever the code can be
enumerated; then no network is needed row by row, either.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from discretevae.codes.compression import reproducible
from discretevae.codes.compression.coders import Models, Stack, Variables
from discretevae.codes.compression.fixed_point import ExactConditionals, exact_network
from discretevae.codes.compression.pixels import LOG_SCALE, Bits, pixels_for
from discretevae.errors import ConfigError
from discretevae.families import MAX_STATES
from discretevae.model.vae import DiscreteVAE
from discretevae.priors import AutoregressivePrior, FactorizedPrior, Prior, discrete_widths

Array = np.ndarray[Any, np.dtype[Any]]


def scheme_for(model: DiscreteVAE) -> Scheme:
    """Return how a model codes its rows, several lanes at a time.

    Raises:
        ConfigError: its code has a part of real numbers or a single state, its likelihood is a
            density, or its prior gives no probabilities.
        MissingExtraError: constriction is not installed.
    """
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
            f"prior {model.config.prior} gives no exact probability of a code one variable after "
            "the other. Train with a `prior` that is fixed, factorized or autoregressive."
        )
    models = Models()
    pixels = pixels_for(model.likelihood, models)
    n_states = family.n_states
    if n_states <= MAX_STATES and n_states * model.config.n_features <= pixels.max_scored:
        return Posterior(model, pixels, models)
    return Amortized(model, pixels, models)


class Posterior:
    """z by the exact posterior of at most 4,096 states: one symbol, the number of the state.

    ln p(x|z) and ln p(z) of all states are sums of whole multiples of 2⁻¹⁶ nats, exact in any
    order; the posterior follows from them.
    """

    name = "posterior"
    n_variables = 1

    def __init__(self, model: DiscreteVAE, pixels: Bits, models: Models) -> None:
        self.pixels = pixels
        self._models = models
        columns = model.family.enumerate().double().flatten(1)
        decoder = exact_network(model.decoder, input_bits=0, scale=1.0, bound=1)
        self._points = np.concatenate(
            [pixels.points(decoder(c)) for c in torch.split(columns, 256)]
        )
        pixels.prepare(self._points)
        log_prior = _log_prior(model.prior, discrete_widths(model.family), columns)
        self._log_prior = np.rint(log_prior * LOG_SCALE)
        self._prior = models.fixed(reproducible.exp(log_prior))

    def push(self, stacks: list[Stack], rows: Array) -> None:
        """Take a state off, put the row on, put the state on."""
        for stack, row, posterior in zip(stacks, rows, self._posteriors(rows), strict=True):
            (state,) = stack.decode(self._models.categorical, posterior)
            self.pixels.push(stack, self._points[state], row)
            stack.encode_reverse(int(state), self._prior)

    def pop(self, stacks: list[Stack]) -> Array:
        """Take the state off, take the row off, put the state back."""
        states = [int(stack.decode(self._prior)) for stack in stacks]
        pairs = zip(stacks, states, strict=True)
        rows = np.stack([self.pixels.pop(stack, self._points[state]) for stack, state in pairs])
        posteriors = self._posteriors(rows)
        for stack, state, posterior in zip(stacks, states, posteriors, strict=True):
            symbol = np.array([state], np.int32)
            stack.encode_reverse(symbol, self._models.categorical, posterior)
        return rows

    def _posteriors(self, rows: Array) -> list[Array]:
        """Return p(z|x) up to a factor, ``[1, N]`` for each row."""
        joint = self.pixels.scores(rows) + self._log_prior
        below = (joint - joint.max(1, keepdims=True)) / LOG_SCALE
        return list(reproducible.exp(below)[:, None])


class Amortized:
    """z by the encoder's q(z|x): for codes too large to be listed."""

    name = "encoder"

    def __init__(self, model: DiscreteVAE, pixels: Bits, models: Models) -> None:
        self.pixels = pixels
        widths = discrete_widths(model.family)
        self.n_variables = len(widths)
        self._variables = Variables(widths, models)
        top = pixels.top
        self._encoder = exact_network(model.encoder, input_bits=0, scale=1 / top, bound=top)
        self._decoder = exact_network(model.decoder, input_bits=0, scale=1.0, bound=1)
        prior = model.prior
        self._network: ExactConditionals | None = None
        self._fixed = np.empty((0, 0), np.int64)
        if isinstance(prior, AutoregressivePrior):
            self._network = ExactConditionals(prior.network)
        elif isinstance(prior, FactorizedPrior):
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
        conditionals = self._network.begin(len(stacks))
        codes = np.zeros((len(stacks), self.n_variables), np.int32)
        for d, width in enumerate(variables.widths):
            start, stop = variables.starts[d], variables.starts[d + 1]
            points = variables.points(conditionals.logits(d, start, stop), d, d + 1)
            codes[:, d] = [
                variables.pop_one(stack, p) for stack, p in zip(stacks, points, strict=True)
            ]
            chosen = torch.from_numpy(codes[:, d]).long()
            if width == 1:
                conditionals.z[:, start] = chosen.double()
            else:
                conditionals.z[torch.arange(len(stacks)), start + chosen] = 1
        return codes


Scheme: TypeAlias = Posterior | Amortized
"""``push`` puts row b of ``[B, P]`` on stack b, ``pop`` takes a row off every stack."""


def _log_prior(prior: Prior, widths: tuple[int, ...], columns: Tensor) -> Array:
    """Return ln p(z) of all states, one-hot ``[N, Σ widths]``, alike on every machine: ``[N]``."""
    if isinstance(prior, AutoregressivePrior):
        network = ExactConditionals(prior.network)
        logits: Array = torch.cat([network(part) for part in torch.split(columns, 256)]).numpy()
    elif isinstance(prior, FactorizedPrior):
        eta = prior.eta().detach().cpu().double().flatten()
        logits = eta.expand(len(columns), -1).numpy()
    else:
        raise ConfigError(f"a {type(prior).__name__} gives no probabilities.")
    z: Array = columns.numpy()
    total, start = np.zeros(len(columns)), 0
    for width in widths:
        part, own = logits[:, start : start + width], z[:, start : start + width]
        if width == 1:
            signs = (2 * own - 1)[:, 0]
            total = total + reproducible.ln_sigmoid(part[:, 0] * signs)
        else:
            below = part - part.max(1, keepdims=True)
            total_mass = reproducible.exp(below).cumsum(1)[:, -1]
            chosen = below[np.arange(len(z)), own.argmax(1)]
            total = total + (chosen - reproducible.ln(total_mass))
        start += width
    return total
