"""Which gradient estimator is best on one's own data, by measurement.

`measure_gradients` looks at one set of weights; `compare` looks along a training run, and then lets
every estimator train a model of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from discretevae.config import LatentKind, RunConfig, TrainConfig, auto_batch_size, to_dict
from discretevae.data import Dataset
from discretevae.errors import CollapseWarning, ConfigError, TrainingError
from discretevae.estimators import ESTIMATORS, Estimate, Estimator, Integrand
from discretevae.families import Family
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.objectives import choose_estimator
from discretevae.objectives.gradient_reports import (
    REPEATS,
    Bias,
    GradientReport,
    measure_gradients,
    require_repeats,
)
from discretevae.run_folder.history import EpochMetrics
from discretevae.system.randomness import generator_for
from discretevae.training import Progress, train
from discretevae.training.selection import probe_rows

FORMAT = "discretevae-comparison"
MOMENTS = (0.0, 0.1, 0.5, 1.0)


@dataclass(frozen=True)
class Moment:
    """The reports after ``step`` steps of the reference run, ``fraction`` of all."""

    fraction: float
    step: int
    reports: tuple[GradientReport, ...]


@dataclass(frozen=True)
class MemberRun:
    """A model trained with one estimator; ``error`` says why it ended early, if it did."""

    estimator: str
    history: tuple[EpochMetrics, ...]
    error: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What `compare` found, as far as it got.

    Args:
        config: model, training and data.
        estimators: the members, in the order asked for.
        reference: the estimator of the reference run.
        steps_per_epoch: steps of an epoch, the same for all.
        probe_rows: B of the fixed batch.
        repeats: R.
        moments: gradients along the reference run.
        runs: one per member that has finished training.
    """

    config: RunConfig
    estimators: tuple[str, ...]
    reference: str
    steps_per_epoch: int
    probe_rows: int
    repeats: int
    moments: tuple[Moment, ...] = ()
    runs: tuple[MemberRun, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every member has trained its model."""
        return len(self.runs) == len(self.estimators)

    def to_dict(self) -> dict[str, Any]:
        """The object that ``comparison.json`` holds."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"format": FORMAT, "format_version": 1, "is_complete": self.is_complete} | values | {
            "config": to_dict(self.config),
            "moments": [
                vars(moment) | {"reports": [report.to_dict() for report in moment.reports]}
                for moment in self.moments
            ],
            "runs": [dataclasses.asdict(run) for run in self.runs],
        }  # fmt: skip


def fitting_estimators(family: Family) -> list[str]:
    """The names of all estimators of the ELBO that can handle a code.

    Example:
        >>> from discretevae.families import Gaussian
        >>> fitting_estimators(Gaussian(2))
        ['importance', 'reparametrized', 'ema', 'nvil', 'rloo']
    """
    fitting = []
    for name in ESTIMATORS:
        try:
            choose_estimator(family, TrainConfig(estimator=name))
        except ConfigError:
            continue
        fitting.append(name)
    return fitting


def read_estimators(names: Sequence[str | Estimator], family: Family) -> dict[str, Estimator]:
    """The members by name; ``all`` stands for every one that fits.

    Raises:
        ConfigError: none, one twice, unknown, unreadable or unfit for the code; all are named.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> read_estimators(["importance", "rloo:samples=4"], Bernoulli(50))["rloo:samples=4"]
        RLOO(samples=4)
    """
    fitting = fitting_estimators(family)
    texts = [name if isinstance(name, str) else name.spec for name in names]
    asked = [one for text in texts for one in (fitting if text == "all" else [text.strip()])]
    members: dict[str, Estimator] = {}
    problems = []
    for name in asked:
        kind = name.partition(":")[0]
        if name in members:
            problems.append(f"estimator {name!r} is named twice. Name it once.")
        elif kind in ESTIMATORS and kind not in fitting:
            problems.append(
                f"estimator {name!r} cannot estimate the ELBO's gradient for {family.spec}. "
                f"Choose among {', '.join(fitting)}."
            )
        else:
            try:
                members[name] = choose_estimator(family, TrainConfig(estimator=name))
            except ConfigError as error:
                problems += error.problems
    if not asked:
        problems.append(f"no estimator is named. Name some of {', '.join(fitting)}, or all.")
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return members


def compare(
    data: Dataset,
    config: RunConfig,
    estimators: Sequence[str | Estimator] | Mapping[str, Estimator],
    *,
    moments: Sequence[float] = MOMENTS,
    repeats: int = REPEATS,
    device: str = "cpu",
    progress: Callable[[str, int, int], object] | None = None,
    keep: Callable[[Comparison], object] | None = None,
) -> Comparison:
    """Measures estimators side by side, along one training run and each in a run of its own.

    First one reference run, with the estimator that ``config`` names or else the default for the
    code; at each of ``moments`` all members are measured on its weights and one fixed batch
    (`measure_gradients`). Members that learn do so beside it: after each of its steps they take
    one of their own on the same rows with the same step size. Then every member trains its own
    model from the same initial weights, in the same order of rows, for the same number of steps.
    All but the times follows from ``config.training.seed``.

    Args:
        data: training and test rows; they are binarized as ``config.data`` says.
        config: model and training; its estimator and samples are those of the reference run.
        estimators: names with options, as `read_estimators` takes them, or members by name.
        moments: fractions of the reference run's steps, in [0, 1].
        repeats: R, draws of each gradient.
        device: where to train.
        progress: called with what is being done, and the steps done and to do in all.
        keep: called with what is known so far after every moment and every member.

    Raises:
        ConfigError: an option is wrong, or an estimator does not fit the code.
        DataError: the rows do not fit the model.
        TrainingError: the reference run cannot go on. (A member's own run may fail: it is noted.)

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
    training = config.training
    if training.objective != "elbo":
        raise ConfigError(f"compare measures the ELBO only. Got objective {training.objective}.")
    if not moments or not all(0 <= moment <= 1 for moment in moments):
        raise ConfigError(f"moments must be one or several numbers in [0, 1]. Got {moments}.")
    require_repeats(repeats)
    model = fresh_model(config.model, seed=config.training.seed, device=device)
    reference = choose_estimator(model.family, training)
    members = (
        dict(estimators)
        if isinstance(estimators, Mapping)
        else read_estimators(estimators, model.family)
    )
    data = data.binarized_by(config.data)
    for rows in (data.train, data.test):
        require_fit(model, rows)
    n_steps = math.ceil(len(data.train) / (training.batch_size or auto_batch_size(len(data.train))))
    in_all = training.epochs * n_steps
    x = probe_rows(data.train, training.seed).to(device)
    result = Comparison(
        config=config,
        estimators=tuple(members),
        reference=training.estimator or reference.spec,
        steps_per_epoch=n_steps,
        probe_rows=len(x),
        repeats=repeats,
    )
    beside = copy.deepcopy(members)
    fractions = {round(moment * in_all): float(moment) for moment in sorted(moments)}

    def tell(what: str, before: int, at: Progress) -> int:
        step = (at.epoch - 1) * n_steps + at.step
        if progress is not None:
            progress(what, before + step, in_all * (1 + len(members)))
        return step

    def keep_with(**changes: Any) -> Comparison:
        changed = dataclasses.replace(result, **changes)
        if keep is not None:
            keep(changed)
        return changed

    def on_the_way(at: Progress) -> None:
        nonlocal result
        step = tell("reference run", 0, at)
        if step in fractions and at.metrics is None:
            draws = generator_for(training.seed, "comparison draws", step, device=device)
            then = {name: member.at_step(step) for name, member in beside.items()}
            found = measure_gradients(model, x, then, repeats=repeats, generator=draws)
            moment = Moment(fractions[step], step, tuple(found))
            result = keep_with(moments=(*result.moments, moment))

    on_the_way(Progress(1, 0, n_steps))
    chorus = _Beside(reference, beside, generator_for(training.seed, "beside", device=device))
    _train(model, data, dataclasses.replace(training, samples=None), chorus, on_the_way)
    for number, (name, member) in enumerate(members.items(), 1):
        run = _run_of(name, member, data, config, device, partial(tell, name, number * in_all))
        result = keep_with(runs=(*result.runs, run))
    return result


class _Beside(nn.Module, Estimator):
    """The reference estimator, and the members that learn from the rows it meets."""

    def __init__(
        self, reference: Estimator, members: Mapping[str, Estimator], own: torch.Generator
    ) -> None:
        super().__init__()
        self.reference, self.own = reference, own
        self.learners = nn.ModuleList(m for m in members.values() if isinstance(m, nn.Module))
        self.step = 0

    @property
    def is_unbiased(self) -> bool:
        return self.reference.is_unbiased

    @property
    def evaluations(self) -> int:
        return self.reference.evaluations

    @property
    def kinds(self) -> tuple[LatentKind, ...]:
        return self.reference.kinds

    def at_step(self, step: int) -> _Beside:
        self.step = step
        return self

    def prepare(self, family: Family, eta: Tensor) -> None:
        for member in (self.reference, *self.learners):
            member.prepare(family, eta)

    def forward(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        reference = self.reference.at_step(self.step)
        estimate = reference(family, eta, f, generator=generator)
        loss = estimate.control_loss
        for member in self.learners if self.training else ():
            told = member(family, eta.detach().requires_grad_(), f.frozen(), generator=self.own)
            if told.control_loss is not None:
                loss = told.control_loss if loss is None else loss + told.control_loss
        return dataclasses.replace(estimate, control_loss=loss)


def _run_of(
    name: str,
    member: Estimator,
    data: Dataset,
    config: RunConfig,
    device: str,
    tell: Callable[[Progress], object],
) -> MemberRun:
    """A model of its own, trained with a copy of the member."""
    told = dataclasses.replace(config.training, estimator=None, samples=None)
    history: list[EpochMetrics] = []

    def note(at: Progress) -> None:
        tell(at)
        if at.metrics is not None:
            history.append(at.metrics)

    try:
        _train(
            fresh_model(config.model, seed=config.training.seed, device=device),
            data,
            told,
            copy.deepcopy(member),
            note,
        )
    except TrainingError as error:
        return MemberRun(name, tuple(history), str(error))
    return MemberRun(name, tuple(history))


def _train(
    model: DiscreteVAE,
    data: Dataset,
    config: TrainConfig,
    member: Estimator,
    progress: Callable[[Progress], object],
) -> None:
    with warnings.catch_warnings():
        # how much of the code is used stands in the result
        warnings.simplefilter("ignore", CollapseWarning)
        train(model, data, config, estimator=member, progress=progress)


__all__ = [
    "MOMENTS",
    "REPEATS",
    "Bias",
    "Comparison",
    "GradientReport",
    "MemberRun",
    "Moment",
    "compare",
    "fitting_estimators",
    "measure_gradients",
    "read_estimators",
]
