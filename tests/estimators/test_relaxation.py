"""Relaxations: exact expectations over all codes, replays by hand, limits, and visible bias."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from discretevae.config import ModelConfig
from discretevae.errors import ConfigError
from discretevae.estimators import make_estimator
from discretevae.estimators.base import Estimate, with_gradient_of
from discretevae.estimators.contract import (
    ContractError,
    ToyIntegrand,
    check_estimator_contract,
    estimated_gradients,
    exact_gradients,
    random_eta,
    z_test,
)
from discretevae.estimators.gumbel import conditional_logits, standard_noise
from discretevae.estimators.reinmax import ReinMax, ReinMaxCV, ReinMaxRao
from discretevae.estimators.relaxation import (
    GappedST,
    GumbelRao,
    GumbelSoftmax,
    STGumbel,
    StraightThrough,
)
from discretevae.families import Bernoulli, Categorical
from discretevae.model.vae import DiscreteVAE

HARD = [
    StraightThrough(),
    StraightThrough(samples=3),
    STGumbel(tau=0.5),
    GumbelRao(tau=0.5, resamples=5),
    GumbelRao(samples=2, tau=1.0, resamples=1),
    GappedST(),
    GappedST(samples=2, tau=0.7, gap=0.0),
    ReinMax(),
    ReinMax(samples=2, tau=1.3),
    ReinMaxRao(tau=0.7, resamples=5),
    ReinMaxRao(samples=2),
    ReinMaxCV(),
    ReinMaxCV(samples=3, scale=1.0),
]
ALL = [*HARD, GumbelSoftmax(), GumbelSoftmax(samples=3, tau=0.3)]
FAMILIES = [Bernoulli(3), Categorical(2, 3)]


class AllBits(Bernoulli):
    """Row n of the batch is given state n, so that expectations are finite sums."""

    def sample(self, eta, n_samples, *, generator):
        return self.enumerate().to(eta).unsqueeze(0)


class AllCategories(Categorical):
    sample = AllBits.sample


class Quadratic:
    """f(z) = ½ zᵀAz + b·z with parameters shared by all rows."""

    def __init__(self, family, seed=0):
        n = torch.Size(family.z_shape).numel()
        generator = torch.Generator().manual_seed(seed)
        a = torch.randn(n, n, generator=generator, dtype=torch.float64)
        self.a, self.b = a + a.T, torch.randn(n, generator=generator, dtype=torch.float64)

    def __call__(self, z):
        z = z.flatten(2)
        return 0.5 * ((z @ self.a) * z).sum(-1) + z @ self.b

    def value_and_grad(self, z):
        return self(z), (z.flatten(2) @ self.a + self.b).reshape(z.shape)


def expected_gradient(estimator, family, eta, f):
    """Σ_z q(z) ĝ(z), exactly; ``family`` hands every state to a row of its own."""
    states = family.enumerate().to(eta)
    etas = eta.expand(len(states), *eta.shape).clone().requires_grad_()
    estimate = estimator(family, etas, f, generator=torch.Generator().manual_seed(0))
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
    q = family.log_prob(eta, states).exp()
    return torch.einsum("n,n...->...", q, grad)


def true_gradient(family, eta, f):
    leaf = eta.clone().requires_grad_()
    states = family.enumerate().to(eta)
    value = (family.log_prob(leaf, states).exp() * f(states.unsqueeze(1))[:, 0]).sum()
    return torch.autograd.grad(value, leaf)[0]


def toy_rows(family, seed=0):
    f = ToyIntegrand.random(family, seed)
    return f, f.repeated(family.n_states)


@pytest.mark.parametrize("estimator", ALL, ids=repr)
def test_contract(estimator):
    check_estimator_contract(estimator)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.8])
def test_one_bit_in_closed_form(q):
    family, (f, rows) = AllBits(1), toy_rows(Bernoulli(1))
    eta = torch.logit(torch.tensor([q], dtype=torch.float64))
    states = family.enumerate().to(eta).unsqueeze(1)
    _, slope = f.value_and_grad(states)
    at_0, at_1 = slope.flatten()
    straight = q * (1 - q) * (q * at_1 + (1 - q) * at_0)
    heun = q * (1 - q) * (at_0 + at_1) / 2
    assert torch.allclose(expected_gradient(StraightThrough(), family, eta, rows), straight)
    assert torch.allclose(expected_gradient(ReinMax(), family, eta, rows), heun)


@pytest.mark.parametrize("family", [AllBits(3), AllCategories(2, 3)], ids=repr)
def test_straight_through_expects_the_mean_slope(family):
    f, rows = toy_rows(family)
    eta = random_eta(family, 0)
    states = family.enumerate().to(eta)
    leaf = eta.clone().requires_grad_()
    _, slope = f.value_and_grad(states.unsqueeze(1))
    q = family.log_prob(eta, states).exp()
    mean_slope = torch.einsum("n,n...->...", q, slope[:, 0])
    (truth,) = torch.autograd.grad((mean_slope * family.mean(leaf)).sum(), leaf)
    assert torch.allclose(expected_gradient(StraightThrough(), family, eta, rows), truth)


@pytest.mark.parametrize(
    "family", [AllBits(1), AllBits(4), AllCategories(1, 5), AllCategories(3, 3)], ids=repr
)
def test_reinmax_is_exact_for_quadratics_and_straight_through_is_not(family):
    f, eta = Quadratic(family), random_eta(family, 3)
    truth = true_gradient(family, eta, f)
    assert torch.allclose(expected_gradient(ReinMax(), family, eta, f), truth, atol=1e-12)
    assert not torch.allclose(
        expected_gradient(StraightThrough(), family, eta, f), truth, rtol=0.05
    )


@pytest.mark.parametrize("family", [AllBits(2), AllCategories(1, 3)], ids=repr)
def test_straight_through_is_of_first_and_reinmax_of_second_order(family):
    """f(λz) − f(0): halving λ divides the relative errors by 2 and by 4."""

    def error(estimator, scale):
        f = ToyIntegrand.random(family, 1)
        weight, bias, out = f.parameters
        f = ToyIntegrand((scale * weight, bias, out), family)
        truth = exact_gradients(family, eta, f).eta[0]
        found = expected_gradient(estimator, family, eta, f.repeated(family.n_states)).flatten()
        return ((found - truth).norm() / truth.norm()).item()

    eta = random_eta(family, 1)
    for estimator, ratio in ((StraightThrough(), 2.0), (ReinMax(), 4.0)):
        assert error(estimator, 0.01) / error(estimator, 0.005) == pytest.approx(ratio, rel=0.1)


@pytest.mark.parametrize("estimator", [StraightThrough(), GappedST(tau=0.7, gap=0.4), ReinMax()])
@pytest.mark.parametrize("logit", [-1.3, 0.2, 2.0])
def test_a_bit_is_two_categories(estimator, logit):
    bits, (_, rows) = AllBits(1), toy_rows(Bernoulli(1))
    pair = AllCategories(1, 2)

    class OfPair:
        def value_and_grad(self, z):
            value, slope = rows.value_and_grad(z[..., 0].flip(1))  # state 0 of the pair is z = 1
            slope = slope.flip(1)
            return value.flip(1), torch.stack((slope, torch.zeros_like(slope)), -1)

    eta = torch.tensor([logit], dtype=torch.float64)
    etas = torch.tensor([[logit, 0.0]], dtype=torch.float64)
    of_bit = expected_gradient(estimator, bits, eta, rows)
    of_pair = expected_gradient(estimator, pair, etas, OfPair())
    assert torch.allclose(of_pair, torch.stack((of_bit, -of_bit), -1))


def by_hand(estimator, family, eta, f, generator):
    """Each estimator as its paper writes it, with autograd through the softened sample."""
    tau = getattr(estimator, "tau", 1.0)
    if isinstance(estimator, (GumbelSoftmax, STGumbel)):
        x = eta + standard_noise(family, eta, (estimator.samples,), generator)
        y = family.mean(x / tau)
        if isinstance(estimator, GumbelSoftmax):
            return f(y).mean(0)
        return f(y + (family.mode(x) - y).detach()).mean(0)
    z = family.sample(eta, estimator.samples, generator=generator)
    if isinstance(estimator, StraightThrough):
        y = family.mean(eta)
    elif isinstance(estimator, GumbelRao):
        noise = standard_noise(family, eta, (estimator.resamples, estimator.samples), generator)
        x = conditional_logits(family, eta, z, noise).detach() + eta - eta.detach()
        y = family.mean(x / tau).mean(0)
    elif isinstance(estimator, GappedST):
        eta_ = eta.detach()
        if family.spec.kind == "bernoulli":
            eta_ = torch.stack((eta_, torch.zeros_like(eta_)), -1)
            z_ = torch.stack((z, 1 - z), -1)
        else:
            z_ = z
        top = eta_.max(-1, keepdim=True).values
        chosen = (eta_ * z_).sum(-1, keepdim=True)
        x = eta_ + (top - chosen) * z_ - (eta_ + estimator.gap - top).clamp(min=0) * (1 - z_)
        x = x[..., 0] - x[..., 1] if family.spec.kind == "bernoulli" else x
        y = family.mean((x + eta - eta.detach()) / tau)
    else:
        p = ((family.mean(eta / (1.0 if is_rao(estimator) else tau)) + z) / 2).detach()
        p = p.logit() if family.spec.kind == "bernoulli" else p.log()
        if is_rao(estimator):
            lead = (estimator.resamples, estimator.samples)
            noise = standard_noise(family, eta, lead, generator)
            p = conditional_logits(family, p, z, noise) / tau
        of_p = family.mean(p + (eta - eta.detach()) / (tau if is_rao(estimator) else 1))
        y = 2 * (of_p.mean(0) if is_rao(estimator) else of_p) - 0.5 * family.mean(eta)
        if isinstance(estimator, ReinMaxCV):
            _, slope = f.value_and_grad(z)
            c = estimator.scale * (slope.sum(0) - slope) / (estimator.samples - 1)
            term = ((slope - c) * y + c * family.mean(eta)).flatten(2).sum(-1)
            return with_gradient_of(f(z).mean(0), f(z).mean(0) + term.mean(0))
    return f(z + y - y.detach()).mean(0)


def is_rao(estimator):
    return isinstance(estimator, ReinMaxRao)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("estimator", ALL, ids=repr)
def test_replayed_by_hand(estimator, family):
    eta = random_eta(family, 5).repeat(4, *[1] * len(family.eta_shape)).requires_grad_()
    f = ToyIntegrand.random(family, 5).repeated(4)
    found = estimator(family, eta, f, generator=torch.Generator().manual_seed(9))
    hand = by_hand(estimator, family, eta, f, torch.Generator().manual_seed(9))
    assert torch.allclose(found.value, hand)
    leaves = (eta, *f.parameters)
    ours = torch.autograd.grad(found.surrogate.sum(), leaves)
    theirs = torch.autograd.grad(hand.sum(), leaves)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def gradients(estimator, family, *, seed=0, replicates=40_000):
    f, eta = ToyIntegrand.random(family, seed), random_eta(family, seed)
    generator = torch.Generator().manual_seed(seed)
    found = estimated_gradients(
        estimator, family, eta, f, replicates=replicates, generator=generator
    )
    return found, exact_gradients(family, eta, f)


@pytest.mark.parametrize("estimator", ALL, ids=repr)
def test_the_bias_in_eta_is_seen(estimator):
    found, truth = gradients(estimator, Categorical(2, 3))
    assert not z_test(found.eta, truth.eta).passed
    assert not estimator.is_unbiased


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("estimator", [*HARD, GumbelSoftmax()], ids=repr)
def test_hard_codes_alone_leave_value_and_decoder_unbiased(estimator, family):
    found, truth = gradients(estimator, family)
    for block in ("value", "decoder"):
        passed = z_test(found.blocks()[block], truth.blocks()[block]).passed
        assert passed == (estimator in HARD)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_gumbel_rao_is_st_gumbel_without_its_noise(family):
    """Equal means (difference of two independent means, 1e-5), smaller variance."""
    st, _ = gradients(STGumbel(tau=0.3), family)
    rao, _ = gradients(GumbelRao(tau=0.3, resamples=30), family, replicates=20_000)
    difference = st.eta.mean(0) - rao.eta.mean(0)
    error = (st.eta.var(0) / len(st.eta) + rao.eta.var(0) / len(rao.eta)).sqrt()
    assert (difference.abs() / error).max() < 5
    assert rao.eta.var(0).sum() < 0.8 * st.eta.var(0).sum()


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_conditional_logits_have_the_joint_law(family):
    eta = random_eta(family, 2).unsqueeze(0)
    generator = torch.Generator().manual_seed(0)
    n = 100_000
    z = family.sample(eta, n, generator=generator)
    x = conditional_logits(family, eta, z, standard_noise(family, eta, (n,), generator))
    assert torch.equal(family.mode(x), z)
    free = eta + standard_noise(family, eta, (n,), generator)
    for statistic in (torch.sigmoid, lambda x: x, lambda x: x.cos()):
        a, b = statistic(x), statistic(free)
        error = ((a.var(0) + b.var(0)) / n).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() / error).max() < 5


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_cold_codes_are_hard(family):
    f, eta = ToyIntegrand.random(family, 0), random_eta(family, 0).unsqueeze(0)
    cold = GumbelSoftmax(samples=8, tau=1e-6)
    hard = STGumbel(samples=8)
    a, b = (m(family, eta, f, generator=torch.Generator().manual_seed(3)) for m in (cold, hard))
    assert torch.allclose(a.value, b.value)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("cls", [GumbelSoftmax, STGumbel, GumbelRao])
def test_hot_codes_are_uniform(cls, family):
    """τ ĝ → J(uniform)ᵀ ∂f/∂z for τ → ∞."""
    f = ToyIntegrand.random(family, 0)
    eta = random_eta(family, 0).unsqueeze(0).requires_grad_()
    estimate = cls(tau=1e5)(family, eta, f, generator=torch.Generator().manual_seed(3))
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    generator = torch.Generator().manual_seed(3)
    uniform = family.mean(torch.zeros_like(eta))
    if cls is GumbelRao:
        z = family.sample(eta, 1, generator=generator)
    else:
        z = family.mode(eta.detach() + standard_noise(family, eta, (1,), generator))
    _, slope = f.value_and_grad(uniform.unsqueeze(0) if cls is GumbelSoftmax else z)
    leaf = torch.zeros_like(eta).requires_grad_()
    (limit,) = torch.autograd.grad((slope[0] * family.mean(leaf)).sum(), leaf)
    assert torch.allclose(1e5 * grad, limit, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("estimator", ALL, ids=repr)
def test_single_precision_survives_saturation(estimator, family):
    f = ToyIntegrand.random(family, 0)
    f = ToyIntegrand([p.float() for p in f.parameters], family)
    eta = (40 * random_eta(family, 0).sign()).float().unsqueeze(0).requires_grad_()
    estimate = estimator(family, eta, f, generator=torch.Generator().manual_seed(0))
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    assert grad.dtype == torch.float32
    assert grad.isfinite().all()


@pytest.mark.parametrize("latent", ["bernoulli:5", "categorical:2x3"])
@pytest.mark.parametrize("estimator", [m for m in ALL if m.samples == 1], ids=repr)
def test_one_decoder_pass(estimator, latent, passes):
    config = ModelConfig(n_features=6, latent=latent, hidden=(8,))
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    x = torch.rand(7, 6, generator=torch.Generator().manual_seed(1))
    eta = model.eta(x).detach().requires_grad_()
    calls = passes(model.decoder)
    generator = torch.Generator().manual_seed(0)
    estimate = estimator(model.family, eta, model.log_likelihood(x), generator=generator)
    estimate.surrogate.mean().backward()
    assert calls == {"forward": 1, "backward": 1}
    assert all(p.grad is not None for p in model.decoder.parameters())
    assert eta.grad.abs().sum() > 0


def test_forgotten_jacobian_is_rejected():
    class Identity:
        def __call__(self, family, eta, f, *, generator):
            fz, slope = f.value_and_grad(family.sample(eta, 1, generator=generator))
            term = fz.mean(0) + (slope[0] * eta).sum(-1)
            return Estimate(fz.detach().mean(0), with_gradient_of(fz.mean(0), term))

    family, (_, rows) = AllBits(2), toy_rows(Bernoulli(2))
    eta = random_eta(family, 0)
    right = expected_gradient(StraightThrough(), family, eta, rows)
    assert not torch.allclose(expected_gradient(Identity(), family, eta, rows), right, rtol=0.5)


def test_an_euler_step_called_heun_is_rejected():
    @dataclass(frozen=True)
    class Half(ReinMax):
        def __call__(self, family, eta, f, *, generator):
            z = family.sample(eta, 1, generator=generator)
            fz, slope = f.value_and_grad(z)
            p = (family.mean(eta.detach()) + z) / 2
            gradient = (p * (1 - p) * slope)[0]  # one Jacobian instead of 2 J(p) − ½ J(q)
            term = fz.mean(0) + (gradient * eta).sum(-1)
            return Estimate(fz.detach().mean(0), with_gradient_of(fz.mean(0), term))

    family, eta = AllBits(1), random_eta(Bernoulli(1), 3)
    f = Quadratic(family)
    truth = true_gradient(family, eta, f)
    assert not torch.allclose(expected_gradient(Half(), family, eta, f), truth, rtol=0.1)


def test_a_relaxation_that_claims_to_be_unbiased_is_rejected():
    @dataclass(frozen=True, kw_only=True)
    class Boastful(STGumbel):
        is_unbiased = True

    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(Boastful())


@pytest.mark.parametrize("options", [{"tau": 0.3}, {"tau": 0.5}])
def test_a_floor_that_would_be_reached_lies_below_tau(options):
    with pytest.raises(ConfigError, match=r"below tau .* annealed\. Got 0.5, tau 0"):
        GumbelRao(anneal=1e-4, **options)


ANNEALED = [
    GumbelSoftmax(tau=1.0, anneal=1e-4, floor=0.5),
    STGumbel(samples=2, tau=0.9, anneal=1e-2, floor=0.1),
    GumbelRao(tau=2.0, anneal=1e-5, floor=0.3, resamples=3),
]


@pytest.mark.parametrize("estimator", ANNEALED, ids=repr)
def test_temperatures_follow_the_schedule(estimator):
    reached = math.log(estimator.tau / estimator.floor) / estimator.anneal
    for step in (1, 10, 1_000, math.floor(reached), math.ceil(reached) + 1, 10**9):
        then = estimator.at_step(step)
        assert then.tau == max(estimator.floor, estimator.tau * math.exp(-estimator.anneal * step))
        # from there on it stays as it is, and in all else it is the estimator
        assert then == replace(estimator, tau=then.tau, anneal=0.0)
        assert then.at_step(step) is then
    assert estimator.at_step(math.floor(reached)).tau > estimator.floor
    assert estimator.at_step(math.ceil(reached) + 1).tau == estimator.floor


@pytest.mark.parametrize("step", [0, 1, 5_000, 6_932, 20_000])
def test_the_schedule_is_that_of_the_paper(step):
    """τ = max(0.5, exp(−rt)) with r = 1e-4."""
    estimator = make_estimator("gumbel-softmax:tau=1,anneal=1e-4,floor=0.5", kind="categorical")
    assert estimator.at_step(step).tau == max(0.5, math.exp(-1e-4 * step))


@pytest.mark.parametrize("estimator", [*ALL, *ANNEALED], ids=repr)
def test_at_the_start_it_is_the_estimator(estimator):
    assert estimator.at_step(0) is estimator


@pytest.mark.parametrize("estimator", ALL, ids=repr)
def test_without_a_rate_the_temperature_stays(estimator):
    """Below ``floor``, too, which is none then."""
    assert estimator.at_step(10**6) is estimator
    assert GumbelSoftmax(tau=0.2).at_step(10**6).tau == 0.2
