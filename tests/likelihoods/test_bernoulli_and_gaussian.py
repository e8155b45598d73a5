"""Bernoulli and Gaussian likelihoods against plain formulas and torch.distributions."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import distributions as td

from discretevae.errors import ConfigError
from discretevae.likelihoods import (
    BernoulliLikelihood,
    GaussianLikelihood,
    LearnedGaussianLikelihood,
    likelihood_named,
)
from discretevae.likelihoods.gaussian import SCALE_FLOOR


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
    for scale in (1.0, 0.2, 7.0):
        expected = td.Normal(output, scale).log_prob(x).sum(-1)
        assert torch.allclose(GaussianLikelihood(scale).log_prob(output, x), expected, atol=1e-10)
    learned = LearnedGaussianLikelihood(6).double()
    scales = torch.linspace(0.1, 2, 6, dtype=torch.float64)
    learned.start_at(scales)
    expected = td.Normal(output, scales).log_prob(x).sum(-1)
    assert torch.allclose(learned.log_prob(output, x), expected, atol=1e-10)


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


def test_a_gaussian_table_survives_a_small_scale():
    """In float32 the expanded square would be off by tens of nats at σ = 0.001."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(20, 784, generator=generator)
    output = x[:5] + 1e-3 * torch.randn(5, 784, generator=generator)
    learned = LearnedGaussianLikelihood(784)
    learned.start_at(torch.full((784,), 0.0015))
    for likelihood, scale in ((GaussianLikelihood(1e-3), 1e-3), (learned, 0.0015)):
        exact = td.Normal(output.double(), scale).log_prob(x.double()[:, None]).sum(-1)
        error = (likelihood.table(output, x).double() - exact).abs()
        assert (error <= 1e-5 * exact.abs().clamp(min=1000)).all()
        # the same in float32, to see that there was something to be lost
        squares = x.square().sum(-1, keepdim=True) + output.square().sum(-1)
        naive = (x @ output.T - 0.5 * squares) / scale**2
        exact_squares = -0.5 * ((x.double()[:, None] - output.double()) / scale).square().sum(-1)
        assert (naive - exact_squares).abs().max() > 1


def test_a_learned_scale_starts_at_the_data_and_never_vanishes():
    likelihood = LearnedGaussianLikelihood(4)
    assert torch.allclose(likelihood.scale(), torch.tensor(1.0), atol=1e-6)
    likelihood.start_at(torch.tensor([0.0, SCALE_FLOOR, 0.3, 50.0]))
    scale = likelihood.scale()
    assert torch.allclose(scale[2:], torch.tensor([0.3, 50.0]))
    assert (scale >= SCALE_FLOOR).all()
    assert (scale[:2] < 1.01 * SCALE_FLOOR).all()
    with torch.no_grad():
        likelihood.log_scale.fill_(-1000.0)
    value = likelihood.log_prob(torch.zeros(1, 4), torch.zeros(1, 4))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(likelihood.log_scale.grad).all()


def test_a_learned_scale_is_a_parameter_and_finds_the_noise():
    """The most likely σ of residuals is their root mean square."""
    likelihood = LearnedGaussianLikelihood(2)
    assert [name for name, _ in likelihood.named_parameters()] == ["log_scale"]
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 3.0])
    optimizer = torch.optim.LBFGS(likelihood.parameters(), max_iter=40, tolerance_grad=1e-6)

    def loss():
        optimizer.zero_grad()
        value = -likelihood.log_prob(torch.zeros(500, 2), x).mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert torch.allclose(likelihood.scale(), x.square().mean(0).sqrt(), rtol=1e-3)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_fixed_scale_must_be_positive(scale):
    with pytest.raises(ConfigError, match="scale must be > 0"):
        GaussianLikelihood(scale)


def far_from_zero(offset: float, spread: float):
    """Rows of 30 features, each beside one of 8 means that all lie around an offset."""
    generator = torch.Generator().manual_seed(0)
    output = offset + spread * torch.randn(8, 30, generator=generator)
    x = output.repeat(4, 1) + torch.randn(32, 30, generator=generator)
    return output, x


def error_of_table(table, likelihood, output, x):
    """Largest error of the value and of the gradient in ``output``, where p(x|z) counts."""
    wide, leaf = output.double().requires_grad_(), output.clone().requires_grad_()
    # the learned σ in float64 too, so that nothing but the table's own rounding is left
    scale = likelihood.scale
    scale = scale().detach().double() if callable(scale) else scale
    exact = td.Normal(wide, scale).log_prob(x.double().unsqueeze(1)).sum(-1)
    ours = table(likelihood, leaf, x)
    posterior = exact.detach().softmax(1)
    (theirs,) = torch.autograd.grad(exact, wide, posterior)
    (grad,) = torch.autograd.grad(ours, leaf, posterior.float())
    counts = posterior > 1e-6
    return (ours - exact)[counts].abs().max().item(), (grad - theirs).abs().max().item()


def uncentered(likelihood, output, x):
    """The table as it would be without what protects it: the square expanded in float32."""
    scale = likelihood.scale() if callable(likelihood.scale) else torch.tensor(likelihood.scale)
    output, x = output / scale, x / scale
    squares = x.square().sum(-1, keepdim=True) + output.square().sum(-1)
    constant = scale.expand(30).log().sum() + 15 * math.log(2 * math.pi)
    return x @ output.T - 0.5 * squares - constant


@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("offset", [0.0, 10.0, 100.0, 1e3, 1e4])
@pytest.mark.parametrize("text", ["gaussian", "gaussian:3", "gaussian:learned"])
def test_a_gaussian_table_is_exact_far_from_zero(text, offset, spread):
    likelihood = likelihood_named(text, 30)
    if text == "gaussian:learned":
        likelihood.start_at(torch.linspace(1, 30, 30))
    output, x = far_from_zero(offset, spread)
    value, gradient = error_of_table(type(likelihood).table, likelihood, output, x)
    assert value < 1e-4
    assert gradient < 1e-4
    if offset >= 100 and text == "gaussian":  # the test can tell
        value, gradient = error_of_table(uncentered, likelihood, output, x)
        assert value > 1e-2


def test_a_gaussian_table_is_exact_where_a_small_scale_meets_a_large_offset():
    """σ = 0.001 beside values of 10, where float32 still tells one σ from the next."""
    generator = torch.Generator().manual_seed(0)
    output = 10 + 1e-3 * torch.randn(5, 30, generator=generator)
    x = output.repeat(4, 1) + 1e-3 * torch.randn(20, 30, generator=generator)
    learned = LearnedGaussianLikelihood(30)
    learned.start_at(torch.full((30,), 0.0015))
    for likelihood in (GaussianLikelihood(1e-3), learned):
        value, _ = error_of_table(type(likelihood).table, likelihood, output, x)
        assert value < 1e-4
        assert error_of_table(uncentered, likelihood, output, x)[0] > 10


def test_gradients_of_a_gaussian_table_are_those_of_its_value_to_any_order():
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 4), (2, 4)
    output, x = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    learned = LearnedGaussianLikelihood(4).double()
    inputs = output.requires_grad_(), x.requires_grad_(), learned.log_scale
    with torch.random.fork_rng():  # both draw directions
        for likelihood in (GaussianLikelihood(0.5), learned):
            assert torch.autograd.gradcheck(lambda o, x, _: likelihood.table(o, x), inputs)  # noqa: B023
            assert torch.autograd.gradgradcheck(lambda o, x, _: likelihood.table(o, x), inputs)  # noqa: B023
