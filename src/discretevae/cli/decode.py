"""``discretevae decode``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import open_run, refuse_same_file

MAX_PICTURES = 120
"""Codes that are decoded to a picture, which more would make too small to see."""


@arguments.command("decode", "runs/digits codes.npy --out back.png")
@arguments.run
@click.argument("codes", metavar="CODES", type=arguments.PATH)
@arguments.path(
    "--out",
    f"File to write: .npy or .csv for the values in the units of the data, or .png for the first "
    f"{MAX_PICTURES}.",
    required=True,
)
@arguments.device
@arguments.as_json
def command(run_folder: Path, codes: Path, out: Path, device: str, as_json: bool) -> None:
    """Decode CODES, a .npy file as `encode` writes it, to rows: E[x|z] of each code.

    Codes of another type, width or range than those of RUN are refused.
    """
    from discretevae.codes.packing import decode_codes, read_codes

    refuse_same_file(out, codes, "codes")
    run = open_run(run_folder, device)
    limit = MAX_PICTURES if outputs.is_picture(out, run.config.model) else None
    rows = decode_codes(run.model, read_codes(codes, run.model.family)[:limit])
    outputs.write_rows(out, rows, run, f"{len(rows)} decoded codes")
    outputs.report_rows(as_json, out=out, rows=len(rows))
