"""Sums over the rows of a source, by which a file that changed is recognized."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from discretevae.config.checks import is_int
from discretevae.data.rows import Rows
from discretevae.data.stores.sparse import Sparse

LEAST_GROUP = 256
MOST_GROUPS = 1000
"""A change is placed to a group of rows; so many groups keep the file small."""

RUN = 64
"""Rows that are looked at together: a file on disk is read in blocks."""

STREAMED_RUNS = 64
"""Such runs of a source larger than memory: to look at all would be a second pass over it."""

CHUNK_ROWS = 4096

_MOST_ROWS = 2**62

_SUM = re.compile("[0-9a-f]{1,16}")

_U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Digest:
    """A sum for each group of rows; x are summed with random weights, modulo 2**64.

    It finds damage and edits, not forgeries.

    Args:
        rows: N.
        group: rows of a group.
        stride: of so many runs of rows one is looked at.
        sums: one for each group, as hexadecimal numbers.
    """

    rows: int
    group: int
    stride: int
    sums: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, parts: Sequence[Rows]) -> Digest:
        """Return the digest of a source whose rows lie in one or several tables.

        Example:
            >>> rows = Rows.from_array([[0, 1], [1, 1], [1, 0]])
            >>> parts = [rows.subset(slice(1, 3)), rows.subset(slice(0, 1))]
            >>> Digest.of([rows]) == Digest.of(parts)
            True
        """
        n = sum(len(rows) for rows in parts)
        stride = (
            max(1, n // (RUN * STREAMED_RUNS)) if any(rows.is_streamed for rows in parts) else 1
        )
        group = max(LEAST_GROUP, -(-n // MOST_GROUPS))
        return cls(n, group, stride, _sums(parts, n, group, stride))

    def changed(self, parts: Sequence[Rows]) -> list[tuple[int, int]]:
        """Return which of the first N rows differ, as ranges (first, last)."""
        now = _sums(parts, self.rows, self.group, self.stride)
        return [
            (i * self.group, min((i + 1) * self.group, self.rows) - 1)
            for i, (before, after) in enumerate(zip(self.sums, now, strict=True))
            if before != after
        ]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Digest:
        """Return the digest that `dataclasses.asdict` gave, after a trip through JSON.

        Raises:
            ValueError: it is none.
        """
        digest = cls(**{**values, "sums": tuple(values["sums"])})
        numbers = (digest.rows, digest.group, digest.stride)
        most = max(LEAST_GROUP, digest.rows if is_int(digest.rows, 1) else 0)
        if not all(is_int(number, 1) and number <= min(most, _MOST_ROWS) for number in numbers):
            raise ValueError(f"a digest of {numbers}")
        n_groups = -(-digest.rows // digest.group)
        if len(digest.sums) != n_groups or not all(map(_is_sum, digest.sums)):
            raise ValueError(f"a digest of {n_groups:,} groups with other sums")
        return digest


def _is_sum(value: object) -> bool:
    return isinstance(value, str) and bool(_SUM.fullmatch(value))


def row_sums(x: Tensor | Any) -> _U64:
    """Return a sum of each row of x ``[B, P]``, weighted at random, modulo 2**64; ``[B]``.

    Of a sparse matrix of float32 only the entries are looked at; a zero adds nothing.

    Example:
        >>> one, other, same = row_sums(torch.tensor([[0.0, 1], [1, 0], [-0.0, 1]])).tolist()
        >>> one == same, one == other
        (True, False)
    """
    random = np.random.Generator(np.random.PCG64(0))
    weights = random.integers(2**63, size=x.shape[1], dtype=np.uint64) * 2 + 1
    values = x.cpu().numpy() if isinstance(x, Tensor) else x.data
    # -0.0 is 0.0, whose bits differ
    bits = (values + np.float32(0)).view(np.uint32).astype(np.uint64)
    if not isinstance(x, Tensor):
        whole: _U64 = type(x)((bits, x.indices, x.indptr), shape=x.shape) @ weights
        return whole
    sums: _U64 = (bits * weights).sum(1, dtype=np.uint64)
    return sums


def _sums(parts: Sequence[Rows], n: int, group: int, stride: int) -> tuple[str, ...]:
    sums: _U64 = np.zeros(-(-n // group), np.uint64)
    for rows in parts:
        plain, numbers = rows.binarized("none"), rows.source_numbers
        chosen = ((numbers < n) & (numbers // RUN % stride == 0)).nonzero().squeeze(1)
        for index in torch.split(chosen, CHUNK_ROWS):
            at = numbers[index].numpy()
            # a row that moves changes the sum
            values = plain.values
            if isinstance(values, Sparse):
                x = values.subset(index).matrix.astype(np.float32)
                x.data /= np.float32(plain.divisor)
            else:
                x = plain.batch(index)
            each = row_sums(x) * (2 * at.astype(np.uint64) + 1)
            np.add.at(sums, at // group, each ^ (each >> np.uint64(32)))
    return tuple(f"{int(value):x}" for value in sums)
