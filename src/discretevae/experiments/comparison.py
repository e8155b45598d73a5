"""Gradient estimators side by side on one's own data.

`measure_gradients` measures at one set of weights; `compare` measures along a training run, and
then trains a model with every estimator.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from discretevae.config import RunConfig, TrainConfig, auto_batch_size
from discretevae.config.checks import Problems, is_int, must
from discretevae.data import Dataset
from discretevae.data.datasets import require_dataset
from discretevae.errors import CollapseWarning, ConfigError, TrainingError, require_type
from discretevae.estimators import ESTIMATORS, Estimate, Estimator, Integrand
from discretevae.experiments.comparison_result import Comparison, EstimatorRun, Moment
from discretevae.families import Family
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.objectives import choose_estimator
from discretevae.objectives.gradient_noise import PROBE_ROWS
from discretevae.objectives.gradient_reports import REPEATS, measure_gradients, require_repeats
from discretevae.run_folder.history import EpochMetrics
from discretevae.system.randomness import generator_for
from discretevae.training import Progress, train
from discretevae.training.selection import probe_rows

MOMENTS = (0.0, 0.1, 0.5, 1.0)
"""Fractions of a training: gradients change most at its beginning."""


def fitting_estimators(family: Family) -> list[str]:
    """Return the names of all estimators of the ELBO that can handle a code."""
    fitting = []
    for name in ESTIMATORS:
        try:
            choose_estimator(family, TrainConfig(estimator=name))
        except ConfigError:
            continue
        fitting.append(name)
    return fitting


def read_estimators(names: Sequence[str | Estimator], family: Family) -> dict[str, Estimator]:
    """Return the estimators by name; ``all`` stands for every one that fits.

    All that are unknown, unreadable, unfit for the code or named twice are refused (`ConfigError`).
    """
    fitting = fitting_estimators(family)
    texts = [name if isinstance(name, str) else name.spec for name in names]
    asked = [one for text in texts for one in (fitting if text == "all" else [text.strip()])]
    found: dict[str, Estimator] = {}
    problems = Problems()
    for name in asked:
        kind = name.partition(":")[0]
        with problems:
            if name in found:
                raise ConfigError(f"estimator {name!r} is named twice. Name it once.")
            if kind in ESTIMATORS and kind not in fitting:
                raise ConfigError(
                    f"estimator {name!r} cannot estimate the ELBO's gradient for {family.spec}. "
                    f"Choose among {', '.join(fitting)}."
                )
            found[name] = choose_estimator(family, TrainConfig(estimator=name))
    problems.require_none()
    if not found:
        raise ConfigError(f"no estimator is named. Name some of {', '.join(fitting)}, or all.")
    return found


def compare(
    data: Dataset,
    config: RunConfig,
    estimators: Sequence[str | Estimator] | Mapping[str, Estimator],
    *,
    moments: Sequence[float] = MOMENTS,
    repeats: int = REPEATS,
    n_seeds: int = 1,
    device: str = "cpu",
    progress: Callable[[str, int, int], object] | None = None,
    keep: Callable[[Comparison], object] | None = None,
) -> Comparison:
    """Measure estimators side by side, along one training run and each in a run of its own.

    First one reference run, with the estimator that ``config`` names or else the default for the
    code; at each of ``moments`` all estimators are measured on its weights and one fixed batch
    (`measure_gradients`). Estimators that learn do so beside it: after each of its steps they take
    one of their own on the same rows with the same learning rate. Then a model is trained with
    every estimator, from the same initial weights, in the same order of rows, for the same number
    of steps. All but the times follows from ``config.training.seed``; with several seeds all of it
    is done once for every seed.

    Args:
        data: training and test rows; they are binarized as ``config.data`` says.
        config: model and training; its estimator and samples are those of the reference run.
        estimators: names with options, as `read_estimators` takes them, or estimators by name.
        moments: fractions of the reference run's steps, in [0, 1].
        repeats: R, draws of each gradient.
        n_seeds: how many seeds, from ``config.training.seed`` on.
        device: where to train.
        progress: called with the task, and the steps done and to do in all.
        keep: called with what is known so far after every moment and every run.

    Raises:
        ConfigError: an option is wrong, or an estimator does not fit the code.
        DataError: the rows do not fit the model.
        TrainingError: the reference run cannot go on. (That another run fails is noted.)

    Example:
        >>> from discretevae.config import ModelConfig
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = ModelConfig(n_features=64, latent="bernoulli:4", hidden=(8,))
        >>> config = RunConfig(model=model, training=TrainConfig(epochs=1))
        >>> found = compare(data, config, ["importance", "rloo"], moments=(0, 1), repeats=8)
        >>> [moment.step for moment in found.moments], len(found.runs)
        ([0, 12], 2)
    """
    require_dataset(data)
    require_type("config", config, RunConfig, "Write RunConfig(model=…, training=…).")
    training = config.training
    if training.objective != "elbo":
        raise ConfigError(f"compare measures the ELBO only. Got objective {training.objective}.")
    if not moments or not all(0 <= moment <= 1 for moment in moments):
        raise ConfigError(f"moments must be one or several numbers in [0, 1]. Got {moments}.")
    require_repeats(repeats)
    if not is_int(n_seeds, 1):
        raise ConfigError(must("n_seeds", "an int >= 1", n_seeds))
    of_seeds = [dataclasses.replace(training, seed=training.seed + i) for i in range(n_seeds)]
    model = fresh_model(config.model, seed=training.seed, device=device)
    reference = choose_estimator(model.family, training)
    if not isinstance(estimators, Mapping):
        estimators = read_estimators(estimators, model.family)
    data = data.binarized_by(config.data)
    for rows in (data.train, data.test):
        require_fit(model, rows)
    n_rows = len(data.train)
    result = Comparison(
        config=config,
        estimators=tuple(estimators),
        reference=training.estimator or reference.spec,
        steps_per_epoch=math.ceil(n_rows / (training.batch_size or auto_batch_size(n_rows))),
        probe_rows=min(PROBE_ROWS, n_rows),
        repeats=repeats,
        n_seeds=n_seeds,
    )
    del model  # every run has one of its own
    comparing = _Comparing(data, result, dict(estimators), device, progress, keep, training)
    for comparing.training in of_seeds:
        comparing.measure(copy.deepcopy(reference), sorted(moments))
        for name in estimators:
            comparing.train(name)
    return comparing.result


@dataclass
class _Comparing:
    """A comparison under way."""

    data: Dataset
    result: Comparison
    estimators: dict[str, Estimator]
    device: str
    progress: Callable[[str, int, int], object] | None
    keep: Callable[[Comparison], object] | None
    training: TrainConfig
    runs_done: int = 0

    def measure(self, reference: Estimator, moments: Sequence[float]) -> None:
        """Train the reference model, and measure all estimators at some moments of it."""
        training, model = self.training, self.fresh_model()
        x = probe_rows(self.data.train, training.seed).to(self.device)
        measured = copy.deepcopy(self.estimators)
        n_steps = training.epochs * self.result.steps_per_epoch
        fractions = {round(moment * n_steps): float(moment) for moment in moments}

        def on_step(at: Progress) -> None:
            step = self.report("reference run", at)
            # an epoch is reported once more when it was evaluated
            if step in fractions and at.metrics is None:
                now = {name: estimator.at_step(step) for name, estimator in measured.items()}
                draws = generator_for(training.seed, "comparison draws", step, device=self.device)
                reports = measure_gradients(
                    model, x, now, repeats=self.result.repeats, generator=draws
                )
                moment = Moment(fractions[step], step, tuple(reports), training.seed)
                self.add(moments=(*self.result.moments, moment))

        on_step(Progress(1, 0, self.result.steps_per_epoch))
        own = generator_for(training.seed, "beside", device=self.device)
        together = _WithLearners(reference, measured, own)
        _train(model, self.data, dataclasses.replace(training, samples=None), together, on_step)
        self.runs_done += 1

    def train(self, name: str) -> None:
        """Train a model with a copy of an estimator."""
        history = list[EpochMetrics]()

        def on_step(at: Progress) -> None:
            self.report(name, at)
            if at.metrics is not None:
                history.append(at.metrics)

        training = dataclasses.replace(self.training, estimator=None, samples=None)
        error = None
        try:
            own = copy.deepcopy(self.estimators[name])
            _train(self.fresh_model(), self.data, training, own, on_step)
        except TrainingError as reason:
            error = str(reason)
        run = EstimatorRun(name, tuple(history), error, training.seed)
        self.add(runs=(*self.result.runs, run))
        self.runs_done += 1

    def fresh_model(self) -> DiscreteVAE:
        """Return the untrained model of the seed."""
        return fresh_model(self.result.config.model, seed=self.training.seed, device=self.device)

    def report(self, task: str, at: Progress) -> int:
        """Report the progress of a run, and return the number of its steps."""
        n_steps = self.result.steps_per_epoch
        of_run = self.training.epochs * n_steps
        step = (at.epoch - 1) * n_steps + at.step
        if self.progress is not None:
            n_runs = self.result.n_runs + self.result.n_seeds
            if self.result.n_seeds > 1:
                task += f", seed {self.training.seed}"
            self.progress(task, self.runs_done * of_run + step, n_runs * of_run)
        return step

    def add(self, **changes: Any) -> None:
        """Add to what was found."""
        self.result = dataclasses.replace(self.result, **changes)
        if self.keep is not None:
            self.keep(self.result)


class _WithLearners(nn.Module, Estimator):
    """The reference estimator, beside which the others learn from the same rows."""

    is_unbiased = False  # nobody asks: it is trained with, and never measured
    kinds = ()

    def __init__(
        self, reference: Estimator, others: Mapping[str, Estimator], own: torch.Generator
    ) -> None:
        super().__init__()
        self.reference, self.own = reference, own
        self.learners = nn.ModuleList(e for e in others.values() if isinstance(e, nn.Module))
        self.step = 0

    def at_step(self, step: int) -> _WithLearners:
        self.step = step
        return self

    def prepare(self, family: Family, eta: Tensor) -> None:
        for estimator in (self.reference, *self.learners):
            estimator.prepare(family, eta)

    def forward(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        reference = self.reference.at_step(self.step)
        estimate = reference(family, eta, f, generator=generator)
        loss = estimate.control_loss
        for learner in self.learners if self.training else ():
            own = learner(family, eta.detach().requires_grad_(), f.frozen(), generator=self.own)
            if own.control_loss is not None:
                loss = own.control_loss if loss is None else loss + own.control_loss
        return dataclasses.replace(estimate, control_loss=loss)


def _train(
    model: DiscreteVAE,
    data: Dataset,
    config: TrainConfig,
    estimator: Estimator,
    progress: Callable[[Progress], object],
) -> None:
    with warnings.catch_warnings():
        # the result says how much of the code is used
        warnings.simplefilter("ignore", CollapseWarning)
        train(model, data, config, estimator=estimator, progress=progress)
