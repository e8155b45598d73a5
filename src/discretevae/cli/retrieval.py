"""``discretevae retrieval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import common

if TYPE_CHECKING:
    from discretevae.codes.search.retrieval import RetrievalReport

MAX_BITS = 4096
"""Of a yardstick: more are asked for by mistake only."""

NOTICEABLE = 0.005
"""Of a difference between mAPs that is worth a line."""


@click.command(
    "retrieval", epilog=common.example("discretevae retrieval runs/digits --bits 8,16,32")
)
@click.argument("run_folders", metavar="[RUN]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--data",
    "data_option",
    metavar="DATA",
    shell_complete=common.complete_data,
    help="What is searched: a built-in name, a file or a folder, with labels.  "
    "[default: the data of the first RUN]",
)
@click.option(
    "--bits",
    help="Further sizes of the yardsticks in bits, separated by commas, such as 16,32.  "
    "[default: those of the runs]",
)
@click.option(
    "--queries",
    "per_label",
    type=int,
    default=100,
    show_default=True,
    help="Test rows of each label that are searched for; all if there are fewer.",
)
@common.seed_option
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="A .png of precision against recall.  [default: not drawn]",
)
@click.option(
    "--write-split",
    type=click.Path(path_type=Path),
    help="Measure nothing: write DATA as a .npz file whose test part are the queries, drawn from "
    "all rows, and whose training part is all the rest.",
)
@common.device_option
@common.data_dir_option
@common.json_option
def command(
    run_folders: tuple[Path, ...],
    data_option: str | None,
    bits: str | None,
    per_label: int,
    seed: int,
    picture: Path | None,
    write_split: Path | None,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Measure how well the codes of each RUN find rows of the same label, beside yardsticks.

    Test rows are searched for among the training rows of the run's data, or of --data. A row is
    relevant that has the same label. Figures are in percent. The yardsticks are ITQ, signs of
    principal components and random projections at the same number of bits, learned from the same
    training rows. Averages over rows that are equally far are exact expectations.
    """
    from discretevae.errors import ConfigError

    common.require_positive("queries", per_label)
    common.require_seed(seed)
    if picture is not None:
        common.require_suffix(picture, ".png", option="--picture")
    if write_split is not None:
        if run_folders or data_option is None:
            raise ConfigError("--write-split needs --data and no run.")
        _split(write_split, data_option, per_label, seed, data_dir, as_json)
        return
    sizes = _parse_bits(bits)
    if not run_folders and (data_option is None or not sizes):
        raise ConfigError("nothing to measure. Name a run, or pass --data and --bits.")
    from discretevae.codes.search.retrieval import measure_retrieval
    from discretevae.data import BUILTIN_NAMES, load_data

    runs = {str(folder): common.open_run(folder, device) for folder in run_folders}
    first = next(iter(runs.values()), None)
    source = data_option or (first.config.data.source if first is not None else "")
    own = first.config.data if first is not None and source not in BUILTIN_NAMES else None
    data = load_data(
        source,
        data_dir=data_dir,
        image_size=own.image_size if own is not None else None,
        divisor=own.divisor if own is not None else None,
        progress=True,
    )
    for name, run in runs.items():
        if run.config.data.source != source:
            click.echo(
                f"Note: {name} was trained on {run.config.data.source}, not on the rows of "
                f"{source} that are searched.",
                err=True,
            )
    with common.task_bar() as progress:
        report = measure_retrieval(
            {name: (run.model, run.config.data.binarize) for name, run in runs.items()},
            data,
            bits=sizes,
            per_label=per_label,
            seed=seed,
            progress=progress,
        )
    if picture is not None:
        from discretevae.plots.pictures import save_figure
        from discretevae.plots.search import retrieval_figure

        common.make_parent(picture)
        save_figure(retrieval_figure(report), picture)
    if as_json:
        trained_on = {name: run.config.data.source for name, run in runs.items()}
        common.print_json(report.to_dict() | {"trained_on": trained_on})
        return
    _print(report)
    if picture is not None:
        click.echo(f"picture  {picture}")


def _split(
    out: Path, source: str, per_label: int, seed: int, data_dir: Path | None, as_json: bool
) -> None:
    from discretevae.codes.search.retrieval import write_split
    from discretevae.data import load_rows

    common.require_suffix(out, ".npz", option="--write-split")
    common.refuse_same_file(out, source, "data")
    rows = load_rows(source, data_dir=data_dir, progress=True)
    common.make_parent(out)
    gallery, queries = write_split(out, rows, per_label=per_label, seed=seed)
    if as_json:
        common.print_json({"out": str(out), "gallery": gallery, "queries": queries, "seed": seed})
        return
    click.echo(f"{gallery:,} training rows and {queries:,} queries written to {out}")
    click.echo(f"next     discretevae train --data {out}")


def _parse_bits(text: str | None) -> list[int]:
    from discretevae.errors import ConfigError

    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(p.isdecimal() and len(p) < 6 and 1 <= int(p) <= MAX_BITS for p in parts):
        raise ConfigError(
            f"bits {text!r} must be ints from 1 to {MAX_BITS:,} separated by commas, such as 16,32."
        )
    return [int(part) for part in parts]


def _print(report: RetrievalReport) -> None:
    from rich.console import Console
    from rich.table import Table

    scores = report.entries[0].scores
    name = Path(report.data).name
    title = f"{name}: {report.queries:,} queries, {report.gallery:,} rows searched, in percent"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("bits", justify="right")
    table.add_column("codes", overflow="fold")
    tops, first, recalls = scores.at_top, list(scores.precision)[:2], list(scores.recall)[:2]
    names = ["mAP", "±", *(f"mAP@{k}" for k in tops), *(f"P@{k}" for k in first)]
    for name in [*names, *(f"R@{k}" for k in recalls)]:
        table.add_column(name, justify="right", no_wrap=True)
    for entry in report.entries:
        s = entry.scores
        values = [s.mean_average_precision, s.se, *s.at_top.values()]
        values += [*(s.precision[k] for k in first), *(s.recall[k] for k in recalls)]
        cells = ["" if v is None else f"{100 * v:.2f}" for v in values]
        table.add_row(str(entry.n_bits), entry.name, *cells)
    Console().print(table)
    neighbors = min(10, report.gallery)
    click.echo(
        "mAP, P@k: a row is relevant that has the same label; rows equally far are averaged."
    )
    click.echo(
        f"R@k: of the {neighbors} rows nearest by their values, those among the first k by code."
    )
    apart = max(
        (e.scores.by_row_order - e.scores.mean_average_precision for e in report.entries), key=abs
    )
    if abs(apart) >= NOTICEABLE:
        click.echo(
            f"With ties in the order of the rows the mAP would differ by up to {100 * apart:+.2f}."
        )
