"""The VQ-VAE against codes that learn by the ELBO: same networks, same bits, three seeds.

Every model has an encoder and a decoder of one hidden layer of 1,024, and a code of 50 bits. Runs
that are finished are kept, so that the command may be stopped and given again.

    python benchmarks/codebooks.py runs/codebooks --docs docs/results
"""

from __future__ import annotations

import itertools
import json
import statistics
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from matplotlib.figure import Figure

from discretevae.cli.ending import finish
from discretevae.config import ModelConfig, TrainConfig
from discretevae.data import Dataset, load_data
from discretevae.errors import CollapseWarning
from discretevae.evaluation.bounds import evaluate
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.plots.pictures import save_figure
from discretevae.priors import make_prior
from discretevae.run_folder.history import METRICS
from discretevae.system.files import write_atomic, write_json
from discretevae.system.randomness import generator_for
from discretevae.training import train
from discretevae.training.prior_fitting import fit_prior

SEEDS = (0, 1, 2)
SOURCES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
SHOWN = 10
SAMPLES = 20
"""Of the bound: the more, the nearer to ln p(x) for a q that is not certain."""


@dataclass(frozen=True)
class Method:
    """A way to a code of 50 bits.

    Args:
        about: for the table.
        model: options of `ModelConfig`.
        training: options of `TrainConfig`.
    """

    about: str
    model: dict[str, Any]
    training: dict[str, Any]


_VECTORS = {"latent": "categorical:10x32", "quantizer": "vector:16"}
METHODS = {
    "vq": Method(
        "VQ-VAE, vectors follow moving averages", _VECTORS, {"objective": "vq"}
    ),
    "vq-gradient": Method(
        "VQ-VAE, vectors learn by gradient", _VECTORS, {"objective": "vq", "vq": "decay=0"}
    ),
    "vq-no-revival": Method(
        "VQ-VAE, moving averages, no revival", _VECTORS, {"objective": "vq", "vq": "revive=0"}
    ),
    "codebook": Method("the same codebook by the ELBO (ReinMax)", _VECTORS, {}),
    "categories": Method("no codebook, by the ELBO (ReinMax)", {"latent": "categorical:10x32"}, {}),
    "bits": Method("50 bits by the ELBO (DisARM)", {"latent": "bernoulli:50"}, {}),
}  # fmt: skip


def used(model: DiscreteVAE, x: torch.Tensor) -> dict[str, float]:
    """Which share of the categories of its variables the code uses, and how evenly.

    Perplexity is e to the entropy of a variable's values over the rows, in the mean over
    variables; of a codebook all variables choose from the same vectors, and are counted together.
    """
    codes = model.encode(x)
    spec = model.config.latent
    k = spec.n_categories or 2
    columns = [codes.flatten()] if model.quantizer is not None else list(codes.T)
    shares = torch.stack(
        [torch.bincount(column.long(), minlength=k) / len(column) for column in columns]
    )
    entropy = -(shares * shares.clamp_min(1e-12).log()).sum(1)
    return {
        "distinct": len(torch.unique(codes, dim=0)),
        "used": (shares > 0).float().mean().item(),
        "perplexity": entropy.exp().mean().item() / k,
    }


def trained(folder: Path, data: Dataset, method: Method, seed: int, epochs: int) -> None:
    """Train, evaluate, fit a prior, evaluate again; leaves ``result.json``."""
    config = ModelConfig(n_features=784, image_shape=(28, 28), hidden=(1024,), **method.model)
    model = fresh_model(config, seed=seed)
    resume = (folder / METRICS).exists()
    training = TrainConfig(epochs=epochs, seed=seed, **method.training)
    history = train(model, data, training, out=folder, resume=resume)
    x = data.test.batch(slice(None))
    made = model.reconstruct(x)
    plain = evaluate(model, data.test, samples=SAMPLES, seed=seed)
    prior = make_prior("autoregressive", model.family, generator=generator_for(seed, "prior"))
    fit_prior(model, data.train, prior, epochs=3, seed=seed)
    model.prior, model.config = prior, replace(config, prior="autoregressive")
    with_prior = evaluate(model, data.test, samples=SAMPLES, seed=seed)
    np.save(folder / "reconstructions.npy", made[:SHOWN].numpy())
    write_json(
        folder / "result.json",
        {
            "mse": (made - x).square().mean().item(),
            "elbo": plain.elbo.value,
            "bound": plain.bound.value,
            "rate": plain.kl.value,
            "prior_elbo": with_prior.elbo.value,
            "prior_bound": with_prior.bound.value,
            "prior_rate": with_prior.kl.value,
            "cpu_seconds": history[-1].cpu_seconds,
            **used(model, x),
        },
    )


def summary(runs: Path, epochs: int) -> list[dict[str, Any]]:
    """Return mean and standard error over seeds of every figure, a line for each method and set."""
    lines = []
    for source, name in itertools.product(SOURCES, METHODS):
        paths = [runs / f"{source}-{name}-{seed}" / "result.json" for seed in SEEDS]
        found = [json.loads(path.read_text()) for path in paths if path.exists()]
        if len(found) < 2:
            continue
        line: dict[str, Any] = {"data": source, "method": name, "seeds": len(found)}
        line["epochs"] = epochs
        for key in found[0]:
            values = [each[key] for each in found]
            line[key] = [statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5]
        lines.append(line)
    return lines


COLUMNS = {
    "error per pixel × 1000": ("mse", 1000, 2),
    "−ELBO, uniform prior": ("elbo", -1, 2),
    "−bound, 20 samples": ("bound", -1, 2),
    "−ELBO, fitted prior": ("prior_elbo", -1, 2),
    "−bound, 20 samples, fitted prior": ("prior_bound", -1, 2),
    "rate, fitted prior": ("prior_rate", 1, 2),
    "categories in use, %": ("used", 100, 0),
    "perplexity, % of K": ("perplexity", 100, 0),
    "seconds": ("cpu_seconds", 1, 0),
}


def tables(lines: list[dict[str, Any]]) -> str:
    """Return a table for each set of data."""
    text = ""
    for source, title in SOURCES.items():
        text += f"\n## {title}\n\n| | " + " | ".join(COLUMNS) + " |\n"
        text += "|---" * (1 + len(COLUMNS)) + "|\n"
        for line in lines:
            if line["data"] != source:
                continue
            cells = [
                f"{mean * scale:,.{digits}f} ± {se * abs(scale):.{max(digits, 1)}f}"
                for key, scale, digits in COLUMNS.values()
                for mean, se in [line[key]]
            ]
            text += f"| {METHODS[line['method']].about} | " + " | ".join(cells) + " |\n"
    return text


def draw(runs: Path, rows: dict[str, torch.Tensor], path: Path) -> None:
    """Draw test rows, and below them what each method makes of their codes, of the first seed."""
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    panels = figure.subplots(1, len(rows))
    for axes, (source, x) in zip(panels, rows.items(), strict=True):
        made = [(name, runs / f"{source}-{name}-0" / "reconstructions.npy") for name in METHODS]
        kept = [("test rows", x.numpy())] + [(n, np.load(p)) for n, p in made if p.exists()]
        strips = [np.hstack(list(each.reshape(-1, 28, 28))) for _, each in kept]
        axes.imshow(np.vstack(strips), cmap="gray", vmin=0, vmax=1)
        axes.set_yticks([28 * i + 14 for i in range(len(kept))], [n for n, _ in kept], fontsize=8)
        axes.set_xticks([])
        axes.set_title(SOURCES[source], fontsize=10)
    save_figure(figure, path)


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--docs", type=click.Path(path_type=Path), help="Also write figures and picture.")
@click.option("--data-dir", type=click.Path(path_type=Path))
@click.option("--epochs", default=8, show_default=True)
@click.option("--only", help="Runs whose names hold this text.", default="")
def main(runs: Path, docs: Path | None, data_dir: Path | None, epochs: int, only: str) -> None:
    """Train every method on every set, three seeds each."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", CollapseWarning)
    opened = {source: load_data(source, data_dir=data_dir) for source in SOURCES}
    for seed, source, name in itertools.product(SEEDS, SOURCES, METHODS):
        folder = runs / f"{source}-{name}-{seed}"
        if only not in folder.name:
            continue
        if not (folder / "result.json").exists():
            trained(folder, opened[source], METHODS[name], seed, epochs)
        click.echo(f"{folder.name:30} {(folder / 'result.json').read_text()}")
    lines = summary(runs, epochs)
    text = tables(lines)
    click.echo(text)
    if docs is not None:
        rows = {source: data.test.batch(slice(0, SHOWN)) for source, data in opened.items()}
        draw(runs, rows, docs / "codebooks.png")
        write_json(docs / "codebooks.json", lines)
        page = docs / "codebooks.md"
        head, _, _ = page.read_text(encoding="utf-8").partition("\n## ")
        write_atomic(page, (head + text).encode())


if __name__ == "__main__":
    finish(main)
