"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from discretevae.config import SaveEvery, TrainConfig
from discretevae.data import Dataset
from discretevae.data.datasets import require_dataset
from discretevae.errors import CollapseWarning, TrainingError
from discretevae.estimators import Estimator
from discretevae.model.row_checks import require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.quantizers import Codebook
from discretevae.run_folder.history import EpochMetrics, collapse_advice
from discretevae.system.precision import computing
from discretevae.system.ranks import Ranks
from discretevae.training.batches import Batch, BatchMaker
from discretevae.training.checkpointer import Checkpointer
from discretevae.training.measuring import measure_epoch
from discretevae.training.placement import place_codebook, place_mixture, place_words
from discretevae.training.position import Position
from discretevae.training.preparation import PreparedTraining, choose_method, prepare_training
from discretevae.training.recorded_step import RecordedStep
from discretevae.training.recorders import RECORDERS
from discretevae.training.selection import mean_row
from discretevae.training.signals import stop_requests
from discretevae.training.state import TrainingState, start_state
from discretevae.training.step import flush_moments, set_lr, take_step
from discretevae.training.step_settings import StepSettings, settings_at

Step = Callable[[Batch, StepSettings], None]
"""A function that takes a step on a batch."""


@dataclass(frozen=True)
class Progress:
    """The progress of a training, which the ``progress`` callback gets after every step.

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
    estimator: str | Estimator | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    save_every: str | SaveEvery = "10s",
    ranks: Ranks | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> list[EpochMetrics]:
    """Train ``model`` in place with Adam on the ELBO, or on the objective that ``config`` names.

    The same seed on the same machine gives the same weights to the bit, also when a run was
    interrupted and resumed.

    Args:
        model: the model; it is not moved, so put it on its device before.
        data: training and test rows, binarized as the model is to meet them; training rows may have
            weights.
        config: how to train; None takes the defaults.
        estimator: in place of the one that ``config`` names, also one of your own.
        out: a run folder to keep metrics, weights and checkpoints in; None keeps nothing.
        resume: go on from the checkpoint in ``out``; without one, start from the beginning.
        save_every: how often to save, a `SaveEvery` or its spelling: ``5min``, ``500steps``.
        ranks: the processes that train together; None for this one alone.
        progress: called after every step and at the end of every epoch, on the first rank.

    Returns:
        One `EpochMetrics` per epoch, those before a resume included; empty on every rank
        but the first.

    Raises:
        ConfigError: the estimator cannot handle the model's code or the objective, or the device
            the precision, or the steps cannot be recorded.
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
    require_model(model)
    require_dataset(data)
    method = choose_method(
        model.family,
        TrainConfig() if config is None else config,
        device=model.device,
        ranks=ranks,
        estimator=estimator,
    )
    prepared = prepare_training(model, data, method, out=out, resume=resume, save_every=save_every)
    state = start_state(prepared)
    run_training(prepared, state, progress)
    warn_of_collapse(state)
    return state.history


def run_training(
    prepared: PreparedTraining,
    state: TrainingState,
    progress: Callable[[Progress], object] | None = None,
) -> None:
    """Take all steps that are left, and leave the final weights in the model; errors as of `train`.

    The state is changed in place. ``progress`` is called on the first rank, after every step and
    at the end of every epoch.
    """
    config = prepared.config
    report = progress if progress and prepared.ranks.is_first else (lambda _: None)
    batches = BatchMaker(prepared, state.generators["data"])
    step: Step = partial(take_step, prepared, state)
    if config.graph:
        # replays one recorded CUDA graph, see recorders.py
        recorder = RECORDERS[prepared.device.type](state.generators["samples"])
        step = RecordedStep(step, recorder, prepared.batch_size)
    with (
        Checkpointer(prepared, state) as checkpointer,
        stop_requests(active=prepared.folder is not None) as stop,
    ):
        checkpointer.begin()
        if state.position.is_start:
            _start_from_scratch(prepared, state)
        while state.position.epoch <= config.epochs and not _has_stalled(prepared, state):
            if config.pretrain and state.position.is_start_of(config.pretrain + 1):
                _place_prior(prepared, state)
            with computing(config.precision, prepared.model):
                _train_epoch(prepared, state, batches, step, checkpointer, stop, report)
            with computing("float32"):
                _end_epoch(prepared, state, checkpointer, report)
    # the user's model gets the averaged weights, or those of the best epoch
    if state.final_model is not state.model:
        state.model.load_state_dict(state.final_model.state_dict())
    state.model.eval()


def warn_of_collapse(state: TrainingState) -> None:
    """Warn if the code carries little, and say what to try (`CollapseWarning`)."""
    if not state.history:
        return
    advice = collapse_advice(state.model.family.spec, state.history[-1])
    if advice is not None:
        warnings.warn(advice, CollapseWarning, stacklevel=3)


def _start_from_scratch(prepared: PreparedTraining, state: TrainingState) -> None:
    """Place what starts at the data, and copy the first rank's weights to all."""
    model, config, ranks = state.model, prepared.config, prepared.ranks
    if isinstance(model.quantizer, Codebook) and ranks.is_first:
        model.eval()
        place_codebook(model, prepared.train_rows, seed=config.seed)
    of_counts = model.config.likelihood.is_count
    if of_counts and ranks.is_first:
        place_words(model, prepared.train_rows)
    if model.quantizer is not None and config.objective == "vq":
        model.quantizer.be_certain()
    ranks.copy_first(list(model.state_dict().values()))
    # rare words and frequent ones differ by orders of magnitude, which steps of Adam take long for
    is_far = of_counts or prepared.train_rows.is_mixed
    if config.start == "mean" or (is_far and model.config.network == "mlp"):
        model.start_at(mean_row(prepared.train_rows, model.likelihood))
    state.evaluated_model.load_state_dict(model.state_dict())


def _place_prior(prepared: PreparedTraining, state: TrainingState) -> None:
    """Place the mixture prior on the clusters of the codes, once, after pretraining."""
    prior, ranks = state.model.prior, prepared.ranks
    if ranks.is_first:
        state.model.eval()
        place_mixture(state.model, prepared.train_rows, seed=prepared.config.seed)
    ranks.copy_first(list(prior.state_dict().values()))
    state.evaluated_model.prior.load_state_dict(prior.state_dict())


def _train_epoch(
    prepared: PreparedTraining,
    state: TrainingState,
    batches: BatchMaker,
    step: Step,
    checkpointer: Checkpointer,
    stop: threading.Event,
    report: Callable[[Progress], object],
) -> None:
    """Take the steps of an epoch that are left."""
    position, n_steps = state.position, prepared.steps_per_epoch
    for module in state.modules.values():
        module.train()
    batches.start_epoch(position.epoch)
    state.sums.start(position)
    while position.step < n_steps:
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        global_step = (position.epoch - 1) * n_steps + position.step
        settings = settings_at(prepared, global_step)
        set_lr(state.optimizer, settings.lr)
        batch = batches.make(position.step)
        step(batch, settings)
        flush_moments(state.optimizer, global_step + 1)
        if state.average is not None:
            state.average.update(state.model, global_step)
        # a recorded step must not wait for the device; its losses are looked at before a save
        failed = not prepared.config.graph and not state.sums.loss_is_finite()
        position.step += 1
        position.rows += len(batch.target) if batch.weight else 0
        position.epoch_seconds += time.perf_counter() - wall_start
        position.cpu_seconds += time.process_time() - cpu_start
        report(Progress(position.epoch, position.step, n_steps))
        due = checkpointer.is_due()
        failed, must_stop, must_save = _any_rank(prepared.ranks, failed, stop.is_set(), due)
        if failed:
            raise _not_finite("the loss", state.position, checkpointer)
        if prepared.folder is not None and (must_stop or must_save):
            _read_and_check(state, checkpointer)
            checkpointer.save()
            if must_stop:
                raise checkpointer.interrupted()


def _end_epoch(
    prepared: PreparedTraining,
    state: TrainingState,
    checkpointer: Checkpointer,
    report: Callable[[Progress], object],
) -> None:
    """Evaluate the model on the first rank, and save where that is due."""
    ranks, n_steps = prepared.ranks, prepared.steps_per_epoch
    for module in state.modules.values():
        module.eval()
    _read_and_check(state, checkpointer)
    totals = state.position.with_sums(ranks.total(state.position.sums()))
    metrics = measure_epoch(prepared, state, totals) if ranks.is_first else None
    if state.best_model is not None:
        _keep_best(prepared, state, state.best_model, metrics)
    state.position = state.position.next_epoch()
    if metrics is not None:
        state.history.append(metrics)
        report(Progress(metrics.epoch, n_steps, n_steps, metrics))
    is_last = state.position.epoch > prepared.config.epochs or _has_stalled(prepared, state)
    (due,) = _any_rank(ranks, checkpointer.is_due())
    if is_last or due:
        checkpointer.save()


def _keep_best(
    prepared: PreparedTraining,
    state: TrainingState,
    best_model: DiscreteVAE,
    metrics: EpochMetrics | None,
) -> None:
    """Keep the weights if no epoch before was better by the validation rows."""
    elbo_here = None if metrics is None else metrics.validation_elbo
    (elbo,) = prepared.ranks.total([elbo_here or 0.0])
    position = state.position
    if position.best_elbo is None or elbo > position.best_elbo:
        position.best_elbo, position.best_epoch = elbo, position.epoch
        best_model.load_state_dict(state.evaluated_model.state_dict())


def _has_stalled(prepared: PreparedTraining, state: TrainingState) -> bool:
    """Return whether the validation ELBO has not risen for too many epochs."""
    patience, position = prepared.config.patience, state.position
    return patience is not None and position.epoch - 1 - position.best_epoch >= patience


def _read_and_check(state: TrainingState, checkpointer: Checkpointer) -> None:
    """Wait for the steps under way; refuse to go on with weights that are not finite."""
    position, start = state.position, time.perf_counter()
    state.sums.read(position)
    position.epoch_seconds += time.perf_counter() - start
    if not math.isfinite(position.loss):
        raise _not_finite("the loss", position, checkpointer)
    # a finite loss may have a gradient that is not
    if not all(bool(parameter.isfinite().all()) for parameter in state.parameters):
        raise _not_finite("a weight", position, checkpointer)


def _not_finite(what: str, position: Position, checkpointer: Checkpointer) -> TrainingError:
    """Return the exception for a loss or a weight that is not finite."""
    saved = checkpointer.what_is_saved()
    return TrainingError(
        f"{what} became NaN or infinite in epoch {position.epoch}, by step {position.step}. "
        f"{saved}Try a smaller `lr`, or rescale the data."
    )


def _any_rank(ranks: Ranks, *flags: bool) -> list[bool]:
    """Return for each flag whether it is set on any process, so that all of them do the same."""
    return [total > 0 for total in ranks.total([float(flag) for flag in flags])]
