"""How a training step and its memory grow with each size, swept alone around a base.

Every point is a process of its own: first a few steps, after which the peak of its memory is read,
then steps in turn with their bare matrix products. All points are passed through several times,
and what is given are medians over the passes, so that a slow minute of the machine does not hit
one end of a sweep only. The ratio to the products is formed within a process, step by step; sizes
are compared by the processor's own seconds, which do not count what others do on the machine.

    python benchmarks/scaling.py --out docs/results/performance
    python benchmarks/scaling.py --sweeps batch,bits --passes 1
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import click
import torch
from matplotlib.figure import Figure
from step import bare_products

from discretevae.cli.ending import finish
from discretevae.config import ModelConfig, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.errors import CollapseWarning
from discretevae.model.vae import DiscreteVAE
from discretevae.plots.pictures import save_figure
from discretevae.system.files import write_json
from discretevae.training import Progress, train

BASE = {"batch": 512, "pixels": 784, "hidden": 1024, "bits": 50, "samples": 1, "rows": 4096}
SWEEPS = {
    "batch": (32, 128, 512, 2048, 8192),
    "pixels": (49, 196, 784, 3136, 12544),
    "hidden": (64, 256, 1024, 4096),
    "bits": (8, 50, 200, 800, 3200),
    "samples": (1, 2, 4, 8, 16),
    "rows": (4096, 16_384, 65_536, 262_144),
}
LABELS = {
    "batch": "rows of a batch", "pixels": "pixels of a row", "hidden": "hidden units",
    "bits": "bits of the code", "samples": "samples of z per row", "rows": "rows of the data set",
}  # fmt: skip
WARM_UP = 3
SECONDS = 4.0
REPEATS = (8, 60)
"""A pass times steps for so many seconds, but at least and at most so many."""


Clocks = tuple[float, float]


def now() -> Clocks:
    """The wall clock, and the processor's seconds of this process."""
    return time.perf_counter(), time.process_time()


def since(began: Clocks) -> Clocks:
    """What passed on both."""
    wall, cpu = now()
    return wall - began[0], cpu - began[1]


class _EnoughError(Exception):
    """Raised to leave the loop."""


def memory(field: str) -> float:
    """A figure of the kernel on this process in MB: ``VmHWM``, its peak, or ``VmRSS``."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise click.ClickException("memory is read from /proc, which this system does not have.")
    return int(found.group(1)) / 1024


def measure(sizes: dict[str, int]) -> dict[str, float]:
    """Median step, its products, and the peak of memory before those came into being."""
    _train_a_little()
    before = memory("VmRSS")
    n_rows = max(sizes["rows"], 4 * sizes["batch"])
    values = torch.randint(0, 2, (n_rows, sizes["pixels"]), dtype=torch.uint8)
    rows = Rows(values, divisor=1.0, name="noise")
    config = ModelConfig(
        n_features=sizes["pixels"],
        latent=f"bernoulli:{sizes['bits']}",
        hidden=(sizes["hidden"],),
    )
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    products, peak = None, 0.0
    steps: list[Clocks] = []
    bare: list[Clocks] = []
    count = 0
    began = now()

    def between(progress: Progress) -> None:
        nonlocal products, peak, count, began
        step = since(began)
        if progress.metrics is None:
            count += 1
            if count == WARM_UP:
                peak = memory("VmHWM")
                products = bare_products(model, sizes["batch"], sizes["samples"])
            if products is not None:
                then = now()
                products()
                # the first step of an epoch also waits for the figures of the last one
                if count > WARM_UP + 1 and progress.step > 1:
                    bare.append(since(then))
                    steps.append(step)
            spent = sum(wall for wall, _ in (*steps, *bare))
            least, most = REPEATS
            if len(steps) >= most or (len(steps) >= least and spent > SECONDS):
                raise _EnoughError
        began = now()

    training = TrainConfig(
        epochs=10**6, batch_size=sizes["batch"], samples=sizes["samples"], estimator="importance"
    )
    with contextlib.suppress(_EnoughError):
        data = Dataset("noise", rows, rows.subset(slice(0, 32)))
        train(model, data, training, progress=between)
    both = list(zip(steps, bare, strict=True))
    return {
        "step_ms": 1e3 * statistics.median(wall for wall, _ in steps),
        "step_cpu_ms": 1e3 * statistics.median(cpu for _, cpu in steps),
        "bare_cpu_ms": 1e3 * statistics.median(cpu for _, cpu in bare),
        "ratio": statistics.median(step[0] / product[0] for step, product in both),
        "ratio_cpu": statistics.median(step[1] / product[1] for step, product in both),
        "peak_mb": peak,
        "before_mb": before,
        "steps": len(steps),
    }


def _train_a_little() -> None:
    """What torch loads when it is first needed must not count as memory of the step."""
    rows = Rows(torch.zeros(64, 8, dtype=torch.uint8), divisor=1.0, name="zeros")
    config = ModelConfig(n_features=8, latent="bernoulli:2", hidden=(8,))
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        train(model, Dataset("zeros", rows, rows), TrainConfig(epochs=1, estimator="importance"))


def point(sizes: dict[str, int], threads: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--point", json.dumps(sizes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def sweep(names: list[str], threads: int, passes: int) -> dict[str, Any]:
    """All points of these sweeps; each size once, though every sweep passes through the base."""
    points = {name: [BASE | {name: size} for size in SWEEPS[name]] for name in names}
    todo = {json.dumps(sizes): sizes for line in points.values() for sizes in line}
    found: dict[str, list[dict[str, float]]] = {key: [] for key in todo}
    with click.progressbar(
        list(todo) * passes, file=sys.stderr, item_show_func=lambda key: key or ""
    ) as bar:
        for key in bar:
            found[key].append(point(todo[key], threads))

    def merged(sizes: dict[str, int]) -> dict[str, float]:
        passed = found[json.dumps(sizes)]
        return {key: round(statistics.median(one[key] for one in passed), 3) for key in passed[0]}

    return {
        "base": BASE, "threads": threads, "passes": passes, "torch": torch.__version__,
        "sweeps": {
            name: [{"size": sizes[name]} | merged(sizes) for sizes in line]
            for name, line in points.items()
        },
    }  # fmt: skip


def draw(found: dict[str, Any]) -> Figure:
    """Above, step and products in units of the base's step; below, the peak of memory."""
    sweeps = found["sweeps"]
    figure = Figure(figsize=(2.4 * len(sweeps), 4.6), layout="constrained")
    panels = figure.subplots(2, len(sweeps), sharex="col", sharey="row", squeeze=False)
    for (above, below), (name, line) in zip(panels.T, sweeps.items(), strict=True):
        sizes = [one["size"] for one in line]
        unit = next(one["step_cpu_ms"] for one in line if one["size"] == BASE[name])
        for key, style, label in (
            ("step_cpu_ms", "o-", "training step"),
            ("bare_cpu_ms", "s--", "its bare products"),
        ):
            above.plot(sizes, [one[key] / unit for one in line], style, markersize=4, label=label)
        below.plot(sizes, [one["peak_mb"] - one["before_mb"] for one in line], "o-", markersize=4)
        for axes in (above, below):
            axes.loglog(base=2)
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, fontsize=8)
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        below.set_xlabel(LABELS[name])
    first, second = panels[:, 0]
    first.set_ylabel("processor time\nin steps of the base")
    second.set_ylabel("peak memory [MB]\nover a tiny training")
    first.legend(frameon=False, fontsize=8)
    return figure


def markdown(found: dict[str, Any]) -> str:
    """One row for every point."""
    base = ", ".join(f"{LABELS[name]} {size:,}" for name, size in BASE.items())
    lines = [
        f"Base: {base}; threads: {found['threads']}; medians of {found['passes']} passes.",
        "",
        "| | size | step ÷ step of the base | step ÷ its bare products | peak memory over a "
        "tiny training [MB] |",
        "|---|---|---|---|---|",
    ]
    for name, line in found["sweeps"].items():
        unit = next(one["step_cpu_ms"] for one in line if one["size"] == BASE[name])
        for one in line:
            lines.append(
                f"| {LABELS[name]} | {one['size']:,} | {one['step_cpu_ms'] / unit:.2f} "
                f"| {one['ratio']:.2f} | {one['peak_mb'] - one['before_mb']:,.0f} |"
            )
    return "\n".join(lines)


@click.command()
@click.option("--sweeps", default=",".join(SWEEPS), show_default=True)
@click.option("--threads", default=torch.get_num_threads(), show_default=True)
@click.option("--passes", default=3, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), help="A folder for scaling.json and scaling.png."
)
@click.option("--point", "one", hidden=True, help="Sizes of one point, as JSON.")
def main(sweeps: str, threads: int, passes: int, out: Path | None, one: str | None) -> None:
    """Print how the time and the memory of a step grow."""
    torch.set_num_threads(threads)
    if one is not None:
        print(json.dumps(measure(json.loads(one))))
        return
    found = sweep(sweeps.split(","), threads, passes)
    print(markdown(found))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "scaling.json", found)
        save_figure(draw(found), out / "scaling.png", colors=32)


if __name__ == "__main__":
    finish(main)
