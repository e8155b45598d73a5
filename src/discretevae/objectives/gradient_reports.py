"""Noise, bias and time of gradient estimators at given weights, side by side."""

from __future__ import annotations

import copy
import dataclasses
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from discretevae.errors import ConfigError
from discretevae.estimators import Estimator, Exact, Importance
from discretevae.families import is_enumerable
from discretevae.model.inputs import require_x
from discretevae.model.row_checks import require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import Objective, elbo

REPEATS = 32
MIN_REPEATS = 8
"""With fewer the stated rate of false alarms does not hold."""

ROUNDS = 7
CONFIDENCE_Z = 2.576
ROUNDING = 1e-5
"""A relative bias that single precision alone can make."""


@dataclass(frozen=True)
class Bias:
    """The bias of a gradient, ‖E g − g*‖ / ‖g*‖, as far as R draws can tell.

    With u_r = g_r − g* and U = Σ_{r≠s} u_r·u_s / (R(R − 1)), which has expectation ‖E g − g*‖²
    (it is ‖ḡ − g*‖² less what the noise of the mean adds to it), and s its standard error:

        value² = max(U, 0) / ‖g*‖²,   low² = max(U − 2.576 s, 0) / ‖g*‖²,
        high² = (max(U, 0) + 2.576 s) / ‖g*‖²

    s is the larger of the jackknife over the draws and √(2 tr Σ̂² / (R(R − 1))), Σ̂ the covariance
    of g. In simulations (1 to 500 dimensions, Gaussian and heavy tails, R from 8 to 128) an
    unbiased estimator had low > 0 in fewer than 1 of 500 cases, and the truth lay between low and
    high in 96 % of cases or more; in 91 % in the worst case, noise in one direction only.

    Args:
        value: the estimate.
        low: lower end; 0 where no bias was seen. Below 1e-5 lies rounding, which counts as none.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """``0``, ``≤ high`` where none was seen, else the estimate with half the interval."""
        if self.high < ROUNDING:
            return "0"
        if self.low == 0:
            return f"≤ {self.high:.2g}"
        return f"{self.value:.2g} ± {(self.high - self.low) / 2:.1g}"


@dataclass(frozen=True)
class GradientReport:
    """The figures of a gradient estimator at fixed weights on a fixed batch of B rows.

    g_r is the gradient of the loss (−objective, nats per row, mean over the rows) with respect to
    the n parameters of the encoder at the r-th of R draws, ḡ their mean, V = Σ_i 1/(R − 1)
    Σ_r (g_ri − ḡ_i)² their summed variance.

    Args:
        estimator: name and options.
        is_unbiased: what theory says.
        evaluations: declared decoder rows per data row and step: the cost.
        norm: √(‖ḡ‖² − V/R), the length of the expected gradient, free of the mean's own noise;
            None where that leaves nothing.
        variance: V/n, nats² per squared unit of weight; as in
            `discretevae.objectives.gradient_noise.GradientNoise`.
        variance_se: its standard error: s/√R, s the standard deviation over r of
            R/(R − 1) ‖g_r − ḡ‖²/n.
        eta_variance: the same variance of each row's own gradient with respect to its natural
            parameters η, averaged over rows and coordinates.
        snr: signal-to-noise ratio of one step, norm / √V; None where norm is, or V = 0.
        seconds: median time of one step (forward, backward for all parameters, no optimizer).
        time_ratio: median over rounds of that time by the time of ``importance`` with M = 1 in
            the same round; the estimators take turns in every round.
        bias: against the exact gradient; None where the code cannot be enumerated.
    """

    estimator: str
    is_unbiased: bool
    evaluations: int
    norm: float | None
    variance: float
    variance_se: float
    eta_variance: float
    snr: float | None
    seconds: float
    time_ratio: float
    bias: Bias | None

    @property
    def variance_times_cost(self) -> float:
        """Variance · evaluations: the variance at a given budget of decoder rows."""
        return self.variance * self.evaluations

    @property
    def variance_times_time(self) -> float:
        """Variance · time_ratio: the variance at a given time, when copies are averaged."""
        return self.variance * self.time_ratio

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; figures that are not finite are None."""
        products = ("variance_times_cost", "variance_times_time")
        values = dataclasses.asdict(self) | {name: getattr(self, name) for name in products}
        return {key: _finite(value) for key, value in values.items()}


def measure_gradients(
    model: DiscreteVAE,
    x: Tensor,
    estimators: Mapping[str, Estimator],
    *,
    repeats: int = REPEATS,
    generator: torch.Generator,
    objective: Objective = elbo,
) -> list[GradientReport]:
    """Measure noise, bias and time of each estimator at given weights on given rows.

    Weights and rows are the same for all draws, and every estimator starts from the same state of
    ``generator``: no report depends on the other estimators, but for time.
    Estimators that learn are measured as they are, on a copy that learns nothing meanwhile. Memory:
    R · n numbers for n parameters of the encoder.

    Args:
        model: the model; neither its weights nor their gradients change.
        x: the probe rows ``[B, P]``.
        estimators: by name.
        repeats: R, at least 8.
        generator: the source of all draws.
        objective: whose gradient it is; only the ELBO's has an exact one to compare with.

    Raises:
        ConfigError: ``repeats`` is too small, or there is no estimator.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> generator = torch.Generator().manual_seed(0)
        >>> model, x = DiscreteVAE(config, generator=generator), torch.rand(5, 4)
        >>> estimators = {"importance": Importance(), "exact": Exact()}
        >>> noisy, exact = measure_gradients(model, x, estimators, generator=generator)
        >>> noisy.variance > exact.variance, exact.bias
        (True, Bias(value=0.0, low=0.0, high=0.0))
    """
    require_model(model)
    require_x(x, model.config.n_features)
    require_repeats(repeats)
    if not estimators:
        raise ConfigError("there is no estimator to measure. Give at least one.")
    estimators = {name: _at_rest(each, model, x) for name, each in estimators.items()}
    truth = None
    if objective is elbo and is_enumerable(model.family):
        truth = _draws(model, x, Exact(), 1, generator, elbo)[0][0]
    times = _interleaved_times(model, x, estimators, generator.device, objective)
    state = generator.get_state()
    reports = []
    for name, estimator in estimators.items():
        generator.set_state(state)
        draws, eta_draws = _draws(model, x, estimator, repeats, generator, objective)
        shifted = draws - draws[0]  # so that draws that do not differ have no variance at all
        squares = (shifted - shifted.mean(0)).square().sum(1).double() * repeats / (repeats - 1)
        total, n = squares.mean().item(), draws.shape[1]
        squared_norm = draws.mean(0).square().sum().item() - total / repeats
        norm = math.sqrt(squared_norm) if squared_norm > 0 else None
        seconds, ratio = times[name]
        reports.append(
            GradientReport(
                estimator=name,
                is_unbiased=estimator.is_unbiased,
                evaluations=estimator.evaluations_for(model.family),
                norm=norm,
                variance=total / n,
                variance_se=squares.std().item() / n / math.sqrt(repeats),
                eta_variance=(eta_draws - eta_draws[0]).var(0).mean().item(),
                snr=None if norm is None or total == 0 else norm / math.sqrt(total),
                seconds=seconds,
                time_ratio=ratio,
                bias=None if truth is None else _bias(draws, truth),
            )
        )
    return reports


class _Held:
    """A model whose natural parameters are held: the objective's gradient stops there."""

    def __init__(self, model: DiscreteVAE, eta: Tensor) -> None:
        self._model, self._eta = model, eta

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def eta(self, x: Tensor) -> Tensor:
        return self._eta


def _draws(
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    repeats: int,
    generator: torch.Generator,
    objective: Objective,
) -> tuple[Tensor, Tensor]:
    """Return the encoder's gradient ``[R, n]`` and each row's η-gradient ``[R, B, *eta_shape]``."""
    parameters = list(model.encoder.parameters())
    eta = model.eta(x)
    draws, eta_draws = [], []
    for _ in range(repeats):
        leaf = eta.detach().requires_grad_()
        loss = objective(
            cast(DiscreteVAE, _Held(model, leaf)), x, estimator, generator=generator
        ).loss
        (slope,) = torch.autograd.grad(loss, leaf)
        grads = torch.autograd.grad(eta, parameters, slope, retain_graph=True)
        draws.append(torch.cat([grad.flatten() for grad in grads]))
        eta_draws.append(slope * len(x))
    return torch.stack(draws), torch.stack(eta_draws)


def _bias(draws: Tensor, truth: Tensor) -> Bias | None:
    size = truth.norm().item()
    if size == 0:
        return None
    n = len(draws)
    pairs = n * (n - 1)
    apart = (draws - truth) / size
    gram = (apart @ apart.T).double()
    others = gram.sum(1) - gram.diagonal()
    square = (others.sum() / pairs).item()
    left_out = (others.sum() - 2 * others) / ((n - 1) * (n - 2))
    jackknife = (n - 1) * left_out.var(correction=0).item()
    centred = apart - apart.mean(0)
    spread = (centred @ centred.T).double().square().sum().item() / (n - 1) ** 2
    bound = CONFIDENCE_Z * math.sqrt(max(jackknife, 2 * spread / pairs))
    low = math.sqrt(max(square - bound, 0.0))
    return Bias(
        value=math.sqrt(max(square, 0.0)),
        low=low if low > ROUNDING else 0.0,
        high=math.sqrt(max(square, 0.0) + bound),
    )


def _interleaved_times(
    model: DiscreteVAE,
    x: Tensor,
    estimators: Mapping[str, Estimator],
    device: torch.device,
    objective: Objective,
) -> dict[str, tuple[float, float]]:
    """Return the median of each estimator's seconds, and of its ratios to the paper's step."""
    generator = torch.Generator(device).manual_seed(0)
    turns = [(Importance(), elbo), *((each, objective) for each in estimators.values())]
    rounds = [
        [_step_seconds(model, x, estimator, generator, what) for estimator, what in turns]
        for _ in range(1 + ROUNDS)
    ][1:]  # the first one warms up
    return {
        name: (
            statistics.median(row[i] for row in rounds),
            statistics.median(row[i] / row[0] for row in rounds),
        )
        for i, name in enumerate(estimators, 1)
    }


def _step_seconds(
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    generator: torch.Generator,
    objective: Objective,
) -> float:
    own = estimator.parameters() if isinstance(estimator, nn.Module) else ()
    parameters = [*model.parameters(), *own]
    began = time.perf_counter()
    loss = objective(model, x, estimator, generator=generator).loss
    torch.autograd.grad(loss, parameters, allow_unused=True)
    if x.device.type != "cpu":
        torch.accelerator.synchronize(x.device)
    return time.perf_counter() - began


def _at_rest(estimator: Estimator, model: DiscreteVAE, x: Tensor) -> Estimator:
    """Return a copy that keeps what it has learned and learns nothing more."""
    estimator = copy.deepcopy(estimator)
    estimator.prepare(model.family, model.eta(x[:1]).detach())
    return estimator.eval().to(x.device) if isinstance(estimator, nn.Module) else estimator


def require_repeats(repeats: int) -> None:
    """Refuse a number of draws that is too small (`ConfigError`)."""
    if repeats < MIN_REPEATS:
        raise ConfigError(f"`repeats` must be an int >= {MIN_REPEATS}. Got {repeats}.")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
