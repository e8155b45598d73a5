"""A process that takes training steps when it is asked to, and tells how long they took.

One line of JSON comes in for every turn, such as ``{"steps": 8}``, and one goes out. With
``{"products": 8}`` it is the bare matrix products that are run so often. ``{}`` ends it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.setups import SETUPS


class Turns:
    """When to take the next step; keeps the time of each.

    Args:
        epoch: steps over which the losses are averaged.
        products: what runs the bare matrix products once; None where nobody will ask for them.
    """

    def __init__(self, epoch: int, products: Callable[[], None] | None = None) -> None:
        # what a library prints must not get among the answers
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self.products = products
        self._epoch = epoch
        self._left = 0
        self._began = (0.0, 0.0)
        self._times: list[tuple[float, float]] = []
        self._losses: list[float] = []
        self._epochs: list[float] = []

    def say(self, **answer: Any) -> None:
        """One line to the parent."""
        self._out.write(json.dumps(answer) + "\n")

    def begin(self) -> None:
        """Answers if the turn is over; waits until a step is asked for; starts the clock."""
        if self._times and not self._left:
            self.say(times=self._times, epochs=self._epochs)
            self._times, self._epochs = [], []
        while not self._left:
            request = json.loads(sys.stdin.readline() or "{}")
            if not request:
                sys.exit()
            self._left = request.get("steps", 0)
            if "products" in request:
                self._run_products(request["products"])
        self._began = _now()

    def end(self, loss: float | None = None) -> None:
        """Stops the clock; the loss is in nats per row."""
        self._times.append(_since(self._began))
        self._left -= 1
        if loss is not None:
            self._losses.append(loss)
        if len(self._losses) == self._epoch:
            self.epoch_over(sum(self._losses) / self._epoch)
            self._losses = []

    def epoch_over(self, loss: float) -> None:
        """Keeps the mean loss of an epoch for the next answer."""
        self._epochs.append(loss)

    def _run_products(self, times: int) -> None:
        spent = []
        for _ in range(times if self.products else 0):
            began = _now()
            self.products()
            spent.append(_since(began))
        self.say(times=spent)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    now = _now()
    return now[0] - began[0], now[1] - began[1]


def main(library: str, setup: str, table: str, threads: str) -> None:
    """Loads the library and serves until the parent has had enough."""
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    turns = Turns(SETUPS[setup].epoch)
    module, _, option = library.partition(":")
    step = importlib.import_module(f"peers.{module}")
    rows = torch.from_numpy(np.load(Path(table), allow_pickle=False))
    turns.say(torch=torch.__version__, library=step.VERSION)
    step.run(SETUPS[setup], rows, turns, option)


if __name__ == "__main__":
    main(*sys.argv[1:])
