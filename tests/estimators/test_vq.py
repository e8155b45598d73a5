"""VQ: against the losses of the paper written out, and the geometry that its docstring claims."""

from __future__ import annotations

import math

import pytest
import torch

from discretevae.config import ModelConfig
from discretevae.estimators.base import injected
from discretevae.estimators.contract import ToyIntegrand, check_estimator_contract, random_eta
from discretevae.estimators.vq import VQ
from discretevae.families import Bernoulli, Categorical
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import elbo

FAMILIES = [Bernoulli(3), Categorical(2, 3)]
MEMBERS = [VQ(), VQ(scale=2.0, beta=1.5), VQ(scale=30.0, beta=0.0)]


def corners(family, scale):
    """η of every code, ``[N, *eta_shape]``."""
    z = family.enumerate().double()
    return scale * (2 * z - 1 if family.spec.kind == "bernoulli" else z)


def literal(estimator, family, eta, f):
    """z + u − u.detach() through f and the commitment loss, for autograd: ``[B]``."""
    u = eta / estimator.scale
    if family.spec.kind == "bernoulli":
        u = (u + 1) / 2
        z = (u > 0.5).to(u)
    else:
        z = torch.nn.functional.one_hot(u.argmax(-1), family.n_categories).to(u)
    value = f((u + (z - u).detach()).unsqueeze(0))[0]
    return value - estimator.beta * (u - z).square().flatten(1).sum(1)


@pytest.mark.parametrize("estimator", MEMBERS, ids=repr)
def test_contract(estimator):
    assert len(check_estimator_contract(estimator)) == 24


@pytest.mark.parametrize("estimator", MEMBERS, ids=repr)
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_gradients_are_those_of_the_paper_written_out(family, estimator):
    f = ToyIntegrand.random(family, 5).repeated(6)
    generator = torch.Generator().manual_seed(5)
    shape = (6, *family.eta_shape)
    eta = (3 * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()
    found = estimator(family, eta, f, generator=None)
    torch.testing.assert_close(found.value, f(family.mode(eta.detach()).unsqueeze(0))[0])
    leaves = (eta, *f.parameters)
    ours = torch.autograd.grad(found.surrogate.sum(), leaves)
    by_hand = (literal(estimator, family, eta, f) - family.entropy(eta)).sum()
    theirs = torch.autograd.grad(by_hand, leaves)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("latent", ["bernoulli:5", "categorical:2x4"])
@pytest.mark.parametrize("prior", ["fixed", "factorized"])
def test_the_objective_becomes_that_of_a_code_without_entropy(latent, prior):
    """The ELBO's encoder gradient is that of the VQ-VAE's loss; a learned prior adds its own."""
    config = ModelConfig(n_features=6, latent=latent, hidden=(8,), prior=prior)
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0)).double()
    x = torch.rand(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if prior == "factorized":
        torch.nn.init.normal_(model.prior.raw, generator=torch.Generator().manual_seed(2))
    parameters = list(model.encoder.parameters())
    estimator = VQ(scale=3.0, beta=0.7)
    ours = torch.autograd.grad(elbo(model, x, estimator, generator=None).loss, parameters)

    eta = model.eta(x)
    prior_term = (model.family.mean(eta) * model.prior.eta().detach()).flatten(1).sum(1)
    loss = -(literal(estimator, model.family, eta, model.log_likelihood(x)) + prior_term).mean()
    theirs = torch.autograd.grad(loss, parameters)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-12)
    if prior == "fixed":
        assert prior_term.abs().max() == 0


@pytest.mark.parametrize("scale", [1.0, 8.0])
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_the_mode_is_the_nearest_corner(family, scale):
    generator = torch.Generator().manual_seed(0)
    eta = scale * torch.randn((500, *family.eta_shape), generator=generator, dtype=torch.float64)
    distance = torch.cdist(eta.flatten(1), corners(family, scale).flatten(1))
    nearest = family.enumerate().double()[distance.argmin(1)]
    assert torch.equal(nearest, family.mode(eta))


def test_a_free_codebook_is_a_linear_layer_before_the_argmax():
    """‖h − v_k‖² is smallest where 2 v_k·h − ‖v_k‖² is largest."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn((500, 4), generator=generator, dtype=torch.float64)
    v = torch.randn((7, 4), generator=generator, dtype=torch.float64)
    eta = h @ (2 * v).T - v.square().sum(1)
    assert torch.equal(torch.cdist(h, v).argmin(1), eta.argmax(1))


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_corners_stand_still_where_f_is_flat_and_pull_everything_else(family):
    estimator, at = VQ(scale=40.0), corners(family, 40.0)

    class Flat:
        def value_and_grad(self, z):
            return 0 * z.flatten(2).sum(-1), torch.zeros_like(z)

    for shift in (0.0, 5.0):
        eta = (at + shift).requires_grad_()
        surrogate = estimator(family, eta, Flat(), generator=None).surrogate
        (grad,) = torch.autograd.grad(surrogate.sum(), eta)
        if shift:
            assert (grad < 0).all()
        else:
            assert grad.abs().max() < 1e-12


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_at_a_corner_the_elbo_is_the_likelihood_less_the_rate(family):
    f = ToyIntegrand.random(family, 1)
    eta = corners(family, 60.0)
    rows = f.repeated(len(eta))
    value = VQ(scale=60.0)(family, eta.requires_grad_(), rows, generator=None).value
    assert torch.allclose(value, f.table()[0])
    expected = (family.log_prob_table(eta).exp() * rows.table()).sum(1)
    assert torch.allclose(value, expected, atol=1e-12)
    rate = family.kl(eta, torch.zeros_like(eta))
    assert torch.allclose(rate, torch.full_like(rate, math.log(family.n_states)), atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_it_draws_nothing(family):
    f, eta = ToyIntegrand.random(family, 0), random_eta(family, 0).unsqueeze(0).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    VQ()(family, eta, f, generator=generator)
    assert torch.equal(generator.get_state(), before)
    assert f.evaluations == [1]


class Broken(VQ):
    """The slope of a bit as steep as that of a category, that of a category half as much again."""

    def __call__(self, family, eta, f, *, generator):
        right = super().__call__(family, eta, f, generator=generator)
        fz, slope = f.value_and_grad(family.mode(eta.detach()).unsqueeze(0))
        (found,) = torch.autograd.grad(right.surrogate.sum(), eta)
        return injected(fz, eta, found + slope[0] / (2 * self.scale))


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_a_wrong_slope_is_seen(family):
    f = ToyIntegrand.random(family, 5).repeated(6)
    eta = random_eta(family, 5).repeat(6, *[1] * len(family.eta_shape)).requires_grad_()
    estimator = Broken(scale=2.0)
    surrogate = estimator(family, eta, f, generator=None).surrogate
    (found,) = torch.autograd.grad(surrogate.sum(), eta)
    by_hand = (literal(estimator, family, eta, f) - family.entropy(eta)).sum()
    (right,) = torch.autograd.grad(by_hand, eta)
    assert not torch.allclose(found, right, rtol=0.05)
