"""Likelihoods in words: what can be read, what is refused, and bits per dimension."""

import math

import pytest
from hypothesis import given, strategies as st
from members import TEXTS

from discretevae.config.likelihoods import (
    LIKELIHOOD_KINDS,
    SCALES,
    LikelihoodSpec,
    parse_likelihood,
)
from discretevae.errors import ConfigError
from discretevae.likelihoods import bits_per_dimension, likelihood_named


@pytest.mark.parametrize("text", TEXTS)
def test_text_and_spec_and_member_are_one_to_one(text):
    assert str(parse_likelihood(text)) == text
    assert likelihood_named(text, 3).name == text
    assert likelihood_named(parse_likelihood(f" {text} "), 3).name == text


def test_every_kind_is_in_the_table_of_tests():
    assert {text.partition(":")[0] for text in TEXTS} == set(LIKELIHOOD_KINDS)


def test_long_spellings_are_shortened():
    assert str(parse_likelihood("gaussian:1.0")) == "gaussian"
    assert str(parse_likelihood("gaussian:1e-3")) == "gaussian:0.001"
    assert str(parse_likelihood("logistic:1")) == "logistic"
    assert parse_likelihood("logistic:05") == LikelihoodSpec("logistic", n_components=5)


@given(st.floats(*SCALES))
def test_any_scale_is_read_back(scale):
    spec = LikelihoodSpec("gaussian", scale=scale)
    assert parse_likelihood(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("poisson", r"likelihood 'poisson' is unknown\. Choices: bernoulli, "),
        ("bernouli", r"Did you mean bernoulli\?"),
        ("betabinomial", r"Did you mean beta-binomial\?"),
        ("", "likelihood '' is unknown"),
        ("bernoulli:2", r"bernoulli has no option\. Write bernoulli\."),
        ("beta-binomial:", "beta-binomial has no option"),
        ("gaussian:", r"standard deviation from 1e-06 to 1e\+06\. Got ''"),
        ("gaussian:0", "Got '0'"),
        ("gaussian:-1", "Got '-1'"),
        ("gaussian:nan", "Got 'nan'"),
        ("gaussian:inf", "Got 'inf'"),
        ("gaussian:learnt", "Write it like gaussian:0.1, or gaussian:learned"),
        ("logistic:0", r"1 to 100 components\. Got '0'"),
        ("logistic:101", "Got '101'"),
        ("logistic:2.5", "Got '2.5'"),
        ("logistic:-1", "Got '-1'"),
        ("logistic:" + "9" * 5000, "components"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_likelihood(text)
    assert "\n" not in str(caught.value)


def test_a_learned_scale_needs_the_number_of_features():
    with pytest.raises(ConfigError, match="Say how many features"):
        likelihood_named("gaussian:learned")


def test_parsing_imports_no_torch(python):
    code = "import sys; import discretevae.config.likelihoods; print('torch' in sys.modules)"
    assert python("-c", code).stdout == "False\n"


def test_bits_per_dimension_of_fair_coins_is_one():
    assert bits_per_dimension(784 * math.log(0.5), 784) == pytest.approx(1)
    assert bits_per_dimension(10 * -math.log(256), 10) == pytest.approx(8)
