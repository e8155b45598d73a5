"""Which initial weights serve best: torch's default, Glorot or He, with the package's own defaults.

Every model is trained as `discretevae train` trains it when nothing else is said but the number of
epochs, three seeds each. Runs that are finished are kept, and what is written holds all of them, so
that the command may be stopped and given again, or given for one model after another.

    python benchmarks/initial_weights.py runs/init --out docs/results/initial-weights.json

Writes the figures of every run, and beside them the page that shows them.
"""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from discretevae.cli.ending import finish
from discretevae.config import INITS, Init, ModelConfig, RunConfig, TrainConfig, preset
from discretevae.data import Dataset, load_data
from discretevae.errors import CollapseWarning, TrainingInterrupted
from discretevae.evaluation.bounds import evaluate
from discretevae.experiments.paper.experiments import DATA_TITLES
from discretevae.model.vae import fresh_model
from discretevae.run_folder.history import METRICS, read_metrics
from discretevae.system.files import write_json, write_text
from discretevae.training import train

EPOCHS = {
    ("digits", "fc-bvae"): 50,
    ("digits", "fc-cvae"): 50,
    ("digits", "cnn-bvae"): 50,
    ("digits", "cnn-cvae"): 50,
    ("mnist", "fc-bvae"): 10,
    ("mnist", "fc-cvae"): 5,
    ("mnist", "cnn-bvae"): 3,
    ("mnist", "cnn-cvae"): 3,
    ("fashion-mnist", "fc-bvae"): 5,
    ("fashion-mnist", "fc-cvae"): 5,
    ("fashion-mnist", "cnn-bvae"): 3,
    ("fashion-mnist", "cnn-cvae"): 3,
}
"""Few, because it is the start that initial weights decide; and a convolutional step takes some
five times as long as one of the fully connected models."""

SEEDS = (0, 1, 2)

PAGE = """\
# Initial weights

Which initial weights serve best when nothing else is said: torch's default, Glorot's or He's
(`--init`, see [Networks](../guide/networks.md)), with the package's default estimator, batch size
and step size. Test ELBO in nats per row at the end of so many epochs, with 10 draws of z per row
where it is no exact sum; the mean over seeds ± its standard error over seeds, the best in bold.
Gain: of He's weights over torch's, seed by seed, so that what a seed does to both drops out.
Active: latent variables that are, of each of the three, in the mean over seeds.

{table}
Made with this command, which goes on where it was stopped:

```console
$ python benchmarks/initial_weights.py runs/init --out docs/results/initial-weights.json
```

All numbers, with the 10-sample bound and the ELBO after the first epoch, are in
`docs/results/initial-weights.json`.
"""


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
    try:
        history = train(model, data, config.training, out=folder, resume=resume)
    except TrainingInterrupted as stopped:  # to resume this run alone would leave out the rest
        raise TrainingInterrupted(f"{stopped.message} Run it again to go on.") from None
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


def finished(runs: Path) -> Iterator[dict[str, Any]]:
    """Return the figures of every finished run, and what it was made with."""
    for source, name in EPOCHS:
        for seed in SEEDS:
            for init in INITS:
                folder = runs / f"{name}-{source}-{init}-{seed}"
                if (folder / "result.json").exists():
                    made = {"data": source, "model": name, "init": init, "seed": seed}
                    epochs = len(read_metrics(folder))
                    yield (
                        made | {"epochs": epochs} | json.loads((folder / "result.json").read_text())
                    )


def mean_of(values: Sequence[float]) -> str:
    """Return the mean over seeds ± its standard error; of one seed, its value."""
    mean = f"{statistics.fmean(values):.2f}".replace("-", "−")
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.2f}"


def cells_of(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Return the cells of one model, set and length, over the seeds that every init has."""
    of = {(run["init"], run["seed"]): run for run in runs}
    seeds = [seed for seed in SEEDS if all((init, seed) in of for init in INITS)]
    if not seeds:
        return []
    elbo = {init: [of[init, seed]["elbo"] for seed in seeds] for init in INITS}
    best = max(statistics.fmean(values) for values in elbo.values())
    bold = {init: "**" if statistics.fmean(elbo[init]) == best else "" for init in INITS}
    gains = [he - torch_s for he, torch_s in zip(elbo["he"], elbo["torch"], strict=True)]
    active = [statistics.fmean(of[init, seed]["active"] for seed in seeds) for init in INITS]
    return [
        str(len(seeds)), *(f"{bold[init]}{mean_of(elbo[init])}{bold[init]}" for init in INITS),
        mean_of(gains), ", ".join(f"{mean:.0f}" for mean in active),
    ]  # fmt: skip


def page_of(runs: Sequence[dict[str, Any]]) -> str:
    """Return the page with its table."""
    head = ("data", "model", "epochs", "seeds", *INITS, "gain", "active")
    rows = [head, ("---", "---", *["---:"] * (len(head) - 2))]
    for source, name in EPOCHS:
        some = [run for run in runs if (run["data"], run["model"]) == (source, name)]
        for epochs in sorted({run["epochs"] for run in some}):
            cells = cells_of([run for run in some if run["epochs"] == epochs])
            if cells:
                rows.append((DATA_TITLES.get(source, source), name.upper(), str(epochs), *cells))
    return PAGE.format(table="\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Also write the figures here.")
@click.option("--data-dir", type=click.Path(path_type=Path))
@click.option(
    "--only", help="Models and sets whose names, as in cnn-bvae mnist, hold this.", default=""
)
@click.option("--seeds", type=click.IntRange(1, len(SEEDS)), default=len(SEEDS))
def main(runs: Path, out: Path | None, data_dir: Path | None, only: str, seeds: int) -> None:
    """Train every model with every distribution of initial weights."""
    if not any(only in f"{name} {source}" for source, name in EPOCHS):
        raise click.BadParameter(f"no model and set has {only!r} in it.", param_hint="--only")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", CollapseWarning)
    for (source, name), epochs in EPOCHS.items():
        if only not in f"{name} {source}":
            continue
        for seed in SEEDS[:seeds]:
            for init in INITS:
                folder = runs / f"{name}-{source}-{init}-{seed}"
                if not (folder / "result.json").exists():
                    data = load_data(source, data_dir=data_dir)
                    trained(folder, data, name, init, seed, epochs)
                    click.echo(
                        f"{folder.name:32} {json.loads((folder / 'result.json').read_text())}"
                    )
                if out is not None:
                    found = list(finished(runs))
                    write_json(out, {"runs": found})
                    write_text(out.with_suffix(".md"), page_of(found))


if __name__ == "__main__":
    finish(main)
