"""``discretevae compress``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs


@arguments.command("compress", "runs/digits digits --out digits.dvz")
@arguments.option(
    "--lanes",
    "Stacks that are coded side by side: more are faster and cost some 20 bytes each.  "
    "[default: one for each 256 rows, at most 16]",
    type=int,
)
@arguments.path("--out", "The .dvz file to write.", required=True)
@arguments.inputs("all", has_device=False)
@arguments.as_json
def command(source: Inputs, lanes: int | None, out: Path, as_json: bool) -> None:
    """Compress the rows of DATA (else of the run's own data) without loss, with the model of RUN.

    Needs the extra 'compress'. `discretevae decompress` restores them to the bit, with the same
    run, on any machine. The likelihood must be bernoulli, for values 0 and 1, or one of 8-bit
    values: beta-binomial or logistic. The code must be discrete, its prior fixed, factorized or
    autoregressive. Rows of a run that was trained with --binarize are made binary first, 1 where x
    > 0.5.
    """
    from discretevae.codes.compression.bits_back import Scheme
    from discretevae.codes.compression.files import compress
    from discretevae.system.files import write_atomic

    Scheme(source.run.model)  # before data are read
    source.check_output(out, "--out", ".dvz")
    rows = source.rows()
    with outputs.counting_bar("compressing", len(rows)) as progress:
        content = compress(source.run.model, rows, lanes=lanes, progress=progress)
    write_atomic(outputs.make_parent(out), content)
    is_changed = rows.is_binary and not rows.binarized("none").is_binary
    per_value = 8 * len(content) / (len(rows) * rows.n_features)
    if as_json:
        facts = {"bits_per_dimension": per_value, "binarized": is_changed}
        outputs.report_rows(True, out=out, rows=len(rows), bytes=len(content), **facts)
        return
    if is_changed:
        click.echo("rows made binary at 0.5, as in training: the grey values are not kept")
    click.echo(
        f"{len(rows):,} rows written to {out}: {len(content):,} bytes, "
        f"{per_value:.4f} bits per value"
    )
