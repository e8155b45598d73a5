"""``discretevae evaluate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import common

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from discretevae.config import ModelConfig
    from discretevae.evaluation import Evaluation, Measured


@click.command(
    "evaluate", epilog="Example: discretevae evaluate runs/mnist-bernoulli50 --samples 1000 --json"
)
@common.run_argument
@common.data_argument
@common.data_option
@common.split_option("test")
@click.option(
    "--samples", type=int, default=100, show_default=True, help="S of the S-sample bound."
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
    samples: int,
    seed: int,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Measure the run RUN on DATA (else on its own data): bounds with standard errors.

    All figures are in nats per row, each a mean over rows with its standard error (se). --json
    prints one object: elbo, log_likelihood (E_q ln p(x|z)), kl, bound (S-sample, with samples),
    log_px (exact ln p(x); null where the code is too large), each {"value", "se"}; codes_used
    (distinct most-likely codes), active_units (latent variables that vary over rows),
    code_entropy (nats, of the most-likely codes), rows (their number).
    """
    from discretevae.evaluation import evaluate

    common.require_positive("samples", samples)
    common.require_seed(seed)
    run = common.open_run(run_folder, device)
    rows = common.open_rows(run.config, data_argument, data_option, split=split, data_dir=data_dir)
    with common.counting_bar("evaluating", len(rows)) as progress:
        result = evaluate(
            run.model,
            rows,
            samples=samples,
            binarize_mode=run.config.training.binarize,
            seed=seed,
            progress=progress,
        )
    if as_json:
        common.print_json(result.to_dict())
        return
    title = f"{run_folder} on {result.rows:,} rows of {rows.name} [nats per row]"
    console, table = evaluation_table(result, run.config.model, title=title)
    console.print(table)


def evaluation_table(
    result: Evaluation, config: ModelConfig, *, title: str | None
) -> tuple[Console, Table]:
    """The figures as a table, and the console to print it on."""
    from rich.console import Console
    from rich.table import Table

    from discretevae.families import family_of

    family = family_of(config.latent)
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column(justify="left")
    table.add_row("test ELBO", *_cells(result.elbo))
    table.add_row("  log-likelihood E_q ln p(x|z)", *_cells(result.log_likelihood))
    table.add_row("  KL(q(z|x) ‖ p(z))", *_cells(result.kl))
    table.add_row(f"{result.samples}-sample bound", *_cells(result.bound))
    if result.log_px is not None:
        table.add_row("ln p(x), exact", *_cells(result.log_px))
    usage = result.usage
    table.add_row("active latent variables", f"{usage.active_units}", f"of {family.n_variables}")
    if usage.codes_used is not None and usage.code_entropy is not None and family.n_states:
        most = min(result.rows, family.n_states)
        table.add_row("distinct codes", f"{usage.codes_used}", f"of at most {most:,}")
        table.add_row(
            "code entropy", f"{usage.code_entropy:.2f}", f"of at most {math.log(most):.2f}"
        )
    return Console(), table


def _cells(measured: Measured) -> tuple[str, str]:
    error = "" if measured.se is None else f"± {measured.se:.2f}"
    return f"{measured.value:.2f}", error


__all__ = ["command", "evaluation_table"]
