"""``discretevae retrieval``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import load_dataset_of, open_run
from discretevae.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from discretevae.codes.search.retrieval import RetrievalReport

MAX_BITS = 4096
"""Of a yardstick: more are a mistake."""


@arguments.command("retrieval", "runs/digits --bits 8,16,32")
@click.argument("run_folders", metavar="[RUN]...", nargs=-1, type=arguments.PATH)
@arguments.data("the data of the first RUN")
@arguments.option(
    "--bits",
    "Further sizes of the yardsticks in bits, separated by commas, such as 16,32.  "
    "[default: those of the runs]",
    type=arguments.Numbers(MAX_BITS),
)
@arguments.option("--query-data", "Data whose rows ask.  [default: the test rows]", metavar="DATA")
@arguments.path(
    "--labels",
    "Two .npy files, labels of the rows searched and of the queries: whole numbers, or of several "
    "labels a row the bits of numpy.packbits.  [default: those of the data]",
    nargs=2,
)
@arguments.option(
    "--queries",
    "Queries of each label, drawn from the test rows; all if there are fewer.",
    100,
    to="per_label",
    type=arguments.COUNT,
)
@arguments.seed
@arguments.device
@arguments.data_dir
@arguments.as_json
def command(
    run_folders: tuple[Path, ...],
    data: str | None,
    bits: list[int] | None,
    query_data: str | None,
    labels: tuple[Path, Path] | None,
    per_label: int,
    seed: int,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Measure how well the codes of each RUN find rows of the same label, beside yardsticks.

    The queries are test rows; the training rows of the run's data, or of --data, are searched; with
    --query-data all rows of both. A row is relevant that has the same label, or one of several.
    Figures are in percent. The yardsticks are ITQ, signs of principal components and random
    projections at the same number of bits, learned from the same training rows, of counts from
    their LSA. Averages over rows that are equally far are exact expectations.
    """
    if not run_folders and (data is None or not bits):
        raise ConfigError("nothing to measure. Name a run, or pass --data and --bits.")
    from discretevae.codes.search.retrieval import measure_retrieval
    from discretevae.data import Dataset, load_data, load_run_rows

    runs = {str(folder): open_run(folder, device) for folder in run_folders}
    configs = [run.config.data for run in runs.values()]
    source = data or configs[0].source
    first = next(iter(runs.values()), None)
    if first is not None and first.schema is not None and query_data is not None:
        read = partial(load_run_rows, configs[0], first.schema, "all", data_dir=data_dir)
        searched = Dataset(source, read(source=source), read(source=query_data))
    elif first is None:
        searched = load_data(source, data_dir=data_dir, progress=True)
    else:
        is_new, config = source != configs[0].source, replace(configs[0], source=source)
        searched = load_dataset_of(config, first.schema, data_dir, new_data=is_new)
    for name, config in zip(runs, configs, strict=True):
        if config.source != source:
            click.echo(
                f"Note: {name} was trained on {config.source}, not on the rows of {source} that "
                "are searched.",
                err=True,
            )
    of_rows, of_queries = map(_labels_in, labels) if labels else (None, None)
    with outputs.task_bar() as progress:
        report = measure_retrieval(
            {name: (run.model, run.config.data.binarize) for name, run in runs.items()},
            searched,
            bits=bits or [],
            per_label=None if labels else per_label,
            labels=None if of_rows is None or of_queries is None else (of_queries, of_rows),
            seed=seed,
            progress=progress,
        )
    if as_json:
        trained_on = {name: run.config.data.source for name, run in runs.items()}
        outputs.print_json(report.to_dict() | {"trained_on": trained_on})
        return
    _print(report)


def _labels_in(path: Path) -> np.ndarray[Any, Any]:
    """Return the labels in a .npy file, ``[N]`` or ``[N, L]``."""
    import numpy as np

    from discretevae.codes.packed import map_npy

    labels = np.asarray(map_npy(path, "Give a .npy of labels."))
    return np.unpackbits(labels, axis=1) if labels.ndim == 2 else labels


def _print(report: RetrievalReport) -> None:
    first = report.entries[0].scores
    precisions, recalls = list(first.precision)[:2], list(first.recall)[:2]
    head = ["bits", "codes", "mAP", "±", *(f"mAP@{k}" for k in first.at_top)]
    lines = [[*head, *(f"P@{k}" for k in precisions), *(f"R@{k}" for k in recalls)]]
    for entry in report.entries:
        s = entry.scores
        values = [s.mean_average_precision, s.se, *s.at_top.values()]
        values += [*(s.precision[k] for k in precisions), *(s.recall[k] for k in recalls)]
        cells = ["" if v is None else f"{100 * v:.2f}" for v in values]
        lines.append([str(entry.n_bits), entry.name, *cells])
    title = (
        f"{Path(report.data).name}: {report.queries:,} queries, {report.gallery:,} rows searched, "
        "in percent"
    )
    outputs.print_table(lines, title=title)
    neighbors = min(10, report.gallery)
    click.echo(
        "mAP, P@k: a row is relevant that has the same label; rows equally far are averaged."
    )
    click.echo(
        f"R@k: of the {neighbors} rows nearest by their values, those among the first k by code."
    )
