"""The defaults against the paper's estimator, for the same time on the same machine.

Two trainings of FC-BVAE run at once, one thread each, so that whatever else the machine does
happens to both: the paper's estimator (one sample, batch 2048) for ``--epochs`` epochs, and the
package's own choice for as long as that takes. Seconds are those of the training steps. Further
trainings, for the same number of seconds, are named by ``--also``; a benchmark that was stopped, or
is asked for more, goes on where it was.

    python benchmarks/against_paper.py --out runs/against-paper
    python benchmarks/against_paper.py --out runs/against-paper --also "--batch-size 2048"
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from discretevae.cli.ending import finish
from discretevae.plots.pictures import save_figure
from discretevae.run_folder.history import METRICS, EpochMetrics, read_metrics
from discretevae.system.files import write_json

RUNS = {
    "paper": ("--estimator", "importance", "--samples", "1", "--batch-size", "2048"),
    "default": (),
}


def start(out: Path, data: str, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """One training in a process of its own, with one thread."""
    command = [sys.executable, "-m", "discretevae", "train"]
    if (out / METRICS).exists():
        command += ["--resume", str(out)]
    else:
        command += ["--data", data, "--preset", "fc-bvae", "--seed", "0", "--out", str(out)]
        command += options
    log = (out.parent / f"{out.name}.log").open("ab")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=log, stderr=log, env=env)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks a training to save and end."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _metrics(folder: Path) -> list[EpochMetrics]:
    return read_metrics(folder) if (folder / METRICS).exists() else []


def reached(history: list[EpochMetrics], elbo: float) -> EpochMetrics | None:
    """The first epoch with a test ELBO of at least ``elbo``."""
    return next((m for m in history if m.test_elbo >= elbo), None)


def summary(histories: dict[str, list[EpochMetrics]]) -> dict[str, Any]:
    """How much sooner each of ours is where the paper ends, and how much better at that time.

    ``share_by_medians`` takes every epoch at its run's median duration: a few epochs, on which the
    share rests, may have met a machine that was busier than it was over the whole run.
    """
    last = histories["paper"][-1]
    found: dict[str, Any] = {"paper": _row(last)}
    for name, history in histories.items():
        if name == "paper":
            continue
        then = [m for m in history if m.seconds <= last.seconds][-1]
        better_by = round(then.test_elbo - last.test_elbo, 2)
        found[name] = {"better_by": better_by, "at_equal_time": _row(then)}
        equal = reached(history, last.test_elbo)
        if equal is not None:
            pace = _epoch_seconds(history) / _epoch_seconds(histories["paper"])
            found[name] |= {
                "share_of_time": round(equal.seconds / last.seconds, 4),
                "share_by_medians": round(equal.epoch * pace / last.epoch, 4),
                "at_equal_elbo": _row(equal),
            }
    found["curves"] = {
        name: [[m.epoch, round(m.seconds, 2), round(m.test_elbo, 3)] for m in history]
        for name, history in histories.items()
    }
    return found


def _epoch_seconds(history: list[EpochMetrics]) -> float:
    ends = [0.0, *(m.seconds for m in history)]
    return statistics.median(after - before for before, after in itertools.pairwise(ends))


def _row(m: EpochMetrics) -> dict[str, float]:
    return {
        "epoch": m.epoch, "seconds": round(m.seconds, 1), "test_elbo": round(m.test_elbo, 2),
        "se": round(m.test_elbo_se, 2), "active_units": m.active_units,
    }  # fmt: skip


def draw(curves: dict[str, list[list[float]]], path: Path) -> None:
    """All curves over the seconds of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    labels = {"paper": "the paper: importance, one sample, batch 2048"}
    for name, curve in curves.items():
        _, seconds, elbo = zip(*curve, strict=True)
        axes.plot(seconds, elbo, label=labels.get(name, name))
    axes.axhline(curves["paper"][-1][2], color="0.6", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("test ELBO [nats per row]")
    axes.legend(frameon=False)
    save_figure(figure, path)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--data", default="mnist", show_default=True)
@click.option("--epochs", default=300, show_default=True, help="Of the paper's estimator.")
@click.option("--also", multiple=True, help="Options of `discretevae train` for one more.")
def main(out: Path, data: str, epochs: int, also: tuple[str, ...]) -> None:
    """Train all, then say how much sooner and how much better the defaults are."""
    # a benchmark that is ended must end its trainings too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out.mkdir(parents=True, exist_ok=True)
    runs = RUNS | {f"default {options}": tuple(options.split()) for options in also}
    folders = {name: out / re.sub(r"[^\w.]+", "-", name) for name in runs}
    paper = folders["paper"]

    def is_over(name: str) -> bool:
        ours, theirs = (_metrics(folder) for folder in (folders[name], paper))
        if len(theirs) < epochs or not ours:
            return False
        return ours[-1].seconds >= theirs[-1].seconds

    processes = {
        name: start(folders[name], data, (*options, "--epochs",
                                          str(epochs if name == "paper" else 100_000)))
        for name, options in runs.items()
        if not is_over(name)
    }  # fmt: skip
    try:
        for name, process in processes.items():
            while process.poll() is None and not is_over(name):
                time.sleep(1)
            stop(process)
    finally:
        for process in processes.values():
            stop(process)
    found = summary({name: read_metrics(folder) for name, folder in folders.items()})
    write_json(out / "against_paper.json", found)
    draw(found["curves"], out / "against_paper.png")
    print(json.dumps({key: found[key] for key in found if key != "curves"}, indent=2))


if __name__ == "__main__":
    finish(main)
