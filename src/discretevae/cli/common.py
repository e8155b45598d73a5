"""What several sub-commands share: options, opening runs and data, progress bars."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from discretevae.errors import ConfigError, count

if TYPE_CHECKING:
    from torch import Tensor

    from discretevae.config import RunConfig
    from discretevae.data import Rows
    from discretevae.run_folder.checkpoint import Run

SPLITS = ("train", "test", "validation", "all")
DATA_NAMES = ("digits", "mnist", "fashion-mnist", "binarized-mnist")
"""Of the built-in sets; here, because completing a word must not import what reads them."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def complete_data(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """What a shell offers where data are to be named: built-in sets, else files.

    Example:
        >>> [item.value for item in complete_data(None, None, "mn")]
        ['mnist']
    """
    names = [CompletionItem(name) for name in DATA_NAMES if name.startswith(begun)]
    return names or [CompletionItem(begun, type="file")]


def example(command: str) -> str:
    """The epilog of a command: a line that the terminal leaves whole, so that it can be copied.

    Example:
        >>> example("discretevae runs").splitlines()[-1]
        'Example: discretevae runs'
    """
    return f"\b\nExample: {command}"


run_argument = click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
data_argument = click.argument(
    "data_argument", metavar="[DATA]", required=False, shell_complete=complete_data
)
data_option = click.option(
    "--data",
    "data_option",
    metavar="DATA",
    shell_complete=complete_data,
    help="The argument DATA, written as an option: a built-in name, a file or a folder.  "
    "[default: the data of RUN]",
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder that holds the built-in sets; what it lacks is downloaded.  "
    "[default: $DISCRETEVAE_DATA, then your cache folder]",
)
device_option = click.option(
    "--device", default="cpu", show_default=True, help="Where to compute: cpu, cuda, cuda:1, …"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
seed_option = click.option(
    "--seed", type=int, default=0, show_default=True, help="Every random draw follows from it."
)


def split_option(default: str) -> Decorator:
    """Which part of the data is meant."""
    return click.option(
        "--split",
        type=click.Choice(SPLITS),
        default=default,
        show_default=True,
        help="Which rows of the data; of a file without parts, 'test' is the tenth that training "
        "held out.",
    )


def check_device(name: str) -> str:
    """Refuses a device that torch does not know or that is not here.

    Raises:
        ConfigError: it is unknown or absent.
    """
    import torch

    try:
        torch.empty(0, device=name)
        torch.Generator(name)
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if reason.startswith("Expected one of"):  # followed by twenty that nobody has
            reason = "there is no such kind"
        raise ConfigError(
            f"device {name!r} cannot be used: {reason.rstrip('.')}. Pass --device cpu."
        ) from None
    return name


def parse_image_size(text: str | None) -> tuple[int, int] | None:
    """Reads ``32x32`` (height x width).

    Raises:
        ConfigError: the text is something else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise ConfigError(f"image size {text!r} cannot be read. Write it like 28x28.")
    return int(match.group(1)), int(match.group(2))


def open_run(folder: Path, device: str) -> Run:
    """The run's configuration and model on the device that was asked for."""
    from discretevae.run_folder.checkpoint import load_run

    return load_run(folder, device=check_device(device))


def open_rows(
    config: RunConfig,
    argument: str | None,
    option: str | None,
    *,
    split: str,
    data_dir: Path | None,
) -> Rows:
    """The rows that a command was pointed at, or the run's own, binarized as in training.

    Raises:
        ConfigError: both ways of naming data were used, and they differ.
    """
    from discretevae.data import BUILTIN_NAMES, load_rows

    if argument is not None and option is not None and argument != option:
        raise ConfigError(f"data are named twice: {argument} and {option}. Name them once.")
    source = argument or option or config.data.source
    is_file = source not in BUILTIN_NAMES
    rows = load_rows(
        source,
        split=split,  # type: ignore[arg-type]
        data_dir=data_dir,
        image_size=config.data.image_size if is_file else None,
        divisor=config.data.divisor if is_file else None,
        progress=True,
    )
    if rows.n_features == config.model.n_features:  # else it is refused anyway
        _warn_of_fractions(rows)
    return rows.binarized(config.data.binarize)


def _warn_of_fractions(rows: Rows) -> None:
    """Says that values were divided as the run's data were, though they hardly need it.

    Warns:
        DataWarning: they have fractions, and none is above 1.
    """
    from torch import Tensor

    from discretevae.errors import DataWarning

    values, divisor = rows.values, rows.divisor
    if divisor <= 1 or not isinstance(values, Tensor) or not values.is_floating_point():
        return
    if 0 < (high := float(values.max())) <= 1:
        warnings.warn(
            f"{rows.name}: fractions up to {high:g}, divided by {divisor:g} as the data of the "
            f"run were. If they lie in [0, 1] already, multiply them by {divisor:g} first.",
            DataWarning,
            stacklevel=2,
        )


def print_json(value: object) -> None:
    """One JSON object on standard output."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def print_columns(lines: Sequence[Sequence[str]]) -> None:
    """Cells below each other, two spaces apart; long lines are left to the terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def report_files(as_json: bool, **facts: Any) -> None:
    """Says what was written: as JSON, or in a line."""
    facts["out"] = str(facts["out"])
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{count(facts['rows'], 'row')} written to {facts['out']}")


def require_positive(name: str, value: int) -> None:
    """Refuses a count below 1.

    Raises:
        ConfigError: it is.
    """
    if value < 1:
        raise ConfigError(f"{name} must be an int >= 1. Got {value}.")


def require_seed(value: int) -> None:
    """Refuses a number that no generator takes.

    Raises:
        ConfigError: it is negative or too large.
    """
    if not 0 <= value < 2**63:
        raise ConfigError(f"seed must be an int from 0 to 2**63 - 1. Got {value}.")


def refuse_same_file(
    out: Path, source: str | Path | None, what: str, *, option: str = "--out"
) -> None:
    """Refuses to write over what is read, by whatever name it is called.

    Raises:
        ConfigError: both are one file.
    """
    if source is None:
        return
    with contextlib.suppress(OSError):
        if out.samefile(source):
            raise ConfigError(f"{out}: is the file of the {what}. Choose another {option}.")


def require_suffix(path: Path, *suffixes: str, option: str = "--out") -> None:
    """Refuses a file name of another kind.

    Raises:
        ConfigError: it has another ending.
    """
    if path.suffix.lower() not in suffixes:
        endings = " or ".join(suffixes)
        raise ConfigError(f"{path}: must end in {endings}. Choose another {option}.")


def make_parent(path: Path) -> None:
    """Makes the folder that a file goes to."""
    path.parent.mkdir(parents=True, exist_ok=True)


def is_picture(out: Path, image_shape: tuple[int, int] | None) -> bool:
    """Whether ``out`` asks for a picture.

    Raises:
        ConfigError: it does, but the model's rows are none; or its ending is neither.
    """
    require_suffix(out, ".png", ".npy")
    if out.suffix.lower() == ".npy":
        return False
    if image_shape is None:
        raise ConfigError(f"{out}: the model's rows are no pictures. Pass --out with .npy.")
    return True


def write_pictures(
    out: Path, pictures: Tensor, image_shape: tuple[int, int] | None, title: str
) -> None:
    """Pictures ``[n, P]`` as one PNG, or their values as float32 ``.npy``."""
    from discretevae.system.files import array_bytes, write_atomic

    if is_picture(out, image_shape) and image_shape is not None:
        from discretevae.plots.pictures import image_grid, save_figure

        make_parent(out)
        save_figure(image_grid(pictures, image_shape, title), out)
        return
    shape = (len(pictures), *(image_shape or pictures.shape[1:]))
    make_parent(out)
    write_atomic(out, array_bytes(pictures.float().reshape(shape).numpy()))


@contextlib.contextmanager
def counting_bar(title: str, total: int) -> Iterator[Callable[[int], object]]:
    """A bar on standard error that is told how much is done; nothing unless a terminal looks."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextlib.contextmanager
def task_bar() -> Iterator[Callable[[str, int, int], object]]:
    """A bar on standard error with what is being done; nothing unless a terminal looks."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # a file is to get its lines itself
    ) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total
        )


__all__ = [
    "check_device",
    "counting_bar",
    "data_argument",
    "data_dir_option",
    "data_option",
    "device_option",
    "example",
    "is_picture",
    "json_option",
    "make_parent",
    "open_rows",
    "open_run",
    "parse_image_size",
    "print_columns",
    "print_json",
    "refuse_same_file",
    "report_files",
    "require_positive",
    "require_seed",
    "require_suffix",
    "run_argument",
    "seed_option",
    "split_option",
    "task_bar",
    "write_pictures",
]
