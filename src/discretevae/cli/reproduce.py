"""``discretevae reproduce``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import common
from discretevae.config import PRECISIONS, Precision
from discretevae.errors import ConfigError
from discretevae.experiments.paper.experiments import (
    ALL,
    FIGURES,
    FULL,
    QUICK,
    VARIANTS,
    PaperFigure,
    Scale,
    parse_figures,
)

if TYPE_CHECKING:
    from discretevae.experiments.paper.records import FinishedRun

OUT, QUICK_OUT = Path("runs/paper"), Path("runs/paper-quick")


@click.command(
    "reproduce", epilog=common.example("discretevae reproduce fig6 fig7 fig8 --out runs/paper")
)
@click.argument("figures", nargs=-1, metavar="[FIGURES]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"Folder of runs and report.  [default: {OUT}; with --quick {QUICK_OUT}]",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Make everything small and on digits, in under two minutes, to see that it works.",
)
@click.option(
    "--epochs",
    type=int,
    help="Passes over the training rows in the paper's protocol, of fully connected models; the "
    "defaults of this package get a third.  "
    f"[default: {FULL.epochs}; with --quick {QUICK.epochs}]",
)
@click.option(
    "--cnn-epochs",
    type=int,
    help="The same for convolutional models.  "
    f"[default: {FULL.cnn_epochs}; with --quick {QUICK.cnn_epochs}]",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=FULL.precision,
    show_default=True,
    help="What the products of both are formed in. A processor with instructions for bf16 takes "
    "half the time with it; others take longer.",
)
@common.seed_option
@common.data_dir_option
@common.device_option
@common.json_option
def command(
    figures: tuple[str, ...],
    out: Path | None,
    quick: bool,
    epochs: int | None,
    cnn_epochs: int | None,
    precision: Precision,
    seed: int,
    data_dir: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Make the figures of the paper again: fig6 to fig13, or all. Without a name, list them.

    Each model is trained twice, by the paper's protocol and by the defaults of this package. Runs
    that are finished are left as they are, others are gone on with: after Ctrl-C, give the same
    command again. The report is OUT/report.md, its numbers are in OUT/report.json.
    """
    asked, scale = _planned(figures, quick, epochs, cnn_epochs, seed)
    scale = dataclasses.replace(scale, precision=precision)
    if not asked:
        _list(scale, as_json)
        return
    from discretevae.experiments.paper.report import NUMBERS, PICTURES, REPORT
    from discretevae.experiments.paper.running import reproduce

    out = out or (QUICK_OUT if quick else OUT)
    with common.task_bar() as progress:
        report = reproduce(
            asked,
            out=out,
            scale=scale,
            data_dir=data_dir,
            device=common.check_device(device),
            progress=progress,
            finished=(lambda run, is_new: None) if as_json else _say,
        )
    if as_json:
        common.print_json({"out": str(out)} | report)
        return
    for name in report["figures"]:
        click.echo(f"picture  {out / PICTURES / name}.png")
    click.echo(f"numbers  {out / NUMBERS}")
    click.echo(f"report   {out / REPORT}")


def _planned(
    figures: tuple[str, ...], quick: bool, epochs: int | None, cnn_epochs: int | None, seed: int
) -> tuple[list[PaperFigure], Scale]:
    """What is asked for. All that is wrong with it is said at once."""
    problems: list[str] = []
    asked: list[PaperFigure] = []
    try:
        asked = parse_figures(figures)
    except ConfigError as error:
        problems += error.problems
    for option, value in (("--epochs", epochs), ("--cnn-epochs", cnn_epochs)):
        if value is not None and value < 1:
            problems.append(f"{option} must be an int >= 1. Got {value}.")
    try:
        common.require_seed(seed)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    scale = QUICK if quick else FULL
    return asked, dataclasses.replace(
        scale,
        epochs=scale.epochs if epochs is None else epochs,
        cnn_epochs=scale.cnn_epochs if cnn_epochs is None else cnn_epochs,
        seed=seed,
    )


def _list(scale: Scale, as_json: bool) -> None:
    """The figures, what each shows, and what it needs; nothing is started."""
    if as_json:
        common.print_json(
            {
                figure.name: {"title": figure.title, "experiments": list(figure.experiments)}
                for figure in FIGURES.values()
            }
        )
        return
    for figure in FIGURES.values():
        click.echo(f"{figure.name:<6} {figure.title}")
        click.echo(f"{'':<6} runs: {', '.join(figure.experiments)}")
    click.echo()
    click.echo(
        f"Every run is made as {' and as '.join(VARIANTS)}: {scale.epochs} epochs of the paper's "
        f"protocol ({scale.cnn_epochs} for a CNN), a third of that for ours.\n"
        "They take hours, and are shared by the figures."
    )
    click.echo(f"start    discretevae reproduce fig6, or {ALL}")
    click.echo(f"try out  discretevae reproduce {ALL} --quick")


def _say(run: FinishedRun, is_new: bool) -> None:
    last = run.history[-1]
    elbo = run.test["elbo"]
    error = "" if elbo["se"] is None else f" ± {elbo['se']:.2f}"
    click.echo(
        f"{run.key:<23} {run.method:<15} {last.epoch:>4} epochs {last.seconds:>9,.1f} s  "
        f"test ELBO {elbo['value']:.2f}{error}{'' if is_new else '  (was there)'}"
    )
