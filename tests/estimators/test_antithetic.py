"""ARM, DisARM and ARMS: integrated exactly, replayed by hand, with bugs seeded, at saturation."""

import itertools
import math

import pytest
import torch
from estimator_toys import (
    Constant,
    Distorted,
    Opaque,
    assert_is_exact,
    cells,
    detectable,
    dirichlet_pmf,
    generator,
    variance,
    wrong_sign,
)

from discretevae.estimators import antithetic
from discretevae.estimators.antithetic import (
    ARM,
    ARMS,
    DisARM,
    coupled_bits,
    one_minus_correlation,
)
from discretevae.estimators.contract import (
    ContractError,
    ToyIntegrand,
    check_estimator_contract,
    random_eta,
)
from discretevae.families import Bernoulli

MEMBERS = {
    "arm": ARM(),
    "arm 2 pairs": ARM(samples=4),
    "disarm": DisARM(),
    "disarm 3 pairs": DisARM(samples=6),
    "arms 2": ARMS(samples=2),
    "arms 3": ARMS(samples=3),
    "arms 8": ARMS(samples=8),
    "arms 2 gaussian": ARMS(samples=2, copula="gaussian"),
    "arms 4 gaussian": ARMS(samples=4, copula="gaussian"),
}


@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS)
def test_contract(estimator):
    """Unbiased for η and decoder; false-alarm rate 1e-5 per family.

    Power: a bias of 0.15 of the largest coordinate would be seen with probability 0.99.
    """
    seen = detectable(check_estimator_contract(estimator))
    assert len(seen) == 6
    assert max(seen) < 0.15


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("estimator", [ARM(), DisARM()], ids=["arm", "disarm"])
@pytest.mark.parametrize("scale", [1.0, -2.5])
def test_expectation_over_u_is_exact(monkeypatch, estimator, bits, scale):
    """One row of the batch per cell, weighed by the cell's volume."""
    family = Bernoulli(bits)
    f, eta = ToyIntegrand.random(family, 3), scale * random_eta(family, 3)
    u, volume = cells(torch.sigmoid(eta).tolist())
    monkeypatch.setattr(torch, "rand", lambda *_, **__: u.unsqueeze(0))
    assert_is_exact(estimator, family, eta, f, volume)


@pytest.mark.parametrize(("bits", "n"), [(1, 2), (1, 3), (1, 5), (2, 2), (2, 3)])
@pytest.mark.parametrize("scale", [1.0, 0.3, -2.5])
def test_expectation_of_arms_is_exact(monkeypatch, bits, n, scale):
    """Every joint outcome of the coupled bits is one row, weighed by its probability."""
    family = Bernoulli(bits)
    f, eta = ToyIntegrand.random(family, 3), scale * random_eta(family, 3)
    pmfs = [dirichlet_pmf(p, n) for p in torch.sigmoid(eta).tolist()]
    outcomes = list(itertools.product(*pmfs))
    weight = [math.prod(p[o] for p, o in zip(pmfs, row, strict=True)) for row in outcomes]
    z = torch.tensor(outcomes, dtype=torch.float64).movedim(-1, 0)
    weight = torch.tensor(weight, dtype=torch.float64)
    assert weight.sum().item() == pytest.approx(1)
    monkeypatch.setattr(antithetic, "coupled_bits", lambda *_: z)
    assert_is_exact(ARMS(samples=n), family, eta, f, weight)


@pytest.mark.parametrize("copula", ["dirichlet", "gaussian"])
@pytest.mark.parametrize("n", [2, 3, 6])
def test_bits_have_their_marginals_and_their_correlation(copula, n):
    """40,000 draws; each frequency within 4.9 standard errors (false alarm 1e-6 each)."""
    eta = torch.tensor([-3.0, -0.7, 0.0, 0.4, 2.0], dtype=torch.float64)
    rows = 40_000
    z = coupled_bits(eta.expand(rows, 5), n, copula, generator(1))
    p = torch.sigmoid(eta)
    error = (p * (1 - p) / rows).sqrt()
    assert ((z.mean(1) - p).abs() < 4.9 * error).all()
    differ = 2 * p * (1 - p) * one_minus_correlation(eta, n, copula)
    error = (differ * (1 - differ) / rows).clamp_min(0).sqrt() + 1e-12
    for i, j in itertools.combinations(range(n), 2):
        assert (((z[i] != z[j]).double().mean(0) - differ).abs() < 4.9 * error).all()


def test_correlation_in_closed_form():
    """n = 2: −r/(1 − r); Dirichlet from the tail; Gaussian at p = ½ is 2/π asin of the normals'."""
    eta = torch.linspace(-6, 6, 13, dtype=torch.float64)
    r = torch.sigmoid(-eta.abs())
    for copula in ("dirichlet", "gaussian"):
        assert torch.allclose(1 - one_minus_correlation(eta, 2, copula), -r / (1 - r), atol=1e-14)
    for n in (3, 7):
        apart = one_minus_correlation(eta, n, "dirichlet")
        for p, found in zip(torch.sigmoid(eta).tolist(), apart, strict=True):
            pmf = dirichlet_pmf(p, n)
            both = sum(chance for outcome, chance in pmf.items() if outcome[0] and outcome[1])
            assert 1 - found.item() == pytest.approx((both - p * p) / (p * (1 - p)), abs=1e-12)
        at_half = 1 - one_minus_correlation(torch.zeros(1).double(), n, "gaussian").item()
        assert at_half == pytest.approx(2 / math.pi * math.asin(-1 / (n - 1)), abs=1e-13)


@pytest.mark.parametrize("estimator", [ARM(samples=4), DisARM(samples=4)], ids=["arm", "disarm"])
def test_pairs_by_hand(estimator):
    """The formulas, pair by pair and bit by bit, with the same uniform numbers."""
    family, rows = Bernoulli(3), 5
    f, eta = ToyIntegrand.random(family, 3).repeated(rows), random_eta(family, 3)
    etas = eta.repeat(rows, 1).requires_grad_()
    estimate = estimator(family, etas, f, generator=generator(8))
    (found,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
    u = torch.rand((2, rows, 3), dtype=torch.float64, generator=generator(8))
    by_hand, values = torch.zeros(rows, 3).double(), torch.zeros(rows).double()
    for m, b in itertools.product(range(2), range(rows)):
        z = (u[m] > torch.sigmoid(-eta)).double()
        opposite = (u[m] < torch.sigmoid(eta)).double()
        fz, f_opposite = f(z[None])[0, b].detach(), f(opposite[None])[0, b].detach()
        values[b] += (fz + f_opposite) / 4
        for d in range(3):
            if isinstance(estimator, ARM):
                by_hand[b, d] += (fz - f_opposite) * (u[m, b, d] - 0.5) / 2
            elif z[b, d] != opposite[b, d]:
                sign = (-1) ** opposite[b, d]
                by_hand[b, d] += (fz - f_opposite) * sign * torch.sigmoid(eta[d].abs()) / 4
    assert torch.allclose(found, by_hand, atol=1e-12)
    assert torch.allclose(estimate.value, values)


@pytest.mark.parametrize("copula", ["dirichlet", "gaussian"])
def test_arms_by_hand_and_as_disarm(copula):
    """All pairs of ½ (f_i − f_j)(z_i − z_j)/(1 − ρ); for two samples the factor is DisARM's."""
    family = Bernoulli(3)
    f, eta = ToyIntegrand.random(family, 3).repeated(4), random_eta(family, 3)
    etas = eta.repeat(4, 1).requires_grad_()
    for n in (2, 4):
        estimator = ARMS(samples=n, copula=copula)
        estimate = estimator(family, etas, f, generator=generator(8))
        (found,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
        z = coupled_bits(etas.detach(), n, copula, generator(8))
        fz = f(z).detach()
        factor = torch.sigmoid(eta.abs())
        if n > 2:
            factor = 1 / one_minus_correlation(eta, n, copula)
        by_hand = sum(
            0.5 * (fz[i] - fz[j]).unsqueeze(1) * (z[i] - z[j]) * factor
            for i, j in itertools.combinations(range(n), 2)
        ) / math.comb(n, 2)
        assert torch.allclose(found, by_hand, atol=1e-12)
        apart = sum((z[i] != z[j]).double() for i, j in itertools.combinations(range(n), 2))
        share = apart.mean(1) / math.comb(n, 2)
        assert torch.allclose(estimate.diagnostics["disagreement"], share)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_variance_of_disarm_is_at_most_that_of_arm(seed):
    """E[ARM | z, z̃] = DisARM: no coordinate varies more; 5 % for the noise of 20,000 draws.

    DisARM averages away Var(u | z, z̃) where the codes agree, so one coordinate gains clearly.
    """
    arm, disarm = (variance(m, Bernoulli(3), seed) for m in (ARM(), DisARM()))
    assert (disarm <= 1.05 * arm).all()
    assert (disarm < 0.9 * arm).any()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_coupling_of_four_beats_two_of_two(seed):
    """ARMS with n = 4 against two pairs of DisARM: what the coupling of all four is for."""
    arms, disarm = (variance(m(samples=4), Bernoulli(3), seed) for m in (ARMS, DisARM))
    assert arms.sum() < disarm.sum()


@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS)
def test_constant_f_leaves_exactly_nothing(estimator):
    eta = random_eta(Bernoulli(4), 0).repeat(50, 1).requires_grad_()
    estimate = estimator(Bernoulli(4), eta, Constant(), generator=generator())
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    assert torch.count_nonzero(grad) == 0
    assert torch.allclose(estimate.value, torch.tensor(-103.7, dtype=torch.float64))


@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS)
def test_f_is_never_differentiated_in_z(estimator):
    family = Bernoulli(3)
    toy = ToyIntegrand.random(family, 0).repeated(7)
    eta = random_eta(family, 0).repeat(7, 1).requires_grad_()
    estimate = estimator(family, eta, Opaque(toy.parameters, family), generator=generator())
    estimate.surrogate.sum().backward()
    assert eta.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS)
def test_saturated_logits(estimator, dtype):
    """At ±40 and far beyond every code is the mode, the gradient zero and finite."""
    sizes = torch.tensor([40.0, -40.0, 100.0, -100.0, 800.0, -800.0], dtype=dtype)
    eta = sizes.repeat(20, 1).requires_grad_()
    estimate = estimator(Bernoulli(6), eta, lambda z: z.sum(-1) + 5, generator=generator())
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    assert torch.equal(estimate.value, torch.full((20,), 8, dtype=dtype))
    assert torch.count_nonzero(grad) == 0
    for copula in ("dirichlet", "gaussian"):
        for n in (2, 3, 50):
            assert torch.allclose(one_minus_correlation(sizes, n, copula), torch.ones(6).to(dtype))


def test_disarm_without_its_factor_is_rejected():
    broken = Distorted(DisARM(), lambda eta: 1 / torch.sigmoid(eta.abs()))
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(broken)


def test_wrong_sign_for_one_bit_is_rejected():
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(Distorted(ARM(), wrong_sign))


def test_arms_that_is_not_debiased_is_rejected(monkeypatch):
    monkeypatch.setattr(antithetic, "one_minus_correlation", lambda eta, *_: torch.ones_like(eta))
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(ARMS(samples=4))
