"""Tables, JSON, files and progress bars of commands."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli.inputs import require_suffix
from discretevae.errors import ConfigError, count

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from discretevae.config import ModelConfig
    from discretevae.run_folder.saved_run import Run
    from discretevae.system.arrays import Array

_NUMBER = re.compile(r"[-+−–<≤∞×]?\s*(\d|$)|< noise")
"""Begins a cell that stands to the right of its column."""


def print_json(value: object) -> None:
    """Print one JSON value."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def print_table(
    lines: Sequence[Sequence[str]], *, title: str | None = None, has_head: bool = True
) -> None:
    """Print cells below each other, columns of numbers to the right; long lines are not folded.

    Args:
        lines: cells, of each line as many.
        title: a line above.
        has_head: whether the first line names the columns.
    """
    if title is not None:
        click.echo(title)
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    to_right = [all(map(_NUMBER.match, column[has_head:])) for column in columns]
    for line in lines:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, to_right, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def print_paths(**paths: Path | None) -> None:
    """Print what was written where, a line for each."""
    for what, path in paths.items():
        if path is not None:
            click.echo(f"{what:8} {path}")


def report_rows(as_json: bool, *, out: Path, rows: int, **facts: Any) -> None:
    """Say how many rows were written: as JSON with further facts, or in a line."""
    if as_json:
        print_json({"out": str(out), "rows": rows, **facts})
    else:
        click.echo(f"{count(rows, 'row')} written to {out}")


def make_parent(path: Path) -> Path:
    """Make the folder of a file, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def draw(figure: Figure, path: Path, **settings: Any) -> None:
    """Write a figure as a PNG file."""
    from discretevae.plots.pictures import save_figure

    save_figure(figure, make_parent(path), **settings)


def is_picture(out: Path, model: ModelConfig) -> bool:
    """Return whether rows are to be written as a picture, and not as ``.npy`` or ``.csv``.

    Raises:
        ConfigError: the model's rows are no pictures, or the suffix is another.
    """
    image_shape = model.image_shape
    require_suffix(out, ".png", ".npy", ".csv")
    if model.likelihood.kind == "mixed" and out.suffix.lower() != ".csv":
        raise ConfigError(
            f"{out}: rows with texts or missing cells are written as a .csv table. Pass another "
            "--out."
        )
    if out.suffix.lower() != ".png":
        return False
    if image_shape is None:
        raise ConfigError(f"{out}: the model's rows are no pictures. Pass --out with .npy or .csv.")
    return True


def write_rows(out: Path, x: Tensor, run: Run, title: str, lines: Sequence[str] = ()) -> None:
    """Write rows ``[N, P]`` as one PNG of N pictures, or as values in the units of the run's data.

    Each of several named lines has as many pictures. ``.npy`` holds float32, or float64 of scaled
    columns; ``.csv`` has the names of the columns.
    """
    image_shape = run.config.model.image_shape
    if is_picture(out, run.config.model) and image_shape is not None:
        from discretevae.plots.pictures import image_grid

        draw(image_grid(x, image_shape, title, lines), out)
        return
    write_values(out, in_source_units(x, run), run)


def in_source_units(x: Tensor, run: Run) -> Array:
    """Return x ``[N, P]`` in the units of the data that a run was trained on."""
    return x.float().numpy() if run.schema is None else run.schema.in_source_units(x)


def whole_in_source_units(symbols: Array, run: Run) -> Array:
    """Return decompressed whole numbers ``[N, P]`` in the units of a run's data, uint8 if they fit.

    The numbers are k for x = k/255, or 0 and 1.
    """
    import numpy as np
    import torch

    top = 255 if run.model.likelihood.support == "bytes" else 1
    values = in_source_units(torch.from_numpy(symbols).float() / top, run)
    whole = np.rint(values)
    fits = np.abs(values - whole).max() < 1e-3 and whole.min() >= 0 and whole.max() <= 255
    return whole.astype(np.uint8) if fits else values


def write_values(out: Path, values: Array, run: Run) -> None:
    """Write values ``[N, P]`` to ``.npy``, pictures as ``[N, height, width]``, or to ``.csv``."""
    from discretevae.system.files import array_bytes, write_atomic, write_text

    if out.suffix.lower() == ".csv":
        names = None if run.schema is None else run.schema.feature_names
        text = io.StringIO(newline="")
        lines = csv.writer(text, lineterminator="\n")
        lines.writerows([names] if names is not None else [])
        lines.writerows(values.tolist())
        write_text(make_parent(out), text.getvalue())
        return
    shape = (len(values), *(run.config.model.image_shape or values.shape[1:]))
    write_atomic(make_parent(out), array_bytes(values.reshape(shape)))


@contextlib.contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Callable[..., object]]:
    """Show a bar on standard error if that is a terminal.

    Yields:
        What changes the bar: ``description``, ``completed``, ``total``, ``figures``.
    """
    if not sys.stderr.isatty():
        yield lambda **changes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # a file gets its lines as they are
    ) as bar:
        yield partial(bar.update, bar.add_task(title, total=total, figures=""))


@contextlib.contextmanager
def counting_bar(title: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show a `progress_bar`; yields what is called with the number that is done."""
    with progress_bar(title, total) as update:
        yield lambda done: update(completed=done)


@contextlib.contextmanager
def task_bar() -> Iterator[Callable[[str, int, int], object]]:
    """Show a `progress_bar`; yields what is called with the task, what is done, and the total."""
    with progress_bar("starting") as update:
        yield lambda task, done, total: update(description=task, completed=done, total=total)
