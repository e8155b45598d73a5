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
from discretevae.cli.train_options import train_options
from discretevae.config import RELU, RunConfig, TrainConfig
from discretevae.config.checks import Problems
from discretevae.errors import RunError, TrainingInterrupted, count

if TYPE_CHECKING:
    from discretevae.data import Dataset
    from discretevae.experiments.comparison import Comparison, EstimatorRun, Moment

RESULT = "comparison.json"
TABLES = "comparison.md"
PICTURES = ("gradients.png", "elbo.png")
OF_TRAIN = (
    "preset", "data", "latent", "hidden", "activation", "init", "likelihood", "prior",
    "binarize", "image_size", "batch_size", "lr", "seed", "device", "data_dir", "json",
)  # fmt: skip
"""Options that are those of ``train``."""

SHORT_LIST = (
    "importance", "exact", "rloo", "disarm", "disarm-sb", "rebar", "straight-through",
    "gumbel-softmax", "reinmax", "reparametrized", "ema",
)  # fmt: skip
"""Compared when none is named, as far as they fit the code."""

EXPLAINED = """\
- unbiased: what theory says. cost: decoder rows per data row and step. time: of a step, in
  multiples of the time of `importance` with M = 1, all estimators taking turns; of those that
  learn without their learning.
- variance: of the encoder's gradient of the ELBO [nats per row] over {repeats} draws, mean over
  its parameters, on {rows} fixed rows; ± its standard error. × cost, × time: what is left at an
  equal budget of decoder rows, or of time. eta: the same of each row's gradient with respect to
  its natural parameters.
- SNR: length of the expected gradient by √(summed variance); "< noise" where the first does
  not differ from zero.
- bias: length of (expected − exact gradient) by that of the exact one, which needs a code of at
  most 4,096 states; "≤" where none was seen.
- Estimators that learn were trained beside the reference run up to each moment.
- seconds: of each run's own training steps, one run after the other; on a machine that does other
  work meanwhile, trust time instead.
- One run per estimator: differences as small as those between seeds mean nothing; repeat with
  another `--seed`.
"""


@arguments.command("compare", '--data digits --estimators "importance;rloo:samples=4"')
@arguments.option(
    "--estimators",
    "Names with options, separated by commas, semicolons or spaces, such as "
    '"importance,rloo:samples=4,disarm"; or all.  [default: a short list that fits the code]',
)
@train_options(OF_TRAIN)
@arguments.option("--epochs", "Passes over the training rows in each estimator's own run.", 10)
@arguments.option(
    "--repeats",
    "Draws of each gradient, at least 8; with more its variance is known better.",
    32,
)
@arguments.path(
    "--out",
    "Folder of tables and pictures; an earlier comparison in it is replaced.  "
    "[default: comparisons/DATA-LATENT]",
)
def command(out: Path | None, **options: Any) -> None:
    """Measure gradient estimators side by side on your data.

    Variance, bias and time of the encoder's gradient at four moments of one training run; then
    every estimator trains a model of its own, from the same weights for as many steps.
    """
    from discretevae.experiments.comparison import compare
    from discretevae.run_folder.folder import free_folder

    check_device(options["device"])
    if out is not None:
        _require_ours(out)
    names, config, data = _configured(options)
    folder = out or free_folder(Path("comparisons"), config)
    latest: list[Comparison] = []

    def keep(found: Comparison) -> None:
        latest[:] = [found]
        _write_tables(folder, found)

    try:
        with outputs.task_bar() as progress:
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
        raise TrainingInterrupted(
            f"after {count(len(latest[0].moments), 'moment')} and {len(latest[0].runs)} of "
            f"{len(latest[0].estimators)} runs, which are in {folder}."
        ) from None
    _write_all(folder, result)
    if options["as_json"]:
        outputs.print_json({"out": str(folder)} | result.to_dict())
        return
    click.echo(
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test rows of "
        f"{data.n_features} values · {config.model.latent}"
    )
    last = result.moments[-1]
    click.echo()
    outputs.print_table(_gradient_lines(last), title=_moment_title(result, last))
    click.echo()
    outputs.print_table(_run_lines(result), title=_runs_title(result))
    click.echo()
    for name in (RESULT, TABLES, *PICTURES):
        outputs.print_paths(written=folder / name)


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
    """Return names, configuration and data.

    Raises:
        ConfigError: options are wrong; all that are, are named.
    """
    from discretevae.experiments.comparison import fitting_estimators, read_estimators
    from discretevae.objectives.gradient_reports import require_repeats

    problems, training = Problems(), TrainConfig()
    names: list[str] = parse_names(options["estimators"] or "")
    with problems:
        require_repeats(options["repeats"])
    with problems:
        family = check_model(options)
        if options["estimators"] is None:
            fitting = fitting_estimators(family)
            names = [name for name in SHORT_LIST if name in fitting]
        read_estimators(names, family)
    with problems:
        training = train_config(options)
    problems.require_none()
    data = load_dataset(options)
    return names, run_config(options, data, training), data


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


def _gradient_lines(moment: Moment) -> list[tuple[str, ...]]:
    """Return a head and one line for each estimator."""
    has_bias = any(report.bias is not None for report in moment.reports)
    head = ("estimator", "unbiased", "cost", "time", "variance", "× cost", "× time", "eta", "SNR")
    lines = [head + (("bias",) if has_bias else ())]
    for r in moment.reports:
        snr = "< noise" if r.snr is None else f"{r.snr:.2g}"
        line = (
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
        lines.append(line + ((str(r.bias or "–"),) if has_bias else ()))
    return lines


def _run_lines(found: Comparison) -> list[tuple[str, ...]]:
    """Return a head and the runs, the best last test ELBO first, those that failed at the end."""
    from discretevae.evaluation.measured import Measured

    def order(run: EstimatorRun) -> tuple[bool, float]:
        return run.error is not None, -run.history[-1].test_elbo if run.history else 0

    lines: list[tuple[str, ...]] = [
        ("estimator", "test ELBO", "active", "codes", "seconds", "note")
    ]
    for run in sorted(found.runs, key=order):
        cells = ("–",) * 4
        if run.history:
            last = run.history[-1]
            cells = (
                f"{Measured(last.test_elbo, last.test_elbo_se):.2f}",
                f"{last.active_units}",
                "–" if last.codes_used is None else f"{last.codes_used}",
                f"{last.seconds:.1f}",
            )
        lines.append((run.estimator, *cells, in_options(run.error or "")))
    return lines if any(run.error for run in found.runs) else [line[:-1] for line in lines]


def _moment_title(found: Comparison, moment: Moment) -> str:
    return f"Encoder gradient at step {moment.step:,} of the {found.reference} run"


def _runs_title(found: Comparison) -> str:
    epochs = found.config.training.epochs
    return f"Own runs, {epochs} epochs of {found.steps_per_epoch} steps [nats per test row]"


def _markdown(found: Comparison) -> str:
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
        parts += [f"## {_moment_title(found, moment)}\n", _pipes(_gradient_lines(moment))]
    if found.runs:
        parts += [f"## {_runs_title(found)}\n", _pipes(_run_lines(found))]
    explained = EXPLAINED.format(repeats=found.repeats, rows=found.probe_rows)
    return "\n".join([*parts, "## What the columns mean\n", explained])


def _pipes(lines: list[tuple[str, ...]]) -> str:
    rule = ("---", *("---:" for _ in lines[0][1:]))
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:]))
