"""``discretevae decompress``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import common


@click.command(
    "decompress",
    epilog=common.example("discretevae decompress runs/digits test.dvz --out rows.npy"),
)
@common.run_argument
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The .npy file to write: uint8 [rows, height, width] of pictures, else [rows, features].",
)
@common.json_option
def command(run_folder: Path, file: Path, out: Path, as_json: bool) -> None:
    """Make the rows of FILE again, which `compress` wrote with the same run RUN.

    They are whole numbers: 0 and 1, or 0 to 255. A file of another run, truncated or changed is
    refused, and nothing is written unless the rows have the checksum that the file says.
    """
    from discretevae.codes.compression.files import decompress
    from discretevae.system.files import array_bytes, write_atomic

    common.require_suffix(out, ".npy")
    common.refuse_same_file(out, file, "compressed rows")
    run = common.open_run(run_folder, "cpu")
    rows = decompress(run.model, file)
    shape = run.config.model.image_shape or rows.shape[1:]
    common.make_parent(out)
    write_atomic(out, array_bytes(rows.reshape(len(rows), *shape)))
    common.report_files(as_json, out=out, rows=len(rows))
