"""The settings of every step, from its number alone."""

from __future__ import annotations

from functools import partial

from discretevae.objectives import OBJECTIVES, Objective, elbo, pretraining
from discretevae.training.preparation import PreparedTraining
from discretevae.training.step import StepSettings


def settings_at(prepared: PreparedTraining, step: int) -> StepSettings:
    """Return learning rate, objective and estimator of a step, counted from 0.

    They depend on the number alone, so that a resumed run goes on where it was. Pretraining and
    what follows each have all of the learning-rate schedule.
    """
    config = prepared.config
    pretraining_steps = config.pretrain * prepared.steps_per_epoch
    if step < pretraining_steps:
        phase_step, phase_steps = step, pretraining_steps
    else:
        phase_step, phase_steps = step - pretraining_steps, prepared.total_steps - pretraining_steps
    factor = config.lr_schedule.factor(phase_step, phase_steps, warmup=config.warmup)
    warmup_steps = (config.kl_warmup or 0.0) * prepared.steps_per_epoch
    return StepSettings(
        lr=config.lr * factor,
        objective=_objective_at(prepared, step, warmup_steps),
        estimator=prepared.estimator.at_step(step),
        is_final=step >= pretraining_steps and step + 1 >= warmup_steps,
    )


def _objective_at(prepared: PreparedTraining, step: int, warmup_steps: float) -> Objective:
    config = prepared.config
    if step < config.pretrain * prepared.steps_per_epoch:
        return pretraining
    if config.kl_warmup is None and config.free_bits is None:
        return OBJECTIVES[config.objective]
    weight = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return partial(elbo, kl_weight=weight, free_bits=config.free_bits or 0.0)
