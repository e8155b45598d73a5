"""The options of ``discretevae train``; ``sweep`` and ``compare`` have most of them too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from discretevae.cli import common
from discretevae.config import (
    BINARIZE_MODES,
    INITS,
    OBJECTIVE_NAMES,
    PRECISIONS,
    PRESETS,
    STARTS,
    TrainConfig,
)

F = TypeVar("F", bound=Callable[..., Any])

DEFAULTS = TrainConfig()
HERE = "."
"""What ``--resume`` without a folder stands for: the folder that ``--out`` names."""

_OPTIONS = (
    click.option(
        "--preset",
        "preset_name",
        type=click.Choice(list(PRESETS)),
        default="fc-bvae",
        show_default=True,
        help="A model of the paper, which the options below change: "
        + "; ".join(f"{name}, {p.about} ({p.latent})" for name, p in PRESETS.items())
        + ".",
    ),
    click.option(
        "--data",
        "source",
        default="digits",
        shell_complete=common.complete_data,
        show_default=True,
        help="What to learn from: digits, mnist, fashion-mnist, binarized-mnist; a file (.npy, "
        ".npz dense or sparse, .csv, .tsv, .parquet, IDX); or a folder of images or of .npy or "
        ".parquet shards.",
    ),
    click.option(
        "--latent",
        help="The code: bernoulli:50, categorical:100, categorical:20x10 (20 variables of 10 "
        "categories), gaussian:16, or several, such as categorical:10+gaussian:16.  "
        "[default: the preset's]",
    ),
    click.option(
        "--hidden",
        help="Widths of the encoder's hidden layers, mirrored by the decoder: 1024 or 200,200; "
        "none for linear networks. Not for cnn presets.  [default: the preset's]",
    ),
    click.option(
        "--activation",
        default="relu",
        show_default=True,
        help="What stands between the layers: relu, tanh, leaky-relu or leaky-relu:0.2. Not for "
        "cnn presets.",
    ),
    click.option(
        "--init",
        type=click.Choice(INITS),
        help="How initial weights are drawn: torch, as nn.Linear does; glorot or he, uniform, with "
        "zero biases.  [default: the preset's]",
    ),
    click.option(
        "--objective",
        type=click.Choice(OBJECTIVE_NAMES),
        default="elbo",
        show_default=True,
        help="What is maximized: elbo, the ELBO; multi-sample, the S-sample bound; marginal, ln "
        "p(x) itself, for codes of at most 4,096 states; or reweighted wake-sleep.",
    ),
    click.option(
        "--estimator",
        help="How the encoder's gradient is estimated, NAME[:option=value,…], such as "
        "importance:proposal=tempered,tau=0.7 (the paper's) or rloo:samples=4; `discretevae "
        "estimators` lists them. Of a code of several parts, one for each discrete part: "
        "disarm+reinmax.  [default: exact for codes of at most 4,096 states, else disarm for bits, "
        "reinmax for categories]",
    ),
    click.option(
        "--samples",
        type=int,
        help="S, draws of z per row and step.  [default: the estimator's own]",
    ),
    click.option(
        "--likelihood",
        default="bernoulli",
        show_default=True,
        help="p(x|z): bernoulli or continuous-bernoulli for values in [0, 1]; beta-binomial or "
        "logistic for 8-bit values; for real values gaussian, with σ = 1, gaussian:0.1 with "
        "another σ, gaussian:learned with one for each feature.",
    ),
    click.option(
        "--prior",
        default="fixed",
        show_default=True,
        help="p(z): fixed (uniform; standard normal for Gaussian codes), or learned: factorized, "
        "autoregressive, mixture:10 (for Gaussian codes), layer:200 (a second layer, for bits).",
    ),
    click.option(
        "--binarize",
        type=click.Choice(BINARIZE_MODES),
        default="none",
        show_default=True,
        help="Grey values in [0, 1] as they are (none), 1 where x > 0.5 (threshold), or drawn from "
        "Bernoulli(x) every time a row is met (dynamic).",
    ),
    click.option(
        "--image-size",
        help="Height x width, such as 32x32, to which a folder of images is resized; of a table, "
        "says that its rows are pictures of this size.  [default: as the data say]",
    ),
    click.option(
        "--epochs",
        type=int,
        default=DEFAULTS.epochs,
        show_default=True,
        help="Passes over the training rows.",
    ),
    click.option(
        "--batch-size",
        type=int,
        help="Rows per step.  [default: 128; of small data about a tenth of the rows, at least 32]",
    ),
    click.option(
        "--lr", type=float, default=DEFAULTS.lr, show_default=True, help="Step size of Adam."
    ),
    click.option(
        "--lr-schedule",
        default=str(DEFAULTS.lr_schedule),
        show_default=True,
        help="How the step size falls to 0: constant (not at all), linear, cosine; linear:0.4 over "
        "the last 40 % of the steps.",
    ),
    click.option(
        "--warmup",
        type=int,
        default=0,
        show_default=True,
        help="Steps over which the step size first rises.",
    ),
    click.option(
        "--clip", type=float, help="The largest norm of the whole gradient.  [default: none]"
    ),
    click.option(
        "--average",
        type=float,
        help="Evaluate and keep a moving average of the weights with this decay per step, such as "
        "0.999.  [default: none]",
    ),
    click.option(
        "--start",
        type=click.Choice(STARTS),
        default=DEFAULTS.start,
        show_default=True,
        help="Where the decoder's last bias starts: random, or where it gives the mean of the "
        "training rows.",
    ),
    click.option(
        "--validation",
        type=float,
        default=0.0,
        show_default=True,
        help="Share of the training rows, below 1, that is held out and measured after every epoch."
        "",
    ),
    click.option(
        "--patience",
        type=int,
        help="Epochs without a better ELBO of the validation rows after which to stop, and keep "
        "the best weights; needs --validation.  [default: never stop]",
    ),
    click.option(
        "--kl-warmup",
        type=float,
        help="Epochs over which the weight of the KL rises from 0 to 1; the loss is no bound "
        "meanwhile.  [default: it is 1 from the start]",
    ),
    click.option(
        "--free-bits",
        type=float,
        help="Nats of each latent variable's KL that cost nothing; the loss is then no bound.  "
        "[default: none]",
    ),
    click.option(
        "--augment",
        help="How pictures are distorted at random before the encoder sees them: light, strong, or "
        "figures such as shift=2,rotate=10,scale=0.1,shear=0.4.  [default: not at all]",
    ),
    click.option(
        "--target",
        default=str(DEFAULTS.target),
        show_default=True,
        help="What the decoder explains: row, the row itself; or neighbors:5x50, the row at which "
        "a random walk of 50 steps among 5 nearest neighbors ends. The code then keeps what a row "
        "has in common with others: for search, and for clusters.",
    ),
    click.option(
        "--pretrain",
        type=int,
        default=0,
        show_default=True,
        help="Of --prior mixture: epochs before the mixture is placed on clusters of the codes.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=DEFAULTS.precision,
        show_default=True,
        help="What products are formed in: float32 itself; tf32, on a GPU; or bf16, those of "
        "encoder and decoder in bfloat16. What is evaluated is float32.",
    ),
    click.option(
        "--graph/--no-graph",
        default=DEFAULTS.graph,
        show_default=True,
        help="On a GPU: record the step once as a CUDA graph, and replay it.",
    ),
    common.seed_option,
    common.device_option,
    common.data_dir_option,
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        help="Run folder to make; one that holds a run already is refused.  "
        "[default: runs/DATA-LATENT, with a number if it is there]",
    ),
    click.option(
        "--resume",
        metavar="[RUN]",
        is_flag=False,
        flag_value=HERE,
        type=click.Path(path_type=Path),
        help="Go on with this run, or with the one that --out names; a larger --epochs prolongs it."
        "",
    ),
    click.option(
        "--save-every",
        default="10s",
        show_default=True,
        help="How often to save along the way: 10s, 5min, 500steps.",
    ),
    click.option(
        "--tensorboard",
        is_flag=True,
        help="Write the metrics to OUT/tensorboard too; needs the extra 'tensorboard'.",
    ),
    common.json_option,
)


def train_options(function: F) -> F:
    """Gives a command all of them, in the order of the help."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


__all__ = ["DEFAULTS", "HERE", "train_options"]
