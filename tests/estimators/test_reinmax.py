"""ReinMax's relatives: the same expectation by enumeration, less noise, and a known bias."""

import pytest
import torch
from test_relaxation import FAMILIES, AllBits, AllCategories, Quadratic, expected_gradient

from discretevae.estimators.contract import (
    ToyIntegrand,
    estimated_gradients,
    random_eta,
    z_test,
)
from discretevae.estimators.reinmax import ReinMax, ReinMaxCV, ReinMaxRao
from discretevae.families import Bernoulli, Categorical


class PairsOfBits(Bernoulli):
    """Row n of the batch is given the n-th pair of states as its two samples."""

    def sample(self, eta, n_samples, *, generator):
        states = self.enumerate().to(eta)
        n = len(states)
        return torch.stack(
            (states.repeat_interleave(n, 0), states.repeat(n, *[1] * states[0].ndim))
        )


class PairsOfCategories(Categorical):
    sample = PairsOfBits.sample


def of_pairs(estimator, family, eta, f):
    """Every pair's gradient ``[N², …]`` and its probability."""
    n = family.n_states**2
    etas = eta.expand(n, *eta.shape).clone().requires_grad_()
    estimate = estimator(family, etas, f, generator=None)
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
    q = family.log_prob(eta, family.enumerate().to(eta)).exp()
    return grad, torch.outer(q, q).flatten()


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    ("pairs", "singles"),
    [(PairsOfBits(3), AllBits(3)), (PairsOfCategories(2, 3), AllCategories(2, 3))],
    ids=["bits", "categories"],
)
def test_the_control_variate_leaves_the_expectation_of_reinmax(pairs, singles, scale):
    f, eta = ToyIntegrand.random(singles, 0), random_eta(singles, 0)
    expected = expected_gradient(ReinMax(), singles, eta, f.repeated(singles.n_states))
    grad, weight = of_pairs(ReinMaxCV(scale=scale), pairs, eta, f.repeated(pairs.n_states**2))
    found = torch.einsum("n,n...->...", weight, grad)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", [PairsOfBits(3), PairsOfCategories(2, 3)], ids=repr)
def test_a_linear_f_has_no_noise_left(family):
    f, eta = Quadratic(family), random_eta(family, 1)
    f.a = torch.zeros_like(f.a)
    grad, _ = of_pairs(ReinMaxCV(scale=1.0), family, eta, f)
    assert torch.allclose(grad, grad[:1].expand_as(grad), atol=1e-12)
    plain, _ = of_pairs(ReinMax(samples=2), family, eta, f)
    assert not torch.allclose(plain, plain[:1].expand_as(plain), atol=0.01)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_scale_zero_is_reinmax(family):
    f, eta = ToyIntegrand.random(family, 2).repeated(1), random_eta(family, 2).unsqueeze(0)
    found = []
    for estimator in (ReinMaxCV(samples=3, scale=0.0), ReinMax(samples=3)):
        leaf = eta.clone().requires_grad_()
        generator = torch.Generator().manual_seed(0)
        estimate = estimator(family, leaf, f, generator=generator)
        found.append(torch.autograd.grad(estimate.surrogate.sum(), leaf)[0])
    assert torch.allclose(*found, atol=1e-12)


@pytest.mark.parametrize("tau", [0.5, 1.0])
@pytest.mark.parametrize("logit", [-1.3, 0.4])
def test_the_expectation_of_reinmax_rao_for_one_bit(logit, tau):
    """Against quadrature over a logistic cut to the side of z; false-alarm rate 1e-5."""
    family, eta = Bernoulli(1), torch.tensor([logit], dtype=torch.float64)
    f = ToyIntegrand.random(family, 0)
    q = torch.sigmoid(eta)
    _, slope = f.value_and_grad(torch.tensor([[[0.0]], [[1.0]]]).double())
    share = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    truth = torch.zeros(1, dtype=torch.float64)
    for z, weight in ((0, 1 - q), (1, q)):
        p = (q + z) / 2
        u = 1 - p + p * share if z else (1 - p) * share  # u > 1 − p where p.logit() + logit(u) > 0
        y = torch.sigmoid((p.logit() + u.logit()) / tau)
        first = (y * (1 - y)).mean() / tau
        truth += weight * (2 * first - 0.5 * q * (1 - q)) * slope[z, 0]
    found = estimated_gradients(
        ReinMaxRao(tau=tau, resamples=3), family, eta, f, replicates=40_000,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert z_test(found.eta, truth.unsqueeze(0)).passed


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_a_high_temperature_has_less_noise(family):
    f, eta = ToyIntegrand.random(family, 16), random_eta(family, 16)

    def noise(estimator):
        generator = torch.Generator().manual_seed(0)
        found = estimated_gradients(
            estimator, family, eta, f, replicates=4_000, generator=generator
        )
        return found.eta.var(0).sum()

    assert noise(ReinMaxRao(tau=1.5)) < noise(ReinMaxRao()) < noise(ReinMaxRao(tau=0.5))
