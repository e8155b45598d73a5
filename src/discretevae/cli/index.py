"""``discretevae index``."""

from __future__ import annotations

from pathlib import Path

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs, refuse_same_file, require_suffix
from discretevae.errors import ConfigError


@arguments.command("index", "runs/digits digits --out digits.index")
@arguments.path("--out", "The .index file to write.  [default: that of --add-to]")
@arguments.path(
    "--ids",
    "A .npy file of whole numbers, one for each row.  [default: the ids of the rows, else their "
    "numbers in the source]",
    to="ids_file",
)
@arguments.path(
    "--add-to", "An index to add the rows to; it is written over unless --out is given."
)
@arguments.path(
    "--remove",
    "A .npy file of ids, or of names, to remove from the index --add-to; no rows are added unless "
    "DATA is given.",
    to="remove_file",
)
@arguments.inputs("all")
@arguments.as_json
def command(
    source: Inputs,
    out: Path | None,
    ids_file: Path | None,
    add_to: Path | None,
    remove_file: Path | None,
    as_json: bool,
) -> None:
    """Write the code of every row of DATA (else of the run's own data) to an index for `search`.

    Needs the extra 'search'. The distance is the number of latent variables that differ. Rows go by
    their ids: names of files, a column of ids, else numbers in the source. With --add-to, rows of
    DATA go into an existing index, numbers behind its largest where some are taken; with --remove
    as well, the ids in that file are removed first.
    """
    from discretevae.codes.ids import read_ids
    from discretevae.codes.search.hamming import require_searchable
    from discretevae.codes.search.index import CodeIndex
    from discretevae.run_folder.saved_run import load_config

    if add_to is None and remove_file is not None:
        raise ConfigError("--remove takes ids out of an index. Name it with --add-to.")
    target = out or add_to
    if target is None:
        raise ConfigError("nowhere to write the index. Pass --out.")
    require_suffix(target, ".index")
    for path, what in ((source.data, "data"), (ids_file, "ids"), (remove_file, "ids")):
        refuse_same_file(target, path, what)
    ids = None if ids_file is None else read_ids(ids_file)
    gone = None if remove_file is None else read_ids(remove_file, or_names=True)
    index = None if add_to is None else CodeIndex.load(add_to)
    require_searchable(load_config(source.folder).model.latent)
    run = source.run
    if index is not None:
        index.require_model(run.model)
        if gone is not None:
            index.remove(gone)
    if index is None or gone is None or source.data is not None:
        rows = source.rows()
        with outputs.counting_bar("encoding", len(rows)) as progress:
            if index is None:
                index = CodeIndex.build(run.model, rows, ids=ids, progress=progress)
            else:
                index.add(run.model, rows, ids=ids, progress=progress)
    elif ids is not None:
        raise ConfigError("--ids is for rows that are added. Name them with DATA.")
    index.save(outputs.make_parent(target))
    outputs.report_rows(as_json, out=target, rows=len(index))
