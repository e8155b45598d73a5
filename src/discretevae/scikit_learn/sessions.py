"""Training in memory for the scikit-learn classes: one call after another goes on with the last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from discretevae.config import TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder.history import EpochMetrics
from discretevae.training import Progress, choose_method, prepare_training, run_training
from discretevae.training.selection import some_rows
from discretevae.training.state import start_state

MEASURED_ROWS = 256
"""Rows that are measured after each epoch, in place of test rows: enough for a curve."""


def train_on(
    model: DiscreteVAE,
    rows: Rows,
    config: TrainConfig,
    *,
    state: bytes | None = None,
    history: list[EpochMetrics] | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> tuple[list[EpochMetrics], bytes]:
    """Train ``model`` in place as `train` does, going on from ``state``.

    Some of the rows stand for test rows, so that every row is learned from.

    Args:
        model: the model.
        rows: N rows.
        config: ``epochs`` counts those before ``state`` too.
        state: what this function returned before, the content of a checkpoint; None starts anew.
        history: its epochs.
        progress: called after every step and every epoch.

    Returns:
        All epochs, and the state to go on from.

    Raises:
        ConfigError: the estimator cannot handle the model's code or the objective.
        RunError: the state is corrupt, or of another model.
        TrainingError: the loss or a weight is no longer finite.
    """
    measured = rows.subset(some_rows(rows, MEASURED_ROWS, config.seed, "measured rows"))
    method = choose_method(model.family, config, device=model.device)
    prepared = prepare_training(model, Dataset(rows.name, rows, measured), method)
    training = start_state(prepared)
    if state is not None:
        training.restore(state, Path("estimator"))
        training.history = list(history or [])
    run_training(prepared, training, progress)
    return training.history, training.pack()


__all__ = ["train_on"]
