"""``discretevae runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from discretevae.cli import arguments, outputs
from discretevae.errors import RunError

MAX_DEPTH = 3
"""Levels of folders to look into: the runs of a reproduction lie two below its folder."""


@arguments.command("runs", "--sort elbo")
@click.argument("folder", type=arguments.PATH, default=Path("runs"))
@arguments.option(
    "--sort",
    "Order: by folder, by test ELBO (best first), or by the time of the last change (latest "
    "first).",
    "name",
    type=click.Choice(["name", "elbo", "time"]),
)
@arguments.as_json
def command(folder: Path, sort: str, as_json: bool) -> None:
    """List the runs in FOLDER (else in the folder runs) with their figures.

    Folders up to three levels down are searched. The ELBO and its standard error are those of the
    test rows, in nats per row; of a run that is not finished they are those after its last epoch.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder. Check the path.")
    rows = [_described(path) for path in _found(folder, MAX_DEPTH)]
    if sort == "elbo":
        rows.sort(key=lambda row: float("inf") if row["elbo"] is None else -row["elbo"])
    elif sort == "time":
        rows.sort(key=lambda row: row["changed"], reverse=True)
    if as_json:
        outputs.print_json(rows)
        return
    if not rows:
        click.echo(f"{folder}: no runs. Make one: discretevae train --out {folder}/first")
        return
    head = ("run", "data", "code", "estimator", "epochs", "state", "test ELBO", "seconds")
    outputs.print_table([head, *map(_cells, rows)])


def _found(folder: Path, depth: int) -> list[Path]:
    """Return the run folders at or below a folder, by name, without looking into runs."""
    from discretevae.run_folder.saved_run import is_run

    if is_run(folder):
        return [folder]
    if depth == 0:
        return []
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    return [run for path in below for run in _found(path, depth - 1)]


def _described(folder: Path) -> dict[str, Any]:
    """Return what is known of a run; its problem, if it cannot be read."""
    from discretevae.families import family_of
    from discretevae.objectives import estimator_name
    from discretevae.run_folder.history import METRICS, read_metrics
    from discretevae.run_folder.saved_run import load_config
    from discretevae.system.locks import is_locked

    row: dict[str, Any] = {
        "run": str(folder), "data": None, "latent": None, "estimator": None, "epoch": 0,
        "epochs": None, "state": "damaged", "elbo": None, "se": None, "seconds": None,
        "changed": max((path.stat().st_mtime for path in folder.iterdir()), default=0.0),
    }  # fmt: skip
    try:
        config = load_config(folder)
        history = read_metrics(folder) if (folder / METRICS).exists() else []
        tested = _tested(folder, len(history))
    except RunError as error:
        return row | {"problem": str(error)}
    row |= {
        "data": Path(config.data.source).name,
        "latent": str(config.model.latent),
        "estimator": estimator_name(family_of(config.model.latent), config.training),
        "epoch": len(history),
        "epochs": config.training.epochs,
        "state": "stopped" if tested is None else "finished",
    }
    if is_locked(folder):
        row["state"] = "running"
    if history:
        last = history[-1]
        row |= {"elbo": last.test_elbo, "se": last.test_elbo_se, "seconds": last.seconds}
    return row if tested is None else row | {"elbo": tested["value"], "se": tested["se"]}


def _tested(folder: Path, n_epochs: int) -> dict[str, Any] | None:
    """Return the test ELBO of a run that was evaluated after its last epoch."""
    from discretevae.run_folder.summary import read_summary

    summary = read_summary(folder)
    if summary is None or not summary["last_epoch"] or summary["last_epoch"]["epoch"] != n_epochs:
        return None
    elbo: dict[str, Any] = summary["test"]["elbo"]
    return elbo


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    from discretevae.evaluation.measured import Measured

    if row["state"] == "damaged":
        return (row["run"], *["–"] * 4, "damaged", "–", "–")
    elbo = "–" if row["elbo"] is None else f"{Measured(row['elbo'], row['se']):.2f}"
    seconds = "–" if row["seconds"] is None else f"{row['seconds']:,.0f}"
    return (
        row["run"], row["data"], row["latent"], row["estimator"],
        f"{row['epoch']}/{row['epochs']}", row["state"], elbo, seconds,
    )  # fmt: skip
