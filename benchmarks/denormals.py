"""The cost of denormal numbers in Adam's moments, in one process.

Two trainings of the same model on the same rows take turns, an epoch each: one as the package does
it, which sets vanishing moments to zero, and one that lets them become denormal numbers. The ratio
of their steps is the figure, epoch by epoch.

    python benchmarks/denormals.py --out docs/results/performance/denormals.json
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import click
import torch

from discretevae.cli.ending import finish
from discretevae.config import TrainConfig
from discretevae.data import Dataset, load_data
from discretevae.errors import CollapseWarning
from discretevae.model.vae import DiscreteVAE
from discretevae.system.files import write_json
from discretevae.system.tensor_files import read_tensors
from discretevae.training import step, train

ROWS = 10_000
BATCH = 100
VARIANTS = ("flushed", "kept")


@contextlib.contextmanager
def doing(variant: str) -> Iterator[None]:
    """Train as the package does it, or without flushing moments."""
    if variant == "flushed":
        yield
        return
    with mock.patch.object(step, "FLUSH_EVERY", 10**12):
        yield


def denormal_share(folder: Path) -> float:
    """Return the share of denormal numbers among the first moments of the newest checkpoint."""
    newest = max((folder / "checkpoint").glob("*.safetensors"))
    tensors, _ = read_tensors(newest)
    moments = torch.cat([v.flatten() for name, v in tensors.items() if name.endswith(".exp_avg")])
    smallest = torch.finfo(torch.float32).smallest_normal
    return float(((moments != 0) & (moments.abs() < smallest)).double().mean())


@click.command()
@click.option("--epochs", default=24, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Also write the figures here.")
@click.option("--data-dir", type=click.Path(path_type=Path))
def main(epochs: int, out: Path | None, data_dir: Path | None) -> None:
    """Train 30 x 10 categories on 10,000 rows of MNIST, both ways in turn."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", CollapseWarning)
    whole = load_data("mnist", data_dir=data_dir)
    data = Dataset("mnist", whole.train.subset(slice(0, ROWS)), whole.test.subset(slice(0, 200)))
    models = {
        variant: DiscreteVAE.for_data(data, latent="categorical:30x10", hidden=(512, 256))
        for variant in VARIANTS
    }
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(1, epochs + 1):
            config = TrainConfig(epochs=epoch, batch_size=BATCH)
            found: dict[str, float] = {"epoch": epoch}
            order = VARIANTS if epoch % 2 else VARIANTS[::-1]
            for variant in order:
                run = Path(folder) / variant
                with doing(variant):
                    history = train(models[variant], data, config, out=run, resume=epoch > 1)
                last, before = history[-1], history[-2].cpu_seconds if epoch > 1 else 0.0
                found[variant] = 1e3 * BATCH / ROWS * ((last.cpu_seconds or 0.0) - (before or 0.0))
                found[f"{variant} loss"] = last.loss
                found[f"{variant} denormal"] = denormal_share(run)
            found["ratio"] = found["kept"] / found["flushed"]
            rounds.append(found)
            print(json.dumps({k: round(v, 4) for k, v in found.items()}), flush=True)
    late = [found["ratio"] for found in rounds[len(rounds) // 2 :]]
    print(
        f"step with denormal moments, by the step without, median of the later half: "
        f"{statistics.median(late):.2f}"
    )
    if out is not None:
        write_json(
            out,
            {"rows": ROWS, "batch_size": BATCH, "rounds": rounds, "ratio": statistics.median(late)},
        )


if __name__ == "__main__":
    finish(main)
