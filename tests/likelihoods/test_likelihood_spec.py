"""Likelihoods by their spelling, and bits per dimension."""

import math

import pytest
from members import TEXTS

from discretevae.config import LikelihoodSpec, ModelConfig
from discretevae.errors import ConfigError
from discretevae.likelihoods import bits_per_dimension, likelihood_named


@pytest.mark.parametrize("text", TEXTS)
def test_text_and_spec_and_likelihood_are_one_to_one(text):
    assert str(likelihood_named(text, 3).spec) == text
    assert likelihood_named(LikelihoodSpec.of(text), 3).spec == LikelihoodSpec.of(text)
    assert ModelConfig(n_features=3, likelihood=likelihood_named(text, 3)).likelihood.kind in text


def test_every_kind_is_in_the_table_of_tests():
    # these have tests of their own
    others = {"gaussian:learned", "color-logistic", "multinomial", "mixed", "student"}
    assert {text.partition(":")[0] for text in TEXTS} | others == set(LikelihoodSpec.constructors())


def test_a_learned_scale_needs_the_number_of_features():
    with pytest.raises(ConfigError, match="Say how many features"):
        likelihood_named("gaussian:learned")


def test_bits_per_dimension_of_fair_coins_is_one():
    assert bits_per_dimension(784 * math.log(0.5), 784) == pytest.approx(1)
    assert bits_per_dimension(10 * -math.log(256), 10) == pytest.approx(8)
