"""Exact sums against enumeration written another way; local expectations by hand and z-test."""

import pytest
import torch
from estimator_toys import assert_is_exact, variance

from discretevae.errors import ConfigError
from discretevae.estimators import exact
from discretevae.estimators.antithetic import DisARM
from discretevae.estimators.contract import (
    FAMILIES,
    SEED,
    ToyIntegrand,
    check_estimator_contract,
    estimated_gradients,
    exact_gradients,
    random_eta,
)
from discretevae.estimators.exact import BitFlip, Exact, LocalExpectation
from discretevae.estimators.importance import Importance
from discretevae.families import Bernoulli, Categorical


@pytest.mark.parametrize("family", [*FAMILIES, Bernoulli(8), Categorical(4, 3)], ids=repr)
def test_exact_value_and_gradients(family):
    f, eta = ToyIntegrand.random(family, 2), random_eta(family, 2)
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    found = estimated_gradients(Exact(), family, eta, f, replicates=2, generator=generator)
    truth = exact_gradients(family, eta, f)
    for name, expected in truth.blocks().items():
        assert torch.allclose(found.blocks()[name], expected.expand(2, -1), atol=1e-12)
    assert torch.equal(state, generator.get_state())


def test_contracts():
    check_estimator_contract(Exact(), replicates=10)
    findings = check_estimator_contract(LocalExpectation(), replicates=20_000)
    seen = [float(f.detail.split()[-1]) for f in findings if f.check.startswith("unbiased")]
    assert max(seen) < 0.15


def test_local_expectation_of_one_variable_is_exact():
    for family in (Bernoulli(1), Categorical(1, 4)):
        f, eta = ToyIntegrand.random(family, 2), random_eta(family, 2)
        generator = torch.Generator().manual_seed(0)
        found = estimated_gradients(
            LocalExpectation(), family, eta, f, replicates=5, generator=generator
        )
        expected = exact_gradients(family, eta, f).eta.expand(5, -1)
        assert torch.allclose(found.eta, expected, atol=1e-12)


@pytest.mark.parametrize("family", [Bernoulli(3), Categorical(3, 4)], ids=repr)
def test_local_expectation_by_hand(family):
    f, eta = ToyIntegrand.random(family, 2).repeated(4), random_eta(family, 2)
    etas = eta.repeat(4, *[1] * eta.ndim).requires_grad_()
    estimate = LocalExpectation()(family, etas, f, generator=torch.Generator().manual_seed(3))
    (found,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
    z = family.sample(etas.detach(), 1, generator=torch.Generator().manual_seed(3))
    by_hand = torch.zeros_like(etas)
    q = family.mean(etas.detach())
    for b in range(4):
        for d in range(family.n_variables):
            if isinstance(family, Bernoulli):
                on, off = z.clone(), z.clone()
                on[0, b, d], off[0, b, d] = 1, 0
                by_hand[b, d] = q[b, d] * (1 - q[b, d]) * (f(on) - f(off))[0, b]
            else:
                values = []
                for k in range(4):
                    code = z.clone()
                    code[0, b, d] = torch.nn.functional.one_hot(torch.tensor(k), 4)
                    values.append(f(code)[0, b].detach())
                values = torch.stack(values)
                by_hand[b, d] = q[b, d] * (values - (q[b, d] * values).sum())
    assert torch.allclose(found, by_hand.detach(), atol=1e-12)


def test_local_expectation_varies_less_than_the_score_at_the_same_cost():
    """On the toy problem, against as many plain samples as it evaluates: at most half."""
    for family in FAMILIES:
        f, eta = ToyIntegrand.random(family, SEED), random_eta(family, SEED)
        local = LocalExpectation()
        plain = Importance(samples=local.evaluations_for(family))
        spread = [
            estimated_gradients(
                estimator,
                family,
                eta,
                f,
                replicates=4_000,
                generator=torch.Generator().manual_seed(0),
            )
            .eta.var(0)
            .sum()
            for estimator in (local, plain)
        ]
        assert spread[0] < 0.5 * spread[1]


def test_too_many_states_are_refused():
    eta = torch.zeros(1, 13)
    with pytest.raises(ConfigError, match=r"at most 4,096 of them\. Got bernoulli:13\."):
        Exact()(Bernoulli(13), eta, None, generator=None)


@pytest.mark.parametrize("n_bits", [1, 3])
def test_bitflip_over_every_code_and_every_bit_is_exact(n_bits, monkeypatch):
    """Value, η and decoder: Σ_z q(z) 1/D Σ_j of what the pair (z, j) gives."""
    family = Bernoulli(n_bits)
    f, eta = ToyIntegrand.random(family, SEED), random_eta(family, SEED)
    states = family.enumerate().to(eta)
    z, own = states.repeat_interleave(n_bits, 0), torch.eye(n_bits).to(eta).repeat(len(states), 1)
    monkeypatch.setattr(Bernoulli, "sample", lambda self, eta, n, *, generator: z.unsqueeze(0))
    monkeypatch.setattr(exact, "_one_bit_each", lambda z, generator: own.unsqueeze(0))
    weight = family.log_prob(eta, z).exp() / n_bits
    assert_is_exact(BitFlip(), family, eta, f, weight)


def test_bits_to_flip_are_alike_likely():
    """False-alarm rate below 1e-6: five standard errors, six bits."""
    own = exact._one_bit_each(torch.zeros(3, 20_000, 6), torch.Generator().manual_seed(0))
    assert torch.equal(own.sum(-1), torch.ones(3, 20_000))
    assert (own.mean((0, 1)) - 1 / 6).abs().max() < 5 * (5 / 36 / 60_000) ** 0.5


def test_bitflip_varies_less_than_disarm_where_bits_are_all_but_certain(monkeypatch):
    family = Bernoulli(3)
    for logit, wins in ((5.0, True), (0.0, False)):
        eta = torch.full((3,), logit, dtype=torch.float64)
        monkeypatch.setattr("estimator_toys.random_eta", lambda family, seed, eta=eta: eta)
        flips, pairs = (variance(member, family, SEED).sum() for member in (BitFlip(), DisARM()))
        assert (flips < pairs) == wins
