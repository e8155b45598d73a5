"""Distances of codes: in how many of their latent variables they differ.

Bits are compared as they are. A variable of K values is written as K bits of which one is set, so
that two codes that differ in it differ in two bits: one count of differing bits, which the
processor makes fast, serves every discrete code. torch is not needed, nor imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from discretevae.codes.packed import require_packed
from discretevae.config import LatentSpec
from discretevae.errors import ConfigError
from discretevae.system.arrays import Array

MAX_BITS = 65_536
"""Of one code, written as bits; more would make an index many times as large as its file."""

CHUNK_VALUES = 1 << 24
"""Bits that stand in bytes of their own before they are packed, in one go."""


def require_searchable(spec: LatentSpec) -> None:
    """Refuse codes between which no number of differing variables is defined (`ConfigError`)."""
    if spec.n_states is None:
        raise ConfigError(
            f"{spec} has a Gaussian part: its codes are real numbers, which do not differ in bits. "
            "Search needs a model whose code is discrete throughout."
        )
    if n_bits(spec) > MAX_BITS:
        raise ConfigError(
            f"{spec} takes {n_bits(spec):,} bits to be searched, and at most {MAX_BITS:,} are "
            "allowed. Search needs a smaller code."
        )


def n_bits(spec: LatentSpec) -> int:
    """Return the bits that `search_bits` writes for one code, before padding."""
    if spec.kind == "bernoulli":
        return spec.n_variables
    return sum(p.n_variables * (p.n_categories or 2) for p in spec.all_parts)


def bits_per_difference(spec: LatentSpec) -> int:
    """Return the differing bits for each differing variable: 1 of bits, else 2."""
    return 1 if spec.kind == "bernoulli" else 2


def search_bits(spec: LatentSpec, packed: Array) -> Array:
    """Return packed codes as the bits that are compared, uint8 ``[N, ⌈n/8⌉]`` padded with zeros.

        d(z, z') = Σ_i 1[b_i ≠ b'_i] / c,   c = `bits_per_difference`

    is the number of latent variables in which z and z' differ. c = 1 for a code of bits, which is
    taken as it is; else each variable is one-hot, a bit of a product too, and c = 2.
    """
    require_packed(spec, packed)
    if spec.kind == "bernoulli":
        return np.ascontiguousarray(packed)
    width = n_bits(spec)
    out = np.empty((len(packed), -(-width // 8)), np.uint8)
    sizes = [np.full(p.n_variables, p.n_categories or 2) for p in spec.all_parts]
    firsts = np.concatenate([[0], np.cumsum(np.concatenate(sizes))[:-1]])
    step = max(1, CHUNK_VALUES // width)
    for start in range(0, len(packed), step):
        part = packed[start : start + step].astype(np.int64)
        flags = np.zeros((len(part), width), np.bool_)
        np.put_along_axis(flags, part + firsts, True, axis=1)
        out[start : start + step] = np.packbits(flags, axis=1)
    return out


def of_places(
    spec: LatentSpec, packed: Array, places: Sequence[tuple[int, int]]
) -> tuple[LatentSpec, Array]:
    """Return the packed codes of some places of a grid, and the flat code that they are.

    ``packed`` are its codes ``[N, ·]``, ``places`` (row, column) of each, from 0; what does not
    fit is refused (`ConfigError`, `DataError`).
    """
    if spec.grid is None:
        raise ConfigError(f"`places` are those of a grid, and the code is {spec}. Leave them out.")
    height, width = spec.grid
    for row, column in places:
        if not (0 <= row < height and 0 <= column < width):
            raise ConfigError(
                f"`places` must be from 0:0 to {height - 1}:{width - 1}, ROW:COLUMN. "
                f"Got {row}:{column}."
            )
    require_packed(spec, packed)
    size = spec.variables_per_place
    firsts = [size * (width * row + column) for row, column in sorted(set(places))]
    columns = (np.array(firsts, int)[:, None] + np.arange(size)).ravel()
    chosen = replace(spec, n_variables=len(columns), grid=None)
    if spec.kind == "bernoulli":
        bits = np.unpackbits(packed, axis=1, count=spec.n_variables)
        return chosen, np.packbits(bits[:, columns], axis=1)
    return chosen, packed[:, columns]


def hamming_distances(queries: Array, gallery: Array) -> Array:
    """Return in how many bits packed ``[Q, W]`` and ``[N, W]`` differ: ``[Q, N]``.

        d(a, b) = |a| + |b| − 2 aᵀb,   a, b ∈ {0, 1}^n

    as one product of matrices, which is exact in float32 for fewer than 2^24 bits. The type is
    uint16, or int32 of codes of more than 65,535 bits.
    """
    dtype = np.uint16 if 8 * gallery.shape[1] <= 65_535 else np.int32
    out = np.empty((len(queries), len(gallery)), dtype)
    a = np.unpackbits(queries, axis=1).astype(np.float32)
    step = max(1, CHUNK_VALUES // max(1, 8 * gallery.shape[1], len(queries)))
    for start in range(0, len(gallery), step):
        b = np.unpackbits(gallery[start : start + step], axis=1).astype(np.float32)
        distance = a.sum(1)[:, None] + b.sum(1) - 2 * (a @ b.T)
        out[:, start : start + step] = distance
    return out
