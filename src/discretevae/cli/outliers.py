"""``discretevae outliers``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs
from discretevae.errors import ConfigError

if TYPE_CHECKING:
    from discretevae.codes.outliers import Outliers, OutlierScores
    from discretevae.data import Rows, Split


REASONS = 3
"""Columns that are named of a row."""


@arguments.command("outliers", "runs/digits --out outliers.csv")
@arguments.option(
    "--contamination", "Share of the reference rows that lies below the threshold.", 0.05
)
@arguments.option(
    "--correction",
    "What decides beside ln p(x): nothing; complexity, the compressed length of the row, which is "
    "added, in nats; or columns, how far out those of a table lie. auto is columns for tables of "
    "real numbers, else none.",
    "auto",
    type=click.Choice(["auto", "none", "complexity", "columns"]),
)
@arguments.samples
@arguments.option(
    "--reference",
    "Which rows of the run's own data the threshold comes from.",
    "train",
    type=click.Choice(["train", "test"]),
)
@arguments.option(
    "--reference-rows",
    "Largest number of reference rows; of more, so many are drawn at random.",
    10_000,
    type=arguments.COUNT,
)
@arguments.option(
    "--n", "Number of rows to print, the lowest score first.", 10, type=arguments.COUNT
)
@arguments.flag(
    "--explain", "Name the columns of each printed row that take most from its score. Of tables."
)
@arguments.path(
    "--out",
    "A .csv or .npz of every row's id, score, decision, label, bound and complexity.  "
    "[default: none]",
)
@arguments.path(
    "--picture", "A .png of the rows with the lowest and the highest scores.  [default: none]"
)
@arguments.seed
@arguments.inputs("all")
@arguments.as_json
def command(
    source: Inputs,
    contamination: float,
    reference: Split,
    reference_rows: int,
    n: int,
    explain: bool,
    out: Path | None,
    picture: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Rank the rows of DATA (else of the run's own data) by how normal the model finds them.

    A higher score is a more normal row, in nats: ln p(x), or the bound on it where the code is
    too large; with --correction complexity plus L(x), the row's length under a general
    compressor; of tables it is lower where columns lie far out by themselves. The decision is the
    score minus a threshold; below 0 the label is -1, an outlier, and else 1. The threshold leaves
    the --contamination share of the run's own training rows below it. Of a series that was
    trained with --window, the rows are times, scored by the mean over the windows around them.
    """
    from discretevae.codes.outliers import fit_outliers
    from discretevae.data.windows import times_of

    if not 0 < contamination <= 0.5:
        raise ConfigError(f"--contamination must be > 0 and <= 0.5. Got {contamination:g}.")
    run, shape = source.run, source.image_shape
    source.check_output(out, "--out", ".csv", ".npz")
    source.check_picture(picture)
    rows = source.rows()
    normal = _drawn(source.load(None, reference), reference_rows, options["seed"])
    with outputs.counting_bar("scoring reference rows", len(normal)) as progress:
        fitted = fit_outliers(
            run.model, normal, contamination=contamination, progress=progress, **options
        )
    with outputs.counting_bar("scoring rows", len(rows)) as progress:
        found = fitted.measure(rows, progress=progress)
    reasons = _reasons(source, fitted, found, rows, normal, n) if explain else None
    rows = times_of(rows)  # of a series, what is scored are times
    if out is not None:
        _write(out, found, rows)
    if picture is not None and shape is not None:
        from discretevae.plots.outliers import outlier_figure

        title = f"{len(rows):,} rows of {rows.name}, scored by {run.folder.name}"
        figure = outlier_figure(found, rows, shape, title=title)
        outputs.draw(figure, picture, dpi=120, colors=64 if len(shape) == 2 else None)
    facts = {
        "run": str(source.folder),
        "data": source.name,
        "split": source.split,
        "reference": {"split": reference, "rows": len(normal)},
        **_facts(fitted, found, rows, n, reasons),
        "out": None if out is None else str(out),
        "picture": None if picture is None else str(picture),
    }
    if as_json:
        outputs.print_json(facts)
        return
    _print(facts, with_length=shape is not None or fitted.correction == "complexity")
    outputs.print_paths(written=out, picture=picture)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _drawn(rows: Rows, limit: int, seed: int) -> Rows:
    """Return the rows, or so many of them in their order."""
    import numpy as np
    import torch

    if len(rows) <= limit:
        return rows
    drawn = np.random.default_rng(seed).choice(len(rows), limit, replace=False, shuffle=False)
    return rows.subset(torch.from_numpy(np.sort(drawn)))


def _write(out: Path, found: OutlierScores, rows: Rows) -> None:
    from discretevae.codes.ids import ids_of
    from discretevae.codes.tables import write_columns

    columns = {"id": ids_of(rows), "score": found.scores, "decision": found.decisions}
    columns |= {"label": found.labels, "bound": found.bound, "complexity": found.complexity}
    write_columns(outputs.make_parent(out), columns)


def _reasons(
    source: Inputs, fitted: Outliers, found: OutlierScores, rows: Rows, normal: Rows, n: int
) -> list[list[dict[str, Any]]]:
    """Return for the n worst rows the columns that take most from their scores, at most three."""
    import torch

    from discretevae.codes.explaining import explain_outliers
    from discretevae.data.windows import times_of

    if times_of(rows) is not rows:
        raise ConfigError("--explain is of rows, and of a series times are scored. Leave it out.")
    worst = rows.subset(torch.from_numpy(found.worst(n)))
    taken = explain_outliers(fitted, worst, normal)
    values = outputs.in_source_units(worst.batch(slice(None)), source.run).tolist()
    names = rows.columns or range(rows.n_features)
    reasons = []
    for row, of_columns in enumerate(taken):
        order = [p for p in of_columns.argsort()[::-1][:REASONS].tolist() if of_columns[p] > 0]
        reasons.append(
            [
                {"column": names[p], "value": values[row][p], "nats": float(of_columns[p])}
                for p in order
            ]
        )
    return reasons


def _facts(
    fitted: Outliers,
    found: OutlierScores,
    rows: Rows,
    n: int,
    reasons: list[list[dict[str, Any]]] | None,
) -> dict[str, Any]:
    """Return what was measured, as plain values for JSON."""
    from discretevae.codes.ids import ids_of
    from discretevae.data.classes import class_name

    ids, numbers = ids_of(rows).tolist(), rows.source_numbers.tolist()
    labels = None if rows.labels is None else rows.labels.tolist()
    if labels is not None and rows.classes is not None:
        labels = [class_name(label, rows.classes) for label in labels]
    worst = [
        {
            "id": ids[row],
            "row": numbers[row],
            "score": float(found.scores[row]),
            "decision": float(found.decisions[row]),
            "bound": float(found.bound[row]),
            "complexity": float(found.complexity[row]),
            "label": int(found.labels[row]),
            "class": None if labels is None else labels[row],
        }
        for row in found.worst(n).tolist()
    ]
    for each, columns in zip(worst, reasons or [], strict=False):
        each["reasons"] = columns
    return {
        "contamination": fitted.contamination,
        "correction": fitted.correction,
        "threshold": fitted.threshold,
        "samples": fitted.samples,
        "seed": fitted.seed,
        "rows": len(found),
        "outliers": found.n_outliers,
        "share": found.n_outliers / len(found),
        "is_exact": found.is_exact,
        "is_surrogate": found.is_surrogate,
        "worst": worst,
    }


def _print(facts: dict[str, Any], *, with_length: bool) -> None:
    """Print the worst rows and the threshold; L(x) only of pictures, or where it decides."""
    from discretevae.codes.ids import short_name

    bound = "ln p(x)" if facts["is_exact"] else "bound"
    with_class = facts["worst"][0]["class"] is not None
    are_counted = all(each["id"] == each["row"] for each in facts["worst"])
    header = ["row" if are_counted else "id", "score", "decision", "label", bound]
    header += ["L(x)"] if with_length else []
    lines = [[*header, "class"] if with_class else header]
    for each in facts["worst"]:
        cells = [short_name(each["id"]), f"{each['score']:.2f}", f"{each['decision']:+.2f}"]
        cells += [f"{each['label']:+d}", f"{each['bound']:.2f}"]
        cells += [f"{each['complexity']:.2f}"] if with_length else []
        lines.append([*cells, short_name(each["class"])] if with_class else cells)
        if "reasons" in each:
            of_columns = (
                f"{reason['column']} {_short(reason['value'])} ({reason['nats']:+.1f})"
                for reason in each["reasons"]
            )
            lines[-1].append(", ".join(of_columns))
    if "reasons" in facts["worst"][0]:
        header = lines[0]
        header.append("columns, with the nats that a typical value would bring")
    outputs.print_table(lines)
    of = bound if facts["is_exact"] else f"{facts['samples']}-sample bound on ln p(x)"
    score = {"complexity": f"{of} + L(x)", "columns": f"{of}, or lower by the columns"}.get(
        facts["correction"], of
    )
    click.echo(f"score     {score} [nats]; a higher score is a more normal row")
    click.echo(
        f"threshold {facts['threshold']:.2f}, with {100 * facts['contamination']:g} % of "
        f"{facts['reference']['rows']:,} {facts['reference']['split']} rows below it"
    )
    click.echo(
        f"outliers  {facts['outliers']:,} of {facts['rows']:,} rows, {100 * facts['share']:.1f} %"
    )
    if facts["is_surrogate"]:
        click.echo(
            "surrogate the likelihood is no probability of these rows: its scores order them, "
            "and mean nothing else"
        )
