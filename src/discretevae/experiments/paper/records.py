"""Finished runs in the folder of a reproduction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from discretevae.config import RunConfig, auto_batch_size
from discretevae.errors import RunError
from discretevae.experiments.paper.experiments import EXPERIMENTS, VARIANTS, Experiment, Variant
from discretevae.families import family_of
from discretevae.objectives import estimator_name
from discretevae.run_folder.history import METRICS, EpochMetrics, read_metrics, seconds_of
from discretevae.run_folder.saved_run import is_run, load_config
from discretevae.run_folder.summary import read_summary


@dataclass(frozen=True)
class FinishedRun:
    """A run that reached its last epoch and was evaluated.

    Args:
        experiment: model and data.
        variant: ``paper`` or ``ours``.
        folder: where it lies.
        config: what it was made with.
        history: one entry per epoch.
        test: what ``summary.json`` says of the test rows.
    """

    experiment: Experiment
    variant: Variant
    folder: Path
    config: RunConfig
    history: list[EpochMetrics]
    test: dict[str, Any]

    @property
    def key(self) -> str:
        """``EXPERIMENT/VARIANT``, its folder within the reproduction's."""
        return f"{self.experiment.name}/{self.variant}"

    @property
    def title(self) -> str:
        """Model and data."""
        return self.experiment.title(self.config.data.source)

    @property
    def method(self) -> str:
        """The objective, unless it is the ELBO, and the estimator."""
        training = self.config.training
        estimator = estimator_name(family_of(self.config.model.latent), training)
        return estimator if training.objective == "elbo" else f"{training.objective}, {estimator}"

    @property
    def seconds(self) -> float:
        """Of the training steps, by the processor's clock where it did the work."""
        return seconds_of(self.history)[0][-1]

    def batch_size(self, n_rows: int) -> int:
        """B on so many training rows."""
        return self.config.training.batch_size or auto_batch_size(n_rows)


def run_folder(out: Path, experiment: Experiment, variant: Variant) -> Path:
    """Return the folder of a run of a reproduction."""
    return out / experiment.name / variant


def read_finished(out: Path, experiment: Experiment, variant: Variant) -> FinishedRun | None:
    """Read a finished run; None where there is none, or one that is not at its end.

    Raises:
        RunError: its files are corrupt, or of a newer format.
    """
    folder = run_folder(out, experiment, variant)
    summary = read_summary(folder) if is_run(folder) else None
    if summary is None or summary["last_epoch"] is None:
        return None
    config, epochs = load_config(folder), summary["last_epoch"]["epoch"]
    if epochs != config.training.epochs:
        return None  # it was prolonged, and is not there yet
    history = read_metrics(folder)
    if len(history) != epochs:
        raise RunError(
            f"{folder / METRICS}: corrupt, it holds {len(history)} of {epochs} epochs. "
            f"Delete {folder} and run again."
        )
    return FinishedRun(experiment, variant, folder, config, history, summary["test"])


def finished_runs(out: Path) -> dict[tuple[str, Variant], FinishedRun]:
    """Return every finished run of a reproduction, by experiment and variant, in the paper's order.

    Raises:
        RunError: the files of one are corrupt.
    """
    found = {}
    for name, experiment in EXPERIMENTS.items():
        for variant in VARIANTS:
            run = read_finished(out, experiment, variant)
            if run is not None:
                found[name, variant] = run
    return found
