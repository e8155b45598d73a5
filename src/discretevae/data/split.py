"""The rows that are held out of a table without a split of its own."""

from __future__ import annotations

import torch
from torch import Tensor


def held_out(n_rows: int, n_test: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw the rows to test on; the same for the same arguments, whatever the rows hold.

    Args:
        n_rows: N, the rows there are.
        n_test: how many to hold out.
        seed: of a generator of its own; the global random state stays as it is.

    Returns:
        The int64 indices to train on `[N - n_test]` and to test on `[n_test]`, each in order.

    Example:
        >>> train, test = held_out(10, 3, seed=0)
        >>> sorted(train.tolist() + test.tolist()) == list(range(10)), len(test)
        (True, 3)
    """
    order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed))
    test = order[:n_test].sort().values
    # a mark for each row: to sort the others too would take several times the memory
    is_kept = torch.ones(n_rows, dtype=torch.bool)
    is_kept[test] = False
    return is_kept.nonzero().squeeze(1), test
