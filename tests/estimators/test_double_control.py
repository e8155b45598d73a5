"""Double control variates: unbiased to rounding by enumeration of all tuples of samples."""

from __future__ import annotations

import itertools

import pytest
import torch

from discretevae.config import ModelConfig
from discretevae.estimators import Importance, double_control as module
from discretevae.estimators.contract import (
    ContractError,
    ToyIntegrand,
    check_estimator_contract,
    estimated_gradients,
    exact_gradients,
    random_eta,
)
from discretevae.estimators.double_control import RODEO, DoubleCV
from discretevae.families import Bernoulli
from discretevae.model.vae import DiscreteVAE


def scrambled(estimator, seed=0):
    """The estimator with random parameters: unbiasedness must not depend on what is learned."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return estimator


def estimators():
    return [
        DoubleCV(),
        DoubleCV(samples=4, scale=0.0),
        scrambled(DoubleCV(samples=3)),
        RODEO(),
        scrambled(RODEO()),
        scrambled(RODEO(samples=3, hidden=5), seed=1),
    ]


class AllTuples(Bernoulli):
    """Every row of the batch is given one of the N^S tuples of samples."""

    def sample(self, eta, n_samples, *, generator):
        states = self.enumerate().to(eta)
        return torch.stack([states[list(t)] for t in self.tuples(n_samples)], 1)

    def tuples(self, n_samples):
        return list(itertools.product(range(self.n_states), repeat=n_samples))


def expected_gradients(estimator, family, eta, f):
    """Σ over all tuples of samples of Π q(z_s) ĝ(z_1 … z_S), exactly."""
    rows = len(family.tuples(estimator.samples))
    etas = eta.expand(rows, -1).clone().requires_grad_()
    copies = f.repeated(rows)
    estimate = estimator(family, etas, copies, generator=None)
    leaves = (etas, *copies.parameters)
    z = family.sample(eta, estimator.samples, generator=None)
    weight = family.log_prob(eta, z).sum(0).exp()
    grads = torch.autograd.grad((weight * estimate.surrogate).sum(), leaves)
    return (weight * estimate.value).sum(), *(g.sum(0).flatten() for g in grads)


def toy(bits=6, seed=0):
    family = Bernoulli(bits)
    return family, ToyIntegrand.random(family, seed, hidden=8), random_eta(family, seed)


def variance(estimator, family, f, eta, replicates=10_000):
    generator = torch.Generator().manual_seed(1)
    found = estimated_gradients(
        estimator, family, eta, f, replicates=replicates, generator=generator
    )
    return found.eta.var(0).sum().item()


@pytest.mark.parametrize("estimator", estimators(), ids=repr)
def test_contract(estimator):
    check_estimator_contract(estimator, replicates=20_000)


@pytest.mark.parametrize("bits", [1, 2, 3])
@pytest.mark.parametrize("estimator", [m for m in estimators() if m.samples < 4], ids=repr)
def test_unbiased_to_rounding(estimator, bits):
    if bits == 3 and estimator.samples == 3:
        bits = 2
    family = AllTuples(bits)
    f, eta = ToyIntegrand.random(family, 4), random_eta(family, 4)
    truth = exact_gradients(family, eta, f)
    value, of_eta, *of_decoder = expected_gradients(estimator.double(), family, eta, f)
    assert torch.allclose(value, truth.value[0], atol=1e-12)
    assert torch.allclose(of_eta, truth.eta[0], atol=1e-12)
    assert torch.allclose(torch.cat(of_decoder), truth.decoder[0], atol=1e-12)


@pytest.mark.parametrize("estimator", [DoubleCV(samples=3, scale=0.0), RODEO(samples=3)], ids=repr)
def test_without_control_variates_it_is_leave_one_out(estimator):
    family, f, eta = toy()
    etas, rows = eta.repeat(5, 1).requires_grad_(), f.repeated(5)
    found = estimator(family, etas, rows, generator=torch.Generator().manual_seed(2))
    z = family.sample(etas, 3, generator=torch.Generator().manual_seed(2))
    fz = rows(z).detach()
    others = (fz.sum(0) - fz) / 2
    hand = ((fz - others).unsqueeze(-1) * (z - torch.sigmoid(etas))).mean(0)
    (grad,) = torch.autograd.grad(found.surrogate.sum(), etas)
    assert torch.allclose(grad, hand)


def test_double_cv_by_hand():
    family, f, eta = toy(bits=3)
    etas, rows = eta.repeat(5, 1).requires_grad_(), f.repeated(5)
    found = DoubleCV(samples=3, scale=0.5)(
        family, etas, rows, generator=torch.Generator().manual_seed(2)
    )
    z = family.sample(etas, 3, generator=torch.Generator().manual_seed(2))
    fz, slope = rows.value_and_grad(z)
    q = torch.sigmoid(etas)
    hand = torch.zeros_like(q)
    for s in range(3):
        others = [j for j in range(3) if j != s]
        c = sum(slope[j] for j in others) / 2
        corrected = fz[s] - 0.5 * (c * (z[s] - q)).sum(-1)
        baseline = sum(fz[j] - 0.5 * (c * (z[j] - q)).sum(-1) for j in others) / 2
        hand += (corrected - baseline).unsqueeze(-1) * (z[s] - q) / 3
        hand += 0.5 * c * q * (1 - q) / 3
    (grad,) = torch.autograd.grad(found.surrogate.sum(), etas)
    assert torch.allclose(grad, hand)


def test_rodeo_by_hand():
    """The Stein operator spelled out: every bit redrawn, h(y)(y − q) as a vector."""
    family, f, eta = toy(bits=3)
    estimator = scrambled(RODEO(samples=3)).double()
    leaf, rows = eta.unsqueeze(0).requires_grad_(), f.repeated(1)
    found = estimator(family, leaf, rows, generator=torch.Generator().manual_seed(2))
    z = family.sample(leaf, 3, generator=torch.Generator().manual_seed(2))[:, 0]
    fz, slope = rows.value_and_grad(z.unsqueeze(1))
    fz, slope, q = fz[:, 0].detach(), slope[:, 0], torch.sigmoid(eta)

    def pair(j, y):
        return estimator._h(fz[j], (slope[j] * (y - z[j])).sum())

    def stein(h, y):
        total = 0
        for d in range(3):
            on, off = y.clone(), y.clone()
            on[d], off[d] = 1.0, 0.0
            total = total + q[d] * h(on) + (1 - q[d]) * h(off) - h(y)
        return total

    hand = torch.zeros_like(q)
    for s in range(3):
        others = [j for j in range(3) if j != s]
        baseline = sum(fz[j] + stein(lambda y, j=j: pair(j, y)[0], z[j]) for j in others) / 2

        def local(y, others=others):
            return sum(pair(j, y)[1] for j in others) / 2 * (y - q)

        hand += ((fz[s] - baseline) * (z[s] - q) + stein(local, z[s])).detach() / 3
    (grad,) = torch.autograd.grad(found.surrogate.sum(), leaf)
    assert torch.allclose(grad[0], hand)


@pytest.mark.parametrize("samples", [2, 5])
def test_double_cv_is_exact_for_linear_f(samples):
    weight = torch.tensor([3.0, -2.0, 0.5], dtype=torch.float64)

    class Linear:
        def value_and_grad(self, z):
            return z @ weight - 7, weight.expand_as(z)

    eta = random_eta(Bernoulli(3), 0).repeat(10, 1).requires_grad_()
    estimator = DoubleCV(samples=samples, scale=1.0)
    estimate = estimator(Bernoulli(3), eta, Linear(), generator=torch.Generator().manual_seed(0))
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    q = torch.sigmoid(eta)
    assert torch.allclose(grad, weight * q * (1 - q))


@pytest.mark.parametrize("estimator", estimators(), ids=repr)
def test_control_loss_trains_the_estimator_alone(estimator):
    config = ModelConfig(n_features=6, latent="bernoulli:5", hidden=(8,))
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    x = torch.rand(7, 6, generator=torch.Generator().manual_seed(1))
    eta = model.eta(x)
    generator = torch.Generator().manual_seed(0)
    estimate = estimator(model.family, eta, model.log_likelihood(x), generator=generator)
    (g,) = torch.autograd.grad(estimate.surrogate.sum(), eta, retain_graph=True)
    assert torch.allclose(estimate.control_loss, g.square().sum(1).mean(), rtol=1e-4)
    own = list(estimator.parameters())
    none = torch.autograd.grad(estimate.surrogate.sum(), own, allow_unused=True, retain_graph=True)
    assert all(g is None for g in none)
    leaves = [eta, *model.parameters()]
    none = torch.autograd.grad(estimate.control_loss, leaves, allow_unused=True, retain_graph=True)
    assert all(g is None for g in none)
    estimate.control_loss.backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in own)


def test_control_loss_gradient_by_finite_differences():
    family, f, eta = toy(bits=3)
    etas, rows = eta.repeat(5, 1), f.repeated(5)
    for estimator in (DoubleCV().double(), scrambled(RODEO(hidden=3)).double()):

        def loss(estimator=estimator):
            return estimator(
                family, etas, rows, generator=torch.Generator().manual_seed(2)
            ).control_loss

        found = torch.autograd.grad(loss(), list(estimator.parameters()))
        for parameter, grad in zip(estimator.parameters(), found, strict=True):
            flat = parameter.data.flatten()
            step = torch.zeros_like(flat)
            step[0] = 1e-5
            centre = parameter.data.clone()
            parameter.data = (flat + step).reshape(centre.shape)
            up = loss().item()
            parameter.data = (flat - step).reshape(centre.shape)
            down = loss().item()
            parameter.data = centre
            assert (up - down) / 2e-5 == pytest.approx(grad.flatten()[0].item(), rel=1e-4)


@pytest.mark.parametrize(
    ("estimator", "least"), [(DoubleCV(scale=0.0), 0.9), (RODEO(), 0.6)], ids=["double-cv", "rodeo"]
)
def test_training_reduces_the_variance(estimator, least):
    """Measured: 0.80 and 0.41 of leave-one-out with as many samples."""
    family, f, eta = toy()
    before = variance(estimator, family, f, eta)
    etas, rows = eta.repeat(64, 1), f.repeated(64)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(3)
    for _ in range(150):
        optimizer.zero_grad()
        estimator(family, etas, rows, generator=generator).control_loss.backward()
        optimizer.step()
    after = variance(estimator, family, f, eta)
    assert after < least * before
    assert after < least * variance(Importance(samples=2), family, f, eta)


@pytest.mark.parametrize("estimator", [DoubleCV(), RODEO()], ids=repr)
def test_one_decoder_pass(estimator, passes):
    config = ModelConfig(n_features=6, latent="bernoulli:5", hidden=(8,))
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    x = torch.rand(7, 6, generator=torch.Generator().manual_seed(1))
    eta = model.eta(x).detach().requires_grad_()
    calls = passes(model.decoder)
    generator = torch.Generator().manual_seed(0)
    estimate = estimator(model.family, eta, model.log_likelihood(x), generator=generator)
    (estimate.surrogate.mean() + estimate.control_loss).backward()
    assert calls == {"forward": 1, "backward": 1}
    z = model.family.sample(eta, 2, generator=torch.Generator().manual_seed(0))
    plain = torch.autograd.grad(model.log_likelihood(x)(z).mean(), list(model.decoder.parameters()))
    for parameter, grad in zip(model.decoder.parameters(), plain, strict=True):
        assert torch.allclose(parameter.grad, grad, atol=1e-5)


def test_own_slope_in_the_local_variate_is_rejected(monkeypatch):
    """c_s must not know z_s: with the mean over all samples the correction is no longer right."""
    monkeypatch.setattr(module, "_mean_of_others", lambda a: a.mean(0).expand_as(a))
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(DoubleCV(scale=1.0), replicates=20_000)


def test_own_surrogate_in_rodeo_is_rejected(monkeypatch):
    monkeypatch.setattr(module, "_mean_over_others", lambda pairs: pairs.mean(1))
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(scrambled(RODEO()), replicates=20_000)


def test_first_weights_follow_from_the_seed_alone():
    before = torch.random.get_rng_state()
    assert torch.equal(RODEO(seed=3).weight, RODEO(seed=3).weight)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(RODEO(seed=3).weight, RODEO(seed=4).weight)
