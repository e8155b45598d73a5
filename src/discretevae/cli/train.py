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
from discretevae.cli.train_options import DEFAULTS, HERE, train_options
from discretevae.cli.training_bars import TrainingBars
from discretevae.config import RunConfig, SaveEvery, TrainConfig
from discretevae.errors import ConfigError, ObjectiveWarning, TrainingInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from discretevae.data import Dataset
    from discretevae.experiments.run import RunResult
    from discretevae.run_folder.history import EpochMetrics
    from discretevae.system.ranks import Ranks
    from discretevae.training import Method, Progress

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
@train_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train a model and leave weights, metrics and pictures in a run folder.

    With no option: 50 bits on scikit-learn's digits, in under a minute. At the end the test rows
    are evaluated; likelihoods are in nats per row. Ctrl-C saves the run and says how to go on.
    Started by torchrun, several processes train one model together, on one machine or on many.
    """
    from discretevae.system.ranks import joined

    save_every = SaveEvery.of(options["save_every"])
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
    from discretevae.experiments.run import run
    from discretevae.run_folder.folder import free_folder, prepare_folder

    out: Path | None = options["out"]
    resume = options["resume"] is not None
    if resume:
        out = _folder_to_resume(options["resume"], out)
        config, data, method = _resumed(ctx, out, options, ranks)
    else:
        if out is not None and ranks.is_first:
            prepare_folder(out, resume=False)
        config, data, method = _fresh(options, ranks)
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
            method=method,
            save_every=save_every,
            progress=told,
            evaluating=bars.evaluating,
        )
    if result is None:
        return
    if options["as_json"]:
        common.print_json(result.to_dict())
    else:
        _print_summary(result, config, data)


def _fresh(options: dict[str, Any], ranks: Ranks) -> tuple[RunConfig, Dataset, Method | None]:
    """Configuration and data of a new run. All that is wrong with the options is said at once."""
    from discretevae.training import choose_method

    asked, training, method = Asked(options), DEFAULTS, None
    with asked.collected():
        names = [f.name for f in dataclasses.fields(TrainConfig)]
        training = TrainConfig(**{name: options[name] for name in names})
        if asked.family is not None:
            method = choose_method(asked.family, training, device=ranks.device, ranks=ranks)
    asked.require()
    data = asked.load()
    return asked.run_config(data, training), data, method


def _resumed(
    ctx: click.Context, out: Path, options: dict[str, Any], ranks: Ranks
) -> tuple[RunConfig, Dataset, Method | None]:
    """Configuration and data of the run in ``out``; only what may change may be given anew."""
    from discretevae.data import BUILTIN_NAMES, load_data
    from discretevae.experiments.refit import PRIOR
    from discretevae.families import family_of
    from discretevae.run_folder.checkpoint import load_config
    from discretevae.training import choose_method

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
    method = choose_method(
        family_of(config.model.latent), config.training, device=ranks.device, ranks=ranks
    )
    is_file = config.data.source not in BUILTIN_NAMES
    data = load_data(
        config.data.source,
        data_dir=options["data_dir"],
        image_size=config.data.image_size,
        divisor=config.data.divisor if is_file else None,
        progress=True,
    )
    return config, data, method


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
    from discretevae.training.tensorboard import writer

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
