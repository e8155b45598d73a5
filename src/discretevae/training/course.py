"""What of a training step follows from its number alone."""

from __future__ import annotations

from functools import partial

from discretevae.config import TrainConfig
from discretevae.estimators import Estimator
from discretevae.estimators.base import estimator_at
from discretevae.objectives import OBJECTIVES, Objective, elbo, pretraining


class Course:
    """Step size, objective and estimator of every step, counted from 0.

    A function of the number, so that a resumed run goes on where it was.

    Args:
        config: what was asked for.
        estimator: of the run.
        n_steps: of an epoch.

    Example:
        >>> from discretevae.estimators import DisARM
        >>> config = TrainConfig(epochs=2, lr=0.01, lr_schedule="linear", kl_warmup=1.0)
        >>> course = Course(config, DisARM(), n_steps=4)
        >>> [course.lr(step) for step in (0, 4)]
        [0.01, 0.005]
        >>> [course.is_steady(step) for step in (0, 2, 3, 7)]
        [False, False, True, True]
    """

    def __init__(self, config: TrainConfig, estimator: Estimator, n_steps: int) -> None:
        self.config, self.estimator = config, estimator
        self.schedule = config.lr_schedule
        self.pretrained = config.pretrain * n_steps
        self.total = config.epochs * n_steps
        self.risen = 0.0 if config.kl_warmup is None else config.kl_warmup * n_steps

    def lr(self, step: int) -> float:
        """The step size; pretraining and what follows each have all of the schedule."""
        if step < self.pretrained:
            step, total = step, self.pretrained
        else:
            step, total = step - self.pretrained, self.total - self.pretrained
        return self.config.lr * self.schedule.factor(step, total, warmup=self.config.warmup)

    def member(self, step: int) -> Estimator:
        """The estimator as it is then."""
        return estimator_at(self.estimator, step)

    def objective(self, step: int) -> Objective:
        """The objective, with the weight that the KL has then."""
        config = self.config
        if step < self.pretrained:
            return pretraining
        if config.kl_warmup is None and config.free_bits is None:
            return OBJECTIVES[config.objective]
        weight = 1.0 if config.kl_warmup is None else min(1.0, (step + 1) / self.risen)
        return partial(elbo, kl_weight=weight, free_bits=config.free_bits or 0.0)

    def is_steady(self, step: int) -> bool:
        """Whether from here on nothing changes any more but the step size."""
        return step >= self.pretrained and step + 1 >= self.risen


__all__ = ["Course"]
