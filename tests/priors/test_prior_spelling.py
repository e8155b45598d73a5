"""Priors in words: what is read, what is written back, what is refused and how."""

import pytest
import torch

from discretevae.config.activations import Activation
from discretevae.config.priors import PRIOR_KINDS, PRIOR_SPELLINGS, PriorSpec, parse_prior
from discretevae.errors import ConfigError
from discretevae.families import Bernoulli, Categorical, Gaussian, Product
from discretevae.priors import (
    DEFAULT_HIDDEN,
    PRIORS,
    AutoregressivePrior,
    FactorizedPrior,
    LayeredPrior,
    MixturePrior,
    make_prior,
)

SPELLED = {
    "fixed": PriorSpec("fixed"),
    "factorized": PriorSpec("factorized"),
    "autoregressive": PriorSpec("autoregressive"),
    "autoregressive:64": PriorSpec("autoregressive", hidden=(64,)),
    "autoregressive:256,128": PriorSpec("autoregressive", hidden=(256, 128)),
    "autoregressive:linear": PriorSpec("autoregressive", hidden=()),
    "mixture:10": PriorSpec("mixture", 10),
    "layer:200": PriorSpec("layer", 200, ()),
    "layer:200,100,50": PriorSpec("layer", 200, (100, 50)),
}

WRONG = [
    "", ":", "Fixed", "fixed:", "fixed:1", "factorized:2", "factorised", "autoregressive:",
    "autoregressive:0", "autoregressive:a", "autoregressive:1,", "autoregressive:1x2",
    "autoregressive:linear,3", "autoregressive:-1", "mixture", "mixture:", "mixture:0",
    "mixture:2,3", "mixture:1.5", "layer", "layer:", "layer:0", "layer:3,0", "layer:linear",
    "layer:100001", "mixture:٣", "mixture:" + "9" * 5000, "autoregressive:1 ,2", None, 3,
]  # fmt: skip


@pytest.mark.parametrize("text", SPELLED)
def test_a_spelling_is_read_and_written_back(text):
    assert parse_prior(text) == SPELLED[text]
    assert parse_prior(f"  {text} ") == SPELLED[text]
    assert str(SPELLED[text]) == text


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text)[:30])
def test_everything_else_is_refused(text):
    with pytest.raises(ConfigError, match=r"prior.*(Choices|Write it like|from 1 to)"):
        parse_prior(text)


def test_messages_say_what_to_write():
    with pytest.raises(ConfigError, match=r"'autoregresive' is unknown. Did you mean autoregr"):
        parse_prior("autoregresive")
    with pytest.raises(ConfigError, match=r"prior 'mixture' cannot be read. Write it like mix"):
        parse_prior("mixture")
    with pytest.raises(ConfigError, match=r"must have sizes from 1 to 100,000. Got 0"):
        parse_prior("layer:0")


def test_every_kind_has_a_spelling_and_a_builder():
    assert set(PRIOR_KINDS) == set(PRIOR_SPELLINGS) == set(PRIORS)
    for text in ", ".join(PRIOR_SPELLINGS.values()).replace(" or ", ", ").split(", "):
        assert str(parse_prior(text)) == text


@pytest.mark.parametrize("text", SPELLED)
def test_the_text_and_its_spec_make_the_same_prior(text):
    family = Gaussian(3) if text.startswith("mixture") else Bernoulli(3)
    made = [
        make_prior(prior, family, generator=torch.Generator().manual_seed(0))
        for prior in (text, parse_prior(text))
    ]
    states = [prior.state_dict() for prior in made]
    assert type(made[0]) is type(made[1])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_sizes_and_activation_reach_the_networks():
    leaky = Activation("leaky-relu", 0.2)
    prior = make_prior("autoregressive", Bernoulli(3), activation=leaky)
    assert isinstance(prior, AutoregressivePrior)
    assert tuple(len(layer.weight) for layer in prior.network.layers) == DEFAULT_HIDDEN
    assert prior.network.activation == leaky
    prior = make_prior("layer:5,7", Bernoulli(3), activation=leaky)
    assert isinstance(prior, LayeredPrior)
    assert (prior.encoder.sizes, prior.decoder.sizes) == ((3, 7, 5), (5, 7, 3))
    assert prior.encoder.activation == prior.decoder.activation == leaky
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
        ("mixture:3", Bernoulli(2), "fixed, factorized, autoregressive or layer:200"),
        ("mixture:3", Categorical(2, 3), "fixed, factorized or autoregressive"),
        ("mixture:3", MIXED, "fixed, factorized or autoregressive"),
        ("layer:4", Categorical(2, 3), "fixed, factorized or autoregressive"),
        ("layer:4", Gaussian(2), "fixed, factorized or mixture:10"),
        ("layer:4", MIXED, "fixed, factorized or autoregressive"),
    ],
    ids=str,
)
def test_a_family_that_cannot_be_served_is_told_which_priors_can(text, family, choices):
    with pytest.raises(ConfigError, match=rf"Choose {choices}\.") as caught:
        make_prior(text, family)
    assert str(family.spec) in str(caught.value)
    for choice in choices.replace(" or ", ", ").split(", "):
        make_prior(choice, family, generator=torch.Generator())
