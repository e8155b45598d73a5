"""Tests that every gradient estimator passes, to be called on one's own too.

The truth comes from enumeration in double precision. One call of the estimator on N copies of the
same row, each with decoder parameters of its own, gives N independent gradients at once; their
mean is compared with the truth by a z-test whose false-alarm rate is stated, and which also says
how small a bias it would have seen.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from discretevae.errors import DiscreteVAEError
from discretevae.estimators.base import Estimator, Integrand, require_estimator
from discretevae.families import Bernoulli, Categorical, Family

FALSE_ALARM = 1e-5
"""Probability that one z-test rejects an estimator that is right, over all coordinates together."""

POWER = 0.99
"""Probability with which a bias of the stated size is seen."""

SEED = 16
"""Of the toy problems: one whose gradients are large enough that small biases are seen."""

FAMILIES: tuple[Family, ...] = (Bernoulli(1), Bernoulli(3), Categorical(1, 3), Categorical(2, 3))


class ContractError(DiscreteVAEError, AssertionError):
    """An estimator breaks the contract; the message lists how."""


class ToyIntegrand:
    """f(z) = 2 Σ_h v_h tanh(w_h·z + c_h) − 1 with parameters of its own for every row.

    It stands for a decoder: small enough to enumerate, curved enough that estimators which are
    exact for linear f are put to the test, and smooth between the codes, so that relaxations work.

    Args:
        parameters: w ``[B, H, n]`` for codes of n numbers, c ``[B, H]`` and v ``[B, H]``.
        family: whose codes are scored.
        evaluations: a one-element list that counts decoder rows per data row.
    """

    def __init__(
        self, parameters: Sequence[Tensor], family: Family, evaluations: list[int] | None = None
    ) -> None:
        self.parameters = tuple(parameters)
        self.family = family
        self.evaluations = [0] if evaluations is None else evaluations

    @classmethod
    def random(cls, family: Family, seed: int, *, hidden: int = 4) -> ToyIntegrand:
        """Return f of one row with random parameters."""
        generator = torch.Generator().manual_seed(seed)
        n = math.prod(family.z_shape)
        shapes = ((1, hidden, n), (1, hidden), (1, hidden))
        draws = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
        return cls(draws, family)

    def repeated(self, count: int) -> ToyIntegrand:
        """Return ``count`` rows with the parameters of the first, leaves that require gradients."""
        copies = (p[:1].repeat(count, *[1] * (p.ndim - 1)) for p in self.parameters)
        return ToyIntegrand([p.detach().requires_grad_() for p in copies], self.family)

    def __call__(self, z: Tensor) -> Tensor:
        """Return f: ``[S, B, *z_shape]`` to ``[S, B]``."""
        self.evaluations[0] += z.shape[0]
        return self._score(z.flatten(2))

    def table(self) -> Tensor:
        """Return f of every state, ``[B, N]``; counts as one evaluation for any batch."""
        self.evaluations[0] += 1
        states = self.family.enumerate().to(self.parameters[0]).flatten(1)
        return self._score(states.unsqueeze(1).expand(-1, len(self.parameters[0]), -1)).T

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return f and ∂f/∂z: ``[S, B]`` and ``[S, B, *z_shape]``."""
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            value = self(leaf)
            (grad,) = torch.autograd.grad(value.sum(), leaf, retain_graph=True)
        return value, grad

    def frozen(self) -> ToyIntegrand:
        """Return the same f with detached parameters and the same count."""
        return ToyIntegrand([p.detach() for p in self.parameters], self.family, self.evaluations)

    def _score(self, z: Tensor) -> Tensor:
        weight, bias, scale = self.parameters
        inner = torch.einsum("bhn,sbn->sbh", weight, z) + bias
        return 2 * (scale * torch.tanh(inner)).sum(-1) - 1


@dataclass(frozen=True, eq=False)
class Gradients:
    """E_q f, ``[R]``, and its gradients with respect to η and the decoder, or estimates of them."""

    value: Tensor
    eta: Tensor
    decoder: Tensor

    def blocks(self) -> dict[str, Tensor]:
        """Return the three by name, each ``[R, m]``."""
        return {"value": self.value.unsqueeze(1), "eta": self.eta, "decoder": self.decoder}


@dataclass(frozen=True)
class ZTest:
    """The outcome of a z-test over many coordinates.

    Args:
        z: the largest abs(mean − truth) / standard error.
        threshold: above which the estimator is rejected, for the stated false-alarm rate over all
            coordinates together (Bonferroni).
        detectable: the bias that would have been seen with the stated power in the noisiest
            coordinate, relative to the largest true coordinate.
    """

    z: float
    threshold: float
    detectable: float

    @property
    def passed(self) -> bool:
        """True if no bias was seen."""
        return self.z <= self.threshold


def exact_gradients(family: Family, eta: Tensor, f: ToyIntegrand) -> Gradients:
    """Return the truth by enumeration, for one row: ``eta`` ``[*eta_shape]``."""
    eta = eta.detach().unsqueeze(0).requires_grad_()
    f = f.repeated(1)
    states = family.enumerate().to(eta)
    # by log_prob, not by log_prob_table, which `Exact` uses
    q = family.log_prob(eta, states.unsqueeze(1)).exp()
    value = (q.T * f.table()).sum(1)
    grads = torch.autograd.grad(value.sum(), (eta, *f.parameters))
    return _collected(value, grads)


def estimated_gradients(
    estimator: Estimator,
    family: Family,
    eta: Tensor,
    f: ToyIntegrand,
    *,
    replicates: int,
    generator: torch.Generator,
) -> Gradients:
    """Return ``replicates`` independent estimates of the gradients of one row."""
    etas = eta.detach().unsqueeze(0).repeat(replicates, *[1] * eta.ndim).requires_grad_()
    rows = f.repeated(replicates)
    estimate = estimator(family, etas, rows, generator=generator)
    grads = torch.autograd.grad(
        estimate.surrogate.sum(), (etas, *rows.parameters), materialize_grads=True
    )
    return _collected(estimate.value, grads)


def z_test(samples: Tensor, truth: Tensor, *, false_alarm: float = FALSE_ALARM) -> ZTest:
    """Compare the mean of ``samples`` ``[R, m]`` with ``truth`` ``[1, m]``, each coordinate."""
    n, m = samples.shape
    normal = NormalDist()
    threshold = normal.inv_cdf(1 - false_alarm / (2 * m))
    error = samples.std(0) / math.sqrt(n)
    # a coordinate that never varies must be right to rounding
    floor = 1e-9 * (1 + truth.abs().max())
    z = ((samples.mean(0) - truth[0]).abs() / error.clamp_min(floor)).max()
    seen = (threshold + normal.inv_cdf(POWER)) * error.max()
    return ZTest(z.item(), threshold, (seen / truth.abs().max()).item())


@dataclass(frozen=True)
class Finding:
    """One check on one family.

    Args:
        family: on which.
        check: which.
        passed: whether it held.
        detail: the figures.
        detectable: of a z-test, the bias that it would have seen, as in `ZTest`; else None.
    """

    family: Family
    check: str
    passed: bool
    detail: str
    detectable: float | None = None


def check_estimator_contract(
    estimator: Estimator,
    *,
    families: Sequence[Family] = FAMILIES,
    replicates: int = 40_000,
    seed: int = SEED,
) -> list[Finding]:
    """Check what an estimator declares, on every discrete family that it can handle.

    Checked: the surrogate equals the value to the bit and both are ``[B]``; the same generator
    state gives the same result and the global random state is not touched; declared evaluations
    equal counted ones; saturated logits (±40) stay finite; and an estimator that says it is
    unbiased passes the z-test of its value and both gradients against enumeration, with a
    false-alarm rate of 1e-5 per family.

    Args:
        estimator: the estimator; it is copied, so that what it learns meanwhile is not kept.
        families: to check it on; those of a kind that it cannot handle are left out.
        replicates: N, independent gradients for the z-test; more see a smaller bias.
        seed: of every random draw.

    Returns:
        One `Finding` per check and family, all passed.

    Raises:
        ContractError: one or several checks failed; the message lists them.

    Example:
        >>> from discretevae.estimators.importance import Importance
        >>> findings = check_estimator_contract(Importance(samples=2), replicates=2_000)
        >>> all(finding.passed for finding in findings)
        True
    """
    require_estimator(estimator)
    findings: list[Finding] = []
    for family in families:
        if family.spec.kind in estimator.kinds:
            findings += _check_family(estimator, family, replicates, seed)
    if not findings:
        raise ContractError(f"none of the families is of a kind in {estimator.kinds}.")
    failed = [finding for finding in findings if not finding.passed]
    if failed:
        raise ContractError(
            "; ".join(
                f"{finding.check} on {finding.family.spec}: {finding.detail}" for finding in failed
            )
        )
    return findings


def random_eta(family: Family, seed: int) -> Tensor:
    """Return natural parameters of a row that is neither flat nor saturated, ``[*eta_shape]``."""
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(family.eta_shape, generator=generator, dtype=torch.float64)


def _check_family(
    estimator: Estimator, family: Family, replicates: int, seed: int
) -> list[Finding]:
    findings = _check_calls(estimator, family, seed)
    if estimator.is_unbiased:
        f, eta = ToyIntegrand.random(family, seed), random_eta(family, seed)
        generator = torch.Generator().manual_seed(seed)
        found = estimated_gradients(
            copy.deepcopy(estimator), family, eta, f, replicates=replicates, generator=generator
        )
        truth = exact_gradients(family, eta, f).blocks()
        for name, samples in found.blocks().items():
            test = z_test(samples, truth[name], false_alarm=FALSE_ALARM / len(truth))
            detail = f"z {test.z:.2f}, threshold {test.threshold:.2f}, sees {test.detectable:.3f}"
            finding = Finding(family, f"unbiased {name}", test.passed, detail, test.detectable)
            findings.append(finding)
    return findings


def _check_calls(estimator: Estimator, family: Family, seed: int) -> list[Finding]:
    f, eta = ToyIntegrand.random(family, seed), random_eta(family, seed)

    def call(rows: ToyIntegrand, eta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        etas = eta.repeat(5, *[1] * eta.ndim).requires_grad_()
        generator = torch.Generator().manual_seed(seed)
        estimate = copy.deepcopy(estimator)(family, etas, rows, generator=generator)
        (grad,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
        return estimate.value, estimate.surrogate.detach(), grad

    before, rows = torch.random.get_rng_state(), f.repeated(5)
    first, second = call(rows, eta), call(f.repeated(5), eta)
    value, surrogate, _ = first
    same = all(map(torch.equal, first, second))
    untouched = torch.equal(before, torch.random.get_rng_state())
    counted, declared = rows.evaluations[0], estimator.evaluations_for(family)
    saturated = call(f.repeated(5), 40 * torch.where(eta > 0, 1.0, -1.0).to(eta))
    finite = all(bool(tensor.isfinite().all()) for tensor in saturated)
    shapes = value.shape == surrogate.shape == (5,)
    checks = (
        ("shape", shapes, f"value {list(value.shape)}, expected [5]"),
        ("surrogate equals value", torch.equal(value, surrogate), "they differ"),
        ("same generator state, same result", same, "results differ"),
        ("global random state untouched", untouched, "it was drawn from"),
        ("declared evaluations", counted == declared, f"{declared} declared, {counted} counted"),
        ("saturated logits stay finite", finite, "NaN or infinite at ±40"),
    )
    return [Finding(family, *check) for check in checks]


def _collected(value: Tensor, grads: Sequence[Tensor]) -> Gradients:
    rows = len(value)
    eta, *decoder = (grad.detach().reshape(rows, -1) for grad in grads)
    return Gradients(value.detach(), eta, torch.cat(decoder, 1))


_: type[Integrand] = ToyIntegrand  # the toy follows the protocol
