"""The next piece of work is done in a thread while the last one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Key = TypeVar("_Key")
_Made = TypeVar("_Made")


def one_ahead(make: Callable[[_Key], _Made], keys: Iterable[_Key]) -> Iterator[_Made]:
    """Yield what ``make`` returns for each key, in order, and make the next one meanwhile.

    What ``make`` raises is raised where its result was due.

    Example:
        >>> list(one_ahead(lambda n: n * n, range(4)))
        [0, 1, 4, 9]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        due = None
        for key in keys:
            made, due = due, thread.submit(make, key)
            if made is not None:
                yield made.result()
        if due is not None:
            yield due.result()
