"""``discretevae evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import common
from discretevae.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from discretevae.config import ModelConfig
    from discretevae.data import Rows
    from discretevae.evaluation.bounds import Evaluation, RowScores
    from discretevae.evaluation.information import KLSplit
    from discretevae.evaluation.measured import Measured
    from discretevae.run_folder.checkpoint import Run

SURROGATE = (
    "Grey values under a Bernoulli likelihood: all figures are a cross-entropy's, a surrogate that "
    "compares models of these rows and nothing else."
)


@click.command(
    "evaluate",
    epilog=common.example("discretevae evaluate runs/digits --samples 100,1000"),
)
@common.run_argument
@common.data_argument
@common.data_option
@common.split_option("test")
@click.option(
    "--samples",
    default="100",
    show_default=True,
    help="S, draws of z per row of the S-sample bound; several with commas, such as 100,5000.",
)
@click.option("--max-rows", type=int, help="How many rows, from the first.  [default: all]")
@click.option(
    "--split-kl",
    is_flag=True,
    help="Take the KL apart too: mutual information, total correlation, and the rest, in nats.",
)
@click.option(
    "--with",
    "others",
    metavar="RUN",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A further run to measure on the same rows, and to compare with the first row by row; may "
    "be given more than once.",
)
@click.option(
    "--per-row",
    type=click.Path(path_type=Path),
    help="A .csv or .npz of every row's figures under RUN, in nats.  [default: not written]",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="A .png of the runs side by side: rate against distortion, and bounds.  "
    "[default: not drawn]",
)
@common.seed_option
@common.device_option
@common.data_dir_option
@common.json_option
def command(
    run_folder: Path,
    data_argument: str | None,
    data_option: str | None,
    split: str,
    samples: str,
    max_rows: int | None,
    split_kl: bool,
    others: tuple[Path, ...],
    per_row: Path | None,
    picture: Path | None,
    seed: int,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Measure the run RUN on DATA (else on its own data): bounds with standard errors.

    All figures are in nats per row, each a mean over rows with its standard error (se).

    --json prints one object: elbo, log_likelihood (E_q ln p(x|z)), kl, bound (S-sample, with
    samples), bounds (one for each S), log_px (exact ln p(x); null where the code is too large),
    each {"value", "se"}; rate and distortion (the KL, and −E_q ln p(x|z)); codes_used (distinct
    most-likely codes), distinct_rate (the same by rows), active_units (latent variables that vary
    over rows), code_entropy (nats, of the most-likely codes) and its entropy_ceiling;
    bits_per_dimension where the likelihood is a probability; is_surrogate where it is none, as a
    Bernoulli one of grey values; rows (their number). With --split-kl also kl_split; with --with a
    list of such objects, each with its run and its difference in the ELBO, row by row, from the
    first.
    """
    from discretevae.evaluation.bounds import summary_of

    sizes = parse_samples(samples)
    if max_rows is not None:
        common.require_positive("max-rows", max_rows)
    common.require_seed(seed)
    for path, suffixes in ((per_row, (".csv", ".npz")), (picture, (".png",))):
        if path is not None:
            common.require_suffix(path, *suffixes)
    runs = [common.open_run(folder, device) for folder in (run_folder, *others)]
    first = runs[0].config
    rows = common.open_rows(first, data_argument, data_option, split=split, data_dir=data_dir)
    if max_rows is not None:
        rows = rows.subset(slice(0, max_rows))
    _require_same_binarization(runs)
    scores = [_scored(run, rows, sizes, seed) for run in runs]
    results = [summary_of(score, run.model) for score, run in zip(scores, runs, strict=True)]
    splits = [_split(run, rows, seed) if split_kl else None for run in runs]
    if per_row is not None:
        _write_rows(per_row, scores[0])
    if picture is not None:
        _draw(picture, runs, results)
    if as_json:
        objects = [_object(*found) for found in zip(runs, results, splits, strict=True)]
        if others:
            for told, score in zip(objects, scores, strict=True):
                told["elbo_difference"] = _plain(_difference(score, scores[0]))
        common.print_json(
            objects if others else {k: v for k, v in objects[0].items() if k != "run"}
        )
        return
    title = f"{run_folder} on {len(rows):,} rows of {rows.name} [nats per row]"
    console, table = evaluation_table(results[0], first.model, title=title)
    if others:
        _side_by_side(runs, results, scores, rows)
    else:
        console.print(table)
    if results[0].is_surrogate:
        console.print(SURROGATE, highlight=False)
    for run, parts in zip(runs, splits, strict=True):
        if parts is not None:
            console.print(_split_table(run, parts))
    for path in (per_row, picture):
        if path is not None:
            console.print(f"written  {path}", highlight=False, soft_wrap=True)


def parse_samples(text: str) -> list[int]:
    """Reads ``100`` or ``100,5000``.

    Raises:
        ConfigError: the text is something else.
    """
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"samples {text!r} cannot be read. Write it like 100 or 100,5000."
        ) from None
    if min(sizes) < 1:
        raise ConfigError(f"samples must be an int >= 1. Got {min(sizes)}.")
    return sizes


def evaluation_table(
    result: Evaluation, config: ModelConfig, *, title: str | None
) -> tuple[Console, Table]:
    """The figures as a table, and the console to print it on."""
    from rich.console import Console
    from rich.table import Table

    from discretevae.evaluation.usage import n_discrete_states
    from discretevae.families import family_of

    family = family_of(config.latent)
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column(justify="left")
    surrogate = " (surrogate)" if result.is_surrogate else ""
    table.add_row(f"test ELBO{surrogate}", *_cells(result.elbo))
    table.add_row("  log-likelihood E_q ln p(x|z)", *_cells(result.log_likelihood))
    table.add_row("  KL(q(z|x) ‖ p(z))", *_cells(result.kl))
    for samples, bound in result.bounds.items():
        table.add_row(f"{samples:,}-sample bound{surrogate}", *_cells(bound))
    if result.log_px is not None:
        table.add_row(f"ln p(x), exact{surrogate}", *_cells(result.log_px))
    if result.bits_per_dimension is not None:
        bits = result.bits_per_dimension
        error = "" if bits.se is None else f"± {bits.se:.4f}"
        table.add_row("bits per dimension", f"{bits.value:.4f}", error)
    usage = result.usage
    table.add_row("active latent variables", f"{usage.active_units}", f"of {family.n_variables}")
    if usage.codes_used is not None and usage.code_entropy is not None:
        most = min(result.rows, n_discrete_states(family) or result.rows)
        table.add_row("distinct codes", f"{usage.codes_used}", f"of at most {most:,}")
        ceiling = result.entropy_ceiling
        of = "" if ceiling is None else f"of at most {ceiling:.2f}"
        table.add_row("code entropy", f"{usage.code_entropy:.2f}", of)
    return Console(), table


def _cells(measured: Measured) -> tuple[str, str]:
    error = "" if measured.se is None else f"± {measured.se:.2f}"
    return f"{measured.value:.2f}", error


def _require_same_binarization(runs: Sequence[Run]) -> None:
    """Runs that saw other targets cannot be compared."""
    modes = {run.config.data.binarize for run in runs}
    if len(modes) > 1:
        raise ConfigError(
            f"the runs were trained on different targets: --binarize {' and '.join(sorted(modes))}."
            " Compare runs of one."
        )


def _scored(run: Run, rows: Rows, sizes: Sequence[int], seed: int) -> RowScores:
    from discretevae.evaluation.bounds import row_scores

    with common.counting_bar(f"evaluating {run.folder.name}", len(rows)) as progress:
        return row_scores(
            run.model,
            rows,
            samples=sizes,
            seed=seed,
            progress=progress,
        )


def _split(run: Run, rows: Rows, seed: int) -> KLSplit:
    from discretevae.evaluation.information import kl_split

    return kl_split(run.model, rows, seed=seed)


def _difference(score: RowScores, first: RowScores) -> Measured | None:
    """Of the ELBO, row by row: its error is smaller than that of either mean."""
    from discretevae.evaluation.measured import measured

    return None if score is first else measured(score.elbo - first.elbo)


def _plain(measured: Measured | None) -> dict[str, float | None] | None:
    return None if measured is None else {"value": measured.value, "se": measured.se}


def _object(run: Run, result: Evaluation, parts: KLSplit | None) -> dict[str, Any]:
    told = {"run": str(run.folder), **result.to_dict()}
    return told if parts is None else told | {"kl_split": parts.to_dict()}


def _write_rows(out: Path, scores: RowScores) -> None:
    """One line, or one entry of every array, for each row."""
    from discretevae.codes.tables import write_columns

    columns = {"elbo": scores.elbo, "log_likelihood": scores.log_likelihood, "kl": scores.kl}
    columns |= {f"bound_{samples}": bound for samples, bound in scores.bounds.items()}
    if scores.log_px is not None:
        columns["log_px"] = scores.log_px
    common.make_parent(out)
    write_columns(out, {name: column.numpy() for name, column in columns.items()})


def _draw(out: Path, runs: Sequence[Run], results: Sequence[Evaluation]) -> None:
    from discretevae.plots.evaluation import side_by_side
    from discretevae.plots.pictures import save_figure

    common.make_parent(out)
    save_figure(side_by_side([run.folder.name for run in runs], results), out)


def _side_by_side(
    runs: Sequence[Run], results: Sequence[Evaluation], scores: Sequence[RowScores], rows: Rows
) -> None:
    """One line for each run."""
    lines = [("run", "code", "ELBO", "− first", "rate", "distortion", "bound", "ln p(x)", "active")]
    for run, result, score in zip(runs, results, scores, strict=True):
        apart = _difference(score, scores[0])
        lines.append(
            (
                str(run.folder),
                str(run.config.model.latent),
                " ".join(_cells(result.elbo)),
                "" if apart is None else f"{apart.value:+.2f} {_cells(apart)[1]}",
                f"{result.kl.value:.2f}",
                f"{-result.log_likelihood.value:.2f}",
                f"{result.bound.value:.2f}",
                "–" if result.log_px is None else f"{result.log_px.value:.2f}",
                f"{result.usage.active_units}",
            )
        )
    click.echo(f"{len(rows):,} rows of {rows.name}, nats per row; bounds of {results[0].samples}")
    common.print_columns(lines)


def _split_table(run: Run, parts: KLSplit) -> Table:
    from rich.table import Table

    title = f"the KL of {run.folder.name} over {parts.rows:,} rows, taken apart [nats]"
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    for _ in range(2):
        table.add_column(justify="left")
        table.add_column(justify="right")
    limit = f"of at most ln {parts.rows:,} = {parts.max_mutual_information:.2f}"
    table.add_row("KL", *_cells(parts.kl))
    table.add_row("  mutual information", *_cells(parts.mutual_information), limit)
    table.add_row("  KL(q(z) ‖ p(z))", *_cells(parts.marginal_kl), "a better prior's to gain")
    table.add_row("    total correlation", *_cells(parts.total_correlation))
    table.add_row("    per variable, together", *_cells(parts.per_variable))
    return table
