"""Which initial weights serve best: torch's default, Glorot or He, with the package's own defaults.

Every model is trained as `discretevae train` trains it when nothing else is said, three seeds each.
Runs that are finished are kept, so that the command may be stopped and given again.

    python benchmarks/initial_weights.py runs/init --out docs/results/initial-weights.json
"""

from __future__ import annotations

import json
import statistics
import warnings
from pathlib import Path
from typing import Any

import click
import torch

from discretevae.cli.ending import finish
from discretevae.config import INITS, Init, ModelConfig, RunConfig, TrainConfig, preset
from discretevae.data import Dataset, load_data
from discretevae.errors import CollapseWarning
from discretevae.evaluation.bounds import evaluate
from discretevae.model.vae import fresh_model
from discretevae.run_folder.history import METRICS
from discretevae.system.files import write_json
from discretevae.training import train

EPOCHS = {
    "fc-bvae": {"digits": 50, "mnist": 10, "fashion-mnist": 10},
    "fc-cvae": {"digits": 50, "mnist": 10, "fashion-mnist": 10},
    "cnn-bvae": {"digits": 50, "mnist": 3, "fashion-mnist": 3},
    "cnn-cvae": {"digits": 50, "mnist": 3, "fashion-mnist": 3},
}
"""A convolutional step takes some five times as long as one of the fully connected models."""

SEEDS = (0, 1, 2)


def trained(folder: Path, data: Dataset, name: str, init: Init, seed: int, epochs: int) -> None:
    """Train and evaluate one model; leaves ``result.json``."""
    base = preset(name)
    config = RunConfig(
        model=ModelConfig(
            n_features=data.n_features, image_shape=data.image_shape, latent=base.latent,
            network=base.network, hidden=base.hidden, init=init,
        ),
        training=TrainConfig(epochs=epochs, seed=seed),
    )  # fmt: skip
    model = fresh_model(config.model, seed=seed)
    resume = (folder / METRICS).exists()
    history = train(model, data, config.training, out=folder, resume=resume)
    found = evaluate(model, data.test, samples=10, seed=seed)
    write_json(
        folder / "result.json",
        {
            "elbo": found.elbo.value,
            "bound": found.bound.value,
            "active": found.usage.active_units,
            "epoch_1": history[0].test_elbo,
            "loss": history[-1].loss,
        },
    )


def summary(runs: dict[tuple[str, str, str], list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Return the mean over seeds and its standard error, for each model, set and distribution."""
    lines = []
    for (name, source, init), found in runs.items():
        line: dict[str, Any] = {"model": name, "data": source, "init": init, "seeds": len(found)}
        line["epochs"] = EPOCHS[name][source]
        for key in found[0]:
            values = [each[key] for each in found]
            line[key] = statistics.mean(values)
            line[f"{key}_se"] = statistics.stdev(values) / len(values) ** 0.5
        lines.append(line)
    return lines


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Also write the figures here.")
@click.option("--data-dir", type=click.Path(path_type=Path))
@click.option("--only", help="Models and sets whose names hold this text.", default="")
def main(runs: Path, out: Path | None, data_dir: Path | None, only: str) -> None:
    """Train every model with every distribution of initial weights."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", CollapseWarning)
    found: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for name, sets in EPOCHS.items():
        for source, epochs in sets.items():
            if only not in f"{name} {source}":
                continue
            data = load_data(source, data_dir=data_dir)
            for seed in SEEDS:
                for init in INITS:
                    folder = runs / f"{name}-{source}-{init}-{seed}"
                    result = folder / "result.json"
                    if not result.exists():
                        trained(folder, data, name, init, seed, epochs)
                    each = json.loads(result.read_text())
                    found.setdefault((name, source, init), []).append(each)
                    click.echo(f"{folder.name:32} {each}")
    lines = summary({key: each for key, each in found.items() if len(each) > 1})
    for line in lines:
        click.echo(
            f"{line['model']:9} {line['data']:14} {line['init']:7} ELBO {line['elbo']:9.2f} "
            f"± {line['elbo_se']:.2f}  bound {line['bound']:9.2f} ± {line['bound_se']:.2f}"
        )
    if out is not None:
        write_json(out, {"epochs": EPOCHS, "seeds": SEEDS, "runs": lines})


if __name__ == "__main__":
    finish(main)
