"""Every exception and warning of the package.

Each message says what is wrong, what was got, and what to do. Parameters stand in backquotes:
`lr`, `prior='mixture:10'`. The command line turns them into its options, prints the message in one
line and exits with status 2.

::

    DiscreteVAEError
    ├── ConfigError         an option or argument, or several of them at once   (also ValueError)
    ├── DataError           a data set: its name, files, values or shape        (also ValueError)
    ├── DownloadError       a built-in data set could not be fetched            (also OSError)
    ├── RunError            a run folder or model file: missing, corrupt, newer (also ValueError)
    ├── TrainingError       training cannot go on: loss not finite, disk full
    ├── TrainingInterrupted the user stopped it; the state is saved
    └── MissingExtraError   an optional package is not installed                (also ImportError)

    DiscreteVAEWarning
    ├── CheckpointWarning   a damaged checkpoint was passed over, or a folder was made again
    ├── CollapseWarning     the code carries little or nothing
    ├── ObjectiveWarning    what is trained on is no bound on ln p(x)
    └── DataWarning         the data were read in a way that the user may not expect
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType


class DiscreteVAEError(Exception):
    """Base class of every error raised on purpose by this package."""


class ConfigError(DiscreteVAEError, ValueError):
    """One or several wrong parameters; all of them are named at once.

    Args:
        problems: one message, or several that were found together.

    Example:
        >>> print(ConfigError(["`epochs` must be >= 1. Got 0.", "`lr` must be > 0. Got -1."]))
        `epochs` must be >= 1. Got 0.; `lr` must be > 0. Got -1.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))


class DataError(DiscreteVAEError, ValueError):
    """A data set that is missing, unreadable, or holds values it must not hold."""


class DownloadError(DiscreteVAEError, OSError):
    """No mirror served the right file."""


class RunError(DiscreteVAEError, ValueError):
    """A run folder or model file that is missing, corrupt, foreign or too new."""


class _ResumableError(DiscreteVAEError):
    """The end of a training, whose run in ``folder`` can perhaps be resumed.

    Example:
        >>> print(TrainingInterrupted("in epoch 3; all is saved.", "runs/a"))
        in epoch 3; all is saved. Go on with out='runs/a' and resume=True.
    """

    def __init__(self, message: str, folder: str | os.PathLike[str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.folder = None if folder is None else os.fspath(folder)

    def __str__(self) -> str:
        """Return the message, and how Python goes on with the run."""
        if self.folder is None:
            return self.message
        return f"{self.message} Go on with out={self.folder!r} and resume=True."


class TrainingError(_ResumableError, RuntimeError):
    """Training cannot go on; the last good state is on disk."""


class TrainingInterrupted(_ResumableError):  # noqa: N818 - nothing went wrong
    """The user stopped the training; its state is on disk."""


class MissingExtraError(DiscreteVAEError, ImportError):
    """An optional dependency is needed; the message holds the pip command."""


@contextlib.contextmanager
def needs_extra(extra: str, message: str) -> Iterator[None]:
    """Turn an import that fails in the block into advice on the extra (`MissingExtraError`).

    Example:
        >>> with needs_extra("search", "searching codes needs faiss"):
        ...     import no_such_module
        Traceback (most recent call last):
        ...
        discretevae.errors.MissingExtraError: searching codes needs faiss. \
Run: pip install 'discretevae[search]'
    """
    try:
        yield
    except ImportError:
        raise MissingExtraError(f"{message}. Run: pip install 'discretevae[{extra}]'") from None


class DiscreteVAEWarning(UserWarning):
    """Base class of every warning issued by this package."""


class CheckpointWarning(DiscreteVAEWarning):
    """A damaged checkpoint was skipped, or a folder that had been removed was made again."""


class CollapseWarning(DiscreteVAEWarning):
    """The code carries little or nothing about the data."""


class ObjectiveWarning(DiscreteVAEWarning):
    """The training objective is no bound on ln p(x)."""


class DataWarning(DiscreteVAEWarning):
    """The data were read in a way that the user may not expect."""


def kind_of(value: object) -> str:
    """Return what a value is, in the words of a message.

    Example:
        >>> kind_of(None), kind_of([1]), kind_of(list), kind_of(os)
        ('None', 'list', 'the class list', 'the module os')
    """
    for kind, what in ((type, "class"), (ModuleType, "module")):
        if isinstance(value, kind):
            return f"the {what} {value.__name__}"
    return "None" if value is None else type(value).__name__


def require_type(
    name: str,
    value: object,
    kind: type,
    advice: str,
    error: type[DiscreteVAEError] = ConfigError,
) -> None:
    """Refuse an argument of another type, with an error of the type ``error``.

    Example:
        >>> require_type("folder", 3, str, "Give its path.")
        Traceback (most recent call last):
        ...
        discretevae.errors.ConfigError: folder must be a str. Got int. Give its path.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise error(f"{name} must be {article} {kind.__name__}. Got {kind_of(value)}. {advice}")


def count(n: int, noun: str) -> str:
    """Return a number and its noun.

    Example:
        >>> count(1, "value"), count(2000, "value")
        ('1 value', '2,000 values')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return the end of an error message: the nearest choice if there is one, then all.

    Example:
        >>> did_you_mean("minst", ["digits", "mnist"])
        'Did you mean mnist? Choices: digits, mnist.'
        >>> did_you_mean("xyz", ["digits", "mnist"])
        'Choices: digits, mnist.'
    """
    choices = list(choices)
    close = difflib.get_close_matches(name, choices, n=1)
    guess = f"Did you mean {close[0]}? " if close else ""
    return f"{guess}Choices: {', '.join(choices)}."
