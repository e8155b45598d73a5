"""Folders for runs: free ones, those that hold a run, and those of another configuration."""

from __future__ import annotations

from pathlib import Path

from discretevae.config import RunConfig, to_dict
from discretevae.errors import RunError
from discretevae.run_folder.saved_run import is_run, load_config
from discretevae.system.locks import LOCK

FIGURES = "figures"

MAX_DIFFERENCES = 3
"""Shown of two configurations; more would not fit the line."""


def prepare_folder(out: Path, *, resume: bool) -> None:
    """Refuse a folder that a run must not be written to (`RunError`); nothing is changed."""
    if resume:
        load_config(out)
    elif out.exists() and not out.is_dir():
        raise RunError(f"{out}: is a file, not a folder. Choose another `out`.")
    elif out.exists() and any(not _is_left_over(path) for path in out.iterdir()):
        if is_run(out):
            raise RunError(
                f"{out}: already holds a run. Go on with `resume=True`, or choose another `out`."
            )
        raise RunError(f"{out}: holds files that are not ours. Choose another `out`.")


def _is_left_over(path: Path) -> bool:
    """Return whether a crash before the first save may have left the file."""
    return path.name == LOCK or (path.name.startswith(".") and path.name.endswith(".tmp"))


def free_folder(parent: Path, config: RunConfig) -> Path:
    """Return ``parent/DATA-LATENT``, with a number behind it if that exists."""
    stem = f"{Path(config.data.source).stem}-{str(config.model.latent).replace(':', '')}"
    folder, number = parent / stem, 2
    while folder.exists():
        folder, number = parent / f"{stem}-{number}", number + 1
    return folder


def folder_problem(folder: Path, config: RunConfig) -> str | None:
    """Return why a run cannot be made or continued in a folder, or None."""
    try:
        if not is_run(folder):
            prepare_folder(folder, resume=False)
            return None
        there = load_config(folder)
    except RunError as error:
        return str(error)
    if there == config:
        return None
    own, asked = to_dict(there), to_dict(config)
    shown = [
        f"{name} {value}, not {asked[part][name]}"
        for part in ("data", "model", "training")
        for name, value in own[part].items()
        if value != asked[part][name]
    ]
    more = f" and {len(shown) - MAX_DIFFERENCES} more" if len(shown) > MAX_DIFFERENCES else ""
    return (
        f"{folder}: holds a run with {', '.join(shown[:MAX_DIFFERENCES])}{more}. Ask for what is "
        "there, choose another `out`, or delete the folder."
    )
