"""``discretevae encode``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import common

if TYPE_CHECKING:
    from discretevae.codes.columns import BitsAs


@click.command(
    "encode", epilog=common.example("discretevae encode runs/digits digits --out codes.npy")
)
@common.run_argument
@common.data_argument
@common.data_option
@common.split_option("all")
@common.device_option
@common.data_dir_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write: .npy, or .parquet, which needs the extra 'parquet'.",
)
@click.option(
    "--ids",
    "ids_path",
    type=click.Path(path_type=Path),
    help="Of .parquet: a .npy file of whole numbers, one for each row.  [default: rows are counted "
    "from 0]",
)
@click.option(
    "--as",
    "bits_as",
    type=click.Choice(["binary", "text"]),
    help="Of .parquet: bits as bytes, or as text of 0 and 1.  [default: binary]",
)
@common.json_option
def command(
    run_folder: Path,
    data_argument: str | None,
    data_option: str | None,
    split: str,
    device: str,
    data_dir: Path | None,
    out: Path,
    ids_path: Path | None,
    bits_as: BitsAs | None,
    as_json: bool,
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
    from discretevae.model.row_checks import require_fit
    from discretevae.system.ranks import joined

    common.require_suffix(out, ".npy", ".parquet")
    is_table = out.suffix.lower() == ".parquet"
    if not is_table and (ids_path is not None or bits_as is not None):
        raise click.UsageError("--ids and --as are for .parquet files. Choose such an --out.")
    common.refuse_same_file(out, ids_path, "ids")
    ids = None if ids_path is None else read_ids(ids_path)
    with joined(common.check_device(device)) as ranks:
        run = common.open_run(run_folder, str(ranks.device))
        source = data_argument or data_option or run.config.data.source
        # codes in a folder of shards would be read as one of them
        for path in (out, out.parent):
            common.refuse_same_file(path, source, "data")
        rows = common.open_rows(
            run.config, data_argument, data_option, split=split, data_dir=data_dir
        )
        require_fit(run.model, rows)  # before a folder is made
        if ranks.is_first:
            common.make_parent(out)
        write = partial(write_parquet, ids=ids, bits_as=bits_as or "binary")
        with common.counting_bar("encoding", len(rows)) as progress:
            written = (write if is_table else encode_rows)(
                run.model,
                rows,
                progress=progress if ranks.is_first else None,
                out=out,
                ranks=ranks,
            )
    if not ranks.is_first:
        return
    if isinstance(written, list):
        common.report_files(as_json, out=out, rows=len(rows), columns=written)
    else:
        common.report_files(
            as_json, out=out, rows=len(written), dtype=str(written.dtype), shape=list(written.shape)
        )
