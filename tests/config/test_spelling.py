"""Short spellings: one table of texts and the specs that they stand for, and what is refused."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from discretevae.config import (
    Activation,
    Augment,
    LatentSpec,
    LikelihoodSpec,
    ModelConfig,
    NeighborTarget,
    PriorSpec,
    RowTarget,
    RunConfig,
    SaveEvery,
    Schedule,
    Target,
    TrainConfig,
    run_config_from,
    to_dict,
)
from discretevae.config.likelihoods import SCALES
from discretevae.config.spelling import Spec
from discretevae.errors import ConfigError
from discretevae.families import Bernoulli, Categorical, Gaussian, Product

SPELLED = {
    "bernoulli:50": LatentSpec("bernoulli", 50),
    "categorical:100": LatentSpec("categorical", 1, 100),
    "categorical:20x10": LatentSpec("categorical", 20, 10),
    "categorical:1x1": LatentSpec("categorical", 1, 1),
    "gaussian:16": LatentSpec("gaussian", 16),
    "categorical:10+gaussian:16": LatentSpec.product(
        LatentSpec("categorical", 1, 10), LatentSpec("gaussian", 16)
    ),
    "bernoulli": LikelihoodSpec("bernoulli"),
    "continuous-bernoulli": LikelihoodSpec("continuous-bernoulli"),
    "gaussian": LikelihoodSpec.gaussian(),
    "gaussian:0.1": LikelihoodSpec.gaussian(0.1),
    "gaussian:1e-06": LikelihoodSpec.gaussian(1e-6),
    "gaussian:learned": LikelihoodSpec("gaussian", None),
    "student": LikelihoodSpec("student"),
    "beta-binomial": LikelihoodSpec("beta-binomial"),
    "logistic": LikelihoodSpec.logistic(),
    "logistic:5": LikelihoodSpec.logistic(5),
    "color-logistic": LikelihoodSpec.color_logistic(),
    "color-logistic:5": LikelihoodSpec.color_logistic(5),
    "multinomial": LikelihoodSpec("multinomial"),
    "poisson": LikelihoodSpec("poisson"),
    "negative-binomial": LikelihoodSpec("negative-binomial"),
    "mixed": LikelihoodSpec("mixed"),
    "mixed:real*2,categorical:3": LikelihoodSpec.mixed("real*2", "categorical:3"),
    "fixed": PriorSpec("fixed"),
    "factorized": PriorSpec("factorized"),
    "autoregressive": PriorSpec.autoregressive(),
    "autoregressive:64": PriorSpec.autoregressive(64),
    "autoregressive:256,128": PriorSpec.autoregressive(256, 128),
    "autoregressive:linear": PriorSpec("autoregressive", hidden=()),
    "mixture:10": PriorSpec.mixture(10),
    "transformer:2x128": PriorSpec.transformer(),
    "transformer:3x64,classes=10": PriorSpec.transformer(3, 64, classes=10),
    "convolution:4x64": PriorSpec.convolution(),
    "convolution:2x8,classes=3": PriorSpec.convolution(2, 8, classes=3),
    "constant": Schedule("constant"),
    "linear": Schedule.linear(),
    "linear:0.4": Schedule.linear(0.4),
    "cosine:0.001": Schedule.cosine(1e-3),
    "row": RowTarget(),
    "neighbors:7": NeighborTarget(7),
    "neighbors:1000x10000": NeighborTarget(k=1000, steps=10_000),
    "shift=0": Augment(),
    "shift=2,rotate=10": Augment(shift=2, rotate=10),
    "shear=0.4": Augment(shear=0.4),
    "relu": Activation("relu"),
    "tanh": Activation("tanh"),
    "leaky-relu": Activation.leaky_relu(),
    "leaky-relu:0.2": Activation.leaky_relu(0.2),
    "10s": SaveEvery(),
    "0.5s": SaveEvery(seconds=0.5),
    "500steps": SaveEvery(seconds=None, steps=500),
}

ALSO_READ = {
    "gaussian:1.0": LikelihoodSpec.gaussian(),
    "gaussian:1e-3": LikelihoodSpec.gaussian(0.001),
    "gaussian:scale=2": LikelihoodSpec.gaussian(2.0),
    "logistic:05": LikelihoodSpec.logistic(5),
    "autoregressive:1 ,2": PriorSpec.autoregressive(1, 2),
    "transformer": PriorSpec.transformer(),
    "transformer:3": PriorSpec.transformer(3),
    "convolution:classes=3": PriorSpec.convolution(classes=3),
    "transformer:2x128,classes=0": PriorSpec.transformer(),
    "neighbors:k=5,steps=50": NeighborTarget(5, 50),
    "linear:share=0.5": Schedule.linear(0.5),
    "light": Augment(shift=2, rotate=10, scale=0.1),
    "strong": Augment(shift=2, rotate=10, scale=0.1, shear=0.4),
    "rotate=10, shift=2": Augment(shift=2, rotate=10),
    "5min": SaveEvery(seconds=300),
    "1.5 h": SaveEvery(seconds=5400),
    "1step": SaveEvery(seconds=None, steps=1),
}


def kind_of(spec: Spec) -> type[Spec]:
    return Target if isinstance(spec, Target) else type(spec)


@pytest.mark.parametrize("text", SPELLED)
def test_a_spelling_is_read_and_written_back(text):
    spec = SPELLED[text]
    kind = kind_of(spec)
    assert str(spec) == text
    assert kind.of(text) == kind.of(f"  {text} ") == spec
    assert kind.of(spec) is spec
    assert kind.of(SimpleNamespace(spec=spec)) is spec
    assert hash(kind.of(text)) == hash(spec)


@pytest.mark.parametrize("text", ALSO_READ)
def test_other_spellings_are_read(text):
    spec = ALSO_READ[text]
    assert kind_of(spec).of(text) == spec == kind_of(spec).of(str(spec))


KINDS = sorted({kind_of(spec) for spec in SPELLED.values()}, key=lambda kind: kind.option)


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_of_every_kind_is_in_the_table(kind):
    words = [text for text, spec in (SPELLED | ALSO_READ).items() if isinstance(spec, kind)]
    for name in kind.constructors():
        assert any(name in text for text in words), name


REFUSED = [
    (LatentSpec, "", "`latent` '' is unknown. Choices: bernoulli, categorical, gaussian."),
    (LatentSpec, "bernouli:5", "Did you mean bernoulli? Choices"),
    (LatentSpec, "bernoulli", "'bernoulli': missing a required argument: 'n_variables'. Write it"),
    (LatentSpec, "bernoulli:", "n_variables must be an int. Got ''"),
    (LatentSpec, "bernoulli:0", "'bernoulli:0': n_variables must be an int >= 1. Got 0."),
    (LatentSpec, "bernoulli:-1", "must be an int >= 1. Got -1."),
    (LatentSpec, "bernoulli:1.5", "must be an int. Got '1.5'."),
    (LatentSpec, "bernoulli:2x3", "too many positional arguments"),
    (LatentSpec, "bernoulli:٣", "must be an int"),
    (LatentSpec, "bernoulli:1_0", "must be an int"),
    (LatentSpec, "bernoulli:" + "9" * 5000, "must be an int"),
    (LatentSpec, "bernoulli:1000001", "more than 1,000,000 units"),
    (LatentSpec, "categorical", "one or two sizes. Got 0."),
    (LatentSpec, "categorical:2x3x4", "one or two sizes. Got 3."),
    (LatentSpec, "categorical:1", "at least 2 categories, or the code can say nothing. Got 1."),
    (LatentSpec, "categorical:20x1", "at least 2 categories"),
    (LatentSpec, "categorical:1x1+gaussian:3", "at least 2 categories"),
    (LatentSpec, "categorical:20x0", "at least 2 categories"),
    (LatentSpec, "categorical:0x10", "n_variables must be an int >= 1"),
    (LatentSpec, "categorical:1001x1000", "more than 1,000,000 units"),
    (LatentSpec, "categorical:20,10", "must be an int. Got '20,10'"),
    (LatentSpec, "bernoulli:3+", "`latent` '' is unknown"),
    (LatentSpec, "gaussian:3+gaussian:4", "2 Gaussian parts are one"),
    (LatentSpec, "bernoulli:600000+gaussian:600000", "more than 1,000,000 units"),
    (LikelihoodSpec, "weibull", "`likelihood` 'weibull' is unknown. Choices: bernoulli, "),
    (LikelihoodSpec, "betabinomial", "Did you mean beta-binomial?"),
    (LikelihoodSpec, "bernoulli:2", "'2' is unknown. Write it like bernoulli, gaussian"),
    (LikelihoodSpec, "beta-binomial:", "'' is unknown. Write it like"),
    (LikelihoodSpec, "gaussian:", "scale must be a number. Got ''"),
    (LikelihoodSpec, "gaussian:0", "scale must be a number from 1e-06 to 1e+06. Got 0.0"),
    (LikelihoodSpec, "gaussian:nan", "from 1e-06 to 1e+06. Got nan"),
    (LikelihoodSpec, "gaussian:inf", "from 1e-06 to 1e+06. Got inf"),
    (LikelihoodSpec, "gaussian:learnt", "gaussian:0.1, gaussian:learned or"),
    (LikelihoodSpec, "gaussian:sigma=1", "'sigma=1' is unknown. Choices: scale."),
    (LikelihoodSpec, "logistic:0", "n_components must be an int from 1 to 100. Got 0"),
    (LikelihoodSpec, "logistic:101", "from 1 to 100. Got 101"),
    (LikelihoodSpec, "logistic:2.5", "must be an int. Got '2.5'"),
    (PriorSpec, "autoregresive", "Did you mean autoregressive?"),
    (PriorSpec, "Fixed", "Did you mean fixed?"),
    (PriorSpec, ":", "`prior` '' is unknown"),
    (PriorSpec, "fixed:1", "'1' is unknown"),
    (PriorSpec, "autoregressive:0", "sizes must be ints from 1 to 100,000. Got 0."),
    (PriorSpec, "autoregressive:1,", "hidden must be an int. Got ''"),
    (PriorSpec, "autoregressive:1x2", "hidden must be an int. Got '1x2'"),
    (PriorSpec, "autoregressive:linear,3", "hidden must be an int. Got 'linear'"),
    (PriorSpec, "mixture", "missing a required argument: 'n_components'. Write it like fixed, "),
    (PriorSpec, "mixture:2,3", "too many positional arguments"),
    (PriorSpec, "autoregressive:3,0", "sizes must be ints from 1 to 100,000. Got 0."),
    (PriorSpec, "transformer:0x8", "sizes must be ints from 1 to 100,000. Got 0."),
    (PriorSpec, "transformer:2x8x3", "too many positional arguments"),
    (PriorSpec, "convolution:2xa", "width must be an int. Got 'a'"),
    (PriorSpec, "transformer:classes=-1", "sizes must be ints from 1 to 100,000. Got 0."),
    (PriorSpec, "autoregressive:8,classes=3", "'classes=3' is unknown"),
    (PriorSpec, "mixture:100001", "sizes must be ints from 1 to 100,000. Got 100001."),
    (Schedule, "linaer", "`lr_schedule` 'linaer' is unknown. Did you mean linear?"),
    (Schedule, "linear:0", "share must be > 0 and <= 1. Got 0.0. Write it like constant"),
    (Schedule, "linear:1.1", "share must be > 0 and <= 1. Got 1.1."),
    (Schedule, "cosine:nan", "share must be > 0 and <= 1. Got nan."),
    (Schedule, "linear:x", "share must be a number. Got 'x'."),
    (Schedule, "constant:0.5", "'0.5' is unknown"),
    (Target, "rows", "`target` 'rows' is unknown. Did you mean row? Choices: row, neighbors."),
    (Target, "neighbors", "missing a required argument: 'k'"),
    (Target, "neighbors:x5", "k must be an int. Got ''"),
    (Target, "neighbors:0", "k must be an int from 1 to 1,000. Got 0"),
    (Target, "neighbors:5x0", "steps must be an int from 1 to 10,000. Got 0"),
    (Target, "neighbors:5x50x", "must be an int. Got ''"),
    (Augment, "stron", "Did you mean strong?"),
    (Augment, "shift", "`augment` 'shift' is unknown"),
    (Augment, "shift=x", "shift must be a number. Got 'x'. Write it like light, strong, fig"),
    (Augment, "shear=nan", "shear must be a number from 0 to 2. Got nan"),
    (Augment, "scale=1,rotate=-1", "scale must be a number from 0 to 0.9. Got 1.0"),
    (Augment, "turn=3", "'turn=3' is unknown. Choices: shift, rotate, scale, shear, hide."),
    (Activation, "rleu", "Did you mean relu?"),
    (Activation, "relu:1", "'1' is unknown"),
    (Activation, "leaky-relu:", "slope must be a number. Got ''"),
    (Activation, "leaky-relu:1", "slope must be >= 0 and < 1. Got 1.0"),
    (
        SaveEvery,
        "",
        "`save_every` '': no number with a unit. Write it like 10s, 5min, 1h or 500steps.",
    ),
    (SaveEvery, "10", "no number with a unit"),
    (SaveEvery, "0s", "'0s': seconds must be > 0. Got 0.0. Write it like 10s, 5min"),
    (SaveEvery, "-1s", "no number with a unit"),
    (SaveEvery, "1.5steps", "must be an int. Got '1.5'"),
    (SaveEvery, "5 days", "'days' is unknown. Choices: s, min, h, step, steps."),
    (SaveEvery, "s", "missing a required argument"),
    (SaveEvery, "1e3s", "no number with a unit"),
]


@pytest.mark.parametrize(
    ("kind", "text", "message"), REFUSED, ids=[f"{k.option}-{t[:20]}" for k, t, _ in REFUSED]
)
def test_what_cannot_be_read_is_refused_in_one_line(kind, text, message):
    with pytest.raises(ConfigError) as caught:
        kind.of(text)
    assert message in str(caught.value)
    assert f"`{kind.option}`" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, 3, ["linear"], object(), SimpleNamespace(spec=3)])
def test_what_is_no_spelling_is_refused(kind, value):
    with pytest.raises(ConfigError, match=f"must be a {kind.__name__} or its spelling, such as"):
        kind.of(value)


@given(
    st.builds(Schedule, st.sampled_from(["linear", "cosine"]), st.floats(0, 1, exclude_min=True))
    | st.builds(LikelihoodSpec.gaussian, st.floats(*SCALES))
    | st.builds(NeighborTarget, st.integers(1, 1000), st.integers(1, 10_000))
    | st.builds(Augment, *[st.floats(0, most) for most in (1000, 180, 0.9, 2)])
    | st.builds(Activation.leaky_relu, st.floats(0, 1, exclude_max=True))
    | st.builds(SaveEvery, st.floats(1e-3, 1e5))
    | st.builds(lambda *w: PriorSpec.autoregressive(*w), st.integers(1, 10**5), st.integers(1, 9))
    | st.builds(LatentSpec, st.just("categorical"), st.integers(1, 10**3), st.integers(2, 10**3))
)
def test_any_spec_is_read_back(spec):
    assert kind_of(spec).of(str(spec)) == spec


@pytest.mark.parametrize(
    "family",
    [Bernoulli(5), Categorical(2, 3), Gaussian(2), Product((Categorical(1, 3), Gaussian(2)))],
    ids=str,
)
def test_a_family_stands_for_its_spec(family):
    assert ModelConfig(n_features=4, latent=family).latent == family.spec


GIVEN = {
    "latent": "categorical:10+gaussian:16",
    "activation": "leaky-relu:0.2",
    "likelihood": "gaussian:learned",
    "prior": "factorized",
    "lr_schedule": "linear:0.4",
    "augment": "shift=2",
    "target": "neighbors:5x50",
}
SPECS = {name: SPELLED.get(text, Augment(shift=2)) for name, text in GIVEN.items()}
SPECS["target"] = NeighborTarget(5, 50)


def test_configurations_take_spellings_and_specs_and_keep_specs():
    made = []
    for values in (GIVEN, SPECS):
        parts = {}
        for kind in (ModelConfig, TrainConfig):
            names = {field.name for field in dataclasses.fields(kind)} & values.keys()
            more = {"n_features": 4, "image_shape": (2, 2)} if kind is ModelConfig else {}
            parts[kind] = kind(**{name: values[name] for name in names}, **more)
        made.append(RunConfig(model=parts[ModelConfig], training=parts[TrainConfig]))
    assert made[0] == made[1]
    assert made[0].model.latent == SPECS["latent"]
    assert made[0].training.target == SPECS["target"]
    values = json.loads(json.dumps(to_dict(made[0])))
    assert {n: v for part in values.values() for n, v in part.items() if n in GIVEN} == GIVEN
    assert run_config_from(values) == made[0]


def test_all_that_is_wrong_with_a_configuration_is_said_at_once():
    with pytest.raises(ConfigError) as caught:
        ModelConfig(n_features=0, latent="x", prior=3, activation="relu:1", network="rnn")
    assert [problem.split("`")[1] for problem in caught.value.problems] == [
        "n_features", "latent", "network", "activation", "prior",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"`epochs` must be an int >= 1. Got True.; `lr` must be"):
        TrainConfig(epochs=True, lr=float("nan"))


def test_options_that_may_be_missing_in_a_file_have_their_defaults():
    values = to_dict(RunConfig(model=ModelConfig(n_features=4)))
    del values["training"]["target"], values["model"]["prior"]
    config = run_config_from(values)
    assert (config.training.target, config.model.prior) == (RowTarget(), PriorSpec("fixed"))


def test_reading_imports_no_torch(python):
    code = "import sys; import discretevae.config; print('torch' in sys.modules)"
    assert python("-c", code).stdout == "False\n"
