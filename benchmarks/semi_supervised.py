"""MNIST with 100 labels: the test error of the model M2, plain and with consistency, three seeds.

The seed chooses the labels, ten of each digit, as well as everything else. Runs that are finished
are kept, and one that was stopped goes on. With --choose, 5,000 rows held out of the training rows
stand for the test rows: by them options are chosen.

    python benchmarks/semi_supervised.py runs/labels --out docs/results/semi-supervised.json
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import click
import torch

from discretevae.cli.ending import finish
from discretevae.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from discretevae.data import Dataset, load_data
from discretevae.data.split import held_out
from discretevae.experiments.run import run
from discretevae.run_folder.saved_run import is_run
from discretevae.run_folder.summary import SUMMARY
from discretevae.system.files import write_json

SEEDS = (0, 1, 2)
LATENT = "categorical:10+bernoulli:3"
CONSISTENT: dict[str, Any] = {
    "augment": "strong",
    "target": "neighbors:5x10",
    "lr_schedule": "cosine",
    "average": 0.99,
    "batch_size": 128,
}

METHODS: dict[str, dict[str, Any]] = {
    "M2": {"supervision": "alpha=0.1,labels=100", "batch_size": 128},
    "M2, pictures distorted": {"supervision": "alpha=0.1,labels=100", **CONSISTENT},
    "M2, distorted, consistency": {
        "supervision": "alpha=50,consistency=50,labels=100", **CONSISTENT
    },
}  # fmt: skip
"""Options of `TrainConfig` by what they are called in the table."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of MNIST.")
@click.option("--only", default="", help="Part of the name of the methods to run.")
@click.option("--seed", "seeds", default=SEEDS, multiple=True, help="May be repeated.")
@click.option("--epochs", default=3)
@click.option("--choose", is_flag=True, help="Measure on rows held out of the training rows.")
@click.option("--set", "changed", multiple=True, help="option=value of the training.")
def main(
    folder: Path,
    out: Path | None,
    data_dir: Path | None,
    only: str,
    seeds: tuple[int, ...],
    epochs: int,
    choose: bool,
    changed: tuple[str, ...],
) -> None:
    """Train, and write the test errors."""
    torch.set_num_threads(1)
    data = load_data("mnist", data_dir=data_dir)
    if choose:
        learned, held = held_out(len(data.train), 5_000, 0)
        data = Dataset("mnist", data.train.subset(learned), data.train.subset(held))
    errors: dict[str, list[float]] = {}
    for method, training in METHODS.items():
        if only not in method:
            continue
        for seed in seeds:
            options = training | dict(each.split("=", 1) for each in changed)
            error = _error(data, options, folder / method / str(seed), seed, epochs)
            errors.setdefault(method, []).append(error)
            print(f"{method:<30} seed {seed}  {error:5.2f} %", flush=True)
    table = {
        method: {"errors": found, "mean": statistics.fmean(found), "epochs": epochs}
        for method, found in errors.items()
    }
    if out is not None:
        write_json(out, table)


def _error(data: Dataset, options: dict[str, Any], folder: Path, seed: int, epochs: int) -> float:
    """Train one model, if it is not there yet, and return its test error in percent."""
    if not (folder / SUMMARY).exists():
        training = TrainConfig(
            objective="semi-supervised", epochs=epochs, seed=seed, start="mean", **options
        )
        model = ModelConfig(n_features=784, latent=LATENT, network="cnn", image_shape=(28, 28))
        config = RunConfig(
            model=model, training=training, data=DataConfig(source="mnist", divisor=255.0)
        )
        run(data, config, out=folder, resume=is_run(folder), samples=10)
    accuracy: float = json.loads((folder / SUMMARY).read_text())["test"]["accuracy"]["value"]
    return 100 * (1 - accuracy)


if __name__ == "__main__":
    finish(main)
