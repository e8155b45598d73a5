"""ARSM, DisARM-SB and CARMS: every outcome summed, replayed, with bugs seeded."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from estimator_toys import (
    Constant,
    Distorted,
    Opaque,
    assert_is_exact,
    cells,
    detectable,
    dirichlet_pmf,
    generator,
    variance,
    wrong_sign,
)

from discretevae.estimators import coupled
from discretevae.estimators.antithetic import ARM, ARMS, DisARM, coupled_bits
from discretevae.estimators.contract import (
    ContractError,
    ToyIntegrand,
    check_estimator_contract,
    estimated_gradients,
    random_eta,
)
from discretevae.estimators.coupled import ARSM, CARMS, DisARMSB, pair_weights
from discretevae.families import Bernoulli, Categorical

MEMBERS = {
    "arsm": ARSM(),
    "disarm-sb": DisARMSB(),
    "disarm-sb 2 pairs": DisARMSB(samples=4),
    "carms 2": CARMS(samples=2),
    "carms 3": CARMS(samples=3),
    "carms 6": CARMS(samples=6),
}
FAMILIES = (Categorical(1, 2), Categorical(1, 4), Categorical(2, 3))


@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS)
def test_contract(estimator):
    """Unbiased for η and decoder; false-alarm rate 1e-5 per family.

    Power: a bias of 0.15 of the largest coordinate would be seen with probability 0.99.
    """
    seen = detectable(check_estimator_contract(estimator, families=FAMILIES, replicates=20_000))
    assert len(seen) == 9
    assert max(seen) < 0.15


def stick_outcomes(eta, n):
    """All joint outcomes of the n coupled bits of every stick, and their probabilities.

    The sticks are formed from probabilities here: q_k / Σ_{l≥k} q_l in ascending order.
    """
    pmfs = []
    for row in torch.softmax(eta, -1).tolist():
        q = sorted(row)
        pmfs += [dirichlet_pmf(q[k] / sum(q[k:]), n) for k in range(len(q) - 1)]
    outcomes = list(itertools.product(*pmfs))
    weight = [math.prod(p[o] for p, o in zip(pmfs, row, strict=True)) for row in outcomes]
    bits = torch.tensor(outcomes, dtype=torch.float64).movedim(-1, 0)
    shape = (n, 1, len(outcomes), eta.shape[0], eta.shape[1] - 1)
    return bits.reshape(shape), torch.tensor(weight, dtype=torch.float64)


@pytest.mark.parametrize(
    ("estimator", "n", "family"),
    [
        (DisARMSB(), 2, Categorical(1, 4)),
        (DisARMSB(), 2, Categorical(2, 3)),
        (CARMS(samples=2), 2, Categorical(2, 3)),
        (CARMS(samples=3), 3, Categorical(1, 4)),
        (CARMS(samples=3), 3, Categorical(2, 3)),
        (CARMS(samples=4), 4, Categorical(1, 3)),
    ],
    ids=lambda x: repr(x),
)
@pytest.mark.parametrize("scale", [1.0, -2.0, 0.0])
def test_expectation_over_the_sticks_is_exact(monkeypatch, estimator, n, family, scale):
    """Every joint outcome of the bits is one row, weighed by its probability; ties included."""
    f, eta = ToyIntegrand.random(family, 3), scale * random_eta(family, 3)
    bits, weight = stick_outcomes(eta, n)
    assert weight.sum().item() == pytest.approx(1)
    monkeypatch.setattr(coupled, "coupled_bits", lambda *_: bits)
    assert_is_exact(estimator, family, eta, f, weight)


@pytest.mark.parametrize("variables", [1, 2])
def test_expectation_of_arsm_is_exact_for_two_categories(monkeypatch, variables):
    """π = (u, 1 − u): between the thresholds of u all is constant or linear, so midpoints do."""
    family = Categorical(variables, 2)
    f, eta = ToyIntegrand.random(family, 3), random_eta(family, 3)
    u, volume = cells(torch.softmax(eta, -1)[:, 0].tolist())
    pi = torch.stack((u, 1 - u), -1)
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda *_, **__: pi)
    assert_is_exact(ARSM(), family, eta, f, volume)


def test_expectation_of_arsm_over_the_simplex(monkeypatch):
    """Three categories: a grid of 250,000 points; only cells cut by a threshold err (2e-3)."""
    family, n = Categorical(1, 3), 500
    f, eta = ToyIntegrand.random(family, 3), random_eta(family, 3)
    grid = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    root, v = torch.meshgrid(grid.sqrt(), grid, indexing="ij")
    pi = torch.stack((1 - root, root * (1 - v), root * v), -1).reshape(n * n, 1, 3)
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda *_, **__: pi)
    weight = torch.full((n * n,), 1 / n**2, dtype=torch.float64)
    assert_is_exact(ARSM(), family, eta, f, weight, atol=2e-3)


def test_arsm_by_hand():
    """Every swap of every row and variable, with the same exponentials, term by term."""
    family, rows, k = Categorical(2, 4), 5, 4
    f, eta = ToyIntegrand.random(family, 3).repeated(rows), random_eta(family, 3)
    etas = eta.repeat(rows, 1, 1).requires_grad_()
    estimate = ARSM()(family, etas, f, generator=generator(8))
    (found,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
    pi = torch.empty(rows, 2, k, dtype=torch.float64).exponential_(generator=generator(8))
    pi = pi / pi.sum(-1, keepdim=True)
    by_hand, values = torch.zeros_like(pi), torch.zeros(rows).double()
    for b in range(rows):
        score = torch.zeros(k, k).double()
        for c, j in itertools.product(range(k), repeat=2):
            swapped = pi[b].clone()
            swapped[:, [c, j]] = pi[b][:, [j, c]]
            z = torch.eye(k).double()[(swapped * torch.exp(-eta)).argmin(-1)]
            score[c, j] = f(z.expand(1, rows, 2, k))[0, b].detach()
        for d, c, j in itertools.product(range(2), range(k), range(k)):
            by_hand[b, d, c] += (score[c, j] - score[:, j].mean()) * (1 / k - pi[b, d, j])
        upper = [score[c, j] for c in range(k) for j in range(c + 1, k)]
        values[b] = (score[0, 0] + sum(upper)) / (1 + len(upper))
    assert torch.allclose(found, by_hand, atol=1e-12)
    assert torch.allclose(estimate.value, values)


def test_carms_by_hand():
    """Pairs weighed by q q̃ / r, with r summed from the outcomes of the bits and not the formula."""
    family, rows, n, k = Categorical(2, 3), 6, 3, 3
    f, eta = ToyIntegrand.random(family, 3).repeated(rows), random_eta(family, 3)
    etas = eta.repeat(rows, 1, 1).requires_grad_()
    estimate = CARMS(samples=n)(family, etas, f, generator=generator(8))
    (found,) = torch.autograd.grad(estimate.surrogate.sum(), etas)

    q = torch.softmax(eta, -1)
    order = q.argsort(-1)
    ascending = q.gather(-1, order)
    sticks = torch.stack([ascending[:, i] / ascending[:, i:].sum(-1) for i in range(k - 1)], -1)
    bits = coupled_bits(sticks.logit().expand(1, rows, 2, 2), n, "dirichlet", generator(8))[:, 0]

    def category(b, d):
        return order[d, next((i for i in range(k - 1) if b[i]), k - 1)].item()

    r = torch.zeros(2, k, k).double()
    for d in range(2):
        pmfs = [dirichlet_pmf(p, n) for p in sticks[d].tolist()]
        for outcome in itertools.product(*pmfs):
            one, other = ([o[i] for o in outcome] for i in (0, 1))
            chance = math.prod(p[o] for p, o in zip(pmfs, outcome, strict=True))
            r[d, category(one, d), category(other, d)] += chance
    assert torch.allclose(r.sum(-1), q)

    by_hand = torch.zeros(rows, 2, k).double()
    for b in range(rows):
        codes = [[category(bits[i, b, d], d) for d in range(2)] for i in range(n)]
        z = torch.eye(k).double()[torch.tensor(codes)]
        fz = [f(z[i].expand(1, rows, 2, k))[0, b].detach() for i in range(n)]
        for i, j in itertools.combinations(range(n), 2):
            for d in range(2):
                if codes[i][d] != codes[j][d]:
                    s, t = codes[i][d], codes[j][d]
                    weight = q[d, s] * q[d, t] / r[d, s, t]
                    by_hand[b, d] += (fz[i] - fz[j]) * (z[i, d] - z[j, d]) * weight / (n * (n - 1))
    assert torch.allclose(found, by_hand, atol=1e-12)


def test_stick_breaking_is_disarm_on_the_bits_on_average():
    """DisARM's terms for all bits, averaged by hand over every b and b̃ that give the same codes."""
    family = Categorical(1, 4)
    f, eta = ToyIntegrand.random(family, 3).repeated(400), random_eta(family, 3)
    etas = eta.repeat(400, 1, 1).requires_grad_()
    estimate = DisARMSB()(family, etas, f, generator=generator(8))
    (found,) = torch.autograd.grad(estimate.surrogate.sum(), etas)

    order = eta[0].argsort()
    leaf = eta.clone().requires_grad_()
    ascending = leaf[0][order]
    alpha = torch.stack([ascending[i] - ascending[i + 1 :].logsumexp(0) for i in range(3)])
    p = torch.sigmoid(alpha).tolist()
    bits = coupled_bits(alpha.detach().expand(1, 400, 1, 3), 2, "dirichlet", generator(8))[:, 0]
    table = f.table()[0].detach()
    pmfs = [dirichlet_pmf(x, 2) for x in p]
    cache = {}
    for b in range(400):
        stop = [next((i for i in range(3) if bits[j, b, 0, i]), 3) for j in range(2)]
        if tuple(stop) not in cache:
            total, chance = torch.zeros(3).double(), 0.0
            for outcome in itertools.product(*pmfs):
                stops = [next((i for i in range(3) if outcome[i][j]), 3) for j in range(2)]
                if stops == stop:
                    weight = math.prod(x[o] for x, o in zip(pmfs, outcome, strict=True))
                    gap = table[order[stop[0]]] - table[order[stop[1]]]
                    difference = torch.tensor([o[0] - o[1] for o in outcome]).double()
                    total += weight * 0.5 * gap * difference * torch.sigmoid(alpha.abs()).detach()
                    chance += weight
            (pulled,) = torch.autograd.grad(alpha, leaf, total / chance, retain_graph=True)
            cache[tuple(stop)] = pulled
        assert torch.allclose(found[b], cache[tuple(stop)], atol=1e-12)
    assert len(cache) > 6


def test_two_categories_are_bits():
    """K = 2: ARSM is ARM, CARMS is ARMS, DisARM-SB and a pair of CARMS are DisARM, by two moments.

    The difference of the two logits is that of the bit. The mean within 4.5 standard errors, the
    variance within 5 %, of 20,000 draws.
    """
    categories, bits = Categorical(1, 2), Bernoulli(1)
    eta = torch.tensor([[0.3, -0.6]], dtype=torch.float64)
    toy = ToyIntegrand.random(categories, 5)
    w, c, v = toy.parameters
    # f of the bit z is f of the category (z, 1 − z)
    bit = ToyIntegrand((w[..., :1] - w[..., 1:], c + w[..., 1], v), bits)
    pairs = [
        (ARSM(), ARM()),
        (CARMS(samples=3), ARMS(samples=3)),
        (DisARMSB(), DisARM()),
        (CARMS(samples=2), DisARM()),
    ]
    for estimator, other in pairs:
        rows = 20_000
        found = estimated_gradients(
            estimator, categories, eta, toy, replicates=rows, generator=generator(1)
        ).eta
        alike = estimated_gradients(
            other, bits, eta[:, 0] - eta[:, 1], bit, replicates=rows, generator=generator(2)
        ).eta
        assert torch.allclose(found[:, 0], -found[:, 1], atol=1e-12)
        error = math.sqrt(2 * alike.var().item() / rows)
        assert abs(found[:, 0].mean() - alike.mean()) < 4.5 * error
        assert found[:, 0].var().item() == pytest.approx(alike.var().item(), rel=0.05)


@pytest.mark.parametrize("k", [2, 3, 7, 100])
def test_equal_categories_never_meet_in_a_pair(k):
    """q_k = 1/K: two codes always differ, and every weight is (K − 1)/K."""
    eta = torch.zeros(200, 3, k, dtype=torch.float64)
    estimate = CARMS(samples=2)(
        Categorical(3, k), eta, lambda z: z[..., 0].sum(-1), generator=generator()
    )
    assert torch.equal(estimate.diagnostics["disagreement"], torch.ones(200).double())
    expected = torch.full((200,), (k - 1) / k, dtype=torch.float64)
    assert torch.allclose(estimate.diagnostics["largest_weight"], expected)


def test_weights_of_two_are_those_of_the_tails():
    """n = 2: ω_i = T_i T_{i+1} / Π_{k<i} (1 − 2 q_k/T_k)."""
    q = torch.tensor([0.05, 0.1, 0.25, 0.6], dtype=torch.float64)
    tail = q.flip(0).cumsum(0).flip(0)
    stick = (q / tail)[:-1]
    expected = [tail[i] * tail[i + 1] / torch.prod(1 - 2 * stick[:i]) for i in range(3)]
    assert torch.allclose(pair_weights(stick.logit()[None, None], 2)[0, 0], torch.stack(expected))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_coupling_of_four_beats_two_of_two(seed):
    """n = 4 has six pairs to learn from, two times n = 2 has two for the same price: 15 % less."""
    four, two = (variance(CARMS(samples=n), Categorical(2, 5), seed) for n in (4, 2))
    assert four.sum() < 0.85 * two.sum() / 2


def test_independent_pairs_average():
    """Two pairs have half the variance of one; 6 % for the noise of 20,000 draws."""
    two, one = (variance(DisARMSB(samples=n), Categorical(2, 5), 0).sum().item() for n in (4, 2))
    assert two == pytest.approx(one / 2, rel=0.06)


@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS)
def test_constant_f_leaves_exactly_nothing(estimator):
    family = Categorical(3, 4)
    eta = random_eta(family, 0).repeat(50, 1, 1).requires_grad_()
    estimate = estimator(family, eta, Constant(), generator=generator())
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    assert torch.count_nonzero(grad) == 0
    assert torch.allclose(estimate.value, torch.tensor(-103.7, dtype=torch.float64))


@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS)
def test_f_is_never_differentiated_in_z(estimator):
    family = Categorical(2, 3)
    toy = ToyIntegrand.random(family, 0).repeated(7)
    eta = random_eta(family, 0).repeat(7, 1, 1).requires_grad_()
    estimate = estimator(family, eta, Opaque(toy.parameters, family), generator=generator())
    estimate.surrogate.sum().backward()
    assert eta.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", MEMBERS.values(), ids=MEMBERS)
def test_saturated_logits(estimator, dtype):
    """One category far above the others, or two that share: finite, and right where it is sure."""
    family = Categorical(4, 3)
    rows = [[40, -40, 0], [-40, 800, -800], [40, 40, -40], [-100, 40, 40]]
    eta = torch.tensor(rows, dtype=dtype).repeat(50, 1, 1).requires_grad_()
    estimate = estimator(family, eta, lambda z: z[:, :, :, 0].sum(-1), generator=generator())
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    assert grad.isfinite().all()
    if not isinstance(estimator, ARSM):  # whose weights are noise where it is sure, as ARM's are
        assert torch.count_nonzero(grad[:, 3, 0]) == 0
    # q = (½, ½): ∂E f/∂η is ¼ for the first of the two; no draw is larger than 2 in size
    assert grad[:, 2, 0].mean().item() == pytest.approx(0.25, abs=0.25)
    assert all(x.isfinite().all() for x in estimate.diagnostics.values())


@pytest.mark.parametrize("estimator", [ARSM(), DisARMSB(), CARMS()], ids=["arsm", "sb", "carms"])
def test_wrong_sign_for_one_category_is_rejected(estimator):
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(Distorted(estimator, wrong_sign))


@pytest.mark.parametrize("estimator", [CARMS(samples=2), CARMS()], ids=["pair", "carms"])
def test_pairs_without_their_weight_are_rejected(monkeypatch, estimator):
    monkeypatch.setattr(coupled, "pair_weights", lambda alpha, n: torch.ones_like(alpha))
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(estimator)


def test_descending_sticks_under_weights_are_rejected(monkeypatch):
    """Where q_1 > ½ comes first the other two never meet, and no weight can replace them."""

    def descending(eta):
        order = eta.detach().argsort(-1, descending=True)
        rest = eta.gather(-1, order).flip(-1).logcumsumexp(-1).flip(-1)
        return order, eta.gather(-1, order)[..., :-1] - rest[..., 1:]

    monkeypatch.setattr(coupled, "_sticks", descending)
    family = Categorical(1, 3)
    assert torch.softmax(random_eta(family, 5), -1).max() > 0.5
    check_estimator_contract(DisARMSB(), families=[family], seed=5)
    with pytest.raises(ContractError, match="unbiased eta"):
        check_estimator_contract(CARMS(samples=2), families=[family], seed=5)


def test_wrong_count_of_evaluations_is_rejected():
    @dataclass(frozen=True)
    class Cheap(ARSM):
        def evaluations_for(self, family):
            return 2

    with pytest.raises(ContractError, match="declared evaluations"):
        check_estimator_contract(Cheap(), replicates=100)


def test_evaluations_by_family():
    assert [ARSM().evaluations_for(Categorical(9, k)) for k in (2, 3, 10, 100)] == [2, 4, 46, 4951]
    assert ARSM().evaluations == 2
    assert CARMS(samples=5).evaluations_for(Categorical(1, 9)) == 5
