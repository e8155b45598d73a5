"""Missing cells: guesses by the sum over all codes, by weighted draws, and what is refused."""

import numpy as np
import pytest
import torch

from discretevae.codes.imputing import impute
from discretevae.config import ModelConfig
from discretevae.data import load_rows
from discretevae.errors import ConfigError, DataError
from discretevae.model.vae import DiscreteVAE

N = 40
RNG = np.random.default_rng(1)
TABLE = np.column_stack([RNG.normal(size=N), RNG.poisson(2, N), RNG.integers(0, 2, N) + 0.0])
TABLE[np.arange(0, N, 3), RNG.integers(0, 3, 14)] = np.nan
TABLE[np.arange(0, N, 6), 1] = np.nan


def table_and_model(latent="bernoulli:3"):
    rows = load_rows(TABLE, scale="columns")
    config = ModelConfig(n_features=3, latent=latent, hidden=(8,), prior="factorized",
                         likelihood="mixed:real,count,boolean")  # fmt: skip
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():  # codes that differ
        model.decoder[-1].weight.mul_(6)
    return rows, model


def by_hand(model, x):
    """E[x_m|x_o] of one row with Bayes' rule, state by state."""
    weights, means = [], []
    for n in range(8):
        z = torch.tensor([[(n >> 2) & 1, (n >> 1) & 1, n & 1]]).float()
        output = model.output(z)
        log_px = sum(
            model.likelihood.cells(output, x.unsqueeze(0))[0, p]
            for p in range(3)
            if not x[p].isnan()
        )
        weights.append(model.prior.log_prob(z)[0] + log_px)
        means.append(model.likelihood.mean(output)[0])
    shares = torch.softmax(torch.stack(weights), 0)
    return shares @ torch.stack(means)


@torch.no_grad()
def test_guesses_are_the_posterior_mean():
    rows, model = table_and_model()
    x, filled = rows.batch(slice(None)), impute(model, rows)
    there = ~x.isnan()
    assert torch.equal(filled[there], x[there])
    for row in (~there).any(1).nonzero().squeeze(1).tolist():
        expected = by_hand(model, x[row])
        assert torch.allclose(filled[row][~there[row]], expected[~there[row]], atol=1e-5)
    # guesses that do not look at the row are others
    prior_mean = by_hand(model, torch.full((3,), torch.nan))
    assert (filled[~there] - prior_mean.expand(N, 3)[~there]).abs().max() > 0.05


@torch.no_grad()
def test_weighted_draws_come_to_the_sum(monkeypatch):
    """20,000 weighted draws: errors of some hundredths at most, unweighted ones of tenths."""
    rows, model = table_and_model()
    exact = impute(model, rows)
    monkeypatch.setattr("discretevae.codes.imputing.is_enumerable", lambda family: False)
    drawn = impute(model, rows, samples=20_000, seed=4)
    assert torch.allclose(exact, drawn, atol=0.1)
    assert (exact - drawn).abs().mean() < 0.01


def test_draws_are_of_the_kind_of_their_column_and_follow_the_seed():
    rows, model = table_and_model("bernoulli:30")
    first, same, other = (impute(model, rows, draw=True, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert set(first[:, 2].tolist()) == {0, 1}
    assert torch.equal(first[:, 1], first[:, 1].round())
    assert not impute(model, rows, samples=5).isnan().any()


def test_what_cannot_be_filled_is_refused():
    rows, model = table_and_model()
    plain = DiscreteVAE(ModelConfig(n_features=2, latent="bernoulli:2", hidden=(4,)))
    with pytest.raises(ConfigError, match="knows no missing cells"):
        impute(plain, load_rows(np.eye(2)))
    with pytest.raises(ConfigError, match="`samples` must be an int >= 1"):
        impute(model, rows, samples=0)
    with pytest.raises(DataError, match="not of the kinds"):
        impute(model, load_rows(np.random.default_rng(0).normal(size=(20, 3))))
