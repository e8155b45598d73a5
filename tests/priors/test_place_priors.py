"""Priors over places: what may see what, the cache, labels, the likeliest values."""

import math

import pytest
import torch

from discretevae.config import ModelConfig, PriorSpec, TrainConfig
from discretevae.data import Rows, load_data
from discretevae.errors import ConfigError, DataError
from discretevae.families import Bernoulli, Categorical
from discretevae.model.vae import DiscreteVAE
from discretevae.priors import PlacePrior, make_prior
from discretevae.priors.causal import GatedConvolutions, Transformer
from discretevae.training import train
from discretevae.training.prior_fitting import fit_prior


@torch.no_grad()
def moved(module, seed=0, scale=0.8):
    """Move every parameter away from where it starts, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.copy_(parameter.nan_to_num().clamp(-1, 1) + scale * noise)
    return module


def place_prior(text, family, grid=None, seed=0):
    made = make_prior(text, family, grid=grid, generator=torch.Generator().manual_seed(seed))
    return moved(made, seed, scale=0.3)


NETWORKS = {
    "transformer": (lambda: Transformer(2, 64), 12, 64),
    "convolutions": (lambda: GatedConvolutions(4, 5, 4), 12, 5),
    "one column": (lambda: GatedConvolutions(6, 5, 1), 6, 5),
    "one row": (lambda: GatedConvolutions(3, 5, 6), 6, 5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_output_sees_every_input_up_to_its_own_and_none_behind(name):
    make, n_places, width = NETWORKS[name]
    network = moved(make(), scale=0.3)
    x = torch.randn(n_places, width, generator=torch.Generator().manual_seed(1)).double()
    weights = torch.arange(1.0, width + 1).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x[None])[0] @ weights, x)
    seen = jacobian.abs().amax(-1)
    allowed = torch.ones_like(seen).tril().bool()
    assert bool((seen[~allowed] == 0).all())
    assert bool((seen[allowed] > 0).all())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_outputs_of_the_first_places_do_not_need_the_others(name):
    make, n_places, width = NETWORKS[name]
    network = moved(make(), scale=0.3)
    x = torch.randn(3, n_places, width, generator=torch.Generator().manual_seed(1)).double()
    whole = network(x)
    for n in (1, 3, 5):
        assert torch.allclose(network(x[:, :n]), whole[:, :n], atol=1e-12)


def test_keys_and_values_that_are_kept_change_nothing():
    network = moved(Transformer(3, 64), scale=0.3)
    x = torch.randn(2, 9, 64, generator=torch.Generator().manual_seed(1)).double()
    cache = {}
    one_by_one = torch.cat([network(x[:, i : i + 1], cache) for i in range(9)], 1)
    assert torch.allclose(one_by_one, network(x), atol=1e-12)
    assert {kept.shape[-2] for kept in cache.values()} == {9}


@pytest.mark.parametrize(
    ("family", "grid"), [(Bernoulli(12), (2, 2)), (Categorical(6, 4), None)], ids=str
)
def test_samples_with_a_cache_are_those_without(family, grid, monkeypatch):
    prior = place_prior("transformer:2x32", family, grid)
    cached = prior.sample(50, generator=torch.Generator().manual_seed(2))
    forward, calls = Transformer.forward, []

    def anew(self, x, cache):
        calls.append(cache.setdefault("all", x))
        if len(calls) % prior.n_places != 1:
            cache["all"] = torch.cat((cache["all"], x), 1)
        return forward(self, cache["all"])

    monkeypatch.setattr(Transformer, "forward", anew)
    without = prior.sample(50, generator=torch.Generator().manual_seed(2))
    assert torch.equal(cached, without)
    assert len(calls) == prior.n_places
    assert len(cached.flatten(1).unique(dim=0)) > 10


def test_bits_of_a_place_depend_on_each_other():
    """Two bits of a place that are always equal: independent ones would need ln 2 more."""
    config = ModelConfig(n_features=8, latent="bernoulli:2@2x2", network="custom")
    model = DiscreteVAE(config, encoder=torch.nn.Linear(8, 8), decoder=torch.nn.Linear(8, 8))
    model.encoder.weight.data = 60 * torch.eye(8)
    torch.nn.init.constant_(model.encoder.bias, -30.0)
    first = Bernoulli(4).enumerate().repeat(8, 1)
    rows = Rows.from_array(first.repeat_interleave(2, 1), name="twins")
    generator = torch.Generator().manual_seed(0)
    prior = PlacePrior(
        model.family, PriorSpec.of("transformer:1x16"), grid=(2, 2), generator=generator
    )
    history = fit_prior(model, rows, prior, epochs=120, batch_size=128, lr=0.02)
    assert history[0].log_prob == pytest.approx(-8 * math.log(2), abs=1e-4)
    assert history[-1].log_prob > -4 * math.log(2) - 0.1


@pytest.mark.parametrize("text", ["transformer:1x16", "convolution:2x8"])
def test_given_labels_the_states_of_each_class_add_up_to_one(text):
    grid, family = (2, 2), Bernoulli(8)
    prior = place_prior(f"{text},classes=3", family, grid)
    prior.counts.copy_(torch.tensor([1.0, 0.0, 3.0]))
    states = family.enumerate().double()
    tables = [prior.log_prob(states, label=torch.tensor(y)) for y in range(3)]
    for table in tables:
        assert abs(table.exp().sum().item() - 1) < 1e-12
    assert (tables[0] - tables[1]).abs().max() > 0.1
    mixed = 0.25 * tables[0].exp() + 0.75 * tables[2].exp()
    assert torch.allclose(prior.log_prob_table().exp(), mixed, atol=1e-12)
    labels = torch.tensor([2, 0, 1])
    z = states[:6].reshape(2, 3, 8)
    expected = [tables[y][:6].reshape(2, 3)[:, i] for i, y in enumerate(labels.tolist())]
    assert torch.allclose(prior.log_prob(z, label=labels), torch.stack(expected, 1), atol=1e-12)


def test_many_codes_are_taken_in_pieces(monkeypatch):
    prior = place_prior("transformer:1x16,classes=2", Bernoulli(6))
    z, label = Bernoulli(6).enumerate().double(), torch.arange(64) % 2
    whole = prior.log_prob(z), prior.log_prob(z, label=label)
    monkeypatch.setattr("discretevae.priors.places.CHUNK", 7)
    assert torch.allclose(prior.log_prob(z), whole[0], atol=1e-12)
    assert torch.allclose(prior.log_prob(z, label=label), whole[1], atol=1e-12)


def test_labels_are_given_or_drawn_by_their_shares():
    """Class y has z = y for sure, so that codes show which class was drawn."""
    prior = place_prior("transformer:1x16,classes=3", Categorical(1, 3))
    with torch.no_grad():
        prior.head.direct.weight.zero_()
        prior.head.direct.bias.zero_()
        prior.positions.zero_()
        prior.network.layers[0].joined.weight.zero_()
        prior.network.layers[0].joined.bias.zero_()
        prior.network.layers[0].down.weight.zero_()
        prior.network.layers[0].down.bias.zero_()
        prior.classes.copy_(torch.eye(3, 16))
        prior.head.direct.weight[:, :3] = 100 * torch.eye(3)
    prior.counts.copy_(torch.tensor([100.0, 0.0, 300.0]))

    def drawn(**options):
        z = prior.sample(4000, generator=torch.Generator().manual_seed(0), **options)
        return z[:, 0].argmax(1)

    assert set(drawn(label=1).tolist()) == {1}
    assert torch.equal(drawn(label=torch.arange(4000) % 3), torch.arange(4000) % 3)
    free = drawn()
    assert set(free.tolist()) == {0, 2}
    # 5.5 standard errors: a false alarm in 26 million; equal shares would lie 36 away
    assert abs((free == 2).double().mean().item() - 0.75) < 5.5 * math.sqrt(0.1875 / 4000)
    for wrong in (3, -1, torch.arange(4000)):
        with pytest.raises(ConfigError, match="`label` must be from 0 to 2"):
            drawn(label=wrong)


@pytest.mark.parametrize("text", ["transformer:1x16", "convolution:2x8", "autoregressive:16"])
def test_the_k_likeliest_values_alone_are_drawn(text):
    family = Categorical(4, 5)
    prior = place_prior(text, family, (2, 2))
    for k in (1, 2, 5, 9):
        z = prior.sample(300, generator=torch.Generator().manual_seed(0), top_k=k)
        pairs = {tuple(code.argmax(-1).tolist()) for code in z}
        assert len({first for first, *_ in pairs}) == min(k, 5)
        if k == 1:
            cold = prior.sample(1, generator=torch.Generator(), temperature=1e-9)
            assert torch.equal(z[:1], cold)
    with pytest.raises(ConfigError, match="`top_k` must be an int >= 1"):
        prior.sample(1, generator=torch.Generator(), top_k=0)


def test_the_likeliest_bit_alone_is_drawn():
    prior = place_prior("transformer:1x16", Bernoulli(6), (1, 2))
    z = prior.sample(20, generator=torch.Generator().manual_seed(0), top_k=1)
    assert torch.equal(z, prior.sample(20, generator=torch.Generator(), temperature=1e-9))
    free = prior.sample(20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(free, prior.sample(20, generator=torch.Generator().manual_seed(0), top_k=2))


def test_a_model_refuses_options_that_its_prior_does_not_take():
    model = DiscreteVAE(ModelConfig(n_features=4, latent="bernoulli:3"))
    for option in ("top_k", "label"):
        with pytest.raises(ConfigError, match=f"`{option}` needs another prior, .*Got fixed"):
            model.sample(2, **{option: 1})
    model = DiscreteVAE(ModelConfig(n_features=4, latent="bernoulli:3", prior="transformer:1x8"))
    assert model.sample(2, top_k=1, temperature=0.5).shape == (2, 4)
    with pytest.raises(ConfigError, match="`label` needs another prior, given labels by"):
        model.sample(2, label=0)


def test_labels_that_a_prior_cannot_take_are_refused():
    model = DiscreteVAE(ModelConfig(n_features=4, latent="bernoulli:3", hidden=()))
    prior = make_prior("transformer:1x8,classes=2", model.family)
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    for labels, got in (
        (None, "They have none"), ([0, 1, 2, 0, 0], "Some have"), ([0, -1, 1, 1, 0], "Some have"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=f"one of 2 classes for every row. {got}"):
            fit_prior(model, Rows.from_array(x, labels=labels), prior)


def test_a_prior_given_labels_learns_each_class_and_their_shares():
    """Two classes whose codes are each other's opposite."""
    config = ModelConfig(n_features=3, latent="bernoulli:3", hidden=())
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    model.encoder[0].weight.data = 60 * torch.eye(3)
    torch.nn.init.constant_(model.encoder[0].bias, -30.0)
    x = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]]).repeat(16, 1)
    rows = Rows.from_array(x, labels=[0, 1, 1, 1] * 16)
    generator = torch.Generator().manual_seed(0)
    prior = make_prior("transformer:1x16,classes=2", model.family, generator=generator)
    history = fit_prior(model, rows, prior, epochs=40, batch_size=64, lr=0.02)
    assert history[-1].log_prob > -0.1
    assert prior.counts.tolist() == [16, 48]
    found = prior.log_prob(torch.tensor([[0.0, 0, 0], [1, 1, 1]])).exp()
    assert torch.allclose(found, torch.tensor([0.25, 0.75]), atol=0.03)


def test_a_prior_of_another_grid_is_refused():
    config = ModelConfig(
        n_features=4, latent="bernoulli:2@1x4", network="custom", prior="convolution"
    )
    model = DiscreteVAE(config, encoder=torch.nn.Linear(4, 8), decoder=torch.nn.Linear(8, 4))
    assert model.prior.grid == (1, 4)
    for grid in ((2, 2), (4, 1), None):
        prior = make_prior("transformer:1x8", model.family, grid=grid)
        with pytest.raises(ConfigError, match=r"one of bernoulli:8.*code is bernoulli:2@1x4"):
            fit_prior(model, torch.rand(5, 4), prior)


@pytest.mark.parametrize("estimator", ["disarm", "straight-through"])
def test_it_is_trained_with_its_model(estimator):
    data, latent = load_data("digits"), "bernoulli:3@2x2"
    config = ModelConfig(
        n_features=64, latent=latent, network="resnet", width=8, prior="convolution:2x8",
        image_shape=(8, 8),
    )  # fmt: skip
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    before = model.prior.head.direct.bias.detach().clone()
    history = train(model, data, TrainConfig(epochs=2, lr=0.01, estimator=estimator))
    assert history[-1].test_elbo > history[0].test_elbo
    assert not torch.equal(model.prior.head.direct.bias, before)


def test_a_training_knows_no_labels():
    config = ModelConfig(n_features=64, latent="bernoulli:3", prior="transformer:1x8,classes=3")
    with pytest.raises(ConfigError, match="a prior given labels is fitted afterwards"):
        train(DiscreteVAE(config), load_data("digits"), TrainConfig(epochs=1))
