"""Processes forked from one that has imported everything: a start costs no seconds."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from discretevae.cli import call
from discretevae.errors import CollapseWarning

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "discretevae.cli.encode",
        "discretevae.cli.train",
        "discretevae.plots.pictures",
        "pytest",  # the main module of a run without workers
        "sklearn.datasets",
        "torch._dynamo",  # what the first optimizer imports
        "torch.distributed.nn",
    ]
)
TIMEOUT = 120


class Said(NamedTuple):
    """What a command answered."""

    status: int
    out: str
    err: str


class Process:
    """A function or a command line in a process of its own, on one thread.

    Args:
        folder: where its output is kept.
        function: what it runs; None runs the command line.
        args: for the function, or of the command line.
        env: is added to the environment.
        cwd: its working folder.
    """

    def __init__(
        self,
        folder: Path,
        function: Callable[..., object] | None,
        args: tuple[Any, ...],
        env: Mapping[str, str],
        cwd: Path | None,
    ) -> None:
        self.out, self.err = folder / "out", folder / "err"
        self.out.touch()
        self.err.touch()
        arguments = (function, args, dict(env), cwd, self.out, self.err)
        self._process = CONTEXT.Process(target=_run, args=arguments)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def wait_until(self, is_so: Callable[[], object]) -> None:
        """Waits for what it does."""
        end = time.monotonic() + TIMEOUT
        while not is_so():
            assert self.is_running, f"has ended: {self.err.read_text()}"
            assert time.monotonic() < end, "nothing came of it"
            time.sleep(0.01)

    def end(self) -> Said:
        """Waits for its end."""
        self._process.join(TIMEOUT)
        assert not self.is_running, f"runs on: {self.err.read_text()}"
        return Said(self._process.exitcode or 0, self.out.read_text(), self.err.read_text())


def _run(
    function: Callable[..., object] | None,
    args: tuple[Any, ...],
    env: dict[str, str],
    cwd: Path | None,
    out: Path,
    err: Path,
) -> None:
    import torch

    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY), number)
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    # a process that is started in the background has Ctrl-C switched off
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", CollapseWarning)  # codes of a few epochs are poor
    torch.set_num_threads(1)
    if function is None:
        raise SystemExit(call([str(arg) for arg in args]))
    function(*args)


def environments(count: int) -> list[dict[str, str]]:
    """The environments in which so many processes find each other, as torchrun sets them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{"RANK": str(i), "LOCAL_RANK": str(i)} | common for i in range(count)]
