"""``discretevae encode``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs, check_device, refuse_same_file, require_suffix

if TYPE_CHECKING:
    from discretevae.codes.columns import BitsAs


@arguments.command("encode", "runs/digits digits --out codes.npy")
@arguments.path(
    "--out", "File to write: .npy, or .parquet, which needs the extra 'parquet'.", required=True
)
@arguments.path(
    "--ids",
    "With .parquet: a .npy file of whole numbers, one for each row.  [default: rows are counted "
    "from 0]",
    to="ids_path",
)
@arguments.option(
    "--as",
    "With .parquet: bits as bytes, or as text of 0 and 1.  [default: binary]",
    to="bits_as",
    type=click.Choice(["binary", "text"]),
)
@arguments.inputs("all")
@arguments.as_json
def command(
    source: Inputs, out: Path, ids_path: Path | None, bits_as: BitsAs | None, as_json: bool
) -> None:
    """Write the most likely code of every row of DATA (else of the run's own data), in its order.

    Bits are packed eight to a byte, the first bit highest: uint8 [rows, ceil(bits/8)], as
    numpy.packbits does. Categories are numbers from 0: uint8 [rows, variables], or uint16 or
    int64 where there are more. A Gaussian code is float32. Rows and codes may be larger than
    memory. Started by torchrun, several processes share the work.

    A .parquet file, for databases, holds an id for each row, the bits as bytes in one column, and a
    column for each category or real number.
    """
    from discretevae.codes.columns import write_parquet
    from discretevae.codes.ids import read_ids
    from discretevae.codes.packing import encode_rows
    from discretevae.system.ranks import joined

    require_suffix(out, ".npy", ".parquet")
    is_table = out.suffix.lower() == ".parquet"
    if not is_table and (ids_path is not None or bits_as is not None):
        raise click.UsageError("--ids and --as are for .parquet files. Choose such an --out.")
    refuse_same_file(out, ids_path, "ids")
    ids = None if ids_path is None else read_ids(ids_path)
    with joined(check_device(source.device)) as ranks:
        source = replace(source, device=str(ranks.device))
        # codes in a folder of shards would be read as one of them
        for path in (out, out.parent):
            refuse_same_file(path, source.name, "data")
        rows = source.rows()
        if ranks.is_first:
            outputs.make_parent(out)
        write = partial(write_parquet, ids=ids, bits_as=bits_as or "binary")
        with outputs.counting_bar("encoding", len(rows)) as progress:
            written = (write if is_table else encode_rows)(
                source.run.model,
                rows,
                progress=progress if ranks.is_first else None,
                out=out,
                ranks=ranks,
            )
    if not ranks.is_first:
        return
    if isinstance(written, list):
        outputs.report_rows(as_json, out=out, rows=len(rows), columns=written)
    else:
        outputs.report_rows(
            as_json, out=out, rows=len(written), dtype=str(written.dtype), shape=list(written.shape)
        )
