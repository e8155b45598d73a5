"""``discretevae impute``."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs

if TYPE_CHECKING:
    from torch import Tensor

    from discretevae.data import Rows

TEXT_TABLES = (".csv", ".tsv", ".tab", ".txt", ".data", ".gz")


@arguments.command("impute", "runs/passengers passengers.csv --out filled.csv")
@arguments.option(
    "--draw/--mean",
    "Fill in draws, which vary as real cells do, or the best guess of each cell.  [default: mean]",
)
@arguments.samples
@arguments.path("--out", "The .csv to write.  [default: RUN/imputed.csv]")
@arguments.seed
@arguments.inputs("all")
@arguments.as_json
def command(
    source: Inputs, draw: bool | None, samples: int, out: Path | None, seed: int, as_json: bool
) -> None:
    """Fill the missing cells of DATA (else of the run's own data) by what else is in their row.

    What is filled in is the mean of the cell, or its likeliest level, over the codes that the
    cells of the row allow. All other cells and columns of a text table stay as they are. RUN must
    have been trained on a table with texts or missing cells, or with --likelihood mixed.
    """
    from discretevae.codes.imputing import impute

    source.check_output(out, "--out", ".csv")
    out = out or source.folder / "imputed.csv"
    rows = source.rows()
    with outputs.counting_bar("filling cells", len(rows)) as progress:
        x = impute(
            source.run.model, rows, draw=bool(draw), samples=samples, seed=seed, progress=progress
        )
    filled = _write(out, source, rows, x)
    outputs.report_rows(as_json, out=out, rows=len(rows), filled_cells=filled)


def _write(out: Path, source: Inputs, rows: Rows, x: Tensor) -> int:
    """Write the table with its holes filled; return how many there were."""
    import torch

    from discretevae.data.readers.dialect import swapped
    from discretevae.data.readers.tables import read_cells
    from discretevae.system.files import write_text

    values = outputs.in_source_units(x, source.run)
    before = torch.cat([part.isnan() for part in rows.chunks(1 << 16)])
    holes = before.nonzero().tolist()
    path, schema = Path(source.name), source.run.schema
    if schema is None or schema.columns is None or path.suffix.lower() not in TEXT_TABLES:
        outputs.write_values(out, values, source.run)
        return len(holes)
    names, cells, dialect = read_cells(path, schema.request(source.run.config.data))
    place = {name: names.index(name) for name in schema.columns}
    kept = [cells[number] for number in rows.source_numbers.tolist()]
    for row, column in holes:
        text = str(values[row, column])
        is_comma = dialect.has_decimal_commas and isinstance(values[row, column], float)
        kept[row][place[schema.columns[column]]] = swapped(text) if is_comma else text
    text_file = io.StringIO(newline="")
    csv.writer(text_file, lineterminator="\n").writerows([names, *kept])
    write_text(outputs.make_parent(out), text_file.getvalue())
    return len(holes)
