"""What the paper leaves unsaid of CNN-BVAE, every reading of it trained by the paper's protocol.

Initial weights × M × likelihood × width of the decoder's first layer, the telling runs first, one
after the other. Runs that are finished are kept, and those of fewer epochs are prolonged, so that
the command may be stopped and given again. Every run prints its line as it ends.

    python benchmarks/paper_choices.py runs/choices --out docs/results/paper/choices.json

Then `scripts/paper_page` puts the table on the page of the paper's figures.
"""

from __future__ import annotations

import itertools
import json
import math
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch

from discretevae.cli.ending import finish
from discretevae.config import INITS, Init, ModelConfig, TrainConfig, preset
from discretevae.data import Dataset, Rows, load_data
from discretevae.errors import CollapseWarning, DataError, TrainingInterrupted
from discretevae.evaluation.bounds import evaluate
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.convolutional import CHANNELS, ConvDecoder, ConvEncoder, image_sizes
from discretevae.run_folder.history import METRICS
from discretevae.system.files import write_json
from discretevae.system.randomness import generator_for
from discretevae.training import train

SAMPLES = (1, 5)
LIKELIHOODS = ("bernoulli", "gaussian")
FIRST = (CHANNELS[-1], CHANNELS[-1] // 4, CHANNELS[-1] * 4)
"""Channels after the decoder's linear layer: as the package has it, fewer, more."""


@dataclass(frozen=True)
class Choice:
    """One reading of the paper.

    Args:
        init: initial weights.
        samples: M.
        likelihood: ``bernoulli``, or ``gaussian`` for N(x̂, 1).
        first: channels after the decoder's linear layer.
    """

    init: Init
    samples: int
    likelihood: str
    first: int

    @property
    def name(self) -> str:
        """Of its folder, after the data."""
        return f"{self.init}-m{self.samples}-{self.likelihood}-{self.first}"


def plan() -> list[Choice]:
    """Return all readings, in an order in which each run tells the most."""
    usual = FIRST[0]
    first = [Choice(init, 1, like, usual) for like in LIKELIHOODS for init in INITS[::-1]]
    first += [Choice(init, 5, "bernoulli", usual) for init in INITS[::-1]]
    first += [Choice("he", 1, "bernoulli", channels) for channels in FIRST[1:]]
    rest = itertools.product(INITS[::-1], SAMPLES, LIKELIHOODS, FIRST)
    others = [Choice(*choice) for choice in rest]
    others.sort(key=lambda choice: (choice.samples, choice.first != usual))  # the cheap ones first
    return list(dict.fromkeys(first + others))


def shape_of(data: Dataset) -> tuple[int, int]:
    """Return height and width of the pictures."""
    if data.image_shape is None:
        raise DataError(f"{data.name}: no pictures. Give --data a set of pictures, such as mnist.")
    return data.image_shape


def model_of(choice: Choice, data: Dataset, seed: int) -> DiscreteVAE:
    """Return the fresh model, with the weights that the package draws for this seed."""
    latent, shape = preset("cnn-bvae").latent, shape_of(data)
    config = ModelConfig(
        n_features=data.n_features, latent=latent, network="cnn", init=choice.init,
        likelihood=choice.likelihood, image_shape=shape,
    )  # fmt: skip
    how: dict[str, Any] = {"init": choice.init, "generator": generator_for(seed, "weights")}
    n_bits = latent.n_variables
    encoder = ConvEncoder(shape, n_bits, **how)
    decoder = ConvDecoder(n_bits, shape, first=choice.first, **how)
    return DiscreteVAE(config, encoder=encoder, decoder=decoder)


@torch.no_grad()
def squared_error(rows: Rows, model: DiscreteVAE | None = None, mean: Any = 0.0) -> float:
    """Return the mean over rows and pixels of (x − E[x|z])² at the most likely z, or around a mean.

    A measure that all likelihoods have in common.
    """
    total = 0.0
    for x in rows.chunks(1000):
        guess = mean if model is None else model.reconstruct(x)
        total += (x - guess).double().square().mean(1).sum().item()
    return total / len(rows)


def of_the_mean_row(data: Dataset) -> float:
    """Return the squared error of a decoder that gives the mean training row for every code."""
    mean = sum(x.double().sum(0) for x in data.train.chunks(1000)) / len(data.train)
    return squared_error(data.test, mean=mean)


def trained(
    folder: Path, data: Dataset, choice: Choice, config: TrainConfig
) -> dict[str, int | float | str | bool]:
    """Train or prolong one model, and return its figures."""
    model = model_of(choice, data, config.seed)
    resume = (folder / METRICS).exists()
    try:
        history = train(model, data, config, out=folder, resume=resume)
    except TrainingInterrupted as stopped:  # to resume this run alone would leave out the rest
        raise TrainingInterrupted(f"{stopped.message} Run it again to go on.") from None
    found = evaluate(model, data.test, samples=1, seed=config.seed)
    return asdict(choice) | {
        "data": data.name,
        "width": choice.first * math.prod(image_sizes(shape_of(data))[-1]),
        "estimator": "importance",
        "batch_size": config.batch_size or 0,
        "lr": config.lr,
        "precision": config.precision,
        "seed": config.seed,
        "epochs": len(history),
        "cpu_seconds": history[-1].cpu_seconds,
        "elbo": history[-1].test_elbo,
        "elbo_se": history[-1].test_elbo_se,
        "kl": found.kl.value,
        "active": found.usage.active_units,
        "bits": model.family.n_variables,
        "codes_used": found.usage.codes_used or 0,
        "squared_error": squared_error(data.test, model),
        "collapsed": found.usage.active_units == 0,
    }


def line_of(found: dict[str, Any]) -> str:
    """Return a run in one line."""
    return (
        f"{found['init']:6} M={found['samples']} {found['likelihood']:9} {found['width']:5} "
        f"{found['epochs']:3} epochs  ELBO {found['elbo']:9.2f}  KL {found['kl']:6.2f}  "
        f"active {found['active']:2}  squared error {found['squared_error']:.4f}"
        f"{'  collapsed' if found['collapsed'] else ''}"
    )


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Also write the figures here.")
@click.option("--only", default="", help="Runs whose names, such as he-m1-bernoulli, hold this.")
@click.option("--epochs", default=30, show_default=True)
@click.option("--data", "source", default="mnist", show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path))
@click.option("--precision", default="bf16", show_default=True)
@click.option("--batch-size", default=2048, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(
    runs: Path, out: Path | None, only: str, epochs: int, source: str, data_dir: Path | None,
    precision: Any, batch_size: int, seed: int,
) -> None:  # fmt: skip
    """Train every reading that is not there yet."""
    if not any(only in choice.name for choice in plan()):
        raise click.BadParameter(f"no run has {only!r} in its name.", param_hint="--only")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", CollapseWarning)
    data = load_data(source, data_dir=data_dir)
    mean_row = of_the_mean_row(data)
    every = []
    for choice in plan():
        folder = runs / f"{source}-{choice.name}-seed{seed}"
        result = folder / "result.json"
        found = json.loads(result.read_text()) if result.exists() else None
        if only in choice.name and (found is None or found["epochs"] < epochs):
            config = TrainConfig(
                epochs=epochs, batch_size=batch_size, estimator="importance",
                samples=choice.samples, lr=1e-3, precision=precision, seed=seed,
            )  # fmt: skip
            found = trained(folder, data, choice, config)
            write_json(result, found)
            click.echo(line_of(found))
        elif only in choice.name and found is not None:
            click.echo(f"{line_of(found)} (was there)")
        if found is None:
            continue
        every.append(found)
        if out is not None:
            write_json(out, {"mean_row_squared_error": mean_row, "runs": every})


if __name__ == "__main__":
    finish(main)
