"""Joint stochastic approximation against enumeration: the chain, both gradients, the value."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from test_objectives import brute_force, gradients, model_and_rows, same

from discretevae.config import TrainConfig
from discretevae.errors import ConfigError
from discretevae.estimators import Importance
from discretevae.estimators.exact import Exact
from discretevae.families import Bernoulli, Categorical, Gaussian, Product
from discretevae.objectives import Chains, choose_estimator, jsa, marginal
from discretevae.objectives.chains import independence_sampler

LATENTS = ["bernoulli:3", "categorical:5", "categorical:2x3", "bernoulli:2+categorical:3"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def transitions(joint, log_q):
    """The probability of going from state a to state b in one move, for one row: ``[N, N]``."""
    weight = (joint - log_q).exp()
    accepted = (weight[None, :] / weight[:, None]).clamp(max=1)
    moves = log_q.exp() * accepted
    stays = torch.eye(len(joint)).bool()
    moves[stays] = 0
    return moves + torch.diag(1 - moves.sum(1))


def numbers_of(codes, states):
    """Which of all states each code is."""
    return (codes.unsqueeze(1) == states.unsqueeze(0)).all(-1).int().argmax(1)


@pytest.mark.parametrize("latent", LATENTS)
def test_a_move_leaves_the_posterior_as_it_is(latent):
    model, x = model_and_rows(latent)
    joint, log_q = (table.detach() for table in brute_force(model, x))
    for row in range(len(x)):
        posterior = joint[:, row].softmax(0)
        moved = posterior @ transitions(joint[:, row], log_q[:, row])
        assert torch.allclose(moved, posterior, atol=1e-12)
        # neither of these two would: to accept always, and to leave q out of the weight
        assert not torch.allclose(log_q[:, row].exp(), posterior, atol=1e-3)
        without_q = transitions(joint[:, row] + log_q[:, row], log_q[:, row])
        assert not torch.allclose(posterior @ without_q, posterior, atol=1e-3)


def worst_cell(latent, copies=20_000):
    """The largest z-score of all transitions of one move, from every state of two rows."""
    model, x = model_and_rows(latent)
    with torch.no_grad():
        joint, log_q = brute_force(model, x[:2])
        states = model.family.to_codes(model.family.enumerate())
        worst = 0.0
        for row in range(2):
            expected = transitions(joint[:, row], log_q[:, row])
            for state in range(len(states)):
                chains = Chains(model.family, copies)
                rows = torch.arange(copies)
                chains.move(rows, model.family.enumerate()[[state] * copies])
                many = x[row].expand(copies, -1)
                jsa(model, many, Importance(), generator=seeded(state), chains=(chains, rows))
                found = torch.bincount(numbers_of(chains.codes, states), minlength=len(states))
                p = expected[state]
                error = (p * (1 - p) / copies).sqrt()
                worst = max(worst, float(((found / copies - p).abs() / error).max()))
    return worst


@pytest.mark.parametrize("latent", ["bernoulli:2", "categorical:3"])
def test_the_implementation_moves_with_these_probabilities(latent):
    """At most 32 z-scores, each beyond 5 in one of 1.7 million cases: a false alarm in 50,000."""
    assert worst_cell(latent) < 5


@pytest.mark.parametrize("broken", ["accepts always", "leaves q out"])
def test_broken_samplers_are_caught(broken, monkeypatch):
    if broken == "accepts always":
        monkeypatch.setattr(
            "discretevae.objectives.bounds.independence_sampler",
            lambda log_weight, *, generator: torch.ones_like(log_weight[1:]).cumsum(0).long(),
        )
    else:
        monkeypatch.setattr(Bernoulli, "log_prob", lambda self, eta, z: (0 * z * eta).sum(-1))
        original = brute_force

        def tables(model, x):  # of the truth
            return original(model, x)[0], model.family.log_prob_table(model.eta(x)).T

        monkeypatch.setitem(worst_cell.__globals__, "brute_force", tables)
    assert worst_cell("bernoulli:2", copies=5_000) > 8


def test_many_moves_come_from_the_posterior():
    """From a far state, with a poor proposal: 8 z-scores of 40,000 chains, below 5 each."""
    model, x = model_and_rows("bernoulli:3")
    with torch.no_grad():
        joint, _ = brute_force(model, x[:1])
        chains, rows = Chains(model.family, 40_000), torch.arange(40_000)
        many = x[:1].expand(40_000, -1)
        for step in range(3):
            terms = jsa(
                model, many, Importance(samples=10), generator=seeded(step), chains=(chains, rows)
            )
        states = model.family.to_codes(model.family.enumerate())
        found = torch.bincount(numbers_of(chains.codes, states), minlength=8) / 40_000
    p = joint[:, 0].softmax(0)
    assert bool(((found - p).abs() < 5 * (p * (1 - p) / 40_000).sqrt()).all())
    assert 0.2 < terms.diagnostics["acceptance"].mean() < 1


def test_the_first_visit_takes_the_first_proposal():
    model, x = model_and_rows("categorical:2x3")
    chains, rows = Chains(model.family, 9), torch.tensor([7, 0, 3, 4])
    terms = jsa(model, x, Importance(), generator=seeded(3), chains=(chains, rows))
    first = model.family.sample(model.eta(x), 1, generator=seeded(3))[0]
    assert torch.equal(chains.codes[rows].long(), model.family.to_codes(first))
    assert chains.is_begun.nonzero().flatten().tolist() == [0, 3, 4, 7]
    assert bool((terms.diagnostics["acceptance"] == 1).all())
    alone = jsa(model, x, Importance(), generator=seeded(3))
    assert torch.equal(terms.surrogate, alone.surrogate)


@pytest.mark.parametrize("prior", ["factorized", "autoregressive:7"])
@pytest.mark.parametrize("latent", LATENTS)
def test_the_gradient_is_that_of_both_logarithms_where_the_chain_stands(latent, prior):
    """Every move again, in plain Python, and autograd of ln p(x, z̃) + ln q(z̃|x)."""
    model, x = model_and_rows(latent, prior)
    family, moves = model.family, 3
    chains, rows = Chains(family, 6), torch.tensor([5, 1, 2, 0])
    jsa(model, x[:2], Importance(), generator=seeded(1), chains=(chains, rows[:2]))
    at = family.from_codes(chains.codes[rows]).double()
    is_begun = chains.is_begun[rows].tolist()
    assert is_begun == [True, True, False, False]

    generator = seeded(2)
    proposals = family.sample(model.eta(x).detach(), moves, generator=generator)
    u = torch.rand(moves, 4, generator=generator, dtype=torch.float64)

    def both(row, z):
        z = z.reshape(1, 1, *family.z_shape)
        joint = model.log_likelihood(x[row : row + 1])(z) + model.prior.log_prob(z)
        return joint[0, 0], family.log_prob(model.eta(x[row : row + 1]), z)[0, 0]

    expected, ends, accepted = 0.0, [], []
    for row in range(4):
        z, n = at[row], 0
        for s in range(moves):
            new = proposals[s, row]
            joint, log_q = both(row, new)
            old_joint, old_log_q = both(row, z)
            ratio = (joint - log_q - (old_joint - old_log_q)).detach().exp()
            if (s == 0 and not is_begun[row]) or u[s, row] < ratio:
                z, n = new, n + 1
            expected = expected + sum(both(row, z)) / moves / 4
        ends.append(z)
        accepted.append(n / moves)

    terms = jsa(model, x, Importance(samples=moves), generator=seeded(2), chains=(chains, rows))
    same(gradients(model, terms.loss), gradients(model, -expected))
    assert torch.equal(family.from_codes(chains.codes[rows]).double(), torch.stack(ends))
    assert torch.allclose(terms.diagnostics["acceptance"], torch.tensor(accepted).double())


def test_the_value_is_the_bound_of_the_proposals():
    model, x = model_and_rows()
    chains = (Chains(model.family, 4), torch.arange(4))
    jsa(model, x, Importance(samples=2), generator=seeded(0), chains=chains)
    terms = jsa(model, x, Importance(samples=4), generator=seeded(1), chains=chains)
    eta = model.eta(x)
    z = model.family.sample(eta, 4, generator=seeded(1))
    log_likelihood, log_prior = model.log_likelihood(x)(z), model.prior.log_prob(z)
    weight = log_likelihood + log_prior - model.family.log_prob(eta, z)
    assert torch.allclose(terms.surrogate, weight.logsumexp(0) - math.log(4), atol=1e-12)
    assert torch.allclose(terms.log_likelihood, log_likelihood.mean(0), atol=1e-12)
    assert torch.allclose(terms.kl, model.prior.kl(eta), atol=1e-12)


def test_many_moves_tend_to_the_marginal_gradients():
    """After 20,000 moves the mean is that under the posterior: within 4 % of the largest."""
    model, x = model_and_rows()
    reference = copy.deepcopy(model)
    terms = jsa(model, x, Importance(samples=20_000), generator=seeded(0))
    exact = marginal(reference, x, Exact(), generator=None)
    found, expected = gradients(model, terms.loss), gradients(reference, exact.loss)
    largest = max(g.abs().max() for g in expected)
    assert all((a - b).abs().max() < 0.04 * largest for a, b in zip(found, expected, strict=True))


def test_a_state_without_weight_is_left_and_never_gone_to():
    log_weight = torch.tensor([[-torch.inf, 0.0], [0.0, -torch.inf], [-torch.inf, -torch.inf]])
    assert independence_sampler(log_weight, generator=None).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        (Bernoulli(3), torch.uint8),
        (Categorical(2, 256), torch.uint8),
        (Categorical(1, 257), torch.int16),
        (Categorical(1, 40_000), torch.int32),
        (Product((Bernoulli(2), Categorical(1, 300))), torch.int16),
    ],
    ids=repr,
)
def test_codes_are_kept_in_the_smallest_type_that_holds_them(family, dtype):
    chains = Chains(family, 4)
    assert (chains.codes.dtype, chains.codes.shape) == (dtype, (4, family.n_variables))
    last = family.from_codes(torch.tensor([
        [max(part.n_categories, 2) - 1 for part in family.spec.all_parts
         for _ in range(part.n_variables)]
    ]))  # fmt: skip
    chains.move(torch.tensor([2]), last)
    assert torch.equal(family.from_codes(chains.codes[[2]].long()), last)


def test_codes_with_real_numbers_are_refused():
    message = r"`objective='jsa'` keeps codes of bits and categories\. Got latent gaussian:3\."
    with pytest.raises(ConfigError, match=message):
        Chains(Gaussian(3), 4)
    with pytest.raises(ConfigError, match=message):
        choose_estimator(Gaussian(3), TrainConfig(objective="jsa"))
