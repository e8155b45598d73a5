"""Fitting a prior to codes whose distribution is known, because the encoder copies the row."""

import math

import pytest
import torch
from torch import nn

from discretevae.config import ModelConfig
from discretevae.data import Rows
from discretevae.errors import ConfigError, DataError, TrainingError
from discretevae.model.vae import DiscreteVAE
from discretevae.priors import make_prior
from discretevae.training.prior_fitting import PriorEpoch, fit_prior

D = 4


@torch.no_grad()
def expected_log_prob(model, rows, prior, seed=0, samples=1, batch_size=4096):
    """E_x E_q(z|x) ln p(z), nats per row; dynamic rows are drawn once."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for x in rows.chunks(batch_size, seed=seed):
        z = model.family.sample(model.eta(x), samples, generator=generator)
        found.append(prior.log_prob(z).mean(0).double())
    return torch.cat(found).mean().item()


@pytest.fixture(scope="module")
def model():
    """z is x, but for one in five billion: the logit of each bit is 22 (2 x − 1)."""
    config = ModelConfig(n_features=D, latent=f"bernoulli:{D}", hidden=())
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    model.encoder[0].weight.data = 44 * torch.eye(D)
    nn.init.constant_(model.encoder[0].bias, -22.0)
    return model


@pytest.fixture(scope="module")
def truth():
    """Probabilities of the 16 states; far from independent bits, none of them rare."""
    generator = torch.Generator().manual_seed(5)
    return torch.softmax(1.2 * torch.randn(2**D, generator=generator, dtype=torch.float64), 0)


@pytest.fixture(scope="module")
def rows(model, truth):
    """2,048 rows whose shares are the truth, to the rounding of a row."""
    counts = (truth * 2048).round().long()
    return Rows.from_array(model.family.enumerate().repeat_interleave(counts, 0), name="toy")


@pytest.fixture(scope="module")
def shares(model, rows):
    """The distribution of the rows themselves: what maximum likelihood aims at."""
    powers = 2 ** torch.arange(D - 1, -1, -1)
    numbers = (rows.batch(slice(None)).long() * powers).sum(1)
    return torch.bincount(numbers, minlength=2**D).double() / len(rows)


def divergence(shares, prior):
    """KL(shares ‖ p)."""
    return (shares * (shares.log() - prior.log_prob_table().double())).sum().item()


def made(text, model, seed=0):
    return make_prior(text, model.family, generator=torch.Generator().manual_seed(seed))


def fitted(text, model, rows, epochs, lr=0.05, batch_size=128, seed=0):
    prior = made(text, model)
    history = fit_prior(model, rows, prior, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed)
    return prior, history


@pytest.fixture(scope="module")
def autoregressive(model, rows):
    return fitted("autoregressive:32", model, rows, epochs=30, batch_size=256)


@pytest.fixture(scope="module")
def factorized(model, rows):
    return fitted("factorized", model, rows, epochs=10, lr=0.1)


def total_correlation(shares):
    """KL(shares ‖ Π_d of its marginals), the best that independent bits can do."""
    joint = shares.reshape([2] * D)
    product = torch.ones(()).double()
    for d in range(D):
        marginal = joint.sum([other for other in range(D) if other != d])
        product = product * marginal.reshape([2 if other == d else 1 for other in range(D)])
    return (joint * (joint.log() - product.log())).sum().item()


def test_an_autoregressive_prior_recovers_the_distribution(autoregressive, shares):
    prior, history = autoregressive
    entropy = -(shares * shares.log()).sum().item()
    assert 0 <= divergence(shares, prior) < 2e-3
    assert history[-1].log_prob == pytest.approx(-entropy, abs=0.01)
    assert [epoch.epoch for epoch in history] == list(range(1, 31))


def test_independent_bits_reach_the_total_correlation_and_no_further(factorized, shares):
    prior, _ = factorized
    best = total_correlation(shares)
    assert best > 0.1
    assert best - 1e-6 < divergence(shares, prior) < best + 1e-3


def test_the_gain_over_independent_bits_is_what_they_miss(
    model, rows, shares, autoregressive, factorized
):
    best = total_correlation(shares)
    assert autoregressive[1][-1].log_prob > factorized[1][-1].log_prob + best / 2
    ours, theirs = (
        expected_log_prob(model, rows, prior) for prior, _ in (autoregressive, factorized)
    )
    assert ours - theirs == pytest.approx(best, abs=5e-3)


def test_the_expectation_is_that_of_the_table(model, rows, shares):
    prior, _ = fitted("autoregressive:8", model, rows, epochs=2)
    found = expected_log_prob(model, rows, prior, samples=3, batch_size=100)
    by_hand = (shares * prior.log_prob_table().double()).sum().item()
    assert found == pytest.approx(by_hand, abs=1e-4)


@pytest.mark.parametrize("text", ["autoregressive:8", "factorized"])
def test_the_same_seed_gives_the_same_bits_and_leaves_all_else_alone(text, model, rows):
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, other, third = (fitted(text, model, rows, epochs=2, seed=seed) for seed in (0, 0, 1))
    assert one[1] == other[1] != third[1]
    for name, value in one[0].state_dict().items():
        assert torch.equal(value, other[0].state_dict()[name])
        assert not torch.equal(value, third[0].state_dict()[name])
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_codes_are_drawn_anew_in_every_pass(rows):
    """A blind encoder: every z is a coin, so that only a prior which never saw one twice fits."""
    config = ModelConfig(n_features=D, latent="bernoulli:13", hidden=())
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    for parameter in model.encoder.parameters():
        nn.init.zeros_(parameter)
    prior = made("autoregressive:64", model)
    few = rows.subset(slice(0, 64))
    fit_prior(model, few, prior, epochs=100, batch_size=64, lr=0.02)
    fair = -13 * math.log(2)
    assert expected_log_prob(model, rows, prior) == pytest.approx(fair, abs=0.3)
    # power: 64 codes that are drawn once are learned by heart, and all others pay for it
    once, generator = made("autoregressive:64", model), torch.Generator().manual_seed(0)
    z = model.family.sample(torch.zeros(64, 13), 1, generator=generator)
    optimizer = torch.optim.Adam(once.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        (-once.log_prob(z).mean()).backward()
        optimizer.step()
    assert expected_log_prob(model, rows, once) < fair - 3


def test_dynamic_binarization_draws_anew_and_follows_the_seed(model):
    grey = Rows.from_array(torch.full((256, D), 0.5), name="grey")
    prior = made("factorized", model)
    fit_prior(model, grey.binarized("dynamic"), prior, epochs=3, lr=0.01)
    # every bit is a coin; under `none` the logit of x = ½ is 0 and the codes are coins as well
    assert prior.raw.abs().max() < 0.2
    sharp = made("factorized", model)
    fit_prior(model, grey.binarized("threshold"), sharp, epochs=50, lr=0.2)
    assert sharp.raw.max() < -2  # x > ½ is nowhere true
    values = [
        expected_log_prob(model, grey.binarized("dynamic"), sharp, seed=seed) for seed in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]


def test_a_mixture_finds_the_clusters_of_a_gaussian_code():
    config = ModelConfig(n_features=2, latent="gaussian:2", hidden=(), likelihood="gaussian")
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    weight, bias = (parameter.detach() for parameter in model.encoder.parameters())
    weight.zero_()
    weight[0, 0] = weight[2, 1] = 1.0  # (μ, ln σ²) of each variable: μ = x
    bias.copy_(torch.tensor([0.0, math.log(0.01), 0.0, math.log(0.01)]))
    centers = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    rows = Rows.from_array(centers.repeat(200, 1), name="three points")
    prior, plain = made("mixture:3", model), made("factorized", model)
    prior.place(torch.ones(3), centers / 2, torch.ones(3, 2))
    for fitting in (prior, plain):
        fit_prior(model, rows, fitting, epochs=40, batch_size=100, lr=0.1)
    best = -math.log(3) - math.log(2 * math.pi * math.e * 0.01)
    found = expected_log_prob(model, rows, prior)
    assert found == pytest.approx(best, abs=0.15)
    assert found > expected_log_prob(model, rows, plain) + 2
    assert torch.allclose(prior.means, centers, atol=0.05)
    assert torch.equal(prior.responsibilities(centers).argmax(1), torch.arange(3))


def test_progress_counts_rows(model, rows):
    told = []
    history = fit_prior(
        model, rows, made("factorized", model), epochs=2, batch_size=1000, progress=told.append
    )
    n = len(rows)
    assert told == [1000, 2000, n, n + 1000, n + 2000, 2 * n]
    assert [type(epoch) for epoch in history] == [PriorEpoch] * 2


def test_what_cannot_be_fitted_is_refused(model, rows):
    prior = made("factorized", model)
    for options, message in (
        ({"epochs": 0}, "`epochs` must be an int >= 1. Got 0"),
        ({"batch_size": 0}, "`batch_size` must be an int >= 1. Got 0"),
        ({"lr": 0.0}, "`lr` must be > 0 and finite. Got 0.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit_prior(model, rows, prior, **options)
    with pytest.raises(ConfigError, match="a fixed prior has nothing to learn"):
        fit_prior(model, rows, model.prior)
    other = DiscreteVAE(ModelConfig(n_features=D, latent="bernoulli:5"))
    with pytest.raises(ConfigError, match="one of bernoulli:5, the model's code is bernoulli:4"):
        fit_prior(model, rows, made("factorized", other))
    with pytest.raises(DataError, match="rows have 3 features"):
        fit_prior(model, Rows.from_array(torch.zeros(2, 3)), prior)
    with pytest.raises(TrainingError, match="Try a smaller `lr`"):
        fit_prior(model, rows, made("autoregressive:8", model), epochs=1, lr=1e38)
