"""``discretevae search``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import common

if TYPE_CHECKING:
    from discretevae.codes.search.index import CodeIndex, Neighbors
    from discretevae.data import Rows
    from discretevae.run_folder.checkpoint import Run

SHOWN = 12
"""Queries of which neighbors are printed or pictured."""

NEIGHBORS = 10
"""Of each query, where nothing else is asked for and the index holds so many."""


@click.command(
    "search",
    epilog=common.example("discretevae search digits.index --run runs/digits --k 10"),
)
@click.argument("index_file", metavar="INDEX", type=click.Path(path_type=Path))
@click.argument("query", metavar="[QUERY]", required=False)
@click.option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path),
    required=True,
    help="The run that the index was made with.",
)
@click.option(
    "--k", type=int, help="Neighbors of each query.  [default: 10, or all rows if there are fewer]"
)
@click.option(
    "--rerank",
    type=int,
    help="Candidates by distance that are sorted anew by ln p(x|z), the query under their codes, "
    "before the first k are kept.  [default: no such step]",
)
@click.option(
    "--effort",
    type=int,
    help="Lists looked through (ivf) or candidates kept (hnsw): more miss fewer neighbors.  "
    "[default: the index's own]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A .npz or .json of ids and distances.  [default: not written]",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="A .png of the first queries and their neighbors; needs --data.  [default: not drawn]",
)
@click.option("--data", "indexed", metavar="DATA", help="Of --picture: the rows that were indexed.")
@click.option(
    "--data-split",
    type=click.Choice(common.SPLITS),
    default="all",
    show_default=True,
    help="Of --picture: which rows of DATA were indexed.",
)
@click.option(
    "--split",
    type=click.Choice(common.SPLITS),
    help="Which rows of QUERY.  [default: all; without QUERY, test]",
)
@common.device_option
@common.data_dir_option
@common.json_option
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
    data_split: str,
    split: str | None,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Find the rows of INDEX whose codes are nearest to those of the rows of QUERY.

    Needs the extra 'search'. The distance is the number of latent variables that differ. Rows at
    the same distance are sorted by id. Without QUERY, the test rows of the run's own data are asked
    for. --picture needs ids that count the rows of DATA from 0.
    """
    from discretevae.codes.search.index import CodeIndex

    if k is not None:
        common.require_positive("k", k)
    if out is not None:
        common.require_suffix(out, ".npz", ".json")
        for path in (index_file, query):
            common.refuse_same_file(out, path, "index" if path is index_file else "queries")
    index = CodeIndex.load(index_file)
    k = min(NEIGHBORS, len(index)) if k is None else k
    run = common.open_run(run_folder, device)
    split = split or ("test" if query is None else "all")
    rows = common.open_rows(run.config, query, None, split=split, data_dir=data_dir)
    gallery = None
    if picture is not None:
        gallery = _pictured(run, picture, indexed, data_split, data_dir)
    _prepare(index)
    found = index.search(run.model, rows, k, rerank=rerank, effort=effort)
    if picture is not None and gallery is not None:
        _draw(index, run, rows, gallery, found, picture)
    if out is not None:
        _write(out, found)
    if as_json:
        common.print_json(found.to_dict() | {"rows": len(rows), "k": k})
        return
    if out is None and picture is None:
        _print(found)
    if out is not None:
        common.report_files(False, out=out, rows=len(rows))
    if picture is not None:
        click.echo(f"first {min(SHOWN, len(rows))} queries drawn in {picture}")


def _prepare(index: CodeIndex) -> None:
    """Build the structure that is searched; a note says how long it took if one could notice."""
    began = time.perf_counter()
    index.prepare()
    seconds = time.perf_counter() - began
    if seconds >= 1:
        click.echo(
            f"Note: {index.kind} of {len(index):,} rows was built in {seconds:.1f} s, as for every "
            "search: files hold codes and ids only.",
            err=True,
        )


def _pictured(
    run: Run, picture: Path, indexed: str | None, split: str, data_dir: Path | None
) -> Rows:
    """The rows that were indexed, which are to be pictures."""
    from discretevae.errors import ConfigError

    common.require_suffix(picture, ".png", option="--picture")
    if indexed is None:
        raise ConfigError("--picture needs the rows that were indexed. Pass --data.")
    rows = common.open_rows(run.config, indexed, None, split=split, data_dir=data_dir)
    if rows.image_shape is None:
        raise ConfigError(f"{picture}: rows of {rows.name} are no pictures. Leave --picture out.")
    return rows


def _draw(
    index: CodeIndex, run: Run, rows: Rows, gallery: Rows, found: Neighbors, picture: Path
) -> None:
    import numpy as np
    import torch

    from discretevae.codes.packing import encode_rows
    from discretevae.errors import DataError
    from discretevae.plots.pictures import save_figure
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
    shown = gallery.binarized("none").batch(torch.from_numpy(ids.reshape(-1).copy()))
    figure = neighbor_figure(
        rows.binarized("none").batch(slice(0, SHOWN)),
        shown.reshape(*ids.shape, -1),
        gallery.image_shape,
        distances=found.distances[:SHOWN].tolist(),
        title=f"Queries, and the nearest of {len(index):,} rows; numbers are distances",
    )
    common.make_parent(picture)
    save_figure(figure, picture)


def _write(out: Path, found: Neighbors) -> None:
    import numpy as np

    from discretevae.system.files import atomic_file, write_json

    common.make_parent(out)
    if out.suffix.lower() == ".json":
        write_json(out, found.to_dict())
        return
    arrays = {"distances": found.distances, "ids": found.ids}
    if found.log_likelihoods is not None:
        arrays["log_likelihoods"] = found.log_likelihoods
    with atomic_file(out) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _print(found: Neighbors) -> None:
    """A line for each of the first queries."""
    for row, (ids, distances) in enumerate(
        zip(found.ids[:SHOWN].tolist(), found.distances[:SHOWN].tolist(), strict=True)
    ):
        pairs = (f"{number} ({distance})" for number, distance in zip(ids, distances, strict=True))
        click.echo(f"{row}: {'  '.join(pairs)}")
    if len(found.ids) > SHOWN:
        click.echo(f"… and {len(found.ids) - SHOWN:,} more queries; --out writes all of them")
