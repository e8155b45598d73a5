"""ln(sinh(l/2) / (l/2)) and its derivative, for which the plain formulas lose digits near 0."""

from __future__ import annotations

import math

from torch import Tensor

_SMALL = 0.30517578
"""Below it the series are used, which omit less than 1e-15. No round number: a logit that
equals it would get the second derivative of both sides."""


def log_sinh_ratio(l: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741 - the symbol for a logit
    """g(l) = ln(sinh(l/2) / (l/2)) and g′(l) = ½ coth(l/2) − 1/l, with g(0) = g′(0) = 0.

    The series of what is cut off at ±c and the plain formula of what is cut off below c are added
    up, less g(c): one of the two is always constant. That costs a third of choosing between them.

    Example:
        >>> import torch
        >>> log_sinh_ratio(torch.tensor([4.0, -20.0]))
        (tensor([0.5952, 7.0043]), tensor([ 0.2687, -0.4500]))
    """
    small = l.clamp(-_SMALL, _SMALL)
    square = small * small
    series = (((square / -9676800 + 1 / 181440) * square - 1 / 2880) * square + 1 / 24) * square
    slopes = (((square / 47900160 - 1 / 1209600) * square + 1 / 30240) * square - 1 / 720) * square
    big = l.abs().clamp(min=_SMALL)
    down = (-big).exp()
    up = 1 - down
    value = series + ((up / big).log() + big * 0.5 - _VALUE)
    direct = down / up - 1 / big + (0.5 - _SLOPE)
    return value, (slopes + 1 / 12) * small + l.sign() * direct


_VALUE = math.log(math.sinh(_SMALL / 2) / (_SMALL / 2))
_SLOPE = 0.5 / math.tanh(_SMALL / 2) - 1 / _SMALL
