"""The processes of one training run: one alone, or several that ``torchrun`` started.

Every rank takes its own part of each batch and its own random numbers, and all of them take the
same step: gradients, losses and requests to stop are added up in one message. No other module
calls torch.distributed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor

from discretevae.errors import ConfigError

PATIENCE = timedelta(hours=12)
"""Time that the others wait for the first rank, which evaluates and saves alone."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run.

    Args:
        rank: from 0.
        count: number of processes.
        device: of this process.

    Example:
        >>> Ranks().is_first, Ranks().total([1.0, 2.0])
        (True, [1.0, 2.0])
    """

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    @property
    def is_first(self) -> bool:
        """True if this process evaluates, writes and prints."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """True if this is the only process."""
        return self.count == 1

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes, in one message."""
        if self.is_alone:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor) / self.count)

    def total(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all ranks, in double precision."""
        if self.is_alone:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(sums)
        return [float(value) for value in sums.tolist()]

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first rank."""
        for tensor in tensors if not self.is_alone else ():
            torch.distributed.broadcast(tensor, 0)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks, in their order; all have one shape."""
        if self.is_alone:
            return [tensor]
        own = tensor.to(self.device)
        gathered = [torch.empty_like(own) for _ in range(self.count)]
        torch.distributed.all_gather(gathered, own)
        return [part.cpu() for part in gathered]

    def share(self, content: bytes | None) -> bytes | None:
        """Return the first rank's bytes on every rank."""
        if self.is_alone:
            return content
        length = -1 if content is None else len(content)
        (length,) = (int(n) for n in self.total([float(length) if self.is_first else 0.0]))
        if length < 0:
            return None
        buffer = torch.empty(length, dtype=torch.uint8)
        if content is not None and self.is_first:
            buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        buffer = buffer.to(self.device)
        torch.distributed.broadcast(buffer, 0)
        return bytes(buffer.cpu().numpy())

    def wait(self) -> None:
        """Wait until all ranks have come to this call."""
        if not self.is_alone:
            torch.distributed.barrier()


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the run that ``torchrun`` started; without one, this process is alone.

    Gloo connects processes on CPUs, NCCL those with a GPU each: of ``cuda`` every process of a
    machine takes the one of its local rank.
    """
    count = _whole("WORLD_SIZE", 1)
    if count <= 1:
        yield Ranks(device=torch.device(device))
        return
    if not torch.distributed.is_available():
        raise ConfigError("this torch has no distributed training. Run a single process.")
    rank, local = _whole("RANK", 0), _whole("LOCAL_RANK", 0)
    own = torch.device("cuda", local) if device == "cuda" else torch.device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    backend = "nccl" if own.type == "cuda" else "gloo"
    # Defaults of its functions are the group that there is when it is imported, as Adam does: they
    # would keep this one and its threads until Python ends, which may abort the process.
    importlib.import_module("torch.distributed.nn")
    torch.distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Ranks(rank, count, own)
    finally:
        torch.distributed.destroy_process_group()


def _whole(name: str, default: int) -> int:
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            f"the environment says {name}={text!r}, which is no whole number. Unset it, or start "
            "with torchrun."
        ) from None
