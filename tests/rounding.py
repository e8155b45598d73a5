"""A plugin of pytest: every result is rounded otherwise, as on a processor that nobody has.

    python -m pytest -p tests.rounding tests/estimators

Results of sums, matrix products and transcendental functions are moved by at most one unit in the
last place. How depends on the operation, the shapes of its arguments and how they lie in memory:
the same computation gives the same bits again, another one of the same value does not. That is all
that a test may count on; what rounds exactly everywhere (copies, integers, + and * of numbers) is
left alone.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

OPERATIONS = """
_log_softmax _log_softmax_backward_data _softmax _softmax_backward_data addcdiv addcmul addmm addmv
atanh baddbmm bmm convolution convolution_backward cos cosh cumsum digamma dot erf erfc erfinv exp
expm1 gelu lerp lgamma linalg_vector_norm log log1p log2 log_sigmoid_backward log_sigmoid_forward
logaddexp logcumsumexp logsumexp mean mm mv native_batch_norm native_layer_norm pow prod rsqrt
sigmoid sigmoid_backward silu sin sinh softplus softplus_backward std sum tanh tanh_backward var
xlogy
"""
ROUNDED = frozenset(OPERATIONS.split())
EXACT = 256
"""Multiples of 1/256 are taken for exact results: 0, 1, counts, equal shares of few."""

ALIGNMENT = 16
"""Bytes. Memory of numpy begins at a multiple of it, that of torch at one of 64."""


@lru_cache(1000)
def factors(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """1 − ε, 1 or 1 + ε."""
    units = np.random.default_rng(seed).integers(-1, 2, math.prod(shape))
    return 1 + torch.finfo(dtype).eps * torch.from_numpy(units).to(dtype).reshape(shape)


def rounded(result: Tensor, seed: int) -> Tensor:
    if result.dtype not in (torch.float32, torch.float64):
        return result
    other = result * factors(seed, tuple(result.shape), result.dtype)
    return torch.where(result * EXACT == (result * EXACT).round(), result, other)


class Rounding(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        in_place = name.endswith("_")
        if name.removesuffix("_") not in ROUNDED or (kwargs and "out" in kwargs):
            return result
        place = [
            (arg.shape, arg.stride(), arg.data_ptr() % ALIGNMENT)
            for arg in args
            if isinstance(arg, Tensor)
        ]
        seed = zlib.crc32(repr((name, place)).encode())
        if in_place:
            return result.copy_(rounded(result, seed))
        if isinstance(result, tuple):
            return tuple(rounded(r, seed) if isinstance(r, Tensor) else r for r in result)
        return rounded(result, seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Any:
    with Rounding():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Any:
    with Rounding():
        return (yield)
