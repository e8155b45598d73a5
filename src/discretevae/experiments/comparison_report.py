"""The folder of a comparison: figures as JSON, tables as Markdown, pictures.

::

    OUT/
      comparison.json    all figures
      comparison.md      the same in tables
      gradients.png      variance of the gradient along the reference run
      elbo.png           test ELBO of every estimator's own run
"""

from __future__ import annotations

from pathlib import Path

from discretevae.config import RELU
from discretevae.evaluation.measured import Measured
from discretevae.experiments.comparison import FORMAT, Comparison, EstimatorRun, Moment
from discretevae.plots.comparison import elbo_figure, gradient_figure
from discretevae.plots.pictures import save_figure
from discretevae.run_folder.folder import prepare_folder
from discretevae.system.files import has_format, write_json, write_text

RESULT = "comparison.json"
TABLES = "comparison.md"
PICTURES = ("gradients.png", "elbo.png")

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
  another seed.
"""


def require_ours(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier comparison.

    Raises:
        RunError: it does.
    """
    if not has_format(folder / RESULT, FORMAT):
        prepare_folder(folder, resume=False)


def write_tables(folder: Path, found: Comparison) -> None:
    """Write figures and tables that are known so far; remove pictures of an earlier comparison."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        (folder / name).unlink(missing_ok=True)
    write_json(folder / RESULT, found.to_dict())
    write_text(folder / TABLES, _markdown(found))


def write_comparison(folder: Path, found: Comparison) -> None:
    """Write figures, tables and pictures."""
    write_tables(folder, found)
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


def gradient_lines(moment: Moment) -> list[tuple[str, ...]]:
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


def run_lines(found: Comparison) -> list[tuple[str, ...]]:
    """Return a head and the runs, the best last test ELBO first, those that failed at the end."""

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
        lines.append((run.estimator, *cells, run.error or ""))
    return lines if any(run.error for run in found.runs) else [line[:-1] for line in lines]


def moment_title(found: Comparison, moment: Moment) -> str:
    """Return the title of the table of a moment."""
    return f"Encoder gradient at step {moment.step:,} of the {found.reference} run"


def runs_title(found: Comparison) -> str:
    """Return the title of the table of runs."""
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
        parts += [f"## {moment_title(found, moment)}\n", _pipes(gradient_lines(moment))]
    if found.runs:
        parts += [f"## {runs_title(found)}\n", _pipes(run_lines(found))]
    explained = EXPLAINED.format(repeats=found.repeats, rows=found.probe_rows)
    return "\n".join([*parts, "## What the columns mean\n", explained])


def _pipes(lines: list[tuple[str, ...]]) -> str:
    rule = ("---", *("---:" for _ in lines[0][1:]))
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:]))
