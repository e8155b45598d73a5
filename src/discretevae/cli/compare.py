"""``discretevae compare``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import common
from discretevae.cli.ending import in_options
from discretevae.cli.model_options import Asked
from discretevae.cli.train import command as train_command
from discretevae.config import RELU, RunConfig, TrainConfig
from discretevae.errors import RunError, TrainingInterrupted

if TYPE_CHECKING:
    from discretevae.data import Dataset
    from discretevae.experiments.comparison import Comparison

RESULT = "comparison.json"
TABLES = "comparison.md"
PICTURES = ("gradients.png", "elbo.png")
LIKE_TRAIN = (
    "preset_name", "source", "latent", "hidden", "activation", "init", "likelihood", "prior",
    "binarize", "image_size", "batch_size", "lr", "seed", "device", "data_dir", "as_json",
)  # fmt: skip
"""Options that are those of ``train``, spelling and help included."""

SHORT_LIST = (
    "importance", "exact", "rloo", "disarm", "disarm-sb", "rebar", "straight-through",
    "gumbel-softmax", "reinmax", "reparametrized", "ema",
)  # fmt: skip
"""Compared when none is named, as far as they fit the code."""

EXPLAINED = """\
- unbiased: what theory says. cost: decoder rows per data row and step. time: of a step, in
  multiples of the time of `importance` with M = 1, all members taking turns; of members that
  learn without their learning.
- variance: of the encoder's gradient of the ELBO [nats per row] over {repeats} draws, mean over
  its parameters, on {rows} fixed rows; ± its standard error. × cost, × time: what is left at an
  equal budget of decoder rows, or of time. eta: the same of each row's gradient with respect to
  its natural parameters.
- SNR: length of the expected gradient by √(summed variance); "< noise" where the first cannot be
  told from zero.
- bias: length of (expected − exact gradient) by that of the exact one, which needs a code of at
  most 4,096 states; "≤" where none was seen.
- Estimators that learn were trained beside the reference run up to each moment.
- seconds: of each run's own training steps, one run after the other; on a machine that does other
  work meanwhile, trust time instead.
- One run per estimator: differences as small as those between seeds mean nothing; repeat with
  another `--seed`.
"""


@click.command(
    "compare",
    epilog=common.example(
        'discretevae compare --data digits --estimators "importance;rloo:samples=4"'
    ),
)
@click.option(
    "--estimators",
    help="Names with options, separated by commas, semicolons or spaces, such as "
    '"importance,rloo:samples=4,disarm"; or all.  [default: a short list that fits the code]',
)
@click.option(
    "--epochs",
    type=int,
    default=10,
    show_default=True,
    help="Passes over the training rows in each estimator's own run.",
)
@click.option(
    "--repeats",
    type=int,
    default=32,
    show_default=True,
    help="Draws of each gradient, at least 8; more make its variance surer.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of tables and pictures; an earlier comparison in it is replaced.  "
    "[default: comparisons/DATA-LATENT]",
)
def command(out: Path | None, **options: Any) -> None:
    """Measure gradient estimators side by side on your data.

    Variance, bias and time of the encoder's gradient at four moments of one training run; then
    every estimator trains a model of its own, from the same weights for as many steps.
    """
    from discretevae.experiments.comparison import compare
    from discretevae.run_folder.folder import free_folder

    common.check_device(options["device"])
    if out is not None:
        _require_ours(out)
    names, config, data = _configured(options)
    folder = out or free_folder(Path("comparisons"), config)
    latest: list[Comparison] = []

    def keep(found: Comparison) -> None:
        latest[:] = [found]
        _write_tables(folder, found)

    try:
        with common.task_bar() as progress:
            result = compare(
                data,
                config,
                names,
                repeats=options["repeats"],
                device=options["device"],
                progress=progress,
                keep=keep,
            )
    except KeyboardInterrupt:
        if not latest:
            raise TrainingInterrupted("nothing was written.") from None
        _write_all(folder, latest[0])
        moments = len(latest[0].moments)
        raise TrainingInterrupted(
            f"after {moments} moment{'s' * (moments > 1)} and {len(latest[0].runs)} of "
            f"{len(latest[0].estimators)} runs, which are in {folder}."
        ) from None
    _write_all(folder, result)
    if options["as_json"]:
        common.print_json({"out": str(folder)} | result.to_dict())
        return
    _print_tables(result, data)
    for name in (RESULT, TABLES, *PICTURES):
        click.echo(f"written  {folder / name}")


def parse_names(text: str) -> list[str]:
    """Reads names with options; what holds ``=`` and no colon belongs to the name before it.

    Example:
        >>> parse_names("importance:proposal=tempered,tau=0.7,rloo; disarm")
        ['importance:proposal=tempered,tau=0.7', 'rloo', 'disarm']
    """
    names: list[str] = []
    for part in filter(None, re.split(r"[;,\s]+", text)):
        if "=" in part and ":" not in part and names:
            names[-1] += f",{part}"
        else:
            names.append(part)
    return names


def _configured(options: dict[str, Any]) -> tuple[list[str], RunConfig, Dataset]:
    """Names, configuration and data. All that is wrong with the options is said at once."""
    from discretevae.experiments.comparison import fitting_estimators, read_estimators
    from discretevae.objectives.gradient_reports import require_repeats

    asked, training = Asked(options), TrainConfig()
    names: list[str] = []
    with asked.collected():
        require_repeats(options["repeats"])
    with asked.collected():
        if options["estimators"] is not None:
            names = parse_names(options["estimators"])
        elif asked.family is not None:
            fitting = fitting_estimators(asked.family)
            names = [name for name in SHORT_LIST if name in fitting]
        if asked.family is not None:
            read_estimators(names, asked.family)
    with asked.collected():
        keys = ("epochs", "batch_size", "lr", "seed")
        training = TrainConfig(**{key: options[key] for key in keys})
    asked.require()
    data = asked.load()
    return names, asked.run_config(data, training), data


def _require_ours(folder: Path) -> None:
    """Refuses a folder that holds anything but an earlier comparison."""
    from discretevae.experiments.comparison import FORMAT
    from discretevae.system.files import has_format

    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(f"{folder}: is a file, not a folder. Choose another --out.")
    if not any(folder.iterdir()):
        return
    if not has_format(folder / RESULT, FORMAT):
        raise RunError(f"{folder}: holds files that are not ours. Choose another --out.")


def _write_tables(folder: Path, found: Comparison) -> None:
    """Figures and tables that are known so far; pictures of an earlier comparison go."""
    from discretevae.system.files import write_atomic, write_json

    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        (folder / name).unlink(missing_ok=True)
    write_json(folder / RESULT, found.to_dict())
    write_atomic(folder / TABLES, _markdown(found).encode())


def _write_all(folder: Path, found: Comparison) -> None:
    from discretevae.plots.comparison import elbo_figure, gradient_figure
    from discretevae.plots.pictures import save_figure

    _write_tables(folder, found)
    runs = {run.estimator: run.history for run in found.runs}
    elbo = elbo_figure(
        {name: runs.get(name, ()) for name in found.estimators}, found.steps_per_epoch
    )
    gradients = gradient_figure(
        [moment.step for moment in found.moments],
        {
            name: [moment.reports[i].variance for moment in found.moments]
            for i, name in enumerate(found.estimators)
        },
        {report.estimator: report.time_ratio for report in found.moments[-1].reports},
    )
    for name, figure in zip(PICTURES, (gradients, elbo), strict=True):
        save_figure(figure, folder / name)


def _gradient_rows(found: Comparison, moment: Any) -> list[tuple[str, ...]]:
    exact = any(report.bias is not None for report in moment.reports)
    head = ("estimator", "unbiased", "cost", "time", "variance", "× cost", "× time", "eta", "SNR")
    rows = [head + (("bias",) if exact else ())]
    for r in moment.reports:
        snr = "< noise" if r.snr is None else f"{r.snr:.2g}"
        row = (
            r.estimator,
            "yes" if r.is_unbiased else "no",
            f"{r.evaluations}",
            f"{r.time_ratio:.2f}",
            f"{r.variance:.2e} ± {r.variance_se:.0e}" if r.variance else "0",
            f"{r.variance_times_cost:.1e}" if r.variance else "0",
            f"{r.variance_times_time:.1e}" if r.variance else "0",
            f"{r.eta_variance:.1e}" if r.eta_variance else "0",
            snr if r.variance else "∞",
        )
        rows.append(row + ((str(r.bias or "–"),) if exact else ()))
    return rows


def _run_rows(found: Comparison) -> list[tuple[str, ...]]:
    """The runs, best last test ELBO first, those that failed at the end."""
    rows: list[tuple[str, ...]] = [("estimator", "test ELBO", "active", "codes", "seconds", "note")]
    for run in sorted(
        found.runs,
        key=lambda run: (run.error is not None, -run.history[-1].test_elbo if run.history else 0),
    ):
        row = ("–",) * 4
        if run.history:
            last = run.history[-1]
            error = "" if last.test_elbo_se is None else f" ± {last.test_elbo_se:.2f}"
            row = (
                f"{last.test_elbo:.2f}{error}",
                f"{last.active_units}",
                "–" if last.codes_used is None else f"{last.codes_used}",
                f"{last.seconds:.1f}",
            )
        rows.append((run.estimator, *row, in_options(run.error or "")))
    return rows if any(run.error for run in found.runs) else [row[:-1] for row in rows]


def _titles(found: Comparison) -> tuple[Callable[[Any], str], str]:
    config = found.config.training
    runs = f"Own runs, {config.epochs} epochs of {found.steps_per_epoch} steps [nats per test row]"
    return (
        lambda moment: f"Encoder gradient at step {moment.step:,} of the {found.reference} run",
        runs,
    )


def _markdown(found: Comparison) -> str:
    moment_title, run_title = _titles(found)
    model, config = found.config.model, found.config.training
    source = Path(found.config.data.source).name
    widths = model.hidden
    network = "cnn" if widths is None else f"hidden {'-'.join(map(str, widths)) or 'none'}"
    if model.activation != RELU:
        network += f", {model.activation}"
    parts = [
        f"# Gradient estimators on {source}, {model.latent}\n",
        f"{network}, {model.likelihood} likelihood, {model.prior} prior, "
        f"binarize {found.config.data.binarize}, lr {config.lr:g}, seed {config.seed}\n",
    ]
    if not found.is_complete:
        parts.append(f"Not complete: {len(found.runs)} of {len(found.estimators)} runs.\n")
    for moment in found.moments:
        parts += [f"## {moment_title(moment)}\n", _pipes(_gradient_rows(found, moment))]
    if found.runs:
        parts += [f"## {run_title}\n", _pipes(_run_rows(found))]
    explained = EXPLAINED.format(repeats=found.repeats, rows=found.probe_rows)
    return "\n".join([*parts, "## What the columns mean\n", explained])


def _pipes(rows: list[tuple[str, ...]]) -> str:
    rule = ("---", *("---:" for _ in rows[0][1:]))
    return "".join(f"| {' | '.join(row)} |\n" for row in (rows[0], rule, *rows[1:]))


def _print_tables(found: Comparison, data: Dataset) -> None:
    """The last moment and the runs; nothing is cut off, whatever the width of the terminal."""
    from rich.console import Console
    from rich.table import Table

    moment_title, run_title = _titles(found)
    shown = found.moments[-1]
    tables = []
    for title, rows in (
        (moment_title(shown), _gradient_rows(found, shown)),
        (run_title, _run_rows(found)),
    ):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for number, name in enumerate(rows[0]):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for row in rows[1:]:
            table.add_row(*row)
        tables.append(table)
    console, wide = Console(), Console(width=1000)
    console.width = max(console.width, *(wide.measure(table).maximum for table in tables))
    console.print(
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test rows of "
        f"{data.n_features} values · {found.config.model.latent}",
        highlight=False,
    )
    for table in tables:
        console.print()
        console.print(table)
    console.print()


command.params[1:1] = [param for param in train_command.params if param.name in LIKE_TRAIN]

__all__ = ["command", "parse_names"]
