"""Residual convolutional models and grids of codes: exact properties, then all a model is for."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from discretevae.cli import call
from discretevae.codes.packing import encode_rows
from discretevae.config import LatentSpec, ModelConfig, RunConfig, run_config_from, to_dict
from discretevae.data import Rows, load_data
from discretevae.errors import ConfigError
from discretevae.estimators import make_estimator
from discretevae.evaluation.bounds import evaluate
from discretevae.explorer.answers import Explorer
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.layers import output_bias
from discretevae.networks.resnet import (
    Doubling,
    ResidualBlock,
    ResNetDecoder,
    ResNetEncoder,
    level_sizes,
)
from discretevae.objectives import elbo
from discretevae.run_folder.saved_run import Run, load_run
from discretevae.system.randomness import generator_for
from discretevae.system.tensor_files import read_tensors
from discretevae.training import train


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def enliven(network):
    """Give the blocks, which begin as the identity, something to do."""
    for layer in network.modules():
        if isinstance(layer, ResidualBlock):
            nn.init.constant_(layer.gain, 0.7)
    return network


def model_for(latent="bernoulli:2@3x3", shape=(6, 5), width=6, **options):
    config = ModelConfig(
        n_features=math.prod(shape), latent=latent, network="resnet", image_shape=shape,
        width=width, **options,
    )  # fmt: skip
    return enliven(DiscreteVAE(config, generator=seeded()))


# --- the layers ------------------------------------------------------------------------------

SHAPES = [
    ((32, 32, 3), (8, 8)), ((28, 28), (7, 7)), ((9, 13), (5, 7)), ((9, 13, 2), (2, 2)),
    ((33, 17, 4), (3, 2)), ((32, 20, 3), None), ((5, 5), None), ((1, 7), (1, 2)), ((1, 1), (1, 1)),
    ((2, 64), (1, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "grid"), SHAPES, ids=str)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_shapes_of_any_size_and_number_of_channels(shape, grid, n_channels):
    n_pixels, n_places = math.prod(shape), math.prod(grid or (1, 1))
    how = {"grid": grid, "width": 5, "depth": 2, "generator": seeded()}
    encoder = ResNetEncoder(shape, 3 * n_places, **how)
    decoder = ResNetDecoder(2 * n_places, shape, n_channels=n_channels, **how)
    h = encoder(torch.rand(4, n_pixels, generator=seeded(1)))
    assert h.shape == (4, 3 * n_places)
    output = decoder(torch.rand(4, 2 * n_places, generator=seeded(1)))
    assert output.shape == (4, n_channels * n_pixels)
    assert output.isfinite().all()
    channels = n_channels * math.prod(shape[2:])
    assert output_bias(decoder).shape == (channels,)
    n_blocks = sum(isinstance(layer, ResidualBlock) for layer in encoder)
    assert n_blocks == 2 * (len(level_sizes(shape, grid)) - 1) > 0


def test_pixels_places_and_channels_stand_in_the_documented_order():
    """A picture of one value a pixel and channel, through networks that only copy."""
    encoder = ResNetEncoder((4, 6, 3), 2 * 3 * 3, grid=(2, 3), width=3)
    picture = torch.arange(4 * 6 * 3.0).reshape(4, 6, 3)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        first, last = encoder[1], encoder[-2]
        for c in range(3):
            first.weight[c, c, 1, 1] = 1  # the pixel in the middle
            last.weight[c, c] = 1
        codes = encoder(picture.reshape(1, -1))
    assert torch.equal(codes.reshape(2, 3, 3), picture[::2, ::2])

    decoder = ResNetDecoder(2 * 3, (4, 6, 3), n_channels=2, grid=(2, 3), width=2)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
        decoder[1].weight[0, 0, 1, 1] = 1
        decoder[-2].weight[0] = 1  # every output is the sum of the places that reach it
        decoder[-2].bias.copy_(torch.arange(6.0))
        at = torch.zeros(2, 3)
        at[1, 0] = 100
        output = decoder(at.reshape(1, -1)).reshape(2, 4, 6, 3)
    # the bias of the likelihood's channel a and the color c is 3a + c
    assert torch.equal(output % 100, torch.arange(6.0).reshape(2, 1, 1, 3).expand(2, 4, 6, 3))
    touched = (output[0, :, :, 0] >= 100).float()
    expected = torch.zeros(4, 6)
    expected[1:, :3] = 1  # 2·1 − 1 … 2·1 + 2 from above, −1 … 2 from the left, within the picture
    assert torch.equal(touched, expected)


def test_a_place_sees_the_pixels_near_it_and_no_others():
    """Two halvings and a block of two 3×3 after each: ±1 ±2·2 ±2 ±4·2 = 15 pixels around 4·i."""
    net = enliven(ResNetEncoder((32, 32), 64, grid=(8, 8), width=8, generator=seeded())).double()
    x = torch.rand(1, 32 * 32, generator=seeded(1), dtype=torch.float64)
    grid = net(x).reshape(8, 8)
    for row, column in ((0, 0), (9, 30), (16, 16)):
        changed = x.clone()
        changed[0, 32 * row + column] += 1
        places = 4.0 * torch.arange(8)
        near = ((places - row).abs() <= 15)[:, None] & ((places - column).abs() <= 15)[None]
        moved = net(changed).reshape(8, 8) != grid
        assert not moved[~near].any()
        assert moved.any()
        assert not near.all()


def test_a_row_does_not_see_the_others():
    model = model_for().double()
    x = torch.rand(5, 30, generator=seeded(1), dtype=torch.float64)
    assert torch.allclose(model.eta(x)[2:3], model.eta(x[2:3]), atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 2), (4, 3, 2)], ids=str)
@pytest.mark.parametrize("grid", [(2, 1), None], ids=str)
def test_gradients_of_both_orders_are_right(shape, grid):
    grid = grid and level_sizes(shape, grid=None)[1]
    n_places = math.prod(grid or (1, 1))
    for net, n_in in (
        (ResNetEncoder(shape, n_places, grid=grid, width=2, generator=seeded()), math.prod(shape)),
        (ResNetDecoder(n_places, shape, grid=grid, width=2, generator=seeded()), n_places),
    ):
        net = enliven(net).double()
        x = torch.randn(2, n_in, generator=seeded(1), dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(net, (x,))
        assert torch.autograd.gradgradcheck(net, (x,))
        x = x.detach()
        parameters = {n: p.detach().requires_grad_() for n, p in net.named_parameters()}

        def of_weights(*values, net=net, names=tuple(parameters), x=x):
            return torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x,))

        assert torch.autograd.gradcheck(of_weights, tuple(parameters.values()))


def test_blocks_begin_as_the_identity_and_learn():
    block = ResNetEncoder((4, 4), 4, grid=(2, 2), width=3, generator=seeded())[2]
    h = torch.randn(2, 3, 4, 4, generator=seeded(1))
    assert torch.equal(block(h), h)
    block(h).square().sum().backward()
    assert block.gain.grad.abs() > 0
    nn.init.constant_(block.gain, 0.1)
    block(h).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in block.parameters())


@pytest.mark.parametrize("size", [(6, 4), (5, 4), (6, 3), (5, 3)], ids=str)
def test_a_doubling_is_torch_s_transposed_convolution_cut_to_size(size):
    layer = Doubling(2, 3, size)
    plain = nn.ConvTranspose2d(2, 3, 4, 2, 1)
    plain.load_state_dict(layer.state_dict())
    h = torch.randn(2, 2, 3, 2, generator=seeded())
    assert torch.allclose(layer(h), plain(h)[..., : size[0], : size[1]], atol=1e-6)


def test_memory_is_that_of_pixels_side_by_side():
    """In torch's usual order 64 pictures of 32×32 there and back take 1.1 times as long."""
    net = ResNetEncoder((8, 8, 3), 16, grid=(4, 4), width=4)
    h = net[:3](torch.rand(2, 192))
    assert h.is_contiguous(memory_format=torch.channels_last)


def test_the_same_generator_gives_the_same_weights_and_torch_s_state_is_untouched():
    before = torch.random.get_rng_state()
    a, b = (model_for().state_dict() for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(value, b[name]) for name, value in a.items())


# --- the model -------------------------------------------------------------------------------

GRIDS = ["bernoulli:2@3x3", "categorical:4@3x3", "categorical:2x4@3x3", "gaussian:1@3x3"]


@pytest.mark.parametrize("latent", GRIDS)
@pytest.mark.parametrize("likelihood", ["bernoulli", "beta-binomial", "logistic:2"])
def test_every_kind_of_grid_and_likelihood_trains_encodes_and_decodes(latent, likelihood):
    model = model_for(latent, likelihood=likelihood)
    family = model.family
    x = torch.randint(0, 256, (4, 30), generator=seeded(1)) / 255
    codes = model.encode(x)
    assert codes.shape == (4, family.n_variables)
    assert family.n_variables == model.config.latent.n_variables
    assert model.decode(codes).shape == (4, 30)
    name = {"bernoulli": "disarm", "categorical": "reinmax", "gaussian": "reparametrized"}
    estimator = make_estimator(name[family.spec.kind], kind=family.spec.kind)
    elbo(model, x, estimator, generator=seeded()).loss.backward()
    for parameter in model.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("likelihood", ["logistic", "color-logistic:2", "gaussian:0.1"])
def test_pictures_in_color(likelihood):
    model = model_for("bernoulli:2@3x3", (6, 5, 3), likelihood=likelihood)
    x = torch.randint(0, 256, (4, 90), generator=seeded(1)) / 255
    assert model.encode(x).shape == (4, 18)
    assert model.reconstruct(x).shape == (4, 90)
    assert model.log_likelihood(x)(torch.ones(2, 4, 18)).shape == (2, 4)
    nn.init.zeros_(model.decoder[-2].weight)
    mean = torch.tensor([0.2, 0.5, 0.7]).repeat(30)
    model.start_at(mean)
    found = model.decode(model.encode(x)).reshape(-1, 3)
    assert torch.allclose(found, mean[:3].expand_as(found), atol=0.01)


@pytest.mark.parametrize(
    ("latent", "quantizer", "n"),
    [("categorical:2x8@3x3", "vector:5", 10), ("bernoulli:2@3x3", "signs", 2),
     ("bernoulli:2@3x3", "sphere", 2)],
)  # fmt: skip
def test_quantizers_meet_the_numbers_of_a_place(latent, quantizer, n):
    model = model_for(latent, quantizer=quantizer)
    assert model.encoder.network[-2].out_channels == n
    assert model.decoder.network[1].in_channels == n
    x = torch.rand(3, 30, generator=seeded(1))
    codes = model.encode(x)
    assert codes.shape == (3, 18)
    assert model.decode(codes).shape == (3, 30)
    # the code of a place changes near the place: 3×3, a block, and a transposed 4×4 reach ±3
    moved = codes.clone()
    moved[:, 0] = 1 - moved[:, 0].clamp(max=1)
    far = (model.decode(moved) == model.decode(codes)).reshape(3, 6, 5)
    assert not far[:, 0, 0].any()


@pytest.mark.parametrize("latent", ["bernoulli:2@3x3", "bernoulli:7"])
def test_a_start_at_the_mean(latent):
    model = model_for(latent, likelihood="beta-binomial")
    mean = torch.linspace(0.1, 0.3, 30)
    nn.init.zeros_(model.decoder[-2].weight)
    model.start_at(mean)
    assert torch.allclose(model.decode(model.encode(mean[None])), mean.mean(), atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (4, 2), (6, 1)], ids=str)
def test_bfloat16_is_near_float32(shape):
    model = model_for("bernoulli:2@1x1", shape)
    x = torch.rand(8, math.prod(shape), generator=seeded(1))
    exact = model.eta(x), model.output(torch.ones(8, 2))
    model.product_dtype = torch.bfloat16
    for own, other in zip((model.eta(x), model.output(torch.ones(8, 2))), exact, strict=True):
        assert own.dtype == torch.float32
        assert torch.allclose(own, other, atol=0.05 * other.abs().max().item())


def test_configurations_keep_grids_and_defaults():
    config = RunConfig(model=model_for().config)
    again = run_config_from(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert again.model.latent.grid == (3, 3)
    plain = ModelConfig(n_features=30, network="resnet", image_shape=(6, 5))
    assert (plain.init, plain.width, plain.depth, plain.hidden) == ("glorot", 64, 1, None)
    assert plain != dataclasses.replace(plain, latent="bernoulli:50@1x1")
    own = DiscreteVAE(plain, encoder=nn.Linear(30, 50), decoder=nn.Linear(50, 30)).config
    assert (own.network, own.width, own.depth) == ("custom", None, None)
    assert ModelConfig(n_features=30, network="cnn", image_shape=(6, 5)).init == "he"
    assert ModelConfig(n_features=30).init == "torch"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"latent": "bernoulli:2@4x4"}, "6x5 leads to grids of 3x3, 2x2, 1x1. Choose one"),
        ({"latent": "bernoulli:2@12x10"}, "leads to grids of"),
        ({"latent": "bernoulli:2@6x5"}, "leads to grids of"),
        ({"hidden": (3,)}, "`hidden` must be left out for network resnet"),
        ({"activation": "tanh"}, "`activation` must be left out for a resnet"),
        ({"width": 0}, "`width` must be an int from 1"),
        ({"depth": 0}, "`depth` must be an int from 1"),
        ({"image_shape": None}, "a resnet needs rows that are pictures"),
        ({"network": "mlp"}, "is a grid, whose places network mlp does not keep"),
        ({"network": "cnn"}, "is a grid, whose places network cnn does not keep"),
        (
            {"network": "mlp", "latent": "bernoulli:2", "width": 3},
            "`width` must be left out for network mlp",
        ),
        (
            {"network": "cnn", "latent": "bernoulli:2", "depth": 3},
            "`depth` must be left out for network cnn",
        ),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(options, said):
    given = {
        "n_features": 30, "network": "resnet", "latent": "bernoulli:2@3x3", "image_shape": (6, 5),
    }  # fmt: skip
    with pytest.raises(ConfigError, match=said) as caught:
        ModelConfig(**given | options)
    assert len(caught.value.problems) == 1


# --- whole runs ------------------------------------------------------------------------------

SMALL = (
    "--network", "resnet", "--latent", "bernoulli:2@4x4", "--width", "8", "--depth", "2",
    "--batch-size", "250", "--lr", "0.01", "--seed", "3",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two epochs on digits. Do not change it."""
    folder = tmp_path_factory.mktemp("resnet") / "run"
    assert call(["train", *SMALL, "--epochs", "2", "--out", str(folder)]) == 0
    return folder


def test_a_run_learns_and_is_loaded(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first, second = lines
    assert second["test_elbo"] > first["test_elbo"] + first["test_elbo_se"]
    config = load_run(run).config.model
    assert (config.network, config.width, config.depth, config.init) == ("resnet", 8, 2, "glorot")
    assert (str(config.latent), config.latent.grid) == ("bernoulli:2@4x4", (4, 4))


def test_a_resumed_run_is_the_same_to_the_bit(run, tmp_path):
    part, whole = tmp_path / "part", tmp_path / "whole"
    shutil.copytree(run, part)
    loaded = load_run(part).config
    config, data = dataclasses.replace(loaded.training, epochs=3), load_data("digits")
    for folder in (part, whole):
        model = DiscreteVAE(loaded.model, generator=generator_for(config.seed, "weights"))
        train(model, data, config, out=folder, resume=folder == part)
    own, other = (read_tensors(folder / "model.safetensors")[0] for folder in (part, whole))
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)


def test_the_command_line_resumes_a_run_of_a_network_that_is_not_the_preset_s(run, tmp_path, cli):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    given = ("train", *SMALL, "--preset", "fc-bvae", "--resume", folder)
    assert cli(*given, "--epochs", "2").status == 0
    refused = cli(*given, "--width", "9")
    assert refused.status == 2
    assert "--width is 8" in refused.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--latent", "bernoulli:2@5x5"), "halving pictures of 8x8 leads to grids of 4x4, 2x2"),
        (("--latent", "bernoulli:2@16x16"), "leads to grids of"),
        (("--latent", "bernoulli:2@4"), "a grid must be HEIGHTxWIDTH. Got '4'"),
        (("--latent", "bernoulli:2@4x4+categorical:3"), "no part of several can be a grid"),
        (("--network", "cnn"), "whose places network cnn does not keep. Choose --network resnet"),
        (("--hidden", "20"), "--hidden must be left out for network resnet"),
        (("--width", "0"), "--width must be an int from 1"),
    ],
    ids=str,
)
def test_the_command_line_refuses_in_one_line(options, said, cli, tmp_path):
    refused = cli("train", *SMALL, *options, "--epochs", "1", "--out", tmp_path / "run")
    assert refused.status == 2
    assert said in refused.err
    assert len(refused.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("network", "latent"),
    [("resnet", "bernoulli:2@3x3"), ("cnn", "bernoulli:18"), ("mlp", "bernoulli:18")],
)
def test_the_command_line_knows_colors_before_it_reads_the_data(network, latent, cli, tmp_path):
    values = torch.randint(0, 256, (40, 6, 6, 3), generator=seeded(), dtype=torch.uint8)
    np.save(tmp_path / "colors.npy", values.numpy())
    done = cli(
        "train", "--data", tmp_path / "colors.npy", "--network", network, "--epochs", "1",
        "--latent", latent, "--likelihood", "color-logistic:2", "--out",
        tmp_path / "run",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert load_run(tmp_path / "run").config.model.image_shape == (6, 6, 3)


def test_codes_are_packed_searched_evaluated_and_decoded(run, cli, tmp_path):
    model, data = load_run(run).model, load_data("digits")
    packed = encode_rows(model, data.test)
    assert packed.shape == (len(data.test), 4)  # 32 bits
    bits = model.encode(data.test.batch(slice(None))).numpy()
    assert np.array_equal(np.unpackbits(packed, axis=1), bits)
    for command in (
        ("evaluate", run, "--json"),
        ("encode", run, "--out", tmp_path / "codes.npy"),
        ("sample", run, "--out", tmp_path / "samples.png"),
        ("reconstruct", run, "--out", tmp_path / "pictures.png"),
        ("index", run, "--out", tmp_path / "codes.index"),
        ("search", tmp_path / "codes.index", "--run", run, "--json"),
    ):
        assert cli(*command).status == 0, command
    refused = cli("compress", run, "--out", tmp_path / "small.dvz")
    assert refused.status == 2
    assert "knows no way to do so for ResidualBlock" in refused.err
    assert len(refused.err.strip().splitlines()) == 1


@pytest.mark.parametrize("latent", ["bernoulli:2@3x3", "categorical:2x4@3x3"])
def test_use_of_the_code_counts_the_variables_of_all_places(latent):
    model = model_for(latent)
    with torch.no_grad():
        model.encoder[-2].weight.mul_(5)
    rows = Rows.from_array(torch.rand(40, 6, 5, generator=seeded(1)).numpy())
    found = evaluate(model, rows, samples=2).usage
    mean = model.family.mean(model.eta(rows.batch(slice(None)))).detach().reshape(40, 18, -1)
    expected = int((mean.var(0, correction=0).sum(-1) > 0.01).sum())
    assert found.active_units == expected > 0
    assert found.codes_used == len(model.encode(rows).unique(dim=0)) > 1


@pytest.mark.parametrize("latent", GRIDS)
def test_the_explorer_shows_every_variable_of_a_grid(latent):
    model = model_for(latent).eval()
    rows = Rows.from_array(torch.rand(12, 6, 5, generator=seeded(1)).numpy())
    run = Run(Path("runs/mine"), RunConfig(model=model.config), model)
    explorer = Explorer(run, rows, source="rows", split="test")
    n_variables = model.config.latent.n_variables
    assert explorer.model()["latent"] == latent
    places = [explorer.overview(place)["variables"] for place in range(explorer.n_places)]
    shown = [one["index"] for of_place in places for one in of_place]
    assert shown == list(range(n_variables))
    assert len(explorer.variables) == n_variables
    code = explorer.encode_row(0)["code"]
    assert len(code) == n_variables
    assert explorer.decode([code])


def test_a_grid_takes_a_resnet_where_no_network_is_named(cli, tmp_path):
    """Also beside a preset of other networks, and when such a run is resumed."""
    for more in ((), ("--preset", "cnn-bvae", "--resume")):
        done = cli(
            "train", "--latent", "bernoulli:1@2x2", "--width", "4", "--epochs", "1",
            "--batch-size", "500", "--out", tmp_path / "run", *more,
        )  # fmt: skip
        assert done.status == 0, done.err
    assert load_run(tmp_path / "run").config.model.network == "resnet"
    for latent, network in (("bernoulli:2@4x4", "resnet"), ("bernoulli:2", "mlp")):
        model = DiscreteVAE.for_data(load_data("digits"), latent=latent)
        assert model.config.network == network
    named = DiscreteVAE.for_data(load_data("digits"), latent="bernoulli:2", network="resnet")
    assert named.config.network == "resnet"


def test_places_of_a_spec():
    spec = LatentSpec.of("categorical:4x16@8x6")
    assert (spec.n_places, spec.variables_per_place, spec.n_variables) == (48, 4, 192)
    flat = LatentSpec.of("categorical:4x16")
    assert (flat.grid, flat.n_places, flat.variables_per_place) == (None, 1, 4)
