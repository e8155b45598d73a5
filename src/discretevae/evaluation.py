"""How good a model is and how much of its code it uses, each figure with its standard error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from discretevae.config import BinarizeMode
from discretevae.data import Rows, binarize
from discretevae.errors import ConfigError, DataError
from discretevae.families import is_enumerable
from discretevae.model import DiscreteVAE

DECODER_ROWS = 4096
"""Decoder rows in one go: large enough for the matrix products, small enough for the cache."""

ACTIVE_VARIANCE = 0.01
"""A latent variable whose posterior mean varies less than this over rows is called inactive."""


@dataclass(frozen=True)
class Measured:
    """A mean over rows with its standard error: standard deviation over rows / √rows.

    ``se`` is None for a single row, which has no spread.
    """

    value: float
    se: float | None


@dataclass(frozen=True)
class CodeUsage:
    """How much of the code the data use.

    Args:
        codes_used: distinct most-likely codes over the rows; None for a Gaussian code.
        active_units: latent variables whose posterior mean varies over rows by more than 0.01
            (for a category: the summed variance of its K probabilities).
        code_entropy: entropy in nats of the distribution of most-likely codes over the rows, at
            most ln min(rows, states); None for a Gaussian code.
    """

    codes_used: int | None
    active_units: int
    code_entropy: float | None


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measures; all in nats per row.

    Args:
        elbo: E_q ln p(x|z) − KL. Exact given the rows for an enumerable code, else with
            ``samples`` draws of z per row.
        log_likelihood: E_q ln p(x|z).
        kl: KL(q(z|x) ‖ p(z)), closed form.
        bound: ln 1/S Σ_s p(x|z_s) p(z_s) / q(z_s|x), the S-sample bound (Burda et al. 2016).
        samples: S.
        log_px: ln p(x) itself where the code can be enumerated, else None.
        usage: how much of the code is used.
        rows: how many rows were evaluated.
    """

    elbo: Measured
    log_likelihood: Measured
    kl: Measured
    bound: Measured
    samples: int
    log_px: Measured | None
    usage: CodeUsage
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """The object that ``evaluate --json`` prints."""
        values = asdict(self)
        values["bound"]["samples"] = values.pop("samples")
        values.update(values.pop("usage"))
        values["rows"] = values.pop("rows")
        return values


@torch.no_grad()
def evaluate(
    model: DiscreteVAE,
    rows: Rows,
    *,
    samples: int = 100,
    binarize_mode: BinarizeMode = "none",
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Bounds on ln p(x) over ``rows``, and how the code is used.

    Args:
        model: the model.
        rows: N rows; all are used.
        samples: S, draws of z per row.
        binarize_mode: as in training; ``dynamic`` draws once, from ``seed``.
        seed: of the draws.
        progress: called with the number of rows done after every chunk.

    Raises:
        ConfigError: ``samples`` is below 1.
        DataError: the rows do not fit the model, or are too large for it to score.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="categorical:10")
        >>> result = evaluate(model, data.test, samples=10)
        >>> result.elbo.value <= result.bound.value <= result.log_px.value
        True
    """
    if samples < 1:
        raise ConfigError(f"samples must be an int >= 1. Got {samples}.")
    require_fit(model, rows)
    device = model.prior.raw.device
    generator = torch.Generator(device).manual_seed(seed)
    exact = is_enumerable(model.family)
    chunk = DECODER_ROWS if exact else max(1, DECODER_ROWS // samples)
    columns: list[Tensor] = []
    tally = _UsageTally(model)
    for start in range(0, len(rows), chunk):
        x = rows.batch(slice(start, start + chunk)).to(device)
        x = binarize(x, binarize_mode, generator)
        eta = model.eta(x)
        tally.add(eta)
        score = _score_exactly if exact else _score_by_sampling
        columns.append(score(model, x, eta, samples, generator).cpu())
        if progress is not None:
            progress(min(start + chunk, len(rows)))
    scores = torch.cat(columns, 1).double()
    bad = int((~scores.isfinite()).any(0).sum())
    if bad:
        raise DataError(
            f"{rows.name}: the likelihood of {bad:,} of {len(rows):,} rows is beyond float32. "
            "Rescale their values."
        )
    likelihood, kl, bound, *log_px = scores
    return Evaluation(
        elbo=_measured(likelihood - kl),
        log_likelihood=_measured(likelihood),
        kl=_measured(kl),
        bound=_measured(bound),
        samples=samples,
        log_px=_measured(log_px[0]) if log_px else None,
        usage=tally.result(),
        rows=len(rows),
    )


def require_fit(model: DiscreteVAE, rows: Rows) -> None:
    """Refuses rows that the model cannot take.

    Raises:
        DataError: another number of features, or values outside [0, 1] under a likelihood that
            needs them inside.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> require_fit(DiscreteVAE.for_data(data), data.test)
    """
    expected = model.config.n_features
    if rows.n_features != expected:
        raise DataError(
            f"{rows.name}: rows have {rows.n_features} features, but the model takes {expected}. "
            "Give data of the model's own width."
        )
    if model.likelihood.needs_unit_interval:
        rows.require_unit_interval()


def _score_exactly(
    model: DiscreteVAE, x: Tensor, eta: Tensor, samples: int, generator: torch.Generator
) -> Tensor:
    """(E_q ln p(x|z), KL, S-sample bound, ln p(x)), each exact but the third; ``[4, B]``."""
    table = model.log_likelihood(x).table()
    log_q = model.family.log_prob_table(eta)
    log_prior = model.prior.log_prob_table()
    q = log_q.exp()
    drawn = torch.multinomial(q, samples, replacement=True, generator=generator)
    log_weight = (table + log_prior - log_q).gather(1, drawn)
    bound = torch.logsumexp(log_weight, 1) - math.log(samples)
    log_px = torch.logsumexp(table + log_prior, 1)
    return torch.stack(((q * table).sum(1), model.prior.kl(eta), bound, log_px))


def _score_by_sampling(
    model: DiscreteVAE, x: Tensor, eta: Tensor, samples: int, generator: torch.Generator
) -> Tensor:
    """(E_q ln p(x|z), KL, S-sample bound), ``[3, B]``; S is cut in pieces that fit the cache."""
    f = model.log_likelihood(x)
    total = torch.zeros(len(x), device=x.device)
    log_sum = torch.full((len(x),), -math.inf, device=x.device)
    piece = max(1, DECODER_ROWS // len(x))
    for start in range(0, samples, piece):
        z = model.family.sample(eta, min(piece, samples - start), generator=generator)
        fz = f(z)
        log_weight = fz + model.prior.log_prob(z) - model.family.log_prob(eta, z)
        total += fz.sum(0)
        log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_weight, 0))
    return torch.stack((total / samples, model.prior.kl(eta), log_sum - math.log(samples)))


class _UsageTally:
    """Collects what `CodeUsage` needs, chunk by chunk."""

    def __init__(self, model: DiscreteVAE) -> None:
        self.model = model
        self.codes: list[np.ndarray[Any, np.dtype[Any]]] = []
        self.sum = self.sum_of_squares = torch.zeros(())
        self.rows = 0

    def add(self, eta: Tensor) -> None:
        """One chunk's natural parameters."""
        family = self.model.family
        discrete = family.n_states is not None
        mean = (family.mean(eta) if discrete else family.mode(eta)).double().cpu()
        self.sum = self.sum + mean.sum(0)
        self.sum_of_squares = self.sum_of_squares + mean.square().sum(0)
        self.rows += len(eta)
        if discrete:
            codes = family.to_codes(family.mode(eta)).cpu().numpy()
            is_bits = family.spec.kind == "bernoulli"
            self.codes.append(np.packbits(codes, axis=1) if is_bits else codes)

    def result(self) -> CodeUsage:
        """The tally of all chunks."""
        variance = self.sum_of_squares / self.rows - (self.sum / self.rows).square()
        per_variable = variance.reshape(self.model.family.n_variables, -1).sum(1)
        active = int((per_variable > ACTIVE_VARIANCE).sum())
        if not self.codes:
            return CodeUsage(None, active, None)
        _, counts = np.unique(np.concatenate(self.codes), axis=0, return_counts=True)
        share = counts / counts.sum()
        return CodeUsage(len(counts), active, float(-(share * np.log(share)).sum()) + 0.0)


def _measured(per_row: Tensor) -> Measured:
    mean = per_row.mean().item()
    if len(per_row) < 2:
        return Measured(mean, None)
    return Measured(mean, per_row.std().item() / math.sqrt(len(per_row)))


__all__ = ["CodeUsage", "Evaluation", "Measured", "evaluate", "require_fit"]
