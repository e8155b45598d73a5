"""Steps that are recorded once, as a CUDA graph, and replayed.

A step of a small model is hundreds of small kernels, and a GPU waits for the processor that
launches them. Recorded, all of them are launched at once. A replay knows nothing of Python: it
reads the same memory, computes the same things and writes to the same memory. So rows are copied
into fixed buffers, the learning rate is a tensor, and the sums of the epoch stay on the device.

Only `CudaRecorder` needs a GPU. `RecordedStep` asks for a `Recorder` and is tested with others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from discretevae.errors import ConfigError, TrainingError
from discretevae.estimators import Estimator
from discretevae.system.ranks import Ranks


class Recorder(Protocol):
    """A recorder of functions without arguments that work on tensors of its device."""

    device: torch.device

    def eagerly(self, function: Callable[[], None]) -> None:
        """Call it, in the way that a recording needs before it and beside it."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Return a function that does the same on the same tensors; nothing is done yet."""


class CudaRecorder:
    """A recorder of CUDA graphs."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.device = generator, generator.device
        # torch refuses to record on the default stream
        self.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def eagerly(self, function: Callable[[], None]) -> None:
        """Call it on the stream of the recordings, between what comes before and after."""
        default = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(default)
        with torch.cuda.stream(self.stream):
            function()
        default.wait_stream(self.stream)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Note what would be launched, and take memory for it; nothing is launched.

        A function that needs a value from the device on the way is refused (`TrainingError`).
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                function()
        except RuntimeError as error:
            first = error.__context__ or error  # to end a recording that failed fails as well
            reason = next(iter(str(first).splitlines()), "unknown").rstrip(".")
            raise TrainingError(
                f"the step cannot be recorded ({reason}). Leave `graph` out."
            ) from error
        return graph.replay


RECORDERS: dict[str, Callable[[torch.Generator], Recorder]] = {"cuda": CudaRecorder}
"""Recorders by the type of the device; each takes the generator that steps draw from."""


def check_recording(estimator: Estimator, device: torch.device, ranks: Ranks) -> None:
    """Refuse a device, several processes, or an estimator without a recording (`ConfigError`)."""
    if device.type not in RECORDERS:
        raise ConfigError(
            f"`graph` records steps for a GPU. Got device {device}. Leave `graph` out; a run that "
            "has it is resumed with `graph=False`."
        )
    if not ranks.is_alone:
        raise ConfigError(
            f"`graph` records the steps of one process. Got {ranks.count} processes. Leave `graph` "
            "out, or start without torchrun."
        )
    if estimator.at_step(1) is not estimator:
        raise ConfigError(
            f"`graph` replays one step, and {type(estimator).__name__} changes from step to step. "
            "Leave anneal or `graph` out."
        )
