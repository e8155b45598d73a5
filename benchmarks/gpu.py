"""What recorded steps and shorter numbers gain on a GPU: trainings in turn, in one process.

The same training is done eagerly in float32, and with its steps replayed as a CUDA graph in
float32, tf32 and bf16. Rounds take turns; the figure is the median over rounds of the seconds that
a step of the eager one takes over those of the other. Seconds are those of `EpochMetrics`, by the
clock, without the first epoch, in which a recording is made.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --out docs/results/performance/gpu.json
"""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from discretevae.cli.ending import finish
from discretevae.cli.inputs import check_device
from discretevae.config import ModelConfig, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.model.vae import fresh_model
from discretevae.training import train

SHAPES = {
    "784-1024-50 bits, batch 2048, importance": (
        ModelConfig(n_features=784, latent="bernoulli:50", hidden=(1024,)),
        TrainConfig(batch_size=2048, estimator="importance"),
        60_000,
    ),
    "784-200-200-200 bits, batch 100, disarm": (
        ModelConfig(
            n_features=784, latent="bernoulli:200", hidden=(200, 200), activation="leaky-relu:0.3"
        ),
        TrainConfig(batch_size=100, estimator="disarm"),
        20_000,
    ),
}

WAYS: dict[str, dict[str, Any]] = {
    "eager": {},
    "recorded": {"graph": True},
    "recorded, tf32": {"graph": True, "precision": "tf32"},
    "recorded, bf16": {"graph": True, "precision": "bf16"},
}


def seconds_per_step(
    model_config: ModelConfig, config: TrainConfig, data: Dataset, device: str
) -> float:
    """Of a training of two epochs, the second."""
    model = fresh_model(model_config, seed=0, device=device)
    first, second = train(model, data.binarized("dynamic"), replace(config, epochs=2))
    n_steps = -(-len(data.train) // (config.batch_size or len(data.train)))
    return (second.seconds - first.seconds) / n_steps


def ratios(
    model_config: ModelConfig, config: TrainConfig, n_rows: int, rounds: int, device: str
) -> dict[str, object]:
    """Eager seconds over those of every way, round by round."""
    values = torch.randint(0, 256, (n_rows, 784), dtype=torch.uint8)
    rows = Rows(values, divisor=255.0, name="noise")
    data = Dataset("noise", rows, rows.subset(slice(0, 100)))
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, changes in WAYS.items():
            changed = replace(config, **changes)
            taken[way].append(seconds_per_step(model_config, changed, data, device))
    found: dict[str, object] = {
        "microseconds per step": {
            way: round(1e6 * statistics.median(times)) for way, times in taken.items()
        }
    }
    for way in list(WAYS)[1:]:
        each = [eager / other for eager, other in zip(taken["eager"], taken[way], strict=True)]
        found[way] = {
            "times as fast": round(statistics.median(each), 2),
            "of rounds": [round(ratio, 2) for ratio in each],
        }
    return found


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--device", default="cuda", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A JSON file.")
def main(rounds: int, device: str, out: Path | None) -> None:
    """Time the ways in turn."""
    torch.manual_seed(0)
    check_device(device)
    found: dict[str, object] = {
        shape: ratios(*setting, rounds, device) for shape, setting in SHAPES.items()
    }
    found["device"] = torch.cuda.get_device_name(device)
    found["torch"] = torch.__version__
    text = json.dumps(found, indent=1)
    print(text)
    if out is not None:
        out.write_text(text + "\n")


if __name__ == "__main__":
    finish(main)
