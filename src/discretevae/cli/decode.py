"""``discretevae decode``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import common


@click.command(
    "decode", epilog=common.example("discretevae decode runs/digits codes.npy --out back.png")
)
@common.run_argument
@click.argument("codes", metavar="CODES", type=click.Path(path_type=Path))
@common.device_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write: .npy for the values (float32), or .png for the "
    "first 120 as a picture.",
)
@common.json_option
def command(run_folder: Path, codes: Path, device: str, out: Path, as_json: bool) -> None:
    """Decode CODES, a .npy file as `encode` writes it, to rows: E[x|z] of each code.

    Codes of another type, width or range than those of RUN are refused.
    """
    from discretevae.codes.packing import decode_codes, read_codes

    common.refuse_same_file(out, codes, "codes")
    run = common.open_run(run_folder, device)
    shape = run.config.model.image_shape
    picture = common.is_picture(out, shape)
    array = read_codes(codes, run.model.family)
    array = array[:120] if picture else array
    rows = decode_codes(run.model, array)
    common.write_pictures(out, rows, shape, f"{len(rows)} decoded codes")
    common.report_files(as_json, out=out, rows=len(rows))
