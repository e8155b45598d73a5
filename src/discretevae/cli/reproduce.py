"""``discretevae reproduce``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import check_device
from discretevae.config import PRECISIONS, Precision
from discretevae.experiments.paper.experiments import (
    ALL,
    FIGURES,
    FULL,
    QUICK,
    VARIANTS,
    Scale,
    parse_figures,
)

if TYPE_CHECKING:
    from discretevae.experiments.paper.findings import FinishedRun

OUT, QUICK_OUT = Path("runs/paper"), Path("runs/paper-quick")


@arguments.command("reproduce", "fig6 fig7 fig8 --out runs/paper")
@click.argument("figures", nargs=-1, metavar="[FIGURES]...")
@arguments.path(
    "--out", f"Folder of runs, pictures and numbers.  [default: {OUT}; with --quick {QUICK_OUT}]"
)
@arguments.flag(
    "--quick", "Make everything small and on digits, in under two minutes, to see that it works."
)
@arguments.option(
    "--epochs",
    "Passes over the training rows in the paper's protocol, of fully connected models; the "
    "defaults of this package get a third.  "
    f"[default: {FULL.epochs}; with --quick {QUICK.epochs}]",
    type=arguments.COUNT,
)
@arguments.option(
    "--cnn-epochs",
    "The same for convolutional models.  "
    f"[default: {FULL.cnn_epochs}; with --quick {QUICK.cnn_epochs}]",
    type=arguments.COUNT,
)
@arguments.option(
    "--precision",
    "Precision of matrix products. A processor with instructions for bf16 takes half the time with "
    "it; others take longer.",
    FULL.precision,
    type=click.Choice(PRECISIONS),
)
@arguments.seed
@arguments.data_dir
@arguments.device
@arguments.as_json
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
    that are finished are left as they are, others are resumed: after Ctrl-C, give the same command
    again. The pictures are in OUT/figures, all numbers in OUT/report.json.
    """
    wanted = parse_figures(figures)
    scale = QUICK if quick else FULL
    scale = dataclasses.replace(
        scale,
        epochs=epochs or scale.epochs,
        cnn_epochs=cnn_epochs or scale.cnn_epochs,
        precision=precision,
        seed=seed,
    )
    if not wanted:
        _list(scale, as_json)
        return
    from discretevae.experiments.paper.running import NUMBERS, PICTURES, reproduce

    out = out or (QUICK_OUT if quick else OUT)
    with outputs.task_bar() as progress:
        report = reproduce(
            wanted,
            out=out,
            scale=scale,
            data_dir=data_dir,
            device=check_device(device),
            progress=progress,
            finished=(lambda run, is_new: None) if as_json else _print_run,
        )
    if as_json:
        outputs.print_json({"out": str(out)} | report)
        return
    for name in report["figures"]:
        click.echo(f"picture  {out / PICTURES / name}.png")
    click.echo(f"numbers  {out / NUMBERS}")


def _list(scale: Scale, as_json: bool) -> None:
    """Print the figures, what each shows and which runs it needs."""
    if as_json:
        outputs.print_json(
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


def _print_run(run: FinishedRun, is_new: bool) -> None:
    from discretevae.evaluation.measured import Measured

    last = run.history[-1]
    click.echo(
        f"{run.key:<23} {run.method:<15} {last.epoch:>4} epochs {last.seconds:>9,.1f} s  "
        f"test ELBO {Measured(**run.test['elbo']):.2f}{'' if is_new else '  (was there)'}"
    )
