"""Bounds on the likelihood and the use of the code, each figure with its standard error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from discretevae.data.objects import RowsLike
from discretevae.errors import ConfigError, DataError
from discretevae.evaluation.measured import Measured, measured
from discretevae.evaluation.usage import CodeUsage, UsageTally, n_discrete_states
from discretevae.families import is_enumerable
from discretevae.likelihoods import bits_per_dimension
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE
from discretevae.system.precision import computing

DECODER_ROWS = 4096
"""Decoder rows in one go: large enough for the matrix products, small enough for the cache."""

LEAST_ROWS = 16
"""Rows scored together however many samples they need, so that the encoder has some work to do."""


@dataclass(frozen=True, eq=False)
class RowScores:
    """The scores of every row; nats, float64, each ``[N]``.

    Args:
        elbo: E_q ln p(x|z) − KL.
        log_likelihood: E_q ln p(x|z).
        kl: KL(q(z|x) ‖ p(z)).
        bounds: the S-sample bound for every S that was asked for.
        log_px: ln p(x) itself where the code can be enumerated, else None.
        usage: how much of the code the rows use.
        psnr: of the reconstruction of each row, see `Evaluation`; None of rows that have none.
        is_surrogate: whether the likelihood is no probability of these rows, see `Evaluation`.
    """

    elbo: Tensor
    log_likelihood: Tensor
    kl: Tensor
    bounds: Mapping[int, Tensor]
    log_px: Tensor | None
    usage: CodeUsage
    psnr: Tensor | None
    is_surrogate: bool

    @property
    def bound(self) -> Tensor:
        """Return the bound of the largest S."""
        return self.bounds[max(self.bounds)]

    @property
    def best(self) -> Tensor:
        """The nearest figure to ln p(x): itself, or the bound of the largest S."""
        return self.bound if self.log_px is None else self.log_px


@dataclass(frozen=True)
class Evaluation:
    """The figures that `evaluate` measures; all in nats per row.

    Of columns that were scaled, likelihoods are densities of the values as they came.

    Args:
        elbo: E_q ln p(x|z) − KL. Exact given the rows for an enumerable code, else with
            ``samples`` draws of z per row.
        log_likelihood: E_q ln p(x|z); its negative is the distortion.
        kl: KL(q(z|x) ‖ p(z)), the rate; closed form where the prior has one.
        bound: ln 1/S Σ_s p(x|z_s) p(z_s) / q(z_s|x), the S-sample bound (Burda et al. 2016).
        samples: S, the largest one if several were asked for.
        log_px: ln p(x) itself where the code can be enumerated, else None.
        usage: how much of the code is used.
        rows: how many rows were evaluated.
        bounds: the bound for every S that was asked for.
        bits_per_dimension: of ``log_px`` or else ``bound``, where the likelihood is a probability
            of these rows; None for densities and surrogates.
        is_surrogate: whether the likelihood is no probability of these rows, as a Bernoulli one of
            grey values is not: all figures are then a cross-entropy's, comparable between models
            of the same rows and with nothing else.
        entropy_ceiling: the most that ``usage.code_entropy`` can be, ln min(rows, states).
        psnr: of 8-bit pictures, 10 log10 255²/MSE of each reconstruction, dB: E[x|z] at the most
            likely code, rounded to 8 bits, MSE over all values of the picture; a flawless one is
            taken as if one value were off by one. None of other rows.
        accuracy: share of the rows whose label a semi-supervised model infers rightly; None of
            other models, or where no label is known.
    """

    elbo: Measured
    log_likelihood: Measured
    kl: Measured
    bound: Measured
    samples: int
    log_px: Measured | None
    usage: CodeUsage
    rows: int
    bounds: Mapping[int, Measured]
    bits_per_dimension: Measured | None
    is_surrogate: bool
    entropy_ceiling: float | None
    psnr: Measured | None
    accuracy: Measured | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values for JSON."""
        values = asdict(self)
        values["bound"]["samples"] = values.pop("samples")
        values["bounds"] = [{"samples": s, **asdict(b)} for s, b in self.bounds.items()]
        values["rate"] = asdict(self.kl)
        values["distortion"] = {"value": -self.log_likelihood.value, "se": self.log_likelihood.se}
        values.update(values.pop("usage"))
        used = self.usage.codes_used
        values["distinct_rate"] = None if used is None else used / self.rows
        values["rows"] = values.pop("rows")
        return values


def evaluate(
    model: DiscreteVAE,
    rows: RowsLike,
    *,
    samples: int | Sequence[int] = 100,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Bounds on ln p(x) over ``rows``, and how the code is used.

    Args:
        model: the model.
        rows: N rows, binarized as in training, or an array of x; all are used. Dynamic ones are
            drawn once, from ``seed``: what is drawn depends neither on the model nor on S.
        samples: S, draws of z per row; of several, the largest must be a multiple of the others,
            whose bounds are then means over disjoint groups of the same draws.
        seed: of the draws.
        progress: called with the number of rows done after every chunk.

    Raises:
        ConfigError: ``samples`` is below 1, or one S does not divide the largest.
        DataError: the rows do not fit the model, or are too large for it to score.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="categorical:10")
        >>> result = evaluate(model, data.test, samples=10)
        >>> result.elbo.value <= result.bound.value <= result.log_px.value
        True
    """
    scores = row_scores(model, rows, samples=samples, seed=seed, progress=progress)
    return summary_of(scores, model)


def summary_of(scores: RowScores, model: DiscreteVAE) -> Evaluation:
    """Return the means over rows, with their standard errors."""
    n = len(scores.elbo)
    bounds = {s: measured(bound) for s, bound in scores.bounds.items()}
    log_px = None if scores.log_px is None else measured(scores.log_px)
    states = n_discrete_states(model.family)
    is_probability = model.likelihood.is_probability and not scores.is_surrogate
    return Evaluation(
        elbo=measured(scores.elbo),
        log_likelihood=measured(scores.log_likelihood),
        kl=measured(scores.kl),
        bound=bounds[max(bounds)],
        samples=max(bounds),
        log_px=log_px,
        usage=scores.usage,
        rows=n,
        bounds=bounds,
        bits_per_dimension=_in_bits(log_px or bounds[max(bounds)], model.config.n_features)
        if is_probability
        else None,
        is_surrogate=scores.is_surrogate,
        entropy_ceiling=None if states is None else math.log(min(n, states)),
        psnr=None if scores.psnr is None else measured(scores.psnr),
    )


@computing("float32")
@torch.no_grad()
def row_scores(
    model: DiscreteVAE,
    rows: RowsLike,
    *,
    samples: int | Sequence[int] = 100,
    seed: int = 0,
    same_draws: bool = False,
    progress: Callable[[int], object] | None = None,
) -> RowScores:
    """Return what `evaluate`, whose arguments these are, takes the means of, for every row.

    With ``same_draws`` the same random numbers are used for every row, so that the figures of a row
    do not depend on the rows before it.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="bernoulli:20")
        >>> scores = row_scores(model, data.test, samples=(1, 10))
        >>> scores.elbo.shape, sorted(scores.bounds)
        (torch.Size([297]), [1, 10])
    """
    sizes = _sample_sizes(samples)
    rows = require_fit(model, rows)
    generator = torch.Generator(model.device).manual_seed(seed)
    exact = is_enumerable(model.family)
    chunk = DECODER_ROWS if exact else max(LEAST_ROWS, DECODER_ROWS // sizes[-1])
    columns: list[Tensor] = []
    tally, is_surrogate = UsageTally(model.config), False
    is_8_bit = rows.image_shape is not None and rows.are_bytes and not rows.is_binary
    for x in rows.chunks(chunk, seed=seed, progress=progress):
        x = x.to(model.device)
        is_surrogate = is_surrogate or model.likelihood.is_surrogate_for(x)
        eta = model.eta(x)
        tally.add(eta)
        if exact:
            score = _score_exactly(model, x, eta, sizes, generator)
        else:
            generators = [generator]
            if same_draws:
                generators = [torch.Generator(model.device).manual_seed(seed) for _ in x]
            score = _score_by_sampling(model, x, eta, sizes, *generators)
        if is_8_bit:
            score = torch.cat((_psnr(model, x, eta)[None], score))
        columns.append(score.cpu())
    scores = torch.cat(columns, 1).double()
    bad = int((~scores.isfinite()).any(0).sum())
    if bad:
        raise DataError(
            f"{rows.name}: the likelihood of {bad:,} of {len(rows):,} rows is beyond float32. "
            "Rescale their values."
        )
    psnr, scores = (scores[0], scores[1:]) if is_8_bit else (None, scores)
    likelihood, kl, *others = scores
    if not model.likelihood.is_probability:  # densities, in the units that the rows came in
        likelihood, *others = (figure + rows.log_jacobian for figure in (likelihood, *others))
    bounds = dict(zip(sizes, others, strict=False))
    log_px = others[len(sizes)] if exact else None
    usage = tally.result()
    return RowScores(likelihood - kl, likelihood, kl, bounds, log_px, usage, psnr, is_surrogate)


def score_samples(
    model: DiscreteVAE,
    rows: RowsLike,
    *,
    samples: int = 100,
    seed: int = 0,
    same_draws: bool = False,
) -> Tensor:
    """Return ln p(x) of each row where it is exact, else the S-sample bound, nats, ``[N]``.

    Args:
        model: the model.
        rows: N rows.
        samples: S.
        seed: of the draws.
        same_draws: as for `row_scores`.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="categorical:10")
        >>> score_samples(model, data.test).shape
        torch.Size([297])
    """
    return row_scores(model, rows, samples=samples, seed=seed, same_draws=same_draws).best


def _sample_sizes(samples: int | Sequence[int]) -> list[int]:
    sizes = sorted({samples} if isinstance(samples, int) else set(samples))
    if not sizes or sizes[0] < 1:
        raise ConfigError(f"`samples` must be an int >= 1. Got {sizes[0] if sizes else 'none'}.")
    odd = [size for size in sizes if sizes[-1] % size]
    if odd:
        raise ConfigError(
            f"`samples` {odd[0]} does not divide {sizes[-1]}. Give sizes such as 100 and 5000."
        )
    return sizes


def _psnr(model: DiscreteVAE, x: Tensor, eta: Tensor) -> Tensor:
    """Return the PSNR of the reconstructions of rows, dB, ``[B]``."""
    mean = model.likelihood.mean(model.output(model.family.mode(eta)))
    error = (mean.clamp(0, 1) * 255).round() / 255 - x
    return -10 * error.square().mean(1).clamp_min(255**-2 / x.shape[1]).log10()


def _score_exactly(
    model: DiscreteVAE, x: Tensor, eta: Tensor, sizes: Sequence[int], generator: torch.Generator
) -> Tensor:
    """Return (E_q ln p(x|z), KL, S-sample bounds, ln p(x)); only bounds are drawn: ``[·, B]``."""
    table = model.log_likelihood(x).table()
    log_q = model.family.log_prob_table(eta)
    log_prior = model.prior.log_prob_table()
    q = log_q.exp()
    kl = kl_of(model, eta, q @ log_prior)
    drawn = torch.multinomial(q, sizes[-1], replacement=True, generator=generator)
    log_weight = (table + log_prior - log_q).gather(1, drawn).T
    log_px = torch.logsumexp(table + log_prior, 1)
    return torch.stack(((q * table).sum(1), kl, *_bounds(log_weight, sizes), log_px))


def _score_by_sampling(
    model: DiscreteVAE, x: Tensor, eta: Tensor, sizes: Sequence[int], *generators: torch.Generator
) -> Tensor:
    """Return (E_q ln p(x|z), KL, S-sample bounds), ``[·, B]``; pieces of S stay in the cache."""
    f = model.log_likelihood(x)
    total, of_prior = torch.zeros(len(x), device=x.device), torch.zeros(len(x), device=x.device)
    log_weights = []
    # of a code that is certain, as a VQ-VAE's is, all draws are alike
    n_draws = sizes[-1] if bool(model.family.entropy(eta).any()) else 1
    piece = max(1, DECODER_ROWS // LEAST_ROWS)  # whatever len(x) is, or draws would depend on it
    for start in range(0, n_draws, piece):
        z, log_prior = _draw(model, eta, min(piece, n_draws - start), generators)
        fz = f(z)
        log_weights.append(fz + log_prior - model.family.log_prob(eta, z))
        total += fz.sum(0)
        of_prior += log_prior.sum(0)
    kl = kl_of(model, eta, of_prior / n_draws)
    log_weight = torch.cat(log_weights).expand(sizes[-1], -1)
    return torch.stack((total / n_draws, kl, *_bounds(log_weight, sizes)))


def _draw(
    model: DiscreteVAE, eta: Tensor, n_samples: int, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """Return z ``[S, B, ·]`` and ln p(z) ``[S, B]``; each generator draws for some rows."""
    parts, shares = [], eta.chunk(len(generators))
    for part, generator in zip(shares, generators, strict=True):
        z = model.family.sample(part, n_samples, generator=generator)
        parts.append((z, model.prior.log_prob(z)))
    codes, log_prior = zip(*parts, strict=True)
    return torch.cat(codes, 1), torch.cat(log_prior, 1)


def kl_of(model: DiscreteVAE, eta: Tensor, expected_log_prior: Tensor) -> Tensor:
    """Return KL(q ‖ p), ``[B]``: closed, or −H(q) − E_q ln p(z) with the latter given."""
    if model.prior.has_closed_kl:
        return model.prior.kl(eta)
    return -model.family.entropy(eta) - expected_log_prior


def _bounds(log_weight: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """ln 1/s Σ w over groups of s of the S draws, their mean for every s: ``[S, B]`` to ``[B]``."""
    return [
        (log_weight.unflatten(0, (-1, s)).logsumexp(1) - math.log(s)).mean(0)  # type: ignore[no-untyped-call]
        for s in sizes
    ]


def _in_bits(nats: Measured, n_features: int) -> Measured:
    se = None if nats.se is None else -bits_per_dimension(nats.se, n_features)
    return Measured(bits_per_dimension(nats.value, n_features), se)
