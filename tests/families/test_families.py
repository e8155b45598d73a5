"""Families against closed forms, enumeration, automatic differentiation and torch.distributions."""

import math

import pytest
import torch
from torch import distributions as td

from discretevae.errors import ConfigError
from discretevae.families import (
    MAX_STATES,
    Bernoulli,
    Categorical,
    Gaussian,
    Product,
    family_of,
    is_enumerable,
    parts_of,
)

DISCRETE = [
    Bernoulli(1),
    Bernoulli(3),
    Bernoulli(6),
    Categorical(1, 2),
    Categorical(1, 7),
    Categorical(3, 4),
    Product((Bernoulli(2), Categorical(1, 3), Categorical(2, 2))),
]
FAMILIES = [
    *DISCRETE,
    Gaussian(1),
    Gaussian(3),
    Product((Categorical(1, 3), Gaussian(2))),
    Product((Bernoulli(2), Gaussian(1), Categorical(2, 3))),
]
EXTREMES = [40.0, -40.0, 200.0, -1e4, 1e4]


def random_eta(family, rows=5, seed=0, scale=2.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    raw = scale * torch.randn(rows, family.fixed_eta().numel(), generator=generator, dtype=dtype)
    return family.natural_parameters(raw)


@pytest.mark.parametrize("family", DISCRETE, ids=repr)
def test_enumeration_holds_every_state_once(family):
    states = family.enumerate()
    assert states.shape == (family.n_states, *family.z_shape)
    assert len(torch.unique(states.flatten(1), dim=0)) == family.n_states
    assert set(states.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("family", DISCRETE, ids=repr)
def test_probabilities_of_all_states_sum_to_one(family):
    log_q = family.log_prob(random_eta(family), family.enumerate().double().unsqueeze(1))
    assert torch.logsumexp(log_q, 0).abs().max() < 1e-12


@pytest.mark.parametrize("family", DISCRETE, ids=repr)
def test_table_of_log_probabilities_equals_one_state_at_a_time(family):
    eta = random_eta(family)
    single = family.log_prob(eta, family.enumerate().double().unsqueeze(1)).T
    assert torch.allclose(family.log_prob_table(eta), single, atol=1e-12)
    extreme = torch.full_like(eta, 200.0)
    assert family.log_prob_table(extreme).isfinite().all()


@pytest.mark.parametrize("family", DISCRETE, ids=repr)
def test_mean_entropy_and_kl_equal_enumeration(family):
    eta, prior = random_eta(family), random_eta(family, rows=1, seed=1)[0]
    states = family.enumerate().double()
    log_q = family.log_prob(eta, states.unsqueeze(1))
    q = log_q.exp()
    mean = torch.einsum("nb,n...->b...", q, family.sufficient_statistics(states))
    assert torch.allclose(family.mean(eta), mean, atol=1e-12)
    assert torch.allclose(family.entropy(eta), -(q * log_q).sum(0), atol=1e-12)
    log_p = family.log_prob(prior, states)
    kl = (q * (log_q - log_p.unsqueeze(1))).sum(0)
    assert torch.allclose(family.kl(eta, prior), kl, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_mean_is_the_gradient_of_the_log_normalizer(family):
    eta = random_eta(family).requires_grad_()
    (grad,) = torch.autograd.grad(family.log_normalizer(eta).sum(), eta)
    assert torch.allclose(grad, family.mean(eta), atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_log_prob_is_linear_in_the_sufficient_statistics(family):
    """ln q(z) = η·T(z) − A(η) + ln h, the definition of an exponential family."""
    eta = random_eta(family)
    z = family.sample(eta, 4, generator=torch.Generator().manual_seed(0))
    inner = (eta * family.sufficient_statistics(z)).flatten(2).sum(-1)
    reals = sum(part.n_variables for part in parts_of(family) if part.n_states is None)
    log_h = -0.5 * reals * math.log(2 * math.pi)
    expected = inner - family.log_normalizer(eta) + log_h
    assert torch.allclose(family.log_prob(eta, z), expected, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_gradients_of_entropy_and_kl_reach_eta(family):
    """The trap of torch.distributions.ExponentialFamily: an entropy without a gradient."""
    eta = random_eta(family, rows=2).requires_grad_()
    prior = random_eta(family, rows=1, seed=1)[0]
    assert torch.autograd.gradcheck(family.entropy, (eta,))
    assert torch.autograd.gradcheck(family.kl, (eta, prior.requires_grad_()))
    assert torch.autograd.gradgradcheck(family.kl, (eta, prior))


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_kl_is_zero_to_itself_and_positive_to_others(family):
    eta = random_eta(family)
    assert family.kl(eta, eta).abs().max() < 1e-12
    assert family.kl(eta, family.fixed_eta().double()).min() > 0


@pytest.mark.parametrize("family", [Bernoulli(2), Categorical(2, 3)], ids=repr)
@pytest.mark.parametrize("value", EXTREMES)
def test_saturated_logits_stay_finite_with_finite_gradients(family, value):
    eta = torch.zeros(1, *family.eta_shape)
    eta[..., 0] = value
    eta.requires_grad_()
    z = family.enumerate().unsqueeze(1)
    for result in (
        family.log_prob(eta, z),
        family.entropy(eta),
        family.kl(eta, family.fixed_eta()),
        family.kl(torch.zeros_like(eta), eta[0]),
        family.log_normalizer(eta),
    ):
        (grad,) = torch.autograd.grad(result.sum(), eta)
        assert result.isfinite().all()
        assert grad.isfinite().all()


@pytest.mark.parametrize("size", [20.0, 400.0, 1e8])
@pytest.mark.parametrize("other", [0.0, 1.5, -3.0])
def test_saturated_bits_pay_what_the_other_distribution_asks(size, other):
    """KL of a certain bit is −ln p of its value; 1e8 − 1e8 would lose it in float32."""
    eta = torch.tensor([[size, -size]], requires_grad=True)
    kl = Bernoulli(2).kl_per_variable(eta, torch.tensor([other, other]))
    expected = -torch.nn.functional.logsigmoid(torch.tensor([[other, -other]]))
    torch.testing.assert_close(kl, expected, rtol=1e-5, atol=0)
    (slope,) = torch.autograd.grad(kl.sum(), eta)
    assert slope.abs().max() < 1e-6


def test_saturated_entropy_keeps_its_digits():
    """At η = 40 the entropy is 41 e⁻⁴⁰, which A(η) − η·∇A(η) would round to 0."""
    entropy = Bernoulli(1).entropy(torch.tensor([[40.0]]))
    assert entropy.item() == pytest.approx(41 * math.exp(-40), rel=1e-5)


@pytest.mark.parametrize("log_var", [-40.0, 40.0])
def test_gaussian_with_extreme_scales_stays_finite(log_var):
    family = Gaussian(1)
    raw = torch.tensor([[2.0, log_var]], requires_grad=True)
    eta = family.natural_parameters(raw)
    for result in (family.entropy(eta), family.kl(eta, family.fixed_eta())):
        (grad,) = torch.autograd.grad(result.sum(), raw, retain_graph=True)
        assert result.isfinite().all()
        assert grad.isfinite().all()


def test_agreement_with_torch_distributions():
    """An independent implementation of the same formulas."""
    eta, prior = torch.randn(
        2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    ours, theirs = Bernoulli(4), td.Bernoulli(logits=eta)
    assert torch.allclose(ours.entropy(eta), theirs.entropy().sum(-1))
    kl = td.kl_divergence(theirs, td.Bernoulli(logits=prior[0].expand(5, 4))).sum(-1)
    assert torch.allclose(ours.kl(eta, prior[0]), kl)
    gaussian, mu, log_var = Gaussian(4), eta, prior
    natural = gaussian.natural_parameters(torch.stack((mu, log_var), -1).flatten(1))
    normal = td.Normal(mu, (0.5 * log_var).exp())
    assert torch.allclose(gaussian.entropy(natural), normal.entropy().sum(-1))
    z = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(gaussian.log_prob(natural, z), normal.log_prob(z).sum(-1))
    standard = td.Normal(torch.zeros(4).double(), 1.0)
    kl = td.kl_divergence(normal, standard).sum(-1)
    assert torch.allclose(gaussian.kl(natural, gaussian.fixed_eta().double()), kl)


@pytest.mark.parametrize("family", DISCRETE, ids=repr)
def test_samples_follow_the_probabilities(family):
    """χ² against the exact probabilities; false-alarm rate 1e-6 for each family.

    Power: the same counts against probabilities moved by a tenth are rejected.
    """
    eta = random_eta(family, rows=1, scale=1.0, dtype=torch.float32)
    n = 200_000
    z = family.sample(eta, n, generator=torch.Generator().manual_seed(0))[:, 0].flatten(1)
    states = family.enumerate().flatten(1)
    weights = 2.0 ** torch.arange(z.shape[1])
    order = (states @ weights).argsort()
    found = torch.searchsorted((states @ weights)[order].contiguous(), z @ weights)
    counts = torch.zeros(len(states)).index_add_(0, order[found], torch.ones(n)).double()
    q = family.log_prob(eta.double(), states.double().reshape(-1, 1, *family.z_shape))[:, 0].exp()

    def chi2(p):
        return ((counts - n * p).square() / (n * p)).sum().item()

    freedom = len(states) - 1
    # Wilson-Hilferty: the cube root of χ²/freedom is nearly normal; 4.75 is its 1 − 1e-6 quantile
    spread = 2 / (9 * freedom)
    limit = freedom * (1 - spread + 4.75 * math.sqrt(spread)) ** 3
    assert chi2(q) < limit
    moved = q * torch.linspace(0.9, 1.1, len(q)).double()
    assert chi2(moved / moved.sum()) > limit


def test_sampling_is_one_uniform_per_variable_replayed_by_hand():
    eta = random_eta(Bernoulli(3), dtype=torch.float32)
    z = Bernoulli(3).sample(eta, 2, generator=torch.Generator().manual_seed(5))
    u = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(5))
    assert torch.equal(z, (u < torch.sigmoid(eta)).float())

    family = Categorical(2, 4)
    eta = random_eta(family, dtype=torch.float32)
    z = family.sample(eta, 3, generator=torch.Generator().manual_seed(5))
    u = torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(5))
    cumulative = torch.softmax(eta, -1).cumsum(-1)
    index = (cumulative <= (u * cumulative[..., -1]).unsqueeze(-1)).sum(-1)
    assert torch.equal(z.argmax(-1), index)
    assert torch.equal(z.sum(-1), torch.ones(3, 5, 2))


def test_a_category_without_probability_is_never_drawn():
    family = Categorical(1, 4)
    eta = torch.tensor([[[-1e4, 0.0, -1e4, 0.0]]])
    z = family.sample(eta, 10_000, generator=torch.Generator().manual_seed(0))
    assert z[..., 0, [0, 2]].sum() == 0


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_codes_survive_the_trip(family):
    eta = random_eta(family, dtype=torch.float32)
    z = family.mode(eta)
    assert z.shape == (5, *family.z_shape)
    assert torch.equal(family.from_codes(family.to_codes(z)), z)
    if family.n_states is not None:
        log_q = family.log_prob(eta, family.enumerate().unsqueeze(1))
        assert torch.allclose(family.log_prob(eta, z), log_q.max(0).values)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_specification_round_trip(family):
    assert family_of(str(family.spec)) == family


def test_enumeration_is_refused_where_it_makes_no_sense():
    with pytest.raises(ConfigError, match="more than the 4,096 states"):
        Bernoulli(13).enumerate()
    with pytest.raises(ConfigError, match="no finite list"):
        Gaussian(1).enumerate()
    assert is_enumerable(Bernoulli(12))
    assert Bernoulli(12).n_states == MAX_STATES
    assert not is_enumerable(Bernoulli(100_000))
    assert not is_enumerable(Gaussian(2))
