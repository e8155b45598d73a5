"""One step of training: objective, backward pass, optimizer, sums."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.objectives import Terms, jsa
from discretevae.training.batches import Batch
from discretevae.training.preparation import PreparedTraining
from discretevae.training.state import TrainingState
from discretevae.training.step_settings import StepSettings

FLUSH_EVERY = 100
"""Steps between two looks for vanishing moments: in so many steps none gets from `SMALLEST_MOMENT`
to the denormal numbers, as 0.9¹⁰⁰ · 10⁻³⁰ > 10⁻³⁸."""

SMALLEST_MOMENT = 1e-30
"""A moment that is no larger moves no weight: its step is 10⁻²² learning rates or less, and beside
Adam's ε of 10⁻⁸ the root of such a second moment is nothing."""


def take_step(
    prepared: PreparedTraining, state: TrainingState, batch: Batch, settings: StepSettings
) -> None:
    """Move all weights by one step of Adam on a batch, and add the batch to the epoch's sums.

    With several processes, each calls this with its own part of the batch, and all of them take
    the same step. Inside `without_waiting`, nothing here waits for the device, so that a GPU can
    record the step.
    """
    objective: Callable[..., Terms] = settings.objective
    if state.chains is not None and batch.numbers is not None:
        objective = partial(jsa, chains=(state.chains, batch.numbers))
    if batch.labels is not None:
        objective = partial(objective, labels=batch.labels, labeled=batch.labeled)
    terms = objective(
        state.model,
        batch.target,
        settings.estimator,
        generator=state.generators["samples"],
        encoder_input=batch.encoder_input,
    )
    if batch.row_weights is not None:
        terms = terms.weighted(batch.row_weights)
    loss = terms.loss * batch.weight
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    # in place: from here on, loss is the mean over all processes, and all of them skip together
    prepared.ranks.average([loss.detach(), *state.shared_tensors()])
    # Adam skips a step whose loss is not finite, as it does for mixed precision: the weights stay
    # good, and the loop, which looks at the sums, stops
    state.optimizer.found_inf = (~loss.isfinite()).float()  # type: ignore[attr-defined]
    if prepared.config.clip is not None:
        nn.utils.clip_grad_norm_(state.parameters, prepared.config.clip)
    state.optimizer.step()
    if batch.weight > 0:
        state.sums.add(terms)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate; a tensor keeps its place, where a recorded step reads it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def flush_moments(optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Set vanishing moments of Adam to zero, every `FLUSH_EVERY` steps.

    The first moment of a weight whose gradient has become zero shrinks by a tenth at every step,
    and after 800 steps is a denormal number, with which processors are slow: units that have died
    make Adam take nine times as long, and the whole step of a small model 1.7 times.
    """
    if steps % FLUSH_EVERY:
        return
    for state in optimizer.state.values():
        for name in ("exp_avg", "exp_avg_sq"):
            state[name].copy_(F.hardshrink(state[name], SMALLEST_MOMENT))
