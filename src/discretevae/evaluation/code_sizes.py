"""The gain and the cost of larger codes, and the size that is enough.

A code of S states holds at most ln S nats, its ceiling. One more bit raises the ceiling by
ln 2 = 0.69 nats. Used to the full it costs as much in KL, so it pays only where it gains more than
that in E_q ln p(x|z). The ELBO is the difference of the two: bits pay as long as it grows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from discretevae.config import LatentSpec
from discretevae.errors import ConfigError
from discretevae.evaluation.measured import Measured, mean_of

BIT = math.log(2)
"""Nats."""

FALL = 3.0
"""Standard errors by which a larger size must be worse before `Choice` speaks of it."""


@dataclass(frozen=True)
class SizeRun:
    """Figures of one run; means over the test rows, in nats per row.

    Args:
        seed: of the run.
        folder: its name within the sweep's.
        elbo, log_likelihood, kl, bound, log_px: as in `Evaluation`.
        code_entropy, codes_used, active_units: as in `CodeUsage`.
        seconds: of its training steps.
    """

    seed: int
    folder: str
    elbo: float
    log_likelihood: float
    kl: float
    bound: float
    log_px: float | None
    code_entropy: float
    codes_used: int
    active_units: int
    seconds: float


@dataclass(frozen=True)
class SizeResult:
    """Figures of one size; means over rows and runs (`mean_of`), in nats per row.

    Args:
        size: c.
        latent: the code.
        estimator: of the gradient.
        ceiling: ln of the number of states, which the KL to a uniform prior cannot exceed.
        elbo, log_likelihood, kl, bound, log_px: as in `Evaluation`.
        behind: ELBO of the best size less that of this one, row by row; None until all sizes are
            there.
        runs: one per seed.
    """

    size: int
    latent: str
    estimator: str
    ceiling: float
    elbo: Measured
    log_likelihood: Measured
    kl: Measured
    bound: Measured
    log_px: Measured | None
    runs: tuple[SizeRun, ...]
    behind: Measured | None = None

    @property
    def used(self) -> float:
        """KL by ceiling, 0 to 1 under a uniform prior."""
        return self.kl.value / self.ceiling

    def mean(self, name: str) -> float:
        """Return a figure of `SizeRun`, mean over the runs."""
        return math.fsum(getattr(run, name) for run in self.runs) / len(self.runs)

    def spread(self, name: str) -> float | None:
        """Its standard deviation over the runs; None for a single one."""
        if len(self.runs) < 2:
            return None
        mean = self.mean(name)
        squares = ((getattr(run, name) - mean) ** 2 for run in self.runs)
        return math.sqrt(math.fsum(squares) / (len(self.runs) - 1))

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``sweep.json`` holds, with means over the runs."""
        values = dataclasses.asdict(self)
        names = ("code_entropy", "codes_used", "active_units", "seconds")
        means = {name: self.mean(name) for name in names}
        values |= {"used": self.used, "elbo_spread": self.spread("elbo")} | means
        values["runs"] = values.pop("runs")
        return values


@dataclass(frozen=True)
class Step:
    """Gain from the bits between two neighboring sizes; nats per row **and added bit**.

    Args:
        smaller: c of the smaller size.
        larger: c of the larger one.
        bits: (ceiling of the larger − ceiling of the smaller) / ln 2.
        log_likelihood: gain of E_q ln p(x|z).
        kl: what it costs; ln 2 = 0.69 if the added bits are used to the full and the others no
            more than before.
        elbo: the difference of the two. The bits pay where it is above 0.
    """

    smaller: int
    larger: int
    bits: float
    log_likelihood: Measured
    kl: Measured
    elbo: Measured


@dataclass(frozen=True)
class Choice:
    """The size that is enough, by the rule of `choose_size`.

    Args:
        size: the recommended one.
        best: the one with the largest mean ELBO.
        has_stopped: whether more bits stop paying within the sizes tried: False if the largest of
            them is the recommended one.
        behind: per size, ELBO of the best less that of this one, row by row.
    """

    size: int
    best: int
    has_stopped: bool
    behind: Mapping[int, Measured]

    @property
    def reason(self) -> str:
        """The choice in one sentence.

        Example:
            >>> behind = {2: Measured(3.0, 0.5), 4: Measured(0.25, 0.5), 8: Measured(0.0, 0.0)}
            >>> Choice(4, 8, True, behind).reason
            'Size 4 is enough: its ELBO is 0.25 ± 0.50 nats behind that of 8, the best, and no \
smaller size is within one standard error of it.'
        """
        smaller = [size for size in self.behind if size < self.size]
        if not self.has_stopped:
            nearest = min(smaller, key=lambda size: self.behind[size].value)
            return (
                f"Size {self.size}, the largest tried, is the best: its ELBO is "
                f"{self.behind[nearest]:.2f} nats above that of {nearest}. More bits have not "
                "stopped paying within the sizes tried; try larger ones."
            )
        if self.size == self.best:
            lead = f"Size {self.size} is the best: no size has a larger ELBO"
        else:
            lead = (
                f"Size {self.size} is enough: its ELBO is {self.behind[self.size]:.2f} nats "
                f"behind that of {self.best}, the best"
            )
        if not smaller:
            return f"{lead}. It is the smallest tried; still smaller ones may do as well."
        return f"{lead}, and no smaller size is within one standard error of it."

    @property
    def doubt(self) -> str | None:
        """A reason to doubt the choice; None if there is none.

        A larger code can leave bits unused and be as good as a smaller one. Where larger ones are
        worse, by more than `FALL` standard errors, it is the training that did not get there, or
        the networks fit the training rows too closely.

        Example:
            >>> behind = {2: Measured(3.0, 0.5), 4: Measured(0.0, 0.0), 8: Measured(2.0, 0.5)}
            >>> print(Choice(4, 4, True, behind).doubt)
            Size 8 is worse than 4 by 2.00 ± 0.50 nats, though it can do all that 4 does: that is \
its training. Try more `epochs` before trusting the choice.
        """
        worse = [
            size
            for size, lag in self.behind.items()
            if size > self.best and lag.value > FALL * (lag.se or 0.0)
        ]
        if not worse:
            return None
        worst = max(worse, key=lambda size: self.behind[size].value)
        return (
            f"Size {worst} is worse than {self.best} by {self.behind[worst]:.2f} nats, though "
            f"it can do all that {self.best} does: that is its training. Try more `epochs` before "
            "trusting the choice."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``sweep.json`` holds."""
        names = ("size", "best", "has_stopped", "reason", "doubt")
        return {name: getattr(self, name) for name in names}


def choose_size(elbos: Mapping[int, Tensor]) -> Choice:
    """Return the smallest size whose ELBO is within one standard error of the best size's.

    ``d_c = mean_i (ELBO_i(b) − ELBO_i(c)),  b = argmax_c mean_i ELBO_i(c)``

    ``size = min {c : d_c ≤ se(d_c)}``

    with i the test rows. The differences are taken row by row: rows differ from each other by tens
    of nats, but two models find the same rows hard, so that the standard error of a difference is
    much smaller than that of either mean. With several runs of each size it covers their spread too
    (`mean_of`); with one run it says nothing about how much another seed would change.

    Of sizes with the same mean the smallest counts as the best. Where no standard error is known (a
    single row of a single run) it counts as 0.

    This is the rule of one standard error of Breiman, Friedman, Olshen and Stone (1984),
    *Classification and Regression Trees*, section 3.4.3. They, and most who use it, take the
    standard error of the best one's mean; here that of the paired difference is taken.

    Args:
        elbos: per size c the ELBO of the same N rows in the same order, float64 ``[N]``, or
            ``[R, N]`` of R runs; nats per row.

    Raises:
        ConfigError: fewer than two sizes, or tables of several shapes.

    Example:
        >>> import torch
        >>> rows = torch.tensor([-90.0, -70.0, -80.0, -100.0], dtype=torch.float64)
        >>> noise = torch.tensor([0.2, -0.1, 0.1, -0.1], dtype=torch.float64)
        >>> choice = choose_size({5: rows - 4, 10: rows + noise, 20: rows + 0.05})
        >>> choice.size, choice.best, choice.has_stopped
        (10, 20, True)
    """
    shapes = {tuple(table.shape) for table in elbos.values()}
    if len(elbos) < 2 or len(shapes) != 1:
        raise ConfigError(
            "a choice needs at least two sizes with tables of one shape. Got "
            f"{len(elbos)} with {sorted(shapes)}."
        )
    best = max(sorted(elbos), key=lambda size: float(elbos[size].mean()))
    behind = {size: mean_of(elbos[best] - elbos[size]) for size in sorted(elbos)}
    size = next(c for c, lag in behind.items() if lag.value <= (lag.se or 0.0))
    return Choice(size, best, size != max(elbos), behind)


def steps_of(
    results: Sequence[SizeResult], tables: Mapping[int, Mapping[str, Tensor]]
) -> tuple[Step, ...]:
    """Return what the bits between neighboring sizes bring, row by row.

    Args:
        results: in the order of their sizes.
        tables: per size ``log_likelihood`` and ``kl`` of every run and row, ``[R, N]`` each.
    """
    steps = []
    for smaller, larger in pairwise(results):
        bits = (larger.ceiling - smaller.ceiling) / BIT
        before, after = tables[smaller.size], tables[larger.size]
        gain, cost = ((after[name] - before[name]) / bits for name in ("log_likelihood", "kl"))
        measured = mean_of(gain), mean_of(cost), mean_of(gain - cost)
        steps.append(Step(smaller.size, larger.size, bits, *measured))
    return tuple(steps)


def ceiling_of(spec: LatentSpec) -> float:
    """Return ln of the number of states: D ln 2 of bits, D ln K of categories.

    Raises:
        ConfigError: a part is not discrete.

    Example:
        >>> from discretevae.config import LatentSpec
        >>> round(ceiling_of(LatentSpec.of("bernoulli:10")), 2)
        6.93
        >>> round(ceiling_of(LatentSpec.of("categorical:20x10")), 2)
        46.05
    """
    if spec.n_states is None:
        raise ConfigError(f"`latent` {spec} has no ceiling. Take bits or categories.")
    return math.log(spec.n_states)
