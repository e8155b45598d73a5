"""The command line: one file per sub-command, nothing in them but arguments and printing.

Sub-commands are imported when they are called for, and they import torch when they run, so that
``--help`` and a misspelled option answer at once.
"""

from __future__ import annotations

import importlib
from typing import NoReturn

import click

from discretevae.cli.ending import finish, status_of
from discretevae.errors import did_you_mean
from discretevae.version import __version__

TASKS = {
    "Train": {
        "train": "Train a model; with no argument, on scikit-learn's digits.",
        "prior": "Fit another prior to the codes of a trained run.",
        "runs": "List the runs in a folder with their figures.",
    },
    "Look": {
        "evaluate": "Evaluate a trained model on test rows.",
        "explore": "Look at codes in the browser: flip, walk, draw, compare.",
        "reconstruct": "Show rows beside their reconstructions.",
        "sample": "Draw samples from the prior.",
        "impute": "Fill the missing cells of a table.",
        "top-words": "List the words that each bit or category makes likelier.",
    },
    "Use": {
        "encode": "Turn rows into codes.",
        "decode": "Turn codes into rows.",
        "cluster": "Assign rows to clusters.",
        "outliers": "Rank rows by how normal the model finds them.",
        "index": "Write the codes of rows to an index for search.",
        "search": "Find the rows whose codes are nearest to those of others.",
        "compress": "Compress rows without loss.",
        "decompress": "Restore compressed rows.",
    },
    "Share": {
        "export": "Write the model for other programs: ONNX files, or a folder to share.",
    },
    "Research": {
        "estimators": "List the gradient estimators with their properties and sources.",
        "compare": "Compare gradient estimators on your data.",
        "retrieval": "Measure how well codes find rows of the same label.",
        "reproduce": "Make the figures of the paper again, the defaults beside its protocol.",
    },
}
"""The commands by task, in the order of the help."""

COMMANDS = {name: about for commands in TASKS.values() for name, about in commands.items()}

NAME = "discretevae"


class _LazyGroup(click.Group):
    """A group whose commands are imported from modules of their names when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(
            f"discretevae.cli.{cmd_name.replace('-', '_')}"
        ).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"no command {args[0]!r}. {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for task, commands in TASKS.items():
            with formatter.section(task):
                formatter.write_dl([(name.ljust(width), about) for name, about in commands.items()])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Example: discretevae train --data digits --latent bernoulli:16
Exit status: 0 done; 2 a mistake, explained in one line on standard error; 130 stopped by Ctrl-C.
Environment: DISCRETEVAE_DATA, folder of the built-in sets; OMP_NUM_THREADS, number of threads.
Help on a command: discretevae train --help
""",
)
@click.version_option(__version__, package_name="discretevae")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Variational autoencoders with discrete latent codes: train them, measure them, use them.

    DATA is a built-in name (digits, mnist, fashion-mnist, binarized-mnist), a file (.npy, .npz,
    .csv, .parquet, IDX) or a folder of images. RUN is a folder that `train` wrote. Likelihoods are
    in nats per row.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def call(args: list[str]) -> int:
    """Run ``discretevae`` with arguments, and return its exit status."""
    return status_of(group, NAME, args)


def main() -> NoReturn:
    """Run ``discretevae`` with the arguments of the process."""
    finish(group, NAME)


__all__ = ["NAME", "call", "group", "main"]
