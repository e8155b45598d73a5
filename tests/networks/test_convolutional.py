"""The paper's convolutional models: layers against torch's own, and everything a model is for."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from discretevae.cli import call
from discretevae.config import ModelConfig, RunConfig, TrainConfig, run_config_from, to_dict
from discretevae.data import Dataset, Rows, load_data
from discretevae.errors import ConfigError
from discretevae.estimators import ESTIMATORS, Exact, make_estimator
from discretevae.experiments.run import run as run_all
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.convolutional import (
    ConvDecoder,
    ConvEncoder,
    Convolution,
    Pictures,
    TransposedConvolution,
    image_sizes,
)
from discretevae.objectives import elbo, multi_sample
from discretevae.run_folder.checkpoint import state_paths
from discretevae.run_folder.saved_run import load_run
from discretevae.system.randomness import generator_for
from discretevae.system.tensor_files import read_tensors
from discretevae.training import train

SHAPES = [(28, 28), (8, 8), (32, 20), (9, 13), (2, 2), (1, 5)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def model_for(latent="bernoulli:5", shape=(6, 5), **options):
    config = ModelConfig(
        n_features=shape[0] * shape[1], latent=latent, network="cnn", image_shape=shape, **options
    )
    return DiscreteVAE(config, generator=seeded())


# --- the layers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "heights", "widths"),
    [
        ((28, 28), [28, 14, 7, 4, 2], [28, 14, 7, 4, 2]),
        ((8, 8), [8, 4, 2, 1, 1], [8, 4, 2, 1, 1]),
        ((32, 20), [32, 16, 8, 4, 2], [20, 10, 5, 3, 2]),
        ((9, 13), [9, 5, 3, 2, 1], [13, 7, 4, 2, 1]),
        ((2, 2), [2, 1, 1, 1, 1], [2, 1, 1, 1, 1]),
        ((1, 5), [1, 1, 1, 1, 1], [5, 3, 2, 1, 1]),
    ],
    ids=str,
)
def test_sizes_are_halved_and_rounded_up(shape, heights, widths):
    assert image_sizes(shape) == list(zip(heights, widths, strict=True))


def plain(net):
    """The same network of torch's own convolutions, in torch's usual order of memory."""
    layers = []
    for layer in copy.deepcopy(net):
        if isinstance(layer, Pictures):
            layers.append(nn.Unflatten(1, (layer.channels, *layer.image_shape)))
        elif isinstance(layer, Convolution | TransposedConvolution):
            kind = nn.Conv2d if isinstance(layer, Convolution) else nn.ConvTranspose2d
            layer.forward = partial(kind.forward, layer)
            layers.append(layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("which", ["encoder", "decoder"])
def test_values_and_gradients_equal_plain_layers(which, shape, dtype, tolerance):
    if which == "encoder":
        net = ConvEncoder(shape, 3, generator=seeded()).to(dtype)
        width = shape[0] * shape[1]
    else:
        net = ConvDecoder(4, shape, generator=seeded()).to(dtype)
        width = 4
    reference = plain(net)
    x = torch.randn(5, width, generator=seeded(1), dtype=dtype)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    value, expected = net(ours), reference(theirs)
    assert value.shape == ((5, 3) if which == "encoder" else (5, shape[0] * shape[1]))
    assert torch.allclose(value, expected, atol=tolerance)
    value.square().mean().backward()
    expected.square().mean().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=tolerance)
    own, other = dict(net.named_parameters()), dict(reference.named_parameters())
    assert own.keys() == other.keys()
    assert len(own) == 10
    for name, parameter in own.items():
        assert torch.allclose(parameter.grad, other[name].grad, atol=tolerance)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("numbers", [1, 2, 6])
def test_colors_are_the_channels_of_convolutions(channels, numbers):
    shape = height, width, _ = 9, 6, channels
    encoder = ConvEncoder(shape, 3, generator=seeded())
    x = torch.rand(5, *shape, generator=seeded(1))
    pictures = x.permute(0, 3, 1, 2).contiguous()
    assert torch.allclose(encoder(x.flatten(1)), encoder[1:](pictures), atol=1e-5)
    decoder = ConvDecoder(4, shape, n_channels=numbers, generator=seeded())
    z = torch.randn(5, 4, generator=seeded(1))
    output = decoder(z).reshape(5, numbers, height, width, channels)
    maps = decoder[:-1](z).reshape(5, numbers, channels, height, width)
    for color in range(channels):
        assert torch.equal(output[..., color], maps[:, :, color])


@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic", "beta-binomial", "logistic:2"])
def test_a_start_at_the_mean_gives_each_color_its_own(likelihood):
    shape, mean = (6, 5, 3), torch.tensor([0.2, 0.5, 0.8])
    config = ModelConfig(n_features=90, network="cnn", image_shape=shape, likelihood=likelihood)
    model = DiscreteVAE(config, generator=seeded())
    with torch.no_grad():
        model.decoder[-2].weight.zero_()
    model.start_at(mean.expand(shape).flatten())
    shown = model.decode(torch.zeros(1, 50, dtype=torch.uint8)).reshape(shape)
    assert torch.allclose(shown, mean.expand(shape), atol=1e-3)


@pytest.mark.parametrize("first", [1, 3, 128, 200])
def test_the_decoder_s_first_layer_may_have_another_width(first):
    shape = (9, 13)  # 1×1 after four halvings
    net = ConvDecoder(4, shape, first=first, generator=seeded())
    z = torch.randn(5, 4, generator=seeded(1))
    assert net[0].weight.shape == (first, 4)
    assert torch.allclose(net(z), plain(net)(z), atol=1e-5)
    same = ConvDecoder(4, shape, generator=seeded()).state_dict()
    assert all(torch.equal(v, same[k]) for k, v in net.state_dict().items()) == (first == 128)


def test_gradients_of_second_order():
    net = ConvDecoder(2, (3, 2), generator=seeded()).double()
    z = torch.randn(2, 2, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (z,))
    assert torch.autograd.gradgradcheck(net, (z,))


@pytest.mark.parametrize("latent", ["bernoulli:50", "categorical:100", "gaussian:50"])
def test_parameters_of_the_paper_s_models(latent):
    model = model_for(latent, (28, 28))
    n_eta = {"bernoulli:50": 50, "categorical:100": 100, "gaussian:50": 100}[latent]
    n_code = {"bernoulli:50": 50, "categorical:100": 100, "gaussian:50": 50}[latent]
    steps = [(1, 32), (32, 64), (64, 64), (64, 128)]
    encoder = sum(9 * a * b + b for a, b in steps) + (128 * 2 * 2) * n_eta + n_eta
    decoder = n_code * (128 * 2 * 2) + 128 * 2 * 2 + sum(9 * a * b + a for a, b in steps)
    assert sum(p.numel() for p in model.encoder.parameters()) == encoder
    assert sum(p.numel() for p in model.decoder.parameters()) == decoder


# --- the model's split gradients and the estimators ------------------------------------------


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("weights", ["alike", "different"])
def test_one_pass_gives_the_gradients_of_two(likelihood, weights):
    model = model_for(likelihood=likelihood).double()
    reference = copy.deepcopy(model)
    x = torch.rand(4, 30, generator=seeded(1), dtype=torch.float64)
    z = torch.randint(0, 2, (2, 4, 5), generator=seeded(2)).double()
    weight = torch.full((2, 4), -0.125).double()
    if weights == "different":
        weight = torch.linspace(-1, 1, 8).reshape(2, 4).double()
    value, grad = model.log_likelihood(x).value_and_grad(z)
    (weight * value).sum().backward()

    leaf = z.clone().requires_grad_()
    expected = reference.log_likelihood(x)(leaf)
    (expected_grad,) = torch.autograd.grad(expected.sum(), leaf, retain_graph=True)
    (weight * expected).sum().backward()
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(grad, expected_grad, atol=1e-12)
    pairs = zip(model.decoder.parameters(), reference.decoder.parameters(), strict=True)
    for ours, theirs in pairs:
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


def test_frozen_likelihood_reaches_z_but_not_the_decoder():
    model = model_for()
    x, z = torch.rand(3, 30, generator=seeded(1)), torch.ones(1, 3, 5, requires_grad=True)
    model.log_likelihood(x).frozen()(z).sum().backward()
    assert z.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    _, grad = model.log_likelihood(x).frozen().value_and_grad(z.detach())
    assert torch.allclose(grad, z.grad)


def test_exact_sums():
    model = model_for("categorical:7").double()
    x = torch.rand(4, 30, generator=seeded(1), dtype=torch.float64)
    eta, f = model.eta(x), model.log_likelihood(x)
    estimate = Exact()(model.family, eta, f, generator=seeded())
    states = model.family.enumerate().double().unsqueeze(1).expand(7, 4, 1, 7)
    assert torch.allclose(f.table(), f(states).T, atol=1e-12)
    expected = (eta.squeeze(1).softmax(-1) * f(states).T).sum(1)
    assert torch.allclose(estimate.value, expected, atol=1e-12)
    parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
    ours = torch.autograd.grad(estimate.surrogate.sum(), parameters, retain_graph=True)
    theirs = torch.autograd.grad(expected.sum(), parameters)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


CASES = [
    (name, latent)
    for latent in ("bernoulli:5", "categorical:4", "gaussian:3")
    for name, cls in ESTIMATORS.items()
    if latent.split(":")[0] in cls().kinds
]


@pytest.mark.parametrize(("name", "latent"), CASES)
def test_every_estimator_reaches_every_weight(name, latent):
    model = model_for(latent)
    x = torch.rand(6, 30, generator=seeded(1))
    member = make_estimator(name, kind=model.family.spec.kind)
    if hasattr(member, "prepare"):
        member.prepare(model.family, model.eta(x[:1]).detach())
    objective = multi_sample if name == "vimco" else elbo
    objective(model, x, member, generator=seeded()).loss.backward()
    for parameter in [*model.encoder.parameters(), *model.decoder.parameters()]:
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


# --- whole runs ------------------------------------------------------------------------------

LATENTS = {"cnn-bvae": "bernoulli:50", "cnn-cvae": "categorical:100", "cnn-gvae": "gaussian:50"}
QUICK = ("--lr", "0.002", "--seed", "3", "--batch-size", "250")


def metrics_of(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k} for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two epochs of every preset on digits. Do not change them."""
    folder = tmp_path_factory.mktemp("cnn")
    for name in LATENTS:
        args = ["train", "--preset", name, "--epochs", "2", *QUICK, "--out", folder / name]
        assert call([str(arg) for arg in args]) == 0
    return folder


@pytest.mark.parametrize("name", LATENTS)
def test_two_epochs_improve_the_elbo(name, runs):
    first, second = metrics_of(runs / name)
    assert second["test_elbo"] > first["test_elbo"] + first["test_elbo_se"]
    assert second["loss"] < first["loss"]
    config = load_run(runs / name).config.model
    assert (config.network, config.hidden) == ("cnn", None)
    assert str(config.latent) == LATENTS[name]


@pytest.mark.parametrize("name", ["cnn-bvae", "cnn-cvae"])
def test_a_resumed_run_is_the_same_to_the_bit(name, runs, tmp_path):
    part, whole = tmp_path / "part", tmp_path / "whole"
    shutil.copytree(runs / name, part)
    config = dataclasses.replace(load_run(part).config.training, epochs=3)
    data, before = load_data("digits"), torch.random.get_rng_state()
    for folder in (part, whole):
        model = DiscreteVAE.for_data(data, preset_name=name, seed=99)
        if folder == whole:
            model = DiscreteVAE(model.config, generator=generator_for(config.seed, "weights"))
        train(model, data, config, out=folder, resume=folder == part)
    assert torch.equal(before, torch.random.get_rng_state())
    for files in (lambda folder: folder / "model.safetensors", lambda run: state_paths(run)[0]):
        own, other = (read_tensors(files(folder))[0] for folder in (part, whole))
        assert own.keys() == other.keys()
        assert all(torch.equal(tensor, other[key]) for key, tensor in own.items())
    assert metrics_of(part) == metrics_of(whole)


@pytest.mark.parametrize("name", LATENTS)
def test_every_command_takes_such_a_run(name, runs, cli, tmp_path):
    run = runs / name
    result = json.loads(cli("evaluate", run, "--samples", "5", "--json").out)
    assert result["elbo"]["value"] <= result["bound"]["value"]
    assert (result["log_px"] is not None) == (name == "cnn-cvae")
    for args in (
        ("encode", run, "--out", tmp_path / "codes.npy"),
        ("decode", run, tmp_path / "codes.npy", "--out", tmp_path / "decoded.npy"),
        ("decode", run, tmp_path / "codes.npy", "--out", tmp_path / "decoded.png"),
        ("sample", run, "--n", "4", "--out", tmp_path / "samples.npy"),
        ("reconstruct", run, "--n", "4", "--out", tmp_path / "reconstructed.npy"),
    ):
        status, _, err = cli(*args)
        assert (status, err) == (0, "")
    width = {"cnn-bvae": 7, "cnn-cvae": 1, "cnn-gvae": 50}[name]
    assert np.load(tmp_path / "codes.npy").shape == (1797, width)
    assert np.load(tmp_path / "decoded.npy").shape == (1797, 8, 8)
    assert np.load(tmp_path / "samples.npy").shape == (4, 8, 8)
    assert (tmp_path / "decoded.png").read_bytes().startswith(b"\x89PNG")


def test_compare_takes_the_presets(cli, tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).random((40, 3, 4)))
    args = ("--preset", "cnn-cvae", "--latent", "categorical:3", "--data", tmp_path / "mine.npy")
    more = ("--estimators", "exact,rloo", "--epochs", "1", "--repeats", "8")
    status, _, err = cli("compare", *args, *more, "--out", tmp_path / "new")
    assert (status, err) == (0, "")
    assert "\ncnn, bernoulli likelihood" in (tmp_path / "new/comparison.md").read_text()
    assert json.loads((tmp_path / "new/comparison.json").read_text())


def test_a_file_of_rectangles(tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", np.random.default_rng(0).random((40, 9, 13)))
    quick = ("--latent", "bernoulli:3", "--epochs", "1", "--out", "run")
    assert cli("train", "--preset", "cnn-bvae", "--data", "mine.npy", *quick).status == 0
    assert load_run("run").model.reconstruct(torch.rand(2, 117)).shape == (2, 117)


# --- configuration ---------------------------------------------------------------------------


def test_a_configuration_from_before_there_was_a_choice():
    values = to_dict(RunConfig(model=ModelConfig(n_features=64, hidden=(8,))))
    del values["model"]["network"]
    config = run_config_from(json.loads(json.dumps(values)))
    assert (config.model.network, config.model.hidden) == ("mlp", (8,))


def test_a_configuration_goes_through_json():
    model = ModelConfig(n_features=20, network="cnn", image_shape=(4, 5))
    config = RunConfig(model=model)
    assert run_config_from(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"network": "rnn"}, r"`network` 'rnn' is unknown. Did you mean cnn\? Choices: mlp, cnn."),
        ({"network": "cnn", "hidden": (8,)}, r"`hidden` must be left out .* Got \(8,\)"),
        ({"network": "cnn", "hidden": ()}, r"`hidden` must be left out .* Got \(\)"),
        ({"network": "cnn", "image_shape": None}, "a cnn needs .* pictures. Got rows of 4 values"),
        ({"network": "cnn", "image_shape": (-2, -2)}, r"`image_shape` must be two ints >= 1"),
        ({"network": "cnn", "image_shape": (2, 2, 1)}, r"`image_shape` must be two ints >= 1"),
        ({"network": "cnn", "image_shape": (2, 2, 5)}, "or three of which the last is 2 to 4"),
        ({"hidden": (0,)}, r"`hidden` must be ints >= 1. Got \(0,\)"),
    ],
    ids=str,
)
def test_wrong_values(values, says):
    with pytest.raises(ConfigError, match=says):
        ModelConfig(**{"n_features": 4, "image_shape": (2, 2)} | values)


def test_rows_that_are_no_pictures():
    rows = Rows.from_array(np.random.default_rng(0).random((10, 12)))
    data = Dataset("mine", rows, rows)
    with pytest.raises(ConfigError, match="a cnn needs rows that are pictures"):
        DiscreteVAE.for_data(data, preset_name="cnn-bvae")
    assert DiscreteVAE.for_data(data).config.hidden == (1024,)


def test_pictures_beyond_memory_leave_no_folder(tmp_path):
    rows = Rows.from_array(np.zeros((10, 2, 2)))
    model = ModelConfig(n_features=10**18, network="cnn", image_shape=(10**9, 10**9))
    huge = RunConfig(model=model, training=TrainConfig(epochs=1))
    with pytest.raises(ConfigError, match="latent bernoulli:50 cannot be made"):
        run_all(Dataset("mine", rows, rows), huge, out=tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
