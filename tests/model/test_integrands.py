"""f(z): what estimators integrate, its gradients in one pass, and what may not be reached."""

from __future__ import annotations

import pytest
import torch

from discretevae.config import ModelConfig
from discretevae.model.vae import DiscreteVAE

PRIORS = ["fixed", "autoregressive:7", "transformer:1x8"]
LIKELIHOODS = ["bernoulli", "gaussian:learned", "student", "beta-binomial"]


def model_and_rows(prior="autoregressive:7", likelihood="bernoulli", latent="bernoulli:3"):
    config = ModelConfig(
        n_features=5, latent=latent, hidden=(6,), prior=prior, likelihood=likelihood
    )
    generator = torch.Generator().manual_seed(0)
    model = DiscreteVAE(config, generator=generator).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    x = torch.randint(0, 256, (4, 5), generator=generator).double() / 255
    return model, x


def integrand(model, x):
    return (
        model.log_joint(x, generator=None)
        if not model.prior.has_closed_kl
        else (model.log_likelihood(x))
    )


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("prior", PRIORS)
def test_one_pass_gives_value_slope_and_the_gradient_of_all_that_f_learns(prior, likelihood):
    model, x = model_and_rows(prior, likelihood)
    f = integrand(model, x)
    z = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = list(f.parameters())
    assert {id(p) for p in own} == {
        id(p) for name, p in model.named_parameters() if not name.startswith("encoder")
    }
    leaf = z.clone().requires_grad_()
    expected = f(leaf)
    slope, *grads = torch.autograd.grad(expected.mean(), (leaf, *own))
    value, found = f.value_and_grad(z)
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(found / value.numel(), slope, atol=1e-12)
    for ours, theirs in zip(torch.autograd.grad(value.mean(), own), grads, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("prior", PRIORS)
def test_a_frozen_one_reaches_z_and_nothing_that_is_learned(prior, likelihood):
    model, x = model_and_rows(prior, likelihood)
    f = integrand(model, x)
    z = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf = z.requires_grad_()
    value = f.frozen()(leaf)
    # attention takes another kernel where weights are to learn
    torch.testing.assert_close(value, f(leaf))
    (slope,) = torch.autograd.grad(value.sum(), leaf, retain_graph=True)
    assert slope.abs().max() > 0
    reached = torch.autograd.grad(value.sum(), list(f.parameters()), allow_unused=True)
    assert all(grad is None for grad in reached)
    # what was set aside for the while is as before
    assert all(parameter.requires_grad for parameter in model.parameters())
    reached = torch.autograd.grad(f(leaf).sum(), list(f.parameters()))
    assert all(grad is not None for grad in reached)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_table_scores_every_state_like_a_sample(likelihood):
    model, x = model_and_rows(likelihood=likelihood, latent="categorical:2x3")
    f = integrand(model, x)
    states = model.family.enumerate().double()
    one_by_one = f(states.unsqueeze(1).expand(-1, 4, -1, -1))
    assert torch.allclose(f.table(), one_by_one.T, atol=1e-10)


def test_the_expected_log_prior_follows_q_whatever_codes_were_evaluated():
    model, x = model_and_rows(latent="categorical:2x3")
    eta, n = model.eta(x), 20_000
    f = model.log_joint(x, generator=torch.Generator().manual_seed(0))
    f(model.family.from_codes(torch.zeros(1, len(x), 2).long()).to(x))  # codes that are not q's
    drawn = f.expected_log_prior(eta.repeat_interleave(n, 0)).reshape(len(x), n)
    f.table()
    exact = f.expected_log_prior(eta)
    q = model.family.log_prob_table(eta).exp()
    assert torch.allclose(exact, q @ model.prior.log_prob_table(), atol=1e-12)
    # z-tests of all rows at 5 standard errors, and the power to see a twentieth of a nat
    spread = drawn.std(1) / n**0.5
    assert bool(((drawn.mean(1) - exact).abs() < 5 * spread).all())
    assert spread.max() < 0.01


def test_the_prior_may_weigh_less():
    model, x = model_and_rows()
    z = torch.zeros(1, 4, 3, dtype=torch.float64)
    half = model.log_joint(x, generator=None, prior_weight=0.5)(z)
    expected = model.log_likelihood(x)(z) + 0.5 * model.prior.log_prob(z)
    assert torch.allclose(half, expected, atol=1e-12)


@pytest.mark.parametrize("latent", ["bernoulli:3", "categorical:2x3", "categorical:3+gaussian:2"])
def test_no_codes_decode_to_no_rows(latent):
    model, x = model_and_rows(latent=latent)
    assert model.decode(model.encode(x[:0])).shape == (0, 5)
