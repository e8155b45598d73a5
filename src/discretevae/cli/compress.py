"""``discretevae compress``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import common


@click.command(
    "compress", epilog=common.example("discretevae compress runs/digits digits --out digits.dvz")
)
@common.run_argument
@common.data_argument
@common.data_option
@common.split_option("all")
@click.option(
    "--lanes",
    type=int,
    help="Stacks worked on side by side: more are faster and cost some 20 bytes each.  "
    "[default: one for each 256 rows, at most 16]",
)
@common.data_dir_option
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The .dvz file to write."
)
@common.json_option
def command(
    run_folder: Path,
    data_argument: str | None,
    data_option: str | None,
    split: str,
    lanes: int | None,
    data_dir: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Compress the rows of DATA (else of the run's own data) without loss, with the run RUN.

    Needs the extra 'compress'. `discretevae decompress` makes them again to the bit, with the same
    run, on any machine. The likelihood must be bernoulli, for values 0 and 1, or one of 8-bit
    values: beta-binomial or logistic. The code must be discrete, its prior fixed, factorized or
    autoregressive. Rows of a run that was trained with --binarize are made binary first, 1 where x
    > 0.5.
    """
    from discretevae.codes.compression.bits_back import scheme_for
    from discretevae.codes.compression.files import compress
    from discretevae.system.files import write_atomic

    common.require_suffix(out, ".dvz")
    run = common.open_run(run_folder, "cpu")
    scheme_for(run.model)  # before data are read
    source = data_argument or data_option or run.config.data.source
    common.refuse_same_file(out, source, "data")
    rows = common.open_rows(run.config, data_argument, data_option, split=split, data_dir=data_dir)
    with common.counting_bar("compressing", len(rows)) as progress:
        content = compress(run.model, rows, lanes=lanes, progress=progress)
    common.make_parent(out)
    write_atomic(out, content)
    is_changed = rows.is_binary and not rows.binarized("none").is_binary
    per_dimension = 8 * len(content) / (len(rows) * rows.n_features)
    if as_json:
        common.print_json(
            {
                "out": str(out),
                "rows": len(rows),
                "bytes": len(content),
                "bits_per_dimension": per_dimension,
                "binarized": is_changed,
            }
        )
        return
    if is_changed:
        click.echo("rows made binary at 0.5, as in training: the grey values are not kept")
    click.echo(
        f"{len(rows):,} rows written to {out}: {len(content):,} bytes, "
        f"{per_dimension:.4f} bits per value"
    )
