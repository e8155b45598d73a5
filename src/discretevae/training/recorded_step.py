"""A training step that is recorded once and replayed."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor

from discretevae.model.integrands import without_waiting
from discretevae.training.batches import Batch
from discretevae.training.recorders import Recorder
from discretevae.training.step_settings import StepSettings

EAGER_STEPS = 3
"""Steps before the recording, as torch asks for: they let libraries take their memory, and Adam
make its moments. They are steps of the training like all others."""


class RecordedStep:
    """A step that is taken eagerly at first, and then by replaying a recording of one.

    Batches of other sizes than ``batch_size`` are taken eagerly.
    """

    def __init__(
        self, take: Callable[[Batch, StepSettings], None], recorder: Recorder, batch_size: int
    ) -> None:
        self.take, self.recorder, self.batch_size = take, recorder, batch_size
        self.n_eager = 0
        self.buffer: Batch | None = None
        self.replay: Callable[[], None] | None = None

    def __call__(self, batch: Batch, settings: StepSettings) -> None:
        """Take one step, as ``take`` does."""
        if len(batch.target) != self.batch_size or not settings.is_final:
            self._eagerly(batch, settings)
        elif self.n_eager < EAGER_STEPS:
            self.n_eager += 1
            self._eagerly(batch, settings)
        else:
            buffer = self._filled(batch)
            if self.replay is None:
                with without_waiting():
                    self.replay = self.recorder.record(lambda: self.take(buffer, settings))
            self.replay()

    def _eagerly(self, batch: Batch, settings: StepSettings) -> None:
        with without_waiting():
            self.recorder.eagerly(lambda: self.take(batch, settings))

    def _filled(self, batch: Batch) -> Batch:
        """Return the batch whose memory the recording reads, with these values in it."""
        if self.buffer is None:
            self.buffer = copy.deepcopy(batch)
        for name, value in vars(batch).items():
            if isinstance(value, Tensor):
                getattr(self.buffer, name).copy_(value)
        return self.buffer
