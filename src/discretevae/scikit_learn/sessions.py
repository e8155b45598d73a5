"""Training that goes on in memory: one call of the package's loop after another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from discretevae.config import SaveEvery, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.errors import RunError
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder.history import EpochMetrics
from discretevae.run_folder.states import STATES, install_state, save_state
from discretevae.system.files import write_atomic
from discretevae.system.randomness import restore_states, states_of
from discretevae.system.ranks import Ranks
from discretevae.training import Progress

# `train` forgets the optimizer when it returns; a session needs the loop itself
from discretevae.training.loop import Training
from discretevae.training.position import Position
from discretevae.training.selection import some_rows

MEASURED_ROWS = 256
"""Rows that are measured after each epoch, in place of test rows: enough for a curve."""


class State(Protocol):
    """What a training remembers beside the weights of the model."""

    def install(self, training: Training) -> None:
        """Hands it to a training that is about to go on."""
        ...

    def save(self, folder: Path, model: DiscreteVAE) -> Path:
        """Writes it to the folder of a run; where."""
        ...


@dataclass(frozen=True, eq=False)
class LiveState:
    """After a training in this process.

    Args:
        modules: what else is trained, by name: an estimator that learns.
        optimizer: Adam with its moments.
        generators: the random states, as `states_of` gives them.
        position: where the next epoch begins.
        step: steps taken.
    """

    modules: dict[str, nn.Module]
    optimizer: torch.optim.Optimizer
    generators: Tensor
    position: Position
    step: int

    def install(self, training: Training) -> None:
        """Copies it: should the training fail, this state is as it was."""
        training.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        for name, module in self.modules.items():
            training.modules[name].load_state_dict(module.state_dict())
        restore_states(training.generators, self.generators)
        training.here = copy.copy(self.position)

    def save(self, folder: Path, model: DiscreteVAE) -> Path:
        """As a run's checkpoint."""
        modules = {"model": model, **self.modules}
        position = self.position.to_dict()
        save_state(folder, self.step, modules, self.optimizer, [self.generators], position)
        return folder / STATES / f"{self.step:012d}.safetensors"


@dataclass(frozen=True, eq=False)
class StoredState:
    """As a file held it.

    Args:
        content: of the file.
        path: its place, for messages.
    """

    content: bytes
    path: Path

    def install(self, training: Training) -> None:
        """Restores it.

        Raises:
            RunError: it is corrupt, or of another model.
        """
        values = install_state(
            self.content,
            self.path,
            training.modules,
            training.optimizer,
            training.generators,
        )
        try:
            training.here = Position.from_dict(values)
        except ValueError as error:
            raise RunError(f"{self.path}: corrupt checkpoint ({error}). Fit again.") from None

    def save(self, folder: Path, model: DiscreteVAE) -> Path:
        """The same bytes again."""
        path = folder / STATES / self.path.name
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, self.content)
        return path


def train_on(
    model: DiscreteVAE,
    rows: Rows,
    config: TrainConfig,
    *,
    state: State | None = None,
    history: list[EpochMetrics] | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> tuple[list[EpochMetrics], LiveState]:
    """Trains ``model`` in place as `train` does, from where ``state`` stands.

    Some of the rows stand for test rows, so that every row is learned from.

    Args:
        model: the model.
        rows: N rows.
        config: ``epochs`` counts those before ``state`` too.
        state: of the training to go on with; None starts one.
        history: its epochs.
        progress: called after every step and every epoch.

    Returns:
        All epochs, and the state to go on from.

    Raises:
        ConfigError: the estimator cannot handle the model's code or the objective.
        TrainingError: the loss or a weight is no longer finite.
    """
    measured = rows.subset(some_rows(rows, MEASURED_ROWS, config.seed, "measured rows"))
    training = Training(model, Dataset(rows.name, rows, measured), config, None, Ranks())
    if state is not None:
        state.install(training)
        training.history = list(history or [])
    epochs = training.run(None, False, SaveEvery(), progress)
    step = training.n_steps * (training.here.epoch - 1)
    others = {name: module for name, module in training.modules.items() if name != "model"}
    live = LiveState(
        others, training.optimizer, states_of(training.generators), training.here, step
    )
    return epochs, live


__all__ = ["LiveState", "State", "StoredState", "train_on"]
