"""Baselines: replayed by hand, unbiased whatever the baseline says, bugs rejected."""

import copy
from dataclasses import dataclass

import pytest
import torch

from discretevae.estimators.base import Estimate, with_gradient_of
from discretevae.estimators.contract import (
    SEED,
    ContractError,
    ToyIntegrand,
    check_estimator_contract,
    estimated_gradients,
    random_eta,
)
from discretevae.estimators.importance import Importance
from discretevae.estimators.score import EMA, NVIL, RLOO
from discretevae.families import Bernoulli, Categorical


class Constant:
    def __call__(self, z):
        return torch.full(z.shape[:2], -7.0, dtype=z.dtype) + 0 * z.flatten(2).sum(-1)


@pytest.mark.parametrize("samples", [2, 3, 6])
def test_contract_of_leave_one_out(samples):
    check_estimator_contract(RLOO(samples=samples), replicates=48_000 // samples)


@pytest.mark.parametrize("samples", [1, 3])
def test_contract_of_learned_baselines_whatever_they_say(samples):
    check_estimator_contract(EMA(samples=samples), replicates=24_000)
    wild = EMA(samples=samples)
    wild.average.fill_(3.0)
    wild.is_warm.fill_(True)
    check_estimator_contract(wild, replicates=24_000)
    for family in (Bernoulli(3), Categorical(2, 3)):
        estimator = NVIL(samples=samples, hidden=8)
        estimator.prepare(family, torch.zeros(1, dtype=torch.float64))
        check_estimator_contract(estimator, families=[family], replicates=24_000)


def test_leave_one_out_by_hand():
    family = Categorical(2, 3)
    f, eta = ToyIntegrand.random(family, 2).repeated(4), random_eta(family, 2)
    etas = eta.repeat(4, 1, 1).requires_grad_()
    estimate = RLOO(samples=3)(family, etas, f, generator=torch.Generator().manual_seed(3))
    (found,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
    z = family.sample(etas.detach(), 3, generator=torch.Generator().manual_seed(3))
    fz, q = f(z).detach(), family.mean(etas.detach())
    by_hand = torch.zeros_like(q)
    for s in range(3):
        others = [fz[r] for r in range(3) if r != s]
        by_hand += (fz[s] - sum(others) / 2).reshape(4, 1, 1) * (z[s] - q) / 3
    assert torch.allclose(found, by_hand, atol=1e-12)


@pytest.mark.parametrize("family", [Bernoulli(3), Categorical(2, 3)], ids=repr)
def test_constant_f_has_no_gradient(family):
    etas = random_eta(family, 0).repeat(4, *[1] * len(family.eta_shape)).requires_grad_()
    warm = EMA()
    warm(family, etas, Constant(), generator=torch.Generator().manual_seed(0))
    for estimator in (RLOO(), RLOO(samples=4), warm):
        estimate = estimator(family, etas, Constant(), generator=torch.Generator().manual_seed(1))
        (grad,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
        assert torch.equal(grad, torch.zeros_like(grad))


def test_running_average_by_hand_and_only_while_training():
    family, estimator = Bernoulli(2), EMA(decay=0.75)
    f, eta = ToyIntegrand.random(family, 2).repeated(4), random_eta(family, 2)
    etas = eta.repeat(4, 1)
    generator = torch.Generator().manual_seed(0)
    means = [estimator(family, etas, f, generator=generator).value.mean().item() for _ in range(3)]
    expected = 0.75 * (0.75 * means[0] + 0.25 * means[1]) + 0.25 * means[2]
    assert estimator.average.item() == pytest.approx(expected, rel=1e-6)
    estimator.eval()
    estimator(family, etas, f, generator=generator)
    assert estimator.average.item() == pytest.approx(expected, rel=1e-6)


def test_nvil_learns_to_take_variance_away_and_reaches_nothing_else():
    """f differs between two rows by 6: the network learns which is which, an average cannot."""
    family = Bernoulli(3)
    f, eta = ToyIntegrand.random(family, SEED), random_eta(family, SEED)
    etas = torch.stack((eta, -eta)).repeat(200, 1).requires_grad_()
    shift = torch.tensor([6.0, 0.0]).double().repeat(200)
    rows = f.repeated(400)

    def shifted(z):
        return rows(z) + shift

    estimator = NVIL(hidden=16)
    estimator.prepare(family, etas)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=1e-2)

    def spread(candidate):
        estimate = candidate(family, etas, shifted, generator=torch.Generator().manual_seed(7))
        (grad,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
        return grad[::2].var(0).sum() + grad[1::2].var(0).sum()

    before = spread(estimator)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        estimate = estimator(family, etas, shifted, generator=generator)
        optimizer.zero_grad()
        estimate.control_loss.backward()
        optimizer.step()
    assert etas.grad is None
    assert all(parameter.grad is None for parameter in rows.parameters)
    average = EMA()
    spread(average)
    assert spread(estimator) < 0.5 * before
    assert spread(estimator) < 0.7 * spread(average)


def test_the_surrogate_does_not_reach_the_baseline():
    family = Bernoulli(2)
    f, eta = ToyIntegrand.random(family, 2).repeated(4), random_eta(family, 2)
    estimator = NVIL(hidden=4)
    etas = eta.repeat(4, 1).requires_grad_()
    estimate = estimator(family, etas, f, generator=torch.Generator().manual_seed(0))
    estimate.surrogate.sum().backward()
    assert all(parameter.grad is None for parameter in estimator.parameters())


def test_baselines_take_variance_away():
    """With an offset of −20 on f: RLOO below a hundredth of the paper's, EMA below a tenth."""
    family = Bernoulli(3)
    f, eta = ToyIntegrand.random(family, SEED), random_eta(family, SEED)

    class Offset(ToyIntegrand):
        def __call__(self, z):
            return super().__call__(z) - 20

        def repeated(self, count):
            return Offset(super().repeated(count).parameters, self.family)

    offset = Offset(f.parameters, family)
    warm = EMA()
    warm.average.fill_(-20.0)
    warm.is_warm.fill_(True)

    def spread(estimator):
        generator = torch.Generator().manual_seed(0)
        found = estimated_gradients(
            copy.deepcopy(estimator), family, eta, offset, replicates=8_000, generator=generator
        )
        return found.eta.var(0).sum().item()

    plain = spread(Importance(samples=2))
    assert spread(RLOO(samples=2)) < plain / 20
    assert spread(warm) < plain / 10


@dataclass(frozen=True, kw_only=True)
class Broken(RLOO):
    bug: str = ""

    def __call__(self, family, eta, f, *, generator):
        z = family.sample(eta, self.samples, generator=generator)
        fz = f(z)
        value = fz.detach().mean(0)
        advantage = fz.detach() - value  # "own sample in its baseline": shrunk by (S − 1)/S
        if self.bug == "decoder gets the baseline too":
            fz = fz - fz.mean(0) * 0.5
            advantage = advantage * 2
        term = (fz + advantage * family.log_prob(eta, z)).mean(0)
        return Estimate(value, with_gradient_of(value, term))


@pytest.mark.parametrize("bug", ["own sample in its baseline", "decoder gets the baseline too"])
def test_seeded_bugs_are_rejected(bug):
    with pytest.raises(ContractError, match="unbiased"):
        check_estimator_contract(Broken(bug=bug), replicates=20_000)
