"""The likelihoods of 8-bit values against SciPy and against plain float64 formulas."""

import math

import pytest
import torch
from members import BYTES, made, outputs, rows
from scipy.stats import betabinom

from discretevae.errors import ConfigError
from discretevae.likelihoods import BetaBinomialLikelihood, LogisticLikelihood
from discretevae.likelihoods.beta_binomial import MAX_LOG_CONCENTRATION
from discretevae.likelihoods.logistic import MIN_LOG_SCALE

X = torch.arange(256, dtype=torch.float64).unsqueeze(1) / 255


def alpha_beta(output):
    logit, raw = output.double().unbind(-1)
    s = math.exp(MAX_LOG_CONCENTRATION) * torch.sigmoid(raw - MAX_LOG_CONCENTRATION)
    return s * torch.sigmoid(logit), s * torch.sigmoid(-logit)


@pytest.mark.parametrize("logit", [-6.0, -0.5, 0.0, 3.0])
@pytest.mark.parametrize("raw", [-6.0, -1.0, 0.0, 4.0, 9.0])
def test_beta_binomial_equals_scipy(logit, raw):
    output = torch.tensor([logit, raw], dtype=torch.float64)
    alpha, beta = alpha_beta(output)
    expected = torch.from_numpy(betabinom.logpmf(range(256), 255, alpha.item(), beta.item()))
    value = BetaBinomialLikelihood().log_prob(output.expand(256, 2), X)
    table = BetaBinomialLikelihood().table(output.expand(1, 2), X)[:, 0]
    # SciPy itself is off by 2e-9 where α and β are small
    assert torch.allclose(value, expected, rtol=1e-9, atol=1e-8)
    assert torch.allclose(value, table, rtol=1e-11, atol=1e-9)
    narrow = BetaBinomialLikelihood().log_prob(output.float().expand(256, 2), X.float())
    large = 1e-3 if raw > MAX_LOG_CONCENTRATION else 1e-4  # α + β of 2,000 costs digits
    assert ((narrow - value).abs() <= large + 2e-6 * value.abs()).all()


def test_beta_binomial_is_uniform_and_binomial_at_its_ends():
    uniform = torch.tensor([0.0, 8 - math.log(math.expm1(8 - math.log(2)))], dtype=torch.float64)
    value = BetaBinomialLikelihood().log_prob(uniform.expand(256, 2), X)
    assert torch.allclose(value, torch.tensor(-math.log(256), dtype=torch.float64), atol=1e-10)
    # vanishing concentration: 0 or 255, with the chances of the mean
    ends = BetaBinomialLikelihood().log_prob(
        torch.tensor([[1.0, -1000.0]] * 3), torch.tensor([[0.0], [1.0], [0.5]])
    )
    expected = torch.nn.functional.logsigmoid(torch.tensor([-1.0, 1.0]))
    assert torch.allclose(ends[:2], expected, atol=4e-5)
    assert ends[2] < -990


def direct_logistic(likelihood, output, k):
    """Σ_m π_m (F((k + ½)/255) − F((k − ½)/255)) as it is written."""
    m = likelihood.n_components
    pi = torch.ones(1).double() if m == 1 else output[:m].softmax(0)
    mu, raw = output[-2 * m :].chunk(2)
    s = torch.exp(MIN_LOG_SCALE + torch.nn.functional.softplus(raw - MIN_LOG_SCALE))
    upper = torch.sigmoid(((k[:, None] + 0.5) / 255 - mu) / s)
    lower = torch.sigmoid(((k[:, None] - 0.5) / 255 - mu) / s)
    upper = torch.where(k[:, None] == 255, torch.ones(()).double(), upper)
    lower = torch.where(k[:, None] == 0, torch.zeros(()).double(), lower)
    return ((upper - lower) * pi).sum(1)


@pytest.mark.parametrize("m", [1, 2, 5])
def test_logistic_equals_the_difference_of_its_distribution_function(m):
    likelihood = LogisticLikelihood(m)
    for seed in range(5):
        output = outputs(likelihood, 1, seed=seed)
        expected = direct_logistic(likelihood, output, torch.arange(256).double())
        value = likelihood.log_prob(output.expand(256, -1), X)
        assert torch.allclose(value.exp(), expected, rtol=1e-6, atol=1e-13)


def test_logistic_keeps_masses_that_the_difference_loses():
    """A narrow component far away: the plain difference is 0 even in float64."""
    likelihood = LogisticLikelihood()
    output = torch.tensor([0.9, -6.0], dtype=torch.float64)
    assert direct_logistic(likelihood, output, torch.tensor([250.0]).double()) > 0
    far = torch.tensor([9.0, -5.0], dtype=torch.float64)
    assert direct_logistic(likelihood, far, torch.tensor([128.0]).double()) == 0
    value = likelihood.log_prob(far.expand(1, 2), torch.tensor([[128 / 255]]).double())
    s = math.exp(MIN_LOG_SCALE + math.log1p(math.exp(3)))
    a, b = (((128 + d) / 255 - 9) / s for d in (-0.5, 0.5))
    expected = b + math.log1p(-math.exp(a - b))  # ln σ(b) = b and ln σ(−a) = 0 so far out
    assert math.isclose(value.item(), expected, rel_tol=1e-9)


def test_equal_components_are_one():
    one, three = LogisticLikelihood(), LogisticLikelihood(3)
    output = torch.tensor([0.4, -2.0], dtype=torch.float64)
    same = torch.cat((torch.zeros(3).double(), output.repeat_interleave(3)))
    value = three.log_prob(same.expand(256, -1), X)
    assert torch.allclose(value, one.log_prob(output.expand(256, -1), X), atol=1e-12)


@pytest.mark.parametrize("text", BYTES)
def test_values_are_read_as_the_nearest_byte(text):
    """k/255 in float32 is not exact; multiplied by 255 it must be k again."""
    likelihood = made(text, 256)
    k = torch.arange(256)
    output = outputs(likelihood, 256)
    exact = likelihood.log_prob(output, k.double() / 255)
    assert torch.equal(likelihood.log_prob(output, (k.float() / 255).double()), exact)


@pytest.mark.parametrize("text", BYTES)
def test_two_features_wide_tables_do_not_mix_features(text):
    likelihood = made(text, 7)
    output, x = outputs(likelihood, 7, (3,)), rows(likelihood, (6, 7))
    table = likelihood.table(output, x)
    moved = x.clone()
    moved[:, 4] = 1 - x[:, 4]
    by_feature = output.reshape(3, likelihood.channels, 7)[:, :, 4]
    change = likelihood.table(by_feature, moved[:, 4:5]) - likelihood.table(by_feature, x[:, 4:5])
    assert torch.allclose(likelihood.table(output, moved) - table, change, atol=1e-9)


@pytest.mark.parametrize("m", [0, -1, 1.5, "2"])
def test_a_mixture_has_components(m):
    with pytest.raises(ConfigError, match="n_components must be an int >= 1"):
        LogisticLikelihood(m)
