"""Schedules, averaged weights, a start at the mean, activations: exact against plain replays."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from discretevae.config import ModelConfig, SaveEvery, Schedule, TrainConfig
from discretevae.data import Dataset, Rows, binarize
from discretevae.errors import ConfigError
from discretevae.model.vae import DiscreteVAE
from discretevae.training import state as state_module, step as step_module, train
from discretevae.training.averaging import Average
from discretevae.training.step import FLUSH_EVERY, SMALLEST_MOMENT, flush_moments


def grey(n: int = 40) -> Dataset:
    values = np.random.default_rng(0).random((n, 9)).astype(np.float32)
    rows = Rows.from_array(values, name="grey", image_shape=(3, 3))
    return Dataset("grey", rows.subset(slice(0, n - 8)), rows.subset(slice(n - 8, n)))


DATA = grey()
ALWAYS = SaveEvery(seconds=None, steps=1)
N_STEPS = 4  # of an epoch: 32 rows in batches of 8


def fresh(**changes: object) -> DiscreteVAE:
    options = {"n_features": 9, "latent": "bernoulli:4", "hidden": (6,), "image_shape": (3, 3)}
    config = ModelConfig(**(options | changes))
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


def settings(**changes: object) -> TrainConfig:
    return TrainConfig(**({"epochs": 3, "batch_size": 8, "lr": 0.01} | changes))


# --- the learning rate -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25, 0]),
        ("linear:0.5", [1, 1, 1, 0.5, 0]),
        ("cosine", [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]),
        ("cosine:0.5", [1, 1, 1, 0.5, 0]),
    ],
)
def test_the_factor_of_a_schedule(text, expected):
    schedule = Schedule.of(text)
    assert [schedule.factor(step, 8) for step in (0, 2, 4, 6, 8)] == pytest.approx(expected)


@pytest.mark.parametrize("text", ["constant", "linear", "cosine:0.3"])
def test_warmup_rises_to_where_the_schedule_is(text):
    schedule = Schedule.of(text)
    for step in range(20):
        share = min(1, (step + 1) / 5)
        assert schedule.factor(step, 20, warmup=4) == pytest.approx(
            share * schedule.factor(step, 20)
        )


def test_every_step_is_taken_at_the_scheduled_rate(monkeypatch):
    rates = []

    class Watched(state_module.Adam):
        def step(self):
            rates.append(self.param_groups[0]["lr"])
            return super().step()

    monkeypatch.setattr(state_module, "Adam", Watched)
    train(fresh(), DATA, settings(lr_schedule="linear:0.5", warmup=2))
    total, schedule = 3 * N_STEPS, Schedule.of("linear:0.5")
    assert rates == [0.01 * schedule.factor(step, total, warmup=2) for step in range(total)]
    assert rates[0] == pytest.approx(0.01 / 3)
    assert rates[-1] == pytest.approx(0.01 / 6)


# --- vanishing moments ---------------------------------------------------------------------------

SMALLEST_NORMAL = torch.finfo(torch.float32).smallest_normal
LONG = 1200
"""Steps after which a first moment left alone has gone through all denormal numbers: a gradient of
one is below 2⁻¹⁴⁹ after 980."""


def after_the_last_gradient(*, flushes: bool) -> tuple[torch.Tensor, int]:
    """The weights after many steps without a gradient, and denormal moments met on the way."""
    model = fresh()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.linspace(-1, 1, parameter.numel()).view_as(parameter)
    found = 0
    for step in range(1, LONG + 1):
        optimizer.step()
        if flushes:
            flush_moments(optimizer, step)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        for state in optimizer.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                size = state[name].abs()
                found += int(((size > 0) & (size < SMALLEST_NORMAL)).sum())
    return nn.utils.parameters_to_vector(model.parameters()).detach(), found


def test_no_moment_becomes_denormal_and_no_weight_feels_it():
    weights, denormal = after_the_last_gradient(flushes=True)
    expected, otherwise = after_the_last_gradient(flushes=False)
    assert torch.equal(weights, expected)
    assert denormal == 0
    assert otherwise > 1000  # so the count can see them


def test_a_moment_cannot_reach_the_denormal_numbers_between_two_looks():
    beta = 0.9  # Adam's own; the second moment's is closer to one
    assert SMALLEST_MOMENT * beta**FLUSH_EVERY > 2 * SMALLEST_NORMAL


def test_larger_moments_are_left_to_the_bit():
    model = fresh()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    optimizer.step()
    moments = optimizer.state[model.decoder[0].bias]["exp_avg"]
    moments[:4] = SMALLEST_MOMENT * torch.tensor([2, 0.5, math.nan, -2])
    before = moments.clone()
    flush_moments(optimizer, FLUSH_EVERY + 1)
    torch.testing.assert_close(moments, before, rtol=0, atol=0, equal_nan=True)
    flush_moments(optimizer, FLUSH_EVERY)
    before[1] = 0
    torch.testing.assert_close(moments, before, rtol=0, atol=0, equal_nan=True)


# --- averaged weights --------------------------------------------------------------------------


def test_the_average_is_that_of_its_definition():
    model = fresh()
    average, steps = Average(model, 0.9), torch.Generator().manual_seed(1)
    weights = model.decoder[0].weight
    own = weights.detach().clone()
    for step in range(200):
        with torch.no_grad():
            weights += torch.randn(own.shape, generator=steps)
        weight = max(0.1, 9 / (10 + step))
        own = (1 - weight) * own + weight * weights.detach()
        average.update(model, step)
    torch.testing.assert_close(average.model.decoder[0].weight, own)
    assert not any(p.requires_grad for p in average.model.parameters())


def test_the_average_is_what_is_kept_and_evaluated(tmp_path):
    raw, averaged = fresh(prior="factorized"), fresh(prior="factorized")
    seen: list[torch.Tensor] = []
    rule = Average(copy.deepcopy(raw), 0.5)
    train(
        raw,
        DATA,
        settings(),
        progress=lambda progress: (
            progress.metrics or (rule.update(raw, len(seen)), seen.append(None))
        ),
    )
    history = train(averaged, DATA, settings(average=0.5), out=tmp_path / "run")
    for name, value in rule.model.state_dict().items():
        torch.testing.assert_close(averaged.state_dict()[name], value, msg=name)
    assert not torch.equal(raw.decoder[0].weight, averaged.decoder[0].weight)
    from discretevae.evaluation.bounds import evaluate
    from discretevae.system.tensor_files import read_tensors

    kept, _ = read_tensors(tmp_path / "run" / "model.safetensors")
    assert torch.equal(kept["decoder.0.weight"], averaged.decoder[0].weight)
    kept_elbo = evaluate(averaged, DATA.test, samples=1).elbo.value
    assert history[-1].test_elbo == pytest.approx(kept_elbo, rel=1e-5)


class Stop(Exception):  # noqa: N818 - nothing went wrong
    """Raised by the callback to end the training."""


@pytest.mark.parametrize("stop_at", [1, 6, 14])
@pytest.mark.parametrize("flushes", [False, True])
def test_resumed_equals_uninterrupted(stop_at, flushes, tmp_path, monkeypatch):
    if flushes:  # so often, and so much, that it can be seen in the weights
        monkeypatch.setattr(step_module, "FLUSH_EVERY", 3)
        monkeypatch.setattr(step_module, "SMALLEST_MOMENT", 1e-2)
    config = settings(average=0.8, lr_schedule="cosine", warmup=3, start="mean")
    whole, halved = fresh(), fresh()
    train(whole, DATA, config)
    calls = 0

    def count(_):
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise Stop

    with pytest.raises(Stop):
        train(halved, DATA, config, out=tmp_path / "run", progress=count, save_every=ALWAYS)
    again = fresh()
    train(again, DATA, config, out=tmp_path / "run", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_moments_are_flushed_while_training(monkeypatch):
    def trained() -> torch.Tensor:
        model = fresh()
        train(model, DATA, settings())
        return nn.utils.parameters_to_vector(model.decoder.parameters()).detach()

    untouched = trained()
    monkeypatch.setattr(step_module, "SMALLEST_MOMENT", 1e-2)
    assert torch.equal(trained(), untouched)  # not so many steps are taken
    monkeypatch.setattr(step_module, "FLUSH_EVERY", 3)
    assert not torch.equal(trained(), untouched)


# --- the start ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["none", "threshold", "dynamic"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_decoder_starts_at_the_mean(mode, likelihood, monkeypatch):
    model, started = fresh(likelihood=likelihood), []
    before = copy.deepcopy(model.decoder.state_dict())
    original = DiscreteVAE.start_at
    monkeypatch.setattr(
        DiscreteVAE, "start_at", lambda self, mean: (started.append(mean), original(self, mean))
    )
    train(model, DATA.binarized(mode), settings(start="mean", lr=1e-30, epochs=1))
    x = DATA.train.batch(slice(None))
    mean = (binarize(x, "threshold") if mode == "threshold" else x).mean(0)
    torch.testing.assert_close(started[0], mean)
    after = model.decoder.state_dict()
    bias = after.pop("2.bias")
    expected = torch.logit(mean, eps=1e-3) if likelihood == "bernoulli" else mean
    torch.testing.assert_close(bias, expected)
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_a_convolutional_decoder_starts_at_the_mean_over_pixels():
    model = fresh(network="cnn", hidden=None)
    model.start_at(torch.arange(9) / 10)
    assert model.decoder[-2].bias.item() == pytest.approx(math.log(0.4 / 0.6))


def test_values_that_no_logit_reaches_are_kept_off():
    model = fresh()
    model.start_at(torch.tensor([0.0, 1.0] + 7 * [0.5]))
    assert model.decoder[-1].bias[:2].tolist() == pytest.approx([-6.9068, 6.9068], abs=1e-3)


# --- activations -------------------------------------------------------------------------------


def test_no_hidden_layer_is_a_linear_model():
    model = fresh(hidden=())
    assert [len(net) for net in (model.encoder, model.decoder)] == [1, 1]
    train(model, DATA, settings())


def test_a_cnn_has_the_paper_s_activation():
    with pytest.raises(ConfigError, match="left out for a cnn"):
        fresh(network="cnn", hidden=None, activation="tanh")


@pytest.mark.parametrize(
    ("name", "value"),
    [("warmup", -1), ("warmup", 1.5), ("average", 0.0), ("average", 1.0), ("start", "zero")],
)
def test_options_out_of_range(name, value):
    with pytest.raises(ConfigError, match=name):
        TrainConfig(**{name: value})
