"""``discretevae decompress``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import open_run, refuse_same_file, require_suffix


@arguments.command("decompress", "runs/digits test.dvz --out rows.npy")
@arguments.run
@click.argument("file", metavar="FILE", type=arguments.PATH)
@arguments.path(
    "--out",
    "The .npy file to write: uint8 [rows, height, width] of images, else [rows, features].",
    required=True,
)
@arguments.as_json
def command(run_folder: Path, file: Path, out: Path, as_json: bool) -> None:
    """Restore the rows of FILE, which `compress` wrote with the same run RUN.

    They are whole numbers: 0 and 1, or 0 to 255. A file of another run, truncated or changed is
    refused, and nothing is written unless the rows have the checksum that the file states.
    """
    from discretevae.codes.compression.files import decompress
    from discretevae.system.files import array_bytes, write_atomic

    require_suffix(out, ".npy")
    refuse_same_file(out, file, "compressed rows")
    run = open_run(run_folder, "cpu")
    rows = decompress(run.model, file)
    shape = run.config.model.image_shape or rows.shape[1:]
    write_atomic(outputs.make_parent(out), array_bytes(rows.reshape(len(rows), *shape)))
    outputs.report_rows(as_json, out=out, rows=len(rows))
