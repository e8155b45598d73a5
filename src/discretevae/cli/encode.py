"""``discretevae encode``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs, check_device, refuse_same_file, require_suffix

if TYPE_CHECKING:
    from discretevae.data import Rows


@arguments.command("encode", "runs/digits digits --out codes.npy")
@arguments.path(
    "--out", "File to write: .npy, or .parquet, which needs the extra 'parquet'.", required=True
)
@arguments.path(
    "--ids",
    "With .parquet: a .npy file of whole numbers, one for each row.  [default: the ids of the "
    "rows, else their numbers in the source]",
    to="ids_path",
)
@arguments.refine
@arguments.inputs("all")
@arguments.as_json
def command(source: Inputs, out: Path, ids_path: Path | None, refine: int, as_json: bool) -> None:
    """Write the most likely code of every row of DATA (else of the run's own data), in its order.

    Bits are packed eight to a byte, the first bit highest: uint8 [rows, ceil(bits/8)], as
    numpy.packbits does. Categories are numbers from 0: uint8 [rows, variables], or uint16 or
    int64 where there are more. A Gaussian code is float32. Rows and codes may be larger than
    memory. Started by torchrun, several processes share the work.

    A .parquet file, for databases, holds an id for each row, the bits as bytes in one column, and a
    column for each category or real number. Beside codes.npy, codes.ids.csv holds the ids of the
    rows, such as names of files, unless they only count the rows from 0.
    """
    from discretevae.codes.columns import write_parquet
    from discretevae.codes.ids import read_ids
    from discretevae.codes.packing import encode_rows
    from discretevae.system.ranks import joined

    require_suffix(out, ".npy", ".parquet")
    is_table = out.suffix.lower() == ".parquet"
    if not is_table and ids_path is not None:
        raise click.UsageError("--ids is for .parquet files. Choose such an --out.")
    refuse_same_file(out, ids_path, "ids")
    ids = None if ids_path is None else read_ids(ids_path)
    with joined(check_device(source.device)) as ranks:
        source = replace(source, device=str(ranks.device))
        # codes in a folder of shards would be read as one of them
        ids_out = None if is_table else out.with_suffix(".ids.csv")
        for path in (out, out.parent, *([ids_out] if ids_out else [])):
            refuse_same_file(path, source.name, "data")
        rows = source.rows()
        if ranks.is_first:
            outputs.make_parent(out)
        write = partial(write_parquet, ids=ids)
        with (
            outputs.counting_bar("encoding", len(rows)) as progress,
            _ids_beside(ids_out if ranks.is_first else None, rows) as has_ids,
        ):
            written = (write if is_table else encode_rows)(
                source.run.model,
                rows,
                progress=progress if ranks.is_first else None,
                out=out,
                ranks=ranks,
                refine=refine,
            )
    if not ranks.is_first:
        return
    if isinstance(written, list):
        outputs.report_rows(as_json, out=out, rows=len(rows), columns=written)
        return
    facts = {"dtype": str(written.dtype), "shape": list(written.shape)}
    outputs.report_rows(
        as_json, out=out, rows=len(written), **facts, ids=str(ids_out) if has_ids else None
    )
    if has_ids and not as_json:
        click.echo(f"their ids written to {ids_out}")


@contextlib.contextmanager
def _ids_beside(path: Path | None, rows: Rows) -> Iterator[bool]:
    """Write the ids of rows to a file that takes its name when the block is left; yield if so.

    Ids that only count the rows are not written; those of earlier codes are then removed.
    """
    from discretevae.codes.ids import are_counted, ids_of
    from discretevae.codes.tables import csv_parts
    from discretevae.system.files import atomic_file

    if path is None:
        yield False
    elif are_counted(ids := ids_of(rows)):
        yield False
        path.unlink(missing_ok=True)
    else:
        with atomic_file(path) as file:
            for part in csv_parts({"id": ids}):
                file.write(part)
            yield True
