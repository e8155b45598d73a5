"""One run of a published benchmark: resumable, and done when its ``result.json`` is there.

python benchmarks/published/run.py                      list the protocols
python benchmarks/published/run.py d-30x10 --seed 1     as published, with our method
python benchmarks/published/run.py a-mnist --method disarm --epochs 400
python benchmarks/published/run.py a-mnist --device cuda
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch
from protocols import PROTOCOLS, Protocol

from discretevae.cli.ending import finish
from discretevae.cli.inputs import check_device
from discretevae.config import RunConfig, to_dict
from discretevae.data import Dataset, Rows, load_data, load_rows
from discretevae.data.split import held_out
from discretevae.errors import ConfigError, RunError, TrainingInterrupted
from discretevae.evaluation.bounds import evaluate
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.objectives import choose_estimator
from discretevae.run_folder.saved_run import is_run, load_config, save_config
from discretevae.system.files import write_json
from discretevae.training import Progress, train

RESULT = "result.json"
SAMPLES = {"train": 10, "validation": 100, "test": 100}
"""Draws per row at the end. The many training rows are there for the ELBO."""

SPLIT_SEED = 0


def parts_of(protocol: Protocol, data_dir: Path | None) -> dict[str, Rows]:
    """Training, validation and test rows, the first of them of the protocol's number."""
    data = load_data(protocol.source, data_dir=data_dir, progress=True).binarized(protocol.binarize)
    left = len(data.train) - protocol.n_train
    if left == 0:
        parts = {"train": data.train, "test": data.test}
        if protocol.metric == "validation":  # a set that comes with such a part
            parts["validation"] = load_rows(protocol.source, split="validation", data_dir=data_dir)
        return parts
    train_rows, validation = held_out(len(data.train), left, SPLIT_SEED)
    return {
        "train": data.train.subset(train_rows),
        "validation": data.train.subset(validation),
        "test": data.test,
    }


def evaluated(model: DiscreteVAE, parts: dict[str, Rows]) -> dict[str, Any]:
    """ELBO and S-sample bound of each part, with their standard errors."""
    return {
        part: evaluate(model, rows, samples=SAMPLES[part], seed=0).to_dict()
        for part, rows in parts.items()
    }


def named(device: torch.device) -> str | None:
    """Which GPU it is; None for a processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def folder_of(out: Path, protocol: Protocol, method: str, seed: int, epochs: int | None) -> Path:
    """Where a run lies; runs of another length than published lie beside it."""
    shorter = "" if epochs in (None, protocol.epochs) else f"-{epochs}-epochs"
    return out / protocol.name / method / f"{seed}{shorter}"


def result_of(
    protocol: Protocol,
    method: str,
    config: RunConfig,
    parts: dict[str, Rows],
    folder: Path,
    device: torch.device,
) -> dict[str, Any]:
    """Trains, or goes on, and evaluates."""
    model = fresh_model(config.model, seed=config.training.seed, device=str(device))
    held = parts.get("validation", parts["test"])
    data = Dataset(protocol.source, parts["train"], held)
    total = config.training.epochs

    def told(progress: Progress) -> None:
        m = progress.metrics
        if m is not None:
            print(
                f"{protocol.name}/{method}/{config.training.seed} {m.epoch}/{total} "
                f"loss {m.loss:.2f} held out {-m.test_elbo:.2f} {m.seconds:,.0f} s",
                flush=True,
            )

    resume = is_run(folder)
    if resume and load_config(folder) != config:
        raise RunError(f"{folder}: holds a run of another configuration. Choose another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    save_config(folder, config)
    history = train(model, data, config.training, out=folder, resume=resume, progress=told)
    last = history[-1]
    best = max(history, key=lambda m: m.test_elbo)
    n_steps = -(-len(parts["train"]) // protocol.batch_size)
    return {
        "protocol": protocol.name,
        "method": method,
        "about": protocol.methods[method].about,
        "seed": config.training.seed,
        "steps": n_steps * last.epoch,
        "published_steps": n_steps * protocol.epochs,
        "evaluations": choose_estimator(model.family, config.training).evaluations_for(
            model.family
        ),
        "device": named(device),
        "seconds": last.seconds,
        "cpu_seconds": last.cpu_seconds,
        "last_loss": last.loss,
        "best_held_out": {"epoch": best.epoch, "elbo": best.test_elbo, "se": best.test_elbo_se},
        "parts": evaluated(model, parts),
        "curve": [[m.epoch, round(m.loss, 3), round(m.test_elbo, 3)] for m in history],
        "config": to_dict(config),
    }


@click.command()
@click.argument("name", type=click.Choice(list(PROTOCOLS)), required=False)
@click.option("--method", default="ours", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="Fewer than published.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/published"))
@click.option("--data-dir", type=click.Path(path_type=Path))
@click.option("--device", default="cpu", show_default=True, help="On a GPU, steps are replayed.")
def main(
    name: str | None,
    method: str,
    seed: int,
    epochs: int | None,
    out: Path,
    data_dir: Path | None,
    device: str,
) -> None:
    """Run one protocol with one method and seed; without a name, list the protocols."""
    if name is None:
        for protocol in PROTOCOLS.values():
            print(f"{protocol.name:<12} {protocol.title}; methods {', '.join(protocol.methods)}")
        return
    protocol = PROTOCOLS[name]
    if method not in protocol.methods:
        raise ConfigError(
            f"{name} has no method {method!r}. Choices: {', '.join(protocol.methods)}."
        )
    folder = folder_of(out, protocol, method, seed, epochs)
    if (folder / RESULT).exists():
        print(f"{folder / RESULT} is there")
        return
    place = torch.device(check_device(device))
    config = protocol.config(method, seed, epochs, graph=place.type == "cuda")
    parts = parts_of(protocol, data_dir)
    try:
        found = result_of(protocol, method, config, parts, folder, place)
    except TrainingInterrupted:
        raise TrainingInterrupted("all is saved. Go on with the same command.") from None
    write_json(folder / RESULT, found)
    print(folder / RESULT)


if __name__ == "__main__":
    finish(main)
