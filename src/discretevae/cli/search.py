"""``discretevae search``."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs, refuse_same_file, require_suffix
from discretevae.errors import ConfigError, DataError

if TYPE_CHECKING:
    from discretevae.codes.search.index import CodeIndex
    from discretevae.codes.search.neighbors import Neighbors
    from discretevae.data import Rows, Split
    from discretevae.run_folder.saved_run import Run
    from discretevae.system.arrays import Array

SHOWN = 12
"""Queries whose neighbors are printed or drawn."""

NEIGHBORS = 10
"""Of each query by default, where the index holds so many."""


class Places(click.ParamType[list[tuple[int, int]]]):
    """Places of a grid, such as ``0:0,3-4:2-5``."""

    name = "places"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[tuple[int, int]]:
        """Read the text."""
        found: list[tuple[int, int]] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?:(\d{1,3})(?:-(\d{1,3}))?", part.strip())
            if match is None:
                self.fail(f"{part[:40]!r} must be ROW:COLUMN, such as 0:0 or 0-3:4-7.", param, ctx)
            top, bottom, left, right = match.groups()
            rows = range(int(top), int(bottom or top) + 1)
            columns = range(int(left), int(right or left) + 1)
            found += itertools.product(rows, columns)
            if not rows or not columns:
                self.fail(f"{part[:40]!r} holds no places. Write the lower end first.", param, ctx)
        return found


@arguments.command("search", "digits.index --run runs/digits --k 10")
@click.argument("index_file", metavar="INDEX", type=arguments.PATH)
@click.argument("query", metavar="[QUERY]", required=False, shell_complete=arguments.complete_data)
@arguments.path("--run", "The run that the index was made with.", to="run_folder", required=True)
@arguments.option(
    "--k",
    f"Neighbors of each query.  [default: {NEIGHBORS}, or all rows if there are fewer]",
    type=arguments.COUNT,
)
@arguments.option(
    "--places",
    "Of a grid of codes: compare these places alone, ROW:COLUMN from 0 with commas between them; "
    "0-3:4-7 is a rectangle.  [default: all]",
    type=Places(),
)
@arguments.path("--out", "A .npz or .json of ids and distances.  [default: none]")
@arguments.path(
    "--picture", "A .png of the first queries and their neighbors; needs --data.  [default: none]"
)
@arguments.option(
    "--data",
    "With --picture: the rows that were indexed.",
    to="indexed",
    metavar="DATA",
    shell_complete=arguments.complete_data,
)
@arguments.option(
    "--data-split",
    "With --picture: which rows of DATA were indexed.",
    "all",
    type=click.Choice(arguments.SPLITS),
)
@arguments.option(
    "--split",
    "Which rows of QUERY.  [default: all; without QUERY, test]",
    type=click.Choice(arguments.SPLITS),
)
@arguments.device
@arguments.data_dir
@arguments.as_json
def command(
    index_file: Path,
    query: str | None,
    run_folder: Path,
    k: int | None,
    places: list[tuple[int, int]] | None,
    out: Path | None,
    picture: Path | None,
    indexed: str | None,
    data_split: Split,
    split: Split | None,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Find the rows of INDEX whose codes are nearest to those of the rows of QUERY.

    Needs the extra 'search'. The distance is the number of latent variables that differ; of a grid
    those of all places, or of --places. Rows at the same distance are sorted by id. QUERY is any
    data, a single picture too; without it, the queries are the test rows of the run's own data.
    Rows go by their ids, such as names of files; a row that is the query itself is marked.
    --picture needs the rows that were indexed.
    """
    from discretevae.codes.ids import ids_of
    from discretevae.codes.search.index import CodeIndex

    if out is not None:
        require_suffix(out, ".npz", ".json")
        refuse_same_file(out, index_file, "index")
        refuse_same_file(out, query, "queries")
    if picture is not None:
        require_suffix(picture, ".png", option="--picture")
        if indexed is None:
            raise ConfigError("--picture needs the rows that were indexed. Pass --data.")
    index = CodeIndex.load(index_file)
    k = min(NEIGHBORS, len(index)) if k is None else k
    split = split or ("test" if query is None else "all")
    source = Inputs(run_folder, query, split, device, data_dir)
    run, rows = source.run, source.rows()
    gallery = None
    if picture is not None:
        gallery = source.load(indexed, data_split)
        if gallery.image_shape is None:
            raise ConfigError(
                f"{picture}: rows of {gallery.name} are no pictures. Leave --picture out."
            )
    found = index.search(run.model, rows, k, places=places)
    if picture is not None and gallery is not None:
        _draw(index, run, rows, gallery, found, picture)
    ids = ids_of(rows)
    if out is not None:
        _write(out, found, ids)
    if as_json:
        facts = {"rows": len(rows), "k": k, "queries": ids.tolist()}
        outputs.print_json(found.to_dict() | facts)
        return
    if out is None and picture is None:
        _print(found, ids)
    if out is not None:
        outputs.report_rows(False, out=out, rows=len(rows))
    if picture is not None:
        click.echo(f"first {min(SHOWN, len(rows))} queries drawn in {picture}")


def _draw(
    index: CodeIndex, run: Run, rows: Rows, gallery: Rows, found: Neighbors, picture: Path
) -> None:
    import numpy as np
    import torch

    from discretevae.codes.ids import ids_of
    from discretevae.codes.packing import encode_rows
    from discretevae.plots.search import neighbor_figure

    if gallery.image_shape is None:
        return
    ids = found.ids[:SHOWN]
    names = (found.ids if found.names is None else found.names)[:SHOWN]
    places = _places(gallery, names)
    drawn, first = np.unique(ids, return_index=True)
    again = encode_rows(run.model, gallery.subset(torch.from_numpy(places.reshape(-1)[first])))
    wrong = drawn[(again != index.codes_of(drawn)).any(1)]
    if 2 * len(wrong) > len(drawn):  # of the right rows rounding may turn a bit here and there
        raise DataError(
            f"{gallery.name}: {len(wrong)} of {len(drawn)} rows have other codes than the rows of "
            "these ids in the index. Give the rows that were indexed, with their --data-split."
        )
    neighbors = gallery.binarized("none").batch(torch.from_numpy(places.reshape(-1)))
    figure = neighbor_figure(
        rows.binarized("none").batch(slice(0, SHOWN)),
        neighbors.reshape(*ids.shape, -1),
        gallery.image_shape,
        distances=found.distances[:SHOWN].tolist(),
        names=np.column_stack([ids_of(rows)[:SHOWN].astype(object), names]).tolist(),
        title=f"Queries, and the nearest of {len(index):,} rows; numbers are distances",
    )
    outputs.draw(figure, picture)


def _places(gallery: Rows, names: Array) -> Array:
    """Return the numbers of rows in the gallery by their names, or ids, ``[Q, k]``."""
    import numpy as np

    from discretevae.codes.ids import ids_of

    wanted, own = set(map(str, names.reshape(-1).tolist())), map(str, ids_of(gallery).tolist())
    place = {name: i for i, name in enumerate(own) if name in wanted}
    missing = sorted(wanted - set(place))
    if missing:
        raise DataError(
            f"{gallery.name}: has no row {missing[0]}, which was found. Give the rows that were "
            "indexed."
        )
    return np.array([[place[str(name)] for name in line] for line in names.tolist()])


def _write(out: Path, found: Neighbors, ids: Array) -> None:
    from discretevae.codes.tables import write_columns
    from discretevae.system.files import write_json

    outputs.make_parent(out)
    if out.suffix.lower() == ".json":
        write_json(out, {"queries": ids.tolist(), **found.to_dict()})
        return
    write_columns(out, {"queries": ids, **found.arrays()})


def _print(found: Neighbors, ids: Array) -> None:
    """Print a line for each of the first queries."""
    from discretevae.codes.ids import short_name

    names = found.ids if found.names is None else found.names
    for row, query in enumerate(ids[:SHOWN].tolist()):
        cells = []
        for column, (name, distance) in enumerate(
            zip(names[row], found.distances[row], strict=True)
        ):
            is_own = found.own is not None and found.own[row, column]
            cells.append(f"{short_name(name)} ({distance}{', itself' if is_own else ''})")
        click.echo(f"{short_name(query)}: {'  '.join(cells)}")
    if len(found.ids) > SHOWN:
        click.echo(f"… and {len(found.ids) - SHOWN:,} more queries; --out writes all of them")
