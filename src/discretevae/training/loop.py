"""One training loop, to be read from top to bottom."""

from __future__ import annotations

import copy
import math
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from discretevae.config import TrainConfig, auto_batch_size
from discretevae.config.saving import SaveEvery
from discretevae.data import Dataset
from discretevae.errors import CollapseWarning, TrainingError
from discretevae.estimators import Estimator
from discretevae.evaluation.bounds import evaluate
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import OBJECTIVES, Terms, check_pair, choose_estimator
from discretevae.objectives.gradient_noise import encoder_gradient_noise
from discretevae.run_folder.history import EpochMetrics, collapse_advice
from discretevae.system.allocator import keep_freed_memory
from discretevae.system.precision import computing
from discretevae.system.randomness import generator_for
from discretevae.system.ranks import Ranks
from discretevae.training.averaging import Average
from discretevae.training.captured import RECORDERS, Captured, check_training
from discretevae.training.course import Course
from discretevae.training.keeper import Keeper
from discretevae.training.pairs import Pairs
from discretevae.training.placement import place_mixture
from discretevae.training.position import Position
from discretevae.training.selection import (
    mean_of,
    probe_rows,
    resident,
    some_rows,
    validation_split,
)
from discretevae.training.signals import stop_requests
from discretevae.training.steps import Steps

TEST_ROWS = 10_000
"""At most so many test rows are looked at after every epoch."""


@dataclass(frozen=True)
class Progress:
    """Where the training stands; handed to the ``progress`` callback after every step.

    Args:
        epoch: the epoch under way, from 1.
        step: steps done in it.
        n_steps: steps of an epoch.
        metrics: of the epoch, once it is over.
    """

    epoch: int
    step: int
    n_steps: int
    metrics: EpochMetrics | None = None


def train(
    model: DiscreteVAE,
    data: Dataset,
    config: TrainConfig | None = None,
    *,
    estimator: Estimator | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    save_every: SaveEvery | None = None,
    ranks: Ranks | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> list[EpochMetrics]:
    """Trains ``model`` in place with Adam on the ELBO, or on the objective that ``config`` names.

    The same seed on the same machine gives the same weights to the bit, also when a run was
    interrupted and resumed.

    Args:
        model: the model; moved nowhere, so put it on its device before.
        data: training and test rows, binarized as the model is to meet them.
        config: how to train; None takes the defaults.
        estimator: a gradient estimator of one's own, in place of the one that ``config`` names.
        out: a run folder to keep metrics, weights and checkpoints in; None keeps nothing.
        resume: go on from the checkpoint in ``out``; without one, start from the beginning.
        save_every: how often to save; None for every ten seconds.
        ranks: the processes that train together; None for this one alone.
        progress: called after every step and at the end of every epoch, on the first rank.

    Returns:
        One `EpochMetrics` per epoch, those before a resume included; empty on other ranks than
        the first.

    Raises:
        ConfigError: the estimator cannot handle the model's code or the objective, or the device
            the precision, or they cannot be recorded.
        DataError: the rows do not fit the model.
        RunError: the checkpoint is corrupt or of another model, or another process is writing to
            the folder.
        TrainingError: the loss is no longer finite, or the disk is full; what was saved last
            stays.
        TrainingInterrupted: Ctrl-C or SIGTERM, after saving (only with ``out``).

    Warns:
        CollapseWarning: the code carries little.
        CheckpointWarning: the newest checkpoint is damaged, and the one before it was taken.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="gaussian:3", hidden=(16,))
        >>> metrics = train(model, data, TrainConfig(epochs=8, lr=0.01))
        >>> metrics[-1].loss < metrics[0].loss
        True
    """
    training = Training(model, data, config or TrainConfig(), estimator, ranks or Ranks())
    folder = Path(out) if out is not None else None
    history = training.run(folder, resume, save_every or SaveEvery(), progress)
    advice = collapse_advice(model.family.spec, history[-1]) if history else None
    if advice is not None:
        warnings.warn(advice, CollapseWarning, stacklevel=2)
    return history


class Training:
    """What a training works with, and its parts: epoch, step, end of an epoch."""

    def __init__(
        self,
        model: DiscreteVAE,
        data: Dataset,
        config: TrainConfig,
        estimator: Estimator | None,
        ranks: Ranks,
    ) -> None:
        self.model, self.config, self.ranks = model, config, ranks
        if estimator is None:
            estimator = choose_estimator(model.family, config)
        else:
            check_pair(config.objective, estimator)
        require_fit(model, data.train)
        require_fit(model, data.test)
        keep_freed_memory()
        self.device = model.device
        check_training(config, estimator, self.device, ranks)
        self.rows, validation = validation_split(data.train, config)
        test = data.test.subset(some_rows(data.test, TEST_ROWS, config.seed, "test rows"))
        grey = self.rows.binarized("none")  # distorted and binarized batch by batch, in Pairs
        self.near, self.test = resident(grey, self.device), resident(test, self.device)
        self.validation = None if validation is None else resident(validation, self.device)
        self.batch_size = config.batch_size or auto_batch_size(len(self.rows))
        self.n_steps = math.ceil(len(self.rows) / self.batch_size)
        self.course = Course(config, estimator, self.n_steps)

        self.probe = probe_rows(self.rows, config.seed).to(self.device)
        self.modules = _modules(model, estimator, self.probe)
        self.trained = [p for module in self.modules.values() for p in module.parameters()]
        self.average = None if config.average is None else Average(model, config.average)
        self.shown = model if self.average is None else self.average.model
        if self.average is not None:
            self.modules["average"] = self.average.model
        self.best = copy.deepcopy(model).requires_grad_(False) if config.patience else None
        if self.best is not None:
            self.modules["best"] = self.best
        rank = () if ranks.is_first else (ranks.rank,)
        self.generator = generator_for(config.seed, "samples", *rank, device=self.device)
        pixels = generator_for(config.seed, "pairs", *rank, device=self.device)
        self.generators = self.generator, pixels
        self.steps = Steps(
            model, self.trained, self.generator, clip=config.clip, lr=config.lr,
            is_recorded=config.graph,
        )  # fmt: skip
        self.optimizer = self.steps.optimizer
        self.captured: Captured | None = None
        if config.graph:
            self.captured = Captured(RECORDERS[self.device.type](self.generator), self.batch_size)
        self.pairs = Pairs(self.rows, config, model.config.image_shape, pixels)
        self.here, self.history = Position(), list[EpochMetrics]()
        self.wants, self.wanted = (0.0, 0.0), [0.0, 0.0]  # to stop and to save: here, all ranks

    def run(
        self,
        folder: Path | None,
        resume: bool,
        every: SaveEvery,
        progress: Callable[[Progress], object] | None,
    ) -> list[EpochMetrics]:
        """All epochs that are left."""
        told = progress if self.ranks.is_first else None
        with (
            Keeper(
                folder, self.modules, self.best or self.shown, self.optimizer, self.generators,
                self.ranks, every, self.n_steps,
            ) as keeper,
            stop_requests(active=folder is not None) as stop,
        ):  # fmt: skip
            if resume:
                self.here, self.history = keeper.restore()
            if self.here.epoch == 1 and self.here.step == 0:
                self._start()
            while self.here.epoch <= self.config.epochs and not self._has_stalled():
                if self.here.step == 0 and self.here.epoch == self.config.pretrain + 1:
                    self._place_prior()
                with computing(self.config.precision, self.model):
                    self._epoch(keeper, stop, told)
                with computing("float32"):
                    self._end_epoch(keeper, told)
        self._hand_over()
        return self.history

    def _start(self) -> None:
        """What is done once, before the first step."""
        self.ranks.copy_first(list(self.model.state_dict().values()))
        if self.config.start == "mean":
            self.model.start_at(mean_of(self.rows))
            self.shown.load_state_dict(self.model.state_dict())

    def _place_prior(self) -> None:
        """What is done once, after pretraining: the mixture is placed on the codes' clusters."""
        if self.config.pretrain == 0:
            return
        if self.ranks.is_first:
            self.model.eval()
            place_mixture(self.model, self.rows, seed=self.config.seed)
        self.ranks.copy_first(list(self.model.prior.state_dict().values()))
        self.shown.prior.load_state_dict(self.model.prior.state_dict())

    def _epoch(
        self,
        keeper: Keeper,
        stop: threading.Event,
        told: Callable[[Progress], object] | None,
    ) -> None:
        """The steps of an epoch that are left."""
        here, (rank, ranks) = self.here, (self.ranks.rank, self.ranks.count)
        batches = self.near.epoch(self.config.seed, here.epoch, self.batch_size)
        for module in self.modules.values():
            module.train()
        if self.captured is not None:
            self.captured.sums.start(here)
        while here.step < self.n_steps:
            began, cpu_began = time.perf_counter(), time.process_time()
            n_rows = min(self.batch_size, len(self.rows) - here.step * self.batch_size)
            x, target = self.pairs.take(batches, here.step, rank, ranks)
            weight = len(x) * ranks / n_rows
            if not len(x):  # fewer rows than ranks: this one goes along, and counts for nothing
                x, target = (whole[:1] for whole in self.pairs.take(batches, here.step, 0, 1))
            shown, x = self.pairs.drawn(x, target)
            self.wants = float(stop.is_set()), float(keeper.is_due(here))
            self._step(x, shown, weight, keeper)
            here.epoch_seconds += time.perf_counter() - began
            here.cpu_seconds += time.process_time() - cpu_began
            here.step += 1
            if told is not None:
                told(Progress(here.epoch, here.step, self.n_steps))
            stops, due = map(bool, self.wanted)
            if self.ranks.is_alone:
                stops, due = stop.is_set(), keeper.is_due(here)
            if keeper.is_keeping and (stops or due):
                self._settle(keeper)
                keeper.save(here, self.history)
                if stops:
                    raise keeper.interrupted(here)

    def _step(self, x: Tensor, shown: Tensor | None, weight: float, keeper: Keeper) -> None:
        """One step on this rank's part of a batch.

        ``weight`` makes the mean over ranks of their means over rows that over all rows.
        """
        taken = (self.here.epoch - 1) * self.n_steps + self.here.step
        self.steps.set_lr(self.course.lr(taken))
        step = partial(self.steps.take, self.course.objective(taken), self.course.member(taken))
        if self.captured is not None:
            self.here.rows += len(x)
            self.captured.take(step, x, shown, is_steady=self.course.is_steady(taken))
        else:
            told = partial(self._take_in, weight, len(x), keeper)
            step(told, x, shown, weight=None if self.ranks.is_alone else weight)
        self.steps.drop_traces(taken + 1)
        if self.average is not None:
            self.average.update(self.model, taken)

    def _take_in(
        self,
        weight: float,
        n_rows: int,
        keeper: Keeper,
        number: int,
        loss: Tensor,
        terms: Terms,
    ) -> None:
        """What the ranks say of a batch whose gradients are there, and its share of the sums."""
        value = loss.item()
        said = (value * weight / self.ranks.count, *self.wants)
        mean_loss, *self.wanted = self.ranks.mean(self._shared(), said)
        if number == 0:
            self._require_finite_loss(mean_loss, f"step {self.here.step + 1}", keeper)
            if weight:
                self._add_up(terms, value, n_rows)

    def _shared(self) -> list[Tensor]:
        """What ranks must agree on: gradients, and what an estimator remembers of batches."""
        if self.ranks.is_alone:
            return []
        gradients = [p.grad for p in self.trained if p.grad is not None]
        if "estimator" not in self.modules:
            return gradients
        buffers = self.modules["estimator"].buffers()
        return gradients + [buffer for buffer in buffers if buffer.is_floating_point()]

    def _add_up(self, terms: Terms, loss: float, n_rows: int) -> None:
        here = self.here
        here.rows += n_rows
        here.loss += loss * n_rows
        here.log_likelihood += terms.log_likelihood.sum().item()
        here.kl += terms.kl.sum().item()
        if "ess" in terms.diagnostics:
            here.has_ess = True
            here.ess += terms.diagnostics["ess"].sum().item()

    def _end_epoch(self, keeper: Keeper, told: Callable[[Progress], object] | None) -> None:
        """What is measured after the steps of an epoch, by the first rank alone."""
        for module in self.modules.values():
            module.eval()
        self._settle(keeper)
        whole = self.here.with_sums(self.ranks.total(self.here.sums()))
        metrics = self._measure(whole) if self.ranks.is_first else None
        if self.best is not None:
            self._compare_with_best(metrics)
        self.here = self.here.next_epoch()
        if metrics is not None:
            self.history.append(metrics)
            if told is not None:
                told(Progress(metrics.epoch, self.n_steps, self.n_steps, metrics))
        is_last = self.here.epoch > self.config.epochs or self._has_stalled()
        (due,) = self.ranks.total([float(keeper.is_due(self.here))])
        if is_last or due:
            keeper.save(self.here, self.history)

    def _measure(self, whole: Position) -> EpochMetrics:
        config, epoch = self.config, whole.epoch
        member = self.course.member(epoch * self.n_steps)
        repeatable = generator_for(config.seed, "probe draws", epoch, device=self.device)
        noise = encoder_gradient_noise(
            self.model, self.probe, member, generator=repeatable,
            objective=OBJECTIVES[config.objective],
        )  # fmt: skip
        measured = partial(evaluate, self.shown, samples=1, seed=config.seed)
        tested = measured(self.test)
        held = None if self.validation is None else measured(self.validation).elbo
        return EpochMetrics(
            epoch=epoch,
            loss=whole.loss / whole.rows,
            log_likelihood=whole.log_likelihood / whole.rows,
            kl=whole.kl / whole.rows,
            test_elbo=tested.elbo.value,
            test_elbo_se=tested.elbo.se,
            grad_variance=noise.variance,
            grad_relative_variance=noise.relative,
            ess=whole.ess / whole.rows if whole.has_ess else None,
            **asdict(tested.usage),
            rows_per_second=whole.rows / max(whole.epoch_seconds, 1e-9),
            seconds=whole.seconds + whole.epoch_seconds,
            cpu_seconds=whole.cpu_seconds if self.device.type == "cpu" else None,
            validation_elbo=None if held is None else held.value,
            validation_elbo_se=None if held is None else held.se,
        )

    def _compare_with_best(self, metrics: EpochMetrics | None) -> None:
        """Keeps the weights of the best epoch so far by the validation rows."""
        mine = None if metrics is None else metrics.validation_elbo
        (value,) = self.ranks.total([mine or 0.0])
        if self.best is not None and (self.here.best is None or value > self.here.best):
            self.here.best, self.here.best_epoch = value, self.here.epoch
            self.best.load_state_dict(self.shown.state_dict())

    def _has_stalled(self) -> bool:
        """Whether the validation rows have seen no better epoch for too long."""
        patience = self.config.patience
        return patience is not None and self.here.epoch - 1 - self.here.best_epoch >= patience

    def _hand_over(self) -> None:
        """Leaves in the user's model the weights that are meant to be used."""
        chosen = self.best or self.shown
        if chosen is not self.model:
            self.model.load_state_dict(chosen.state_dict())
        self.model.eval()

    def _settle(self, keeper: Keeper) -> None:
        """Waits for steps that are under way; what is not finite must not replace good weights.

        Raises:
            TrainingError: the loss or some weight is not finite.
        """
        here = self.here
        when = f"before step {here.step + 1}"
        if self.captured is not None:
            began = time.perf_counter()
            self.captured.sums.read(here)
            here.epoch_seconds += time.perf_counter() - began
            self._require_finite_loss(here.loss, when, keeper)
        # a finite loss may have a gradient that is not
        if not all(bool(weight.isfinite().all()) for weight in self.trained):
            raise TrainingError(
                f"weights became NaN or infinite in epoch {here.epoch}, {when}. {keeper.kept()}"
                "Try a smaller `lr`, or rescale the data."
            )

    def _require_finite_loss(self, value: float, when: str, keeper: Keeper) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss became {value} in epoch {self.here.epoch}, {when}. "
                f"{keeper.kept()}Try a smaller `lr`."
            )


def _modules(model: DiscreteVAE, estimator: Estimator, probe: Tensor) -> dict[str, nn.Module]:
    """Everything that has weights or a memory: the model, and an estimator that learns."""
    prepare = getattr(estimator, "prepare", None)
    if prepare is not None:
        prepare(model.family, model.eta(probe[:1]).detach())
    if isinstance(estimator, nn.Module):
        return {"model": model, "estimator": estimator.to(probe.device)}
    return {"model": model}


__all__ = ["Progress", "Training", "train"]
