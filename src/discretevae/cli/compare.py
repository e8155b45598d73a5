"""``discretevae compare``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.ending import in_options
from discretevae.cli.inputs import check_device
from discretevae.cli.model_options import check_model, load_dataset, run_config, train_config
from discretevae.cli.own_estimators import EstimatorName
from discretevae.cli.train_options import train_options
from discretevae.config import RunConfig, TrainConfig
from discretevae.config.checks import Problems
from discretevae.errors import TrainingInterrupted, count

if TYPE_CHECKING:
    from discretevae.data import Dataset
    from discretevae.experiments.comparison_result import Comparison

OF_TRAIN = (
    "preset", "data", "latent", "quantizer", "network", "hidden", "decoder", "width", "depth",
    "activation", "init", "likelihood", "prior", "binarize", "label", "row_id", "text", "ignore",
    "kind", "header", "window", "stride", "scale", "divisor", "image_size", "color",
    "skip_broken", "batch_size", "lr", "seed", "device", "data_dir", "json",
)  # fmt: skip
"""Options that are those of ``train``."""

SHORT_LIST = (
    "importance", "exact", "rloo", "disarm", "disarm-sb", "rebar", "straight-through",
    "gumbel-softmax", "reinmax", "reparametrized", "ema",
)  # fmt: skip
"""Compared when none is named, as far as they fit the code."""


@arguments.command("compare", '--data digits --estimators "importance;rloo:samples=4"')
@arguments.option(
    "--estimators",
    "Names with options, separated by commas, semicolons or spaces, such as "
    '"importance,rloo:samples=4,disarm"; or all.  [default: a short list that fits the code]',
)
@arguments.option(
    "--estimator",
    "One more, which may be a class in a file of your own: ./file.py:Class[:option=value,…]. Can "
    "be repeated.",
    to="more",
    multiple=True,
    type=EstimatorName(),
)
@train_options(OF_TRAIN)
@arguments.option("--epochs", "Passes over the training rows in each estimator's own run.", 10)
@arguments.option(
    "--repeats", "Draws of each gradient, at least 8; with more its variance is known better.", 32
)
@arguments.option(
    "--seeds",
    "How often all is done, with the seeds from --seed on; tables then hold means with standard "
    "errors over them.",
    1,
    to="n_seeds",
    type=arguments.COUNT,
)
@arguments.path(
    "--out",
    "Folder of figures, tables and pictures; an earlier comparison in it is replaced.  "
    "[default: comparisons/DATA-LATENT]",
)
def command(out: Path | None, **options: Any) -> None:
    """Measure gradient estimators side by side on your data.

    Variance, bias and time of the encoder's gradient at four moments of one training run; then
    every estimator trains a model of its own, from the same weights for as many steps.
    """
    from discretevae.experiments import comparison_report as report, comparison_result as tables
    from discretevae.experiments.comparison import compare
    from discretevae.run_folder.folder import free_folder

    check_device(options["device"])
    if out is not None:
        report.require_ours(out)
    names, config, data = _configured(options)
    folder = out or free_folder(Path("comparisons"), config)
    latest: list[Comparison] = []

    def keep(found: Comparison) -> None:
        latest[:] = [found]
        report.write_tables(folder, found)

    try:
        with outputs.task_bar() as progress:
            result = compare(
                data,
                config,
                names,
                repeats=options["repeats"],
                n_seeds=options["n_seeds"],
                device=options["device"],
                progress=progress,
                keep=keep,
            )
    except KeyboardInterrupt:
        if not latest:
            raise TrainingInterrupted("nothing was written.") from None
        report.write_comparison(folder, latest[0])
        raise TrainingInterrupted(
            f"after {count(len(latest[0].moments), 'moment')} and {len(latest[0].runs)} of "
            f"{latest[0].n_runs} runs, which are in {folder}."
        ) from None
    report.write_comparison(folder, result)
    if options["as_json"]:
        outputs.print_json({"out": str(folder)} | result.to_dict())
        return
    click.echo(
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test rows of "
        f"{data.n_features} values · {config.model.latent}"
    )
    last = result.over_seeds()[-1]
    click.echo()
    outputs.print_table(tables.gradient_lines(last), title=tables.moment_title(result, last))
    click.echo()
    runs = [[in_options(cell) for cell in line] for line in tables.run_lines(result)]
    outputs.print_table(runs, title=tables.runs_title(result))
    click.echo()
    for name in (report.RESULT, *report.TABLES, *report.PICTURES):
        outputs.print_paths(written=folder / name)


def parse_names(text: str) -> list[str]:
    """Read names with options; what holds ``=`` and no colon belongs to the name before it."""
    names: list[str] = []
    for part in filter(None, re.split(r"[;,\s]+", text)):
        if "=" in part and ":" not in part and names:
            names[-1] += f",{part}"
        else:
            names.append(part)
    return names


def _configured(options: dict[str, Any]) -> tuple[list[str], RunConfig, Dataset]:
    """Return names, configuration and data."""
    from discretevae.experiments.comparison import fitting_estimators, read_estimators
    from discretevae.objectives.gradient_reports import require_repeats

    problems, training = Problems(), TrainConfig()
    ctx, named = click.get_current_context(), parse_names(options["estimators"] or "")
    names = [EstimatorName().convert(name, None, ctx) for name in named]
    with problems:
        require_repeats(options["repeats"])
    with problems:
        family = check_model(options)
        if options["estimators"] is None:
            fitting = fitting_estimators(family)
            names = [name for name in SHORT_LIST if name in fitting]
        names += options["more"]
        read_estimators(names, family)
    with problems:
        training = train_config(options)
    problems.require_none()
    data = load_dataset(options)
    return names, run_config(options, data, training), data
