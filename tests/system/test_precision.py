"""In what a training multiplies: by choice, in the networks alone, and with nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from discretevae.codes.packing import encode_rows
from discretevae.config import (
    PRECISIONS,
    Activation,
    DataConfig,
    ModelConfig,
    RunConfig,
    SaveEvery,
    TrainConfig,
    run_config_from,
    to_dict,
)
from discretevae.data import load_data
from discretevae.errors import ConfigError
from discretevae.estimators import make_estimator
from discretevae.evaluation.bounds import evaluate
from discretevae.experiments.run import run
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.convolutional import ConvDecoder, ConvEncoder
from discretevae.networks.mlp import MLP
from discretevae.objectives import elbo
from discretevae.system.precision import computing
from discretevae.training import train

backends = torch.backends
FLAGS = {
    "products on a GPU": backends.cuda.matmul,
    "convolutions on a GPU": backends.cudnn.conv,
    "products on a CPU": backends.mkldnn.matmul,
    "convolutions on a CPU": backends.mkldnn.conv,
}


def flags() -> dict[str, str]:
    return {name: flag.fp32_precision for name, flag in FLAGS.items()}


def older() -> list[object]:
    """torch's older names for some of them, or that it refuses to say: flags set by both names."""
    said: list[object] = []
    for ask in (
        lambda: backends.cuda.matmul.allow_tf32,
        lambda: backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision,
    ):
        try:
            said.append(ask())
        except RuntimeError as error:
            said.append(str(error))
    return said


@pytest.fixture
def _flags_as_they_were():
    """What a test sets for the whole process is set back."""
    before = flags()
    yield
    backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = True
    for name, flag in FLAGS.items():
        flag.fp32_precision = before[name]


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def rows(n: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, width, generator=torch.Generator().manual_seed(seed))


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """‖a − b‖ / ‖a‖."""
    return ((one - other).norm() / one.norm()).item()


# --- torch's global flags ----------------------------------------------------------------------

USUAL = {
    "as torch has them": lambda: None,
    "tf32 products": lambda: torch.set_float32_matmul_precision("high"),
    "bfloat16 products": lambda: torch.set_float32_matmul_precision("medium"),
    "no tf32 convolutions": lambda: setattr(backends.cudnn, "allow_tf32", False),
    "tf32 wherever nothing else is said": lambda: setattr(backends, "fp32_precision", "tf32"),
}


@pytest.mark.usefixtures("_flags_as_they_were")
@pytest.mark.parametrize("usual", USUAL)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_flags_are_set_inside_and_set_back_outside(precision, usual):
    USUAL[usual]()
    before = flags(), older()
    with computing(precision):
        gpu = "tf32" if precision == "tf32" else "ieee"
        assert list(flags().values()) == [gpu, gpu, "ieee", "ieee"]
    assert (flags(), older()) == before
    with pytest.raises(ZeroDivisionError), computing(precision):
        raise ZeroDivisionError
    assert (flags(), older()) == before


@pytest.mark.usefixtures("_flags_as_they_were")
def test_a_flag_that_follows_a_more_general_one_still_does():
    backends.fp32_precision = "tf32"
    with computing("float32"):
        assert backends.cuda.matmul.fp32_precision == "ieee"
    assert backends.cuda.matmul.fp32_precision == "tf32"
    backends.fp32_precision = "ieee"
    assert backends.cuda.matmul.fp32_precision == "ieee"


@pytest.mark.usefixtures("_flags_as_they_were")
def test_trainings_that_overlap_leave_nothing_behind():
    backends.cuda.matmul.fp32_precision = "tf32"
    before, conv = flags(), backends.cudnn.conv
    first, second = computing("float32"), computing("tf32")
    first.__enter__()
    assert conv.fp32_precision == "ieee"
    second.__enter__()
    assert conv.fp32_precision == "tf32"
    first.__exit__(None, None, None)  # as in another thread, which ends first
    assert conv.fp32_precision == "tf32"
    second.__exit__(None, None, None)
    assert flags() == before
    with computing("tf32"):
        with computing("float32"):
            assert conv.fp32_precision == "ieee"
        assert conv.fp32_precision == "tf32"
    assert flags() == before


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_training_sets_them_for_its_steps_and_evaluates_in_float32(
    precision, digits, monkeypatch
):
    before, seen = flags(), []
    from discretevae.training import loop, measuring

    take_step, evaluate = loop.take_step, measuring.evaluate

    def watched(prepared, *args):
        seen.append(("step", prepared.model.product_dtype, set(flags().values())))
        return take_step(prepared, *args)

    def evaluated(model, *args, **options):
        seen.append(("evaluation", model.product_dtype, set(flags().values())))
        return evaluate(model, *args, **options)

    monkeypatch.setattr(loop, "take_step", watched)
    monkeypatch.setattr(measuring, "evaluate", evaluated)
    model = DiscreteVAE.for_data(digits, latent="bernoulli:5", hidden=(8,))
    train(model, digits, TrainConfig(epochs=1, batch_size=800, precision=precision))
    lower = torch.bfloat16 if precision == "bf16" else None
    assert seen == [("step", lower, {"ieee"})] * 2 + [("evaluation", None, {"ieee"})]
    assert flags() == before
    assert model.product_dtype is None

    def stop(progress):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(model, digits, TrainConfig(epochs=1, precision=precision), progress=stop)
    assert flags() == before
    assert model.product_dtype is None


# --- tf32 --------------------------------------------------------------------------------------


def test_tf32_is_refused_where_there_is_no_gpu(digits, cli, tmp_path):
    model = DiscreteVAE.for_data(digits, latent="bernoulli:5", hidden=(8,))
    with pytest.raises(ConfigError, match=r"Choose float32 or bf16\."):
        train(model, digits, TrainConfig(precision="tf32"))
    config = RunConfig(
        model=model.config, training=TrainConfig(precision="tf32"), data=DataConfig(source="digits")
    )
    with pytest.raises(ConfigError, match=r"`precision='tf32'` needs a GPU"):
        run(digits, config, out=tmp_path / "run")
    said = cli("train", "--precision", "tf32", "--estimator", "x", "--out", tmp_path / "run")
    assert said.status == 2
    assert "--precision tf32 needs a GPU" in said.err
    assert "--estimator 'x' is unknown" in said.err  # all that is wrong at once
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"`precision` 'bf61' is unknown\. Did you mean bf16"):
        TrainConfig(precision="bf61")


@pytest.mark.usefixtures("_flags_as_they_were")
def test_figures_and_codes_are_made_in_float32(digits, monkeypatch):
    model = DiscreteVAE.for_data(digits, latent="bernoulli:5", hidden=(8,))
    eta, seen = model.eta, []

    def watched(x):
        seen.append(backends.cudnn.conv.fp32_precision)
        return eta(x)

    monkeypatch.setattr(model, "eta", watched)
    backends.cudnn.conv.fp32_precision = "tf32"
    evaluate(model, digits.test, samples=1)
    once = len(seen)
    encode_rows(model, digits.test)
    assert len(seen) > once > 0
    assert set(seen) == {"ieee"}
    assert backends.cudnn.conv.fp32_precision == "tf32"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_float32_is_exact_and_tf32_is_not():
    """A sum of 1024 products of numbers with 24 bits: 1e-5 is 100 roundings of float32; tf32 has
    its inputs rounded by up to 5e-4 each."""
    a, b = (rows(256, 1024, seed).cuda() - 0.5 for seed in (0, 1))
    exact = a.double() @ b.double().T
    with computing("float32"):
        assert apart(exact, (a @ b.T).double()) < 1e-5
    with computing("tf32"):
        assert apart(exact, (a @ b.T).double()) > 1e-5


# --- bfloat16 ----------------------------------------------------------------------------------

NETWORKS = {
    "mlp": (lambda g: MLP([30, 64, 64, 20], generator=g), 30),
    "tanh": (lambda g: MLP([30, 64, 20], generator=g, activation=Activation.of("tanh")), 30),
    "leaky": (
        lambda g: MLP([30, 64, 20], generator=g, activation=Activation.of("leaky-relu:0.3")),
        30,
    ),
    "linear": (lambda g: MLP([30, 20], generator=g), 30),
    "encoder": (lambda g: ConvEncoder((9, 7), 20, generator=g), 63),
    "encoder of few columns": (lambda g: ConvEncoder((28, 2), 20, generator=g), 56),
    "encoder of two pixels": (lambda g: ConvEncoder((2, 2), 20, generator=g), 4),
    "small encoder": (lambda g: ConvEncoder((5, 1), 20, generator=g), 5),
    "decoder": (lambda g: ConvDecoder(20, (9, 7), generator=g), 20),
    "decoder of few columns": (lambda g: ConvDecoder(20, (28, 2), generator=g), 20),
    "decoder of pictures": (lambda g: ConvDecoder(20, (28, 28), generator=g), 20),
    "encoder of pictures": (lambda g: ConvEncoder((28, 28), 20, generator=g), 784),
    "small decoder": (lambda g: ConvDecoder(20, (8, 1), n_channels=2, generator=g), 20),
}


@pytest.mark.parametrize("which", NETWORKS)
def test_networks_multiply_in_bfloat16(which):
    """bfloat16 has 8 bits, so that one rounding is off by at most 2⁻⁹ = 0.002 of a number. Values
    go through some 15 of them: 2⁻⁶ of their size. Gradients also lose what a ReLU switches the
    other way, where its input is nearer to 0 than rounding: a few in a hundred, a quarter of their
    size after five layers at most."""
    make, n_in = NETWORKS[which]
    net = make(torch.Generator().manual_seed(0))
    x = rows(64, n_in).requires_grad_()
    found = []
    for is_lower in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_lower):
            y = net(x).float()
        # a product with random numbers, so that no sum of errors is zero by chance
        weight = rows(*y.shape, seed=1) - 0.5
        found.append((y.detach(), *torch.autograd.grad((y * weight).sum(), (x, *net.parameters()))))
    (value, *grads), (lower, *lower_grads) = found
    assert 0 < apart(value, lower) < 2**-6
    for grad, lower_grad in zip(grads, lower_grads, strict=True):
        assert lower_grad.dtype == torch.float32
        assert apart(grad, lower_grad) < 2**-2


class LowerOperators(TorchDispatchMode):
    """The names of all operators that take or give bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        leaves = tree_flatten((args, kwargs, result))[0]
        if any(isinstance(x, torch.Tensor) and x.dtype == torch.bfloat16 for x in leaves):
            self.names.add(func._schema.name.removeprefix("aten::"))
        return result


@pytest.mark.parametrize(
    ("latent", "prior", "estimator"),
    [
        ("bernoulli:6", "autoregressive", "nvil"),
        ("bernoulli:6", "factorized", "disarm"),
        ("categorical:10", "factorized", "exact"),
        ("gaussian:3", "mixture:3", "reparametrized"),
        ("bernoulli:6", "fixed", "relax"),
    ],
)
def test_nothing_but_the_networks_knows_of_bfloat16(latent, prior, estimator):
    config = ModelConfig(n_features=9, latent=latent, hidden=(8,), prior=prior)
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    member = make_estimator(estimator, kind=latent.partition(":")[0])
    generator = torch.Generator().manual_seed(0)
    products = []
    for precision in ("float32", "bf16"):
        with computing(precision, model), LowerOperators() as seen:
            terms = elbo(model, rows(5, 9), member, generator=generator)
            terms.loss.backward()
        assert {t.dtype for t in (terms.surrogate, terms.kl, terms.log_likelihood)} == {
            torch.float32
        }
        products.append(seen.names)
    assert products[0] == set()
    moved = {"_to_copy", "t", "view", "split_with_sizes", "detach", "cat", "_unsafe_view", "expand"}
    moved |= {"transpose", "permute", "alias", "as_strided", "_reshape_alias", "squeeze", "slice"}
    moved |= {"split", "clone", "new_empty_strided", "copy_", "empty_strided", "select", "narrow"}
    # the sum is a bias' gradient, and a gradient of a gradient adds up what comes by two ways
    layers = {"mm", "addmm", "relu_", "threshold_backward", "sum", "add", "zeros_like"}
    assert {"addmm", "mm", "relu_"} <= products[1]
    assert products[1] <= moved | layers, products[1] - moved - layers


def gradients(model, member, precision, x):
    generator = torch.Generator().manual_seed(2)
    model.zero_grad()
    with computing(precision, model):
        terms = elbo(model, x, member, generator=generator)
        terms.loss.backward()
    parameters = [*model.parameters(), *getattr(member, "parameters", tuple)()]
    return terms, torch.cat([p.grad.flatten() for p in parameters])


@pytest.mark.parametrize(
    ("latent", "member"),
    [("categorical:10", "exact"), ("bernoulli:6", "exact"), ("gaussian:4", "reparametrized")],
)
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_the_gradient_of_the_elbo_is_that_of_float32_to_rounding(network, latent, member, digits):
    """With sums over states, or ε, no draw can change: what is left is rounding. It was 0.001 to
    0.01 of the gradient; 2⁻⁵ is allowed."""
    preset = {"mlp": "fc-bvae", "cnn": "cnn-bvae"}[network]
    model = DiscreteVAE.for_data(digits, preset_name=preset, latent=latent)
    member, x = make_estimator(member, kind=latent.partition(":")[0]), digits.train.batch(slice(50))
    (terms, grad), (lower, lower_grad) = (
        gradients(model, member, precision, x) for precision in ("float32", "bf16")
    )
    assert lower.loss.item() == pytest.approx(terms.loss.item(), rel=2**-9)
    assert 0 < apart(grad, lower_grad) < 2**-5


@pytest.mark.parametrize("name", ["rebar", "relax"])
def test_second_derivatives_are_those_of_float32_to_rounding(name):
    """The temperature and the scale of a control variate learn through a gradient of a gradient.

    The natural parameters are given here, so that all draws are the same.
    """
    config = ModelConfig(n_features=9, latent="bernoulli:6", hidden=(64, 64))
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    eta = rows(40, 6, seed=3) * 4 - 2
    found = []
    for precision in ("float32", "bf16"):
        member = make_estimator(name, kind="bernoulli")
        if name == "relax":
            member.prepare(model.family, eta)
        with computing(precision, model):
            estimate = member(
                model.family, eta, model.log_likelihood(rows(40, 9)),
                generator=torch.Generator().manual_seed(1),
            )  # fmt: skip
        estimate.control_loss.backward()
        found.append((member.log_tau.grad, member.nu.grad, estimate.control_loss.detach()))
    for exact, lower in zip(*found, strict=True):
        assert lower.dtype == torch.float32
        assert exact != lower
        # squares of differences of f, of which 2⁻⁶ is lost: a tenth
        assert lower.item() == pytest.approx(exact.item(), rel=0.1)


def test_gradients_of_gradients_of_an_mlp_are_right():
    net = MLP([5, 32, 32, 3], generator=torch.Generator().manual_seed(0))
    x = rows(20, 5).requires_grad_()
    found = []
    for is_lower in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_lower):
            value = net(x).float().square().sum()
        (first,) = torch.autograd.grad(value, x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), net[0].weight)[0])
    assert 0 < apart(*found) < 2**-4


@pytest.mark.parametrize("latent", ["bernoulli:16", "categorical:10", "gaussian:4"])
def test_training_in_bfloat16_comes_as_far(latent, digits):
    """Eight epochs bring 7 nats or more. The ends were within 0.01 of one another, with other seeds
    within 0.12; 0.2 is allowed. The standard error of the test ELBO is 0.14."""
    ends = []
    for precision in ("float32", "bf16"):
        model = DiscreteVAE.for_data(digits, latent=latent, hidden=(64,))
        history = train(model, digits, TrainConfig(epochs=8, lr=0.003, precision=precision))
        assert history[-1].test_elbo > history[0].test_elbo + 5
        ends.append(history[-1].test_elbo)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert ends[0] != ends[1]
    assert ends[0] == pytest.approx(ends[1], abs=0.2)


class Stop(Exception):  # noqa: N818 - nothing went wrong
    """Raised by the callback to end the training where it stands."""


@pytest.mark.parametrize("preset", ["fc-bvae", "cnn-bvae"])
def test_resumed_equals_uninterrupted_in_bfloat16(preset, digits, tmp_path):
    config = TrainConfig(epochs=2, batch_size=500, lr=0.01, precision="bf16", average=0.5)

    def model():
        return DiscreteVAE.for_data(digits, preset_name=preset, latent="bernoulli:14")

    whole, resumed = model(), model()
    expected = train(whole, digits, config)

    def stop(progress):
        if progress.epoch == 2 and progress.step == 2 and progress.metrics is None:
            raise Stop

    every = SaveEvery(seconds=None, steps=1)
    with pytest.raises(Stop):
        train(resumed, digits, config, out=tmp_path, progress=stop, save_every=every)
    found = train(resumed, digits, config, out=tmp_path, resume=True)
    assert [m.loss for m in found] == [m.loss for m in expected]
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


# --- configuration and command -----------------------------------------------------------------


def test_configurations_from_before_there_was_a_choice_are_float32():
    values = to_dict(RunConfig(model=ModelConfig(n_features=4)))
    assert values["training"].pop("precision") == "float32"
    assert values["training"].pop("graph") is False
    training = run_config_from(values).training
    assert (training.precision, training.graph) == ("float32", False)


def test_the_command_keeps_it_and_says_it_when_it_is_not_the_default(cli, tmp_path):
    common = ("--latent", "bernoulli:5", "--hidden", "8", "--epochs", "1")
    said = cli("train", *common, "--precision", "bf16", "--out", tmp_path / "lower")
    assert said.status == 0, said.err
    assert "· exact · bf16 ·" in said.out
    config = Path(tmp_path / "lower" / "config.json")
    assert json.loads(config.read_text())["training"]["precision"] == "bf16"
    assert "float32" not in cli("train", *common, "--out", tmp_path / "plain").out
    said = cli("train", "--resume", tmp_path / "lower", "--epochs", "2")
    assert said.status == 0, said.err
    assert "bf16" in said.out
    said = cli("train", "--resume", tmp_path / "lower", "--precision", "float32")
    assert said.status == 2
    assert "--precision is bf16 in" in said.err


def test_what_ranks_exchange_is_float32(digits):
    model = DiscreteVAE.for_data(digits, latent="bernoulli:5", hidden=(8,))
    with computing("bf16", model):
        terms = elbo(model, rows(4, 64), make_estimator("exact", kind="bernoulli"), generator=None)
        terms.loss.backward()
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
