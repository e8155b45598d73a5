"""MuProp, REBAR, RELAX: unbiased whatever they learned, replayed by hand, quieter once trained."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from discretevae.config import ModelConfig
from discretevae.errors import ConfigError
from discretevae.estimators import Importance, control_variate as module
from discretevae.estimators.base import Estimate, with_gradient_of
from discretevae.estimators.contract import (
    ContractError,
    ToyIntegrand,
    check_estimator_contract,
    estimated_gradients,
    exact_gradients,
    random_eta,
)
from discretevae.estimators.control_variate import REBAR, RELAX, MuProp
from discretevae.estimators.gumbel import conditional_logits, standard_noise
from discretevae.families import Bernoulli, Categorical
from discretevae.model.vae import DiscreteVAE

FAMILIES = [Bernoulli(3), Categorical(2, 3)]


def scrambled(estimator, seed=0):
    """The estimator with random parameters: unbiasedness must not depend on what is learned."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in estimator.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(parameter + noise)
    return estimator


def scrambled_relax(family, **options):
    estimator = RELAX(**options)
    estimator.prepare(family, torch.zeros(1, dtype=torch.float64))
    return scrambled(estimator)


def toy(family, seed=0, rows=5):
    f = ToyIntegrand.random(family, seed).repeated(rows)
    eta = random_eta(family, seed).repeat(rows, *[1] * len(family.eta_shape)).requires_grad_()
    return f, eta


def gradient_of(estimator, family, f, eta, seed=2):
    estimate = estimator(family, eta, f, generator=torch.Generator().manual_seed(seed))
    return torch.autograd.grad(estimate.surrogate.sum(), (eta, *f.parameters))


def variance(estimator, family, seed=0, replicates=10_000, hidden=4):
    f = ToyIntegrand.random(family, seed, hidden=hidden)
    found = estimated_gradients(
        estimator,
        family,
        random_eta(family, seed),
        f,
        replicates=replicates,
        generator=torch.Generator().manual_seed(1),
    )
    return found.eta.var(0).sum().item()


@pytest.mark.parametrize(
    "estimator",
    [
        MuProp(),
        MuProp(samples=3),
        REBAR(),
        REBAR(samples=2, tau=0.2, scale=-0.5),
        scrambled(REBAR(), seed=1),
        RELAX(hidden=4),
    ],
    ids=repr,
)
def test_contract(estimator):
    check_estimator_contract(estimator, replicates=20_000)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("samples", [1, 2])
def test_contract_of_relax_with_random_parameters(family, samples):
    estimator = scrambled_relax(family, samples=samples, hidden=6)
    check_estimator_contract(estimator, families=[family], replicates=20_000)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_muprop_is_exact_for_linear_f(family):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(family.z_shape, generator=generator, dtype=torch.float64)

    class Linear:
        def __call__(self, z):
            return (z * weight).flatten(2).sum(-1) - 7

        def value_and_grad(self, z):
            return self(z), weight.expand_as(z)

        def frozen(self):
            return self

    eta = random_eta(family, 0).repeat(10, *[1] * len(family.eta_shape)).requires_grad_()
    estimate = MuProp()(family, eta, Linear(), generator=generator)
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    (truth,) = torch.autograd.grad((family.mean(eta) * weight).sum(), eta)
    assert torch.allclose(grad, truth)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_muprop_by_hand(family):
    f, eta = toy(family)
    z = family.sample(eta, 3, generator=torch.Generator().manual_seed(2))
    mean = family.mean(eta)
    centre = mean.detach().requires_grad_()
    at_mean = f(centre.unsqueeze(0))[0]
    (slope,) = torch.autograd.grad(at_mean.sum(), centre)
    taylor = at_mean.detach() + (slope * (z - centre)).flatten(2).sum(-1)
    fz = f(z)
    hand = ((fz.detach() - taylor.detach()) * family.log_prob(eta, z)).mean(0)
    hand = hand.sum() + (slope * mean).sum() + fz.mean(0).sum()
    theirs = torch.autograd.grad(hand, (eta, *f.parameters))
    for a, b in zip(gradient_of(MuProp(samples=3), family, f, eta), theirs, strict=True):
        assert torch.allclose(a, b)


def test_rebar_of_bits_as_the_paper_writes_it():
    """x = logit θ + logit u and x̃ = logit θ + logit v, both uniforms on the side of z."""
    family = Bernoulli(3)
    f, eta = toy(family)
    estimator = REBAR(tau=0.4, scale=0.7).double()
    z = family.sample(eta, 1, generator=(generator := torch.Generator().manual_seed(2)))
    uniform = torch.sigmoid(standard_noise(family, eta, (2,), generator))
    theta = torch.sigmoid(eta)
    # u behind x is fixed, v behind x̃ moves with η; both lie on z's side of 1 − θ
    side = [torch.where(z > 0, 1 - theta * (1 - u), (1 - theta) * (1 - u)) for u in uniform]
    x = eta + torch.logit(side[0]).detach()
    x_given_z = eta + torch.logit(side[1])
    assert torch.equal((x > 0).double(), z)
    soft = f.frozen()
    c, c_given_z = soft(torch.sigmoid(x / 0.4)), soft(torch.sigmoid(x_given_z / 0.4))
    score = (f(z) - 0.7 * c_given_z).detach() * family.log_prob(eta, z)
    (hand,) = torch.autograd.grad((score + 0.7 * c - 0.7 * c_given_z).sum(), eta)
    assert torch.allclose(gradient_of(estimator, family, f, eta)[0], hand)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_rebar_by_autograd(family):
    f, eta = toy(family)
    estimator = REBAR(samples=2, tau=0.4, scale=0.7).double()
    z = family.sample(eta, 2, generator=(generator := torch.Generator().manual_seed(2)))
    noise = standard_noise(family, eta, (4,), generator)
    free = conditional_logits(family, eta, z, noise[:2])
    x, x_given_z = (
        eta + (free - eta).detach(),
        conditional_logits(family, eta, z, noise[2:]),
    )
    soft = f.frozen()
    c, c_given_z = soft(family.mean(x / 0.4)), soft(family.mean(x_given_z / 0.4))
    score = (f(z) - 0.7 * c_given_z).detach() * family.log_prob(eta, z)
    total = (score + 0.7 * c - 0.7 * c_given_z).mean(0).sum()
    (hand,) = torch.autograd.grad(total, eta)
    assert torch.allclose(gradient_of(estimator, family, f, eta)[0], hand)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_without_scale_it_is_the_score_function(family):
    f, eta = toy(family)
    plain = gradient_of(Importance(samples=3), family, f, eta)
    for estimator in (REBAR(samples=3, scale=0.0), RELAX(samples=3, scale=0.0, hidden=3)):
        for a, b in zip(gradient_of(estimator, family, f, eta), plain, strict=True):
            assert torch.allclose(a, b)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_a_fresh_relax_is_rebar(family):
    f, eta = toy(family)
    pairs = zip(
        gradient_of(RELAX(), family, f, eta), gradient_of(REBAR(), family, f, eta), strict=True
    )
    for a, b in pairs:
        assert torch.allclose(a, b)


@pytest.mark.parametrize("make", [MuProp, REBAR, RELAX])
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_the_decoder_learns_from_true_codes_only(family, make):
    estimator = make(samples=2)
    f, eta = toy(family)
    _, *found = gradient_of(estimator, family, f, eta)
    _, *plain = gradient_of(Importance(samples=2), family, f, eta)
    for a, b in zip(found, plain, strict=True):
        assert torch.equal(a, b)


def models():
    made = []
    for latent in ("bernoulli:5", "categorical:2x3"):
        config = ModelConfig(n_features=6, latent=latent, hidden=(8,))
        made.append(DiscreteVAE(config, generator=torch.Generator().manual_seed(0)).double())
    return made


@pytest.mark.parametrize("make", [REBAR, RELAX])
@pytest.mark.parametrize("model", models(), ids=lambda model: str(model.family))
def test_control_loss_trains_the_estimator_alone(make, model):
    x = torch.rand(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    eta, estimator, f = model.eta(x), make(samples=2), model.log_likelihood(x)
    estimate = estimator(model.family, eta, f, generator=torch.Generator().manual_seed(0))
    (g,) = torch.autograd.grad(estimate.surrogate.sum(), eta, retain_graph=True)
    assert torch.allclose(estimate.control_loss, g.square().flatten(1).sum(1).mean())
    own = list(estimator.parameters())
    for loss, leaves in (
        (estimate.surrogate.sum(), own),
        (estimate.control_loss, [eta, *model.parameters()]),
    ):
        none = torch.autograd.grad(loss, leaves, allow_unused=True, retain_graph=True)
        assert all(g is None for g in none)
    estimate.control_loss.backward()
    assert all(p.grad is not None for p in own)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("make", [REBAR, RELAX])
@pytest.mark.parametrize("model", models(), ids=lambda model: str(model.family))
def test_control_loss_gradient_by_finite_differences(make, model):
    """Twice through the decoder, for τ; once, for ν and the network's last bias."""
    x = torch.rand(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    eta, estimator = model.eta(x).detach(), make().double()
    if isinstance(estimator, RELAX):
        estimator.prepare(model.family, eta)
        scrambled(estimator)

    def loss():
        generator = torch.Generator().manual_seed(0)
        return estimator(
            model.family, eta, model.log_likelihood(x), generator=generator
        ).control_loss

    own = list(estimator.parameters())
    for parameter, grad in zip(own, torch.autograd.grad(loss(), own), strict=True):
        entry, step = parameter.data.view(-1)[:1], 1e-6
        kept = entry.clone()
        up, down = (loss().item() for entry[:] in (kept + step, kept - step))
        entry[:] = kept
        found = grad.view(-1)[0].item()
        assert (up - down) / (2 * step) == pytest.approx(found, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "family", "least"),
    [
        (REBAR, Bernoulli(4), 0.5),
        (RELAX, Bernoulli(4), 0.5),
        (REBAR, Categorical(2, 3), 0.8),
        (RELAX, Categorical(2, 3), 0.7),
    ],
)
def test_training_reduces_the_variance(make, family, least):
    """From ν = 0, the score function; measured: 0.04, 0.03, 0.69 and 0.59 of its variance."""
    estimator = make(scale=0.0)
    f, eta = toy(family, rows=64)
    if isinstance(estimator, RELAX):
        estimator.prepare(family, eta)
    before = variance(estimator, family)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=0.03)
    generator = torch.Generator().manual_seed(3)
    for _ in range(100):
        optimizer.zero_grad()
        estimator(family, eta, f, generator=generator).control_loss.backward()
        optimizer.step()
    assert variance(estimator, family) < least * before


def test_the_network_helps_where_f_itself_may_not_be_used():
    """With ν held at 0 the network alone must find the control variate."""
    family = Bernoulli(3)
    estimator = RELAX(scale=0.0)
    f, eta = toy(family, rows=64)
    estimator.prepare(family, eta)
    before = variance(estimator, family)
    optimizer = torch.optim.Adam(estimator.network.parameters(), lr=0.03)
    generator = torch.Generator().manual_seed(3)
    for _ in range(100):
        optimizer.zero_grad()
        estimator(family, eta, f, generator=generator).control_loss.backward()
        optimizer.step()
    assert variance(estimator, family) < 0.6 * before


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("make", [MuProp, REBAR, RELAX])
def test_single_precision_survives_saturation(make, family):
    f = ToyIntegrand.random(family, 0)
    f = ToyIntegrand([p.float() for p in f.parameters], family)
    eta = (40 * random_eta(family, 0).sign()).float().unsqueeze(0).requires_grad_()
    estimator = make()
    estimate = estimator(family, eta, f, generator=torch.Generator().manual_seed(0))
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    assert grad.dtype == torch.float32
    assert grad.isfinite().all()
    if estimate.control_loss is not None:
        own = list(estimator.parameters())
        assert all(g.isfinite().all() for g in torch.autograd.grad(estimate.control_loss, own))


def test_muprop_without_its_mean_field_term_is_rejected():
    @dataclass(frozen=True, kw_only=True)
    class Half(MuProp):
        def __call__(self, family, eta, f, *, generator):
            full = super().__call__(family, eta, f, generator=generator)
            mean = family.mean(eta)
            _, slope = f.frozen().value_and_grad(mean.detach().unsqueeze(0))
            f.evaluations[0] -= 1
            lost = (slope[0] * mean).flatten(1).sum(-1)
            return Estimate(full.value, with_gradient_of(full.value, full.surrogate - lost))

    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(Half(), replicates=20_000)


@pytest.mark.parametrize("make", [REBAR, RELAX])
def test_a_soft_code_that_forgets_its_condition_is_rejected(make, monkeypatch):
    """x̃ must be drawn given z: an independent one is no control variate with a known mean."""
    monkeypatch.setattr(
        module, "conditional_logits", lambda family, eta, z, noise: eta.detach() + noise
    )
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(make(), replicates=20_000)


def test_a_condition_without_gradient_is_rejected(monkeypatch):
    """x̃ depends on η through the condition; that path may not be cut."""
    monkeypatch.setattr(
        module,
        "conditional_logits",
        lambda family, eta, z, noise: conditional_logits(family, eta.detach(), z, noise),
    )
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(REBAR(), replicates=20_000)


def test_relax_is_made_for_one_code():
    estimator = RELAX(hidden=3)
    f, eta = toy(Bernoulli(2))
    estimator(Bernoulli(2), eta, f, generator=torch.Generator().manual_seed(0))
    f, eta = toy(Bernoulli(3))
    with pytest.raises(ConfigError, match="a network for 4 inputs"):
        estimator(Bernoulli(3), eta, f, generator=None)


def test_relax_first_weights_follow_from_the_seed_alone():
    before = torch.random.get_rng_state()
    networks = []
    for seed in (3, 3, 4):
        estimator = RELAX(seed=seed)
        estimator.prepare(Bernoulli(2), torch.zeros(1))
        networks.append(estimator.network[0].weight)
    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])
    assert torch.equal(before, torch.random.get_rng_state())


def test_truth_of_the_toy_is_not_zero():
    """The z-tests above compare with gradients that matter."""
    for family in FAMILIES:
        truth = exact_gradients(family, random_eta(family, 0), ToyIntegrand.random(family, 0))
        assert truth.eta.abs().max() > 0.1
