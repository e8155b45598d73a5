"""Steps that are recorded and replayed: the same to the bit, and nothing waits for the device.

There is no GPU here. Recordings are made by the doubles of `graph_doubles`: one calls the step
again, one replays its operators and runs no Python. What a GPU alone can show is at the end.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import graph_doubles as doubles
import numpy as np
import pytest
import torch
from torch import nn

from discretevae.config import ModelConfig, SaveEvery, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.errors import ConfigError, TrainingError
from discretevae.estimators import ESTIMATORS, DisARM, Estimator, ReinMax, estimator_for
from discretevae.families import Bernoulli, Categorical, Product, states_like
from discretevae.model.integrands import without_waiting
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import OBJECTIVES, choose_estimator, elbo
from discretevae.system.ranks import Ranks
from discretevae.training import choose_method, prepare_training, recorders, train
from discretevae.training.batches import Batch
from discretevae.training.recorded_step import EAGER_STEPS, RecordedStep
from discretevae.training.recorders import CudaRecorder, check_recording
from discretevae.training.state import start_state
from discretevae.training.step import take_step
from discretevae.training.step_settings import StepSettings
from discretevae.training.sums import Sums

ALWAYS = SaveEvery(seconds=None, steps=1)
LATENTS = {"bernoulli": "bernoulli:6", "categorical": "categorical:2x4", "gaussian": "gaussian:3"}
MEMBERS = [
    (name, latent)
    for name, cls in ESTIMATORS.items()
    for kind, latent in LATENTS.items()
    if kind in cls().kinds and name != "vimco"
] + [
    ("arms:copula=gaussian", "bernoulli:6"),
    ("importance:proposal=mixture", "bernoulli:6"),
    ("importance:proposal=tempered", "gaussian:3"),
    ("exact", "categorical:4+gaussian:3"),
    ("disarm+exact", "bernoulli:14+categorical:3"),
]


def pictures(n: int = 60) -> Dataset:
    """Rows of 3×3 that are easily told apart: noise on one of three patterns."""
    rng = np.random.default_rng(0)
    patterns = rng.random((3, 9))
    values = (0.7 * patterns[rng.integers(0, 3, n)] + 0.3 * rng.random((n, 9))).astype(np.float32)
    rows = Rows.from_array(values, name="pictures")
    return Dataset("pictures", rows.subset(slice(0, n - 12)), rows.subset(slice(n - 12, n)))


DATA = pictures()


def model_for(latent: str, **changes: object) -> DiscreteVAE:
    config = ModelConfig(
        **({"n_features": 9, "latent": latent, "hidden": (8,), "image_shape": (3, 3)} | changes)
    )
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


def settings(**changes: object) -> TrainConfig:
    """48 rows: three whole batches and a smaller one, three times over."""
    return TrainConfig(**({"epochs": 3, "batch_size": 13, "lr": 0.01, "seed": 5} | changes))


def trained(latent, config, *, prior="fixed", binarize="none", **options):
    quantizer = "vector:3" if config.objective == "vq" else None
    model = model_for(latent, prior=prior, quantizer=quantizer)
    history = train(model, DATA.binarized(binarize), config, **options)
    return model.state_dict(), [
        dataclasses.replace(m, rows_per_second=0.0, seconds=0.0, cpu_seconds=0.0) for m in history
    ]


def assert_same(one, other):
    (weights, history), (others, other_history) = one, other
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
    assert history == other_history


@pytest.fixture
def recording(monkeypatch):
    """Puts a double in the GPU's place; what it returns is filled with those that were made."""

    def use(double):
        made = []

        def make(generator):
            made.append(double(generator))
            return made[-1]

        monkeypatch.setitem(recorders.RECORDERS, "cpu", make)
        return made

    return use


# --- the same training, to the bit -------------------------------------------------------------

RUNS = {
    "bits by disarm": ("bernoulli:16", {}),
    "a category, exactly": ("categorical:10", {}),
    "a category's marginal": ("categorical:10", {"objective": "marginal"}),
    "wake-sleep": ("bernoulli:5", {"objective": "wake-sleep"}),
    "jsa, bits": ("bernoulli:16", {"objective": "jsa", "samples": 2}),
    "jsa, categories, and pixels that are drawn": ("categorical:8x8", {"objective": "jsa"}),
    "the multi-sample bound": ("bernoulli:5", {"objective": "multi-sample"}),
    "categories by reinmax": ("categorical:8x8", {}),
    "a codebook": ("categorical:8x8", {"objective": "vq"}),
    "pixels that are drawn": ("bernoulli:5", {}),
    "clip": ("bernoulli:5", {"clip": 0.1}),
    "average": ("bernoulli:16", {"average": 0.5, "start": "mean"}),
    "schedule": ("categorical:10", {"lr_schedule": "cosine", "warmup": 3}),
    "validation": ("bernoulli:16", {"validation": 0.2, "patience": 1}),
    "the KL rises": ("bernoulli:16", {"kl_warmup": 1.3, "free_bits": 0.05}),
    "distorted": ("bernoulli:16", {"augment": "shift=1,rotate=10"}),
    "neighbors that are drawn": ("bernoulli:16", {"target": "neighbors:3x4"}),
    "bfloat16": ("bernoulli:16", {"precision": "bf16"}),
    "one batch": ("bernoulli:16", {"batch_size": 48, "epochs": 9}),
}
PRIORS = {
    "factorized": "bernoulli:16",
    "autoregressive": "categorical:10",
    "mixture:3": "gaussian:3",
}


@pytest.mark.parametrize("what", RUNS)
def test_a_recorded_training_is_the_eager_one(what, recording):
    latent, changes = RUNS[what]
    binarize = "dynamic" if "drawn" in what else "none"
    config = settings(**changes)
    eager = trained(latent, config, binarize=binarize)
    for double in (doubles.Again, doubles.Tape):
        made = recording(double)
        recorded = dataclasses.replace(config, graph=True)
        assert_same(eager, trained(latent, recorded, binarize=binarize))
        assert [recorder.n_recorded for recorder in made] == [1]


def test_vanishing_moments_are_flushed_between_replays_too(recording, monkeypatch):
    untouched = trained("bernoulli:16", settings())
    monkeypatch.setattr("discretevae.training.step.FLUSH_EVERY", 3)
    monkeypatch.setattr("discretevae.training.step.SMALLEST_MOMENT", 1e-2)
    eager = trained("bernoulli:16", settings())
    with pytest.raises(AssertionError):  # they matter here
        assert_same(eager, untouched)
    recording(doubles.Again)
    assert_same(eager, trained("bernoulli:16", settings(graph=True)))


@pytest.mark.parametrize("prior", PRIORS)
def test_a_learned_prior_is_recorded_too(prior, recording):
    config = settings(pretrain=1 if prior == "mixture:3" else 0)
    eager = trained(PRIORS[prior], config, prior=prior)
    made = recording(doubles.Tape)
    recorded = trained(PRIORS[prior], dataclasses.replace(config, graph=True), prior=prior)
    assert_same(eager, recorded)
    assert [recorder.n_recorded for recorder in made] == [1]


def test_convolutions_are_recorded_too(recording):
    recording(doubles.Tape)
    models = [model_for("bernoulli:14", network="cnn", hidden=None) for _ in range(2)]
    for model, graph in zip(models, (False, True), strict=True):
        train(model, DATA, settings(graph=graph))
    for one, other in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("name", "latent"), MEMBERS)
def test_no_member_needs_python_at_a_replay(name, latent, recording):
    config = settings(estimator=name, epochs=1, batch_size=8)
    eager = trained(latent, config)
    recording(doubles.Tape)
    assert_same(eager, trained(latent, dataclasses.replace(config, graph=True)))


def test_the_first_steps_and_the_smaller_batches_are_taken_eagerly(recording):
    made = recording(doubles.Again)
    trained("bernoulli:5", settings(graph=True))
    assert made[0].n_eager == EAGER_STEPS + 3
    trained("bernoulli:5", settings(graph=True, kl_warmup=1.5))
    # the weight is 1 from the sixth step on; the last of an epoch's four steps is small
    assert made[1].n_eager == 5 + EAGER_STEPS + 2


def test_sums_are_read_once_an_epoch_and_before_a_checkpoint(recording, monkeypatch, tmp_path):
    recording(doubles.Again)
    reads, read = [], Sums.read
    monkeypatch.setattr(
        Sums, "read", lambda self, position: reads.append(position.step) or read(self, position)
    )
    trained("bernoulli:5", settings(graph=True))
    assert reads == [4, 4, 4]
    reads.clear()
    every = SaveEvery(seconds=None, steps=3)
    trained("bernoulli:5", settings(graph=True), out=tmp_path / "run", save_every=every)
    # every third of twelve steps, of which each epoch has four; and the ends of the epochs
    assert reads == [3, 4, 2, 4, 1, 4, 4]


class Stop(Exception):  # noqa: N818 - nothing went wrong
    """Raised by the callback to end the training where it stands."""


@pytest.mark.parametrize(("first", "then"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("stop_at", [2, 8, 12])
def test_a_run_may_be_resumed_with_and_without_recording(first, then, stop_at, recording, tmp_path):
    config = settings(average=0.5, estimator="importance:proposal=uniform")
    training = partial(trained, "bernoulli:5", binarize="dynamic")
    expected = training(config)
    recording(doubles.Tape)
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == stop_at:
            raise Stop

    changed = dataclasses.replace(config, graph=first)
    with pytest.raises(Stop):
        training(changed, out=tmp_path, progress=stop, save_every=ALWAYS)
    changed = dataclasses.replace(config, graph=then)
    assert_same(expected, training(changed, out=tmp_path, resume=True))


def test_checkpoints_are_the_same_files(recording, tmp_path):
    recording(doubles.Again)
    files = []
    for graph in (False, True):
        folder = tmp_path / str(graph)
        trained("bernoulli:5", settings(graph=graph, epochs=2), out=folder, save_every=ALWAYS)
        (newest, *_) = sorted((folder / "checkpoint").iterdir(), reverse=True)
        files.append((newest.name, (folder / "model.safetensors").read_bytes()))
    assert files[0] == files[1]


def test_a_loss_that_is_not_finite_is_noticed_before_anything_is_saved(recording, tmp_path):
    recording(doubles.Again)
    config = settings(graph=True, epochs=1)
    trained("gaussian:3", config, out=tmp_path)
    good = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match=r"in epoch 2, by step 4\. What was saved last is"):
        trained(
            "gaussian:3",
            dataclasses.replace(config, epochs=2, lr=1e30),
            out=tmp_path,
            resume=True,
            save_every=SaveEvery(seconds=1e6, steps=None),
        )
    assert (tmp_path / "model.safetensors").read_bytes() == good


def test_the_doubles_catch_what_a_recording_gets_wrong(recording, monkeypatch):
    config = settings(estimator="gumbel-softmax:tau=1,anneal=0.1,floor=0.1")
    eager = trained("bernoulli:5", config)
    monkeypatch.setattr("discretevae.training.preparation.check_recording", lambda *_: None)
    recording(doubles.Tape)
    with pytest.raises(AssertionError):
        assert_same(eager, trained("bernoulli:5", dataclasses.replace(config, graph=True)))

    eager = trained("bernoulli:5", settings())
    monkeypatch.setattr(
        RecordedStep, "_filled", lambda self, batch: self.__dict__.setdefault("kept", batch)
    )
    for double in (doubles.Again, doubles.Tape):
        recording(double)
        with pytest.raises(AssertionError):
            assert_same(eager, trained("bernoulli:5", settings(graph=True)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_adam_takes_the_same_steps_with_a_tensor_for_its_step_size(dtype):
    """To the bit with float64; float32 rounds the step size, by 6e-8 of each of 50 steps."""
    runs = []
    for lr in (0.01, torch.tensor(0.01, dtype=dtype)):
        generator = torch.Generator().manual_seed(0)
        weight = nn.Parameter(torch.randn(1000, generator=generator))
        options = {"capturable": True} if isinstance(lr, torch.Tensor) else {}
        optimizer = torch.optim.Adam([weight], lr=lr, fused=True, **options)
        for step in range(50):
            weight.grad = torch.randn(1000, generator=generator)
            if isinstance(lr, torch.Tensor):
                lr.fill_(0.01 / (step + 1))
            else:
                optimizer.param_groups[0]["lr"] = 0.01 / (step + 1)
            optimizer.step()
        runs.append(weight.detach())
    if dtype == torch.float64:
        assert torch.equal(*runs)
    else:
        assert torch.allclose(*runs, rtol=0, atol=1e-5)


# --- nothing waits -----------------------------------------------------------------------------


BYTES = Rows.from_array(np.arange(180, dtype=np.uint8).reshape(20, 9), divisor=255.0)


class PlainSGD(torch.optim.SGD):
    """An optimizer that skips no step."""

    found_inf = property(lambda self: None, lambda self, value: None)


def take_a_step(model, estimator, mode, device, *, name="elbo", objective=None):
    """A first step, in which tables are made, and one under ``mode``."""
    method = choose_method(model.family, settings(clip=1.0, objective=name), estimator=estimator)
    rows = dataclasses.replace(BYTES, divisor=1.0) if model.config.likelihood.is_count else BYTES
    if name == "semi-supervised":
        rows = dataclasses.replace(rows, labels=torch.arange(20) % 10)
    prepared = prepare_training(model, Dataset("bytes", rows, rows), method)
    state = start_state(prepared)
    state.sums = Sums(torch.device(device))
    model.to(device)
    if state.estimator is not None:
        state.estimator.to(device)
    if device == "meta":  # of which torch's own Adam knows nothing
        learned = nn.ModuleList(m for m in (model, state.estimator) if m is not None)
        state.optimizer = PlainSGD(learned.parameters(), lr=0.01)
        state.generators = {"samples": torch.Generator()}
    else:
        for group in state.optimizer.param_groups:
            group.update(lr=torch.tensor(0.01, dtype=torch.float64), capturable=True)
    batch = Batch(torch.zeros(5, 9, device=device))
    if name == "semi-supervised":
        labels = torch.arange(-1, 4, device=device)
        labeled = batch.target[1:], labels[1:]
        batch = dataclasses.replace(batch, labels=labels, labeled=labeled)
    step = StepSettings(0.01, objective or OBJECTIVES[name], estimator, is_final=True)
    for around in (doubles.OnMeta(), mode):
        with without_waiting(), around:
            take_step(prepared, state, batch, step)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("name", "latent"), MEMBERS)
def test_no_member_waits_for_the_device(name, latent, device):
    model = model_for(latent)
    take_a_step(model, estimator_for(name, model.family), doubles.NoWaiting(), device)


OTHERS = [
    *({"prior": prior, "latent": latent} for prior, latent in PRIORS.items()),
    {"prior": "autoregressive", "latent": "bernoulli:6"},
    {"prior": "autoregressive", "latent": "bernoulli:14+categorical:3"},
    *(
        {"likelihood": name, "latent": latent}
        for name in (
            *("continuous-bernoulli", "beta-binomial", "logistic", "logistic:3"),
            *("gaussian", "gaussian:0.3", "gaussian:learned", "student"),
        )
        for latent in ("bernoulli:14", "categorical:5")
    ),
    {"network": "cnn", "hidden": None, "latent": "bernoulli:14"},
    {"network": "cnn", "hidden": None, "latent": "categorical:5x8"},
    {"activation": "tanh", "latent": "bernoulli:14"},
]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    "changes", OTHERS, ids=lambda changes: " ".join(map(str, changes.values()))
)
def test_no_prior_likelihood_or_network_waits_for_the_device(changes, device):
    model = model_for(**changes)
    member = choose_estimator(model.family, TrainConfig())
    take_a_step(model, member, doubles.NoWaiting(), device)


@pytest.mark.parametrize("name", ["multinomial", "poisson", "negative-binomial"])
def test_counts_are_looked_at_without_waiting_but_on_a_cpu(name):
    model = model_for(likelihood=name, latent="bernoulli:14")
    member = choose_estimator(model.family, TrainConfig())
    take_a_step(model, member, doubles.NoWaiting(), "meta")


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("name", "latent"),
    [
        (name, latent)
        for name in OBJECTIVES
        for latent in ("categorical:10", "bernoulli:5", "categorical:2x4")
        if (name != "vq" or latent != "bernoulli:5")
        and (name != "semi-supervised" or latent == "categorical:10")
    ],
)
def test_no_objective_waits_for_the_device(name, latent, device):
    model = model_for(latent, quantizer="vector:3" if name == "vq" else None)
    member = choose_estimator(model.family, TrainConfig(objective=name))
    take_a_step(model, member, doubles.NoWaiting(), device, name=name)
    shaped = partial(elbo, kl_weight=0.5, free_bits=0.1)
    take_a_step(model_for(latent), DisARM() if "b" in latent[0] else ReinMax(), doubles.NoWaiting(),
                device, objective=shaped)  # fmt: skip


class Odd(Estimator):
    """DisARM with something in it that no recording can hold."""

    is_unbiased, evaluations, kinds = True, 2, ("bernoulli",)

    def __init__(self, does):
        self.does = does

    def __call__(self, family, eta, f, *, generator):
        self.does(eta)
        return DisARM()(family, eta, f, generator=generator)


ODD = {
    "a value": (lambda eta: eta.sum().item(), "cpu"),
    "a truth": (lambda eta: bool((eta > 0).any()), "cpu"),
    "a list": (lambda eta: (eta > 0).nonzero(), "cpu"),
    "chosen entries": (lambda eta: eta[eta > 0], "cpu"),
    "entries by mask": (lambda eta: eta.masked_select(eta > 0), "cpu"),
    "different values": (lambda eta: (eta > 0).unique(), "cpu"),
    "numbers": (lambda eta: torch.tensor([1.0, 2.0], device=eta.device), "cpu"),
    "a number": (lambda eta: eta.new_tensor(1.0), "cpu"),
    "a table from the host": (lambda eta: torch.eye(3).to(eta), "meta"),
    "a factor from the host": (lambda eta: eta * torch.ones(()), "meta"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_waits_is_caught(what):
    does, device = ODD[what]
    with pytest.raises(doubles.Waited):
        take_a_step(model_for("bernoulli:6"), Odd(does), doubles.NoWaiting(), device)


def test_members_that_look_at_weights_wait_where_they_are_not_told_otherwise():
    model = model_for("bernoulli:6")
    terms = elbo(model, torch.zeros(5, 9), ReinMax(), generator=torch.Generator())
    with pytest.raises(doubles.Waited), doubles.NoWaiting():
        terms.loss.backward()


def test_samples_that_do_not_weigh_alike_make_the_gradient_nan_where_nobody_looks():
    model = model_for("bernoulli:6")
    z = torch.zeros(2, 3, 6)
    for weight, is_finite in ((torch.full((2, 3), 0.5), True), (torch.arange(6.0), False)):
        grads = []
        for looks in (True, False):
            f = model.log_likelihood(torch.zeros(3, 9))
            if looks:
                value, _ = f.value_and_grad(z)
            else:
                with without_waiting():
                    value, _ = f.value_and_grad(z)
            loss = (weight.reshape(2, 3) * value).sum()
            found = torch.autograd.grad(loss, list(model.decoder.parameters()))
            grads.append(nn.utils.parameters_to_vector(found))
        assert grads[0].isfinite().all()
        assert torch.equal(*grads) if is_finite else grads[1].isnan().all()


@pytest.mark.parametrize(
    "family",
    [Bernoulli(3), Categorical(2, 3), Product((Bernoulli(2), Categorical(1, 3)))],
    ids=lambda family: str(family.spec),
)
def test_the_table_of_states_is_made_once(family):
    with torch.inference_mode():
        table = states_like(family, torch.zeros(1, dtype=torch.float64))
    assert torch.equal(table, family.enumerate().double())
    assert states_like(family, torch.zeros(2, dtype=torch.float64)) is table
    assert states_like(family, torch.zeros(2)).dtype == torch.float32
    assert not table.is_inference()


# --- what is refused ---------------------------------------------------------------------------


def test_what_cannot_be_recorded_is_refused():
    with pytest.raises(ConfigError, match=r"Got device cpu\. Leave `graph` out"):
        train(model_for("bernoulli:5"), DATA, settings(graph=True))
    cuda = torch.device("cuda")
    with pytest.raises(ConfigError, match=r"Got 2 processes\. Leave `graph` out, or start without"):
        check_recording(DisARM(), cuda, Ranks(0, 2))
    check_recording(DisARM(), cuda, Ranks())
    annealed = "gumbel-softmax:tau=1,anneal=0.1"
    for text, latent in ((annealed, "bernoulli:5"), (annealed, "bernoulli:14+gaussian:3")):
        estimator = estimator_for(text, model_for(latent).family)
        with pytest.raises(ConfigError, match="Leave anneal or `graph` out"):
            check_recording(estimator, cuda, Ranks())
    with pytest.raises(ConfigError, match="`graph` must be true or false"):
        settings(graph=1)


def test_the_command_refuses_before_there_is_a_folder(cli, tmp_path):
    said = cli("train", "--graph", "--out", tmp_path / "run")
    assert said.status == 2
    assert said.err.count("\n") == 1
    assert "graph out" in said.err
    assert not (tmp_path / "run").exists()


def test_the_command_refuses_what_changes_from_step_to_step(cli, recording, tmp_path):
    recording(doubles.Again)
    annealed = ("--latent", "bernoulli:5", "--estimator", "gumbel-softmax:tau=1,anneal=0.1")
    said = cli("train", "--graph", *annealed, "--out", tmp_path / "run")
    assert said.status == 2
    assert "Leave anneal or" in said.err
    assert not (tmp_path / "run").exists()


def test_the_command_resumes_with_and_without(cli, recording, tmp_path):
    recording(doubles.Again)
    out = tmp_path / "run"
    common = ("--latent", "bernoulli:5", "--hidden", "8", "--json")
    assert cli("train", "--epochs", "1", "--graph", *common, "--out", out).status == 0
    assert '"graph": true' in (out / "config.json").read_text()
    said = cli("train", "--resume", out, "--no-graph", "--epochs", "2")
    assert said.status == 0, said.err
    assert '"graph": false' in (out / "config.json").read_text()


# --- on a GPU ----------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize(
    ("latent", "changes"),
    [
        ("bernoulli:16", {"clip": 1.0, "lr_schedule": "cosine"}),
        ("bernoulli:16", {"estimator": "rebar"}),
        ("bernoulli:16", {"estimator": "arms"}),
        ("categorical:10", {"objective": "marginal"}),
        ("categorical:8x8", {"average": 0.5}),
        ("gaussian:3", {"precision": "bf16"}),
    ],
    ids=str,
)
def test_on_a_gpu_a_recording_is_the_eager_training(latent, changes, monkeypatch):
    """The same kernels on the same numbers: to the bit beside eager steps with a tensor step size.

    Beside ordinary training that step size is rounded to float32, by 6e-8 of it.
    """
    results = []
    for graph, recorder in ((True, CudaRecorder), (True, doubles.Again), (False, None)):
        monkeypatch.setitem(recorders.RECORDERS, "cuda", recorder)
        model = model_for(latent).cuda()
        history = train(model, DATA.binarized("dynamic"), settings(graph=graph, **changes))
        results.append((model.state_dict(), [m.loss for m in history]))
    (recorded, losses), (again, same_losses), (ordinary, near_losses) = results
    assert losses == same_losses
    assert losses == pytest.approx(near_losses, rel=1e-4)
    for name, value in recorded.items():
        assert torch.equal(value, again[name]), name
        assert torch.allclose(value, ordinary[name], rtol=0, atol=1e-3), name
