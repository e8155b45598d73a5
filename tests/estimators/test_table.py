"""Every estimator × every discrete family that it handles × every invariant of the contract."""

import copy

import pytest
import torch
from estimator_toys import Opaque

from discretevae.estimators import ESTIMATORS, Estimator, make_estimator
from discretevae.estimators.contract import (
    FALSE_ALARM,
    FAMILIES,
    SEED,
    ToyIntegrand,
    check_estimator_contract,
    estimated_gradients,
    exact_gradients,
    random_eta,
    z_test,
)
from discretevae.estimators.references import references

DISCRETE = [name for name in ESTIMATORS if name not in ("reparametrized", "vimco")]
REPLICATES = 20_000
SEEN = 0.1
"""A bias of this size, relative to the largest true coordinate, is seen with probability 0.99."""

BIASED = [name for name in DISCRETE if not ESTIMATORS[name]().is_unbiased]
NEEDS_SLOPE = {
    "straight-through", "gumbel-softmax", "st-gumbel", "gumbel-rao", "gapped-st", "reinmax",
    "reinmax-rao", "reinmax-cv", "muprop", "rebar", "relax", "double-cv", "rodeo",
}  # fmt: skip
ZERO_FOR_CONSTANT = {
    "exact", "local-expectation", "bitflip", "rloo", "arm", "disarm", "arms", "arsm", "carms",
    "disarm-sb", "straight-through", "gumbel-softmax", "st-gumbel",
    "gumbel-rao", "gapped-st", "reinmax", "reinmax-rao", "reinmax-cv", "muprop", "rebar", "relax",
    "double-cv", "rodeo",
}  # fmt: skip


def families_of(estimator):
    return [family for family in FAMILIES if family.spec.kind in estimator.kinds]


@pytest.mark.parametrize("name", DISCRETE)
def test_contract(name):
    """Surrogate, shapes, replay, global state, cost, ±40 logits, and for unbiased estimators the
    z-test of value, encoder and decoder; false-alarm rate 1e-5 per family. No entry passes for
    want of power: every z-test would have seen a bias of a tenth.
    """
    findings = check_estimator_contract(ESTIMATORS[name](), replicates=REPLICATES)
    per_family = 9 if ESTIMATORS[name]().is_unbiased else 6
    assert len(findings) == per_family * len(families_of(ESTIMATORS[name]()))
    detectable = [f.detectable for f in findings if f.check.startswith("unbiased")]
    assert len(detectable) == (per_family - 6) * len(families_of(ESTIMATORS[name]()))
    assert all(bias < SEEN for bias in detectable)


@pytest.mark.parametrize("name", [name for name in DISCRETE if name not in BIASED])
def test_a_bias_of_that_size_is_seen(name):
    """In any coordinate, up or down: the same estimates, moved by what must be seen."""
    estimator = ESTIMATORS[name]()
    for family in families_of(estimator):
        f, eta = ToyIntegrand.random(family, SEED), random_eta(family, SEED)
        generator = torch.Generator().manual_seed(SEED)
        found = estimated_gradients(
            copy.deepcopy(estimator), family, eta, f, replicates=REPLICATES, generator=generator
        )
        for block, truth in exact_gradients(family, eta, f).blocks().items():
            bias = SEEN * truth.abs().max()
            for coordinate in range(truth.shape[1]):
                for moved in (truth[:, [coordinate]] + bias, truth[:, [coordinate]] - bias):
                    samples = found.blocks()[block][:, [coordinate]]
                    threshold = FALSE_ALARM / 3 / truth.shape[1]
                    assert not z_test(samples, moved, false_alarm=threshold).passed


@pytest.mark.parametrize("name", BIASED)
def test_biased_estimators_are_caught(name):
    """The same z-test sees the bias of every estimator that admits one, on at least one family."""
    estimator = ESTIMATORS[name]()
    caught = []
    for family in families_of(estimator):
        f, eta = ToyIntegrand.random(family, SEED), random_eta(family, SEED)
        generator = torch.Generator().manual_seed(0)
        found = estimated_gradients(
            copy.deepcopy(estimator), family, eta, f, replicates=8_000, generator=generator
        )
        caught.append(not z_test(found.eta, exact_gradients(family, eta, f).eta).passed)
    assert any(caught)


@pytest.mark.parametrize("name", [name for name in DISCRETE if name not in NEEDS_SLOPE])
def test_score_estimators_never_ask_for_the_slope_of_f(name):
    for family in families_of(ESTIMATORS[name]()):
        estimator, eta = ESTIMATORS[name](), random_eta(family, SEED)
        etas = eta.repeat(4, *[1] * eta.ndim).requires_grad_()
        rows = Opaque(ToyIntegrand.random(family, SEED).repeated(4).parameters, family)
        estimate = estimator(family, etas, rows, generator=torch.Generator().manual_seed(0))
        estimate.surrogate.sum().backward()


@pytest.mark.parametrize("name", DISCRETE)
def test_constant_f(name):
    """Members with a baseline of their own give exactly zero; the others only on average."""

    class Constant(ToyIntegrand):
        def _score(self, z):
            return 0 * super()._score(z) - 5.0

        def frozen(self):
            return Constant([p.detach() for p in self.parameters], self.family, self.evaluations)

    for family in families_of(ESTIMATORS[name]()):
        estimator, eta = ESTIMATORS[name](), random_eta(family, SEED)
        etas = eta.repeat(4, *[1] * eta.ndim).requires_grad_()
        rows = Constant(ToyIntegrand.random(family, SEED).repeated(4).parameters, family)
        estimate = estimator(family, etas, rows, generator=torch.Generator().manual_seed(0))
        (grad,) = torch.autograd.grad(
            estimate.surrogate.sum(), etas, allow_unused=True, materialize_grads=True
        )
        assert torch.allclose(estimate.value, torch.full((4,), -5.0).double(), atol=1e-12)
        if name in ZERO_FOR_CONSTANT:
            assert grad.abs().max() < 1e-12
        else:
            assert grad.abs().max() > 1e-3


def test_every_estimator_has_a_reference_and_a_docstring_that_says_what_it_is():
    assert references().keys() == ESTIMATORS.keys()
    for name, cls in ESTIMATORS.items():
        first = (cls.__doc__ or "").splitlines()[0]
        assert first.endswith("."), name
        assert "Example:" in (cls.__doc__ or ""), name
        assert isinstance(cls(), Estimator), name


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_is_spelled_with_its_defaults(name):
    kind = ESTIMATORS[name]().kinds[0]
    assert type(make_estimator(name, kind=kind)) is ESTIMATORS[name]


def test_keys_of_the_references_are_unique_per_paper():
    entries = {reference.key: reference.bibtex() for reference in references().values()}
    assert len(set(entries.values())) == len(entries)
    assert all(text.count("{") == text.count("}") for text in entries.values())
