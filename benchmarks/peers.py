"""A training step of ours against the same model in Pyro, Storchastic and pythae.

Every library has an environment and a process of its own, and all of them take turns, a few
steps each, in an order that moves on every round. So do the bare matrix products of the step, in
our process. What the machine does beside it then happens to all; the figures are medians of the
ratios within a round. All gather the same rows, train plain layers that start alike with the same
Adam, and take whole steps: gathering, forward, backward, optimizer. Ours is the package's training
loop itself. That the steps do what they should is seen from the losses, which must fall.

    python benchmarks/peers.py
    python benchmarks/peers.py --setups b --threads 1 --rounds 100 --out peers.json
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from peers.environments import PACKAGES, python_of
from peers.setups import SETUPS, Setup

from discretevae.cli.ending import finish
from discretevae.data import load_data
from discretevae.system.files import write_json

WARM_UP = 3
"""Rounds that do not count."""

Pair = tuple[float, float]


@dataclass(frozen=True)
class Step:
    """A library and what it does in a set-up.

    Args:
        name: of its row.
        module: file of `peers` and the option it is given.
        environment: one of `PACKAGES`, or None for our own.
        does: in words.
    """

    name: str
    module: str
    environment: str | None
    does: str


STEPS = {
    "a": (
        Step("discretevae", "ours:importance", None, "importance, q for a proposal, one sample"),
        Step("Pyro", "with_pyro:svi", "pyro", "SVI with TraceGraph_ELBO, no baseline"),
        Step("Pyro, one Adam", "with_pyro:adam", "pyro", "TraceGraph_ELBO, one fused Adam"),
        Step(
            "Storchastic", "with_storchastic", "storchastic", "ScoreFunction, 1 sample, no baseline"
        ),
        Step("pythae", "with_pythae", "pythae", "VAE: Gaussian code of 50, encoder ends in 100"),
    ),
    "b": (
        Step("discretevae", "ours:disarm", None, "disarm, one antithetic pair"),
        Step("discretevae, rloo", "ours:rloo:samples=2", None, "leave-one-out, 2 samples"),
        Step(
            "Pyro", "with_pyro:svi", "pyro",
            "SVI with TraceGraph_ELBO, 2 particles in one batch, running baseline",
        ),
        Step(
            "Pyro, one Adam", "with_pyro:adam", "pyro", "the same gradients, one fused Adam",
        ),
        Step(
            "Storchastic", "with_storchastic", "storchastic",
            "ScoreFunction, leave-one-out, 2 samples",
        ),
        Step(
            "pythae", "with_pythae", "pythae",
            "IWAE, 2 samples: Gaussian code of 200, encoder ends in 400",
        ),
    ),
}  # fmt: skip


class Worker:
    """A process that takes steps when asked to."""

    def __init__(self, step: Step, setup: str, table: Path, threads: int, folder: Path) -> None:
        python = python_of(step.environment, folder) if step.environment else Path(sys.executable)
        self.step = step
        self.process = subprocess.Popen(
            [python, "-m", "peers.worker", step.module, setup, table, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": str(threads)},
        )
        self.versions = self._answer()
        self.taken = 0
        self.epochs: list[float] = []

    def take(self, steps: int) -> list[Pair]:
        """Seconds by the wall clock and of the processor, for each of so many steps."""
        answer = self._ask(steps=steps)
        self.taken += steps
        self.epochs += answer["epochs"]
        return answer["times"]

    def products(self, times: int) -> list[Pair]:
        """The same for the bare matrix products."""
        return self._ask(products=times)["times"]

    def close(self) -> None:
        """Ends the process."""
        if self.process.poll() is None:
            self.process.communicate("{}\n")

    def _ask(self, **request: int) -> dict[str, Any]:
        assert self.process.stdin is not None  # noqa: S101 - for type checkers
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None  # noqa: S101 - for type checkers
        line = self.process.stdout.readline()
        if not line:
            raise click.ClickException(f"{self.step.name} ended by itself; see above.")
        return json.loads(line)


def table_of(data: str, setup: Setup, folder: Path) -> Path:
    """The first rows of a data set, x > 0.5, where every library can read them."""
    rows = load_data(data, progress=True).train
    n = setup.batch * setup.epoch
    if rows.n_features != setup.pixels or len(rows) < n:
        raise click.ClickException(f"--data {data}: {n:,} rows of {setup.pixels} values needed.")
    path = folder / "table.npy"
    np.save(path, (rows.batch(slice(0, n)) > 0.5).to(torch.uint8).numpy(), allow_pickle=False)
    return path


def take_turns(workers: Sequence[Worker], turn: int, rounds: int) -> list[list[Pair]]:
    """Median step of each worker and of the products, last, in every round."""
    found: list[list[Pair]] = []
    turns = [*(worker.take for worker in workers), workers[0].products]
    for number in range(WARM_UP + rounds):
        times: dict[int, Pair] = {}
        for place in range(len(turns)):
            which = (place + number) % len(turns)
            time.sleep(0.01)  # threads of the one before may still be spinning
            taken = turns[which](turn)
            times[which] = tuple(statistics.median(clock) for clock in zip(*taken, strict=True))
        found.append([times[which] for which in range(len(turns))])
    return found[WARM_UP:]


def row_of(worker: Worker, rounds: list[list[Pair]], index: int) -> dict[str, Any]:
    """What is known of a library, as ratios within a round."""

    def ratios(to: int, clock: int = 0) -> list[float]:
        return [one[index][clock] / one[to][clock] for one in rounds]

    low, middle, high = statistics.quantiles(ratios(0), n=4)
    return {
        "name": worker.step.name,
        "does": worker.step.does,
        "version": worker.versions["library"],
        "torch": worker.versions["torch"],
        "step_ms": round(1e3 * statistics.median(one[index][0] for one in rounds), 2),
        "to_products": round(statistics.median(ratios(-1)), 3),
        "to_products_cpu": round(statistics.median(ratios(-1, 1)), 3),
        "to_ours": round(middle, 3),
        "to_ours_quartiles": [round(low, 3), round(high, 3)],
        "to_ours_cpu": round(statistics.median(ratios(0, 1)), 3),
        "loss_first_epoch": round(worker.epochs[0], 2),
        "loss_last_epoch": round(worker.epochs[-1], 2),
    }


def compare(name: str, data: str, threads: int, rounds: int, folder: Path) -> dict[str, Any]:
    """All libraries on one set-up."""
    setup = SETUPS[name]
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory() as scratch:
        table = table_of(data, setup, Path(scratch))
        try:
            for step in STEPS[name]:
                workers.append(Worker(step, name, table, threads, folder))
            found = take_turns(workers, setup.turn, rounds)
            for worker in workers:
                last = max(setup.epochs, -(-worker.taken // setup.epoch))
                worker.take(last * setup.epoch - worker.taken)
        finally:
            for worker in workers:
                worker.close()
    rows = [row_of(worker, found, index) for index, worker in enumerate(workers)]
    for row in rows:
        if not row["loss_last_epoch"] < row["loss_first_epoch"]:
            raise click.ClickException(f"{row['name']} is set up wrongly: its loss does not fall.")
    return {
        "setup": name,
        "about": setup.about,
        "data": f"{data}, the first {setup.batch * setup.epoch:,} rows, x > 0.5",
        "threads": threads,
        "rounds": rounds,
        "steps_per_turn": setup.turn,
        "epochs": len(workers[0].epochs),
        "steps_per_epoch": setup.epoch,
        "products_ms": round(1e3 * statistics.median(one[-1][0] for one in found), 2),
        "libraries": rows,
    }


def markdown(result: dict[str, Any]) -> str:
    """The table of a set-up."""
    lines = [
        f"{result['about']}; threads: {result['threads']}; medians of {result['rounds']} rounds of "
        f"{result['steps_per_turn']}",
        "",
        "| library | one step | ÷ bare products | ÷ ours | quartiles | ÷ ours, processor time "
        f"| −ELBO after epoch 1 | {result['epochs']} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["libraries"]:
        low, high = row["to_ours_quartiles"]
        lines.append(
            f"| {row['name']} | {row['does']} | {row['to_products']:.2f} | {row['to_ours']:.2f} "
            f"| {low:.2f}–{high:.2f} | {row['to_ours_cpu']:.2f} "
            f"| {row['loss_first_epoch']:.1f} | {row['loss_last_epoch']:.1f} |"
        )
    return "\n".join(lines)


@click.command()
@click.option("--setups", default="a,b", show_default=True, help="Which of the two models.")
@click.option("--threads", default=torch.get_num_threads(), show_default=True)
@click.option("--rounds", default=60, show_default=True)
@click.option("--data", default="mnist", show_default=True)
@click.option(
    "--env-dir",
    default="build/peers",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where the environments of the libraries are made and kept.",
)
@click.option("--out", type=click.Path(path_type=Path), help="A JSON file to write as well.")
def main(
    setups: str, threads: int, rounds: int, data: str, env_dir: Path, out: Path | None
) -> None:  # fmt: skip
    """Print a training step's cost in each library, relative to ours."""
    for library in PACKAGES:  # before anything is timed
        python_of(library, env_dir)
    results = [compare(name, data, threads, rounds, env_dir) for name in setups.split(",")]
    print("\n\n".join(markdown(result) for result in results))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, results)


if __name__ == "__main__":
    finish(main)
