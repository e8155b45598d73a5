"""Every estimator and objective in the loop: it trains, repeats, and resumes to the bit."""

import dataclasses
import math

import pytest
import torch

from discretevae.config import SaveEvery, TrainConfig
from discretevae.data import load_data
from discretevae.errors import ConfigError
from discretevae.estimators import ESTIMATORS, RLOO, make_estimator
from discretevae.families import Bernoulli
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import DEFAULT_ESTIMATORS, choose_estimator, elbo
from discretevae.system.randomness import generator_for
from discretevae.training import train

ALWAYS = SaveEvery(seconds=None, steps=1)
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


def fitted(data, latent, config, *, quantizer=None, **options):
    model = DiscreteVAE.for_data(data, latent=latent, hidden=(16,), quantizer=quantizer)
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


def test_an_estimator_and_its_spelling_are_one(data):
    text, made = "rloo:samples=3", RLOO(samples=3)
    config = TrainConfig(epochs=1, batch_size=500)
    runs = [
        fitted(data, latent, dataclasses.replace(config, estimator=named), estimator=given)[0]
        for latent in ("bernoulli:6", Bernoulli(6))
        for named, given in ((text, None), (made, None), (None, text), (None, made))
    ]
    assert all(same_weights(runs[0], run) for run in runs[1:])
    with pytest.raises(ConfigError, match="Did you mean rloo"):
        fitted(data, "bernoulli:6", config, estimator="rlo")


@pytest.mark.parametrize("name", ["gumbel-softmax", "st-gumbel", "gumbel-rao"])
def test_annealing_is_a_run_by_hand_at_those_temperatures(data, name):
    config = TrainConfig(
        epochs=2, batch_size=400, lr=0.01, estimator=f"{name}:tau=1,anneal=0.2,floor=0.3"
    )
    annealed, _ = fitted(data, "bernoulli:6", config)
    model = DiscreteVAE.for_data(data, latent="bernoulli:6", hidden=(16,))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    generator, step, rows = generator_for(config.seed, "samples"), 0, data.train
    for epoch in (1, 2):
        order = torch.randperm(len(rows), generator=generator_for(config.seed, "order", epoch))
        for chosen in order.split(400):
            member = make_estimator(
                f"{name}:tau={max(0.3, math.exp(-0.2 * step))!r}", kind="bernoulli"
            )
            x = rows.batch(chosen)
            optimizer.zero_grad()
            elbo(model, x, member, generator=generator).loss.backward()
            optimizer.step()
            step += 1
    assert max(0.3, math.exp(-0.2 * step)) == 0.3  # the floor was reached on the way
    assert same_weights(annealed, model)
    constant, _ = fitted(
        data, "bernoulli:6", dataclasses.replace(config, estimator=f"{name}:tau=1")
    )
    assert not same_weights(annealed, constant)


class _StopError(Exception):
    pass


@pytest.mark.parametrize(
    "name",
    [
        *("ema", "nvil", "rebar", "relax", "double-cv", "rodeo"),
        *(f"{name}:tau=1,anneal=0.1,floor=0.2" for name in ("gumbel-softmax", "gumbel-rao")),
    ],
)
def test_what_a_member_has_learned_survives_a_resume(data, name, tmp_path):
    config = TrainConfig(epochs=2, batch_size=400, lr=0.01, estimator=name)
    whole, expected = fitted(data, "bernoulli:6", config)

    def stop(progress):
        if progress.epoch == 2 and progress.step == 3 and progress.metrics is None:
            raise _StopError

    with pytest.raises(_StopError):
        fitted(data, "bernoulli:6", config, out=tmp_path, progress=stop, save_every=ALWAYS)
    resumed, history = fitted(data, "bernoulli:6", config, out=tmp_path, resume=True)
    assert same_weights(whole, resumed)
    assert history[-1].grad_variance == expected[-1].grad_variance


@pytest.mark.parametrize("objective", list(DEFAULT_ESTIMATORS))
def test_every_objective_trains(data, objective):
    config = TrainConfig(epochs=8, batch_size=100, lr=0.01, objective=objective)
    quantizer = "vector:3" if objective == "vq" else None
    _, history = fitted(data, "categorical:10", config, quantizer=quantizer)
    assert history[-1].test_elbo > history[0].test_elbo
    elbo = history[-1].log_likelihood - history[-1].kl
    if objective == "vq":  # reports the ELBO of a certain code
        assert -history[-1].loss == pytest.approx(elbo, rel=1e-6)
    else:  # a bound on ln p(x) that the ELBO cannot exceed
        assert -history[-1].loss > elbo


@pytest.mark.parametrize(
    ("config", "latent", "message"),
    [
        (TrainConfig(estimator="exact"), "bernoulli:50", "at most 4,096 states; bernoulli:50 has"),
        (TrainConfig(objective="marginal"), "bernoulli:50", "Choose `estimator='disarm'`"),
        (TrainConfig(estimator="exact"), "categorical:20x10", "Choose `estimator='reinmax'`"),
        (TrainConfig(estimator="vimco"), "bernoulli:5", "Choose `objective='multi-sample'`"),
        (TrainConfig(estimator="exact", samples=3), "bernoulli:5", "takes no samples"),
        (TrainConfig(estimator="arsm"), "bernoulli:5", "cannot handle a bernoulli code"),
    ],
)
def test_choices_that_make_no_sense(config, latent, message):
    from discretevae.families import family_of

    with pytest.raises(ConfigError, match=message):
        choose_estimator(family_of(latent), config)
