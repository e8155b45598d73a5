"""Codes of several parts: estimators put together, against enumeration and quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from discretevae.errors import ConfigError
from discretevae.estimators import (
    ARMS,
    EMA,
    NVIL,
    REBAR,
    RELAX,
    RLOO,
    RODEO,
    DisARM,
    Estimate,
    Exact,
    Importance,
    LocalExpectation,
    MuProp,
    PartWise,
    ReinMax,
    STGumbel,
    default_estimator,
    estimator_for,
    with_gradient_of,
)
from discretevae.estimators.contract import (
    FALSE_ALARM,
    SEED,
    ContractError,
    ToyIntegrand,
    check_estimator_contract,
    estimated_gradients,
    exact_gradients,
    random_eta,
    z_test,
)
from discretevae.families import Bernoulli, Categorical, Gaussian, Product, family_of

TWO = Product((Bernoulli(2), Categorical(1, 3)))
THREE = Product((Categorical(1, 2), Bernoulli(1), Categorical(2, 2)))
HYBRIDS = [
    Product((Categorical(1, 3), Gaussian(1))),
    Product((Gaussian(1), Bernoulli(2))),
    Product((Bernoulli(1), Gaussian(1), Categorical(1, 3))),
]

ALL_DISCRETE = {
    "exact of each part": (TWO, lambda: PartWise([Exact(), Exact()])),
    "disarm and rloo": (TWO, lambda: PartWise([DisARM(), RLOO()])),
    "importance and exact": (TWO, lambda: PartWise([Importance(samples=2), Exact()])),
    "arms and local expectation": (TWO, lambda: PartWise([ARMS(), LocalExpectation()])),
    "rodeo and rebar": (TWO, lambda: PartWise([RODEO(), REBAR()])),
    "relax and muprop": (TWO, lambda: PartWise([RELAX(hidden=4), MuProp()])),
    "three parts": (THREE, lambda: PartWise([Exact(), DisARM(), RLOO()])),
}


@pytest.mark.parametrize("name", ALL_DISCRETE)
def test_estimators_of_discrete_parts_keep_the_contract_together(name):
    """The z-test's false-alarm rate is 1e-5 per family; what it would have seen is asserted."""
    family, make = ALL_DISCRETE[name]
    findings = check_estimator_contract(make(), families=[family], replicates=30_000)
    sees = [finding.detectable for finding in findings if finding.detectable is not None]
    assert len(sees) == 3
    assert max(sees) < 0.5


def test_exact_on_the_whole_code_is_the_sum_over_all_its_states():
    f, eta = ToyIntegrand.random(TWO, SEED), random_eta(TWO, SEED)
    truth = exact_gradients(TWO, eta, f).blocks()
    estimator = estimator_for("exact", TWO)
    assert estimator == Exact()
    found = estimated_gradients(
        estimator, TWO, eta, f, replicates=2, generator=torch.Generator().manual_seed(0)
    )
    for name, block in found.blocks().items():
        assert torch.allclose(block, truth[name].expand_as(block), atol=1e-12), name


def quadrature(family, eta, f):
    """The truth for one Gaussian variable beside discrete parts, and its gradients, by 40 nodes."""
    points, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(40))
    weights = weights / weights.sum()
    eta = eta.detach().unsqueeze(0).requires_grad_()
    f = f.repeated(1)
    etas = family.split_eta(eta)
    states, tables = [], []
    for part, part_eta in zip(family.parts, etas, strict=True):
        if part.n_states is None:
            mu, var = part.moments(part_eta)
            states.append(mu + var.sqrt() * points.unsqueeze(1))
            tables.append(weights)
        else:
            states.append(part.enumerate().double().flatten(1))
            tables.append(part.log_prob_table(part_eta)[0].exp())
    grid = torch.cartesian_prod(*[torch.arange(len(s)) for s in states])
    z = torch.cat([s[grid[:, i]] for i, s in enumerate(states)], 1)
    weight = torch.stack([t[grid[:, i]] for i, t in enumerate(tables)]).prod(0)
    value = (weight.unsqueeze(1) * f(z.unsqueeze(1))).sum(0)
    grads = torch.autograd.grad(value.sum(), (eta, *f.parameters))
    first, *rest = (grad.reshape(1, -1) for grad in grads)
    return {"value": value.detach().unsqueeze(1), "eta": first, "decoder": torch.cat(rest, 1)}


def hybrid_eta(family):
    raw = random_eta(family, SEED)
    return family.natural_parameters(raw.unsqueeze(0))[0]


def worst(estimator, family, *, replicates=40_000):
    """The z-tests of value and both gradients: whether all pass, and what they would have seen."""
    f, eta = ToyIntegrand.random(family, SEED), hybrid_eta(family)
    truth = quadrature(family, eta, f)
    found = estimated_gradients(
        estimator, family, eta, f, replicates=replicates, generator=torch.Generator().manual_seed(1)
    ).blocks()
    tests = [z_test(found[name], truth[name], false_alarm=FALSE_ALARM / 3) for name in truth]
    return all(test.passed for test in tests), max(test.detectable for test in tests)


@pytest.mark.parametrize("family", HYBRIDS, ids=lambda family: str(family.spec))
@pytest.mark.parametrize("name", ["exact", "importance:samples=2", "rloo", "rebar", "muprop"])
def test_hybrids_are_unbiased_in_every_part_and_in_the_decoder(family, name):
    """Against quadrature; false-alarm rate 1e-5, power as asserted."""
    passed, sees = worst(estimator_for(name, family), family)
    assert passed
    assert sees < 0.6


class ForgetsTheShare(PartWise):
    """Broken on purpose: the mean over parts takes each part's gradient k times too small."""

    def forward(self, family, eta, f, *, generator):
        estimate = super().forward(family, eta, f, generator=generator)
        slope = estimate.surrogate / len(self.estimators)
        return Estimate(estimate.value, with_gradient_of(estimate.value, slope))


class CutsThePath(PartWise):
    """Broken on purpose: nothing flows to the Gaussian part."""

    def forward(self, family, eta, f, *, generator):
        etas = [
            e.detach() if part.n_states is None else e
            for part, e in zip(family.parts, family.split_eta(eta), strict=True)
        ]
        cut = torch.cat([e.flatten(1) for e in etas], 1)
        return super().forward(family, cut, f, generator=generator)


@pytest.mark.parametrize("broken", [ForgetsTheShare, CutsThePath])
def test_broken_ones_are_caught(broken):
    family = HYBRIDS[2]
    passed, _ = worst(broken([Exact(), Exact()]), family)
    assert not passed


def test_a_broken_one_is_caught_by_the_contract_too():
    with pytest.raises(ContractError, match="unbiased"):
        check_estimator_contract(
            ForgetsTheShare([Exact(), Exact()]), families=[TWO], replicates=20_000
        )


@pytest.mark.parametrize("estimators", [[ReinMax()], [STGumbel()], [REBAR()]])
def test_estimators_that_ask_for_the_gradient_in_z_reach_the_gaussian_part(estimators):
    """With `f.value_and_grad` the path of the Gaussian part is carried by hand: the same numbers
    as by autograd, for a function without samples of c in its value."""
    family = Product((Categorical(1, 3), Gaussian(2)))
    f = ToyIntegrand.random(family, SEED).repeated(1)
    eta = hybrid_eta(family).unsqueeze(0).requires_grad_()
    estimate = PartWise(estimators)(family, eta, f, generator=torch.Generator().manual_seed(0))
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), eta)
    # the same draws again, in the order in which the estimator makes them
    generator = torch.Generator().manual_seed(0)
    again = eta.detach().requires_grad_()
    parts, etas = family.parts, family.split_eta(again)
    held = [p.sample(e, 1, generator=generator) for p, e in zip(parts, etas, strict=True)]

    class Recorder:
        """f with the held part, which keeps the codes it was asked about."""

        def __init__(self):
            self.seen = []

        def __call__(self, z):
            self.seen.append(z.detach())
            return f(z)

        def value_and_grad(self, z):
            self.seen.append(z.detach())
            return f.value_and_grad(z)

        def frozen(self):
            return f.frozen()

    recorder = Recorder()
    PartWise(estimators)(
        family,
        eta.detach().requires_grad_(),
        recorder,
        generator=torch.Generator().manual_seed(0),
    )
    z = recorder.seen[0]
    code = family.split_z(z)[0]
    value = f(family.join_z([code, held[1].expand(len(code), -1, -1)])).mean(0)
    (expected,) = torch.autograd.grad(value.sum(), again)
    assert torch.allclose(family.split_eta(grad)[1], family.split_eta(expected)[1], atol=1e-12)
    assert family.split_eta(grad)[1].abs().max() > 1e-3


def test_what_estimators_learn_is_made_before_the_first_step_and_trained_by_its_own_loss():
    family = Product((Bernoulli(2), Gaussian(1), Categorical(1, 3)))
    estimator = PartWise([NVIL(hidden=4), RELAX(hidden=4)])
    eta = hybrid_eta(family).repeat(3, 1).requires_grad_()
    estimator.prepare(family, eta[:1].detach())
    own = list(estimator.parameters())
    assert len(own) >= 4
    estimate = estimator(
        family,
        eta,
        ToyIntegrand.random(family, SEED).repeated(3),
        generator=torch.Generator().manual_seed(0),
    )
    grads = torch.autograd.grad(estimate.control_loss, own, allow_unused=True, retain_graph=True)
    assert any(grad is not None and grad.abs().max() > 0 for grad in grads)
    (reached,) = torch.autograd.grad(
        estimate.control_loss, eta, allow_unused=True, materialize_grads=True
    )
    assert not reached.any()


def test_averages_of_estimators_are_part_of_the_state():
    estimator = PartWise([EMA(), EMA()])
    assert len(list(estimator.buffers())) == 4


def test_schedules_of_estimators_are_followed():
    estimator = PartWise([STGumbel(tau=1.0, anneal=1e-2, floor=0.5), Exact()])
    assert estimator.at_step(0) is estimator
    assert estimator.at_step(1000).estimators[0].tau == 0.5


@pytest.mark.parametrize(
    ("latent", "expected"),
    [
        ("categorical:10+gaussian:16", "exact"),
        ("bernoulli:32+gaussian:8", "disarm"),
        ("bernoulli:32+categorical:20x10", "disarm+reinmax"),
        ("categorical:100+gaussian:8+bernoulli:5", "reinmax+exact"),
        ("categorical:10+bernoulli:5", "exact"),
    ],
)
def test_defaults_by_part(latent, expected):
    family = family_of(latent)
    assert default_estimator(family) == expected
    estimator = estimator_for(expected, family)
    assert estimator.evaluations_for(family) > 0


@pytest.mark.parametrize(
    ("text", "latent", "words"),
    [
        ("disarm", "bernoulli:32+categorical:10x20", "cannot handle a categorical code"),
        ("disarm+exact+exact", "bernoulli:32+categorical:10x20", "has 2 discrete parts"),
        ("vimco", "bernoulli:32+gaussian:2", "Choose another"),
        ("reparametrized", "bernoulli:32+gaussian:2", "cannot handle a bernoulli code"),
    ],
)
def test_what_does_not_go_together_is_said(text, latent, words):
    with pytest.raises(ConfigError, match=words):
        estimator_for(text, family_of(latent))


def test_it_refuses_what_it_is_not_made_for():
    with pytest.raises(ConfigError, match="several parts"):
        PartWise([Exact()]).evaluations_for(Bernoulli(2))
    with pytest.raises(ConfigError, match="for each discrete one"):
        PartWise([])
