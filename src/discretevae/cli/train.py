"""``discretevae train``."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import check_device, load_dataset_of
from discretevae.cli.model_options import (
    check_model,
    conditioned,
    load_dataset,
    run_config,
    train_config,
)
from discretevae.cli.resuming import resumed_config
from discretevae.cli.train_options import DEFAULTS, THE_ONE_OF_OUT, train_options
from discretevae.cli.training_bars import training_bar
from discretevae.config import RunConfig, SaveEvery, TrainConfig
from discretevae.config.checks import Problems
from discretevae.errors import ConfigError, ObjectiveWarning, TrainingInterrupted

if TYPE_CHECKING:
    from discretevae.data import Dataset
    from discretevae.experiments.run import RunResult
    from discretevae.system.ranks import Ranks
    from discretevae.training import Method, Progress


@arguments.command(
    "train", "--data digits --latent bernoulli:16 --binarize threshold --out runs/digits"
)
@train_options()
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train a model and leave weights, metrics and pictures in a run folder.

    With no option: 50 bits on scikit-learn's digits, in under a minute. At the end the test rows
    are evaluated; likelihoods are in nats per row. Ctrl-C saves the run and says how to go on.
    Started by torchrun, several processes train one model together, on one machine or on many.
    """
    from discretevae.system.ranks import joined

    save_every = SaveEvery.of(options["save_every"])
    with joined(check_device(options["device"])) as ranks:
        try:
            _train(ctx, options, save_every, ranks)
        except TrainingInterrupted:
            if ranks.is_first:
                raise
            ctx.exit(130)  # the first process prints the message


def _train(
    ctx: click.Context, options: dict[str, Any], save_every: SaveEvery, ranks: Ranks
) -> None:
    from discretevae.experiments.run import run
    from discretevae.run_folder.folder import free_folder, prepare_folder
    from discretevae.run_folder.saved_run import CONFIG
    from discretevae.training.tensorboard import writer

    out, resume = _folder(options["resume"], options["out"]), options["resume"] is not None
    if out is not None and options["out"] is not None:
        # a job script gives --out and --resume from its first start on, when there is no run yet
        resume = resume and (out / CONFIG).exists()
    if out is not None and resume:
        config, data, method = _resumed(ctx, out, options, ranks)
    else:
        if out is not None and ranks.is_first:
            prepare_folder(out, resume=False)
        if options["extend"] or options["new_data"]:
            raise ConfigError("--extend and --new-data are for a run that is resumed.")
        config, data, method = _fresh(options, ranks)
        out = out or free_folder(Path("runs"), config)
    ranks.wait()  # all have looked at the folder before the first of them writes to it
    if ranks.is_first:
        _warn_of_no_bound(config.training)
        _show_columns(data)
    has_board = options["tensorboard"] and ranks.is_first
    with (
        training_bar(config, data, is_first=ranks.is_first) as (training, evaluating),
        writer(out / "tensorboard") if has_board else contextlib.nullcontext() as board,
    ):
        has_trained = False

        def progress(now: Progress) -> None:
            nonlocal has_trained
            has_trained = True
            training(now)
            if board is not None and now.metrics is not None:
                board(now.metrics)

        result = run(
            data,
            config,
            out=out,
            resume=resume,
            new_data=options["new_data"],
            method=method,
            save_every=save_every,
            progress=progress,
            evaluating=evaluating,
        )
    if result is None:
        return
    if not has_trained:
        n_epochs = len(result.history)
        what = "all" if n_epochs >= config.training.epochs else "training stopped early, and all"
        click.echo(f"{out}: {what} {n_epochs} epochs are done already.", err=True)
    if options["as_json"]:
        outputs.print_json(result.to_dict())
    else:
        _print_summary(result, config, data)


def _fresh(options: dict[str, Any], ranks: Ranks) -> tuple[RunConfig, Dataset, Method | None]:
    """Return configuration, data and method of a new run."""
    from discretevae.system.precision import check_precision
    from discretevae.training import choose_method

    problems, family, training, method = Problems(), None, DEFAULTS, None
    data = None
    if options["condition"] == "label":
        data = load_dataset(options)  # its classes are part of the code
        options = conditioned(options, data)
    with problems:
        family = check_model(options)
    with problems:
        training = train_config(options)
    with problems:
        if family is None:
            check_precision(training.precision, ranks.device)
        else:
            method = choose_method(family, training, device=ranks.device, ranks=ranks)
    problems.require_none()
    data = data or load_dataset(options)
    config = run_config(options, data, training)
    return config, data, None if method is None else replace(method, config=config.training)


def _resumed(
    ctx: click.Context, out: Path, options: dict[str, Any], ranks: Ranks
) -> tuple[RunConfig, Dataset, Method | None]:
    """Return configuration, data and method of the run in ``out``."""
    from discretevae.experiments.refit import PRIOR
    from discretevae.families import family_of
    from discretevae.run_folder.saved_run import load_config, load_schema
    from discretevae.training import choose_method

    config = load_config(out)
    if (out / PRIOR).exists():
        raise ConfigError(
            f"{out}: its prior was fitted afterwards, so there is no training to go on with. "
            "Resume the run that it was fitted to."
        )
    given = {
        name: value
        for name, value in options.items()
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if given.get("condition") == "label":
        given["objective"] = "semi-supervised"
        if "latent" in given:
            given["latent"] = f"{config.model.latent.all_parts[0]}+{given['latent']}"
    config = resumed_config(config, given, out)
    family = family_of(config.model.latent)
    method = choose_method(family, config.training, device=ranks.device, ranks=ranks)
    how = {name: options[name] for name in ("extend", "new_data")}
    data = load_dataset_of(config.data, load_schema(out, config), options["data_dir"], **how)
    return config, data, method


def _folder(resume: Path | None, out: Path | None) -> Path | None:
    """Return the folder that ``--resume`` and ``--out`` name, or None."""
    if resume is None:
        return out
    if str(resume) != THE_ONE_OF_OUT:
        if out is not None and out.absolute() != resume.absolute():
            raise ConfigError(f"--resume {resume} and --out {out} differ. Give one of them.")
        return resume
    if out is None:
        raise ConfigError("--resume needs a run. Write --resume RUN, or name it with --out.")
    return out


def _warn_of_no_bound(training: TrainConfig) -> None:
    """Warn of options that make the loss something else than a bound (`ObjectiveWarning`)."""
    reasons = []
    if training.kl_warmup is not None:
        reasons.append(f"the weight of the KL rises to 1 over {training.kl_warmup:g} epochs")
    if training.free_bits is not None:
        reasons.append(f"{training.free_bits:g} nats of each latent variable's KL cost nothing")
    if reasons:
        warnings.warn(
            f"{' and '.join(reasons)}: the loss is no bound on ln p(x). What is evaluated is the "
            "ELBO itself.",
            ObjectiveWarning,
            stacklevel=2,
        )


def _show_columns(data: Dataset) -> None:
    """Print the kinds of a table's columns, before any of them is learned."""
    rows = data.train
    lines = [] if rows.scale is None else rows.scale.described(rows.columns)
    if lines:
        click.echo(f"{rows.name}: columns by kind; --kind COLUMN=KIND changes one", err=True)
    for line in lines:
        click.echo(f"  {line}", err=True)


def _print_summary(result: RunResult, config: RunConfig, data: Dataset) -> None:
    from discretevae.cli.evaluate import evaluation_lines
    from discretevae.families import family_of
    from discretevae.objectives import estimator_name

    training = config.training
    method = estimator_name(family_of(config.model.latent), training)
    if training.objective != "elbo":
        method = f"{training.objective}, {method}"
    if training.precision != DEFAULTS.precision:
        method += f" · {training.precision}"
    click.echo(
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test rows of "
        f"{data.n_features} values · {config.model.latent} · {method} · "
        f"{len(result.history)} epochs, {result.history[-1].seconds:.0f} s"
    )
    outputs.print_table(evaluation_lines(result.evaluation, config.model), has_head=False)
    click.echo(f"run      {result.folder}/")
    for path in result.figures:
        outputs.print_paths(picture=path)
    click.echo(f"next     discretevae evaluate {result.folder}")
