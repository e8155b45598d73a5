"""The folder of a comparison: figures as JSON and CSV, tables, pictures.

::

    OUT/
      comparison.json    all figures
      comparison.csv     a line for each estimator and seed
      comparison.md      tables
      comparison.tex     a table for LaTeX
      gradients.png      variance of the gradient along the reference run
      elbo.png           test ELBO of every estimator's own run
"""

from __future__ import annotations

from pathlib import Path

from discretevae.config import RELU
from discretevae.experiments.comparison_result import (
    FORMAT,
    Comparison,
    gradient_lines,
    moment_title,
    run_lines,
    runs_title,
)
from discretevae.plots.comparison import elbo_figure, gradient_figure
from discretevae.plots.pictures import save_figure
from discretevae.run_folder.folder import prepare_folder
from discretevae.system.files import has_format, write_json, write_text

RESULT = "comparison.json"
TABLES = ("comparison.md", "comparison.csv", "comparison.tex")
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
"""
ONE_SEED = """\
- One run per estimator: differences as small as those between seeds mean nothing; compare several
  seeds.
"""
SEVERAL = """\
- Means over {seeds}, ± their standard errors over the seeds, which with few seeds are rough
  themselves; bias: means of its ends. A seed gives all estimators the same weights and rows.
"""


def require_ours(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier comparison (`RunError`)."""
    if not has_format(folder / RESULT, FORMAT):
        prepare_folder(folder, resume=False)


def write_tables(folder: Path, found: Comparison) -> None:
    """Write figures and tables that are known so far; remove pictures of an earlier comparison."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        (folder / name).unlink(missing_ok=True)
    write_json(folder / RESULT, found.to_dict())
    markdown, values, latex = (folder / name for name in TABLES)
    write_text(markdown, _markdown(found))
    found.to_csv(values)
    found.to_latex(latex)


def write_comparison(folder: Path, found: Comparison) -> None:
    """Write figures, tables and pictures."""
    write_tables(folder, found)
    moments = found.over_seeds()
    elbo = elbo_figure(
        {name: found.history_of(name) for name in found.estimators},
        found.steps_per_epoch,
        n_seeds=found.n_seeds,
    )

    def of(what: str) -> dict[str, list[float]]:
        columns = zip(*(moment.reports for moment in moments), strict=True)
        return {c[0].estimator: [getattr(report, what) for report in c] for c in columns}

    gradients = gradient_figure(
        [moment.step for moment in moments],
        of("variance"),
        {name: ratios[-1] for name, ratios in of("time_ratio").items()},
        errors=of("variance_se") if found.n_seeds > 1 else None,
    )
    for name, figure in zip(PICTURES, (gradients, elbo), strict=True):
        save_figure(figure, folder / name)


def _markdown(found: Comparison) -> str:
    model, config = found.config.model, found.config.training
    source = Path(found.config.data.source).name
    widths = model.hidden
    network: str = model.network
    if widths is not None:
        network = f"hidden {'-'.join(map(str, widths)) or 'none'}"
    if model.activation != RELU:
        network += f", {model.activation}"
    parts = [
        f"# Gradient estimators on {source}, {model.latent}\n",
        f"{network}, {model.likelihood} likelihood, {model.prior} prior, "
        f"binarize {found.config.data.binarize}, lr {config.lr:g}, {_seeds(found)}\n",
    ]
    if not found.is_complete:
        parts.append(f"Not complete: {len(found.runs)} of {found.n_runs} runs.\n")
    for moment in found.over_seeds():
        parts += [f"## {moment_title(found, moment)}\n", _pipes(gradient_lines(moment))]
    if found.runs:
        parts += [f"## {runs_title(found)}\n", _pipes(run_lines(found))]
    explained = EXPLAINED.format(repeats=found.repeats, rows=found.probe_rows)
    explained += ONE_SEED if found.n_seeds == 1 else SEVERAL.format(seeds=_seeds(found))
    return "\n".join([*parts, "## What the columns mean\n", explained])


def _seeds(found: Comparison) -> str:
    first, n = found.config.training.seed, found.n_seeds
    return f"seed {first}" if n == 1 else f"seeds {first} to {first + n - 1}"


def _pipes(lines: list[tuple[str, ...]]) -> str:
    rule = ("---", *("---:" for _ in lines[0][1:]))
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:]))
