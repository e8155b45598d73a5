"""The precision of matrix products: float32, tf32 or bfloat16.

====================  ==========================================================================
precision             products and convolutions of a training's steps
====================  ==========================================================================
``float32``           in float32 itself, whatever torch's global flags say
``tf32``              of a GPU, with 10 bits of mantissa in place of 23
``bf16``              those of encoder and decoder in bfloat16, 7 bits of mantissa
====================  ==========================================================================

torch's own default is a mixture: cuDNN's convolutions may use tf32, products may not. Here both
are the same, by choice. Under all three, parameters, optimizer, likelihood, divergence, priors
and estimators are in float32, and so is whatever is evaluated.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from discretevae.config import Precision
from discretevae.errors import ConfigError


class Multiplying(Protocol):
    """A model whose networks have a type to multiply in."""

    product_dtype: torch.dtype | None


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse tf32 on a device that is no GPU (`ConfigError`)."""
    if precision == "tf32" and device.type != "cuda":
        raise ConfigError(
            f"`precision='tf32'` needs a GPU. Got device {device}. Choose float32 or bf16."
        )


@contextlib.contextmanager
def computing(precision: Precision, model: Multiplying | None = None) -> Iterator[None]:
    """Form products as ``precision`` says; afterwards everything is as it was before.

    The flags are torch's ``fp32_precision``, which the whole process shares: while trainings run
    in several threads, the one that began last decides. Inside, torch may refuse to say what its
    older names for the flags are, such as ``allow_tf32``.
    """
    with _flags_set("tf32" if precision == "tf32" else "ieee"):
        if model is None or precision != "bf16":
            yield
            return
        before, model.product_dtype = model.product_dtype, torch.bfloat16
        try:
            yield
        finally:
            model.product_dtype = before


_LOCK = threading.Lock()
_OPEN: list[list[str]] = []
"""For each block that is open, in any thread, the flags to go back to."""


@contextlib.contextmanager
def _flags_set(on_gpu: str) -> Iterator[None]:
    before = [place.fp32_precision for place in _places()]
    with _LOCK:
        _OPEN.append(before)
        _set_flags([on_gpu, on_gpu, "ieee", "ieee"])
    try:
        yield
    finally:
        with _LOCK:
            position = next(i for i, flags in enumerate(_OPEN) if flags is before)
            _OPEN.pop(position)
            if position == len(_OPEN):
                _set_flags(before)
            else:  # a block of another thread began later: what it goes back to is our past
                _OPEN[position][:] = before


def _places() -> tuple[Any, ...]:
    """Return where torch keeps the flags: the two of a GPU, then the two of a CPU."""
    backends: Any = torch.backends
    return (
        backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv,
    )  # fmt: skip


def _set_flags(flags: list[str]) -> None:
    for place, value in zip(_places(), flags, strict=True):
        # a flag that only passed on a more general one is to do so again
        place.fp32_precision = "none"
        if place.fp32_precision != value:
            place.fp32_precision = value
