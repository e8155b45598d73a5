"""The KL of a model taken apart: information on the row, and what a better prior would save.

    mean_n KL(q(z|x_n) ‖ p(z)) = I(n; z) + KL(q(z) ‖ p(z)),    q(z) = 1/N Σ_n q(z|x_n)
    KL(q(z) ‖ p(z)) = TC + Σ_d KL(q(z_d) ‖ p(z_d)),            TC = KL(q(z) ‖ Π_d q(z_d))

The second line holds for a factorized p. Since the D variables are independent given the row, all
follows from the KL and from how much all of z, and each z_d, tell of the row's number n:

    KL(q(z) ‖ p(z)) = KL − I(n; z)
    KL(q(z_d) ‖ p(z_d)) = KL_d − I(n; z_d)
    TC = Σ_d I(n; z_d) − I(n; z)
    H(q(z)) = I(n; z) + mean_n H(q(z|x_n))

Everything is formed in float64: what is wanted are small differences of large sums, and of 1e8
terms float32 takes more time, since most of its exponentials are denormal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from discretevae.config.checks import must
from discretevae.data import Rows
from discretevae.data.objects import RowsLike
from discretevae.errors import ConfigError, DataError
from discretevae.evaluation.bounds import DECODER_ROWS
from discretevae.evaluation.measured import Measured
from discretevae.evaluation.usage import kl_per_variable
from discretevae.families import Bernoulli, Family, Gaussian, is_enumerable, parts_with_eta
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE

BLOCK = 1 << 20
"""Numbers in the largest block of draws × rows: 8 MiB, and never less than one draw."""

SATURATION = 0.1
"""I(n; z) this near to its ceiling ln N, in nats, says more about N than about the code."""


@dataclass(frozen=True)
class KLSplit:
    """The parts of the KL over N rows, in nats; see `kl_split`.

    A standard error here tells how far the figure may lie from the exact one *of these N rows*
    because codes were drawn; it is 0 where nothing was drawn.

    Args:
        kl: mean_n KL(q(z|x_n) ‖ p(z)) = ``mutual_information`` + ``marginal_kl``. Where the prior
            gives only a bound on ln p(z) (``is_exact`` False), both KLs to it are bounds from
            above, in expectation.
        mutual_information: I(n; z), what a code tells of which row it comes from; at most ln N.
        marginal_kl: KL(q(z) ‖ p(z)), what the best of all priors would save.
        total_correlation: TC = KL(q(z) ‖ Π_d q(z_d)), how far the variables are from independent.
        per_variable: Σ_d KL(q(z_d) ‖ p(z_d)), what the best factorized prior would save; relative
            to the reference (uniform, or standard normal) where p is not factorized.
        variable_kl: its D terms.
        variable_information: I(n; z_d), what each of the D variables tells on its own.
        entropy: H(q(z)); differential where the code holds real numbers.
        max_entropy: Σ_d ln K_d, the entropy's ceiling; None where the code holds real numbers.
        has_factorized_prior: whether p is factorized, so that ``marginal_kl`` =
            ``total_correlation`` + ``per_variable``.
        rows: N.
        samples: codes drawn in all; 0 where every state was summed over.
    """

    kl: Measured
    mutual_information: Measured
    marginal_kl: Measured
    total_correlation: Measured
    per_variable: Measured
    variable_kl: tuple[float, ...]
    variable_information: tuple[float, ...]
    entropy: Measured
    max_entropy: float | None
    has_factorized_prior: bool
    rows: int
    samples: int

    @property
    def max_mutual_information(self) -> float:
        """ln N, the ceiling of I(n; z)."""
        return math.log(self.rows)

    @property
    def is_saturated(self) -> bool:
        """True if I(n; z) is within 0.1 nats of ln N: the code may tell more, N rows cannot."""
        return self.mutual_information.value > self.max_mutual_information - SATURATION

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as an object for JSON."""
        values = asdict(self)
        values["max_mutual_information"] = self.max_mutual_information
        values["is_saturated"] = self.is_saturated
        for name in ("variable_kl", "variable_information"):
            values[name] = list(values[name])
        return values


@torch.no_grad()
def kl_split(
    model: DiscreteVAE,
    rows: RowsLike,
    *,
    samples: int = 10_000,
    max_rows: int = 10_000,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> KLSplit:
    """Split the KL into mutual information, total correlation and a term per variable.

        I(n; z) = mean_n E_q(z|x_n)[ln q(z|x_n) − ln q(z)],
        ln q(z) = logsumexp_n(T(z)·η_n − A(η_n)) − ln N + ln h(z)

    A code that can be enumerated is summed over; else each row draws equally many codes, and the
    logsumexp runs over all N rows, the one that drew z included. That is exact for the empirical
    distribution of these rows, whose mutual information cannot exceed ln N. For the data that the
    rows come from it is too small on average: E I_N grows with N towards the population's
    value, which in turn is at most the mean KL to any prior that has not seen the rows.

    The I(n; z_d) of discrete variables are exact always; those of real ones use the same draws.
    A prior without a closed KL (``has_closed_kl`` False) is asked for ln p(z) of the draws.

    Time grows as draws × rows, and by as much again for each real variable. Memory is that of the
    rows' natural parameters in float64 and of a few blocks of 8 MiB.

    Args:
        model: the model.
        rows: binarized as in training; as many as ``max_rows`` of them are used. Dynamic ones are
            drawn once, from ``seed``.
        samples: codes drawn from q(z) in all: an equal number for each row, rounded up, and at
            least two, which a standard error needs.
        max_rows: the largest N; of more rows, so many are chosen at random.
        seed: of the choice of rows and of all draws.
        progress: called with the number of rows done, up to N, after every chunk.

    Raises:
        ConfigError: ``samples`` or ``max_rows`` is below 1.
        DataError: the rows do not fit the model, or are too large for its encoder.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="bernoulli:8")
        >>> split = kl_split(model, data.test)
        >>> parts = split.mutual_information.value + split.marginal_kl.value
        >>> abs(split.kl.value - parts) < 1e-12
        True
        >>> split.rows, split.samples, round(split.max_entropy, 4)      # 8 ln 2, nothing drawn
        (297, 0, 5.5452)

    Source: Hoffman & Johnson, "ELBO surgery: yet another way to carve up the variational evidence
    lower bound" (NIPS workshop on advances in approximate Bayesian inference, 2016) for the first
    line; Chen, Li, Grosse & Duvenaud, "Isolating Sources of Disentanglement in Variational
    Autoencoders" (NeurIPS 2018), eq. 2 for all parts. They estimate q(z) from minibatches; here
    it is the sum over all rows.
    """
    for name, number in (("samples", samples), ("max_rows", max_rows)):
        if number < 1:
            raise ConfigError(must(name, "an int >= 1", number))
    rows = require_fit(model, rows)
    if len(rows) > max_rows:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        rows = rows.subset(order[:max_rows].sort().values)
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)

    eta = _natural_parameters(model, rows, seed)
    if is_enumerable(model.family) and model.prior.is_exact:
        draws = _enumerated(model, eta, progress)
    else:
        draws = _drawn(model, eta, samples, generator, progress)
    return _assembled(model, eta, draws)


@dataclass(frozen=True)
class _Draws:
    """Figures of the draws, or in their place ``[1, 1]`` sums over all states.

    Args:
        information: ln q(z|x_n) − ln q(z), ``[S, N]``.
        real_information: Σ_d ln q(z_d|x_n) − ln q(z_d) over the real variables, ``[S, N]``.
        kl: ln q(z|x_n) − ln p(z), ``[S, N]``; 0 where the prior has a closed KL.
        variable_information: I(n; z_d) of the real variables, ``[D]``; 0 for all others.
        samples: how many codes were drawn.
    """

    information: Tensor
    real_information: Tensor
    kl: Tensor
    variable_information: Tensor
    samples: int


class _Mixture:
    """q(z) = 1/N Σ_n q(z|x_n) of a family, from the natural parameters of all N rows.

    Every ln q(z|x_n) is T(z)·η_n − A(η_n) + ln h(z): one matrix product for all draws and rows.
    What is wanted is a difference, in which ln h(z) cancels.
    """

    def __init__(self, family: Family, eta: Tensor) -> None:
        self.family = family
        self.weights = eta.flatten(1).T
        self.offset = -family.log_normalizer(eta)

    def information(self, z: Tensor, first: int) -> Tensor:
        """Return ln q(z|x_n) − ln q(z), never above ln N, since q(z) ≥ q(z|x_n) / N; ``[S, B]``.

        Args:
            z: draws from the posteriors of B rows in succession, ``[S, B, *z_shape]``.
            first: the number of the first of these rows.
        """
        statistics = self.family.sufficient_statistics(z)
        lead = statistics.shape[:2]
        block = torch.addmm(self.offset, statistics.reshape(lead.numel(), -1), self.weights)
        row = torch.arange(first, first + lead[1], device=z.device).expand(lead)
        own = block.gather(1, row.reshape(-1, 1))
        top = block.amax(1, keepdim=True)
        # in place: torch.logsumexp would make two more blocks
        total = block.sub_(top).exp_().sum(1, keepdim=True).log_().add_(top)
        return (own - total).reshape(lead) + math.log(len(self.offset))


def _enumerated(
    model: DiscreteVAE, eta: Tensor, progress: Callable[[int], object] | None
) -> _Draws:
    """Sum over every state in place of draws, from natural parameters ``[N, *eta_shape]``."""
    family, done = model.family, 0
    q = torch.zeros((), dtype=eta.dtype, device=eta.device)
    for part in torch.split(eta, max(1, BLOCK // (family.n_states or 1))):
        q = q + family.log_prob_table(part).exp().sum(0) / len(eta)
        done += len(part)
        if progress is not None:
            progress(done)
    row_entropy = family.entropy(eta).mean()
    information = torch.special.entr(q).sum() - row_entropy
    kl = torch.zeros_like(information)
    if not model.prior.has_closed_kl:
        kl = -row_entropy - q @ model.prior.log_prob_table().to(q)
    none = q.new_zeros(family.n_variables)
    return _Draws(information.reshape(1, 1), q.new_zeros(1, 1), kl.reshape(1, 1), none, 0)


def _drawn(
    model: DiscreteVAE,
    eta: Tensor,
    samples: int,
    generator: torch.Generator,
    progress: Callable[[int], object] | None,
) -> _Draws:
    """Draw equally often for each row of ``eta``, ``[N, *eta_shape]``, block by block."""
    family, prior = model.family, model.prior
    rows = len(eta)
    per_row = max(2, math.ceil(samples / rows))
    whole = _Mixture(family, eta)
    singles = _real_variables(family, eta)
    terms = eta.new_zeros(3, per_row, rows)
    variables = eta.new_zeros(family.n_variables)
    dtype = next(model.parameters()).dtype
    # a learned prior sees one block as one batch, so that no block is larger than the decoder's
    draws = min(DECODER_ROWS, max(1, BLOCK // max(rows, len(whole.weights))))
    width = max(1, draws // per_row)
    for start in range(0, rows, width):
        part = slice(start, min(start + width, rows))
        step = max(1, draws // (part.stop - start))
        for first in range(0, per_row, step):
            z = family.sample(eta[part], min(step, per_row - first), generator=generator)
            out = terms[:, first : first + step, part]
            out[0] = whole.information(z, start)
            for d, column, mixture in singles:
                one = mixture.information(z.flatten(2)[..., [column]], start)
                variables[d] += one.sum() / (per_row * rows)
                out[1] += one
            if not prior.has_closed_kl:
                log_p = prior.log_prob(z.to(dtype), generator=generator).to(eta)
                out[2] = family.log_prob(eta[part], z) - log_p
        if progress is not None:
            progress(part.stop)
    return _Draws(terms[0], terms[1], terms[2], variables, per_row * rows)


def _real_variables(family: Family, eta: Tensor) -> list[tuple[int, int, _Mixture]]:
    """Return of each real variable its number, its column in a flat z, and its mixture."""
    found = []
    variable = column = 0
    for part, part_eta in parts_with_eta(family, eta):
        if isinstance(part, Gaussian):
            for d in range(part.n_variables):
                one = _Mixture(Gaussian(1), part_eta[:, d : d + 1])
                found.append((variable + d, column + d, one))
        variable += part.n_variables
        column += math.prod(part.z_shape)
    return found


def _assembled(model: DiscreteVAE, eta: Tensor, draws: _Draws) -> KLSplit:
    family, prior = model.family, model.prior
    discrete = _discrete_information(family, eta)
    variable_kl = kl_per_variable(model, eta).mean(0)
    information = discrete + draws.variable_information
    kl = variable_kl.sum().item() if prior.has_closed_kl else 0.0
    known = discrete.sum().item()
    return KLSplit(
        kl=_measured(kl, draws.kl),
        mutual_information=_measured(0.0, draws.information),
        marginal_kl=_measured(kl, draws.kl - draws.information),
        total_correlation=_measured(known, draws.real_information - draws.information),
        per_variable=_measured(variable_kl.sum().item() - known, -draws.real_information),
        variable_kl=tuple((variable_kl - information).tolist()),
        variable_information=tuple(information.tolist()),
        entropy=_measured(family.entropy(eta).mean().item(), draws.information),
        max_entropy=None if family.n_states is None else math.log(family.n_states),
        has_factorized_prior=prior.has_closed_kl,
        rows=len(eta),
        samples=draws.samples,
    )


def _measured(known: float, drawn: Tensor) -> Measured:
    """Return ``known`` plus the mean of the draws, ``[S, N]``.

    Every row has drawn S times, so the mean varies by what the draws of one row vary:
    se² = 1/N² Σ_n var_s / S.
    """
    samples, rows = drawn.shape
    se = 0.0
    if samples > 1:
        se = math.sqrt(drawn.var(0).sum().item() / samples) / rows
    return Measured(known + drawn.mean().item(), se)


def _natural_parameters(model: DiscreteVAE, rows: Rows, seed: int) -> Tensor:
    """Return η of all rows, float64 ``[N, *eta_shape]``."""
    shape = model.family.eta_shape
    step = min(DECODER_ROWS, max(1, BLOCK // math.prod(shape)))
    etas = [model.eta(x.to(model.device)) for x in rows.chunks(step, seed=seed)]
    eta = torch.cat(etas).double()
    bad = int((~eta.flatten(1).isfinite()).any(1).sum())
    if bad:
        raise DataError(
            f"{rows.name}: the encoder's outputs for {bad:,} of {len(eta):,} rows are beyond "
            "float32. Rescale their values."
        )
    return eta


def _discrete_information(family: Family, eta: Tensor) -> Tensor:
    """Return I(n; z_d) = H(q(z_d)) − mean_n H(q(z_d|x_n)), ``[D]``; 0 for real variables."""
    found = []
    for part, own in parts_with_eta(family, eta):
        if isinstance(part, Gaussian):
            found.append(eta.new_zeros(part.n_variables))
            continue
        q = part.mean(own)  # [N, D, K], of bits [N, D]
        if isinstance(part, Bernoulli):
            q = torch.stack((torch.sigmoid(-own), q), -1)
        found.append(torch.special.entr(q.mean(0)).sum(-1) - torch.special.entr(q).sum(-1).mean(0))
    return torch.cat(found)
