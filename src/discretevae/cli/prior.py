"""``discretevae prior``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import common


@click.command(
    "prior",
    epilog=common.example("discretevae prior runs/digits --out runs/digits-ar"),
)
@common.run_argument
@click.option(
    "--prior",
    default="autoregressive",
    show_default=True,
    help="The new p(z): autoregressive, autoregressive:512 (with these hidden widths), factorized, "
    "mixture:10 (for Gaussian codes) or layer:200 (a second layer, for bits).",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the new run to make."
)
@click.option(
    "--epochs", type=int, default=20, show_default=True, help="Passes over the training codes."
)
@click.option("--batch-size", type=int, default=256, show_default=True, help="Rows per step.")
@click.option("--lr", type=float, default=5e-3, show_default=True, help="First step size of Adam.")
@click.option(
    "--samples",
    type=int,
    default=100,
    show_default=True,
    help="S, draws of z per row of the S-sample bound.",
)
@common.seed_option
@common.device_option
@common.data_dir_option
@common.json_option
def command(
    run_folder: Path,
    prior: str,
    out: Path,
    epochs: int,
    batch_size: int,
    lr: float,
    samples: int,
    seed: int,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Fit another prior to the codes of RUN, and write a new run that has it.

    Encoder and decoder stay as they are. What a prior gains is gained in the ELBO and in its
    samples; `discretevae evaluate --split-kl` says beforehand how much there is to gain. The old
    prior and the new one are measured on the run's test rows, in nats per row, and their samples
    drawn side by side.
    """
    from discretevae.data import BUILTIN_NAMES, load_data
    from discretevae.experiments.refit import refit_prior

    common.require_positive("samples", samples)
    common.require_seed(seed)
    run = common.open_run(run_folder, device)
    source = run.config.data
    data = load_data(
        source.source,
        data_dir=data_dir,
        image_size=source.image_size,
        divisor=None if source.source in BUILTIN_NAMES else source.divisor,
        progress=True,
    )
    with common.task_bar() as told:
        result = refit_prior(
            run, data, prior, out=out, epochs=epochs, batch_size=batch_size, lr=lr,
            samples=samples, seed=seed, progress=told,
        )  # fmt: skip
    if as_json:
        common.print_json(result.to_dict())
        return
    lines = [("prior", "test ELBO", "KL", f"{samples}-sample bound")]
    for name, found in ((str(run.config.model.prior), result.before), (prior, result.after)):
        values = (found.elbo, found.kl, found.bound)
        cells = (f"{v.value:.2f}" + ("" if v.se is None else f" ± {v.se:.2f}") for v in values)
        lines.append((name, *cells))  # type: ignore[arg-type]
    common.print_columns(lines)
    error = "" if result.gain.se is None else f" ± {result.gain.se:.2f}"
    click.echo(f"gain     {result.gain.value:+.2f}{error} nats per row, row by row")
    click.echo(f"run      {result.folder}/")
    for path in result.figures:
        click.echo(f"picture  {path}")


__all__ = ["command"]
