"""``discretevae outliers``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import common

if TYPE_CHECKING:
    from discretevae.codes.outliers import Outliers, OutlierScores
    from discretevae.data import Rows
    from discretevae.run_folder.checkpoint import Run


@click.command(
    "outliers", epilog=common.example("discretevae outliers runs/digits --out outliers.csv")
)
@common.run_argument
@common.data_argument
@common.data_option
@common.split_option("all")
@click.option(
    "--contamination",
    type=float,
    default=0.05,
    show_default=True,
    help="Share of the reference rows that lies below the threshold, in (0, 0.5].",
)
@click.option(
    "--correction",
    type=click.Choice(["none", "complexity"]),
    default="none",
    show_default=True,
    help="What is added to ln p(x): nothing, or the compressed length of the row, in nats.",
)
@click.option(
    "--samples",
    type=int,
    default=100,
    show_default=True,
    help="S, draws of z per row of the bound on ln p(x).",
)
@click.option(
    "--reference",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="Which rows of the run's own data the threshold comes from.",
)
@click.option(
    "--reference-rows",
    type=int,
    default=10_000,
    show_default=True,
    help="How many of them at most; of more, so many are drawn at random.",
)
@common.seed_option
@click.option(
    "--n",
    type=int,
    default=10,
    show_default=True,
    help="How many rows are printed, the lowest score first.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A .csv or .npz of every row's score, decision, label, bound and complexity.  "
    "[default: not written]",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="A .png of the rows with the lowest and the highest scores.  [default: not drawn]",
)
@common.device_option
@common.data_dir_option
@common.json_option
def command(
    run_folder: Path,
    data_argument: str | None,
    data_option: str | None,
    split: str,
    contamination: float,
    correction: str,
    samples: int,
    reference: str,
    reference_rows: int,
    seed: int,
    n: int,
    out: Path | None,
    picture: Path | None,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Rank the rows of DATA (else of the run's own data) by how normal the model finds them.

    A higher score is a more normal row, in nats: ln p(x), or the bound on it where the code is
    too large; with --correction complexity plus L(x), the row's length under a general
    compressor. The decision is the score minus a threshold; below 0 the label is -1, an outlier,
    and else 1. The threshold leaves the --contamination share of the run's own training rows
    below it.
    """
    from discretevae.codes.outliers import fit_outliers
    from discretevae.errors import ConfigError
    from discretevae.model.row_checks import require_fit

    common.require_seed(seed)
    for name, value in (("samples", samples), ("reference-rows", reference_rows), ("n", n)):
        common.require_positive(name, value)
    if not 0 < contamination <= 0.5:
        raise ConfigError(f"contamination must be a share in (0, 0.5]. Got {contamination:g}.")
    run = common.open_run(run_folder, device)
    shape = run.config.model.image_shape
    if picture is not None and shape is None:
        raise ConfigError(f"{picture}: the model's rows are no pictures. Leave --picture out.")
    source = data_argument or data_option or run.config.data.source
    for option, path, endings in (
        ("--out", out, (".csv", ".npz")),
        ("--picture", picture, (".png",)),
    ):
        if path is not None:
            common.require_suffix(path, *endings, option=option)
            common.refuse_same_file(path, source, "data", option=option)
            common.refuse_same_file(path, run.config.data.source, "run's data", option=option)
    rows = common.open_rows(run.config, data_argument, data_option, split=split, data_dir=data_dir)
    require_fit(run.model, rows)
    normal = _reference(run, reference, reference_rows, seed, data_dir)
    with common.counting_bar("scoring reference rows", len(normal)) as progress:
        fitted = fit_outliers(
            run.model,
            normal,
            contamination=contamination,
            correction=correction,  # type: ignore[arg-type]
            samples=samples,
            seed=seed,
            progress=progress,
        )
    with common.counting_bar("scoring rows", len(rows)) as progress:
        found = fitted.measure(rows, progress=progress)
    if out is not None:
        _write(out, found)
    if picture is not None and shape is not None:
        _draw(picture, run, found, rows, shape)
    facts = {
        "run": str(run_folder),
        "data": source,
        "split": split,
        "reference": {"split": reference, "rows": len(normal)},
        **_facts(fitted, found, rows, n),
        "out": None if out is None else str(out),
        "picture": None if picture is None else str(picture),
    }
    if as_json:
        common.print_json(facts)
        return
    _print(facts)
    for name, path in (("written", out), ("picture", picture)):
        if path is not None:
            click.echo(f"{name:9s} {path}")


def _reference(run: Run, split: str, limit: int, seed: int, data_dir: Path | None) -> Rows:
    """The run's own rows, or some of them in their order."""
    import numpy as np
    import torch

    rows = common.open_rows(run.config, None, None, split=split, data_dir=data_dir)
    if len(rows) <= limit:
        return rows
    drawn = np.random.default_rng(seed).choice(len(rows), limit, replace=False, shuffle=False)
    return rows.subset(torch.from_numpy(np.sort(drawn)))


def _write(out: Path, found: OutlierScores) -> None:
    from discretevae.codes.tables import write_columns

    columns = {"score": found.scores, "decision": found.decisions, "label": found.labels}
    columns |= {"bound": found.bound, "complexity": found.complexity}
    common.make_parent(out)
    write_columns(out, columns)


def _draw(path: Path, run: Run, found: OutlierScores, rows: Rows, shape: tuple[int, int]) -> None:
    from discretevae.plots.outliers import outlier_figure
    from discretevae.plots.pictures import save_figure

    title = f"{len(rows):,} rows of {rows.name}, scored by {run.folder.name}"
    figure = outlier_figure(found, rows, shape, title=title)
    common.make_parent(path)
    save_figure(figure, path, dpi=120, colors=64)


def _facts(fitted: Outliers, found: OutlierScores, rows: Rows, n: int) -> dict[str, Any]:
    """The part of the JSON that was measured."""
    worst = []
    for row in found.worst(n).tolist():
        each = {"row": row, "score": found.scores[row], "decision": found.decisions[row]}
        each |= {"bound": found.bound[row], "complexity": found.complexity[row]}
        told: dict[str, Any] = {name: float(value) for name, value in each.items()}
        told |= {"row": row, "label": int(found.labels[row])}
        told["class"] = None if rows.labels is None else int(rows.labels[row])
        worst.append(told)
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


def _print(facts: dict[str, Any]) -> None:
    bound = "ln p(x)" if facts["is_exact"] else "bound"
    with_class = facts["worst"][0]["class"] is not None
    header = ["row", "score", "decision", "label", bound, "L(x)"]
    lines = [[*header, "class"] if with_class else header]
    for each in facts["worst"]:
        cells = [f"{each['row']}", f"{each['score']:.2f}", f"{each['decision']:+.2f}"]
        cells += [f"{each['label']:+d}", f"{each['bound']:.2f}", f"{each['complexity']:.2f}"]
        lines.append([*cells, str(each["class"])] if with_class else cells)
    common.print_columns(lines)
    of = bound if facts["is_exact"] else f"{facts['samples']}-sample bound on ln p(x)"
    score = of if facts["correction"] == "none" else f"{of} + L(x)"
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
