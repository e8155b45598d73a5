"""``discretevae completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from discretevae.cli import arguments

SHELLS = ("bash", "zsh", "fish")

VARIABLE = "_DISCRETEVAE_COMPLETE"
"""By which a shell asks the program what a word may become."""


@arguments.command("completion", "bash >> ~/.bashrc")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print what makes a shell complete commands, options and their values.

    Append it to ~/.bashrc or ~/.zshrc; for fish, write it to
    ~/.config/fish/completions/discretevae.fish. Then open a new shell.
    """
    from discretevae.cli import group

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"this version of click cannot complete for {shell}.")
    click.echo(completion(group, {}, "discretevae", VARIABLE).source())
