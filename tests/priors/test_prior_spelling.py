"""Priors by their spelling, and which a code can have."""

import pytest
import torch

from discretevae.config import Activation, PriorSpec
from discretevae.errors import ConfigError
from discretevae.families import Bernoulli, Categorical, Gaussian, Product
from discretevae.priors import (
    DEFAULT_HIDDEN,
    AutoregressivePrior,
    FactorizedPrior,
    MixturePrior,
    make_prior,
)

SPELLED = (
    "fixed", "factorized", "autoregressive", "autoregressive:64", "autoregressive:256,128",
    "autoregressive:linear", "mixture:10", "transformer", "transformer:1x16", "convolution:2x8",
    "transformer:1x16,classes=3", "convolution:classes=10",
)  # fmt: skip

GRID = (1, 3)


def test_every_kind_is_spelled_here():
    kinds = {name.partition(":")[0] for name in PriorSpec.constructors()}
    assert kinds == {text.partition(":")[0] for text in SPELLED}


@pytest.mark.parametrize("text", SPELLED)
def test_the_spec_declares_what_the_prior_declares(text):
    spec = PriorSpec.of(text)
    family = Gaussian(3) if spec.kind == "mixture" else Bernoulli(3)
    prior = make_prior(spec, family, grid=GRID, generator=torch.Generator().manual_seed(0))
    assert prior.n_classes == spec.classes
    assert spec.has_closed_kl == prior.has_closed_kl


@pytest.mark.parametrize("text", SPELLED)
def test_the_text_and_its_spec_make_the_same_prior(text):
    family = Gaussian(3) if text.startswith("mixture") else Bernoulli(3)
    made = [
        make_prior(prior, family, grid=GRID, generator=torch.Generator().manual_seed(0))
        for prior in (text, PriorSpec.of(text))
    ]
    states = [prior.state_dict() for prior in made]
    assert type(made[0]) is type(made[1])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_sizes_and_activation_reach_the_networks():
    leaky = Activation("leaky-relu", 0.2)
    prior = make_prior("autoregressive", Bernoulli(3), activation=leaky)
    assert isinstance(prior, AutoregressivePrior)
    assert tuple(len(layer.weight) for layer in prior.network.hidden[::2]) == DEFAULT_HIDDEN
    assert prior.network.hidden[1].negative_slope == leaky.slope
    prior = make_prior("mixture:4", Gaussian(2))
    assert isinstance(prior, MixturePrior)
    assert prior.n_components == 4
    fixed, learned = (make_prior(name, Bernoulli(2)) for name in ("fixed", "factorized"))
    assert isinstance(fixed, FactorizedPrior)
    assert not list(fixed.parameters())
    assert [name for name, _ in learned.named_parameters()] == ["raw"]


MIXED = Product((Bernoulli(2), Gaussian(2)))


@pytest.mark.parametrize(
    ("text", "family", "choices"),
    [
        ("autoregressive", Gaussian(2), "fixed, factorized or mixture:10"),
        ("mixture:3", Bernoulli(2), "fixed, factorized, autoregressive or transformer"),
        ("mixture:3", Categorical(2, 3), "fixed, factorized, autoregressive or transformer"),
        ("convolution", Bernoulli(2), "fixed, factorized, autoregressive or transformer"),
        ("transformer", MIXED, "fixed, factorized or autoregressive"),
        ("autoregressive", Categorical(64, 512), "transformer"),
        ("transformer", Gaussian(2), "fixed, factorized or mixture:10"),
        ("mixture:3", MIXED, "fixed, factorized or autoregressive"),
    ],
    ids=str,
)
def test_a_family_that_cannot_be_served_is_told_which_priors_can(text, family, choices):
    with pytest.raises(ConfigError, match=rf"Choose {choices}\.") as caught:
        make_prior(text, family)
    assert str(family.spec) in str(caught.value)
    for choice in choices.replace(" or ", ", ").split(", "):
        make_prior(choice, family, generator=torch.Generator())
