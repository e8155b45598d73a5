"""Lossless compression: exact round trips, files near the bound, and refusals of the rest."""

from __future__ import annotations

import builtins
import json
import math

import numpy as np
import pytest
import torch

from discretevae import (
    ConfigError,
    DataError,
    MissingExtraError,
    ModelConfig,
    TrainConfig,
    load_data,
    train,
)
from discretevae.codes.compression import bits_back, fixed_point, reproducible
from discretevae.codes.compression.files import compress, decompress
from discretevae.codes.compression.fixed_point import ExactConditionals, exact_network
from discretevae.codes.compression.pixels import beta_binomial_masses, logistic_masses
from discretevae.codes.fingerprints import fingerprint
from discretevae.config import Activation
from discretevae.data import Rows
from discretevae.families import Bernoulli, Categorical as Categories, Product
from discretevae.likelihoods import likelihood_named
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.convolutional import ConvDecoder, ConvEncoder
from discretevae.networks.mlp import MLP
from discretevae.priors import AutoregressivePrior
from discretevae.system.tensor_files import array_file, parse_arrays

P = 64
LIKELIHOODS = ("bernoulli", "beta-binomial", "logistic", "logistic:3")
LATENTS = (
    "bernoulli:6",
    "categorical:10",
    "categorical:3x4",
    "categorical:3+bernoulli:4",
    "bernoulli:20",
    "categorical:5x7",
    "categorical:3+bernoulli:14",
)
PRIORS = ("fixed", "factorized", "autoregressive:8,8", "autoregressive:linear")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fresh(latent="bernoulli:20", likelihood="bernoulli", prior="fixed", seed=0, **options):
    """An untrained model whose prior, too, is not what it starts from."""
    config = ModelConfig(
        **{"n_features": P, "hidden": (16,)}
        | options
        | {"latent": latent, "likelihood": likelihood, "prior": prior}
    )
    model = DiscreteVAE(config, generator=generator(seed))
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(generator=generator(seed + 1)))
    return model


def kinds_of_rows(top: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "noise": rng.integers(0, top + 1, (37, P)),
        "all zero": np.zeros((3, P), int),
        "all largest": np.full((3, P), top),
        "one row": rng.integers(0, top + 1, (1, P)),
    }


@pytest.fixture(scope="module")
def digits():
    """Rows of 0 and 1, ``[297, 64]``, and models trained on others of their kind for a moment."""
    data = load_data("digits")
    config = TrainConfig(epochs=4, lr=0.01, batch_size=50)
    made = {}

    def model(latent: str, prior: str = "fixed") -> DiscreteVAE:
        if (latent, prior) not in made:
            made[latent, prior] = fresh(latent, prior=prior, hidden=(32,))
            train(made[latent, prior], data.binarized("threshold"), config)
        return made[latent, prior]

    return model, (data.test.batch(slice(0, 297)) > 0.5).byte().numpy()


# --- round trips -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latent", "likelihood"),
    [
        *((latent, "bernoulli") for latent in LATENTS),
        *(("bernoulli:20", likelihood) for likelihood in LIKELIHOODS[1:]),
        *(("categorical:3+bernoulli:4", likelihood) for likelihood in LIKELIHOODS[1:]),
    ],
)
def test_every_row_comes_back_whatever_it_holds(latent, likelihood):
    model = fresh(latent, likelihood)
    for name, rows in kinds_of_rows(1 if likelihood == "bernoulli" else 255).items():
        back = decompress(model, compress(model, rows, lanes=5))
        assert back.dtype == np.uint8, name
        assert np.array_equal(back, rows), name


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("latent", LATENTS)
def test_every_row_comes_back_under_every_prior(latent, prior):
    model = fresh(latent, prior=prior)
    rows = kinds_of_rows(1)["noise"]
    assert np.array_equal(decompress(model, compress(model, rows)), rows)


@pytest.mark.parametrize("likelihood", ["bernoulli", "beta-binomial"])
def test_convolutional_models_give_every_row_back(likelihood):
    options = {"network": "cnn", "hidden": None, "image_shape": (8, 8)}
    model = fresh("bernoulli:20", likelihood, **options)
    rows = kinds_of_rows(1 if likelihood == "bernoulli" else 255)["noise"]
    assert np.array_equal(decompress(model, compress(model, rows)), rows)


@pytest.mark.parametrize("likelihood", ["logistic", "beta-binomial"])
def test_pictures_in_color_come_back(likelihood):
    options = {"n_features": 90, "network": "cnn", "hidden": None, "image_shape": (5, 6, 3)}
    model = fresh("bernoulli:20", likelihood, **options)
    rows = np.random.default_rng(0).integers(0, 256, (7, 90))
    assert np.array_equal(decompress(model, compress(model, rows)), rows)


@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky-relu:0.2"])
def test_every_activation_gives_every_row_back(activation):
    model = fresh(activation=activation, prior="autoregressive:8")
    rows = kinds_of_rows(1)["noise"]
    assert np.array_equal(decompress(model, compress(model, rows)), rows)


def test_a_model_that_is_sure_and_wrong_costs_more_and_loses_nothing():
    model = fresh("bernoulli:20", "beta-binomial")
    with torch.no_grad():
        for network in (model.encoder, model.decoder):
            for parameter in network.parameters():
                parameter.mul_(1e4)
    rows = kinds_of_rows(255)["noise"]
    assert np.array_equal(decompress(model, compress(model, rows)), rows)


def test_rows_of_every_type_mean_the_same(digits):
    model, k = digits[0]("bernoulli:6"), digits[1][:9]
    content = compress(model, k)
    for rows in (k.astype(bool), k.astype(np.float32), torch.from_numpy(k), Rows.from_array(k)):
        assert compress(model, rows) == content
    grey = np.where(k == 1, 200, 100)
    assert compress(model, Rows.from_array(grey).binarized("threshold")) == content
    assert compress(model, Rows.from_array(grey / 255).binarized("dynamic")) == content
    eight = fresh("bernoulli:6", "beta-binomial")
    assert compress(eight, grey) == compress(eight, (grey / 255).astype(np.float32))


# --- sizes -----------------------------------------------------------------------------------


def bits_of_payload(content: bytes) -> int:
    arrays, _ = parse_arrays(content)
    return 8 * sum(array.nbytes for array in arrays.values())


@pytest.mark.parametrize("prior", ["fixed", "factorized", "autoregressive:8"])
@pytest.mark.parametrize("latent", ["bernoulli:20", "categorical:5x7"])
def test_rows_cost_the_elbo(digits, latent, prior):
    # one draw of z for each of 297 rows: the ELBO of many draws is met within the noise of these
    model, k = digits[0](latent, prior), digits[1]
    value, q_draws = [], generator(3)
    x = torch.from_numpy(k).float()
    with torch.no_grad():
        eta = model.eta(x)
        z = model.family.sample(eta, 200, generator=q_draws)
        log_w = model.log_likelihood(x)(z) + model.prior.log_prob(z) - model.family.log_prob(eta, z)
        value = log_w.mean(0).sum().item()
        spread = log_w.var(0).sum().sqrt().item()
    bits = bits_of_payload(compress(model, k, lanes=1))
    # 5 standard deviations: a false alarm in 1.7 million; 200 bits for start and end of the stack
    assert abs(bits + value / math.log(2) - 100) < 5 * spread / math.log(2) + 100
    # the check sees a coder that does not get its bits back
    entropy = model.family.entropy(eta).sum().item() / math.log(2)
    assert entropy > 5 * spread / math.log(2) + 200


@pytest.mark.parametrize("likelihood", LIKELIHOODS[1:])
def test_bytes_cost_what_the_likelihood_says(likelihood):
    model = fresh("categorical:10", likelihood)
    rows = np.random.default_rng(1).integers(0, 256, (50, P))
    x = torch.from_numpy(rows / 255).float()
    with torch.no_grad():
        log_q = model.family.log_prob_table(model.eta(x))
        log_joint = model.likelihood.table(model.output(model.family.enumerate()), x)
        log_w = log_joint + model.prior.log_prob_table() - log_q
        elbo = (log_q.exp() * log_w).sum(1)
        variance = (log_q.exp() * (log_w - elbo.unsqueeze(1)).square()).sum(1)
    bound = -elbo.sum().item() / math.log(2)
    # 5 standard deviations of one draw of z for each row: a false alarm in 1.7 million
    room = 5 * variance.sum().sqrt().item() / math.log(2)
    bits = bits_of_payload(compress(model, rows, lanes=1))
    # far tails of the logistic lie below the coder's least probability, where the file is shorter
    assert bits < bound * 1.002 + 160 + room
    assert likelihood != "beta-binomial" or bits > bound * 0.999 - room
    assert room < 0.01 * bound


# --- what decoding does not depend on ----------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["bernoulli", "beta-binomial"])
def test_threads_do_not_matter(likelihood):
    model = fresh("bernoulli:20", likelihood, "autoregressive:8", hidden=(300, 300))
    rows = kinds_of_rows(1 if likelihood == "bernoulli" else 255)["noise"]
    before = torch.get_num_threads()
    try:
        contents = []
        for threads in (1, 4):
            torch.set_num_threads(threads)
            contents.append(compress(model, rows, lanes=3))
        assert len(set(contents)) == 1
        torch.set_num_threads(2)
        assert np.array_equal(decompress(model, contents[0]), rows)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("lanes", [1, 2, 36, 37, 4096])
def test_lanes_do_not_matter_to_the_rows(lanes):
    model, rows = fresh(prior="autoregressive:8"), kinds_of_rows(1)["noise"]
    assert np.array_equal(decompress(model, compress(model, rows, lanes=lanes)), rows)


def exact_pairs():
    bits = (torch.rand((40, 50), generator=generator(1)) < 0.5).double()
    k = torch.randint(0, 256, (40, 64), generator=generator(2)).double()
    for name in ("relu", "tanh", "leaky-relu:0.2"):
        activation = Activation.of(name)
        net = MLP([50, 300, 200, 10], generator=generator(), activation=activation)
        yield name, net, (0, 1.0, 1), bits
    yield "bytes", MLP([64, 300, 10], generator=generator()), (0, 1 / 255, 255), k
    yield "conv encoder", ConvEncoder((8, 8), 10, generator=generator()), (0, 1 / 255, 255), k
    decoder = ConvDecoder(50, (9, 13), n_channels=2, generator=generator())
    yield "conv decoder", decoder, (0, 1.0, 1), bits


@pytest.mark.parametrize(("net", "start", "x"), [p[1:] for p in exact_pairs()],
                         ids=[p[0] for p in exact_pairs()])  # fmt: skip
def test_whole_numbers_give_the_same_bits_in_any_order_of_summation(net, start, x):
    input_bits, scale, bound = start
    exact = exact_network(net, input_bits=input_bits, scale=scale, bound=bound)
    with torch.no_grad():
        whole = exact(x)
        one_by_one = torch.cat([exact(row.unsqueeze(0)) for row in x])
        assert torch.equal(whole, one_by_one)
        assert (whole - net((x * scale).float())).abs().max() < 2e-3
        # power: float32 products of the same network do differ, or this test sees nothing
        floats = torch.cat([net((row * scale).float().unsqueeze(0)) for row in x])
        assert not torch.equal(net((x * scale).float()), floats)


def test_an_mlp_is_what_unbounded_integers_make_of_it():
    net = MLP([50, 30, 7], generator=generator())
    x = (torch.rand((5, 50), generator=generator(1)) < 0.5).double()
    exact = exact_network(net, input_bits=0, scale=1.0, bound=1)
    inputs = fixed_point._Inputs(0, 1.0, 1)
    layers = [
        fixed_point._layer(linear.weight, linear.bias, i, terms=(1,))
        for linear, i in zip(net[::2], (inputs, fixed_point._Inputs()), strict=True)
    ]
    rows = [[int(v) for v in row] for row in x.tolist()]
    for number, layer in enumerate(layers):
        weight = [[int(v) for v in row] for row in layer.weight.tolist()]
        bias = [int(v) for v in layer.bias.tolist()]
        sums = [[sum(w * a for w, a in zip(r, row, strict=True)) + b
                 for r, b in zip(weight, bias, strict=True)] for row in rows]  # fmt: skip
        assert max(abs(v) for row in sums for v in row) < 2**52
        if number == 0:
            half = 1 << (layer.bits - fixed_point.ACTIVATION_BITS - 1)
            rows = [[max(0, v) + half >> layer.bits - 12 for v in row] for row in sums]
    assert [[v / 2**layer.bits for v in row] for row in sums] == exact(x).tolist()


@pytest.mark.parametrize("hidden", [(), (20,), (20, 30)])
def test_conditionals_see_what_is_before_them_to_the_bit(hidden):
    family = Product((Bernoulli(5), Categories(2, 3), Bernoulli(2)))
    prior = AutoregressivePrior(family, hidden=hidden, generator=generator())
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(generator=generator(1))
    exact = ExactConditionals(prior.network)
    z = family.sample(torch.zeros(6, 13), 1, generator=generator(2))[0].double()
    whole, known, start = exact(z), torch.zeros_like(z), 0
    for width in prior.widths:
        columns = slice(start, start + width)
        assert torch.equal(exact(known)[:, columns], whole[:, columns])
        known[:, columns] = z[:, columns]
        start += width
    with torch.no_grad():
        assert (whole - prior.network(z.float())).abs().max() < 0.05


def test_exponentials_are_those_of_the_c_library_within_rounding():
    x = np.linspace(-40, 40, 10_001)
    np.testing.assert_allclose(reproducible.exp(x), np.exp(x), rtol=1e-15)
    np.testing.assert_allclose(reproducible.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-15)
    np.testing.assert_allclose(reproducible.tanh(x), np.tanh(x), atol=4e-16)


@pytest.mark.parametrize(
    ("name", "masses", "low", "high"),
    [
        ("beta-binomial", beta_binomial_masses, (-18, -10), (18, 16)),
        ("logistic", logistic_masses, (-1, -9), (2, 3)),
        ("logistic:2", logistic_masses, (-9, -9, -1, -1, -9, -9), (9, 9, 2, 2, 3, 3)),
    ],
)
def test_tables_of_bytes_are_the_likelihoods_masses(name, masses, low, high):
    points = np.random.default_rng(0).uniform(low, high, (200, len(low)))
    found = masses(points)
    found = found / found.sum(1, keepdims=True)
    x = (torch.arange(256) / 255).double().unsqueeze(1)
    output = torch.from_numpy(points).T.reshape(len(low), 200)
    for n in range(0, 200, 20):
        row = output[:, n].reshape(1, 1, -1).expand(1, 256, -1)
        expected = likelihood_named(name, 1).log_prob(row, x)[0].exp().numpy()
        np.testing.assert_allclose(found[n], expected, atol=1e-9)


# --- refusals ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file():
    model = fresh(prior="autoregressive:8")
    rows = kinds_of_rows(1)["noise"]
    return model, rows, compress(model, rows, lanes=3)


def resealed(content: bytes, *, arrays: dict | None = None, **changes: object) -> bytes:
    """The file with another head or other arrays and a right checksum, as an attacker writes it."""
    found, head = parse_arrays(content)
    return array_file(found | (arrays or {}), head | changes)


def test_every_flipped_bit_is_refused(file):
    model, _, content = file
    for place in range(0, len(content), 7):
        for bit in (0, 7):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            with pytest.raises(DataError) as caught:
                decompress(model, bytes(changed))
            assert "\n" not in str(caught.value)


def test_every_truncation_and_every_addition_is_refused(file):
    model, _, content = file
    for length in range(0, len(content), 11):
        with pytest.raises(DataError):
            decompress(model, content[:length])
    with pytest.raises(DataError, match="or a damaged one"):
        decompress(model, content + b"\0")


def test_another_model_is_refused_even_if_one_bit_of_one_weight_differs(file):
    model, _, content = file
    with pytest.raises(DataError, match="another model: its fingerprint begins with"):
        decompress(fresh(prior="autoregressive:8", seed=4), content)
    other = fresh(prior="autoregressive:8")
    assert fingerprint(other) == fingerprint(model)
    with torch.no_grad():
        weight = other.decoder[0].weight[0]
        weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))
    with pytest.raises(DataError, match="another model"):
        decompress(other, content)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 10**12},
        {"rows": 2**63},
        {"rows": -1},
        {"rows": True},
        {"rows": 2.0},
        {"features": 10**12},
        {"rows": 2},
        {"arrays": {"lengths": np.zeros(0, np.uint32)}},
        {"arrays": {"lengths": np.full(3, 2**32 - 1, np.uint32)}},
        {"arrays": {"lengths": np.zeros(3)}},
        {"arrays": {"kept_seeds": np.zeros(2, np.uint32)}},
        {"arrays": {"kept_seeds": np.full(3, 2**31, np.uint32)}},
        {"arrays": {"words": np.zeros((2, 2), np.uint32)}},
        {"seed_words": 2**40},
        {"seed_words": 33},
        {"scheme": "encoder"},
        {"model": None},
        {"rows_sha256": "0" * 64},
        {"more": 1},
    ],
)
def test_headers_that_lie_are_refused_without_memory_or_time(file, changes):
    model, _, content = file
    with pytest.raises(DataError):
        decompress(model, resealed(content, **changes))


def test_the_resealed_file_itself_is_good(file):
    model, rows, content = file
    assert np.array_equal(decompress(model, resealed(content)), rows)


def test_a_newer_format_says_so(file):
    model, _, content = file
    with pytest.raises(DataError, match="format version 3, but this discretevae reads 2"):
        decompress(model, resealed(content, dvz_version=3))


@pytest.mark.parametrize("latent", ["bernoulli:20", "bernoulli:6"])
def test_a_coder_whose_ends_disagree_in_last_bits_is_caught(latent, monkeypatch):
    # floating-point networks, as a naive coder has them, which differ a little on the other machine
    model, rows = fresh(latent), kinds_of_rows(1)["noise"]
    content = compress(model, rows)
    exact = exact_network

    def careless(network, **options):
        run = exact(network, **options)
        return lambda x: run(x) * (1 + 1e-2)

    monkeypatch.setattr(bits_back, "exact_network", careless)
    with pytest.raises(DataError, match="the rows do not come back as they were"):
        decompress(model, content)


def test_models_that_give_no_probabilities_are_refused():
    rows = kinds_of_rows(1)["one row"]
    for options, words in (
        ({"latent": "gaussian:3"}, "has a part of real numbers"),
        ({"latent": "bernoulli:3+gaussian:3"}, "has a part of real numbers"),
        ({"likelihood": "gaussian"}, "likelihood gaussian is a density"),
        ({"likelihood": "continuous-bernoulli"}, "is a density"),
    ):
        with pytest.raises(ConfigError, match=words):
            compress(fresh(**options), rows)


def test_weights_that_are_not_finite_are_refused():
    model = fresh()
    with torch.no_grad():
        model.decoder[0].bias[3] = math.inf
    with pytest.raises(ConfigError, match="weights that are not finite"):
        compress(model, kinds_of_rows(1)["one row"])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.zeros((0, P)), "Give at least 1 row"),
        (np.zeros((2, P + 1)), "the model takes 64"),
        (np.zeros(P), r"must come as \[rows, features\]"),
        (np.full((1, P), 0.5), "Train with `binarize='threshold'` to compress 0 and 1"),
        (np.full((1, P), 2), r"outside \[0, 1\]; all range from 2 to 2"),
        (np.full((1, P), -1), r"outside \[0, 1\]"),
        (np.full((1, P), np.nan), "NaN, infinite or too large"),
        (None, "rows must be Rows, an array, .* Got None"),
        (np.full((1, P), "a"), "must be numbers. Got dtype <U1"),
    ],
)
def test_rows_that_the_model_cannot_code_are_refused(rows, words):
    with pytest.raises(DataError, match=words):
        compress(fresh(), rows)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_bytes_are_decompressed(kind):
    model, rows = fresh(), np.eye(3, P, dtype=np.uint8)
    assert np.array_equal(decompress(model, kind(compress(model, rows))), rows)


def test_bytes_out_of_range_are_refused():
    model = fresh(likelihood="beta-binomial")
    for rows in (np.full((1, P), 256), np.full((1, P), 0.5), np.full((1, P), -1)):
        with pytest.raises(DataError, match="k/255"):
            compress(model, rows)


@pytest.mark.parametrize("lanes", [0, 4097, 1.5])
def test_lanes_out_of_range_are_refused(lanes):
    with pytest.raises(ConfigError, match="`lanes` must be an int from 1 to 4,096"):
        compress(fresh(), kinds_of_rows(1)["noise"], lanes=lanes)


def test_a_missing_extra_explains_itself(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.startswith("constriction"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'discretevae\[compress\]'"):
        compress(fresh(), kinds_of_rows(1)["noise"])


def test_the_global_random_state_is_not_touched():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = fresh(prior="autoregressive:8")
    decompress(model, compress(model, kinds_of_rows(1)["noise"]))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


# --- the command line ----------------------------------------------------------------------------


def test_the_command_line_compresses_and_makes_the_rows_again(cli, copied, tmp_path):
    run = copied("bernoulli:16")
    # 16 is the white of the digits
    rows = np.random.default_rng(0).integers(0, 2, (20, P), np.uint8) * np.uint8(16)
    np.save(tmp_path / "rows.npy", rows)
    done = cli("compress", run, tmp_path / "rows.npy", "--out", tmp_path / "f.dvz")
    assert done.status == 0, done.err
    assert done.out.startswith("20 rows written to ")
    done = cli("decompress", run, tmp_path / "f.dvz", "--out", tmp_path / "back.npy", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["rows"] == 20
    back = np.load(tmp_path / "back.npy")
    assert (back.shape, back.dtype) == ((20, 8, 8), np.uint8)
    assert np.array_equal(back.reshape(20, P), rows)


def test_the_command_line_refuses_grey_rows_and_damaged_files_in_one_line(cli, copied, tmp_path):
    run = copied("bernoulli:16")
    done = cli("compress", run, "--out", tmp_path / "f.dvz")
    assert done.status == 2
    assert "--binarize threshold" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "f.dvz").exists()
    (tmp_path / "g.dvz").write_bytes(b"no")
    done = cli("decompress", run, tmp_path / "g.dvz", "--out", tmp_path / "back.npy")
    assert done.status == 2
    assert "no file of compressed rows" in done.err
    assert not (tmp_path / "back.npy").exists()
    done = cli("decompress", run, tmp_path / "none.dvz", "--out", tmp_path / "back.npy")
    assert done.status == 2
    assert "no such file" in done.err
