"""Modules whose parameters get no gradient for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def frozen(*parts: object, when: bool = True) -> Iterator[None]:
    """Record no gradient for the parameters of those parts that are modules.

    Gradients still flow through the parts, to their inputs. ``when=False`` changes nothing.
    """
    modules = [part for part in parts if when and isinstance(part, nn.Module)]
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
