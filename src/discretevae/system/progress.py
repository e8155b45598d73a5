"""A bar on the terminal, for what takes long before a command has bars of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

_Item = TypeVar("_Item")


def track(items: Iterable[_Item], what: str, total: float | None, *, show: bool) -> Iterable[_Item]:
    """Return the items; a bar is drawn as they are taken, if standard error is a terminal."""
    if not (show and sys.stderr.isatty()):  # in a log file it would be noise
        return items
    from rich.console import Console
    from rich.progress import track as bar

    return bar(items, what, total=total, console=Console(stderr=True), transient=True)
