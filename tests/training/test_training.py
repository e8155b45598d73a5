"""The training loop: the same to the bit, whatever interrupts it; and it learns."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
import shutil
import warnings
from dataclasses import asdict, dataclass

import numpy as np
import pytest
import torch

from discretevae.config import LatentSpec, ModelConfig, SaveEvery, TrainConfig
from discretevae.data import Dataset, Rows, load_data
from discretevae.errors import CollapseWarning, ConfigError, DataError, RunError, TrainingError
from discretevae.estimators import Estimate, Estimator, Importance, with_gradient_of
from discretevae.evaluation.usage import CodeUsage
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import elbo
from discretevae.objectives.gradient_noise import encoder_gradient_noise
from discretevae.run_folder.history import EpochMetrics, collapse_advice, read_metrics
from discretevae.system.randomness import generator_for
from discretevae.training import train

LATENTS = ("bernoulli:5", "categorical:4", "categorical:3x4", "gaussian:3")


def grey(n: int = 60, seed: int = 0) -> Dataset:
    """Rows that are easily told apart: noise on one of three patterns."""
    rng = np.random.default_rng(seed)
    patterns = rng.random((3, 9))
    values = 0.7 * patterns[rng.integers(0, 3, n)] + 0.3 * rng.random((n, 9))
    rows = Rows.from_array(values.astype(np.float32), name="grey")
    return Dataset("grey", rows.subset(slice(0, n - 12)), rows.subset(slice(n - 12, n)))


DATA = grey()
ALWAYS = SaveEvery(seconds=None, steps=1)


def fresh(latent: str, prior: str = "factorized", seed: int = 0) -> DiscreteVAE:
    config = ModelConfig(n_features=9, latent=latent, hidden=(8, 6), prior=prior)
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(seed))


def settings(**changes: object) -> TrainConfig:
    defaults = {"epochs": 3, "batch_size": 13, "lr": 0.01, "seed": 5, "estimator": "importance"}
    return TrainConfig(**(defaults | changes))


def without_timings(history: list[EpochMetrics]) -> list[EpochMetrics]:
    return [
        dataclasses.replace(m, rows_per_second=0.0, seconds=0.0, cpu_seconds=0.0) for m in history
    ]


def assert_same(one: DiscreteVAE, other: DiscreteVAE) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def differ(one: DiscreteVAE, other: DiscreteVAE) -> bool:
    pairs = zip(one.encoder.parameters(), other.encoder.parameters(), strict=True)
    return any(not torch.equal(a, b) for a, b in pairs)


# --- the same seed, the same weights -----------------------------------------------------------


@pytest.mark.parametrize("binarize", ["none", "dynamic"])
@pytest.mark.parametrize("latent", LATENTS)
def test_the_same_seed_gives_the_same_weights(latent, binarize):
    models = [fresh(latent) for _ in range(3)]
    histories = [
        train(model, DATA.binarized(binarize), settings(seed=seed))
        for model, seed in zip(models, (5, 5, 6), strict=True)
    ]
    assert_same(models[0], models[1])
    assert without_timings(histories[0]) == without_timings(histories[1])
    assert differ(models[0], models[2])
    assert differ(models[0], fresh(latent))


def test_the_global_random_states_are_left_alone(tmp_path):
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state())  # noqa: NPY002
    train(fresh("bernoulli:5"), DATA.binarized("dynamic"), settings(), out=tmp_path / "run")
    train(fresh("gaussian:2"), DATA, settings(), out=tmp_path / "other")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(after[1], states[2][1])
    assert after[2:] == states[2][2:]


def test_a_folder_changes_nothing(tmp_path):
    kept, free = fresh("bernoulli:5"), fresh("bernoulli:5")
    history = train(kept, DATA, settings(), out=tmp_path / "run")
    assert without_timings(train(free, DATA, settings())) == without_timings(history)
    assert_same(kept, free)
    assert read_metrics(tmp_path / "run") == history


class Stop(Exception):  # noqa: N818 - nothing went wrong
    """Raised by the callback to end the training where it stands."""


def pixels_met(latent: str, estimator: str, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The rows of every step of a training, as drawn."""
    seen, ours = [], DiscreteVAE.eta

    def noting(model: DiscreteVAE, x: torch.Tensor) -> torch.Tensor:
        if model.training:
            seen.append(x)
        return ours(model, x)

    with monkeypatch.context() as patched:
        patched.setattr(DiscreteVAE, "eta", noting)
        config = settings(estimator=estimator, epochs=2)
        train(fresh(latent), DATA.binarized("dynamic"), config)
    return seen


def test_what_is_drawn_of_a_row_depends_neither_on_samples_nor_on_the_model(monkeypatch):
    one, other = (
        pixels_met(latent, estimator, monkeypatch)
        for latent, estimator in (
            ("bernoulli:5", "rloo:samples=4"),
            ("categorical:4", "importance:samples=1"),
        )
    )
    assert len(one) == len(other) == 8
    assert all(map(torch.equal, one, other))
    assert not torch.equal(one[0], one[4])


STOPS = [
    # after how many callbacks: 4 steps and the epoch's end are 5
    ("bernoulli:5", "none", 1),
    ("bernoulli:5", "dynamic", 7),
    ("categorical:4", "none", 4),
    ("categorical:4", "none", 5),
    ("categorical:3x4", "dynamic", 11),
    ("gaussian:3", "none", 9),
]


@pytest.mark.parametrize(("latent", "binarize", "calls"), STOPS)
def test_interrupted_and_resumed_equals_uninterrupted(latent, binarize, calls, tmp_path):
    config, data = settings(), DATA.binarized(binarize)
    whole = fresh(latent)
    expected = train(whole, data, config, out=tmp_path / "whole")
    left = [calls]

    def stop(_: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stop

    with pytest.raises(Stop):
        train(fresh(latent), data, config, out=tmp_path / "run", progress=stop, save_every=ALWAYS)
    # the copy shows that nothing outside the folder is needed, and other weights are overwritten
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    resumed = fresh(latent, seed=99)
    history = train(resumed, data, config, out=tmp_path / "copy", resume=True)
    assert_same(resumed, whole)
    assert without_timings(history) == without_timings(expected)
    read = read_metrics(tmp_path / "copy")
    assert without_timings(read) == without_timings(expected)
    assert all(a.seconds < b.seconds for a, b in itertools.pairwise(read))


@pytest.mark.parametrize("latent", LATENTS)
def test_more_epochs_prolong(latent, tmp_path):
    whole, cut = fresh(latent), fresh(latent)
    expected = train(whole, DATA, settings(epochs=4))
    train(cut, DATA, settings(epochs=1), out=tmp_path)
    assert differ(cut, whole)
    prolonged = fresh(latent, seed=7)
    history = train(prolonged, DATA, settings(epochs=4), out=tmp_path, resume=True)
    assert_same(prolonged, whole)
    assert without_timings(history) == without_timings(expected)


def test_resume_without_a_checkpoint_begins(tmp_path):
    (tmp_path / "checkpoint").mkdir()  # all that a disk full at the first save leaves
    begun, plain = fresh("bernoulli:5"), fresh("bernoulli:5")
    train(begun, DATA, settings(), out=tmp_path, resume=True)
    train(plain, DATA, settings())
    assert_same(begun, plain)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(fresh("bernoulli:5"), DATA, settings(epochs=1), out=tmp_path)
    for other in ("bernoulli:6", "gaussian:5"):
        with pytest.raises(RunError, match=r"checkpoint: tensor .* but the model's is"):
            train(fresh(other), DATA, settings(), out=tmp_path, resume=True)


# --- learning ----------------------------------------------------------------------------------


def test_the_loss_falls_on_digits():
    data = load_data("digits")
    model = DiscreteVAE.for_data(data, preset_name="fc-gvae", hidden=(64,))
    history = train(model, data, TrainConfig(epochs=6, lr=3e-3))
    assert [metrics.epoch for metrics in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1].loss < history[0].loss - 4
    assert history[-1].test_elbo > history[0].test_elbo + 2
    for metrics in history:
        assert metrics.loss == pytest.approx(metrics.kl - metrics.log_likelihood, rel=1e-6)


def test_a_live_code_is_not_warned_of():
    data = load_data("digits")
    model = DiscreteVAE.for_data(data, latent="gaussian:3", hidden=(16,))
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        history = train(model, data, TrainConfig(epochs=8, lr=0.01))
    assert history[-1].active_units > 0


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(Estimator):
    """A user's own: the score of each of S draws, less the mean f of the others."""

    samples: int = 4
    is_unbiased = True
    kinds = ("bernoulli", "categorical")

    @property
    def evaluations(self) -> int:
        return self.samples

    def __call__(self, family, eta, f, *, generator):
        z = family.sample(eta, self.samples, generator=generator)
        fz = f(z)
        advantage = (fz.detach() - fz.detach().mean(0)) * self.samples / (self.samples - 1)
        term = (fz + advantage * family.log_prob(eta, z)).mean(0)
        value = fz.detach().mean(0)
        return Estimate(value, with_gradient_of(value, term))


@pytest.mark.parametrize("latent", ["bernoulli:5", "categorical:4"])
def test_a_user_s_own_estimator_trains(latent, tmp_path):
    model = fresh(latent, prior="fixed")
    config = settings(epochs=10, lr=0.03)
    history = train(model, DATA, config, estimator=LeaveOneOut(), out=tmp_path)
    assert history[-1].loss < history[0].loss - 0.1
    assert history[-1].ess is None
    again = fresh(latent, prior="fixed")
    train(again, DATA, config)
    assert differ(model, again)


# --- what it refuses and says ------------------------------------------------------------------


@dataclass(frozen=True)
class Breaks(Estimator):
    """Well-behaved for some calls; then its value is not finite."""

    calls: list[int]
    after: int
    value: float
    is_unbiased = True
    evaluations = 1
    kinds = ("bernoulli",)

    def __call__(self, family, eta, f, *, generator):
        estimate = Importance()(family, eta, f, generator=generator)
        self.calls.append(1)
        if len(self.calls) <= self.after:
            return estimate
        value = estimate.value + self.value
        return Estimate(value, with_gradient_of(value, estimate.surrogate))


class Sick(torch.autograd.Function):
    """Zero with an infinite gradient."""

    @staticmethod
    def forward(ctx, eta):
        return eta.sum(-1) * 0

    @staticmethod
    def backward(ctx, grad):
        return torch.full((len(grad), 5), math.inf)


@dataclass(frozen=True)
class SickGradient(Estimator):
    """The loss stays finite; the gradient does not."""

    calls: list[int]
    after: int
    is_unbiased = True
    evaluations = 1
    kinds = ("bernoulli",)

    def __call__(self, family, eta, f, *, generator):
        estimate = Importance()(family, eta, f, generator=generator)
        self.calls.append(1)
        if len(self.calls) <= self.after:
            return estimate
        return Estimate(estimate.value, estimate.surrogate + Sick.apply(eta))


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
@pytest.mark.parametrize("after", [2, 3, 12, 15])
def test_what_is_not_finite_stops_and_keeps_the_last_good_state(kind, after, tmp_path):
    """4 steps an epoch, then 8 draws of the probe: calls 1-4 and 13-16 are steps of training."""
    if kind == "gradient":
        estimator: object = SickGradient([], after)
    else:
        estimator = Breaks([], after, float(kind))
    with pytest.raises(TrainingError, match=r"NaN or infinite in epoch \d.*`lr`") as caught:
        train(
            fresh("bernoulli:5"), DATA, settings(), estimator=estimator, out=tmp_path,
            save_every=ALWAYS,
        )  # fmt: skip
    assert str(tmp_path) in str(caught.value)
    resumed, whole = fresh("bernoulli:5", seed=4), fresh("bernoulli:5")
    train(resumed, DATA, settings(), out=tmp_path, resume=True)
    train(whole, DATA, settings())
    assert_same(resumed, whole)


def test_without_a_folder_nothing_is_said_to_be_saved():
    with pytest.raises(TrainingError) as caught:
        train(fresh("bernoulli:5"), DATA, settings(), estimator=Breaks([], 0, math.nan))
    assert "saved" not in str(caught.value)


def test_values_beyond_float32_are_told(tmp_path):
    rows = Rows.from_array(np.full((20, 9), 3e37), name="mine")
    data = Dataset("mine", rows, rows)
    config = ModelConfig(n_features=9, latent="bernoulli:5", hidden=(8,), likelihood="gaussian")
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    with pytest.raises(TrainingError, match="the loss became NaN or infinite"):
        train(model, data, settings(), out=tmp_path)
    small = Rows.from_array(np.full((20, 9), 0.5), name="small")
    with pytest.raises(DataError, match="mine: the likelihood of 20 of 20 rows is beyond float32"):
        train(model, Dataset("mixed", small, rows), settings())


@pytest.mark.parametrize("part", ["train", "test"])
def test_rows_that_do_not_fit_are_refused_first(part, tmp_path):
    bad = Rows.from_array(np.full((20, 9), -3.5), name="bad")
    parts = {"train": DATA.train, "test": DATA.test} | {part: bad}
    with pytest.raises(DataError, match="bad: 180 values of 180 outside"):
        train(fresh("bernoulli:5"), Dataset("x", **parts), settings(), out=tmp_path / "run")
    narrow = Rows.from_array(np.full((20, 4), 0.5), name="narrow")
    parts[part] = narrow
    data = Dataset.__new__(Dataset)  # a Dataset refuses parts of different width itself
    for name, value in {"name": "x", **parts}.items():
        object.__setattr__(data, name, value)
    with pytest.raises(DataError, match="narrow: rows have 4 features, but the model takes 9"):
        train(fresh("bernoulli:5"), data, settings(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_estimator_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot handle a bernoulli code"):
        train(fresh("bernoulli:5"), DATA, settings(estimator="reparametrized"), out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


ADVICE = [
    ("categorical:100", CodeUsage(0, 0, 0.0), True),
    ("categorical:100", CodeUsage(6, 1, 1.5), True),
    ("categorical:100", CodeUsage(10, 1, 1.5), True),
    ("categorical:100", CodeUsage(11, 1, 1.5), False),
    ("categorical:5", CodeUsage(1, 0, 0.0), True),
    ("categorical:5", CodeUsage(1, 1, 0.0), False),
    ("categorical:20x10", CodeUsage(500, 2, 1.5), True),
    ("categorical:20x10", CodeUsage(500, 3, 1.5), False),
    ("bernoulli:50", CodeUsage(900, 5, 1.5), True),
    ("bernoulli:50", CodeUsage(900, 6, 1.5), False),
    ("bernoulli:5", CodeUsage(1, 0, 0.0), True),
    ("bernoulli:5", CodeUsage(2, 1, 0.1), False),
    ("gaussian:3", CodeUsage(None, 0, None), True),
    ("gaussian:3", CodeUsage(None, 1, None), False),
]


@pytest.mark.parametrize(("latent", "usage", "poor"), ADVICE)
def test_advice_when_the_code_is_dead(latent, usage, poor):
    advice = collapse_advice(LatentSpec.of(latent), usage)
    assert (advice is not None) is poor
    if advice is not None:
        spec = LatentSpec.of(latent)
        one = spec.kind == "categorical" and spec.n_variables == 1
        of = spec.n_categories if one else spec.n_variables
        assert f"of {of} " in advice
        assert "Try more epochs" in advice


def test_a_dead_code_is_warned_of():
    with pytest.warns(CollapseWarning, match="only 0 of 5 latent variables carry anything"):
        train(fresh("bernoulli:5"), DATA, settings(epochs=1, lr=1e-9))


# --- the figures -------------------------------------------------------------------------------


def test_metrics_are_one_json_object_a_line(tmp_path):
    history = train(fresh("categorical:4"), DATA, settings(), out=tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [EpochMetrics(**json.loads(line)) for line in lines] == history
    assert [asdict(metrics) for metrics in history] == [json.loads(line) for line in lines]
    for metrics in history:
        assert metrics.ess == 1.0
        assert metrics.rows_per_second > 0
        assert metrics.test_elbo_se > 0


def test_the_loss_of_an_epoch_is_that_of_its_rows():
    """One epoch replayed by hand with the generators that the loop uses."""
    model, copy = fresh("bernoulli:5"), fresh("bernoulli:5")
    history = train(model, DATA, settings(epochs=1))
    optimizer = torch.optim.Adam(copy.parameters(), lr=0.01, fused=True)
    order = torch.randperm(48, generator=generator_for(5, "order", 1))
    draws = generator_for(5, "samples")
    total = likelihood = 0.0
    for start in range(0, 48, 13):
        x = DATA.train.batch(order[start : start + 13])
        terms = elbo(copy, x, Importance(), generator=draws)
        optimizer.zero_grad()
        terms.loss.backward()
        optimizer.step()
        total += terms.loss.item() * len(x)
        likelihood += terms.log_likelihood.sum().item()
    assert_same(model, copy)
    assert history[0].loss == pytest.approx(total / 48, rel=1e-5)
    assert history[0].log_likelihood == pytest.approx(likelihood / 48, rel=1e-5)


@pytest.mark.parametrize("latent", ["bernoulli:5", "categorical:4"])
def test_gradient_noise_against_a_replay(latent):
    model = fresh(latent)
    x = DATA.train.batch(slice(0, 20))
    estimator = Importance(samples=2)
    noise = encoder_gradient_noise(
        model, x, estimator, generator=torch.Generator().manual_seed(4), repeats=6
    )
    generator = torch.Generator().manual_seed(4)
    draws = []
    for _ in range(6):
        model.zero_grad()
        elbo(model, x, estimator, generator=generator).loss.backward()
        parts = [p.grad.double().numpy().ravel() for p in model.encoder.parameters()]
        draws.append(np.concatenate(parts))
    gradients = np.stack(draws)
    variance = gradients.var(0, ddof=1)
    assert noise.variance == pytest.approx(variance.mean(), rel=1e-4)
    signal = (gradients.mean(0) ** 2).sum() - variance.sum() / 6
    if signal > 0:
        assert noise.relative == pytest.approx(variance.sum() / signal, rel=1e-3)
    else:
        assert noise.relative is None


def test_gradient_noise_leaves_gradients_and_falls_with_samples():
    model = fresh("bernoulli:5")
    x = DATA.train.batch(slice(0, 20))
    figures = []
    for samples in (1, 100):
        generator = torch.Generator().manual_seed(0)
        noise = encoder_gradient_noise(
            model, x, Importance(samples=samples), generator=generator, repeats=40
        )
        figures.append(noise.variance)
    assert all(p.grad is None for p in model.parameters())
    # 100 draws have a hundredth of the variance; 40 repeats of many parameters tell within 2
    assert 50 < figures[0] / figures[1] < 200
