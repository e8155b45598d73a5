"""The paper's estimator: replayed by hand, by enumeration, with bugs seeded, at saturation."""

from dataclasses import dataclass

import pytest
import torch
from estimator_toys import Opaque

from discretevae.errors import ConfigError
from discretevae.estimators import Importance, make_estimator
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
from discretevae.families import Bernoulli, Categorical, Gaussian

PROPOSALS = {
    "posterior": {},
    "uniform": {"proposal": "uniform"},
    "tempered": {"proposal": "tempered", "tau": 0.6},
    "sharpened": {"proposal": "tempered", "tau": 1.3},
    "mixture": {"proposal": "mixture", "alpha": 0.3},
    "xi": {"xi": torch.tensor(0.4, dtype=torch.float64)},
    "xi function": {"xi": lambda eta: 0.5 * eta + 0.1},
}


@pytest.mark.parametrize("samples", [1, 2, 5])
@pytest.mark.parametrize("proposal", PROPOSALS)
def test_contract_of_every_proposal(proposal, samples):
    """Unbiased for η and decoder on bits and categories; false-alarm rate 1e-5 per family.

    Power: a bias of a quarter of the largest coordinate would be seen with probability 0.99.
    """
    replicates = 24_000 // samples
    findings = check_estimator_contract(
        Importance(samples=samples, **PROPOSALS[proposal]), replicates=replicates
    )
    seen = [float(f.detail.split()[-1]) for f in findings if f.check.startswith("unbiased")]
    assert len(seen) == 12
    assert max(seen) < 0.25


@pytest.mark.parametrize("family", [Bernoulli(3), Categorical(2, 4)], ids=repr)
def test_equation_20_sample_by_sample(family):
    """With ξ = η each sample's gradient is f(z)(T(z) − ∇A(η)): replayed with the same draws."""
    f, eta = ToyIntegrand.random(family, 3).repeated(6), random_eta(family, 3)
    etas = eta.repeat(6, *[1] * eta.ndim).requires_grad_()
    estimate = Importance(samples=4)(family, etas, f, generator=torch.Generator().manual_seed(8))
    (found,) = torch.autograd.grad(estimate.surrogate.sum(), etas, retain_graph=True)
    z = family.sample(etas.detach(), 4, generator=torch.Generator().manual_seed(8))
    by_hand = torch.zeros_like(etas)
    for m in range(4):
        for b in range(6):
            score = f(z[m : m + 1])[0, b].detach()
            by_hand[b] += score * (z[m, b] - family.mean(etas[b].detach())) / 4
    assert torch.allclose(found, by_hand, atol=1e-12)
    assert torch.allclose(estimate.value, f(z).mean(0))
    assert torch.equal(estimate.diagnostics["ess"], torch.full((6,), 4.0).double())


@pytest.mark.parametrize("family", [Bernoulli(2), Categorical(2, 3)], ids=repr)
def test_equations_14_16_and_17_by_hand(family):
    """A uniform proposal: weights, the encoder's and the decoder's gradient from the formulas."""
    f, eta = ToyIntegrand.random(family, 3).repeated(5), random_eta(family, 3)
    etas = eta.repeat(5, *[1] * eta.ndim).requires_grad_()
    estimator = Importance(samples=3, proposal="uniform")
    estimate = estimator(family, etas, f, generator=torch.Generator().manual_seed(8))
    found = torch.autograd.grad(estimate.surrogate.sum(), (etas, *f.parameters))

    z = family.sample(torch.zeros_like(etas), 3, generator=torch.Generator().manual_seed(8))
    q = family.log_prob(etas, z).exp()
    weight = q * family.n_states
    fz = f(z)
    eq_14 = (fz * weight).mean(0)
    assert torch.allclose(estimate.value, eq_14, atol=1e-12)
    # equation 16: f · ∂q/∂η / q_I; equation 17: weight · ∂f/∂θ_D
    eq_16 = torch.autograd.grad((fz.detach() * weight).mean(0).sum(), etas, retain_graph=True)
    eq_17 = torch.autograd.grad((fz * weight.detach()).mean(0).sum(), f.parameters)
    for ours, theirs in zip(found, (*eq_16, *eq_17), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)
    ess = weight.sum(0).square() / weight.square().sum(0)
    assert torch.allclose(estimate.diagnostics["ess"], ess.detach(), atol=1e-9)


@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_mixture_weights_are_bounded(alpha):
    """q/q_I ≤ 1/(1 − α) for a defensive mixture: the effective sample size cannot fall apart."""
    family = Bernoulli(4)
    eta = 6 * torch.ones(2_000, 4, dtype=torch.float64)

    class One:
        def __call__(self, z):
            return torch.ones(z.shape[:2], dtype=z.dtype)

    estimator = Importance(proposal="mixture", alpha=alpha)
    estimate = estimator(family, eta, One(), generator=torch.Generator().manual_seed(0))
    assert estimate.value.max() <= 1 / (1 - alpha) + 1e-12
    uniform = Importance(proposal="uniform")
    wild = uniform(family, eta, One(), generator=torch.Generator().manual_seed(0))
    assert wild.value.max() > 10


def variance_of_gradient(eta):
    """Var of f(z)(z − q) for one bit in closed form: q(1−q)[(1−q)f₁² + q f₀²] − mean²."""
    f0, f1 = -3.0, -1.0
    q = torch.sigmoid(eta)
    mean = q * (1 - q) * (f1 - f0)
    second = q * (1 - q) * ((1 - q) * f1**2 + q * f0**2)
    return second - mean**2, mean


def test_variance_falls_as_q_saturates_but_not_relative_to_the_gradient():
    """Equation 23 in closed form, the estimator against it, and what the paper does not say."""
    etas = torch.tensor([1.0, 2.0, 3.0, 5.0, 8.0], dtype=torch.float64)
    variance, mean = variance_of_gradient(etas)
    assert bool((variance.diff() < 0).all())
    assert bool(((variance / mean**2).diff() > 0).all())
    q = torch.sigmoid(etas)
    assert torch.allclose(
        (variance / mean**2)[-2:] * torch.minimum(q, 1 - q)[-2:],
        torch.tensor(9.0 / 4.0).double(),
        rtol=0.1,
    )

    class Step:
        def __call__(self, z):
            return -3.0 + 2.0 * z.sum(-1)

    n = 400_000
    for eta, expected in zip(etas[:3], variance[:3], strict=True):
        rows = torch.full((n, 1), eta.item(), dtype=torch.float64, requires_grad=True)
        generator = torch.Generator().manual_seed(1)
        surrogate = Importance()(Bernoulli(1), rows, Step(), generator=generator).surrogate
        (grad,) = torch.autograd.grad(surrogate.sum(), rows)
        # a variance of bounded variables: its relative error is below √(kurtosis/n) < 0.5 %
        assert grad.var().item() == pytest.approx(expected.item(), rel=0.025)


@dataclass(frozen=True, kw_only=True)
class Broken(Importance):
    """The paper's estimator with a bug."""

    bug: str = ""

    def __call__(self, family, eta, f, *, generator):
        z = family.sample(torch.zeros_like(eta), self.samples, generator=generator)
        log_q = family.log_prob(eta, z)
        weight = (log_q.detach() - family.log_prob(torch.zeros_like(eta), z)).exp()
        fz = f(z)
        if self.bug == "decoder without weights":  # equation 17 forgotten
            term = fz + weight * fz.detach() * log_q
        elif self.bug == "score without weights":  # as if z were drawn from q
            term = weight * fz + fz.detach() * log_q
        else:  # "gradient shifted by one", the bug of numpyro#1512
            term = weight * fz + (weight * fz.detach() + 1) * log_q
        value = (weight * fz).detach().mean(0)
        return Estimate(value, with_gradient_of(value, term.mean(0)))


@pytest.mark.parametrize(
    "bug", ["decoder without weights", "score without weights", "gradient shifted by one"]
)
def test_seeded_bugs_are_rejected(bug):
    with pytest.raises(ContractError, match="unbiased"):
        check_estimator_contract(Broken(samples=2, bug=bug), replicates=12_000)


def test_nothing_flows_through_the_sample():
    """Figure 4: a backward pass into z raises, and the estimator does not notice."""
    family = Bernoulli(3)
    f, eta = ToyIntegrand.random(family, 0).repeated(4), random_eta(family, 0)
    etas = eta.repeat(4, 1).requires_grad_()
    guarded = Opaque(f.parameters, family)
    for options in PROPOSALS.values():
        estimator = Importance(samples=2, **options)
        estimate = estimator(family, etas, guarded, generator=torch.Generator().manual_seed(0))
        estimate.surrogate.sum().backward()
    with pytest.raises(AssertionError, match="was used"):
        guarded(torch.ones(1, 4, 3, dtype=torch.float64, requires_grad=True)).sum().backward()


def test_gaussian_code_by_the_score_function():
    """ξ = η and tempered work for a Gaussian code too: E z² and its gradient, z-tested."""
    family, n = Gaussian(1), 200_000
    raw = torch.tensor([[0.8, -0.4]], dtype=torch.float64)

    class Square:
        def __call__(self, z):
            return z.square().sum(-1)

    for options in ({}, {"proposal": "tempered", "tau": 0.8}):
        etas = family.natural_parameters(raw).repeat(n, 1, 1).requires_grad_()
        generator = torch.Generator().manual_seed(0)
        estimate = Importance(**options)(family, etas, Square(), generator=generator)
        (grad,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
        truth = family.natural_parameters(raw).requires_grad_()
        second_moment = family.mean(truth)[..., 1]
        (exact,) = torch.autograd.grad(second_moment.sum(), truth)
        samples = torch.cat((estimate.value.unsqueeze(1), grad.flatten(1)), 1)
        test = z_test(samples, torch.cat((second_moment.detach(), exact.flatten(1)), 1))
        assert test.passed
        assert test.detectable < 0.1


def test_more_samples_mean_less_variance_by_the_factor():
    """Var of a mean of M is 1/M of one: 8 against 1, within 10 %."""
    family = Bernoulli(3)
    f, eta = ToyIntegrand.random(family, 16), random_eta(family, 16)

    def spread(samples):
        generator = torch.Generator().manual_seed(0)
        estimator = Importance(samples=samples)
        return estimated_gradients(
            estimator, family, eta, f, replicates=40_000, generator=generator
        ).eta.var(0)

    assert torch.allclose(spread(1) / spread(8), torch.full((3,), 8.0).double(), rtol=0.1)


def test_the_z_test_itself_keeps_its_false_alarm_rate():
    """2,000 true nulls at a rate of 1 %: at most 45 rejections (4.7 standard deviations)."""
    generator = torch.Generator().manual_seed(0)
    rejected = 0
    for _ in range(2_000):
        samples = torch.randn(400, 5, generator=generator, dtype=torch.float64)
        rejected += not z_test(samples, torch.zeros(1, 5).double(), false_alarm=0.01).passed
    assert rejected <= 45
    assert rejected >= 3


def test_exact_gradients_by_finite_differences():
    family = Categorical(2, 3)
    f, eta = ToyIntegrand.random(family, 5), random_eta(family, 5)
    exact = exact_gradients(family, eta, f)
    step = 1e-6
    for index in range(eta.numel()):
        moved = [eta.clone(), eta.clone()]
        moved[0].view(-1)[index] += step
        moved[1].view(-1)[index] -= step
        up, down = (exact_gradients(family, m, f).value for m in moved)
        assert ((up - down) / (2 * step)).item() == pytest.approx(
            exact.eta[0, index].item(), abs=1e-7
        )


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("importence", "bernoulli", "Did you mean importance"),
        ("importance:proposal=unifrom", "bernoulli", "Did you mean uniform"),
        ("importance:tua=1", "bernoulli", "Did you mean tau"),
        ("importance:tau=x", "bernoulli", "must be a number. Got 'x'"),
        ("importance:samples=1.5", "bernoulli", "must be an int"),
        ("importance:samples=0", "bernoulli", "samples must be an int >= 1. Got 0"),
        ("importance:tau=-1,alpha=2", "bernoulli", "tau must be > 0. Got -1.0.; alpha must"),
        ("importance:tau=nan", "bernoulli", "tau must be > 0"),
        ("importance:xi=3", "bernoulli", "unknown"),
        ("importance:proposal", "bernoulli", "Write it like rloo:samples=4"),
        ("reparametrized", "bernoulli", "cannot handle a bernoulli code. Choices: importance"),
        ("importance:proposal=uniform", "gaussian", "cannot handle a gaussian code"),
    ],
)
def test_unreadable_estimators(text, kind, message):
    with pytest.raises(ConfigError, match=message):
        make_estimator(text, kind=kind)


def test_samples_given_twice_must_agree():
    assert make_estimator("importance:samples=3", kind="bernoulli", samples=3).samples == 3
    with pytest.raises(ConfigError, match="given twice"):
        make_estimator("importance:samples=3", kind="bernoulli", samples=2)


def test_uniform_proposal_is_refused_for_a_gaussian_code():
    eta = Gaussian(1).fixed_eta().unsqueeze(0)
    with pytest.raises(ConfigError, match="does not exist for a gaussian code"):
        Importance(proposal="uniform")(Gaussian(1), eta, lambda z: z.sum(-1), generator=None)
