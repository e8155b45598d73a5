"""The continuous Bernoulli against torch.distributions and its own closed forms."""

import math

import pytest
import torch
from torch import distributions as td

from discretevae.likelihoods import BernoulliLikelihood, ContinuousBernoulliLikelihood
from discretevae.likelihoods.continuous_bernoulli import log_sinh_ratio

LOGITS = torch.tensor([-12.0, -3.0, -0.31, -0.3, -1e-3, 0.0, 1e-9, 0.2, 0.305, 2.0, 15.0]).double()


def test_values_and_means_equal_torch_distributions():
    """torch's own loses digits near λ = ½ within its limits, which are put close together."""
    theirs = td.ContinuousBernoulli(logits=LOGITS, lims=(0.4999, 0.5001), validate_args=False)
    likelihood = ContinuousBernoulliLikelihood()
    for x in (0.0, 0.3, 1.0):
        rows = torch.full((len(LOGITS), 1), x).double()
        value = likelihood.log_prob(LOGITS.unsqueeze(1), rows)
        assert torch.allclose(value, theirs.log_prob(rows[:, 0]), atol=1e-8)
    assert torch.allclose(likelihood.mean(LOGITS), theirs.mean, atol=1e-8)


def test_the_constant_is_that_of_the_paper():
    """C(λ) = 2 artanh(1 − 2λ) / (1 − 2λ)."""
    rate = torch.tensor([0.01, 0.2, 0.49, 0.7, 0.999]).double()
    constant = 2 * torch.atanh(1 - 2 * rate) / (1 - 2 * rate)
    x = torch.full((5, 1), 0.3).double()
    logits = torch.logit(rate).unsqueeze(1)
    ratio = ContinuousBernoulliLikelihood().log_prob(logits, x) - BernoulliLikelihood().log_prob(
        logits, x
    )
    assert torch.allclose(ratio, constant.log(), atol=1e-12)


@pytest.mark.parametrize("logit", [-30.0, -2.0, 0.0, 1e-4, 5.0, 40.0])
def test_the_mean_is_not_lambda_but_the_expectation(logit):
    mean = ContinuousBernoulliLikelihood().mean(torch.tensor([logit]).double()).item()
    x = (torch.arange(200_000).double() + 0.5) / 200_000
    p = (x * logit - max(logit, 0)).exp()
    assert math.isclose(mean, ((p * x).sum() / p.sum()).item(), rel_tol=1e-6)
    if abs(logit) > 1:
        assert abs(mean - torch.sigmoid(torch.tensor(logit)).item()) > 0.02


def test_the_series_meets_the_formula_it_replaces():
    t = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    t = t[t.abs() > 1e-2]
    value, slope = log_sinh_ratio(t)
    assert torch.allclose(value, torch.log(torch.sinh(t / 2) / (t / 2)), atol=1e-13, rtol=0)
    assert torch.allclose(slope, 0.5 / torch.tanh(t / 2) - 1 / t, atol=1e-12, rtol=0)
    narrow, narrow_slope = log_sinh_ratio(t.float())
    assert (narrow - value).abs().max() < 1e-6
    assert (narrow_slope - slope).abs().max() < 4e-6


def test_a_density_may_exceed_one_and_does_not_end():
    likelihood = ContinuousBernoulliLikelihood()
    value = likelihood.log_prob(torch.tensor([[-100.0], [-10_000.0]]), torch.zeros(2, 1))
    assert torch.allclose(value, torch.tensor([100.0, 10_000.0]).log(), atol=1e-3)
