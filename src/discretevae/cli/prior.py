"""``discretevae prior``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import load_dataset_of, open_run


@arguments.command("prior", "runs/digits transformer")
@arguments.run
@click.argument("prior", metavar="[PRIOR]", required=False)
@arguments.option(
    "--condition",
    "Whether a transformer or convolution learns p(z|label): none or label.",
    "none",
    type=click.Choice(["none", "label"]),
)
@arguments.path("--out", "Folder of the new run.  [default: RUN-PRIOR]")
@arguments.option("--epochs", "Passes over the training codes.", 20)
@arguments.option("--batch-size", "Rows per step.", 256)
@arguments.option(
    "--lr",
    "Initial learning rate of Adam.  [default: 0.005; of a transformer 0.002]",
    type=float,
)
@arguments.samples
@arguments.seed
@arguments.device
@arguments.data_dir
@arguments.as_json
def command(
    run_folder: Path, prior: str | None, device: str, data_dir: Path | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Fit another prior to the codes of RUN, and write a new run that has it.

    PRIOR is autoregressive (the default) or autoregressive:512 (with these hidden widths);
    convolution (for grids, and their default) or convolution:4x64 (layers and their width);
    transformer or transformer:2x128 (over the places of a grid or the variables of a flat code);
    factorized; or mixture:10 (for Gaussian codes).

    Encoder and decoder stay as they are. A better prior improves the ELBO and the samples.
    The old prior and the new one are measured on the run's test rows, in nats per row, and their
    samples drawn side by side.
    """
    from discretevae.config import PriorSpec
    from discretevae.experiments.refit import refit_prior

    run = open_run(run_folder, device)
    prior = prior or ("convolution" if run.config.model.latent.grid else "autoregressive")
    old = run_folder if run_folder.name else run_folder.resolve()
    options["out"] = options["out"] or Path(f"{old}-{PriorSpec.of(prior).kind}")
    data = load_dataset_of(run.config.data, run.schema, data_dir)
    with outputs.task_bar() as progress:
        result = refit_prior(run, data, prior, progress=progress, **options)
    if as_json:
        outputs.print_json(result.to_dict())
        return
    lines = [("prior", "test ELBO", "KL", f"{options['samples']}-sample bound", "bits/dimension")]
    for model, found in ((run.model, result.before), (result.model, result.after)):
        bits = "–" if found.bits_per_dimension is None else f"{found.bits_per_dimension:.4f}"
        figures = (f"{found.elbo:.2f}", f"{found.kl:.2f}", f"{found.bound:.2f}", bits)
        lines.append((str(model.config.prior), *figures))
    outputs.print_table(lines)
    click.echo(f"gain     {result.gain:+.2f} nats per row, row by row")
    click.echo(f"run      {result.folder}/")
    for path in result.figures:
        outputs.print_paths(picture=path)
