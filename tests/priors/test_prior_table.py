"""One table: every prior × every invariant; sums over all states, no samples where none are needed.

Statistical checks state their rate of false alarms and show what they would have caught.
"""

import copy
import itertools
import math
from statistics import NormalDist

import pytest
import torch

from discretevae.errors import ConfigError
from discretevae.families import Bernoulli, Categorical, Gaussian, Product
from discretevae.priors import Prior, make_prior

BITS_AND_CATEGORIES = Product((Bernoulli(2), Categorical(1, 3), Bernoulli(1), Categorical(2, 2)))
WITH_REALS = Product((Gaussian(1), Bernoulli(2), Categorical(1, 3), Gaussian(2)))

DISCRETE = [
    ("fixed", Bernoulli(4)),
    ("factorized", Bernoulli(4)),
    ("factorized", Categorical(2, 3)),
    ("factorized", BITS_AND_CATEGORIES),
    ("autoregressive:16,12", Bernoulli(5)),
    ("autoregressive:16", Bernoulli(1)),
    ("autoregressive:linear", Bernoulli(5)),
    ("autoregressive:16", Categorical(3, 3)),
    ("autoregressive:16", Categorical(1, 5)),
    ("autoregressive:16,12", BITS_AND_CATEGORIES),
    ("transformer:2x4", Bernoulli(5)),
    ("transformer:1x8", Categorical(3, 3)),
    ("transformer:1x8", Categorical(1, 5)),
    ("transformer:1x4@2x2", Bernoulli(8)),
    ("transformer:1x4@1x2", Categorical(4, 3)),
    ("transformer:1x4,classes=3", Bernoulli(4)),
    ("convolution:2x4@2x3", Bernoulli(6)),
    ("convolution:3x4@3x2", Bernoulli(6)),
    ("convolution:2x4@2x2", Bernoulli(8)),
    ("convolution:2x4,classes=2@2x2", Categorical(4, 3)),
]
REAL = [
    ("factorized", Gaussian(2)),
    ("mixture:3", Gaussian(2)),
    ("autoregressive:16", WITH_REALS),
]
ALL = DISCRETE + REAL
FALSE_ALARM = 1e-6


def made(text, family, generator=None):
    """Make a prior; behind an @ stands the grid of its code."""
    text, _, sides = text.partition("@")
    grid = tuple(map(int, sides.split("x"))) if sides else None
    return make_prior(text, family, grid=grid, generator=generator)


def fresh(text, family, seed=0):
    return made(text, family, torch.Generator().manual_seed(seed)).double()


@torch.no_grad()
def trained(text, family, seed=0, scale=0.8):
    """A prior that knows something: every parameter is moved."""
    prior, generator = fresh(text, family, seed), torch.Generator().manual_seed(100 + seed)
    for parameter in prior.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.add_(scale * noise)
    return prior


def some_codes(prior, n=6):
    return prior.sample(n, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(("text", "family"), DISCRETE, ids=str)
def test_probabilities_of_all_states_add_up_to_one(text, family):
    for seed in range(3):
        table = trained(text, family, seed).log_prob_table()
        assert table.shape == (family.n_states,)
        assert abs(table.exp().sum().item() - 1) < 1e-12


def test_with_real_numbers_beside_them_the_discrete_states_still_do():
    prior, discrete = trained("autoregressive:16", WITH_REALS), Product(WITH_REALS.parts[1:3])
    states = discrete.enumerate().double()
    real = torch.randn(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, right = real[:1].expand(12, 1), real[1:].expand(12, 2)
    found = prior.log_prob(torch.cat((left, states, right), 1)).logsumexp(0)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(real).sum()
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("text", "family"), ALL, ids=str)
def test_training_starts_from_the_uniform_or_a_centered_prior(text, family):
    prior = fresh(text, family)
    if family.n_states is not None:
        table = prior.log_prob_table()
        assert torch.allclose(table, torch.full_like(table, -math.log(family.n_states)), atol=1e-6)
    elif text != "mixture:3":
        standard = make_prior("fixed", family).double()
        z = some_codes(prior)
        assert torch.allclose(prior.log_prob(z), standard.log_prob(z), atol=1e-6)


@pytest.mark.parametrize(("text", "family"), ALL, ids=str)
def test_any_lead_of_z_gives_a_log_probability_of_that_shape(text, family):
    prior = trained(text, family)
    z = some_codes(prior)
    assert z.shape == (6, *family.z_shape)
    flat = prior.log_prob(z)
    assert flat.shape == (6,)
    folded = z.reshape(3, 2, *family.z_shape)
    assert torch.allclose(prior.log_prob(folded), flat.reshape(3, 2), atol=1e-12)
    assert torch.allclose(prior.log_prob(z[0]), flat[0], atol=1e-12)


@pytest.mark.parametrize(("text", "family"), DISCRETE, ids=str)
def test_the_table_is_the_log_probability_of_every_state(text, family):
    prior = trained(text, family)
    states = family.enumerate().double()
    assert torch.allclose(prior.log_prob_table(), prior.log_prob(states), atol=1e-12)


def chi_square(prior_table, states, drawn):
    """Whether drawn codes have these probabilities; Wilson & Hilferty's quantile at FALSE_ALARM.

    States that are expected less than 20 times are counted together.
    """
    counts = (drawn.flatten(1) @ states.flatten(1).T == states.flatten(1).sum(1)) & (
        (1 - drawn).flatten(1) @ (1 - states).flatten(1).T == (1 - states).flatten(1).sum(1)
    )
    assert bool((counts.sum(1) == 1).all())
    observed, expected = counts.double().sum(0), prior_table.exp() * len(drawn)
    rare = expected < 20
    observed = torch.cat((observed[~rare], observed[rare].sum().reshape(1)))
    expected = torch.cat((expected[~rare], expected[rare].sum().reshape(1)))
    kept = expected > 0
    statistic = ((observed - expected)[kept].square() / expected[kept]).sum().item()
    freedom = int(kept.sum()) - 1
    a = 2 / (9 * freedom)
    limit = freedom * (1 - a + NormalDist().inv_cdf(1 - FALSE_ALARM) * math.sqrt(a)) ** 3
    return statistic < limit


@pytest.mark.parametrize(("text", "family"), DISCRETE, ids=str)
def test_samples_are_as_frequent_as_their_probabilities(text, family):
    prior, states = trained(text, family), family.enumerate().double()
    drawn = prior.sample(20_000, generator=torch.Generator().manual_seed(1))
    assert chi_square(prior.log_prob_table().detach(), states, drawn)
    # power: one draw in thirty turned into the rarest code would have been seen
    rarest = states[prior.log_prob_table().argmin()]
    mixed = torch.cat((drawn[700:], rarest.expand(700, *family.z_shape)))
    assert not chi_square(prior.log_prob_table().detach(), states, mixed)


@pytest.mark.parametrize(
    ("text", "family"),
    [("autoregressive:16,12", Bernoulli(5)), ("factorized", Bernoulli(4))],
    ids=str,
)
def test_a_temperature_divides_the_logits_of_every_conditional(text, family):
    prior, states = trained(text, family, scale=1.5), family.enumerate().double()
    logits = prior.network(states) if hasattr(prior, "network") else prior.eta()
    table = torch.nn.functional.logsigmoid((2 * states - 1) * logits / 2.0).sum(1).detach()
    drawn = prior.sample(20_000, generator=torch.Generator().manual_seed(1), temperature=2.0)
    assert chi_square(table, states, drawn)
    assert not chi_square(prior.log_prob_table().detach(), states, drawn)


@pytest.mark.parametrize(
    ("text", "family"), [case for case in DISCRETE if case[0] != "fixed"], ids=str
)
def test_without_temperature_only_the_likeliest_choices_are_left(text, family):
    prior = trained(text, family)
    given = {"label": 1} if prior.n_classes else {}  # a label is drawn by its share at any T
    drawn = prior.sample(50, generator=torch.Generator().manual_seed(1), temperature=1e-9, **given)
    assert bool((drawn == drawn[:1]).all())
    if text == "factorized":
        assert torch.equal(drawn[0], family.mode(prior.eta()))
    if "autoregressive" in text:
        # greedy: no variable can be changed for a likelier one, given those before it
        logits = prior.network(drawn[:1].flatten(1))[0]
        chosen = drawn[0].flatten()
        for first, last in itertools.pairwise(itertools.accumulate((0, *prior.widths))):
            if last - first == 1:
                assert (logits[first] > 0) == (chosen[first] == 1)
            else:
                assert chosen[first:last].argmax() == logits[first:last].argmax()


@pytest.mark.parametrize(("text", "family"), ALL, ids=str)
def test_a_temperature_must_be_above_zero(text, family):
    prior = fresh(text, family)
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="`temperature` must be > 0"):
            prior.sample(1, generator=torch.Generator(), temperature=wrong)


@pytest.mark.parametrize(("text", "family"), ALL, ids=str)
def test_the_same_seed_gives_the_same_bits_and_the_global_state_stays(text, family):
    state = torch.get_rng_state()
    found = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(3)
        prior = made(text, family, generator)
        z = prior.sample(4, generator=generator)
        found.append((z, prior.log_prob(z).detach()))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("text", "family"), ALL, ids=str)
def test_gradients_in_the_parameters_and_in_relaxed_codes_are_right(text, family):
    prior = trained(text, family)
    names = [name for name, _ in prior.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in prior.parameters()]
    noise = torch.rand(
        (2, *family.z_shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    z = (0.1 + 0.8 * noise).requires_grad_()

    def log_prob(z, *values):
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(prior, named, (z,))

    prior.forward = prior.log_prob
    # ReLU has kinks: a step that small crosses none of them
    many = sum(value.numel() for value in values) > 400  # then in one random direction
    options = {"eps": 1e-7, "atol": 1e-5, "rtol": 1e-4, "fast_mode": many}
    assert torch.autograd.gradcheck(log_prob, (z, *values), **options)


@pytest.mark.parametrize(("text", "family"), ALL, ids=str)
def test_a_closed_divergence_is_declared_where_there_is_one(text, family):
    prior = trained(text, family)
    eta = family.natural_parameters(
        torch.randn(
            (3, family.fixed_eta().numel()),
            generator=torch.Generator().manual_seed(0),
            dtype=torch.float64,
        )
    )
    if not prior.has_closed_kl:
        for kl in (prior.kl, prior.kl_per_variable):
            with pytest.raises(ConfigError, match=r"no closed form under .*Prior.*log_prob"):
                kl(eta)
        return
    assert torch.allclose(prior.kl_per_variable(eta).sum(1), prior.kl(eta), atol=1e-12)
    if family.n_states is not None:
        log_q = family.log_prob_table(eta)
        by_hand = (log_q.exp() * (log_q - prior.log_prob_table())).sum(1)
        assert torch.allclose(prior.kl(eta), by_hand, atol=1e-12)


@pytest.mark.parametrize(("text", "family"), ALL, ids=str)
def test_a_prior_without_numbers_takes_saved_ones(text, family):
    """As model files are opened: built without memory, then given its weights."""
    prior = trained(text, family).float()
    with torch.device("meta"):
        empty = made(text, family)
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    empty.load_state_dict(prior.state_dict(), assign=True)
    empty = copy.deepcopy(empty)
    z = some_codes(prior)
    assert torch.equal(z, some_codes(empty))
    assert torch.equal(prior.log_prob(z), empty.log_prob(z))
    # and at another precision, after it was used at this one
    assert empty.double().log_prob(z.double()).dtype == torch.float64


def test_a_code_without_a_list_of_states_has_no_table():
    for text, family in (("autoregressive:4", Bernoulli(13)), ("mixture:2", Gaussian(1))):
        with pytest.raises(ConfigError, match="states"):
            make_prior(text, family).log_prob_table()


def test_a_member_of_ones_own_needs_two_methods():
    class Coin(Prior):
        def __init__(self, family):
            super().__init__(family)
            self.logit = torch.nn.Parameter(torch.tensor(0.5))

        def log_prob(self, z):
            return torch.nn.functional.logsigmoid((2 * z - 1) * self.logit).sum(-1)

        def sample(self, n, *, generator, temperature=1.0):
            eta = (self.logit / temperature).detach().expand(self.family.eta_shape)
            return self.family.sample(eta, n, generator=generator)

    coin = Coin(Bernoulli(3))
    assert coin.log_prob_table().shape == (8,)
    assert not coin.has_closed_kl
    assert torch.allclose(coin.log_prob_table().exp().sum(), torch.ones(()))
