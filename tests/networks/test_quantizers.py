"""Quantizers against their definitions: distances, moving averages, revival, placement."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from discretevae.config import LatentSpec, ModelConfig, QuantizerSpec
from discretevae.data import Rows
from discretevae.errors import ConfigError
from discretevae.families import Categorical
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.mlp import MLP
from discretevae.networks.quantizers import (
    CERTAIN,
    NUDGE,
    Codebook,
    Levels,
    Signs,
    quantizer_for,
)
from discretevae.training.placement import place_codebook


def book(n_vectors=5, dim=3, seed=0):
    return Codebook(n_vectors, dim, generator=torch.Generator().manual_seed(seed)).double()


def points(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model_of(latent="categorical:2x5", **options):
    config = ModelConfig(n_features=4, latent=latent, hidden=(6,), quantizer="vector:3", **options)
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


def test_logits_are_negative_squared_distances():
    codebook, h = book(), points(7, 2, 3)
    with torch.no_grad():
        codebook.log_c.fill_(math.log(1.7))
    distances = torch.cdist(h.reshape(-1, 3), codebook.vectors).square().reshape(7, 2, 5)
    family = Categorical(2, 5)
    torch.testing.assert_close(
        family.mean(codebook.logits(h, codebook.log_c.exp())),
        torch.softmax(-1.7 * distances, -1),
        atol=1e-12,
        rtol=0,
    )
    assert torch.equal(codebook.nearest(h).argmax(-1), distances.argmin(-1))


def test_a_certain_code_is_the_nearest_vector():
    codebook, h = book().float(), points(50, 2, 3).float()
    codebook.be_certain()
    assert codebook.log_c.exp().item() == pytest.approx(CERTAIN, rel=1e-5)
    family, eta = Categorical(2, 5), codebook.logits(h, codebook.log_c.exp())
    assert torch.equal(family.mean(eta), codebook.nearest(h))
    assert torch.equal(family.entropy(eta), torch.zeros(50))


def test_moving_averages_are_those_of_the_definition():
    codebook, decay = book(), 0.9
    shares, sums = codebook.shares.clone(), codebook.sums.clone()
    for seed in range(4):
        h = points(6, 2, 3, seed=seed)
        z = codebook.nearest(h)
        index = z.argmax(-1)
        codebook.remember(h, z, decay)
        for k in range(5):
            own = h.reshape(-1, 3)[index.flatten() == k]
            shares[k] = decay * shares[k] + (1 - decay) * len(own) / 12
            sums[k] = decay * sums[k] + (1 - decay) * own.sum(0) / 12
        codebook.follow()
        torch.testing.assert_close(codebook.vectors.detach(), sums / shares[:, None])


def test_averages_that_nothing_moved_leave_the_vectors_where_they_are():
    codebook = book()
    before = codebook.vectors.detach().clone()
    codebook.follow()
    torch.testing.assert_close(codebook.vectors.detach(), before)


def test_a_dead_vector_takes_half_of_the_most_used_one():
    codebook = book()
    with torch.no_grad():
        codebook.shares.copy_(torch.tensor([4.0, 0.01, 9.0, 5.0, 2.0]))
        codebook.sums.copy_(codebook.vectors * codebook.shares[:, None])
        codebook.error.fill_(3.0)
    vectors, sums = codebook.vectors.detach().clone(), codebook.sums.clone()
    codebook.revive(0.05)
    torch.testing.assert_close(
        codebook.shares, torch.tensor([4.0, 4.5, 4.5, 5.0, 2.0], dtype=torch.float64)
    )
    unmoved = [0, 2, 3, 4]
    assert torch.equal(codebook.vectors[unmoved].detach(), vectors[unmoved])
    aside = (codebook.vectors[1] - vectors[2]).norm().item()
    assert 0 < aside <= NUDGE * 3.0**0.5
    torch.testing.assert_close(codebook.sums[2], sums[2] / 2)
    torch.testing.assert_close(codebook.sums[1], codebook.vectors[1].detach() * 4.5)
    assert torch.equal(codebook.sums[[0, 3, 4]], sums[[0, 3, 4]])


def test_the_living_stay_and_so_does_everyone_at_zero():
    codebook = book()
    before = {name: value.clone() for name, value in codebook.state_dict().items()}
    codebook.revive(0.05)  # all are used alike
    codebook.shares[1] = 0
    before["shares"][1] = 0
    codebook.revive(0.0)
    for name, value in codebook.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_of_many_dead_vectors_half_come_back_at_once():
    """The others follow in the next step: nobody is parent and dead at the same time."""
    codebook = book(n_vectors=7)
    with torch.no_grad():
        codebook.shares.copy_(torch.tensor([0.0, 0, 0, 100, 0, 0, 0]))
    codebook.revive(0.05)
    assert (codebook.shares > 0).sum() == 2
    for _ in range(2):
        codebook.revive(0.05)
    assert (codebook.shares > 0).sum() > 2
    assert codebook.shares.sum().item() == pytest.approx(100)
    assert len(codebook.vectors.unique(dim=0)) == 7


def test_k_means_places_the_vectors_on_the_clusters_of_the_outputs():
    """An encoder that is the identity, of rows that are five far points and a little noise."""
    config = ModelConfig(n_features=3, latent="categorical:1x5", quantizer="vector:3")
    identity, decoder = torch.nn.Linear(3, 3), MLP([3, 3])
    model = DiscreteVAE(config, encoder=identity, decoder=decoder)
    with torch.no_grad():
        identity.weight.copy_(torch.eye(3))
        identity.bias.zero_()
    rng = np.random.default_rng(0)
    centers = rng.random((5, 3))
    which = rng.integers(0, 5, 400)
    rows = centers[which] + rng.normal(0, 1e-3, (400, 3))
    place_codebook(model, Rows.from_array(rows.clip(0, 1).astype(np.float32)))
    found = model.quantizer.vectors.detach().numpy()
    apart = np.linalg.norm(found[:, None] - centers[None], axis=-1)
    assert apart.min(0).max() < 1e-3
    shares = np.sort(model.quantizer.shares.numpy())
    np.testing.assert_allclose(shares, np.sort(np.bincount(which) / 400), rtol=1e-6)
    torch.testing.assert_close(
        model.quantizer.sums, model.quantizer.vectors.detach() * model.quantizer.shares[:, None]
    )
    error = np.square(rows - centers[which]).sum(1).mean()
    assert model.quantizer.log_c.exp().item() == pytest.approx(0.5 / error, rel=0.05)


def test_fewer_rows_than_vectors_are_placed_too():
    model = model_of("categorical:1x50")
    place_codebook(model, Rows.from_array(np.random.default_rng(0).random((9, 4), np.float32)))
    assert torch.isfinite(model.quantizer.vectors).all()
    assert len(model.quantizer.vectors.unique(dim=0)) <= 9


def test_encoder_and_decoder_share_the_vectors():
    model = model_of()
    assert model.encoder.quantizer is model.decoder.quantizer is model.quantizer
    assert sum(p is model.quantizer.vectors for p in model.parameters()) == 1
    again = model_of()
    again.load_state_dict(model.state_dict(), assign=True)
    assert again.encoder.quantizer.vectors is again.decoder.quantizer.vectors


def test_a_model_without_a_quantizer_has_none():
    model = DiscreteVAE(ModelConfig(n_features=4, latent="categorical:2x5", hidden=(6,)))
    assert model.quantizer is None
    with pytest.raises(ConfigError, match="needs a quantizer"):
        place_codebook(model, Rows.from_array(np.zeros((9, 4), np.float32)))


@pytest.mark.parametrize("latent", ["bernoulli:3", "gaussian:3", "categorical:3+bernoulli:2"])
def test_only_categories_are_quantized(latent):
    with pytest.raises(ConfigError, match="needs a categorical code, such as"):
        model_of(latent)


def test_the_bias_of_the_output_is_found_behind_the_codebook():
    model = model_of()
    model.start_at(torch.tensor([0.1, 0.4, 0.6, 0.9]))
    bias = model.decoder.network[-1].bias
    torch.testing.assert_close(torch.sigmoid(bias.detach()), torch.tensor([0.1, 0.4, 0.6, 0.9]))


def test_modules_of_one_s_own_meet_vectors():
    config = ModelConfig(n_features=4, latent="categorical:2x5", quantizer="vector:3")
    model = DiscreteVAE(config, encoder=MLP([4, 6]), decoder=MLP([6, 4]))
    assert model.encode(torch.zeros(2, 4)).shape == (2, 2)
    with pytest.raises(ConfigError, match=r"`encoder` must map \[B, 4\] to \[B, 6\]"):
        DiscreteVAE(config, encoder=MLP([4, 10]), decoder=MLP([6, 4]))


def test_distances_are_exact_where_products_of_networks_are_not():
    model = model_of()
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(3))
    model.product_dtype = torch.bfloat16
    h = model.apply_network(model.encoder.rounded, x)
    assert torch.equal(
        model.eta(x).flatten(1), model.quantizer.logits(h, model.quantizer.log_c.exp()).flatten(1)
    )
    assert model.eta(x).dtype == torch.float32


# --- fixed points ------------------------------------------------------------------------------


def test_levels_are_even_and_the_nearest_is_taken():
    levels, h = Levels(5).double(), points(200, 3, 1)
    bounded = levels.bounded(h)
    assert bounded.abs().max() < 1
    nearest = (bounded - torch.linspace(-1, 1, 5)).abs().argmin(-1)
    z = levels.nearest(bounded)
    assert torch.equal(z.argmax(-1), nearest)
    torch.testing.assert_close(levels.points_of(z)[..., 0], nearest.double() / 2 - 1)
    eta = levels.logits(bounded, 1.3)
    expected = torch.softmax(-1.3 * (bounded - torch.linspace(-1, 1, 5)).square(), -1)
    torch.testing.assert_close(torch.softmax(eta, -1), expected)


@pytest.mark.parametrize("on_sphere", [False, True])
def test_signs_are_the_nearer_of_two_points(on_sphere):
    signs, h = Signs(on_sphere=on_sphere).double(), points(50, 7, 1)
    bounded = signs.bounded(h)
    if on_sphere:
        torch.testing.assert_close(
            bounded.square().sum((1, 2)), torch.full((50,), 7.0).double(), rtol=1e-6, atol=0
        )
    else:
        assert bounded is h
    z = signs.nearest(bounded)
    assert torch.equal(signs.points_of(z), torch.sign(h))
    to_one, to_minus = (bounded - 1).square(), (bounded + 1).square()
    torch.testing.assert_close(signs.logits(bounded, 0.3), (0.3 * (to_minus - to_one))[..., 0])


def test_a_sphere_for_each_place():
    h = points(50, 6, 1)
    flat, grid = (Signs(on_sphere=True, n_places=n).double() for n in (1, 3))
    by_place = torch.cat([flat.bounded(part) for part in h.split(2, 1)], 1)
    torch.testing.assert_close(grid.bounded(h), by_place)
    spec = LatentSpec.of("bernoulli:2@3x1")
    assert quantizer_for(QuantizerSpec.of("sphere"), spec).n_places == 3


@pytest.mark.parametrize(
    ("quantizer", "latent"),
    [("levels", "categorical:3x5"), ("signs", "bernoulli:6"), ("sphere", "bernoulli:6")],
)
def test_models_of_fixed_points(quantizer, latent):
    config = ModelConfig(n_features=4, latent=latent, hidden=(6,), quantizer=quantizer)
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(1))
    assert model.eta(x).shape == (5, *model.family.eta_shape)
    codes = model.encode(x)
    assert model.decode(codes).shape == (5, 4)
    h = model.encoder.rounded(x)
    z = model.quantizer.nearest(h)
    assert torch.equal(model.family.to_codes(z), codes)
    torch.testing.assert_close(
        model.output(z), model.decoder.network(model.quantizer.points_of(z).flatten(1))
    )
    with pytest.raises(ConfigError, match="has no vectors to place"):
        place_codebook(model, Rows.from_array(x.numpy()))
    with pytest.raises(ConfigError, match=r"`quantizer` .* needs a (bernoulli|categorical) code"):
        ModelConfig(n_features=4, latent="gaussian:2", quantizer=quantizer)
