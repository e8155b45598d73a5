"""Likelihoods of counts against SciPy and against torch's own distributions."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from discretevae.likelihoods import likelihood_named
from discretevae.likelihoods.counts import MAX_LOG_RATE, MultinomialLikelihood

X = torch.tensor([[0.0, 3, 0, 1], [0, 0, 0, 0], [7, 0, 2, 40]]).double()
OUTPUT = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double()


def rates(output):
    return np.exp(MAX_LOG_RATE - np.logaddexp(0, MAX_LOG_RATE - output.numpy()))


def test_multinomial_is_scipys_given_the_length_of_a_row():
    value = likelihood_named("multinomial").log_prob(OUTPUT, X)
    shares = torch.softmax(OUTPUT, -1).numpy()
    for s, b in product(range(2), range(3)):
        wanted = stats.multinomial(int(X[b].sum()), shares[s, b]).logpmf(X[b].numpy())
        assert value[s, b].item() == pytest.approx(wanted, abs=1e-9)
    assert (value[:, 1] == 0).all()  # nothing is said by a row without counts


def test_poisson_is_scipys():
    value = likelihood_named("poisson").log_prob(OUTPUT, X)
    wanted = stats.poisson(rates(OUTPUT)).logpmf(X.numpy()).sum(-1)
    assert np.allclose(value.numpy(), wanted, atol=1e-9)


def test_negative_binomial_is_torchs_with_a_concentration_of_each_column():
    likelihood = likelihood_named("negative-binomial", 4).double()
    likelihood.log_concentration.data = torch.tensor([-2.0, 0.0, 1.0, 6.0]).double()
    r, rate = likelihood.log_concentration.detach().exp(), torch.from_numpy(rates(OUTPUT))
    theirs = torch.distributions.NegativeBinomial(r, logits=rate.log() - r.log())
    value = likelihood.log_prob(OUTPUT, X)
    assert torch.allclose(value, theirs.log_prob(X.expand(2, 3, 4)).sum(-1), atol=1e-9)
    assert torch.allclose(theirs.mean, likelihood.mean(OUTPUT))
    probability = (r / (r + rate)).numpy()
    wanted = stats.nbinom(r.numpy(), probability).logpmf(X.numpy()).sum(-1)
    assert np.allclose(value.detach().numpy(), wanted, atol=1e-8)


def test_a_large_concentration_is_poisson():
    likelihood = likelihood_named("negative-binomial", 4)
    likelihood.log_concentration.data.fill_(40.0)
    ours = likelihood.log_prob(OUTPUT.float(), X.float())
    poisson = likelihood_named("poisson").log_prob(OUTPUT, X)
    assert torch.allclose(ours.double(), poisson, rtol=1e-4)


def test_masses_of_all_rows_of_one_length_add_up_to_one():
    rows = [x for x in product(range(5), repeat=3) if sum(x) == 4]
    x = torch.tensor(rows).double()
    output = OUTPUT[0, :1, :3].expand(1, len(x), 3)
    p = MultinomialLikelihood().log_prob(output, x).exp()[0]
    assert p.sum().item() == pytest.approx(1)
    mean = p @ x
    assert torch.allclose(mean / 4, MultinomialLikelihood().mean(output)[0, 0])


@pytest.mark.parametrize("name", ["multinomial", "poisson", "negative-binomial"])
def test_table_is_one_state_at_a_time(name):
    likelihood = likelihood_named(name, 4)
    states, x = OUTPUT.reshape(6, 4).float(), X.float()
    table = likelihood.table(states, x)
    single = torch.stack([likelihood.log_prob(o.expand(1, 3, 4), x)[0] for o in states], 1)
    assert torch.allclose(table, single, rtol=1e-5, atol=1e-4)
    gradients = [
        torch.autograd.grad(likelihood.table(leaf, x).sum(), leaf)[0]
        for leaf in (states.clone().requires_grad_(),)
    ]
    assert torch.isfinite(gradients[0]).all()


def test_the_mean_of_data_is_what_a_decoder_starts_from():
    mean = torch.tensor([2.0, 0.0, 0.5, 1.5])
    likelihood = likelihood_named("multinomial")
    assert torch.allclose(likelihood.mean(likelihood.output_for(mean)), mean / 4, atol=1e-6)


def test_a_row_of_the_multinomial_is_one_count_at_its_share():
    likelihood, n = likelihood_named("multinomial"), 4000
    output = torch.tensor([0.0, math.log(3)]).expand(2, n, 2)
    x = likelihood.sample(output, generator=torch.Generator().manual_seed(0))
    assert x.shape == (2, n, 2)
    assert (x.sum(-1) == 1).all()
    # five standard deviations: a false alarm in two million
    assert abs(x[..., 1].mean().item() - 0.75) < 5 * math.sqrt(0.1875 / (2 * n))
