"""The second layer against sums over both: a bound, its gradient, and what it may be told."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from discretevae.errors import ConfigError
from discretevae.estimators import NVIL, VIMCO, DisARM, Exact, Reparametrized, StraightThrough
from discretevae.estimators.contract import z_test
from discretevae.families import Bernoulli
from discretevae.priors import LayeredPrior

D1, D2 = 3, 4
FALSE_ALARM = 1e-6
BLOCKS, ROWS = 400, 100


def prior_with(estimator=None, hidden=(5,), seed=0):
    generator = torch.Generator().manual_seed(seed)
    prior = LayeredPrior(
        Bernoulli(D1), D2, hidden=hidden, estimator=estimator, generator=generator
    ).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(0.6 * noise)  # larger ones make weights that vary too much to test
    return prior


def by_hand(prior, z1):
    """(the bound, ln p(z₁)) from plain sums over z₂, each ``[N]``."""
    states = Bernoulli(D2).enumerate().double()

    def log_bernoulli(logits, z):
        return (z * logits - F.softplus(logits)).sum(-1)

    log_q = log_bernoulli(prior.encoder(z1).unsqueeze(1), states)
    log_top = log_bernoulli(prior.top.raw, states)
    log_joint = log_bernoulli(prior.decoder(states), z1.unsqueeze(1)) + log_top
    return (log_q.exp() * (log_joint - log_q)).sum(1), log_joint.logsumexp(1)


def all_rows():
    return Bernoulli(D1).enumerate().double()


def test_the_table_is_the_sum_over_the_second_layer():
    prior = prior_with()
    _, log_p = by_hand(prior, all_rows())
    assert torch.allclose(prior.log_prob_table(), log_p, atol=1e-12)


def test_a_small_second_layer_is_summed_over_and_the_result_is_a_bound():
    prior = prior_with()
    assert isinstance(prior.estimator, Exact)
    bound, log_p = by_hand(prior, all_rows())
    found = prior.log_prob(all_rows())
    assert torch.allclose(found, bound, atol=1e-12)
    assert bool((found < log_p).all())
    assert isinstance(LayeredPrior(Bernoulli(2), 13).estimator, DisARM)


def test_exact_gradients_are_those_of_the_bound():
    prior = prior_with()
    found = []
    for score in (prior.log_prob, lambda z1: by_hand(prior, z1)[0]):
        z1 = (0.8 * all_rows() + 0.1).requires_grad_()
        found.append(torch.autograd.grad(score(z1).sum(), [z1, *prior.parameters()]))
    for ours, reference in zip(*found, strict=True):
        assert torch.allclose(ours, reference, atol=1e-10)


def block_gradients(prior, z1):
    """Values and gradients of independent blocks, each the mean over ``ROWS`` estimates."""
    generator = torch.Generator().manual_seed(1)
    values, gradients = [], []
    for _ in range(BLOCKS):
        row = z1.clone().requires_grad_()
        value = prior.log_prob(row.expand(ROWS, 1, D1), generator=generator).mean()
        grad = torch.autograd.grad(value, [row, *prior.parameters()])
        values.append(value.detach().reshape(1))
        gradients.append(torch.cat([g.flatten() for g in grad]))
    return torch.stack(values), torch.stack(gradients)


def true_gradients(prior, z1):
    row = z1.clone().requires_grad_()
    value, log_p = by_hand(prior, row)
    grad = torch.autograd.grad(value.sum(), [row, *prior.parameters()])
    return value.detach(), log_p.detach(), torch.cat([g.flatten() for g in grad])


def test_sampled_values_and_gradients_are_unbiased():
    prior, z1 = prior_with(DisARM()), torch.tensor([[1.0, 0.0, 1.0]]).double()
    values, gradients = block_gradients(prior, z1)
    value, log_p, gradient = true_gradients(prior, z1)
    assert z_test(values, value.unsqueeze(0), false_alarm=FALSE_ALARM).passed
    assert z_test(gradients, gradient.unsqueeze(0), false_alarm=FALSE_ALARM).passed
    # power: ln p itself, and gradients a tenth too large, would have been seen
    assert not z_test(values, log_p.unsqueeze(0), false_alarm=FALSE_ALARM).passed
    assert not z_test(gradients, 1.1 * gradient.unsqueeze(0), false_alarm=FALSE_ALARM).passed


def test_a_biased_estimator_is_seen_to_be_one():
    prior, z1 = prior_with(StraightThrough()), torch.tensor([[1.0, 0.0, 1.0]]).double()
    _, gradients = block_gradients(prior, z1)
    _, _, gradient = true_gradients(prior, z1)
    assert not z_test(gradients, gradient.unsqueeze(0), false_alarm=FALSE_ALARM).passed


def test_weights_are_unbiased_for_the_probability():
    prior, z1 = prior_with(), torch.tensor([1.0, 0.0, 1.0]).double()
    generator = torch.Generator().manual_seed(1)
    weights = prior.log_weight(z1.expand(200, 200, D1), generator=generator).exp()
    assert weights.shape == (200, 200)
    _, log_p = by_hand(prior, z1.unsqueeze(0))
    samples = weights.detach().reshape(-1, 1)
    assert z_test(samples, log_p.exp().unsqueeze(0), false_alarm=FALSE_ALARM).passed
    wrong = 1.05 * log_p.exp().unsqueeze(0)
    assert not z_test(samples, wrong, false_alarm=FALSE_ALARM).passed


def test_weights_have_the_gradient_of_their_logarithms():
    prior = prior_with()
    z1 = all_rows()
    found = prior.log_weight(z1, generator=torch.Generator().manual_seed(0))
    eta = prior.encoder(z1)
    z2 = prior.top.family.sample(eta, 1, generator=torch.Generator().manual_seed(0))[0]
    logits = prior.decoder(z2)
    expected = (
        (z1 * logits - F.softplus(logits)).sum(1)
        + prior.top.log_prob(z2)
        - prior.top.family.log_prob(eta, z2)
    )
    parameters = list(prior.parameters())
    ours, reference = (torch.autograd.grad(v.sum(), parameters) for v in (found, expected))
    assert torch.allclose(found, expected, atol=1e-12)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(ours, reference, strict=True))


def test_any_estimator_of_bits_may_be_named():
    for estimator in (DisARM(samples=4), StraightThrough(), Exact()):
        prior = prior_with(estimator)
        value = prior.log_prob(all_rows(), generator=torch.Generator().manual_seed(0))
        value.sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in prior.parameters())


@pytest.mark.parametrize("estimator", [NVIL(), VIMCO(), Reparametrized()], ids=repr)
def test_estimators_that_cannot_be_used_are_refused(estimator):
    with pytest.raises(ConfigError, match=r"such as DisARM\(\)"):
        LayeredPrior(Bernoulli(2), 3, estimator=estimator)


def test_sizes_are_checked():
    with pytest.raises(ConfigError, match=r"n_variables must be an int >= 1. Got 0"):
        LayeredPrior(Bernoulli(2), 0)
    with pytest.raises(ConfigError, match="second layer of 13 bits has more than the 4,096"):
        LayeredPrior(Bernoulli(2), 13).log_prob_table()
