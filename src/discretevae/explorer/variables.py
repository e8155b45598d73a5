"""The latent variables one by one, and codes as lists of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from discretevae.families import Bernoulli, Categorical, Family, Gaussian, parts_of, parts_with_eta

Number = int | float
VariableKind = Literal["bit", "category", "real"]


@dataclass(frozen=True)
class Variable:
    """One latent variable of a model, at ``index`` of the code; a bit has 2 categories."""

    index: int
    kind: VariableKind
    n_categories: int | None


def variables_of(family: Family) -> tuple[Variable, ...]:
    """Return the variables of a code in the order of its columns."""
    found: list[Variable] = []
    for part in parts_of(family):
        first = len(found)
        found += [Variable(first + i, *_kind_of(part)) for i in range(part.n_variables)]
    return tuple(found)


def to_numbers(variables: Sequence[Variable], codes: Tensor) -> list[list[Number]]:
    """Return codes ``[N, V]`` of `DiscreteVAE.encode` as whole numbers and floats for JSON."""
    real = [variable.kind == "real" for variable in variables]
    return [
        [value if is_real else int(value) for value, is_real in zip(code, real, strict=True)]
        for code in codes.tolist()
    ]


def to_codes(family: Family, codes: Sequence[Sequence[Number]]) -> Tensor:
    """Return codes ``[N, V]`` as `DiscreteVAE.decode` takes them, from those of `to_numbers`."""
    if family.n_states is None:
        return torch.tensor(codes, dtype=torch.float32)
    is_bits = isinstance(family, Bernoulli)
    return torch.tensor(codes, dtype=torch.uint8 if is_bits else torch.int64)


def posterior(family: Family, eta: Tensor) -> list[float | list[float] | dict[str, float]]:
    """Return q(z_d|x) of one row: p(1) of a bit, p(k) of a category, else mean and std."""
    found: list[float | list[float] | dict[str, float]] = []
    for part, own in parts_with_eta(family, eta):
        if isinstance(part, Gaussian):
            mean, variance = part.moments(own)
            pairs = zip(mean[0].tolist(), variance[0].sqrt().tolist(), strict=True)
            found += [{"mean": m, "std": s} for m, s in pairs]
        else:
            found += part.mean(own)[0].tolist()
    return found


def _kind_of(part: Family) -> tuple[VariableKind, int | None]:
    if isinstance(part, Bernoulli):
        return "bit", 2
    if isinstance(part, Categorical):
        return "category", part.n_categories
    return "real", None
