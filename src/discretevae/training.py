"""One training loop, to be read from top to bottom."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from discretevae.allocator import keep_freed_memory
from discretevae.averaging import Average
from discretevae.checkpoint import STATE, load_state, save_state, save_weights
from discretevae.config import TrainConfig, auto_batch_size
from discretevae.data import Dataset, Rows, binarize
from discretevae.errors import CollapseWarning, RunError, TrainingError, TrainingInterrupted
from discretevae.estimators import Estimator
from discretevae.estimators.base import estimator_at
from discretevae.evaluation import evaluate, require_fit
from discretevae.files import write_atomic
from discretevae.gradients import PROBE_ROWS, encoder_gradient_noise
from discretevae.history import METRICS, EpochMetrics, collapse_advice, read_metrics
from discretevae.model import DiscreteVAE
from discretevae.objectives import OBJECTIVES, check_pair, choose_estimator
from discretevae.randomness import generator_for
from discretevae.schedules import parse_schedule

SECONDS_BETWEEN_CHECKPOINTS = 10.0
"""A checkpoint costs an fsync; more often than this it would slow small runs down for nothing."""

TEST_ROWS = 10_000
"""At most so many test rows are looked at after every epoch."""

MEAN_ROWS = 4096
"""Rows in one go when their mean is formed."""


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


@dataclass
class _Position:
    """Where a run stands: the next step to take, and the sums of the epoch so far."""

    epoch: int = 1
    step: int = 0
    rows: int = 0
    loss: float = 0.0
    log_likelihood: float = 0.0
    kl: float = 0.0
    ess: float = 0.0
    has_ess: bool = False
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def train(
    model: DiscreteVAE,
    data: Dataset,
    config: TrainConfig | None = None,
    *,
    estimator: Estimator | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> list[EpochMetrics]:
    """Trains ``model`` in place with Adam on the ELBO, or on the objective that ``config`` names.

    The same seed on the same machine gives the same weights to the bit, also when a run was
    interrupted and resumed.

    Args:
        model: the model; moved nowhere, so put it on its device before.
        data: training and test rows.
        config: how to train; None takes the defaults.
        estimator: a gradient estimator of one's own, in place of the one that ``config`` names.
        out: a run folder to keep metrics, weights and checkpoints in; None keeps nothing.
        resume: go on from the checkpoint in ``out``; without one, start from the beginning.
        progress: called after every step and at the end of every epoch.

    Returns:
        One `EpochMetrics` per epoch, those before a resume included.

    Raises:
        ConfigError: the estimator cannot handle the model's code or the objective.
        DataError: the rows do not fit the model.
        RunError: the checkpoint is corrupt or of another model.
        TrainingError: the loss is no longer finite, or the disk is full; what was saved last
            stays.
        TrainingInterrupted: Ctrl-C or SIGTERM, after saving (only with ``out``).

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="gaussian:3", hidden=(16,))
        >>> metrics = train(model, data, TrainConfig(epochs=8, lr=0.01))
        >>> metrics[-1].loss < metrics[0].loss
        True
    """
    config = config or TrainConfig()
    if estimator is None:
        estimator = choose_estimator(model.family, config)
    else:
        check_pair(config.objective, estimator)
    objective = OBJECTIVES[config.objective]
    require_fit(model, data.train)
    require_fit(model, data.test)
    keep_freed_memory()

    device = model.prior.raw.device
    rows = data.train
    batch_size = config.batch_size or auto_batch_size(len(rows))
    n_steps = math.ceil(len(rows) / batch_size)
    probe = _probe_rows(rows, config, device)
    test = data.test.subset(_some_rows(data.test, TEST_ROWS, config.seed, "test rows"))
    modules = _modules(model, estimator, probe)
    trained = [p for module in modules.values() for p in module.parameters()]
    average = None if config.average is None else Average(model, config.average)
    if average is not None:
        modules["average"] = average.model
    shown = model if average is None else average.model
    optimizer = torch.optim.Adam(trained, lr=config.lr, fused=True)
    generator = generator_for(config.seed, "samples", device=device)
    keeper = _Keeper(Path(out), modules, optimizer, generator) if out is not None else None
    here = _Position()
    history: list[EpochMetrics] = []
    if keeper is not None and resume:
        here, history = keeper.restore()
    if config.start == "mean" and here == _Position():
        model.start_at(_mean_of(rows, config))
        shown.load_state_dict(model.state_dict())
    schedule = parse_schedule(config.lr_schedule)

    with _stop_requests(active=keeper is not None) as stop:
        while here.epoch <= config.epochs:
            batches = rows.epoch(config.seed, here.epoch, batch_size)
            for module in modules.values():
                module.train()
            while here.step < n_steps:
                began, cpu_began = time.perf_counter(), time.process_time()
                x = binarize(batches.take(here.step).to(device), config.binarize, generator)
                taken = (here.epoch - 1) * n_steps + here.step
                for group in optimizer.param_groups:
                    group["lr"] = config.lr * schedule.factor(
                        taken, config.epochs * n_steps, warmup=config.warmup
                    )
                member = estimator_at(estimator, taken)
                terms = objective(model, x, member, generator=generator)
                for number, loss in enumerate(terms.losses()):
                    if number == 0:
                        here.loss += _finite(loss, here, keeper) * len(x)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                if average is not None:
                    average.update(model, taken)

                here.step += 1
                here.rows += len(x)
                here.log_likelihood += terms.log_likelihood.sum().item()
                here.kl += terms.kl.sum().item()
                if "ess" in terms.diagnostics:
                    here.has_ess = True
                    here.ess += terms.diagnostics["ess"].sum().item()
                here.epoch_seconds += time.perf_counter() - began
                here.cpu_seconds += time.process_time() - cpu_began
                if progress is not None:
                    progress(Progress(here.epoch, here.step, n_steps))
                if keeper is not None and (stop.is_set() or keeper.is_due()):
                    _require_finite(modules, here, keeper)
                    keeper.save(here, history)
                    if stop.is_set():
                        raise keeper.interrupted(here)

            for module in modules.values():
                module.eval()
            _require_finite(modules, here, keeper)
            member = estimator_at(estimator, here.epoch * n_steps)
            repeatable = generator_for(config.seed, "probe draws", here.epoch, device=device)
            noise = encoder_gradient_noise(
                model, probe, member, generator=repeatable, objective=objective
            )
            tested = evaluate(
                shown, test, samples=1, binarize_mode=config.binarize, seed=config.seed
            )
            here.seconds += here.epoch_seconds
            history.append(
                EpochMetrics(
                    epoch=here.epoch,
                    loss=here.loss / here.rows,
                    log_likelihood=here.log_likelihood / here.rows,
                    kl=here.kl / here.rows,
                    test_elbo=tested.elbo.value,
                    test_elbo_se=tested.elbo.se,
                    grad_variance=noise.variance,
                    grad_relative_variance=noise.relative,
                    ess=here.ess / here.rows if here.has_ess else None,
                    **asdict(tested.usage),
                    rows_per_second=here.rows / max(here.epoch_seconds, 1e-9),
                    seconds=here.seconds,
                    cpu_seconds=here.cpu_seconds if device.type == "cpu" else None,
                )
            )
            here = _Position(
                epoch=here.epoch + 1, seconds=here.seconds, cpu_seconds=here.cpu_seconds
            )
            if progress is not None:
                progress(Progress(here.epoch - 1, n_steps, n_steps, history[-1]))
            if keeper is not None and (here.epoch > config.epochs or keeper.is_due()):
                keeper.save(here, history)
    if average is not None:
        model.load_state_dict(average.model.state_dict())
    model.eval()
    advice = collapse_advice(model.family.spec, history[-1]) if history else None
    if advice is not None:
        warnings.warn(advice, CollapseWarning, stacklevel=2)
    return history


class _Keeper:
    """Keeps a run's folder: metrics, weights, and the state to go on from."""

    def __init__(
        self,
        folder: Path,
        modules: dict[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        self.folder, self.modules = folder, modules
        self.optimizer, self.generator = optimizer, generator
        self.last_save = time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() - self.last_save > SECONDS_BETWEEN_CHECKPOINTS

    def save(self, here: _Position, history: list[EpochMetrics]) -> None:
        lines = "".join(json.dumps(asdict(metrics)) + "\n" for metrics in history)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / METRICS, lines.encode())
            save_weights(self.folder, self.modules.get("average", self.modules["model"]))
            save_state(self.folder, self.modules, self.optimizer, self.generator, asdict(here))
        except OSError as error:
            raise TrainingError(
                f"{self.folder}: cannot save in epoch {here.epoch} ({error.strerror}). What was "
                f"saved before is whole. Make room, then go on with --resume {self.folder}."
            ) from error
        self.last_save = time.monotonic()

    def restore(self) -> tuple[_Position, list[EpochMetrics]]:
        if not (self.folder / STATE).exists():
            return _Position(), []
        position = load_state(self.folder, self.modules, self.optimizer, self.generator)
        try:
            here = _Position(**position)
            history = read_metrics(self.folder)[: here.epoch - 1]
            if len(history) < here.epoch - 1:
                raise ValueError(f"{METRICS} holds {len(history)} of {here.epoch - 1} epochs")
        except (TypeError, ValueError) as error:
            raise RunError(f"{self.folder}: corrupt checkpoint ({error}). Train again.") from None
        return here, history

    def interrupted(self, here: _Position) -> TrainingInterrupted:
        return TrainingInterrupted(
            f"in epoch {here.epoch} after step {here.step}; all is saved. "
            f"Go on with: discretevae train --resume {self.folder}"
        )


@contextlib.contextmanager
def _stop_requests(*, active: bool) -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; a second Ctrl-C interrupts at once."""
    stop = threading.Event()
    if not active or threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _some_rows(rows: Rows, count: int, seed: int, purpose: str) -> Tensor:
    """Which rows stand for all: drawn at random, because a file may be sorted by class."""
    return torch.randperm(len(rows), generator=generator_for(seed, purpose))[:count]


def _probe_rows(rows: Rows, config: TrainConfig, device: torch.device) -> Tensor:
    """The fixed batch that the gradient's variance is measured on, binarized once."""
    x = rows.batch(_some_rows(rows, PROBE_ROWS, config.seed, "probe rows")).to(device)
    generator = generator_for(config.seed, "probe binarization", device=device)
    return binarize(x, config.binarize, generator)


def _mean_of(rows: Rows, config: TrainConfig) -> Tensor:
    """The mean training row, ``[P]``, of the values that training meets."""
    total = torch.zeros(rows.n_features, dtype=torch.float64)
    for start in range(0, len(rows), MEAN_ROWS):
        x = rows.batch(slice(start, start + MEAN_ROWS))
        if config.binarize == "threshold":
            x = binarize(x, "threshold")  # a dynamic draw has the mean of x itself
        total += x.sum(0, dtype=torch.float64)
    return (total / len(rows)).float()


def _modules(model: DiscreteVAE, estimator: Estimator, probe: Tensor) -> dict[str, nn.Module]:
    """Everything that has weights or a memory: the model, and an estimator that learns."""
    prepare = getattr(estimator, "prepare", None)
    if prepare is not None:
        prepare(model.family, model.eta(probe[:1]).detach())
    if isinstance(estimator, nn.Module):
        return {"model": model, "estimator": estimator.to(probe.device)}
    return {"model": model}


def _require_finite(modules: dict[str, nn.Module], here: _Position, keeper: _Keeper | None) -> None:
    """A finite loss may have a gradient that is not: such weights must not replace good ones."""
    weights = (parameter for module in modules.values() for parameter in module.parameters())
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise TrainingError(
            f"weights became NaN or infinite in epoch {here.epoch}, before step {here.step + 1}."
            f"{_kept(keeper)} Try a smaller --lr, or rescale the data."
        )


def _finite(loss: Tensor, here: _Position, keeper: _Keeper | None) -> float:
    """The loss as a number."""
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss became {value} in epoch {here.epoch}, step {here.step + 1}."
            f"{_kept(keeper)} Try a smaller --lr."
        )
    return value


def _kept(keeper: _Keeper | None) -> str:
    if keeper is None or not (keeper.folder / STATE).exists():
        return ""
    return f" What was saved last is in {keeper.folder}."


__all__ = ["Progress", "train"]
