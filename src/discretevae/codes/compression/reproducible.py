"""exp, σ and tanh that give the same bits on every machine.

A C library may round the last bit of an exponential its own way, and an entropy coder whose two
ends disagree in one bit decodes garbage. Here every function is a fixed sequence of additions,
multiplications and divisions of float64, which IEEE 754 defines to the bit, with scalings by
powers of two, which are exact. Sums over an axis, whose order is open, do not occur.
"""

from __future__ import annotations

import math

import numpy as np

from discretevae.system.arrays import Array

LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
"""ln 2 in two parts; n times the first is exact for every n that occurs."""

_EXP_TERMS = tuple(1 / math.factorial(j) for j in range(14))

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


def sigmoid(x: Array) -> Array:
    """σ(x) = 1/(1 + e⁻ˣ), good to the last bits at both ends."""
    e = exp(-np.abs(x))
    small = e / (1 + e)
    return np.where(np.asarray(x) < 0, small, 1 / (1 + e))


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
