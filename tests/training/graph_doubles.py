"""Recorders without a GPU, and a device that no value comes back from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

WAITING = {
    "_local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "argwhere", "masked_select",
    "unique_consecutive", "unique_dim", "_unique", "_unique2", "repeat_interleave.Tensor",
    "multinomial", "bincount", "histc", "_linalg_check_errors", "linalg_cholesky", "linalg_inv",
    "_assert_async",
}  # fmt: skip
"""Operators whose result, or its size, the host must know; on a GPU they wait for it."""


class Waited(Exception):  # noqa: N818 - the name says it
    """Something waited for the device."""


def tensors_in(*parts: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(parts)[0] if isinstance(leaf, Tensor)]


class NoWaiting(TorchDispatchMode):
    """Fails on every operator that a GPU could not run without the host waiting for it.

    On CPU tensors it sees operators of `WAITING`, an index of truth values, and tensors made of
    Python's numbers, which would have to be copied. Tensors of the device ``meta`` hold no values,
    and it also sees what comes from the host's memory: the host waits until that has arrived, and a
    recording would keep what it was the first time.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name, overload = func._schema.name.removeprefix("aten::"), func._overloadname
        if name in WAITING or f"{name}.{overload}" in WAITING or name == "lift_fresh":
            raise Waited(str(func))
        if name.startswith("index") and any(
            t.dtype in (torch.bool, torch.uint8) for t in tensors_in(args[1:2])
        ):
            raise Waited(f"{func} by truth values")
        result = without_generator(func, args, kwargs)
        devices = {t.device.type for t in tensors_in(args, kwargs, result)}
        if len(devices) > 1:
            raise Waited(f"{func} between {' and '.join(sorted(devices))}")
        return result


class OnMeta(TorchDispatchMode):
    """Operators as they are, but for one that torch lacks on ``meta``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return without_generator(func, args, kwargs or {})


def without_generator(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if func is torch.ops.aten.exponential_.default and args[0].device.type == "meta":
        kwargs = {}
    return func(*args, **kwargs)


class Again:
    """A recording calls the function again."""

    def __init__(self, generator: torch.Generator) -> None:
        self.device = generator.device
        self.n_recorded = self.n_eager = 0

    def eagerly(self, function: Callable[[], None]) -> None:
        self.n_eager += 1
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        self.n_recorded += 1
        return function


class Tape(Again):
    """A recording is a list of operators on tensors, as a CUDA graph is one of kernels on memory.

    No line of Python of the step runs again: what a replay gets wrong here, a GPU would too. The
    operators do run while they are noted, so that the first replay has nothing left to do.
    """

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        self.n_recorded += 1
        noting = Noting()
        with noting:
            function()
        replays = self._replays(noting.tape)
        return lambda: next(replays)

    def _replays(self, tape: list[tuple[Any, ...]]) -> Iterator[None]:
        yield
        while True:
            with torch.no_grad():
                for func, args, kwargs, outputs in tape:
                    fresh = tensors_in(func(*args, **kwargs))
                    for output, value in zip(outputs, fresh, strict=True):
                        if output is not None:
                            output.copy_(value)
            yield


class Noting(NoWaiting):
    """Notes every operator that computes something, with the tensors that it reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.tape: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = super().__torch_dispatch__(func, types, args, kwargs)
        known = {t.untyped_storage().data_ptr() for t in tensors_in(args, kwargs)}
        # what lies in memory that was there is a view of it, or was written in place
        outputs = [
            None if t.untyped_storage().data_ptr() in known else t.detach()
            for t in tensors_in(result)
        ]
        if func._schema.is_mutable or any(output is not None for output in outputs):
            self.tape.append((func, args, kwargs, outputs))
        return result
