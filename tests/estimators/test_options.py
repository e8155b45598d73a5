"""Options of estimators: every estimator × every option × every wrong value; spellings; kinds."""

from dataclasses import fields

import pytest
import torch

from discretevae.config import TrainConfig
from discretevae.errors import ConfigError
from discretevae.estimators import ESTIMATORS, DisARM, Importance, PartWise, ReinMax, make_estimator
from discretevae.families import Bernoulli, Categorical, Gaussian

NAN, INF = float("nan"), float("inf")
NUMBERS = (NAN, INF, "1", None)
WHOLE = (-1, 1.5, True, *NUMBERS)

WRONG = {
    "samples": (0, *WHOLE),
    "resamples": (0, *WHOLE),
    "hidden": (0, *WHOLE),
    "seed": WHOLE,
    "tau": (0.0, -1.0, *NUMBERS),
    "floor": (0.0, -1.0, *NUMBERS),
    "anneal": (-1e-4, *NUMBERS),
    "gap": (-1.0, *NUMBERS),
    "beta": (-1.0, *NUMBERS),
    "scale": NUMBERS,
    "alpha": (0.0, 1.0, -0.1, *NUMBERS),
    "decay": (1.0, -0.1, *NUMBERS),
    "proposal": ("unifrom", 3, None),
    "copula": ("gausian", 3, None),
}
LEAST_SAMPLES = dict.fromkeys(
    ("rloo", "arms", "carms", "double-cv", "rodeo", "vimco", "reinmax-cv"), 2
)
IN_PAIRS = ("bitflip", "arm", "disarm", "disarm-sb")

OPTIONS = [(name, option) for name, cls in ESTIMATORS.items() for option in cls.options()]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_wrong_values_are_refused(name, option):
    for value in WRONG[option]:
        with pytest.raises(ConfigError) as caught:
            ESTIMATORS[name](**{option: value})
        (problem,) = caught.value.problems
        assert problem.startswith(f"{option} ")
        assert repr(value) in problem
        assert "Got " in problem or "Choices: " in problem


@pytest.mark.parametrize("name", [*LEAST_SAMPLES, *IN_PAIRS])
def test_samples_are_as_many_as_the_estimator_needs(name):
    least = LEAST_SAMPLES.get(name, 2)
    assert ESTIMATORS[name](samples=least).samples == least
    with pytest.raises(ConfigError, match=r"Got 1\."):
        ESTIMATORS[name](samples=1)
    if name in IN_PAIRS:
        with pytest.raises(ConfigError, match=r"even int >= 2: codes come in pairs\. Got 3\."):
            ESTIMATORS[name](samples=3)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_unknown_option_is_refused_and_the_nearest_named(name):
    cls = ESTIMATORS[name]
    with pytest.raises(TypeError, match="zzz"):
        cls(zzz=1)
    for option in (*cls.options(), "zzz"):
        with pytest.raises(ConfigError, match=f"'{option}x=1' is unknown") as caught:
            make_estimator(f"{name}:{option}x=1", kind=cls().kinds[0])
        if option != "zzz":
            assert f"Did you mean {option}?" in str(caught.value)
    with pytest.raises(ConfigError, match="is unknown"):
        make_estimator(f"{name}:1", kind=cls().kinds[0])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_field_has_a_rule_unless_it_cannot_be_spelled(name):
    left_out = {field.name for field in fields(ESTIMATORS[name])} - ESTIMATORS[
        name
    ].options().keys()
    assert left_out == ({"xi"} if name == "importance" else set())


OTHERS = {
    "samples": 4, "resamples": 3, "hidden": 7, "seed": 2, "tau": 0.7, "floor": 0.25, "anneal": 1e-5,
    "gap": 0.5, "beta": 0.0, "scale": 0.125, "alpha": 0.3, "decay": 0.5, "proposal": "mixture",
    "copula": "gaussian",
}  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_spelling_is_read_back(name):
    cls = ESTIMATORS[name]
    options = {option: OTHERS[option] for option in cls.options()}
    for values in ({}, options):
        made = cls(**values)
        text = made.spec
        assert text.startswith(name)
        assert text.count("=") == sum(cls.options()[o] != v for o, v in values.items())
        again = make_estimator(text, kind=made.kinds[0])
        assert type(again) is cls
        assert {o: getattr(again, o) for o in options} == {o: getattr(made, o) for o in options}
        assert TrainConfig(estimator=made).estimator == text
        assert make_estimator(made, kind=made.kinds[0]) is made


def test_several_parts_are_joined():
    assert PartWise([DisARM(), ReinMax(tau=2.0)]).spec == "disarm+reinmax:tau=2"


def test_what_has_no_spelling_is_no_configuration():
    with pytest.raises(ConfigError, match=r"has no spelling\. Give train\(\) the object"):
        TrainConfig(estimator=Importance(xi=torch.zeros(1)))
    with pytest.raises(ConfigError, match=r"or its spelling, such as rloo:samples=4\. Got 3\."):
        TrainConfig(estimator=3)


REFUSED = {"bernoulli": Bernoulli(3), "categorical": Categorical(1, 3), "gaussian": Gaussian(1)}


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n not in ("importance", "exact")])
def test_other_codes_are_refused(name):
    estimator = ESTIMATORS[name]()
    for kind in REFUSED.keys() - set(estimator.kinds):
        family = REFUSED[kind]
        eta = family.fixed_eta().unsqueeze(0)
        with pytest.raises(ConfigError, match=rf"Got {family.spec}\.|cannot handle"):
            estimator(family, eta, None, generator=None)
        with pytest.raises(ConfigError, match=f"cannot handle a {kind} code. Choices: importance"):
            make_estimator(name, kind=kind)
