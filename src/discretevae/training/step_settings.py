"""The settings of every step, from its number and the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from discretevae.estimators import Estimator
from discretevae.objectives import Objective, elbo, objective_of, pretraining
from discretevae.training.preparation import PreparedTraining


@dataclass(frozen=True)
class StepSettings:
    """The settings of a step, which may change from one to the next.

    ``is_final`` says whether from here on nothing but ``lr`` changes; only then may a step be
    recorded.
    """

    lr: float
    objective: Objective
    estimator: Estimator
    is_final: bool


def settings_at(prepared: PreparedTraining, step: int) -> StepSettings:
    """Return learning rate, objective and estimator of a step, counted from 0.

    They follow from the step's number and the configuration, so that a resumed run goes on where
    it was. Pretraining and what follows each run through the whole learning-rate schedule, and the
    weight of the KL rises after pretraining.
    """
    config = prepared.config
    pretraining_steps = config.pretrain * prepared.steps_per_epoch
    is_pretraining = step < pretraining_steps
    phase_step = step if is_pretraining else step - pretraining_steps
    phase_steps = pretraining_steps if is_pretraining else prepared.total_steps - pretraining_steps
    kl_warmup_steps = (config.kl_warmup or 0.0) * prepared.steps_per_epoch
    objective = objective_of(config)
    if is_pretraining:
        objective = pretraining
    elif config.kl_warmup is not None or config.free_bits is not None:
        kl_weight = min(1.0, (phase_step + 1) / kl_warmup_steps) if kl_warmup_steps else 1.0
        objective = partial(elbo, kl_weight=kl_weight, free_bits=config.free_bits or 0.0)
    factor = config.lr_schedule.factor(phase_step, phase_steps, warmup=config.warmup)
    return StepSettings(
        lr=config.lr * factor,
        objective=objective,
        estimator=prepared.estimator.at_step(step),
        is_final=not is_pretraining and phase_step + 1 >= kl_warmup_steps,
    )
