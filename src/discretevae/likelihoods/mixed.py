"""Tables whose columns are of several kinds, some cells of them missing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.config import ColumnKind, ColumnSpec, LikelihoodSpec
from discretevae.likelihoods.base import Likelihood, Support
from discretevae.likelihoods.counts import LEAST_MEAN, drawn_counts, log_rate

LEAST_SCALE = 1e-2
"""The least σ that can be learned, of columns with a standard deviation of 1: less is rounding."""

MOST_LOG = 10.0
"""Learned logarithms stay between −10 and 10."""

REACH = 2.0
"""Means of bounded columns lie up to so far beyond the ends 0 and 1."""

LEAST_SHARE = 1e-4
"""Levels, and values of a boolean, that never occurred start from this share, not from 0."""


class MixedLikelihood(nn.Module, Likelihood):
    """p(x|z) = Π_p p_p(x_p|z) over the cells that are there, each column by its kind.

    With o_p the decoder's output of column p, and x_p on the scale that `ColumnSpec` describes:

    | kind | p_p(x_p given z) |
    |---|---|
    | ``real``, ``positive`` | N(o_p, σ_p²) |
    | ``heavy-tailed`` | Student's t around o_p, with scale σ_p and ν_p degrees of freedom |
    | ``bounded`` | N(μ_p, σ_p²) cut off at 0 and 1, μ_p = 5 sigmoid(o_p) − 2 |
    | ``boolean`` | Bernoulli(sigmoid(o_p)) |
    | ``categorical`` | softmax of as many outputs as levels |
    | ``count`` | negative binomial of mean e^{o_p}, variance mean + mean²/r_p |

    A missing cell is NaN and is left out: the row is scored by those that are there. ``output`` is
    ``[..., C]``, C − P larger by the further levels of categorical columns.

    Args:
        columns: of the rows, in their order.

    Attributes:
        log_scale: ln σ ``[P]``, a parameter; floored at σ = 0.01.
        log_shape: ln ν and ln r ``[P]``, a parameter of heavy-tailed and of count columns.

    Example:
        >>> likelihood = MixedLikelihood([ColumnSpec("boolean"), ColumnSpec("categorical", 4)])
        >>> x = torch.tensor([[1.0, 2.0], [float("nan"), 0.0]])
        >>> likelihood.log_prob(torch.zeros(1, 2, 5), x).exp()           # 1/2 · 1/4, and 1/4
        tensor([[0.1250, 0.2500]])

    Source: Nazábal et al., "Handling Incomplete Heterogeneous Data using VAEs" (2020), section 3.
    """

    support: ClassVar[Support] = "columns"
    is_probability: ClassVar[bool] = False

    def __init__(self, columns: Sequence[ColumnSpec]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.log_scale = nn.Parameter(torch.zeros(len(self.columns)))
        # a Student's t of 10 degrees of freedom, and counts of a variance of mean + mean²
        starts = [math.log(10.0) * (c.kind == "heavy-tailed") for c in self.columns]
        self.log_shape = nn.Parameter(torch.tensor(starts))
        ends = [0, *itertools.accumulate(column.n_levels for column in self.columns)]
        self.n_expanded: int = ends[-1]
        self.first: list[int] = ends[:-1]
        """The first output of each column."""
        self.at: dict[str, list[int]] = {}
        """Numbers of the columns of each kind that is there."""
        for p, column in enumerate(self.columns):
            self.at.setdefault(_FORM.get(column.kind, column.kind), []).append(p)
        order = [p for places in self.at.values() for p in places]
        self.places = sorted(range(len(order)), key=order.__getitem__)

    @property
    def spec(self) -> LikelihoodSpec:
        """Return ``mixed`` with its columns."""
        return LikelihoodSpec("mixed", columns=self.columns)

    def n_outputs(self, n_features: int) -> int:
        """Return C, an output for each column, and for each level of a categorical one."""
        return self.n_expanded

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return ln p(x|z) over the cells that are there, ``[S, B]``."""
        return self.cells(output, x).sum(-1)

    def table(self, output: Tensor, x: Tensor) -> Tensor:
        """Return ln p(x_b | state n), ``[B, N]``, where it can be by a matrix product.

        Of most kinds ln p_p = Σ_k t_k(x_p) a_k(output) + c(x_p), so that states meet rows in one
        product; heavy-tailed and bounded columns are scored cell by cell.
        """
        there = (~x.isnan()).to(x.dtype)
        filled, of_rows, of_states = x.nan_to_num(nan=0.0), [], []
        rest = torch.zeros(len(x), len(output), dtype=torch.float64, device=x.device)
        for form, places in self.at.items():
            o, v, m = output[:, self._firsts(places)], filled[:, places], there[:, places]
            if form == "categorical":
                for p in places:
                    n_levels, first = self.columns[p].n_levels, self.first[p]
                    one_hot = expanded(self.columns[p : p + 1], x[:, p : p + 1])
                    of_rows.append(one_hot.nan_to_num(nan=0.0))
                    of_states.append(torch.log_softmax(output[:, first : first + n_levels], -1))
            elif form == "boolean":
                of_rows += [v, m]
                of_states += [o, -F.softplus(o)]
            elif form == "count":
                r, log_mean = self._shape()[places], log_rate(o)
                of_rows += [v, m]
                of_states += [F.logsigmoid(log_mean - r.log()), -r * F.softplus(log_mean - r.log())]
                rest = rest + (m * _count_constant(v, r)).sum(-1, keepdim=True)
            elif form == "normal":
                precision = self._scale()[places] ** -2
                constant = 0.5 * (precision.log() - math.log(2 * math.pi))
                of_rows += [v.square(), v, m]
                of_states += [
                    (-0.5 * precision).expand_as(o), o * precision,
                    constant - 0.5 * o.square() * precision,
                ]  # fmt: skip
            else:
                cells = self._scored(form, places, o, v.unsqueeze(1))
                rest = rest + (m.unsqueeze(1) * cells).sum(-1)
        if of_rows:  # in float64, because the squares nearly cancel
            rest = rest + torch.cat(of_rows, 1).double() @ torch.cat(of_states, 1).double().T
        return rest.to(output.dtype)

    def cells(self, output: Tensor, x: Tensor) -> Tensor:
        """Return ln p_p(x_p|z) of every cell, 0 of a missing one: ``[..., C]``, ``[..., P]``.

        Leading axes of both are broadcast against each other.
        """
        is_missing = x.isnan()
        filled = x.masked_fill(is_missing, 0.0)
        found = []
        for form, places in self.at.items():
            if form == "categorical":
                found += [self._level(output, filled, p).unsqueeze(-1) for p in places]
            else:
                o, v = output[..., self._firsts(places)], filled[..., places]
                found.append(self._scored(form, places, o, v))
        shape = np.broadcast_shapes(*(part.shape[:-1] for part in found))
        joined = torch.cat([part.expand(*shape, part.shape[-1]) for part in found], -1)
        return joined[..., self.places].masked_fill(is_missing, 0.0)

    def expand(self, x: Tensor) -> Tensor:
        """Return x with a column for each level: ``[..., P]`` to ``[..., C]``; NaN stays NaN."""
        return expanded(self.columns, x)

    def collapse(self, expanded: Tensor) -> Tensor:
        """Return x of `expected`: of a categorical column the likeliest level it has seen."""
        parts = []
        for first, column in zip(self.first, self.columns, strict=True):
            part = expanded[..., first : first + column.n_levels]
            if column.kind == "categorical":
                part = part[..., :-1].argmax(-1, keepdim=True).to(part.dtype)
            parts.append(part)
        return torch.cat(parts, -1)

    def expected(self, output: Tensor) -> Tensor:
        """Return E[`expand`(x)|z], ``[..., C]``: means, and the shares of the levels."""
        parts = self._parts(output)
        scale = self._scale()
        for p, column in enumerate(self.columns):
            if column.kind == "categorical":
                parts[p] = torch.softmax(parts[p], -1)
            elif column.kind == "boolean":
                parts[p] = torch.sigmoid(parts[p])
            elif column.kind == "count":
                parts[p] = log_rate(parts[p]).exp()
            elif column.kind == "bounded":
                parts[p] = _cut_mean(_center(parts[p]), scale[p])
        return torch.cat(parts, -1)

    def mean(self, output: Tensor) -> Tensor:
        """Return E[x|z], of a categorical column the likeliest level: ``[..., P]``."""
        return self.collapse(self.expected(output))

    def output_for(self, mean: Tensor) -> Tensor:
        """Return an output with these means and shares of `expand`, ``[C]`` to ``[C]``."""
        parts = self._parts(mean)
        for p, column in enumerate(self.columns):
            if column.kind == "categorical":
                parts[p] = parts[p].clamp(min=LEAST_SHARE).log()
            elif column.kind == "boolean":
                parts[p] = torch.logit(parts[p], LEAST_SHARE)
            elif column.kind == "count":
                parts[p] = parts[p].clamp(min=LEAST_MEAN).log()
            elif column.kind == "bounded":
                parts[p] = torch.logit((parts[p].clamp(0, 1) + REACH) / (2 * REACH + 1))
        return torch.cat(parts)

    def sample(self, output: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Return a draw x ~ p(x|z), ``[..., P]``; levels are among those that were seen."""
        output, scale, shape = output.detach(), self._scale().detach(), self._shape().detach()
        parts = self._parts(output)
        drawn = []
        for p, column in enumerate(self.columns):
            o = parts[p]
            if column.kind == "categorical":
                shares = torch.softmax(o[..., :-1], -1).flatten(0, -2)
                level = torch.multinomial(shares, 1, generator=generator)
                drawn.append(level.reshape(*o.shape[:-1], 1).to(o.dtype))
            elif column.kind == "count":
                drawn.append(drawn_counts(log_rate(o).exp(), shape[p], generator))
            else:
                u = torch.rand(o.shape, dtype=o.dtype, device=o.device, generator=generator)
                drawn.append(_drawn(column.kind, o, u, scale[p], shape[p], generator))
        return torch.cat(drawn, -1)

    def extra_repr(self) -> str:
        """Return the columns."""
        return str(self.spec).partition(":")[2]

    def _parts(self, output: Tensor) -> list[Tensor]:
        """Return the outputs of each column."""
        return list(torch.split(output, [column.n_levels for column in self.columns], -1))

    def _firsts(self, places: Sequence[int]) -> list[int]:
        return [self.first[p] for p in places]

    def _scale(self) -> Tensor:
        return (torch.exp(2 * self.log_scale.clamp(-MOST_LOG, MOST_LOG)) + LEAST_SCALE**2).sqrt()

    def _shape(self) -> Tensor:
        return self.log_shape.clamp(-MOST_LOG, MOST_LOG).exp()

    def _level(self, output: Tensor, x: Tensor, p: int) -> Tensor:
        """Return ln p of the level in column p."""
        first, n = self.first[p], self.columns[p].n_levels
        log_shares = torch.log_softmax(output[..., first : first + n], -1)
        level = x[..., p].long()
        shape = np.broadcast_shapes(log_shares.shape[:-1], level.shape)
        chosen = level.expand(shape).unsqueeze(-1)
        return log_shares.expand(*shape, n).gather(-1, chosen).squeeze(-1)

    def _scored(self, form: str, places: list[int], o: Tensor, x: Tensor) -> Tensor:
        """Return ln p of cells of a form other than levels."""
        if form == "boolean":
            return x * o - F.softplus(o)
        if form == "count":
            return _count(log_rate(o), x, self._shape()[places])
        scale = self._scale()[places]
        if form == "normal":
            return _log_normal(o, x, scale)
        if form == "bounded":
            center = _center(o)
            return _log_normal(center, x, scale) - _log_mass(center, scale)
        return _log_student(o, x, scale, 1 + self._shape()[places])


def expanded(columns: Sequence[ColumnSpec], x: Tensor) -> Tensor:
    """Return x with a column for each level: ``[..., P]`` to ``[..., C]``; NaN stays NaN."""
    parts = []
    for p, column in enumerate(columns):
        part = x[..., p : p + 1]
        if column.kind == "categorical":
            levels = torch.arange(column.n_levels, dtype=x.dtype, device=x.device)
            part = torch.where(part.isnan(), part, (part == levels).to(x.dtype))
        parts.append(part)
    return torch.cat(parts, -1)


def as_vectors(columns: Sequence[ColumnSpec], x: Tensor) -> Tensor:
    """Return x as numbers of about one size, ``[..., P]`` to ``[..., C]``.

    Levels become one-hot, counts ln(1 + x), missing cells 0.
    """
    is_count = torch.tensor([column.kind == "count" for column in columns], device=x.device)
    return expanded(columns, torch.where(is_count, x.log1p(), x)).nan_to_num(nan=0.0)


_FORM: dict[ColumnKind, str] = {"real": "normal", "positive": "normal"}


def _center(o: Tensor) -> Tensor:
    return (2 * REACH + 1) * torch.sigmoid(o) - REACH


def _log_normal(center: Tensor, x: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * ((x - center) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)


def _log_mass(center: Tensor, scale: Tensor) -> Tensor:
    """Return ln (Φ((1 − μ)/σ) − Φ(−μ/σ)), the mass of a normal between 0 and 1."""
    # mirrored so that the nearer end is the upper one: both terms then are in the lower tail
    near = torch.where(center > 0.5, center, 1 - center)
    high = torch.special.log_ndtr((1 - near) / scale)
    low = torch.special.log_ndtr(-near / scale)
    mass: Tensor = high + torch.log1p(-torch.exp((low - high).clamp(max=-1e-7)))
    return mass


def _cut_mean(center: Tensor, scale: Tensor) -> Tensor:
    """Return the mean of a normal that is cut off at 0 and 1."""
    mass = _log_mass(center, scale)
    zero = torch.zeros((), dtype=center.dtype, device=center.device)
    ends = (_log_normal(center, zero + end, scale) - mass for end in (0.0, 1.0))
    at_low, at_high = (end.exp() for end in ends)
    return (center + scale.square() * (at_low - at_high)).clamp(0, 1)


def _log_student(o: Tensor, x: Tensor, scale: Tensor, degrees: Tensor) -> Tensor:
    half = (degrees + 1) / 2
    constant = torch.lgamma(half) - torch.lgamma(degrees / 2) - 0.5 * torch.log(degrees * math.pi)
    return constant - scale.log() - half * torch.log1p(((x - o) / scale).square() / degrees)


def _count(log_mean: Tensor, x: Tensor, r: Tensor) -> Tensor:
    u = log_mean - r.log()
    return _count_constant(x, r) + x * F.logsigmoid(u) - r * F.softplus(u)


def _count_constant(x: Tensor, r: Tensor) -> Tensor:
    return torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1)


def _drawn(
    kind: str, o: Tensor, u: Tensor, scale: Tensor, shape: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Return draws of a column by uniform numbers u in [0, 1)."""
    if kind == "boolean":
        return (u < torch.sigmoid(o)).to(o.dtype)
    if kind == "bounded":
        center = _center(o).double()
        is_high = center > 0.5
        near = torch.where(is_high, center, 1 - center)  # mirrored as in `_log_mass`
        ends = (torch.special.log_ndtr((end - near) / scale.double()) for end in (0.0, 1.0))
        low, high = (end.exp() for end in ends)
        drawn = near + scale.double() * torch.special.ndtri(low + u * (high - low))
        return torch.where(is_high, drawn, 1 - drawn).clamp(0, 1).to(o.dtype)
    # numbers that are 0 would become infinite
    normal: Tensor = torch.special.ndtri(u.clamp(1e-7, 1 - 1e-7))
    if kind == "heavy-tailed":
        degrees = (1 + shape).expand(o.shape).contiguous()
        chi = 2 * torch._standard_gamma(degrees / 2, generator=generator)
        normal = normal * (degrees / chi.clamp(min=1e-6)).sqrt()
    return o + scale * normal
