"""Arguments and options of the sub-commands: how they are written, and those that several share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from discretevae.cli.inputs import Inputs

if TYPE_CHECKING:
    from discretevae.data import Split

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

PATH = click.Path(path_type=Path)

SPLITS = ("train", "test", "validation", "all")
DATA_NAMES = ("digits", "mnist", "fashion-mnist", "binarized-mnist")
"""The built-in sets. Completing a word must not import what reads them, where they stand too."""


class Int(click.ParamType[int]):
    """A whole number."""

    name = "integer"

    def __init__(self, low: int) -> None:
        self.low = low

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Read the text."""
        try:
            number = int(value)
        except ValueError:
            number = -1
        if number < self.low:
            self.fail(f"must be an int >= {self.low}. Got {value}.", param, ctx)
        if number >= 2**63:
            self.fail(f"must be an int < 2**63. Got {value}.", param, ctx)
        return number


COUNT = Int(1)


class Numbers(click.ParamType[list[int]]):
    """Whole numbers separated by commas, such as ``100,5000``."""

    name = "numbers"

    def __init__(self, high: int = 999_999_999) -> None:
        self.high = high

    def convert(self, value: Any, param: Any, ctx: Any) -> list[int]:
        """Read the text."""
        try:
            numbers = [int(part) for part in str(value).split(",")]
        except ValueError:
            numbers = [0]
        if not 1 <= min(numbers) <= max(numbers) <= self.high:
            self.fail(
                f"{str(value)[:40]!r} must be ints from 1 to {self.high:,}, such as 16,32.",
                param,
                ctx,
            )
        return numbers


def complete_data(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return what a shell offers where data are named: built-in sets, else files."""
    names = [CompletionItem(name) for name in DATA_NAMES if name.startswith(begun)]
    return names or [CompletionItem(begun, type="file")]


def command(name: str, example: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Return the decorator of a sub-command."""
    # \b: the terminal must not fold the line, which is to be copied
    return click.command(name, epilog=f"\b\nExample: discretevae {name} {example}")


def option(
    name: str,
    help: str,  # noqa: A002 - click's name
    default: Any = None,
    *,
    to: str | None = None,
    **settings: Any,
) -> Decorator:
    """Return an option of `click.option` whose value goes to the parameter ``to``.

    The help is a sentence; where the default is None, with a word on what that means. Another
    default is shown behind it.
    """
    if default is not None:
        settings |= {"default": default, "show_default": True}
    elif "/" in name:
        settings["default"] = None  # click takes False for a pair of flags that nobody gave
    return click.option(*((name,) if to is None else (name, to)), help=help, **settings)


def path(name: str, help: str, **settings: Any) -> Decorator:  # noqa: A002
    """Return an option whose value is a path."""
    return option(name, help, type=PATH, **settings)


def flag(name: str, help: str, *, to: str | None = None) -> Decorator:  # noqa: A002
    """Return an option without a value."""
    return option(name, help, to=to, is_flag=True)


def data(default: str) -> Decorator:
    """Return ``--data``."""
    return option(
        "--data",
        f"A built-in name, a file or a folder.  [default: {default}]",
        metavar="DATA",
        shell_complete=complete_data,
    )


run = click.argument("run_folder", metavar="RUN", type=PATH)
data_dir = path(
    "--data-dir",
    "Folder of the built-in data sets; missing ones are downloaded.  "
    "[default: $DISCRETEVAE_DATA, then your cache folder]",
)
device = option("--device", "Where to compute: cpu, cuda, cuda:1, …", "cpu")
as_json = flag("--json", "Print JSON instead of text.", to="as_json")
seed = option("--seed", "Seed of all random draws.", 0, type=Int(0))
refine = option(
    "--refine",
    "Sweeps that change each code variable by variable where that explains the row better. A sweep "
    "takes as long as decoding the code once or twice for every variable.",
    0,
    type=Int(0),
)
samples = option("--samples", "S, draws of z per row of the S-sample bound.", 100, type=COUNT)


def inputs(split: str, *, has_device: bool = True) -> Decorator:
    """Add RUN, DATA and the options on them; the command gets them as one `Inputs`."""
    parameters: list[Decorator] = [
        run,
        click.argument("argument", metavar="[DATA]", required=False, shell_complete=complete_data),
        data("the data of RUN"),
        option(
            "--split",
            "Part of the data. Of a file without parts, 'test' is the tenth that was held out in "
            "training.",
            split,
            type=click.Choice(SPLITS),
        ),
        option(
            "--divisor",
            "Divisor of DATA in other units than those of the training: x = values / divisor.  "
            "[default: as in training]",
            type=float,
        ),
        *([device] if has_device else []),
        data_dir,
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_inputs(
            *,
            run_folder: Path,
            argument: str | None,
            data: str | None,
            split: Split,
            data_dir: Path | None,
            divisor: float | None,
            device: str = "cpu",
            **options: Any,
        ) -> Any:
            if None not in (argument, data) and argument != data:
                raise click.UsageError(
                    f"data are named twice: {argument} and {data}. Name them once."
                )
            source = Inputs(run_folder, argument or data, split, device, data_dir, divisor)
            return function(source, **options)

        decorated: Callable[..., Any] = with_inputs
        for parameter in reversed(parameters):
            decorated = parameter(decorated)
        return decorated

    return decorate
