"""The folder of a run while it is trained: metrics, weights, and checkpoints."""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from dataclasses import asdict
from pathlib import Path

from discretevae.errors import CheckpointWarning, RunError, TrainingError, TrainingInterrupted
from discretevae.run_folder.checkpoint import STATES, read_newest, save_state, state_paths
from discretevae.run_folder.history import METRICS, EpochMetrics, read_metrics
from discretevae.run_folder.saved_run import CONFIG, SCHEMA, save_weights
from discretevae.system.files import write_atomic
from discretevae.system.locks import writing
from discretevae.training.position import Position
from discretevae.training.preparation import PreparedTraining
from discretevae.training.state import TrainingState


class Checkpointer:
    """Saves a training to its folder and restores it; only the first process writes."""

    def __init__(self, prepared: PreparedTraining, state: TrainingState) -> None:
        self.folder, self.ranks = prepared.folder, prepared.ranks
        self.resume = prepared.resume
        self.save_every, self.steps_per_epoch = prepared.save_every, prepared.steps_per_epoch
        self.state, self.n_rows = state, len(prepared.train_rows)
        self.lock = contextlib.ExitStack()
        self.last_time, self.last_step = time.monotonic(), 0
        self.files = dict(prepared.files)

    def __enter__(self) -> Checkpointer:
        """Lock the folder, and remove what a crash left half-written."""
        if self.folder is not None and self.ranks.is_first:
            self._make_folder(self.folder)
            for leftover in (*self.folder.glob(".*.tmp"), *self.folder.glob("*/.*.tmp")):
                with contextlib.suppress(OSError):
                    leftover.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.close()

    def begin(self) -> None:
        """Go on from the checkpoint if asked to, and write what stands beside the weights.

        In this order: a resume that is refused changes nothing.
        """
        if self.resume:
            self.restore()
        if self.folder is None or not self.ranks.is_first:
            return
        for name, content in self.files.items():
            write_atomic(self.folder / name, content)
        for name in {CONFIG, SCHEMA} - self.files.keys():
            with contextlib.suppress(OSError):  # somebody else wrote it, or nobody
                self.files[name] = (self.folder / name).read_bytes()

    @property
    def steps(self) -> int:
        """Steps taken in the whole training."""
        position = self.state.position
        return (position.epoch - 1) * self.steps_per_epoch + position.step

    def is_due(self) -> bool:
        """Return whether the first process should save now."""
        if self.folder is None or not self.ranks.is_first:
            return False
        seconds = time.monotonic() - self.last_time
        return self.save_every.is_due(seconds, self.steps - self.last_step)

    def save(self) -> None:
        """Write metrics, weights and checkpoint (`TrainingError` if that fails)."""
        if self.folder is None:
            return
        state, ranks = self.state, self.ranks
        generators = {n: ranks.gather(g.get_state()) for n, g in state.generators.items()}
        position = state.position.with_sums(ranks.total(state.position.sums()))
        position.train_rows = self.n_rows
        if ranks.is_first:
            try:
                if not self.folder.is_dir():
                    self._restore_folder(self.folder)
                lines = "".join(json.dumps(asdict(metrics)) + "\n" for metrics in state.history)
                write_atomic(self.folder / METRICS, lines.encode())
                save_weights(self.folder, state.final_model)
                save_state(self.folder, self.steps, state.pack(generators, position))
            except OSError as error:
                raise TrainingError(
                    f"{self.folder}: cannot save ({error.strerror}). {self.what_is_saved()}"
                    "Make room or mend the folder.",
                    self.folder,
                ) from error
        self.last_time, self.last_step = time.monotonic(), self.steps

    def restore(self) -> None:
        """Go on from the newest checkpoint in the folder (`RunError`), or else from the start."""
        content = None
        if self.folder is not None and self.ranks.is_first:
            content = read_newest(self.folder)
        content = self.ranks.share(content)
        if content is None or self.folder is None:
            return
        state = self.state
        state.restore(content, self.folder / STATES, self.ranks.rank)
        if state.position.train_rows not in (0, self.n_rows):
            # other rows come in another order: the epoch that was begun begins anew
            state.position = state.position.same_epoch()
        if self.ranks.is_first:
            state.history = self._history(self.folder, state.position)
        else:  # the sums of the epoch so far are the first rank's
            state.position = state.position.with_sums([0.0] * len(state.position.sums()))
        self.last_step = self.steps

    def what_is_saved(self) -> str:
        """Return a sentence on what is on disk, or nothing where there is none."""
        if self.folder is None or not state_paths(self.folder):
            return ""
        return f"What was saved last is in {self.folder}. "

    def interrupted(self) -> TrainingInterrupted:
        """Return the exception to raise after saving on request."""
        position = self.state.position
        return TrainingInterrupted(
            f"in epoch {position.epoch} after step {position.step}; all is saved.", self.folder
        )

    def _history(self, folder: Path, position: Position) -> list[EpochMetrics]:
        history = read_metrics(folder)[: position.epoch - 1]
        if len(history) < position.epoch - 1:
            raise RunError(
                f"{folder}: corrupt, {METRICS} holds {len(history)} of {position.epoch - 1} "
                "epochs. Train again."
            )
        return history

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.lock.enter_context(writing(folder))
        except OSError as error:
            raise TrainingError(
                f"{folder}: cannot be written to ({error.strerror}). Choose another "
                "`out`, or change its access rights."
            ) from error

    def _restore_folder(self, folder: Path) -> None:
        """Make a folder again that somebody removed: its checkpoints are lost, not the training."""
        warnings.warn(
            f"{folder}: was removed or renamed while it was written to. It is made again, and the "
            "training goes on.",
            CheckpointWarning,
            stacklevel=2,
        )
        self.lock.close()
        folder.mkdir(parents=True)
        self.lock.enter_context(writing(folder))
        for name, content in self.files.items():
            write_atomic(folder / name, content)
