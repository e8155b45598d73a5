"""Samples without replacement: every set enumerated, replayed by hand, with bugs seeded."""

import itertools
import math

import pytest
import torch
from estimator_toys import Constant, Opaque, assert_is_exact, detectable, generator

from discretevae.errors import ConfigError
from discretevae.estimators import unordered
from discretevae.estimators.contract import (
    ContractError,
    ToyIntegrand,
    check_estimator_contract,
    estimated_gradients,
    exact_gradients,
    random_eta,
)
from discretevae.estimators.unordered import MAX_SAMPLES, UnorderedSet, set_weights
from discretevae.families import Bernoulli, Categorical, Gaussian

FAMILIES = [Bernoulli(3), Categorical(1, 5), Categorical(2, 3)]


def first_in_some_order(q, members, without=()):
    """p^{D∖without}(members): over all orders, the product of what is drawn from what is left."""
    total = 0.0
    for order in itertools.permutations(members):
        left, chance = sum(x for i, x in enumerate(q) if i not in without), 1.0
        for i in order:
            chance *= q[i] / left
            left -= q[i]
        total += chance
    return total


def all_sets(family, eta, k):
    """Every set of k states, ``[M, k]``, its probability ``[M]``, and q of every state."""
    q = family.log_prob(eta, family.enumerate().to(eta)).exp().tolist()
    sets = list(itertools.combinations(range(len(q)), k))
    weight = torch.tensor([first_in_some_order(q, s) for s in sets], dtype=torch.float64)
    return torch.tensor(sets), weight, q


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_contract(samples):
    """Unbiased for η and decoder; false-alarm rate 1e-5 per family.

    Power: a bias of 0.15 of the largest coordinate would be seen with probability 0.99.
    """
    seen = detectable(check_estimator_contract(UnorderedSet(samples=samples), replicates=20_000))
    assert len(seen) == 12
    assert max(seen) < 0.15


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("samples", [2, 3, 4])
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_expectation_over_all_sets_is_exact(monkeypatch, family, samples, scale):
    """One row per set, weighed by p(S), which is summed over permutations."""
    f, eta = ToyIntegrand.random(family, 3), scale * random_eta(family, 3)
    sets, weight, _ = all_sets(family, eta, samples)
    assert weight.sum().item() == pytest.approx(1)
    monkeypatch.setattr(unordered, "_without_replacement", lambda *_: sets)
    assert_is_exact(UnorderedSet(samples=samples), family, eta, f, weight)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_every_state_is_the_exact_gradient(family):
    """k = the number of states or more: nothing is left to chance."""
    f, eta = ToyIntegrand.random(family, 3), random_eta(family, 3)
    found = estimated_gradients(
        UnorderedSet(samples=10), family, eta, f, replicates=3, generator=generator()
    )
    for name, truth in exact_gradients(family, eta, f).blocks().items():
        block = found.blocks()[name]
        assert torch.allclose(block, truth.expand_as(block), atol=1e-12), name


@pytest.mark.parametrize("k", [1, 2, 3])
def test_sets_come_as_if_drawn_one_by_one(k):
    """60,000 rows; the frequency of each set within 5 standard errors (false alarm < 1e-5)."""
    eta, rows = random_eta(Categorical(1, 5), 3), 60_000
    sets, weight, q = all_sets(Categorical(1, 5), eta, k)
    log_q = torch.tensor(q, dtype=torch.float64).log().expand(rows, -1)
    index = unordered._without_replacement(log_q, k, generator(2)).sort(-1).values
    for members, chance in zip(sets, weight.tolist(), strict=True):
        share = (index == members).all(-1).double().mean().item()
        assert abs(share - chance) < 5 * math.sqrt(chance * (1 - chance) / rows)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_weights_by_permutations(k):
    """R and its second order from all orders; rounding apart also where q is tiny."""
    for scale in (1.0, 8.0):
        eta = scale * random_eta(Categorical(1, 6), 1)
        q = torch.softmax(eta, -1)[0].tolist()
        for members in itertools.combinations(range(6), k):
            log_p = torch.tensor([[math.log(q[i])] for i in members], dtype=torch.float64)
            rest = sum(x for i, x in enumerate(q) if i not in members)
            w, v = set_weights(log_p, torch.tensor([math.log(rest)], dtype=torch.float64))
            whole = first_in_some_order(q, members)
            for a, s in enumerate(members):
                others = [i for i in members if i != s]
                single = first_in_some_order(q, others, without=(s,))
                assert w[a].item() == pytest.approx(q[s] * single / whole, rel=1e-7)
                for b, t in enumerate(members):
                    expected = q[s]
                    if s != t:
                        last = [i for i in others if i != t]
                        pair = first_in_some_order(q, last, without=(s, t))
                        expected = q[t] * pair / single
                    assert v[a, b].item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("k", [2, 4, 7, MAX_SAMPLES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_sum_to_one_however_small(k, dtype):
    """Probabilities from 1 down to e^{−700}: no cancellation, in single precision too."""
    log_p = torch.rand(k, 500, generator=generator(3), dtype=dtype) * -700
    log_rest = torch.rand(500, generator=generator(4), dtype=dtype) * -700
    log_rest[:50] = -torch.inf
    total = torch.logsumexp(torch.cat((log_p, log_rest[None])), 0)
    w, v = set_weights(log_p - total, log_rest - total)
    tolerance = 1e-3 if dtype == torch.float32 else 1e-11
    assert torch.allclose(w.sum(0), torch.ones(500, dtype=dtype), atol=tolerance)
    assert torch.allclose(v.sum(1), torch.ones(k, 500, dtype=dtype), atol=tolerance)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_by_hand(family):
    """The estimator of the paper with the same draws: ∇q(s) R (f(s) − Σ q(s') R(s') f(s'))."""
    rows, k = 4, 3
    f, eta = ToyIntegrand.random(family, 3).repeated(rows), random_eta(family, 3)
    etas = eta.repeat(rows, *[1] * eta.ndim).requires_grad_()
    estimate = UnorderedSet(samples=k)(family, etas, f, generator=generator(8))
    found = torch.autograd.grad(estimate.surrogate.sum(), (etas, *f.parameters))

    states = family.enumerate().to(eta)
    leaf = eta.clone().requires_grad_()
    probabilities = family.log_prob(leaf, states).exp()
    q = probabilities.tolist()
    e = torch.empty(rows, len(q), dtype=torch.float64).exponential_(generator=generator(8))
    index = (probabilities.detach().log() - e.log()).topk(k, dim=1).indices
    table = f.table()
    for b in range(rows):
        members = index[b].tolist()
        whole, term, value = first_in_some_order(q, members), 0.0, 0.0
        for s in members:
            others = [i for i in members if i != s]
            single = first_in_some_order(q, others, without=(s,))
            baseline = q[s] * table[b, s]
            for t in others:
                pair = first_in_some_order(q, [i for i in others if i != t], without=(s, t))
                baseline = baseline + q[t] * pair / single * table[b, t]
            advantage = (table[b, s] - baseline).detach()
            term = term + probabilities[s] * single / whole * advantage
            value = value + q[s] * single / whole * table[b, s]
        (by_hand,) = torch.autograd.grad(term, leaf, retain_graph=True)
        assert torch.allclose(found[0][b], by_hand, atol=1e-12)
        assert torch.allclose(estimate.value[b], value)
        decoder = torch.autograd.grad(value, f.parameters, retain_graph=True)
        for got, expected in zip(found[1:], decoder, strict=True):
            assert torch.allclose(got[b], expected[b], atol=1e-12)
        coverage = sum(q[s] for s in members)
        assert estimate.diagnostics["coverage"][b].item() == pytest.approx(coverage)


def value_variance(monkeypatch, family, eta, f, k):
    """Var of the value over all sets, exactly."""
    sets, weight, _ = all_sets(family, eta, k)
    monkeypatch.setattr(unordered, "_without_replacement", lambda *_: sets)
    found = estimated_gradients(
        UnorderedSet(samples=k), family, eta, f, replicates=len(sets), generator=generator()
    )
    gradient = weight @ (found.eta - weight @ found.eta).square()
    return (weight @ (found.value - weight @ found.value).square()).item(), gradient.sum().item()


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_variance_falls_with_every_further_state(monkeypatch, family, seed):
    """The set estimator is a Rao-Blackwellization of one draw, f(z): exact variances, no noise.

    That of k + 1 draws is in turn the mean of that of the first k, given the set of k + 1.
    """
    f, eta = ToyIntegrand.random(family, seed), random_eta(family, seed)
    q = family.log_prob(eta, family.enumerate().to(eta)).exp()
    table = f.table()[0]
    variances = [(q @ table.square() - (q @ table).square()).item()]
    for k in range(2, 6):
        variances.append(value_variance(monkeypatch, family, eta, f, k)[0])
    assert all(after < 0.95 * before + 1e-20 for before, after in itertools.pairwise(variances))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_encoder_variance_falls_to_nothing(monkeypatch, seed):
    family = Categorical(1, 5)
    f, eta = ToyIntegrand.random(family, seed), random_eta(family, seed)
    two, three, _, five = (value_variance(monkeypatch, family, eta, f, k)[1] for k in (2, 3, 4, 5))
    assert three < 0.8 * two
    assert five < 1e-20


@pytest.mark.parametrize("samples", [2, 4, 8])
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_constant_f_leaves_exactly_nothing(family, samples):
    eta = random_eta(family, 0)
    etas = eta.repeat(50, *[1] * eta.ndim).requires_grad_()
    estimate = UnorderedSet(samples=samples)(family, etas, Constant(), generator=generator())
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
    assert torch.count_nonzero(grad) == 0
    assert torch.allclose(estimate.value, torch.tensor(-103.7, dtype=torch.float64))


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_f_is_never_differentiated_in_z(family):
    toy, eta = ToyIntegrand.random(family, 0).repeated(7), random_eta(family, 0)
    etas = eta.repeat(7, *[1] * eta.ndim).requires_grad_()
    opaque = Opaque(toy.parameters, family)
    UnorderedSet()(family, etas, opaque, generator=generator()).surrogate.sum().backward()
    assert etas.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [40.0, 100.0, 800.0])
def test_saturated_logits(dtype, size):
    """The mode takes all the weight, the others next to none; value right, gradient next to 0."""
    eta = torch.tensor([[size, -size, size]], dtype=dtype).repeat(30, 1).requires_grad_()
    estimate = UnorderedSet()(Bernoulli(3), eta, lambda z: z.sum(-1) + 5, generator=generator())
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    assert torch.allclose(estimate.value, torch.full((30,), 7, dtype=dtype))
    assert grad.abs().max() < 1e-12
    assert torch.allclose(estimate.diagnostics["coverage"], torch.ones(30, dtype=dtype))


def test_weights_without_ratios_are_rejected(monkeypatch):
    """q(s)/q(S), as if the set were a small world of its own: self-normalised and biased."""

    def normalised(log_p, log_rest):
        w = log_p.softmax(0)
        return w, w.expand(len(w), -1, -1)

    monkeypatch.setattr(unordered, "set_weights", normalised)
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(UnorderedSet(samples=2))


def test_baseline_of_the_whole_set_is_rejected(monkeypatch):
    """First-order weights in the baseline too: it then knows the state it is taken from."""

    def first_order(log_p, log_rest):
        w, _ = set_weights(log_p, log_rest)
        return w, w.expand(len(w), -1, -1)

    monkeypatch.setattr(unordered, "set_weights", first_order)
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(UnorderedSet(samples=2))


def test_evaluations_never_exceed_the_states():
    estimator = UnorderedSet(samples=6)
    assert estimator.evaluations == 6
    assert estimator.evaluations_for(Categorical(1, 100)) == 6
    assert estimator.evaluations_for(Bernoulli(2)) == 4


@pytest.mark.parametrize("family", [Bernoulli(50), Categorical(20, 10), Gaussian(2)], ids=repr)
def test_codes_that_cannot_be_listed_are_refused(family):
    eta = torch.zeros(2, *family.eta_shape)
    with pytest.raises(ConfigError, match=rf"at most 4,096 of them\. Got {family.spec}\."):
        UnorderedSet()(family, eta, Constant(), generator=None)
