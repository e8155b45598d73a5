"""``discretevae train``."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from discretevae.cli import common
from discretevae.cli.model_options import Asked
from discretevae.cli.training_bars import TrainingBars
from discretevae.config import (
    BINARIZE_MODES,
    OBJECTIVES,
    PRECISIONS,
    PRESETS,
    STARTS,
    RunConfig,
    SaveEvery,
    TrainConfig,
    parse_save_every,
)
from discretevae.errors import ConfigError, ObjectiveWarning, TrainingInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from discretevae.data import Dataset
    from discretevae.history import EpochMetrics
    from discretevae.ranks import Ranks
    from discretevae.runs import RunResult
    from discretevae.training import Progress

DEFAULTS = TrainConfig()
HERE = "."
"""What ``--resume`` without a folder stands for: the folder that ``--out`` names."""

MAY_CHANGE = {
    "epochs", "device", "data_dir", "out", "resume", "as_json", "save_every", "tensorboard",
    "graph",
}  # fmt: skip
"""Options that may be given anew when a run is resumed."""


@click.command(
    "train",
    epilog=common.example(
        "discretevae train --data digits --latent bernoulli:16 --binarize threshold "
        "--out runs/digits"
    ),
)
@click.option(
    "--preset",
    "preset_name",
    type=click.Choice(list(PRESETS)),
    default="fc-bvae",
    show_default=True,
    help="A model of the paper, which the options below change: "
    + "; ".join(f"{name}, {p.about} ({p.latent})" for name, p in PRESETS.items())
    + ".",
)
@click.option(
    "--data",
    "source",
    default="digits",
    shell_complete=common.complete_data,
    show_default=True,
    help="What to learn from: digits, mnist, fashion-mnist, binarized-mnist; a file (.npy, .npz "
    "dense or sparse, .csv, .tsv, .parquet, IDX); or a folder of images or of .npy or .parquet "
    "shards.",
)
@click.option(
    "--latent",
    help="The code: bernoulli:50, categorical:100, categorical:20x10 (20 variables of 10 "
    "categories), gaussian:16, or several, such as categorical:10+gaussian:16.  "
    "[default: the preset's]",
)
@click.option(
    "--hidden",
    help="Widths of the encoder's hidden layers, mirrored by the decoder: 1024 or 200,200; none "
    "for linear networks. Not for cnn presets.  [default: the preset's]",
)
@click.option(
    "--activation",
    default="relu",
    show_default=True,
    help="What stands between the layers: relu, tanh, leaky-relu or leaky-relu:0.2. Not for cnn "
    "presets.",
)
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    default="elbo",
    show_default=True,
    help="What is maximized: elbo, the ELBO; multi-sample, the S-sample bound; marginal, ln p(x) "
    "itself, for codes of at most 4,096 states; or reweighted wake-sleep.",
)
@click.option(
    "--estimator",
    help="How the encoder's gradient is estimated, NAME[:option=value,…], such as "
    "importance:proposal=tempered,tau=0.7 (the paper's) or rloo:samples=4; `discretevae "
    "estimators` lists them. Of a code of several parts, one for each discrete part: "
    "disarm+reinmax.  [default: exact for codes of at most 4,096 states, else disarm for bits, "
    "reinmax for categories]",
)
@click.option(
    "--samples", type=int, help="S, draws of z per row and step.  [default: the estimator's own]"
)
@click.option(
    "--likelihood",
    default="bernoulli",
    show_default=True,
    help="p(x|z): bernoulli or continuous-bernoulli for values in [0, 1]; beta-binomial or "
    "logistic for 8-bit values; for real values gaussian, with σ = 1, gaussian:0.1 with another σ, "
    "gaussian:learned with one for each feature.",
)
@click.option(
    "--prior",
    default="fixed",
    show_default=True,
    help="p(z): fixed (uniform; standard normal for Gaussian codes), or learned: factorized, "
    "autoregressive, mixture:10 (for Gaussian codes), layer:200 (a second layer, for bits).",
)
@click.option(
    "--binarize",
    type=click.Choice(BINARIZE_MODES),
    default="none",
    show_default=True,
    help="Grey values in [0, 1] as they are (none), 1 where x > 0.5 (threshold), or drawn from "
    "Bernoulli(x) every time a row is met (dynamic).",
)
@click.option(
    "--image-size",
    help="Height x width, such as 32x32, to which a folder of images is resized; of a table, says "
    "that its rows are pictures of this size.  [default: as the data say]",
)
@click.option(
    "--epochs",
    type=int,
    default=DEFAULTS.epochs,
    show_default=True,
    help="Passes over the training rows.",
)
@click.option(
    "--batch-size",
    type=int,
    help="Rows per step.  [default: 128; of small data about a tenth of the rows, at least 32]",
)
@click.option("--lr", type=float, default=DEFAULTS.lr, show_default=True, help="Step size of Adam.")
@click.option(
    "--lr-schedule",
    default=DEFAULTS.lr_schedule,
    show_default=True,
    help="How the step size falls to 0: constant (not at all), linear, cosine; linear:0.4 over the "
    "last 40 % of the steps.",
)
@click.option(
    "--warmup",
    type=int,
    default=0,
    show_default=True,
    help="Steps over which the step size first rises.",
)
@click.option("--clip", type=float, help="The largest norm of the whole gradient.  [default: none]")
@click.option(
    "--average",
    type=float,
    help="Evaluate and keep a moving average of the weights with this decay per step, such as "
    "0.999.  [default: none]",
)
@click.option(
    "--start",
    type=click.Choice(STARTS),
    default=DEFAULTS.start,
    show_default=True,
    help="Where the decoder's last bias starts: random, or where it gives the mean of the training "
    "rows.",
)
@click.option(
    "--validation",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of the training rows, below 1, that is held out and measured after every epoch.",
)
@click.option(
    "--patience",
    type=int,
    help="Epochs without a better ELBO of the validation rows after which to stop, and keep the "
    "best weights; needs --validation.  [default: never stop]",
)
@click.option(
    "--kl-warmup",
    type=float,
    help="Epochs over which the weight of the KL rises from 0 to 1; the loss is no bound "
    "meanwhile.  [default: it is 1 from the start]",
)
@click.option(
    "--free-bits",
    type=float,
    help="Nats of each latent variable's KL that cost nothing; the loss is then no bound.  "
    "[default: none]",
)
@click.option(
    "--augment",
    help="How pictures are distorted at random before the encoder sees them: light, strong, or "
    "figures such as shift=2,rotate=10,scale=0.1,shear=0.4.  [default: not at all]",
)
@click.option(
    "--target",
    default=DEFAULTS.target,
    show_default=True,
    help="What the decoder explains: row, the row itself; or neighbors:5x50, the row at which a "
    "random walk of 50 steps among 5 nearest neighbors ends. The code then keeps what a row has in "
    "common with others: for search, and for clusters.",
)
@click.option(
    "--pretrain",
    type=int,
    default=0,
    show_default=True,
    help="Of --prior mixture: epochs before the mixture is placed on clusters of the codes.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=DEFAULTS.precision,
    show_default=True,
    help="What products are formed in: float32 itself; tf32, on a GPU; or bf16, those of encoder "
    "and decoder in bfloat16. What is evaluated is float32.",
)
@click.option(
    "--graph/--no-graph",
    default=DEFAULTS.graph,
    show_default=True,
    help="On a GPU: record the step once as a CUDA graph, and replay it.",
)
@common.seed_option
@common.device_option
@common.data_dir_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder to make; one that holds a run already is refused.  "
    "[default: runs/DATA-LATENT, with a number if it is there]",
)
@click.option(
    "--resume",
    metavar="[RUN]",
    is_flag=False,
    flag_value=HERE,
    type=click.Path(path_type=Path),
    help="Go on with this run, or with the one that --out names; a larger --epochs prolongs it.",
)
@click.option(
    "--save-every",
    default="10s",
    show_default=True,
    help="How often to save along the way: 10s, 5min, 500steps.",
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Write the metrics to OUT/tensorboard too; needs the extra 'tensorboard'.",
)
@common.json_option
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train a model and leave weights, metrics and pictures in a run folder.

    With no option: 50 bits on scikit-learn's digits, in under a minute. At the end the test rows
    are evaluated; likelihoods are in nats per row. Ctrl-C saves the run and says how to go on.
    Started by torchrun, several processes train one model together, on one machine or on many.
    """
    from discretevae.ranks import joined

    save_every = parse_save_every(options["save_every"])
    with joined(common.check_device(options["device"])) as ranks:
        try:
            _train(ctx, options, save_every, ranks)
        except TrainingInterrupted:
            if ranks.is_first:
                raise
            ctx.exit(130)  # one of them tells


def _train(
    ctx: click.Context, options: dict[str, Any], save_every: SaveEvery, ranks: Ranks
) -> None:
    from discretevae.runs import free_folder, prepare_folder, run

    out: Path | None = options["out"]
    resume = options["resume"] is not None
    if resume:
        out = _folder_to_resume(options["resume"], out)
        config, data = _resumed(ctx, out, options)
        _require_device(config.training, ranks)
    else:
        if out is not None and ranks.is_first:
            prepare_folder(out, resume=False)
        config, data = _fresh(options, ranks)
        out = out or free_folder(Path("runs"), config)
    ranks.wait()  # all have looked at the folder before the first of them writes to it
    _say_what_is_no_bound(config, ranks)
    with TrainingBars(config, data, ranks) as bars, _tensorboard(options, out, ranks) as board:

        def told(progress: Progress) -> None:
            bars.training(progress)
            if progress.metrics is not None:
                board(progress.metrics)

        result = run(
            data,
            config,
            out=out,
            resume=resume,
            device=str(ranks.device),
            save_every=save_every,
            ranks=ranks,
            progress=told,
            evaluating=bars.evaluating,
        )
    if result is None:
        return
    if options["as_json"]:
        common.print_json(result.to_dict())
    else:
        _print_summary(result, config, data)


def _fresh(options: dict[str, Any], ranks: Ranks) -> tuple[RunConfig, Dataset]:
    """Configuration and data of a new run. All that is wrong with the options is said at once."""
    from discretevae.objectives import choose_estimator
    from discretevae.training.captured import check_member

    asked, training = Asked(options), DEFAULTS
    with asked.collected():
        names = [f.name for f in dataclasses.fields(TrainConfig)]
        training = TrainConfig(**{name: options[name] for name in names})
        if asked.family is not None:
            estimator = choose_estimator(asked.family, training)
            if training.graph:
                check_member(estimator)
    with asked.collected():
        _require_device(training, ranks)
    asked.require()
    data = asked.load()
    return asked.run_config(data, training), data


def _require_device(training: TrainConfig, ranks: Ranks) -> None:
    """Refuses what the device cannot do, before there is a folder."""
    from discretevae.precision import check_precision
    from discretevae.training.captured import check_graph

    check_precision(training.precision, ranks.device)
    if training.graph:
        check_graph(ranks.device, ranks)


def _resumed(ctx: click.Context, out: Path, options: dict[str, Any]) -> tuple[RunConfig, Dataset]:
    """Configuration and data of the run in ``out``; only what may change may be given anew."""
    from discretevae.checkpoint import load_config
    from discretevae.data import BUILTIN_NAMES, load_data
    from discretevae.refitting import PRIOR

    config = load_config(out)
    if (out / PRIOR).exists():
        raise ConfigError(
            f"{out}: its prior was fitted afterwards, so there is no training to go on with. "
            "Resume the run that it was fitted to."
        )
    given = {
        name
        for name in options
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT and name not in MAY_CHANGE
    }
    if given:
        flags = {p.name: p.opts[-1] for p in ctx.command.params}
        names = ", ".join(sorted(flags[name] for name in given))
        raise ConfigError(
            f"{names} cannot be changed when a run is resumed. Leave out, or start a new run."
        )
    for name in ("epochs", "graph"):
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            training = dataclasses.replace(config.training, **{name: options[name]})
            config = dataclasses.replace(config, training=training)
    is_file = config.data.source not in BUILTIN_NAMES
    data = load_data(
        config.data.source,
        data_dir=options["data_dir"],
        image_size=config.data.image_size,
        divisor=config.data.divisor if is_file else None,
        progress=True,
    )
    return config, data


def _folder_to_resume(resume: Path, out: Path | None) -> Path:
    if str(resume) != HERE:
        if out is not None and out != resume:
            raise ConfigError(f"--resume {resume} and --out {out} differ. Give one of them.")
        return resume
    if out is None:
        raise ConfigError("--resume needs a run. Write --resume RUN, or name it with --out.")
    return out


def _say_what_is_no_bound(config: RunConfig, ranks: Ranks) -> None:
    """What is off by default and changes the objective is said loudly."""
    training, said = config.training, []
    if training.kl_warmup is not None:
        said.append(f"the weight of the KL rises to 1 over {training.kl_warmup:g} epochs")
    if training.free_bits is not None:
        said.append(f"{training.free_bits:g} nats of each latent variable's KL cost nothing")
    if said and ranks.is_first:
        warnings.warn(
            f"{' and '.join(said)}: the loss is no bound on ln p(x). What is evaluated is the "
            "ELBO itself.",
            ObjectiveWarning,
            stacklevel=2,
        )


@contextlib.contextmanager
def _tensorboard(
    options: dict[str, Any], out: Path, ranks: Ranks
) -> Iterator[Callable[[EpochMetrics], object]]:
    """What takes the metrics of an epoch to TensorBoard's own files; nothing unless asked for."""
    if not options["tensorboard"] or not ranks.is_first:
        yield lambda metrics: None
        return
    from discretevae.tensorboard import writer

    with writer(out / "tensorboard") as board:
        yield board


def _print_summary(result: RunResult, config: RunConfig, data: Dataset) -> None:
    from discretevae.cli.evaluate import evaluation_table
    from discretevae.families import family_of
    from discretevae.objectives import estimator_name

    console, table = evaluation_table(result.evaluation, config.model, title=None)
    training = config.training
    estimator = estimator_name(family_of(config.model.latent), training)
    how = estimator if training.objective == "elbo" else f"{training.objective}, {estimator}"
    if training.precision != DEFAULTS.precision:
        how += f" · {training.precision}"
    console.print(
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test rows of "
        f"{data.n_features} values · {config.model.latent} · {how} · "
        f"{len(result.history)} epochs, {result.history[-1].seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
    console.print(table)
    console.print(f"run      {result.folder}/", highlight=False, soft_wrap=True)
    for path in result.figures:
        console.print(f"picture  {path}", highlight=False, soft_wrap=True)
    console.print(f"next     discretevae evaluate {result.folder}", highlight=False, soft_wrap=True)


__all__ = ["command"]
