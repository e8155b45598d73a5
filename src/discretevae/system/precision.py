"""How precisely a training multiplies: in float32, in tf32, or in bfloat16.

====================  ==========================================================================
precision             products and convolutions of a training's steps
====================  ==========================================================================
``float32``           in float32 itself, whatever torch's global flags say
``tf32``              of a GPU, with 10 bits of mantissa in place of 23
``bf16``              those of encoder and decoder in bfloat16, 7 bits of mantissa
====================  ==========================================================================

torch's own default is a mixture: cuDNN's convolutions may use tf32, products may not. Here it is
one or the other, by choice. Under all three, parameters, optimizer, likelihood, divergence, priors
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
    """A model whose networks can be told in what to multiply."""

    products: torch.dtype | None


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuses tf32 where there is none.

    Raises:
        ConfigError: the device is no GPU.

    Example:
        >>> check_precision("bf16", torch.device("cpu"))
        >>> try:
        ...     check_precision("tf32", torch.device("cpu"))
        ... except ConfigError as error:
        ...     print(error)
        `precision='tf32'` needs a GPU. Got device cpu. Choose float32 or bf16.
    """
    if precision == "tf32" and device.type != "cuda":
        raise ConfigError(
            f"`precision='tf32'` needs a GPU. Got device {device}. Choose float32 or bf16."
        )


@contextlib.contextmanager
def computing(precision: Precision, model: Multiplying | None = None) -> Iterator[None]:
    """Inside, products are formed as ``precision`` says; afterwards all is as it was before.

    The flags are torch's ``fp32_precision``, which the whole process shares: of trainings in
    several threads the one that began last decides, and whichever ends last sets back what was
    there before the first. Inside, torch may refuse to say what its older names for the flags are,
    ``allow_tf32``.

    Args:
        precision: of the products.
        model: whose networks work in bfloat16 under ``bf16``; nothing else does.

    Example:
        >>> before = torch.backends.cudnn.conv.fp32_precision
        >>> with computing("float32"):
        ...     torch.backends.cudnn.conv.fp32_precision
        'ieee'
        >>> torch.backends.cudnn.conv.fp32_precision == before
        True
    """
    with _FLAGS.set_to("tf32" if precision == "tf32" else "ieee"):
        if model is None or precision != "bf16":
            yield
            return
        before, model.products = model.products, torch.bfloat16
        try:
            yield
        finally:
            model.products = before


class _Flags:
    """torch's flags, and those who have a wish for them at the moment."""

    def __init__(self) -> None:
        backends: Any = torch.backends
        self.of_gpu = (backends.cuda.matmul, backends.cudnn.conv)
        self.of_cpu = (backends.mkldnn.matmul, backends.mkldnn.conv)
        self.lock = threading.Lock()
        self.before: dict[Any, str] = {}
        self.wishes: dict[object, str] = {}

    @contextlib.contextmanager
    def set_to(self, on_gpu: str) -> Iterator[None]:
        me = object()
        with self.lock:
            if not self.wishes:
                self.before = {f: f.fp32_precision for f in (*self.of_gpu, *self.of_cpu)}
            self.wishes[me] = on_gpu
            self._follow_the_last()
        try:
            yield
        finally:
            with self.lock:
                del self.wishes[me]
                self._follow_the_last()

    def _follow_the_last(self) -> None:
        for flag, value in self.before.items():
            if self.wishes:
                is_gpu = flag in self.of_gpu
                flag.fp32_precision = next(reversed(self.wishes.values())) if is_gpu else "ieee"
                continue
            # a flag that only passed on a more general one is to do so again
            flag.fp32_precision = "none"
            if flag.fp32_precision != value:
                flag.fp32_precision = value


_FLAGS = _Flags()

__all__ = ["Multiplying", "check_precision", "computing"]
