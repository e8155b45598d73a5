"""``discretevae search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs, refuse_same_file, require_suffix
from discretevae.errors import ConfigError, DataError

if TYPE_CHECKING:
    from discretevae.codes.search.index import CodeIndex, Neighbors
    from discretevae.data import Rows, Split
    from discretevae.run_folder.saved_run import Run

SHOWN = 12
"""Queries whose neighbors are printed or drawn."""

NEIGHBORS = 10
"""Of each query by default, where the index holds so many."""


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
    "--rerank",
    "Number of nearest candidates to sort by ln p(x|z), the query under their codes, before the "
    "first k are kept.  [default: no reranking]",
    type=int,
)
@arguments.option(
    "--effort",
    "Lists to look through (ivf) or candidates to keep (hnsw): more miss fewer neighbors.  "
    "[default: the index's own]",
    type=int,
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
    rerank: int | None,
    effort: int | None,
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

    Needs the extra 'search'. The distance is the number of latent variables that differ. Rows at
    the same distance are sorted by id. Without QUERY, the queries are the test rows of the run's
    own data. --picture needs ids that count the rows of DATA from 0.
    """
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
    found = index.search(run.model, rows, k, rerank=rerank, effort=effort)
    if picture is not None and gallery is not None:
        _draw(index, run, rows, gallery, found, picture)
    if out is not None:
        _write(out, found)
    if as_json:
        outputs.print_json(found.to_dict() | {"rows": len(rows), "k": k})
        return
    if out is None and picture is None:
        _print(found)
    if out is not None:
        outputs.report_rows(False, out=out, rows=len(rows))
    if picture is not None:
        click.echo(f"first {min(SHOWN, len(rows))} queries drawn in {picture}")


def _draw(
    index: CodeIndex, run: Run, rows: Rows, gallery: Rows, found: Neighbors, picture: Path
) -> None:
    import numpy as np
    import torch

    from discretevae.codes.packing import encode_rows
    from discretevae.plots.search import neighbor_figure

    ids = found.ids[:SHOWN]
    if ids.max() >= len(gallery):
        raise DataError(
            f"{gallery.name}: has {len(gallery):,} rows, but id {ids.max()} was found. Give the "
            "rows that were indexed, whose ids count them from 0."
        )
    if gallery.image_shape is None:
        return
    drawn = np.unique(ids)
    again = encode_rows(run.model, gallery.subset(torch.from_numpy(drawn)))
    wrong = drawn[(again != index.codes_of(drawn)).any(1)]
    if 2 * len(wrong) > len(drawn):  # of the right rows rounding may turn a bit here and there
        raise DataError(
            f"{gallery.name}: {len(wrong)} of {len(drawn)} rows have other codes than the rows of "
            "these ids in the index. Give the rows that were indexed, with their --data-split."
        )
    neighbors = gallery.binarized("none").batch(torch.from_numpy(ids.reshape(-1).copy()))
    figure = neighbor_figure(
        rows.binarized("none").batch(slice(0, SHOWN)),
        neighbors.reshape(*ids.shape, -1),
        gallery.image_shape,
        distances=found.distances[:SHOWN].tolist(),
        title=f"Queries, and the nearest of {len(index):,} rows; numbers are distances",
    )
    outputs.draw(figure, picture)


def _write(out: Path, found: Neighbors) -> None:
    from discretevae.codes.tables import write_columns
    from discretevae.system.files import write_json

    outputs.make_parent(out)
    if out.suffix.lower() == ".json":
        write_json(out, found.to_dict())
        return
    arrays = {"distances": found.distances, "ids": found.ids}
    if found.log_likelihoods is not None:
        arrays["log_likelihoods"] = found.log_likelihoods
    write_columns(out, arrays)


def _print(found: Neighbors) -> None:
    """Print a line for each of the first queries."""
    for row, (ids, distances) in enumerate(
        zip(found.ids[:SHOWN].tolist(), found.distances[:SHOWN].tolist(), strict=True)
    ):
        pairs = (f"{number} ({distance})" for number, distance in zip(ids, distances, strict=True))
        click.echo(f"{row}: {'  '.join(pairs)}")
    if len(found.ids) > SHOWN:
        click.echo(f"… and {len(found.ids) - SHOWN:,} more queries; --out writes all of them")
