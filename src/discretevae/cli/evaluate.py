"""``discretevae evaluate``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs, open_run, require_suffix
from discretevae.errors import ConfigError

if TYPE_CHECKING:
    from discretevae.config import ModelConfig
    from discretevae.data import Rows
    from discretevae.evaluation.bounds import Evaluation, RowScores
    from discretevae.evaluation.measured import Measured
    from discretevae.run_folder.saved_run import Run

SURROGATE = (
    "Grey values under a Bernoulli likelihood: all figures are a cross-entropy's, a surrogate that "
    "compares models of these rows and nothing else."
)


@arguments.command("evaluate", "runs/digits --samples 100,1000")
@arguments.option(
    "--samples",
    "S, draws of z per row of the S-sample bound; several with commas, such as 100,5000.",
    "100",
    type=arguments.Numbers(),
)
@arguments.option("--max-rows", "Number of rows, the first.  [default: all]", type=arguments.COUNT)
@arguments.path(
    "--with",
    "A further run to evaluate on the same rows and to compare with the first row by row. Can be "
    "given more than once.",
    to="others",
    metavar="RUN",
    multiple=True,
)
@arguments.path(
    "--per-row", "A .csv or .npz of the id of every row and its figures under RUN.  [default: none]"
)
@arguments.seed
@arguments.inputs("test")
@arguments.as_json
def command(
    source: Inputs,
    samples: list[int],
    max_rows: int | None,
    others: tuple[Path, ...],
    per_row: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure RUN on DATA (else on its own data): bounds with standard errors.

    All figures are in nats per row, each a mean over rows with its standard error (se).

    --json prints one object: elbo, log_likelihood (E_q ln p(x|z)), kl, bound (S-sample, with
    samples), bounds (one for each S), log_px (exact ln p(x); null where the code is too large),
    each {"value", "se"}; rate and distortion (the KL, and −E_q ln p(x|z)); codes_used (distinct
    most-likely codes), distinct_rate (the same by rows), active_units (latent variables that vary
    over rows), code_entropy (nats, of the most-likely codes) and its entropy_ceiling; perplexity
    (of what a place of a grid, an entry of a codebook, or else a variable says) and its share of
    the most it can be; psnr (dB, of the reconstructions of 8-bit pictures, the mean over pictures);
    accuracy (of the labels that a semi-supervised model infers);
    bits_per_dimension where the likelihood is a probability; is_surrogate where it is none, as a
    Bernoulli one of grey values; rows (their number). With --with a list of such objects, each with
    its run and its difference in the ELBO, row by row, from the first.
    """
    from discretevae.evaluation.bounds import summary_of
    from discretevae.evaluation.labels import accuracy
    from discretevae.evaluation.measured import measured

    if per_row is not None:
        require_suffix(per_row, ".csv", ".npz")
    runs = [source.run, *(open_run(folder, source.device) for folder in others)]
    if len(modes := {run.config.data.binarize for run in runs}) > 1:
        raise ConfigError(
            f"the runs were trained on different targets: --binarize {' and '.join(sorted(modes))}."
            " Compare runs of one."
        )
    rows = source.rows()
    if max_rows is not None:
        rows = rows.subset(slice(0, max_rows))
    scores = [_scores(run, rows, samples, seed) for run in runs]
    results = [summary_of(score, run.model) for score, run in zip(scores, runs, strict=True)]
    for i, run in enumerate(runs):
        if run.config.training.objective == "semi-supervised":
            results[i] = dataclasses.replace(results[i], accuracy=accuracy(run.model, rows))
    if per_row is not None:
        _write_rows(per_row, scores[0], rows)
    # row by row the error of a difference is smaller than those of two means
    apart = [None if s is scores[0] else measured(s.elbo - scores[0].elbo) for s in scores]
    if as_json and not others:
        outputs.print_json(results[0].to_dict())
        return
    if as_json:
        differences = [None if each is None else dataclasses.asdict(each) for each in apart]
        outputs.print_json([
            {"run": str(run.folder), **result.to_dict(), "elbo_difference": difference}
            for run, result, difference in zip(runs, results, differences, strict=True)
        ])  # fmt: skip
        return
    if others:
        click.echo(f"{len(rows):,} rows of {rows.name}, nats per row; bounds of {samples[-1]}")
        outputs.print_table(_run_lines(runs, results, apart))
    else:
        title = f"{source.folder} on {len(rows):,} rows of {rows.name} [nats per row]"
        lines = evaluation_lines(results[0], runs[0].config.model)
        outputs.print_table(lines, title=title, has_head=False)
    if results[0].is_surrogate:
        click.echo(SURROGATE)
    outputs.print_paths(written=per_row)


def evaluation_lines(result: Evaluation, config: ModelConfig) -> list[tuple[str, str, str]]:
    """Return names, figures and their standard errors or limits."""
    from discretevae.evaluation.usage import n_discrete_states
    from discretevae.families import family_of

    family, usage = family_of(config.latent), result.usage
    surrogate = " (surrogate)" if result.is_surrogate else ""
    lines = [
        (f"test ELBO{surrogate}", *_cells(result.elbo)),
        ("  log-likelihood E_q ln p(x|z)", *_cells(result.log_likelihood)),
        ("  KL(q(z|x) ‖ p(z))", *_cells(result.kl)),
    ]
    for samples, bound in result.bounds.items():
        lines.append((f"{samples:,}-sample bound{surrogate}", *_cells(bound)))
    if result.log_px is not None:
        lines.append((f"ln p(x), exact{surrogate}", *_cells(result.log_px)))
    if result.bits_per_dimension is not None:
        lines.append(("bits per dimension", *_cells(result.bits_per_dimension, digits=4)))
    if result.accuracy is not None:
        lines.append(("accuracy of the labels", *_cells(result.accuracy, digits=4)))
    lines.append(("active latent variables", f"{usage.active_units}", f"of {family.n_variables}"))
    if result.psnr is not None:
        lines.append(("PSNR of reconstructions [dB]", *_cells(result.psnr)))
    if usage.perplexity is not None and usage.perplexity_share is not None:
        of = f"of {usage.perplexity / usage.perplexity_share:,.0f} ({usage.perplexity_share:.1%})"
        lines.append(("perplexity of the code's symbols", f"{usage.perplexity:.2f}", of))
    if usage.codes_used is not None and usage.code_entropy is not None:
        most = min(result.rows, n_discrete_states(family) or result.rows)
        lines.append(("distinct codes", f"{usage.codes_used}", f"of at most {most:,}"))
        ceiling = result.entropy_ceiling
        limit = "" if ceiling is None else f"of at most {ceiling:.2f}"
        lines.append(("code entropy", f"{usage.code_entropy:.2f}", limit))
    return lines


def _cells(measured: Measured, digits: int = 2) -> tuple[str, str]:
    value, _, error = f"{measured:.{digits}f}".partition(" ")
    return value, error


def _scores(run: Run, rows: Rows, samples: Sequence[int], seed: int) -> RowScores:
    from discretevae.evaluation.bounds import row_scores

    with outputs.counting_bar(f"evaluating {run.folder.name}", len(rows)) as progress:
        return row_scores(run.model, rows, samples=samples, seed=seed, progress=progress)


def _write_rows(out: Path, scores: RowScores, rows: Rows) -> None:
    """Write one line, or one entry of every array, for each row."""
    from discretevae.codes.ids import ids_of
    from discretevae.codes.tables import write_columns

    columns = {"elbo": scores.elbo, "log_likelihood": scores.log_likelihood, "kl": scores.kl}
    columns |= {f"bound_{samples}": bound for samples, bound in scores.bounds.items()}
    more = {"log_px": scores.log_px, "psnr": scores.psnr}
    columns |= {name: column for name, column in more.items() if column is not None}
    arrays = {"id": ids_of(rows)} | {name: column.numpy() for name, column in columns.items()}
    write_columns(outputs.make_parent(out), arrays)


def _run_lines(
    runs: Sequence[Run], results: Sequence[Evaluation], differences: Sequence[Measured | None]
) -> list[tuple[str, ...]]:
    """Return one line for each run."""
    lines: list[tuple[str, ...]] = [
        ("run", "code", "ELBO", "− first", "rate", "distortion", "bound", "ln p(x)", "active")
    ]
    for run, result, apart in zip(runs, results, differences, strict=True):
        lines.append(
            (
                str(run.folder),
                str(run.config.model.latent),
                f"{result.elbo:.2f}",
                "" if apart is None else f"{apart:+.2f}",
                f"{result.kl.value:.2f}",
                f"{-result.log_likelihood.value:.2f}",
                f"{result.bound.value:.2f}",
                "–" if result.log_px is None else f"{result.log_px.value:.2f}",
                f"{result.usage.active_units}",
            )
        )
    return lines
