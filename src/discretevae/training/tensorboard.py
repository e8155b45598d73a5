"""The metrics of a run in the files that TensorBoard reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from discretevae.errors import needs_extra
from discretevae.run_folder.history import EpochMetrics


@contextlib.contextmanager
def writer(folder: Path) -> Iterator[Callable[[EpochMetrics], None]]:
    """Provide a function that writes the metrics of an epoch, one curve for each figure."""
    with needs_extra("tensorboard", "TensorBoard files need tensorboard"):
        from torch.utils.tensorboard import SummaryWriter
    boards: list[Any] = []

    def write(metrics: EpochMetrics) -> None:
        # made only now, for a run folder must be empty when the run begins
        boards[:] = boards or [SummaryWriter(str(folder))]
        for name, value in asdict(metrics).items():
            if value is not None and name != "epoch":
                boards[0].add_scalar(name, value, metrics.epoch)
        boards[0].flush()

    try:
        yield write
    finally:
        for board in boards:
            board.close()
