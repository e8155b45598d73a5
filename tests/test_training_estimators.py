"""Every estimator and objective in the loop: it trains, repeats, and resumes to the bit."""

import warnings

import pytest
import torch

import discretevae.training
from discretevae.config import TrainConfig
from discretevae.data import load_data
from discretevae.errors import CollapseWarning, ConfigError
from discretevae.estimators import ESTIMATORS
from discretevae.model import DiscreteVAE
from discretevae.objectives import DEFAULT_ESTIMATORS, choose_estimator
from discretevae.training import train

LATENTS = {"bernoulli": "bernoulli:6", "categorical": "categorical:2x4", "gaussian": "gaussian:3"}
CASES = [
    (name, kind)
    for name, cls in ESTIMATORS.items()
    for kind in LATENTS
    if kind in cls().kinds and name != "vimco"
]


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


def fitted(data, latent, config, **options):
    model = DiscreteVAE.for_data(data, latent=latent, hidden=(16,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        history = train(model, data, config, **options)
    return model, history


def same_weights(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_member_trains_and_repeats_to_the_bit(data, name, kind):
    config = TrainConfig(epochs=2, batch_size=500, lr=0.01, estimator=name)
    before = torch.random.get_rng_state()
    model, history = fitted(data, LATENTS[kind], config)
    again, _ = fitted(data, LATENTS[kind], config)
    assert same_weights(model, again)
    assert torch.equal(before, torch.random.get_rng_state())
    assert history[-1].loss < history[0].loss
    assert history[-1].grad_variance >= 0


class _StopError(Exception):
    pass


@pytest.mark.parametrize("name", ["ema", "nvil", "rebar", "relax", "double-cv", "rodeo"])
def test_what_a_member_has_learned_survives_a_resume(data, name, tmp_path, monkeypatch):
    monkeypatch.setattr(discretevae.training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    config = TrainConfig(epochs=2, batch_size=400, lr=0.01, estimator=name)
    whole, expected = fitted(data, "bernoulli:6", config)

    def stop(progress):
        if progress.epoch == 2 and progress.step == 3 and progress.metrics is None:
            raise _StopError

    with pytest.raises(_StopError):
        fitted(data, "bernoulli:6", config, out=tmp_path, progress=stop)
    resumed, history = fitted(data, "bernoulli:6", config, out=tmp_path, resume=True)
    assert same_weights(whole, resumed)
    assert history[-1].grad_variance == expected[-1].grad_variance


@pytest.mark.parametrize("objective", list(DEFAULT_ESTIMATORS))
def test_every_objective_trains(data, objective):
    config = TrainConfig(epochs=8, batch_size=100, lr=0.01, objective=objective)
    _, history = fitted(data, "categorical:10", config)
    assert history[-1].test_elbo > history[0].test_elbo
    # the objective is a bound on ln p(x) that the ELBO cannot exceed
    assert -history[-1].loss > history[-1].log_likelihood - history[-1].kl


@pytest.mark.parametrize(
    ("config", "latent", "message"),
    [
        (TrainConfig(estimator="exact"), "bernoulli:50", "at most 4,096 states; bernoulli:50 has"),
        (TrainConfig(objective="marginal"), "bernoulli:50", "Choose --estimator disarm"),
        (TrainConfig(estimator="unordered-set"), "categorical:20x10", "Choose --estimator rloo"),
        (TrainConfig(estimator="vimco"), "bernoulli:5", "Choose --objective multi-sample"),
        (TrainConfig(estimator="exact", samples=3), "bernoulli:5", "takes no samples"),
        (TrainConfig(estimator="arsm"), "bernoulli:5", "cannot handle a bernoulli code"),
    ],
)
def test_choices_that_make_no_sense(config, latent, message):
    from discretevae.families import family_of

    with pytest.raises(ConfigError, match=message):
        choose_estimator(family_of(latent), config)
