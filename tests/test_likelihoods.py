"""Likelihoods against plain formulas: values, gradients of any order, tables."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import distributions as td

from discretevae.errors import ConfigError
from discretevae.likelihoods import BernoulliLikelihood, GaussianLikelihood, likelihood_named

LIKELIHOODS = [BernoulliLikelihood(), GaussianLikelihood()]


def batch(dtype=torch.float64, scale=3.0):
    generator = torch.Generator().manual_seed(0)
    output = scale * torch.randn(3, 4, 6, generator=generator, dtype=dtype)
    return output, torch.rand(4, 6, generator=generator, dtype=dtype)


def plain_bernoulli(output, x):
    return (x * output - F.softplus(output)).sum(-1)


def test_bernoulli_value_and_gradient_equal_the_plain_formula():
    output, x = batch()
    output.requires_grad_()
    value = BernoulliLikelihood().log_prob(output, x)
    assert torch.allclose(value, plain_bernoulli(output, x), atol=1e-12)
    weight = torch.linspace(-1, 2, 12).reshape(3, 4).double()
    (ours,) = torch.autograd.grad(value, output, weight)
    (theirs,) = torch.autograd.grad(plain_bernoulli(output, x), output, weight)
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_bernoulli_can_be_differentiated_twice_and_backward_run_twice():
    output, x = batch()
    output.requires_grad_()
    likelihood = BernoulliLikelihood()
    assert torch.autograd.gradgradcheck(lambda o: likelihood.log_prob(o, x), (output,))
    value = likelihood.log_prob(output, x).sum()
    first = torch.autograd.grad(value, output, retain_graph=True)[0].clone()
    assert torch.allclose(torch.autograd.grad(value, output)[0], first, atol=1e-12)


def test_bernoulli_equals_torch_distributions_on_binary_data():
    output, x = batch()
    x = (x > 0.5).double()
    expected = td.Bernoulli(logits=output).log_prob(x).sum(-1)
    assert torch.allclose(BernoulliLikelihood().log_prob(output, x), expected, atol=1e-12)


@pytest.mark.parametrize("value", [40.0, -40.0, 1e4, -1e4, 0.0, 16.7, -16.7])
def test_bernoulli_is_safe_and_accurate_at_every_size(value):
    """float32 against float64: an error of 1e-6 relative to |l|, finite value and gradient."""
    output = torch.full((1, 1, 3), value, requires_grad=True)
    x = torch.tensor([[0.0, 0.4, 1.0]])
    result = BernoulliLikelihood().log_prob(output, x)
    expected = plain_bernoulli(output.double(), x.double())
    assert abs(result.item() - expected.item()) <= 1e-6 * max(1, abs(value))
    result.sum().backward()
    assert torch.allclose(output.grad, x - torch.sigmoid(output), atol=1e-7)


def test_gaussian_equals_torch_distributions():
    output, x = batch()
    expected = td.Normal(output, 1.0).log_prob(x).sum(-1)
    assert torch.allclose(GaussianLikelihood().log_prob(output, x), expected, atol=1e-12)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_table_equals_one_row_and_state_at_a_time(likelihood):
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.rand(4, 6, generator=generator, dtype=torch.float64)
    table = likelihood.table(output, x)
    single = torch.stack([likelihood.log_prob(o.expand(1, 4, 6), x)[0] for o in output], 1)
    assert torch.allclose(table, single, atol=1e-12)
    weight = torch.rand(4, 5, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad(table, output, weight)[0]
    assert torch.allclose(ours, torch.autograd.grad(single, output, weight)[0], atol=1e-12)


def test_bernoulli_probabilities_of_all_rows_sum_to_one():
    output = torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).double()
    log_p = BernoulliLikelihood().log_prob(output.expand(1, 16, 4), rows)
    assert torch.logsumexp(log_p, 1).abs().item() < 1e-12


def test_gaussian_constant_is_that_of_a_density():
    """∫ p(x) dx = 1, by a fine sum in one dimension."""
    x = torch.linspace(-10, 10, 20_001, dtype=torch.float64).unsqueeze(1)
    log_p = GaussianLikelihood().log_prob(torch.full((1, 20_001, 1), 0.7, dtype=torch.float64), x)
    assert math.isclose(log_p.exp().sum().item() * 1e-3, 1.0, rel_tol=1e-9)


def test_unknown_name():
    with pytest.raises(ConfigError, match="unknown"):
        likelihood_named("poisson")
