"""The options of ``discretevae train``; ``compare`` has most of them too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import click

from discretevae.cli import arguments
from discretevae.cli.own_estimators import EstimatorName
from discretevae.config import (
    BINARIZE_MODES,
    COLOR_MODES,
    COLUMN_KINDS,
    DECODERS,
    INITS,
    NETWORKS,
    OBJECTIVE_NAMES,
    PRECISIONS,
    PRESETS,
    SCALE_MODES,
    STARTS,
    TABLE_HIDDEN,
    TABLE_LR,
    TrainConfig,
)
from discretevae.config.model_config import DEPTH, WIDTH

DEFAULTS = TrainConfig()
THE_ONE_OF_OUT = "<the one of --out>"
"""Value of ``--resume`` without a folder, which no path is: the folder that ``--out`` names."""


class Ints(click.ParamType[tuple[int, ...]]):
    """Whole numbers in one of the forms that a pattern allows, such as ``200,200`` or ``28x28``."""

    def __init__(self, name: str, pattern: str, examples: str) -> None:
        self.name, self.pattern, self.examples = name, pattern, examples

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Read the text; one without a number stands for none."""
        if not re.fullmatch(self.pattern, value):
            self.fail(f"{value!r} cannot be read. Write it like {self.examples}.", param, ctx)
        return tuple(map(int, re.findall("-?[0-9]+", value)))


WIDTHS = Ints("widths", r"none|-?[0-9]+( *, *-?[0-9]+)*", "1024, 200,200 or none")
SIZE = Ints("size", "[0-9]+x[0-9]+", "28x28")


def _own(help: str, **settings: Any) -> dict[str, Any]:  # noqa: A002 - click's name
    """Return settings of an option."""
    return {"help": help, **settings}


_OWN = {
    "preset": _own(
        "A model of the paper, which the options below change: "
        + "; ".join(f"{name}, {p.about} ({p.latent})" for name, p in PRESETS.items())
        + ".",
        default="fc-bvae",
        type=click.Choice(list(PRESETS)),
    ),
    "data": _own(
        "Data to learn from: digits, mnist, fashion-mnist, binarized-mnist; a file (.npy, .npz "
        "dense or sparse, .csv, .tsv, .parquet, IDX); or a folder of images, of .txt files or "
        "of .npy or .parquet shards.",
        default="digits",
        shell_complete=arguments.complete_data,
    ),
    "latent": _own(
        "The code: bernoulli:50, categorical:100, categorical:20x10 (20 variables of 10 "
        "categories), gaussian:16, several, such as categorical:10+gaussian:16, or a grid: "
        "bernoulli:9@8x8 is 9 bits at each of 8x8 places.  [default: the preset's]",
    ),
    "network": _own(
        "Encoder and decoder: mlp, fully connected; cnn, the paper's convolutions; resnet, "
        "residual convolutions, the one for a grid of codes.  [default: resnet for a grid, else "
        "the preset's]",
        type=click.Choice([name for name in NETWORKS if name != "custom"]),
    ),
    "quantizer": _own(
        "What the encoder's numbers are rounded to: vector:16, a learned codebook with a vector of "
        "16 numbers for each category; levels (of categories); signs or sphere (of bits).  "
        "[default: none]",
    ),
    "hidden": _own(
        "Widths of the encoder's hidden layers, mirrored by the decoder: 1024 or 200,200; none for "
        "linear networks. For an mlp.  [default: "
        f"{TABLE_HIDDEN[0]} under student, else the preset's]",
        type=WIDTHS,
    ),
    "decoder": _own(
        "Layers of the decoder: mirror, those of the encoder; or linear, whose weights say what "
        "each bit does to each feature. For an mlp.  [default: linear of counts, else "
        "mirror]",
        type=click.Choice(DECODERS),
    ),
    "width": _own(f"Channels of a resnet.  [default: {WIDTH}]", type=int),
    "depth": _own(
        "Residual blocks of a resnet at each size of the picture, in the encoder and in the "
        f"decoder.  [default: {DEPTH}]",
        type=int,
    ),
    "activation": _own(
        "Activation function of an mlp: relu, tanh, leaky-relu or leaky-relu:0.2.",
        default="relu",
    ),
    "init": _own(
        "Distribution of the initial weights: torch, as nn.Linear has it; glorot or he, uniform, "
        "with zero biases.  [default: he for a cnn, glorot for a resnet, else torch]",
        type=click.Choice(INITS),
    ),
    "objective": _own(
        "What is maximized: elbo, the ELBO; multi-sample, the S-sample bound; marginal, ln p(x) "
        "itself, for codes of at most 4,096 states; reweighted wake-sleep; jsa, joint stochastic "
        "approximation; vq, the loss of the VQ-VAE, which needs --quantizer; or semi-supervised: "
        "the first category of the code is the label, known of some rows.",
        type=click.Choice(OBJECTIVE_NAMES),
    ),
    "vq": _own(
        "With --objective vq: beta, the weight of the commitment; decay of the moving averages "
        "that the vectors follow, 0 for their gradient; revive, the share of the mean use below "
        "which a vector is moved; entropy, the weight of the code's information.",
    ),
    "condition": _own(
        "What the decoder is given: with label, that of the row leads its code, p(x|y, z), so that "
        "`sample --label` draws of a class. Where it is unknown it is inferred: --objective "
        "semi-supervised, with a category for each class before --latent.",
        default="none",
        type=click.Choice(["none", "label"]),
    ),
    "supervision": _own(
        "With --objective semi-supervised: alpha, the weight of the classification; consistency, "
        "that of the agreement between the labels of what the encoder is shown (see --augment and "
        "--target) and of what is explained; labels, the number of labels that are used, as many "
        "of each class, 0 for all.",
    ),
    "estimator": _own(
        "Gradient estimator of the encoder, NAME[:option=value,…], such as "
        "importance:proposal=tempered,tau=0.7 (the paper's) or rloo:samples=4; `discretevae "
        "estimators` lists them; or one of your own, ./file.py:Class[:option=value,…], which is "
        "imported. For a code of several parts, one for each discrete part: disarm+reinmax.  "
        "[default: exact for codes of at most 4,096 states, else disarm for bits, reinmax for "
        "categories]",
        type=EstimatorName(),
    ),
    "samples": _own("S, draws of z per row and step.  [default: the estimator's own]", type=int),
    "likelihood": _own(
        "p(x|z): auto, which is bernoulli for grey pictures and for 0 and 1, logistic for 8-bit "
        "colors, multinomial for counts, mixed for tables with texts or missing cells, student for "
        "other tables, else gaussian:learned; bernoulli or "
        "continuous-bernoulli for values in [0, 1]; "
        "beta-binomial or logistic for 8-bit values, color-logistic:5 for a pixel as a whole; "
        "for counts multinomial (a softmax over words), poisson or negative-binomial; "
        "for real values gaussian, with σ = 1, gaussian:0.1 with another σ, gaussian:learned with "
        "one for each feature, student with heavy tails and a σ that depends on the code; mixed: "
        "each column of a table by its kind, see --kind.",
        default="auto",
    ),
    "prior": _own(
        "p(z): fixed (uniform; standard normal for Gaussian codes), or learned: factorized, "
        "autoregressive, transformer:2x128 (layers and width; over places or variables), "
        "convolution:4x64 (over places), mixture:10 (for Gaussian codes).",
        default="fixed",
    ),
    "binarize": _own(
        "Grey values in [0, 1] as they are (none), 1 where x > 0.5 (threshold), or drawn from "
        "Bernoulli(x) every time a row is used (dynamic).",
        default="none",
        type=click.Choice(BINARIZE_MODES),
    ),
    "label": _own(
        "Column of a table that holds the classes, for scoring and for --objective "
        "semi-supervised; empty where unknown.  [default: one called label, target or class]",
    ),
    "row_id": _own(
        "Column of a table that names the rows.  [default: one that looks like row numbers]",
        metavar="COLUMN",
    ),
    "text": _own(
        "Column of a .csv or .tsv file whose words are counted, in place of all other columns; a "
        "folder of .txt files needs none.",
        metavar="COLUMN",
    ),
    "ignore": _own(
        "Column of a table to leave out; may be repeated.", multiple=True, metavar="COLUMN"
    ),
    "kind": _own(
        "Kind of a column of a table, COLUMN=KIND: "
        f"{', '.join(COLUMN_KINDS)}; may be repeated.  [default: seen from the values]",
        multiple=True,
        metavar="COLUMN=KIND",
    ),
    "window": _own(
        "The rows of a table are times, and so many consecutive ones are a row of the model; the "
        "last tenth is held out. An --id column of times has to be in order.  [default: none]",
        type=int,
    ),
    "stride": _own("With --window: of so many times one begins a window.", default=1, type=int),
    "scale": _own(
        "Scale of the columns of a table: standard (mean 0, deviation 1), minmax (0 to 1), "
        "columns (each by its kind) or none; auto takes columns for tables with texts or missing "
        "cells, and standardizes others that are neither pictures nor 0 and 1, for likelihoods of "
        "real values.",
        default="auto",
        type=click.Choice(SCALE_MODES),
    ),
    "divisor": _own(
        "One divisor for all values, in place of --scale: x = values / divisor.  [default: 255 for "
        "whole numbers up to 255]",
        type=float,
    ),
    "image_size": _own(
        "Height x width, such as 32x32, to which the images of a folder are resized. For a table: "
        "its rows are images of this size.  [default: as in the data]",
        type=SIZE,
    ),
    "color": _own(
        "Read images in files as rgb or as grey; auto: as grey if all of them are.",
        default="auto",
        type=click.Choice(COLOR_MODES),
    ),
    "skip_broken": _own(
        "Leave out the images of a folder that cannot be read, and list them.", is_flag=True
    ),
    "epochs": _own("Passes over the training rows."),
    "batch_size": _own(
        "Rows per step.  [default: 128; for small data about a tenth of the rows, at least 32]",
        type=int,
    ),
    "lr": _own(
        f"Learning rate of Adam.  [default: {TABLE_LR:g} under student, else {DEFAULTS.lr:g}]",
        default=None,
        type=float,
    ),
    "lr_schedule": _own(
        "Learning-rate schedule: constant; linear or cosine, which fall to 0; linear:0.4 falls "
        "over the last 40 % of the steps.",
    ),
    "warmup": _own("Steps over which the learning rate rises to its full value."),
    "clip": _own("Largest norm of the gradient.  [default: none]", type=float),
    "average": _own(
        "Decay per step, such as 0.999, of an exponential moving average of the weights, which is "
        "evaluated and saved in their place.  [default: none]",
        type=float,
    ),
    "start": _own(
        "Initial bias of the decoder's output: random, or such that it gives the mean of the "
        "training rows.",
        type=click.Choice(STARTS),
    ),
    "validation": _own(
        "Share of the training rows, below 1, that is held out and evaluated after every epoch.",
    ),
    "patience": _own(
        "Epochs without a better validation ELBO after which to stop and keep the best weights; "
        "needs --validation.  [default: never stop early]",
        type=int,
    ),
    "kl_warmup": _own(
        "Epochs over which the weight of the KL rises from 0 to 1; until then the loss is no "
        "bound.  [default: 1 from the start]",
        type=float,
    ),
    "free_bits": _own(
        "Nats of each latent variable's KL that are not penalized; the loss is then no bound.  "
        "[default: none]",
        type=float,
    ),
    "augment": _own(
        "Random distortions of the images that the encoder sees: light, strong, or settings such "
        "as shift=2,rotate=10,scale=0.1,shear=0.4. Of tables: hide=0.3, the chance of each cell to "
        "be shown as missing.  [default: none]",
    ),
    "target": _own(
        "What the decoder has to explain: row, the row itself; or neighbors:5x50, the row at the "
        "end of a random walk of 50 steps among 5 nearest neighbors. The code then keeps what a "
        "row has in common with others: for search, and for clusters.",
    ),
    "pretrain": _own(
        "With --prior mixture: epochs before the mixture is placed on clusters of the codes.",
    ),
    "precision": _own(
        "Precision of matrix products: float32; tf32, on a GPU; or bf16, for those of encoder and "
        "decoder. Evaluation is in float32.",
        type=click.Choice(PRECISIONS),
    ),
    "save_every": _own("Time or steps between checkpoints: 10s, 5min, 500steps.", default="10s"),
    "tensorboard": _own(
        "Write the metrics to OUT/tensorboard too; needs the extra 'tensorboard'.", is_flag=True
    ),
    "out": _own(
        "Run folder to make; one that holds a run already needs --resume.  "
        "[default: runs/DATA-LATENT, with a number if it exists]",
        type=arguments.PATH,
    ),
    "resume": _own(
        "Resume this run, or the one that --out names, which begins if it is not there; a larger "
        "--epochs prolongs it.",
        metavar="[RUN]",
        is_flag=False,
        flag_value=THE_ONE_OF_OUT,
        type=arguments.PATH,
    ),
    "extend": _own(
        "With --resume: learn from rows that were added to the data since, too. Rows that were "
        "held out stay held out.",
        is_flag=True,
    ),
    "new_data": _own(
        "With --resume: go on with data that are not those of the run; they are split anew.",
        is_flag=True,
    ),
}
"""Settings of the options by name; those of a field of `TrainConfig` have the field's default."""


def _option(name: str) -> arguments.Decorator:
    default = getattr(DEFAULTS, name, None)
    if not isinstance(default, (int, float, type(None))):
        default = str(default)  # a spec by its spelling
    settings: dict[str, Any] = {"default": default} | _OWN[name]
    if name == "row_id":
        return arguments.option("--id", to=name, **settings)
    return arguments.option(f"--{name.replace('_', '-')}", **settings)


_OPTIONS = {name: _option(name) for name in _OWN} | {
    "header": arguments.option(
        "--header/--no-header",
        "Whether the first line of a text table holds names.  [default: seen from the line]",
    ),
    "graph": arguments.option(
        "--graph/--no-graph",
        "On a GPU: record the step once as a CUDA graph, and replay it.",
        DEFAULTS.graph,
    ),
    "seed": arguments.seed,
    "device": arguments.device,
    "data_dir": arguments.data_dir,
    "json": arguments.as_json,
}

ALL = tuple(_OPTIONS)
"""Names of the options, in the order of the help."""


def train_options(names: Iterable[str] = ALL) -> arguments.Decorator:
    """Return a decorator that gives a command some of the options."""

    def decorate(function: Any) -> Any:
        for name in reversed(list(names)):
            function = _OPTIONS[name](function)
        return function

    return decorate
