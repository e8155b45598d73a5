"""The mixture against torch's own; clusters are where they were placed."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from discretevae.errors import ConfigError
from discretevae.families import Gaussian
from discretevae.priors import MixturePrior
from discretevae.priors.mixture import VARIANCE_FLOOR

K, D = 4, 3


@pytest.fixture
def prior():
    generator = torch.Generator().manual_seed(0)
    prior = MixturePrior(Gaussian(D), K, generator=generator).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(noise)
    return prior


def theirs(prior):
    normals = MultivariateNormal(prior.means, covariance_matrix=prior.covariances())
    return MixtureSameFamily(Categorical(logits=prior.logits), normals)


def test_covariances_are_tilted_and_positive_definite(prior):
    """So that the tests below are of more than diagonal ones."""
    covariances = prior.covariances()
    assert torch.linalg.eigvalsh(covariances).min() > 0
    assert covariances.tril(-1).abs().max() > 0.1
    assert torch.allclose(covariances, covariances.mT, atol=1e-12)


def codes(*lead):
    return 2 * torch.randn(
        (*lead, D), generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


def test_density_and_gradients_equal_those_of_torch(prior):
    found = []
    for log_prob in (prior.log_prob, theirs(prior).log_prob):
        z = codes(5, 7).requires_grad_()
        value = log_prob(z)
        found.append([value, *torch.autograd.grad(value.sum(), [z, *prior.parameters()])])
    assert found[0][0].shape == (5, 7)
    for ours, reference in zip(*found, strict=True):
        assert torch.allclose(ours, reference, atol=1e-8)


def test_responsibilities_are_bayes_rule(prior):
    z, mixture = codes(6), theirs(prior)
    joint = mixture.component_distribution.log_prob(z.unsqueeze(1)) + prior.logits.log_softmax(0)
    assert torch.allclose(prior.responsibilities(z), joint.softmax(1), atol=1e-12)
    assert torch.allclose(prior.responsibilities(z).sum(1), torch.ones(6).double())
    assert prior.responsibilities(z.reshape(2, 3, D)).shape == (2, 3, K)


@pytest.mark.parametrize("distance", [1e3, 1e6, 1e12])
def test_codes_far_away_have_finite_values_and_gradients(distance):
    prior = MixturePrior(Gaussian(D), K, generator=torch.Generator().manual_seed(0))
    z = torch.full((1, D), distance, requires_grad=True)
    value = prior.log_prob(z)
    gradients = torch.autograd.grad(value.sum(), [z, *prior.parameters()])
    assert value.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)
    responsibilities = prior.responsibilities(z)
    assert torch.allclose(responsibilities.sum(1), torch.ones(1))
    assert responsibilities.isfinite().all()


def test_far_from_everything_equal_clusters_keep_their_order():
    """Two clusters two apart, seen from a thousand away: a difference that squares would lose."""
    prior = MixturePrior(Gaussian(1), 2, generator=torch.Generator().manual_seed(0))
    prior.place(torch.ones(2), torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1))
    log_r = prior._log_joint(torch.tensor([1000.0]))
    assert math.isclose((log_r[1] - log_r[0]).item(), 2000.0, rel_tol=1e-3)


def test_samples_have_the_moments_of_the_mixture(prior):
    n = 100_000
    z = prior.sample(n, generator=torch.Generator().manual_seed(2))
    mixture = theirs(prior)
    z_score = (z.mean(0) - mixture.mean).abs() / (mixture.variance / n).sqrt()
    assert (z_score < 5.5).all()  # false alarm below 1e-6 for the three together
    share = prior.responsibilities(z).mean(0)  # E p(k|z) = π_k
    weights = prior.logits.softmax(0)
    spread = prior.responsibilities(z).std(0) / n**0.5
    assert ((share - weights).abs() < 5.5 * spread).all()
    # power: the components of another draw of weights would have been seen
    other = prior.logits.roll(1).softmax(0)
    assert ((share - other).abs() > 5.5 * spread).any()
    assert ((z.mean(0) - other @ prior.means).abs() / (mixture.variance / n).sqrt() > 5.5).any()


def test_without_temperature_only_the_largest_mean_is_left(prior):
    z = prior.sample(5, generator=torch.Generator().manual_seed(0), temperature=1e-12)
    assert torch.allclose(z, prior.means[prior.logits.argmax()].expand(5, D), atol=1e-4)


def test_it_starts_with_the_moments_of_the_standard_normal():
    prior = MixturePrior(Gaussian(1), 50_000, generator=torch.Generator().manual_seed(0))
    total = prior.covariances().mean() + prior.means.var()
    assert abs(total.item() - 1) < 5.5 * 0.5 * (2 / 50_000) ** 0.5
    assert prior.means.unique().numel() > 49_000


def test_clusters_are_placed_where_they_are_wanted():
    prior = MixturePrior(Gaussian(2), 3, generator=torch.Generator().manual_seed(0))
    means = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    variances = torch.tensor([[1.0, 2.0], [0.0, 1e-9], [3.0, 4.0]])
    parameters = list(prior.parameters())
    prior.place(torch.tensor([2.0, 1.0, 1.0]), means, variances)
    assert torch.allclose(prior.logits.softmax(0), torch.tensor([0.5, 0.25, 0.25]))
    assert torch.equal(prior.means, means)
    expected = torch.diag_embed(variances + VARIANCE_FLOOR)
    assert torch.allclose(prior.covariances(), expected, rtol=1e-4)
    tilted = torch.tensor([[2.0, 0.9], [0.9, 1.0]]).repeat(3, 1, 1)
    prior.place(torch.ones(3), means, tilted)
    assert torch.allclose(prior.covariances(), tilted, atol=2e-4)
    assert all(
        p is q and p.requires_grad for p, q in zip(parameters, prior.parameters(), strict=True)
    )


def test_a_placement_that_makes_no_sense_is_refused_whole():
    prior = MixturePrior(Gaussian(2), 3, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    good = torch.ones(3), torch.zeros(3, 2), torch.ones(3, 2)
    for position, value, message in (
        (0, torch.ones(2), r"weights must have the shape \[3\]. Got \[2\]"),
        (0, torch.tensor([1.0, 0.0, 1.0]), "weights must be > 0"),
        (1, torch.zeros(2, 3), r"means must have the shape \[3, 2\]"),
        (1, torch.full((3, 2), math.nan), "means must be finite"),
        (2, torch.full((3, 2), -1.0), "covariances must be positive definite"),
        (2, torch.tensor([[1.0, 2.0], [2.0, 1.0]]).repeat(3, 1, 1), "must be positive definite"),
    ):
        wrong = [*good]
        wrong[position] = value
        with pytest.raises(ConfigError, match=message):
            prior.place(*wrong)
    assert all(torch.equal(before[name], value) for name, value in prior.state_dict().items())


def test_at_least_one_component():
    with pytest.raises(ConfigError, match=r"n_components must be an int >= 1. Got 0"):
        MixturePrior(Gaussian(2), 0)
