"""The next pieces of work are done in threads while the last one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Key = TypeVar("_Key")
_Made = TypeVar("_Made")


def ahead(make: Callable[[_Key], _Made], keys: Iterable[_Key], threads: int = 1) -> Iterator[_Made]:
    """Yield what ``make`` returns for each key, in order, and let threads make the next ones.

    What ``make`` raises is raised where its result was due.

    Args:
        make: called by the threads.
        keys: taken a few at a time.
        threads: with one, one result is made ahead; with more, twice as many.

    Example:
        >>> list(ahead(lambda n: n * n, range(4)))
        [0, 1, 4, 9]
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    most = 1 if threads == 1 else 2 * threads
    due: deque[Future[_Made]] = deque()
    try:
        for key in keys:
            due.append(pool.submit(make, key))
            if len(due) > most:
                yield due.popleft().result()
        while due:
            yield due.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
