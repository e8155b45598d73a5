"""Training from a large file on disk, against training from memory.

In turn, in one process: so many steps on rows of the file, so many on rows in memory, with the
package's own loop. The median of the ratios is the figure; lone times mean nothing on a shared
machine, where the ratio of the processor's own seconds, those of the reading thread included, is
steadier, but does not know of waiting. Each round has a seed of its own and drops the file from
the system's cache first, so that its windows are read from the disk; a round is long enough to go
from one window into the next. The peak memory is that of another process, which has no rows in
memory.

    python benchmarks/streaming.py --gigabytes 4
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from largefile import forget, peak_memory_mb, random_rows

from discretevae.cli.ending import finish
from discretevae.config import TrainConfig
from discretevae.data import Dataset, load_data
from discretevae.evaluation.bounds import evaluate
from discretevae.model.vae import DiscreteVAE
from discretevae.training import Progress, train

WARM_UP = 5
IN_MEMORY = 400_000
"""Rows of the comparison: 314 MB, so that no cache of the processor holds them."""


class _EnoughError(Exception):
    """Raised to leave the loop once enough steps were timed."""


class Round(NamedTuple):
    """Seconds per step, without the first few."""

    mean: float
    cpu: float


def seconds_of(data: Dataset, steps: int, batch_size: int, seed: int) -> Round:
    """Trains for so many steps and a few before them."""
    ends: list[float] = []
    cpu: list[float] = []

    def between(progress: Progress) -> None:
        ends.append(time.perf_counter())
        cpu.append(time.process_time())
        if len(ends) >= steps + WARM_UP:
            raise _EnoughError

    model = DiscreteVAE.for_data(data, latent="bernoulli:50", hidden=(1024,))
    with contextlib.suppress(_EnoughError):
        train(model, data, TrainConfig(batch_size=batch_size, seed=seed), progress=between)
    ends, cpu = ends[WARM_UP - 1 :], cpu[WARM_UP - 1 :]
    return Round((ends[-1] - ends[0]) / steps, (cpu[-1] - cpu[0]) / steps)


def speed(path: Path, rounds: int, steps: int, batch_size: int) -> dict[str, Any]:
    """Steps on disk and steps in memory, round by round."""
    on_disk = load_data(path)
    n_rows = min(IN_MEMORY, len(on_disk.train))
    pieces = [on_disk.train.values.between(i, i + 10_000) for i in range(0, n_rows, 10_000)]
    rows = type(on_disk.train)(torch.cat(pieces), 255.0)
    in_memory = Dataset("rows", rows, rows.subset(slice(0, 100)))
    disk: list[Round] = []
    memory: list[Round] = []
    for seed in range(rounds):
        forget(path)
        disk.append(seconds_of(on_disk, steps, batch_size, seed))
        memory.append(seconds_of(in_memory, steps, batch_size, seed))
    ratios = [m.mean / d.mean for m, d in zip(memory, disk, strict=True)]
    cpu_ratios = [m.cpu / d.cpu for m, d in zip(memory, disk, strict=True)]
    return {
        "rows": len(on_disk.train) + len(on_disk.test),
        "streamed": on_disk.train.is_streamed,
        "batch_size": batch_size,
        "steps": steps,
        "disk_ms": round(1e3 * statistics.median(d.mean for d in disk), 2),
        "memory_ms": round(1e3 * statistics.median(m.mean for m in memory), 2),
        "speed_of_memory": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_speed_of_memory": round(statistics.median(cpu_ratios), 3),
        "cpu_ratios": [round(ratio, 3) for ratio in cpu_ratios],
        "threads": torch.get_num_threads(),
    }


def memory(path: Path, steps: int, batch_size: int) -> dict[str, Any]:
    """The peak memory of loading, training and evaluating, in a process of its own."""
    data = load_data(path)
    loaded = peak_memory_mb()
    seconds_of(data, steps, batch_size, 0)
    trained = peak_memory_mb()
    model = DiscreteVAE.for_data(data, latent="bernoulli:50", hidden=(1024,))
    evaluate(model, data.test.subset(slice(0, 10_000)), samples=1)
    return {
        "peak_memory_mb_after_loading": loaded,
        "peak_memory_mb_after_training": trained,
        "peak_memory_mb": peak_memory_mb(),
    }


@click.command()
@click.option("--gigabytes", default=4.0, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to make the file.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--steps", default=700, show_default=True, help="Of a round.")
@click.option("--batch-size", default=128, show_default=True)
@click.option("--speed", "speed_of", type=click.Path(path_type=Path), hidden=True)
@click.option("--memory", "memory_of", type=click.Path(path_type=Path), hidden=True)
def main(
    gigabytes: float,
    folder: Path | None,
    rounds: int,
    steps: int,
    batch_size: int,
    speed_of: Path | None,
    memory_of: Path | None,
) -> None:
    """Print the ratio of both speeds, and the peak memory, as JSON."""
    if speed_of is not None:
        print(json.dumps(speed(speed_of, rounds, steps, batch_size), indent=2))
        return
    if memory_of is not None:
        print(json.dumps(memory(memory_of, steps, batch_size), indent=2))
        return
    with random_rows(gigabytes, folder or Path(tempfile.gettempdir())) as made:
        options = ["--rounds", rounds, "--steps", steps, "--batch-size", batch_size]
        for what in ("--memory", "--speed"):
            forget(made)
            command = [sys.executable, __file__, what, made, *options]
            subprocess.run([str(word) for word in command], check=True)


if __name__ == "__main__":
    finish(main)
