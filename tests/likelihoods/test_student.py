"""Student's t against SciPy's, and what a table of measurements asks of it."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, t

from discretevae.likelihoods import StudentLikelihood, likelihood_named
from discretevae.likelihoods.student import LEAST_SCALE

FALSE_ALARM = 1e-7  # under seeds that are fixed anyway


def made(n_features, dtype=torch.float64):
    likelihood = StudentLikelihood(n_features).to(dtype)
    with torch.no_grad():
        likelihood.freedom.copy_(torch.linspace(-2, 3, n_features))
    return likelihood


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(shape, generator=generator, dtype=torch.float64)


def theirs(likelihood, output):
    """SciPy's distribution of each feature under one output, ``[2P]``."""
    center, raw = output.detach().numpy().reshape(2, -1)
    nu = 1 + np.logaddexp(0, likelihood.freedom.detach().numpy())
    return t(nu, center, np.logaddexp(0, raw) + LEAST_SCALE)


def test_log_prob_is_scipys_and_a_sum_over_cells():
    likelihood, output, x = made(5), drawn(2, 3, 10), drawn(3, 5, seed=1)
    x[0] *= 1e4
    found = likelihood.log_prob(output, x)
    assert found.shape == (2, 3)
    assert torch.equal(likelihood.cells(output, x).sum(-1), found)
    for s in range(2):
        for b in range(3):
            wanted = theirs(likelihood, output[s, b]).logpdf(x[b].numpy())
            assert np.allclose(likelihood.cells(output, x)[s, b].detach(), wanted, atol=1e-10)


@pytest.mark.parametrize("piece", [1 << 22, 24])
def test_a_table_is_one_row_and_state_at_a_time(piece, monkeypatch):
    monkeypatch.setattr("discretevae.likelihoods.student.PIECE", piece)
    likelihood, output, x = made(5), drawn(3, 10).requires_grad_(), drawn(4, 5, seed=1)
    table = likelihood.table(output, x)
    single = torch.stack([likelihood.log_prob(o.expand(1, 4, -1), x)[0] for o in output], 1)
    assert torch.allclose(table, single, atol=1e-12)
    weight, leaves = drawn(4, 3, seed=2), (output, likelihood.freedom)
    ours, theirs = (torch.autograd.grad(value, leaves, weight) for value in (table, single))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_gradients_are_those_of_the_values():
    likelihood, x = made(2), drawn(2, 2, seed=1)
    inputs = (drawn(1, 2, 4).requires_grad_(), likelihood.freedom)
    assert torch.autograd.gradcheck(lambda output, _: likelihood.log_prob(output, x), inputs)


def test_samples_follow_it_and_not_a_neighbor():
    likelihood, output = made(3), drawn(6)
    generator = torch.Generator().manual_seed(0)
    x = likelihood.sample(output.expand(4000, -1), generator=generator)
    assert not x.requires_grad
    for p in range(3):
        of = theirs(likelihood, output)
        nu, center, scale = (np.broadcast_to(a, 3)[p] for a in of.args)
        assert kstest(x[:, p], t(nu, center, scale).cdf).pvalue > FALSE_ALARM
        assert kstest(x[:, p], t(nu, center, 1.5 * scale).cdf).pvalue < FALSE_ALARM


def test_mean_and_the_output_for_one():
    likelihood, mean = made(3), torch.tensor([-4.0, 0.0, 2.0]).double()
    output = likelihood.output_for(mean)
    assert torch.equal(likelihood.mean(output), mean)
    assert np.allclose(theirs(likelihood, output).args[2], 1)


@pytest.mark.parametrize("size", [40.0, 1000.0])
def test_far_outputs_and_far_values_stay_finite(size):
    likelihood = StudentLikelihood(3)
    output = (size * torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 2)).repeat_interleave(
        3, 1
    )
    x = torch.tensor([[0.0, 1e6, -1e6]])
    output.requires_grad_()
    for value in (likelihood.log_prob(output.unsqueeze(1), x), likelihood.table(output, x)):
        (gradient,) = torch.autograd.grad(value.sum(), output)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


def test_a_value_far_out_costs_the_logarithm_of_its_distance():
    likelihood = likelihood_named("student", 1)
    x = torch.tensor([[1e3], [1e4], [1e5]])
    costs = likelihood.log_prob(torch.zeros(1, 3, 2), x)[0].diff()
    nu = 1 + math.log1p(math.exp(1.5))
    assert costs.tolist() == pytest.approx(2 * [-(nu + 1) * math.log(10)], rel=1e-3)
