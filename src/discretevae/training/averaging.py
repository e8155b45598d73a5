"""A moving average of a model's weights."""

from __future__ import annotations

import copy

import torch

from discretevae.model.vae import DiscreteVAE


class Average:
    """A moving average θ̄ of the weights θ of a model; ``model`` is a copy that holds θ̄.

        θ̄ ← θ̄ + max(1 − decay, 9/(10 + t)) (θ − θ̄)      after every step t, counted from 0

    Late in a run the weights circle around a minimum, at a distance that the step size sets; their
    average lies nearer to it. The second term of the maximum forgets the first steps sooner.

    Source: Polyak & Juditsky 1992, in the exponential form that is common since; decay and ramp
    are those of TensorFlow's ``ExponentialMovingAverage``.
    """

    def __init__(self, model: DiscreteVAE, decay: float) -> None:
        self.model, self.decay = copy.deepcopy(model).requires_grad_(False).eval(), decay

    @torch.no_grad()
    def update(self, model: DiscreteVAE, step: int) -> None:
        """Update the average with the weights after step ``step``, counted from 0."""
        weight = max(1 - self.decay, 9 / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), weight)
        # statistics that modules keep of their batches are averages already
        for own, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(buffer)
