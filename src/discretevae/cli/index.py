"""``discretevae index``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import common

KINDS = ("flat", "ivf", "hnsw")


@click.command(
    "index", epilog=common.example("discretevae index runs/digits digits --out digits.index")
)
@common.run_argument
@common.data_argument
@common.data_option
@common.split_option("all")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The .index file to write.  [default: that of --add-to]",
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="How it is searched: flat is exact; ivf and hnsw look at a part of the rows.  "
    "[default: flat]",
)
@click.option(
    "--ids",
    "ids_file",
    type=click.Path(path_type=Path),
    help="A .npy file of whole numbers, one for each row.  [default: rows are counted from 0]",
)
@click.option(
    "--add-to",
    type=click.Path(path_type=Path),
    help="An index that gets the rows too; it is written over unless --out is given.",
)
@click.option(
    "--remove",
    "remove_file",
    type=click.Path(path_type=Path),
    help="A .npy file of ids that are taken out of the index --add-to; no rows are added unless "
    "DATA is given.",
)
@common.device_option
@common.data_dir_option
@common.json_option
def command(
    run_folder: Path,
    data_argument: str | None,
    data_option: str | None,
    split: str,
    out: Path | None,
    kind: str | None,
    ids_file: Path | None,
    add_to: Path | None,
    remove_file: Path | None,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Put the code of every row of DATA (else of the run's own data) into an index for `search`.

    The distance is the number of latent variables that differ. With --add-to, rows of DATA go into
    an existing index, behind its largest id unless --ids says otherwise; with --remove as well, the
    ids in that file are taken out first.
    """
    from discretevae.codes.ids import read_ids
    from discretevae.codes.search.hamming import require_searchable
    from discretevae.codes.search.index import CodeIndex
    from discretevae.errors import ConfigError
    from discretevae.run_folder.checkpoint import load_config

    if add_to is None and remove_file is not None:
        raise ConfigError("--remove takes ids out of an index. Name it with --add-to.")
    if add_to is not None and kind is not None:
        raise ConfigError("--kind is settled when an index is made. Leave it out with --add-to.")
    target = out or add_to
    if target is None:
        raise ConfigError("nowhere to write the index. Pass --out.")
    common.require_suffix(target, ".index")
    source = data_argument or data_option
    for path, what in ((source, "data"), (ids_file, "ids"), (remove_file, "ids")):
        common.refuse_same_file(target, path, what)
    ids = None if ids_file is None else read_ids(ids_file)
    gone = None if remove_file is None else read_ids(remove_file)
    index = None if add_to is None else CodeIndex.load(add_to)
    config = load_config(run_folder)
    require_searchable(config.model.latent)
    run = common.open_run(run_folder, device)
    if index is not None:
        index.require_model(run.model)
        if gone is not None:
            index.remove(gone)
    if index is None or gone is None or source is not None:
        rows = common.open_rows(
            run.config, data_argument, data_option, split=split, data_dir=data_dir
        )
        with common.counting_bar("encoding", len(rows)) as progress:
            if index is None:
                index = CodeIndex.build(
                    run.model,
                    rows,
                    kind=kind or "flat",  # type: ignore[arg-type]
                    ids=ids,
                    progress=progress,
                )
            else:
                index.add(run.model, rows, ids=ids, progress=progress)
    elif ids is not None:
        raise ConfigError("--ids is for rows that are added. Name them with DATA.")
    common.make_parent(target)
    index.save(target)
    common.report_files(as_json, out=target, rows=len(index), kind=index.kind)
