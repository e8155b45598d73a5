"""Yardsticks for codes: bits that are signs of a linear projection of the rows.

They are what a model must beat to be worth its training, and are nothing but that: for use,
encode with a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from discretevae.errors import ConfigError

Array = np.ndarray[Any, np.dtype[Any]]

ITERATIONS = 50
"""Of ITQ, as its authors have it."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Bits b_j = 1[(x − μ)ᵀ w_j > 0].

    Args:
        mean: μ, ``[P]``.
        matrix: W, ``[P, n]``.

    Example:
        >>> bits = Projection(np.zeros(2), np.eye(2)).encode(np.array([[1.0, -1.0]]))
        >>> bits                                                        # 1, 0 and padding
        array([[128]], dtype=uint8)
    """

    mean: Array
    matrix: Array

    def encode(self, x: Array) -> Array:
        """Rows ``[N, P]`` to packed bits, uint8 ``[N, ⌈n/8⌉]``."""
        return np.packbits((x - self.mean) @ self.matrix > 0, axis=1)


def principal_axes(x: Array) -> tuple[Array, Array]:
    """The mean of rows and the axes along which they vary, the most important first.

    Args:
        x: float32 ``[N, P]``.

    Returns:
        μ ``[P]`` and the eigenvectors of the covariance as columns ``[P, P]``, both float32.
    """
    mean = x.mean(0, dtype=np.float64).astype(np.float32)
    centered = x - mean
    _, vectors = np.linalg.eigh((centered.T @ centered).astype(np.float64))
    axes = vectors[:, ::-1]
    # a sign is arbitrary: the largest entry of an axis is made positive
    top = axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])]
    return mean, (axes * np.sign(top)).astype(np.float32)


def pca_sign(mean: Array, axes: Array, n_bits: int) -> Projection:
    """Signs of the first principal components.

    Raises:
        ConfigError: more bits than there are axes.

    Example:
        >>> pca_sign(*principal_axes(np.eye(3, dtype=np.float32)), 2).matrix.shape
        (3, 2)
    """
    _require_axes(axes, n_bits)
    return Projection(mean, axes[:, :n_bits])


def itq(x: Array, mean: Array, axes: Array, n_bits: int, *, seed: int = 0) -> Projection:
    """Iterative quantization: the principal components, turned so that signs lose the least.

        min ‖B − V R‖²,   B = sign(V R),   R = U Wᵀ  with  U S Wᵀ = Vᵀ B

    in turn, `ITERATIONS` times from a random rotation R; V are the rows in the first principal
    components.

    Args:
        x: the rows it is learned from, ``[N, P]``.
        mean: μ of `principal_axes`.
        axes: the axes of `principal_axes`.
        n_bits: n.
        seed: of the first rotation.

    Raises:
        ConfigError: more bits than there are axes.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
        >>> itq(x, *principal_axes(x), 3).encode(x).shape
        (50, 1)

    Source: Gong & Lazebnik, "Iterative Quantization: A Procrustean Approach to Learning Binary
    Codes" (CVPR 2011), section 3.2.
    """
    _require_axes(axes, n_bits)
    basis = axes[:, :n_bits]
    v = (x - mean) @ basis
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(n_bits, n_bits)))[0].astype(np.float32)
    for _ in range(ITERATIONS):
        signs = np.where(v @ rotation > 0, np.float32(1), np.float32(-1))
        u, _, wt = np.linalg.svd(v.T @ signs)
        rotation = u @ wt
    return Projection(mean, basis @ rotation)


def random_projections(mean: Array, n_bits: int, *, seed: int = 0) -> Projection:
    """Signs of centered rows along random directions.

    Example:
        >>> random_projections(np.zeros(3, np.float32), 5).matrix.shape
        (3, 5)

    Source: Charikar, "Similarity Estimation Techniques from Rounding Algorithms" (STOC 2002); rows
    are centered here, without which most bits of pictures would be the same for all.
    """
    directions = np.random.default_rng(seed).normal(size=(len(mean), n_bits))
    return Projection(mean, directions.astype(np.float32))


def nearest_rows(queries: Array, rows: Array, m: int) -> Array:
    """The m rows that are nearest to each query by Euclidean distance, ``[Q, m]``, the first first.

    Args:
        queries: float32 ``[Q, P]``.
        rows: ``[N, P]``.
        m: at most N.

    Example:
        >>> x = np.array([[0.0], [3.0], [1.0]], np.float32)
        >>> nearest_rows(x[:1], x, 2)
        array([[0, 2]])
    """
    squares, found = (rows**2).sum(1), []
    for start in range(0, len(queries), 100):
        # the square of the query is the same for all rows
        distance = squares - 2 * (queries[start : start + 100] @ rows.T)
        near = np.argpartition(distance, m - 1, axis=1)[:, :m]
        order = np.argsort(np.take_along_axis(distance, near, 1), axis=1, kind="stable")
        found.append(np.take_along_axis(near, order, 1))
    return np.concatenate(found)


def _require_axes(axes: Array, n_bits: int) -> None:
    if n_bits > axes.shape[1]:
        raise ConfigError(
            f"{n_bits} bits need as many principal components, and rows of {axes.shape[1]} "
            "features have no more than that. Ask for fewer bits."
        )


__all__ = [
    "Projection",
    "itq",
    "nearest_rows",
    "pca_sign",
    "principal_axes",
    "random_projections",
]
