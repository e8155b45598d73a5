"""What a step of training is, whoever takes it: eagerly, or recorded and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.estimators import Estimator
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import Objective, Terms

Told = Callable[[int, Tensor, Terms], object]
"""Called between a backward pass and Adam with the number of the loss in its step, the loss and
the terms that it comes from."""

DROP_EVERY = 100
"""Steps between two looks for traces in Adam's moments: in so many, none gets from `TRACE` to the
denormal numbers, as 0.9¹⁰⁰ · 10⁻³⁰ > 10⁻³⁸."""

TRACE = 1e-30
"""A moment that is no larger moves no weight: its step is 10⁻²² step sizes or less, and beside
Adam's ε of 10⁻⁸ the root of such a second moment is nothing."""


class Steps:
    """Objective, backward pass, clipping, Adam.

    Args:
        model: the model.
        trained: all that learns, an estimator's parameters among it.
        generator: the source of the samples.
        clip: the largest norm of a gradient, or None.
        lr: Adam's first step size.
        is_recorded: whether steps are to be recorded: then the step size is a tensor, which a
            recording reads anew each time.

    Attributes:
        optimizer: Adam.
    """

    def __init__(
        self,
        model: DiscreteVAE,
        trained: Sequence[nn.Parameter],
        generator: torch.Generator,
        *,
        clip: float | None,
        lr: float,
        is_recorded: bool = False,
    ) -> None:
        self.model, self.trained = model, list(trained)
        self.generator, self.clip = generator, clip
        self.lr: Tensor | None = None
        if is_recorded:
            # torch's Adam reads a float32 on a GPU, and any number on a CPU, where float64 is the
            # very number that a float would be
            dtype = torch.float64 if model.device.type == "cpu" else torch.float32
            self.lr = torch.tensor(lr, dtype=dtype, device=model.device)
        self.optimizer = torch.optim.Adam(
            self.trained,
            lr=lr if self.lr is None else self.lr,
            fused=True,
            capturable=is_recorded,
        )

    def set_lr(self, lr: float) -> None:
        """The step size from now on."""
        if self.lr is not None:
            self.lr.fill_(lr)
            return
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def drop_traces(self, taken: int) -> None:
        """Takes the remains of old gradients for zero, every `DROP_EVERY` steps.

        The first moment of a weight whose gradient has become zero shrinks by a tenth at every
        step, and after 800 steps is a denormal number, with which processors are slow: units that
        have died make Adam take nine times as long, and the whole step of a small model 1.7 times.

        Args:
            taken: steps of the whole training so far.
        """
        if taken % DROP_EVERY:
            return
        for state in self.optimizer.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                state[name].copy_(F.hardshrink(state[name], TRACE))

    def take(
        self,
        objective: Objective,
        member: Estimator,
        told: Told,
        x: Tensor,
        shown: Tensor | None,
        *,
        weight: float | None = None,
    ) -> None:
        """One step on rows ``[B, P]``; an objective with further losses takes a step for each.

        Args:
            objective: to be maximized.
            member: how its gradient is estimated.
            told: called once the gradients are there.
            x: what is to be explained.
            shown: what the encoder sees in its place.
            weight: of this process' loss among several.
        """
        options = {} if shown is None else {"shown": shown}
        terms = objective(self.model, x, member, generator=self.generator, **options)
        for number, loss in enumerate(terms.losses()):
            self.optimizer.zero_grad()
            weighted = loss if weight is None else loss * weight
            weighted.backward()  # type: ignore[no-untyped-call]
            told(number, loss, terms)
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.trained, self.clip)
            self.optimizer.step()


__all__ = ["DROP_EVERY", "TRACE", "Steps", "Told"]
