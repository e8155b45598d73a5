"""The end of every command: mistakes in one line and an exit status, never a traceback."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import click

from discretevae.cli.streams import abandon_stdout, prepare_streams
from discretevae.errors import DiscreteVAEError, TrainingError, TrainingInterrupted

_OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory")
"""Words of torch, on any device; its exception types are known only once it is imported."""

_PARAMETER = re.compile("`([a-z_]+)(?:=([^`]+))?`")
_QUOTES = "'\"()"

OPTIONS = {
    "n_seeds": "seeds",
    "row_id": "id",
    "image_shape": "image_size",
    "per_label": "queries",
}
"""Options whose name is not that of the library's parameter."""


def finish(command: click.Command | Callable[[], object], name: str | None = None) -> NoReturn:
    """Run a command with the arguments of the process, and exit.

    Status 0: done. 1: nobody reads the output on. 2: a user's mistake, explained in one line on
    standard error. 130: stopped by Ctrl-C. An error that is none of the user's keeps its
    traceback. The command may be a function that reads the arguments itself; one of click prints
    ``name``, or that of the script.
    """
    prepare_streams()
    warnings.showwarning = _show_warning
    status = status_of(command, name)
    try:
        sys.stdout.flush()
    except OSError:  # has been told, or nobody reads on
        abandon_stdout()
    sys.exit(status)


def status_of(
    command: click.Command | Callable[[], object],
    name: str | None = None,
    args: list[str] | None = None,
) -> int:
    """Run a command as `finish` does, print an error if there is one, and return the exit status.

    ``args`` are of a click command; None for those of the process.
    """
    try:
        if isinstance(command, click.Command):
            status: Any = command.main(args, prog_name=name, standalone_mode=False)
        else:
            status = command()
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except TrainingInterrupted as stopped:
        return _complain(_message(stopped), 130, kind="Stopped")
    except (click.Abort, KeyboardInterrupt):
        return _complain("nothing more was written.", 130, kind="Stopped")
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else name
        see = f" See {where} --help." if where else ""
        return _complain(f"{_in_one_sentence(error)}{see}", 2)
    except DiscreteVAEError as error:
        return _complain(_message(error), 2)
    except UnicodeEncodeError as error:  # of another package, which takes no such names
        return _complain(
            f"{error.object[:80]!r} is no {error.encoding} text. Rename the file or folder.", 2
        )
    except Warning as warning:
        why = f"({type(warning).__name__}, which -W or PYTHONWARNINGS makes an error.)"
        return _complain(f"{in_options(str(warning))} {why}", 2)
    except (MemoryError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(reason):
            raise
        return _complain(f"out of memory ({reason[:120]}). Ask for less at a time.", 2)
    except OSError as error:
        # of a rename that failed the second name is the one that the user knows
        path = error.filename2 or error.filename
        where = f"{path}: " if path else ""
        return _complain(f"{where}{error.strerror or error}. Check the path and the free space.", 2)


def in_options(message: str) -> str:
    """Return a message of the library with its parameters as options of the command line.

    The library writes parameters in backquotes, with or without a value.
    """

    def option(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        words = OPTIONS.get(name, name).replace("_", "-")
        if value is None or value == "True":
            return f"--{words}"
        if value == "False":
            return f"--no-{words}"
        return f"--{words} {value.strip(_QUOTES).replace(', ', 'x')}"

    return _PARAMETER.sub(option, message)


def _message(error: DiscreteVAEError) -> str:
    """Return what an error says, in terms of the command line."""
    if isinstance(error, (TrainingError, TrainingInterrupted)) and error.folder is not None:
        command = f"discretevae train --resume {error.folder}"
        return f"{in_options(error.message)} Go on with: {command}"
    return in_options(str(error))


def _in_one_sentence(error: click.ClickException) -> str:
    """Return what click says of an option, worded as the library's messages are."""
    if (
        isinstance(error, click.BadParameter)
        and not isinstance(error, click.MissingParameter)
        and isinstance(error.param, click.Option)
    ):
        return f"{error.param.opts[0]} {error.message}"
    return error.format_message()


def _complain(message: str, status: int, *, kind: str = "Error") -> int:
    _say(kind, message)
    return status


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _say("Warning", in_options(str(message)))


def _say(kind: str, message: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens, which is no reason to end
        click.echo(f"{kind}: {' '.join(message.split())}", err=True)
