"""Keeps a run's folder while it is trained: metrics, weights, and the state to go on from."""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from discretevae.config.saving import SaveEvery
from discretevae.errors import CheckpointWarning, RunError, TrainingError, TrainingInterrupted
from discretevae.run_folder.checkpoint import CONFIG, save_weights
from discretevae.run_folder.history import METRICS, EpochMetrics, read_metrics
from discretevae.run_folder.states import install_state, read_newest, save_state, state_paths
from discretevae.system.files import write_atomic
from discretevae.system.locks import writing
from discretevae.system.randomness import states_of
from discretevae.system.ranks import Ranks
from discretevae.training.position import Position


class Keeper:
    """Saves a training and restores it. Only the first rank writes; all take part.

    Args:
        folder: of the run; None keeps nothing.
        modules: what has weights or a memory, by name.
        shown: the weights that a user gets.
        optimizer: saved with them.
        generators: of this rank, all on one kind of device.
        ranks: the processes of the run.
        every: how often to save.
        n_steps: of an epoch.
    """

    def __init__(
        self,
        folder: Path | None,
        modules: Mapping[str, nn.Module],
        shown: nn.Module,
        optimizer: torch.optim.Optimizer,
        generators: Sequence[torch.Generator],
        ranks: Ranks,
        every: SaveEvery,
        n_steps: int,
    ) -> None:
        self.folder, self.modules, self.shown = folder, modules, shown
        self.optimizer, self.generators = optimizer, generators
        self.ranks, self.every, self.n_steps = ranks, every, n_steps
        self.held = contextlib.ExitStack()
        self.last_time, self.last_step = time.monotonic(), 0
        self.config: bytes | None = None

    def __enter__(self) -> Keeper:
        """Locks the folder; what a crash left half-written is removed."""
        if self.folder is not None and self.ranks.is_first:
            self._make_folder()
            for leftover in (*self.folder.glob(".*.tmp"), *self.folder.glob("*/.*.tmp")):
                with contextlib.suppress(OSError):
                    leftover.unlink()
            with contextlib.suppress(OSError):
                self.config = (self.folder / CONFIG).read_bytes()
        return self

    def __exit__(self, *_: object) -> None:
        self.held.close()

    @property
    def is_keeping(self) -> bool:
        """Whether there is a folder."""
        return self.folder is not None

    def is_due(self, here: Position) -> bool:
        """Whether the first rank should save now."""
        if self.folder is None or not self.ranks.is_first:
            return False
        steps = self._taken(here) - self.last_step
        return self.every.is_due(time.monotonic() - self.last_time, steps)

    def save(self, here: Position, history: Sequence[EpochMetrics]) -> None:
        """Writes metrics, weights and state.

        Raises:
            TrainingError: the disk is full, or the folder cannot be written to.
        """
        if self.folder is None:
            return
        generators = self.ranks.gather(states_of(self.generators))
        whole = here.with_sums(self.ranks.total(here.sums()))
        if self.ranks.is_first:
            try:
                self._write(whole, history, generators)
            except OSError as error:
                raise TrainingError(
                    f"{self.folder}: cannot save ({error.strerror}). "
                    f"{self.kept()}Make room or mend the folder.",
                    self.folder,
                ) from error
        self.last_time, self.last_step = time.monotonic(), self._taken(here)

    def _write(
        self, here: Position, history: Sequence[EpochMetrics], generators: Sequence[Tensor]
    ) -> None:
        if self.folder is None:
            return
        if not self.folder.is_dir():
            self._make_again(self.folder)
        lines = "".join(json.dumps(asdict(metrics)) + "\n" for metrics in history)
        write_atomic(self.folder / METRICS, lines.encode())
        save_weights(self.folder, self.shown)
        step, position = self._taken(here), here.to_dict()
        save_state(self.folder, step, self.modules, self.optimizer, generators, position)

    def restore(self) -> tuple[Position, list[EpochMetrics]]:
        """Where the run in the folder stands; the start if it was never saved.

        Raises:
            RunError: every state is damaged, or of another model.
        """
        content = None
        if self.folder is not None and self.ranks.is_first:
            content = read_newest(self.folder)
        content = self.ranks.share(content)
        if content is None or self.folder is None:
            return Position(), []
        values = install_state(
            content, self.folder, self.modules, self.optimizer, self.generators, self.ranks.rank
        )
        try:
            here = Position.from_dict(values)
            history = self._history(here)
        except ValueError as error:
            raise RunError(f"{self.folder}: corrupt checkpoint ({error}). Train again.") from None
        self.last_step = self._taken(here)
        # the sums of the epoch so far are the first rank's; the others start theirs anew
        return (here if self.ranks.is_first else here.with_sums([0.0] * len(here.sums()))), history

    def _history(self, here: Position) -> list[EpochMetrics]:
        if self.folder is None or not self.ranks.is_first:
            return []
        history = read_metrics(self.folder)[: here.epoch - 1]
        if len(history) < here.epoch - 1:
            raise ValueError(f"{METRICS} holds {len(history)} of {here.epoch - 1} epochs")
        return history

    def kept(self) -> str:
        """Return a sentence on what is on disk, a space behind it; "" where there is nothing."""
        if self.folder is None or not state_paths(self.folder):
            return ""
        return f"What was saved last is in {self.folder}. "

    def interrupted(self, here: Position) -> TrainingInterrupted:
        """What to raise after saving on request."""
        return TrainingInterrupted(
            f"in epoch {here.epoch} after step {here.step}; all is saved.", self.folder
        )

    def _taken(self, here: Position) -> int:
        return (here.epoch - 1) * self.n_steps + here.step

    def _make_folder(self) -> None:
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.held.enter_context(writing(self.folder))
        except OSError as error:
            raise TrainingError(
                f"{self.folder}: cannot be written to ({error.strerror}). Choose another `out`, "
                "or change its access rights."
            ) from error

    def _make_again(self, folder: Path) -> None:
        """Somebody removed the folder: its states are lost, the training is not."""
        warnings.warn(
            f"{folder}: was removed or renamed while it was written to. It is made again, and the "
            "training goes on.",
            CheckpointWarning,
            stacklevel=2,
        )
        self.held.close()
        folder.mkdir(parents=True)
        self.held.enter_context(writing(folder))
        if self.config is not None:
            write_atomic(folder / CONFIG, self.config)


__all__ = ["Keeper"]
