"""Reuse: every further step against enumeration of all draws, by hand, and with bugs seeded."""

from __future__ import annotations

import pytest
import torch

from discretevae.errors import ConfigError
from discretevae.estimators.base import score_term
from discretevae.estimators.contract import (
    ToyIntegrand,
    check_estimator_contract,
    exact_gradients,
    random_eta,
)
from discretevae.estimators.reuse import Reuse, _others
from discretevae.estimators.score import RLOO
from discretevae.families import Bernoulli, Categorical, Gaussian
from discretevae.families.base import all_codes


class AllDraws(Bernoulli):
    """Row n of the batch is given the n-th of all N^S tuples of draws."""

    def sample(self, eta, n_samples, *, generator):
        tuples = all_codes([self.n_states] * n_samples)
        return self.enumerate().to(eta)[tuples].transpose(0, 1)


class AllCategoricalDraws(Categorical):
    sample = AllDraws.sample


FAMILIES = [Bernoulli(3), Categorical(2, 3)]
# a family and how many draws: 16, 64, 27 and 81 tuples
EXHAUSTED = [
    (AllDraws(2), 2),
    (AllDraws(1), 6),
    (AllCategoricalDraws(1, 3), 3),
    (AllCategoricalDraws(2, 3), 2),
]


def expected_again(member, family, step=0, seed=0):
    """Expected value and gradient of a further step at another η, with the truth at that η."""
    eta, moved = random_eta(family, seed), random_eta(family, seed + 1)
    f = ToyIntegrand.random(family, seed)
    tuples = family.n_states**member.samples
    rows = f.repeated(tuples)

    def each(parameters):
        return parameters.repeat(tuples, *[1] * parameters.ndim).requires_grad_()

    estimate = member(family, each(eta), rows, generator=None)
    z = family.sample(eta, member.samples, generator=None)
    # q of the draws is the old one: η as it was when they were made
    probability = family.log_prob(each(eta), z).sum(0).exp().detach()
    leaf = each(moved)
    surrogate = estimate.again[step](leaf)
    (grad,) = torch.autograd.grad(surrogate.sum(), leaf)
    value = probability @ surrogate.detach()
    return value, probability @ grad.flatten(1), exact_gradients(family, moved, f)


@pytest.mark.parametrize(("family", "samples"), EXHAUSTED, ids=repr)
@pytest.mark.parametrize("step", [0, 1])
def test_further_steps_are_unbiased_at_any_eta(family, samples, step):
    """All N^S tuples of draws from the old q: to rounding, not to a standard error."""
    member = Reuse(samples=samples, steps=3)
    for seed in range(3):
        value, gradient, truth = expected_again(member, family, step, seed)
        assert torch.allclose(value, truth.value[0], rtol=1e-12)
        assert torch.allclose(gradient, truth.eta[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("family", "samples"), EXHAUSTED, ids=repr)
def test_clipped_weights_are_a_bias_that_the_same_test_sees(family, samples):
    _, clipped, truth = expected_again(Reuse(samples=samples, clip=0.9), family)
    assert not torch.allclose(clipped, truth.eta[0], rtol=0.05)
    _, unclipped, truth = expected_again(Reuse(samples=samples, clip=1e6), family)
    assert torch.allclose(unclipped, truth.eta[0], rtol=1e-10, atol=1e-12)


class Broken(Reuse):
    """Two mistakes that are easily made."""

    def _again(self, family, z, fz, log_drawn, eta):
        weight = (family.log_prob(eta.detach(), z) - log_drawn).exp()
        if self.clip:  # "own sample in its baseline"
            advantage = weight * (fz - (weight * fz).sum(0) / weight.sum(0))
        else:  # "as if drawn from q"
            advantage = fz - _others(torch.zeros_like(fz), fz)
        return (weight * fz).mean(0) + score_term(family, eta, z, advantage)


@pytest.mark.parametrize("clip", [0.0, 1.0], ids=["weights forgotten", "own sample in baseline"])
@pytest.mark.parametrize(("family", "samples"), EXHAUSTED, ids=repr)
def test_seeded_bugs_are_seen(family, samples, clip):
    _, gradient, truth = expected_again(Broken(samples=samples, clip=clip), family)
    assert not torch.allclose(gradient, truth.eta[0], rtol=0.05)


@pytest.mark.parametrize("options", [{}, {"samples": 4, "steps": 3}, {"clip": 2.0}, {"steps": 1}])
def test_contract(options):
    member = Reuse(**options)
    findings = check_estimator_contract(member, replicates=20_000 // member.samples)
    assert len(findings) == (36 if "clip" not in options else 24)


@pytest.mark.parametrize("family", [*FAMILIES, Gaussian(2)], ids=repr)
@pytest.mark.parametrize("samples", [2, 5])
def test_the_first_step_is_rloo(family, samples):
    eta = family.natural_parameters(torch.randn(4, family.fixed_eta().numel()))
    etas = eta.detach().requires_grad_()

    def f(z):
        return torch.cos(z.flatten(2).sum(-1)) - 3

    def both(member):
        generator = torch.Generator().manual_seed(1)
        estimate = member(family, etas, f, generator=generator)
        return estimate, torch.autograd.grad(estimate.surrogate.sum(), etas)[0]

    (ours, found), (rloo, expected) = both(Reuse(samples=samples)), both(RLOO(samples=samples))
    assert torch.equal(ours.value, rloo.value)
    assert torch.equal(found, expected)
    # where nothing has moved yet all weights are 1, and a further step repeats the first
    surrogate = ours.again[0](etas)
    (repeated,) = torch.autograd.grad(surrogate.sum(), etas)
    assert torch.allclose(repeated, found, atol=1e-5)
    assert torch.allclose(surrogate, ours.value, atol=1e-5)


@pytest.mark.parametrize("clip", [0.0, 1.1])
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_further_step_by_hand(family, clip):
    f, eta = ToyIntegrand.random(family, 2).repeated(4), random_eta(family, 2)
    etas = eta.repeat(4, *[1] * eta.ndim)
    member = Reuse(samples=3, clip=clip)
    estimate = member(family, etas, f, generator=torch.Generator().manual_seed(3))
    moved = (etas + 0.3 * torch.sin(etas)).requires_grad_()
    surrogate = estimate.again[0](moved)
    (found,) = torch.autograd.grad(surrogate.sum(), moved)

    z = family.sample(etas, 3, generator=torch.Generator().manual_seed(3))
    fz, mean = f(z).detach(), family.mean(moved.detach())
    weight = (family.log_prob(moved, z).exp() / family.log_prob(etas, z).exp()).detach()
    if clip:
        assert (weight > clip).any()
        weight = weight.clamp(max=clip)
    by_hand = torch.zeros_like(mean)
    for b in range(4):
        for s in range(3):
            others = [r for r in range(3) if r != s]
            total = sum(weight[r, b] for r in others)
            baseline = sum(weight[r, b] * fz[r, b] for r in others) / total
            by_hand[b] += weight[s, b] * (fz[s, b] - baseline) * (z[s, b] - mean[b]) / 3
    assert torch.allclose(found, by_hand, atol=1e-12)
    assert torch.allclose(surrogate, (weight * fz).mean(0), atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("samples", [2, 3, 6])
def test_constant_f_has_no_gradient_in_any_step(family, samples):
    etas = random_eta(family, 0).repeat(50, *[1] * len(family.eta_shape)).requires_grad_()

    def constant(z):
        return torch.full(z.shape[:2], -7.0, dtype=z.dtype)

    generator = torch.Generator().manual_seed(1)
    estimate = Reuse(samples=samples, steps=2)(family, etas, constant, generator=generator)
    moved = (etas.detach() * -2).requires_grad_()
    for surrogate, leaf in ((estimate.surrogate, etas), (estimate.again[0](moved), moved)):
        (grad,) = torch.autograd.grad(surrogate.sum(), leaf)
        assert grad.abs().max() < 1e-13


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_further_steps_cost_no_decoder_row_and_reach_no_decoder_weight(family):
    f, eta = ToyIntegrand.random(family, 2).repeated(4), random_eta(family, 2)
    etas = eta.repeat(4, *[1] * eta.ndim).requires_grad_()
    member = Reuse(samples=3, steps=4)
    before = torch.random.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    estimate = member(family, etas, f, generator=generator)
    drawn = generator.get_state()
    estimate.surrogate.sum().backward()
    decoder = [parameter.grad.clone() for parameter in f.parameters]
    etas.grad = None
    assert len(estimate.again) == 3
    for number, surrogate in enumerate(estimate.again, 1):
        moved = (etas.detach() + 0.1 * number).requires_grad_()
        surrogate(moved).sum().backward()
        assert moved.grad.abs().sum() > 0
    assert etas.grad is None
    assert f.evaluations == [3] == [member.evaluations]
    assert all(torch.equal(p.grad, g) for p, g in zip(f.parameters, decoder, strict=True))
    assert torch.equal(generator.get_state(), drawn)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_that_leave_single_precision_do_not_reach_the_baseline():
    """One weight of e^90 among 1s: what the others say of f is still finite, for all three."""
    log_weight = torch.tensor([[90.0], [0.0], [0.0]])
    fz = torch.tensor([[-1.0], [-2.0], [-4.0]])
    assert torch.equal(_others(log_weight, fz), torch.tensor([[-3.0], [-1.0], [-1.0]]))


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_saturated_logits_stay_finite(family):
    f, eta = ToyIntegrand.random(family, 2).repeated(4), random_eta(family, 2)
    extremes = (40 * eta.sign()).repeat(4, *[1] * eta.ndim)
    estimate = Reuse()(family, extremes, f, generator=torch.Generator().manual_seed(0))
    for moved in (extremes, -extremes):
        leaf = moved.clone().requires_grad_()
        surrogate = estimate.again[0](leaf)
        (grad,) = torch.autograd.grad(surrogate.sum(), leaf)
        assert surrogate.isfinite().all()
        assert grad.isfinite().all()


def test_what_it_declares():
    assert Reuse().is_unbiased
    assert not Reuse(clip=2.0).is_unbiased
    assert Reuse(clip=2.0, steps=1).is_unbiased
    assert Reuse(samples=3, steps=5).evaluations == 3
    eta, generator = torch.zeros(2, 1, requires_grad=True), torch.Generator().manual_seed(0)
    alone = Reuse(steps=1)(Bernoulli(1), eta, lambda z: z.sum(-1), generator=generator)
    assert len(alone.again) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 1}, "samples must be an int >= 2. Got 1"),
        ({"steps": 0, "clip": -1.0}, "steps must be an int >= 1. Got 0.; clip must be >= 0. Got"),
        ({"clip": float("inf")}, "clip must be >= 0. Got inf"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        Reuse(**options)
