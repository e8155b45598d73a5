"""An encoder and a decoder of one's own do all that the package's do, and are asked for."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import nn

from discretevae.codes.compression.files import compress, decompress
from discretevae.codes.packing import encode_rows
from discretevae.config import ModelConfig, RunConfig, SaveEvery, TrainConfig
from discretevae.data import load_data
from discretevae.errors import ConfigError, RunError
from discretevae.evaluation.bounds import evaluate
from discretevae.experiments.refit import refit_prior
from discretevae.experiments.run import run
from discretevae.explorer.answers import Explorer
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.mlp import MLP
from discretevae.run_folder.history import read_metrics
from discretevae.run_folder.saved_run import load_run
from discretevae.sharing.hub import from_pretrained, save_pretrained
from discretevae.sharing.onnx import export_onnx
from discretevae.training import train

SHAPES = {"bernoulli:6": (6, 6), "categorical:2x3": (6, 6), "gaussian:3": (6, 3),
          "bernoulli:4+gaussian:2": (8, 6)}  # fmt: skip
"""n_eta and n_code of each code."""


class Encoder(nn.Module):
    """With statistics of its batches, as a buffer that no gradient moves."""

    def __init__(self, n_eta=6):
        super().__init__()
        self.first, self.last = nn.Linear(64, 24), nn.Linear(24, n_eta)
        self.normed = nn.BatchNorm1d(24)

    def forward(self, x):
        return self.last(F.silu(self.normed(self.first(x))))


class Decoder(nn.Module):
    """With weights that are used twice, and some that are not trained."""

    def __init__(self, n_code=6):
        super().__init__()
        self.first, self.hidden = nn.Linear(n_code, 24), nn.Linear(24, 24)
        self.again = nn.Linear(24, 24)
        self.again.weight = self.hidden.weight
        self.last = nn.Linear(24, 64)
        self.first.bias.requires_grad_(False)

    def forward(self, z):
        h = F.gelu(self.first(z))
        return self.last(F.gelu(self.again(F.gelu(self.hidden(h)))))


def modules(latent="bernoulli:6", seed=0):
    """The same weights at every call."""
    n_eta, n_code = SHAPES[latent]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {"encoder": Encoder(n_eta), "decoder": Decoder(n_code)}


def config(latent="bernoulli:6", **options):
    training = {"epochs": 3, "batch_size": 128, "lr": 0.01, "estimator": "disarm", "average": 0.9}
    return RunConfig(
        model=ModelConfig(n_features=64, latent=latent, image_shape=(8, 8)),
        training=TrainConfig(**training | options),
    )


def trained(folder, *, stop_at=None, **options):
    """The run in a folder, from the start or from where it stands; killed in its own process."""
    steps = []

    def count(progress):
        steps.append(progress)
        if len(steps) == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return run(
        load_data("digits"), config(), out=folder, resume=(folder / "config.json").exists(),
        samples=3, save_every=SaveEvery(seconds=None, steps=4), progress=count,
        **modules(), **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nobody disturbed. Do not change it."""
    folder = tmp_path_factory.mktemp("own") / "whole"
    trained(folder)
    return folder


@pytest.fixture
def digits():
    return load_data("digits")


def same(one, other):
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_killed_run_is_resumed_to_the_same_bits(finished, forked, tmp_path):
    killed = forked(trained_until_killed, tmp_path / "killed").end()
    assert killed.status == -signal.SIGKILL
    assert not (tmp_path / "killed" / "summary.json").exists()
    before = torch.random.get_rng_state()
    trained(tmp_path / "killed")
    assert torch.equal(before, torch.random.get_rng_state())
    whole, again = (load_run(f, **modules()).model for f in (finished, tmp_path / "killed"))
    assert same(whole, again)
    elbos = [metrics.test_elbo for metrics in read_metrics(tmp_path / "killed")]
    assert elbos == [metrics.test_elbo for metrics in read_metrics(finished)]
    assert elbos == sorted(elbos)


def trained_until_killed(folder):
    trained(folder, stop_at=17)


def test_a_run_records_that_its_modules_are_one_s_own(finished):
    saved = json.loads((finished / "config.json").read_text())["model"]
    assert (saved["network"], saved["hidden"]) == ("custom", None)
    assert not [path for path in finished.rglob("*") if path.suffix in (".py", ".pkl", ".pt")]


def test_evaluation_codes_explorer_and_onnx(finished, digits, tmp_path):
    opened = load_run(finished, **modules(seed=5))
    assert not opened.model.training
    assert opened.model.decoder.again.weight is opened.model.decoder.hidden.weight
    summary = json.loads((finished / "summary.json").read_text())
    found = evaluate(opened.model, digits.test, samples=3, seed=0)
    assert found.elbo.value == pytest.approx(summary["test"]["elbo"]["value"], rel=1e-6)
    assert len(encode_rows(opened.model, digits.test)) == len(digits.test)

    explorer = Explorer(opened, digits.test, source="digits", split="test")
    answer = explorer.encode_row(3)
    assert len(explorer.decode([answer["code"]])["pictures"]) == 1
    assert explorer.overview()
    assert len(explorer.sample(4, 1.0, 0)["pictures"]) == 4

    done = export_onnx(opened.model, tmp_path / "onnx", rows=digits.test.batch(slice(0, 50)))
    assert done.difference <= 1e-5
    assert not opened.model.training


def test_pretrained_folders_and_another_prior(finished, digits, tmp_path):
    opened = load_run(finished, **modules(seed=5))
    folder = save_pretrained(opened, tmp_path / "shared")
    assert same(from_pretrained(folder, **modules(seed=6)).model, opened.model)
    assert "encoder=encoder, decoder=decoder" in (folder / "README.md").read_text()
    with pytest.raises(RunError, match="modules of your own"):
        from_pretrained(folder)
    new = refit_prior(opened, digits, "factorized", out=tmp_path / "refitted", epochs=1, samples=2)
    assert same(load_run(new.folder, **modules()).model.encoder, opened.model.encoder)


def test_modules_are_asked_for(finished, cli):
    asked = r"modules of your own.*load_run\(path, encoder=…, decoder=…\)"
    for given in ({}, {"encoder": modules()["encoder"]}):
        with pytest.raises(RunError, match=asked):
            load_run(finished, **given)
    for command in (("evaluate", finished), ("train", "--resume", finished, "--epochs", "9")):
        status, out, err = cli(*command)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "encoder=…, decoder=…" in err
    with pytest.raises(RunError, match=r"encoder.0.bias is absent, but the model's is float32 .6."):
        load_run(finished, encoder=MLP([64, 6]), decoder=modules()["decoder"])
    with pytest.raises(ConfigError, match="network custom takes encoder and decoder from you"):
        DiscreteVAE(ModelConfig(n_features=64, network="custom"))


def test_a_run_with_the_package_s_networks_takes_no_others(trained):
    with pytest.raises(RunError, match=r"the package.s own mlp\. Leave `encoder`"):
        load_run(trained("bernoulli:16"), encoder=MLP([64, 16]), decoder=MLP([16, 64]))


@pytest.mark.parametrize("latent", SHAPES)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_every_code_is_trained_in_every_precision(latent, precision, digits):
    options = {"epochs": 2, "estimator": None, "average": None, "precision": precision}
    model = DiscreteVAE(config(latent).model, **modules(latent))
    history = train(model, digits, config(**options).training)
    assert history[-1].loss < history[0].loss
    untrained = modules(latent)["decoder"].first.bias
    assert torch.equal(model.decoder.first.bias, untrained)
    assert not torch.equal(model.encoder.first.bias, modules(latent)["encoder"].first.bias)


class Lost(nn.Module):
    def forward(self, x):
        raise KeyError("here\nand there")


class Pair(nn.Module):
    def forward(self, x):
        return x[:, :6], x


WRONG = [
    ("encoder", nn.Linear(64, 5), r"map \[B, 64\] to \[B, 6\], .*It maps \[2, 64\] to \[2, 5\]"),
    ("encoder", nn.Linear(63, 6), r"map \[B, 64\] to \[B, 6\], .*fails on \[2, 64\] \(mat1 and"),
    ("encoder", Pair(), r"It maps \[2, 64\] to a tuple"),
    ("encoder", Lost(), r"fails on \[2, 64\] \(.here"),
    ("encoder", 3, r"`encoder` must be a torch.nn.Module. Got int"),
    ("decoder", nn.Linear(6, 32), r"map \[B, 6\] to \[B, 64\], .* \[2, 6\] to \[2, 32\]"),
    ("decoder", nn.Sequential(nn.Linear(6, 64), nn.Flatten(0)), r"\[2, 6\] to \[128\]"),
    ("decoder", None, "both of them"),
]


@pytest.mark.parametrize(("name", "module", "words"), WRONG, ids=lambda value: str(value)[:20])
def test_wrong_shapes_are_told_at_once(name, module, words):
    with pytest.raises(ConfigError, match=words):
        DiscreteVAE(config().model, **modules() | {name: module})


def test_trying_a_module_changes_neither_it_nor_the_random_state():
    own = modules()
    own["encoder"] = nn.Sequential(nn.Dropout(), own["encoder"])
    own["encoder"][1].normed.eval()
    states = {name: {k: v.clone() for k, v in m.state_dict().items()} for name, m in own.items()}
    before = torch.random.get_rng_state()
    model = DiscreteVAE(config().model, **own)
    assert torch.equal(before, torch.random.get_rng_state())
    assert (model.encoder.training, model.encoder[1].normed.training) == (True, False)
    for name, module in own.items():
        state = module.state_dict()
        assert all(torch.equal(v, state[k]) for k, v in states[name].items())


def test_a_bias_to_start_at_is_known_of_sequences_alone(digits, tmp_path):
    with pytest.raises(ConfigError, match="`start='mean'` sets the bias of the decoder's last"):
        run(digits, config(start="mean"), out=tmp_path / "new", **modules())
    assert not (tmp_path / "new").exists()
    decoder = nn.Sequential(nn.Linear(6, 32), nn.ELU(), nn.Linear(32, 64))
    model = DiscreteVAE(config().model, encoder=Encoder(), decoder=decoder)
    model.start_at(torch.full((64,), 0.25))
    assert torch.allclose(decoder[-1].bias, torch.logit(torch.tensor(0.25)))


def test_compression_takes_sequences_of_known_layers_alone(digits):
    rows = np.asarray(digits.test.batch(slice(0, 5)) * 255).round().astype(np.uint8)
    options = ModelConfig(n_features=64, latent="bernoulli:6", likelihood="beta-binomial")
    decoder = nn.Sequential(nn.Linear(6, 9), nn.LeakyReLU(0.1), nn.Linear(9, 128))
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
    model = DiscreteVAE(options, encoder=encoder, decoder=decoder).eval()
    assert np.array_equal(decompress(model, compress(model, rows)), rows)
    for wrong in (
        nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 128)),
        nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 128)),
        nn.Sequential(nn.Linear(6, 128), nn.ReLU()),
    ):
        odd = DiscreteVAE(options, encoder=encoder, decoder=wrong).eval()
        with pytest.raises(ConfigError, match="compression computes networks in whole numbers"):
            compress(odd, rows)
