"""Steps that are recorded once, as a CUDA graph, and replayed.

A step of a small model is hundreds of small kernels, and a GPU waits for the processor that
launches them. Recorded, all of them are launched at once. What is replayed knows nothing of Python:
it reads the same memory, computes the same things and writes to the same memory. So rows are copied
into fixed buffers, the step size is a tensor, and the sums of the epoch stay on the device until
somebody asks for them.

Only `CudaRecorder` needs a GPU. All else asks for a `Recorder` and is tested with others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from discretevae.config import TrainConfig
from discretevae.errors import ConfigError, TrainingError
from discretevae.estimators import Estimator
from discretevae.estimators.base import estimator_at
from discretevae.model.integrands import without_asking
from discretevae.objectives import Terms
from discretevae.system.precision import check_precision
from discretevae.system.ranks import Ranks
from discretevae.training.position import Position
from discretevae.training.steps import Told

EAGER_STEPS = 3
"""Steps before the recording, as torch asks for: they let libraries take their memory, and Adam
make its moments. They are steps of the training like all others."""

SUMS = ("loss", "log_likelihood", "kl", "ess")
"""What is added up on the device, by its name in `Position`."""


class Recorder(Protocol):
    """Makes a recording of a function without arguments that works on tensors of its device."""

    device: torch.device

    def eagerly(self, function: Callable[[], None]) -> None:
        """Calls it, in the way that a recording wants before it and beside it."""
        ...

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """What does the same on the same tensors, as often as it is called; nothing is done yet."""
        ...


class CudaRecorder:
    """Recordings as CUDA graphs.

    Args:
        generator: that the functions draw from, on the device.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.device = generator, generator.device
        # a recording may not use the usual one
        self.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def eagerly(self, function: Callable[[], None]) -> None:
        """Calls it on the stream of the recordings, between what comes before and after."""
        usual = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(usual)
        with torch.cuda.stream(self.stream):
            function()
        usual.wait_stream(self.stream)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Launches nothing: torch notes what would be launched, and takes memory of its own for it.

        Raises:
            TrainingError: the function asks for a value on the way.
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


class Sums:
    """The sums of an epoch as float64 on the device: the same to the bit as sums on the host.

    Args:
        device: of the steps.
    """

    def __init__(self, device: torch.device) -> None:
        self.values = torch.zeros(len(SUMS), dtype=torch.float64, device=device)
        self.has_ess = False

    def start(self, here: Position) -> None:
        """Goes on from what was added up before."""
        so_far = [getattr(here, name) for name in SUMS]
        self.values.copy_(torch.tensor(so_far, dtype=torch.float64))

    def add(self, number: int, loss: Tensor, terms: Terms) -> None:
        """Takes in a batch, by the first of its losses."""
        if number > 0:
            return
        parts = [terms.log_likelihood.sum(), terms.kl.sum()]
        self.has_ess = "ess" in terms.diagnostics
        parts.append(terms.diagnostics["ess"].sum() if self.has_ess else torch.zeros_like(loss))
        doubles = [part.detach().double() for part in (loss, *parts)]
        doubles[0] = doubles[0] * len(terms.kl)
        self.values.add_(torch.stack(doubles))

    def read(self, here: Position) -> None:
        """Waits for the device, and writes the sums where they are kept."""
        for name, value in zip(SUMS, self.values.tolist(), strict=True):
            setattr(here, name, value)
        here.has_ess = here.has_ess or self.has_ess


class Captured:
    """Takes steps: the first ones eagerly, then by a recording of one.

    Args:
        recorder: makes the recording.
        batch_size: rows of the batches that the recording is made for; others are taken eagerly.

    Attributes:
        sums: of the epoch.
    """

    def __init__(self, recorder: Recorder, batch_size: int) -> None:
        self.recorder, self.batch_size = recorder, batch_size
        self.sums = Sums(recorder.device)
        self.n_eager = 0
        self.buffers: tuple[Tensor, Tensor | None] | None = None
        self.replay: Callable[[], None] | None = None

    def take(
        self,
        step: Callable[[Told, Tensor, Tensor | None], None],
        x: Tensor,
        shown: Tensor | None,
        *,
        is_steady: bool,
    ) -> None:
        """One step.

        Args:
            step: takes it on rows ``[B, P]`` and on what the encoder sees in their place.
            x: the rows.
            shown: as for ``step``; None always or never.
            is_steady: whether all further steps will be this very function of their rows.
        """
        if not is_steady or len(x) != self.batch_size:
            self._eagerly(partial(step, self.sums.add, x, shown))
        elif self.n_eager < EAGER_STEPS:
            self.n_eager += 1
            self._eagerly(partial(step, self.sums.add, x, shown))
        else:
            buffers = self._filled(x, shown)
            if self.replay is None:
                with without_asking():
                    self.replay = self.recorder.record(partial(step, self.sums.add, *buffers))
            self.replay()

    def _eagerly(self, function: Callable[[], None]) -> None:
        with without_asking():
            self.recorder.eagerly(function)

    def _filled(self, x: Tensor, shown: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The memory that the recording reads, with these values in it."""
        if self.buffers is None:
            self.buffers = x.clone(), None if shown is None else shown.clone()
        else:
            for buffer, value in zip(self.buffers, (x, shown), strict=True):
                if buffer is not None and value is not None:
                    buffer.copy_(value)
        return self.buffers


RECORDERS: dict[str, Callable[[torch.Generator], Recorder]] = {"cuda": CudaRecorder}
"""What makes the recordings of a kind of device, from the generator that steps draw from."""


def check_training(
    config: TrainConfig, estimator: Estimator, device: torch.device, ranks: Ranks
) -> None:
    """Refuses a precision or a recording that is not to be had here.

    Raises:
        ConfigError: says what to choose or to leave out.

    Example:
        >>> from discretevae.estimators import DisARM
        >>> check_training(TrainConfig(), DisARM(), torch.device("cpu"), Ranks())
    """
    check_precision(config.precision, device)
    if config.graph:
        check_graph(device, ranks)
        check_member(estimator)


def check_graph(device: torch.device, ranks: Ranks) -> None:
    """Refuses a device whose steps cannot be recorded, and several processes.

    Raises:
        ConfigError: says what to leave out.

    Example:
        >>> try:
        ...     check_graph(torch.device("cpu"), Ranks())
        ... except ConfigError as error:
        ...     print(error)
        `graph` records steps for a GPU. Got device cpu. Leave `graph` out; a run that has it is \
resumed with `graph=False`.
    """
    if device.type not in RECORDERS:
        raise ConfigError(
            f"`graph` records steps for a GPU. Got device {device}. Leave `graph` out; a run "
            "that has it is resumed with `graph=False`."
        )
    if not ranks.is_alone:
        raise ConfigError(
            "`graph` records the steps of one process, and here are several. Leave `graph` out, or "
            "start without torchrun."
        )


def check_member(estimator: Estimator) -> None:
    """Refuses a member that is not the same at every step.

    Raises:
        ConfigError: says what to leave out.

    Example:
        >>> from discretevae.estimators import STGumbel
        >>> try:
        ...     check_member(STGumbel(tau=1.0, anneal=0.1))
        ... except ConfigError as error:
        ...     print(error)
        `graph` replays one step, and STGumbel changes from step to step. Leave anneal or \
`graph` out.
    """
    if estimator_at(estimator, 1) is not estimator:
        raise ConfigError(
            f"`graph` replays one step, and {type(estimator).__name__} changes from step to step. "
            "Leave anneal or `graph` out."
        )


__all__ = [
    "EAGER_STEPS",
    "RECORDERS",
    "Captured",
    "CudaRecorder",
    "Recorder",
    "Sums",
    "check_graph",
    "check_member",
    "check_training",
]
