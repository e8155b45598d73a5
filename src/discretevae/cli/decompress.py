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
    "The .npy file to write: [rows, height, width] of images, else [rows, features]; or a .csv.",
    required=True,
)
@arguments.as_json
def command(run_folder: Path, file: Path, out: Path, as_json: bool) -> None:
    """Restore the rows of FILE, which `compress` wrote with the same run RUN.

    They are in the units of the run's data, so that every command takes them: what was made binary
    is 0 or the divisor of the data. A file of another run, truncated or changed is
    refused, and nothing is written unless the rows have the checksum that the file states.
    """
    from discretevae.codes.compression.files import decompress

    require_suffix(out, ".npy", ".csv")
    refuse_same_file(out, file, "compressed rows")
    run = open_run(run_folder, "cpu")
    rows = decompress(run.model, file)
    outputs.write_values(out, outputs.whole_in_source_units(rows, run), run)
    outputs.report_rows(as_json, out=out, rows=len(rows))
