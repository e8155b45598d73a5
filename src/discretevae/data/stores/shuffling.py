"""The random order of rows in an epoch: of all, or in windows of rows that lie on disk.

An epoch of rows on disk is a sequence of windows. A window is a number of blocks that are held in
memory together, its rows in random order. The blocks are dealt like cards: of as many neighbors as
there are windows, each window gets one, at random. So a window is a sample of the whole table,
stratified by the place in it: in a table that is sorted by class, every window has its share of
every class.

Any place of the order can be computed from the seed and the epoch alone; nothing before it need be
read.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from discretevae.system.randomness import generator_for


class Permuted:
    """All rows in one random order: perfect shuffling, 8 bytes for each row.

    Args:
        take: the values ``[B, P]`` of rows of these numbers, in any order.
        n_rows: N.
        seed: of the run.
        epoch: counted from 1.
        device: where the values lie, and with them the numbers that `between` takes.

    Attributes:
        order: the rows' numbers, int64 ``[N]`` on the CPU.
    """

    def __init__(
        self,
        take: Callable[[Tensor], Tensor],
        n_rows: int,
        seed: int,
        epoch: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._take = take
        self.order = torch.randperm(n_rows, generator=generator_for(seed, "order", epoch))
        self._order_on_device = self.order.to(device)

    def between(self, start: int, stop: int) -> Tensor:
        """Return the rows of these places in the order, ``[stop - start, P]``."""
        return self._take(self._order_on_device[start:stop])

    def numbers(self, start: int, stop: int) -> Tensor:
        """Return the numbers of those rows, int64 on the CPU."""
        return self.order[start:stop]


class BlockOrder:
    """The order of rows on disk in one epoch: numbers only, no values.

    Args:
        edges: int64 ``[M + 1]``: block m holds the rows from ``edges[m]`` up to ``edges[m + 1]``.
        window_rows: rows of a window, but for a part of a block.
        seed: of the run.
        epoch: counted from 1.

    Attributes:
        starts: place in the order where each window begins, and where the last ends.

    Example:
        >>> order = BlockOrder(torch.arange(0, 101, 10), window_rows=40, seed=0, epoch=1)
        >>> order.starts, sorted(order.rows_of(0).tolist() + order.rows_of(1).tolist())[-1]
        ([0, 30, 70, 100], 99)
    """

    def __init__(self, edges: Tensor, window_rows: int, seed: int, epoch: int) -> None:
        self._seed, self._epoch = seed, epoch
        is_new = edges.diff(prepend=edges[:1] - 1) > 0  # a block may hold no row
        self._edges = edges = edges[is_new]
        n_blocks, n_rows = len(edges) - 1, int(edges[-1] - edges[0])
        n_windows = -(-n_rows // max(1, window_rows))
        self._order = _dealt(n_blocks, n_windows, generator_for(seed, "order", epoch))
        sizes = edges.diff()[self._order]
        ends = sizes.cumsum(0)
        # cut anew by rows, because blocks may differ: where the middle of a block lies decides
        window = (2 * ends - sizes) * n_windows // max(1, 2 * n_rows)
        last = window.diff(append=torch.tensor([n_windows])) > 0
        self._cuts: list[int] = [0, *(last.nonzero().flatten() + 1).tolist()]
        self.starts = [0, *(int(ends[cut - 1]) for cut in self._cuts[1:])]

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.starts) - 1

    def rows_of(self, window: int) -> Tensor:
        """Return the rows of a window, int64, ascending."""
        blocks = self._order[self._cuts[window] : self._cuts[window + 1]].sort().values
        first, sizes = self._edges[blocks], (self._edges[1:] - self._edges[:-1])[blocks]
        ends = sizes.cumsum(0)
        # the place among all rows of the window, shifted block by block
        shift = (first - (ends - sizes)).repeat_interleave(sizes)
        return torch.arange(int(ends[-1])) + shift

    def order_of(self, window: int) -> Tensor:
        """Return the random order in which those rows come, int64."""
        size = self.starts[window + 1] - self.starts[window]
        generator = generator_for(self._seed, "order", self._epoch, "window", window)
        return torch.randperm(size, generator=generator)


def _dealt(n_blocks: int, n_windows: int, generator: torch.Generator) -> Tensor:
    """Return the blocks of the first window, those of the second, ...; int64 ``[n_blocks]``."""
    n_windows = max(1, min(n_windows, n_blocks))
    n_rounds = -(-n_blocks // n_windows)
    # of each round of neighbors, block j goes to window hands[round, j]
    hands = torch.rand(n_rounds, n_windows, generator=generator).argsort(dim=1, stable=True)
    mixed = torch.randperm(n_blocks, generator=generator)
    return mixed[hands.flatten()[mixed].argsort(stable=True)]


class Windowed:
    """The rows of one epoch in the order of a `BlockOrder`, at most two windows of them held.

    While the rows of a window are handed out, a thread of its own reads the next. Places that lie
    before the last ones are read again, which is slow. Not for several threads at a time.

    Args:
        order: which rows come when.
        read: the values ``[n, P]`` of rows of these numbers, ascending; called in the thread.
        names: what `numbers` returns for those numbers, int64 ``[N]``; None for themselves.
    """

    def __init__(
        self, order: BlockOrder, read: Callable[[Tensor], Tensor], names: Tensor | None = None
    ) -> None:
        self._order, self._read, self._names = order, read, names
        self._starts = torch.tensor(order.starts)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rows")
        self._held: dict[int, Future[tuple[Tensor, Tensor, Tensor]]] = {}

    def between(self, start: int, stop: int) -> Tensor:
        """Return the rows of these places; windows before the last of them are dropped."""
        chosen = self._parts(start, stop)
        if not chosen:
            return self._read(torch.empty(0, dtype=torch.int64))
        last = chosen[-1][0]
        parts = []
        for window, part in chosen:
            self._drop(window, last + 1)
            values, order, _ = self._window(window).result()
            parts.append(values.index_select(0, order[part]))
        self._drop(last, last + 1)
        if last + 1 < len(self._order):
            self._window(last + 1)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def numbers(self, start: int, stop: int) -> Tensor:
        """Return the numbers of those rows, int64; best before `between`, which drops windows."""
        chosen = self._parts(start, stop)
        parts = [self._window(window).result()[2][part] for window, part in chosen]
        rows = torch.cat([torch.empty(0, dtype=torch.int64), *parts])
        return rows if self._names is None else self._names[rows]

    def _parts(self, start: int, stop: int) -> list[tuple[int, slice]]:
        """Return the windows of these places, each with the part of its own order."""
        if start >= stop:
            return []
        places = torch.tensor([start, stop - 1])
        first, last = (torch.searchsorted(self._starts, places, right=True) - 1).tolist()
        begins = enumerate(self._order.starts[first : last + 1], first)
        return [(k, slice(max(start - begin, 0), stop - begin)) for k, begin in begins]

    def _window(self, window: int) -> Future[tuple[Tensor, Tensor, Tensor]]:
        if window not in self._held:
            self._held[window] = self._thread.submit(self._load, window)
        return self._held[window]

    def _load(self, window: int) -> tuple[Tensor, Tensor, Tensor]:
        rows, order = self._order.rows_of(window), self._order.order_of(window)
        return self._read(rows), order, rows[order]

    def _drop(self, first: int, last: int) -> None:
        for window in [window for window in self._held if not first <= window <= last]:
            self._held.pop(window).cancel()
