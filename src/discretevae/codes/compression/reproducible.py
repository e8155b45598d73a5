"""exp, ln, σ and tanh that give the same bits on every machine.

A C library may round the last bit of an exponential its own way, and an entropy coder whose two
ends disagree in one bit decodes garbage. Here every function is a fixed sequence of additions,
multiplications and divisions of float64, which IEEE 754 defines to the bit, with scalings by
powers of two, which are exact. Sums over an axis, whose order is open, do not occur.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
"""ln 2 in two parts; n times the first is exact for every n that occurs."""

_EXP_TERMS = tuple(1 / math.factorial(j) for j in range(14))
_LN_TERMS = tuple(1 / (2 * j + 1) for j in range(12))

MAX_EXPONENT = 700.0


def exp(x: Array) -> Array:
    """eˣ to about 1e-15 of itself; x beyond ±700 counts as ±700.

    eˣ = 2ⁿ e^r with n the whole number next to x/ln 2, and e^r by 14 terms of its series.
    """
    x = np.clip(np.asarray(x, dtype=np.float64), -MAX_EXPONENT, MAX_EXPONENT)
    n = np.rint(x * (1 / math.log(2)))
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    result: Array = np.ldexp(_series(_EXP_TERMS, r), n.astype(np.int64))
    return result


def ln(x: Array) -> Array:
    """ln x to about 1e-15, for x > 0.

    With x = 2ⁿ m and ½√2 ≤ m < √2: ln m = 2 artanh((m − 1)/(m + 1)) by 12 terms.
    """
    mantissa, exponent = np.frexp(np.asarray(x, dtype=np.float64))
    small = mantissa < 0.7071067811865476
    m = np.where(small, mantissa * 2, mantissa)
    n = (exponent - small).astype(np.float64)
    t = (m - 1) / (m + 1)
    result: Array = n * LN2_HIGH + (2 * t * _series(_LN_TERMS, t * t) + n * LN2_LOW)
    return result


def sigmoid(x: Array) -> Array:
    """σ(x) = 1/(1 + e⁻ˣ), good to the last bits at both ends."""
    e = exp(-np.abs(x))
    small = e / (1 + e)
    return np.where(np.asarray(x) < 0, small, 1 / (1 + e))


def ln_sigmoid(x: Array) -> Array:
    """ln σ(x)."""
    return np.minimum(x, 0) - ln(1 + exp(-np.abs(x)))


def tanh(x: Array) -> Array:
    """tanh x = 2σ(2x) − 1."""
    return 2 * sigmoid(2 * np.asarray(x)) - 1


def _series(coefficients: tuple[float, ...], x: Array) -> Array:
    """Σ_j c_j x^j by Horner's rule: one product, one sum at a time."""
    result = np.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = result * x
        result = result + c
    return result
