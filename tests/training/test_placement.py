"""Where a mixture prior starts: clusters that k-means cannot see, and training around them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from discretevae.config import ModelConfig, RunConfig, SaveEvery, TrainConfig
from discretevae.data import Rows, load_data
from discretevae.errors import ConfigError
from discretevae.model.vae import DiscreteVAE
from discretevae.training import placement, train
from discretevae.training.adam import Adam
from discretevae.training.placement import component_moments, diffusion_labels, place_mixture


def rings(n=300, seed=0):
    """Two rings around the same centre, which no straight line parts."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, 2 * n)
    radius = np.repeat([1.0, 2.0], n) + rng.normal(0, 0.05, 2 * n)
    points = np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1)
    return points, np.repeat([0, 1], n)


def test_bent_clusters_are_found_that_straight_ones_would_cut():
    points, truth = rings()
    assert adjusted_rand_score(truth, diffusion_labels(points, 2, power=100)) == 1.0
    straight = KMeans(2, n_init=10, random_state=0).fit_predict(points)
    assert adjusted_rand_score(truth, straight) < 0.1


def test_clusters_are_those_of_the_seed_and_the_global_state_is_left_alone():
    points, _ = rings()
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the one that must stay
    first, again = diffusion_labels(points, 3, seed=1), diffusion_labels(points, 3, seed=1)
    assert np.array_equal(first, again)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_too_few_points_are_refused():
    with pytest.raises(ConfigError, match="11 rows are too few for 2 clusters"):
        diffusion_labels(np.zeros((11, 2)), 2)
    with pytest.raises(ConfigError, match="Give at least 40"):
        diffusion_labels(np.zeros((30, 2)), 20)


def test_moments_of_labelled_codes_are_those_of_all_their_draws():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (90,), generator=generator)
    mean = torch.randn(90, 2, generator=generator, dtype=torch.float64)
    variance = torch.rand(90, 2, generator=generator, dtype=torch.float64)
    share, center, spread = component_moments(labels, mean, variance, 3)
    draws = mean + variance.sqrt() * torch.randn(
        20_000, 90, 2, generator=generator, dtype=torch.float64
    )
    for k in range(3):
        own = draws[:, labels == k].reshape(-1, 2)
        assert torch.allclose(share[k], (labels == k).double().mean())
        # 5.5 standard errors of some 600,000 draws of unit size
        assert torch.allclose(center[k], own.mean(0), atol=0.02)
        assert torch.allclose(spread[k], torch.cov(own.T, correction=0), atol=0.03)


def mixture_model(latent="gaussian:2", prior="mixture:3", n_features=64):
    config = ModelConfig(
        n_features=n_features, latent=latent, prior=prior, hidden=(16,), image_shape=(8, 8)
    )
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


def test_components_are_placed_on_the_clusters_of_the_codes():
    model, rows = mixture_model(), load_data("digits").train
    place_mixture(model, rows, seed=3)
    with torch.no_grad():
        mean, variance = model.family.moments(model.eta(rows.batch(slice(None))))
    order = np.sort(np.random.default_rng(3).permutation(len(rows)))
    assert np.array_equal(order, np.arange(len(rows)))
    labels = torch.from_numpy(diffusion_labels(mean.double().numpy(), 3, seed=3)).long()
    share, center, spread = component_moments(labels, mean.double(), variance.double(), 3)
    assert torch.allclose(model.prior.logits.softmax(0).double(), share, atol=1e-6)
    assert torch.allclose(model.prior.means.double(), center, atol=1e-6)
    assert torch.allclose(
        model.prior.covariances().double(), spread + 1e-4 * torch.eye(2), rtol=1e-3
    )


def test_of_many_rows_some_are_enough(monkeypatch):
    seen = []
    monkeypatch.setattr(placement, "MAX_ROWS", 100)
    found = placement.diffusion_labels
    monkeypatch.setattr(
        placement,
        "diffusion_labels",
        lambda points, k, seed: seen.append(len(points)) or found(points, k, seed=seed),
    )
    place_mixture(mixture_model(), load_data("digits").train)
    assert seen == [100]


def test_only_a_mixture_can_be_placed():
    with pytest.raises(ConfigError, match=r"only a mixture prior can be placed\. Got prior fixed"):
        place_mixture(mixture_model(prior="fixed"), load_data("digits").test)


# --- training around it ----------------------------------------------------------------------


def trained(config, out=None, resume=False, model=None):
    model = model or mixture_model()
    return model, train(model, load_data("digits"), config, out=out, resume=resume)


def test_the_prior_stays_until_it_is_placed_and_moves_from_there():
    start = {k: v.clone() for k, v in mixture_model().prior.state_dict().items()}
    model, first = trained(TrainConfig(epochs=3, pretrain=2, lr=1e-3, batch_size=300))
    assert any(not torch.equal(start[k], v) for k, v in model.prior.state_dict().items())
    # until then the loss is that of another objective: a tenth of the KL to a standard normal
    assert first[0].loss == pytest.approx(-(first[0].log_likelihood - 0.1 * first[0].kl), rel=1e-5)
    assert first[2].loss == pytest.approx(-(first[2].log_likelihood - first[2].kl), rel=1e-5)
    # at a learning rate of nothing, the placing alone moves it, to where the first weights say
    still, _ = trained(TrainConfig(epochs=3, pretrain=2, lr=1e-12, batch_size=300))
    placed = mixture_model()
    place_mixture(placed, load_data("digits").train)
    for name, value in placed.prior.state_dict().items():
        assert torch.allclose(value, still.prior.state_dict()[name], atol=1e-4)


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_run_resumed_on_either_side_of_the_placing_is_the_same_to_the_bit(average, tmp_path):
    options = {"pretrain": 2, "batch_size": 500, "augment": "shift=1", "average": average}
    whole, _ = trained(TrainConfig(epochs=4, **options))
    for cut in (1, 2, 3):
        # a shorter run to stop at; pretraining has to end before it does
        config = TrainConfig(epochs=4, **options)
        out = tmp_path / str(cut)

        def stop(progress, cut=cut):
            if progress.metrics is not None and progress.epoch == cut:
                raise RuntimeError("enough")

        with pytest.raises(RuntimeError, match="enough"):
            train(
                mixture_model(), load_data("digits"), config, out=out,
                save_every=SaveEvery(seconds=None, steps=1), progress=stop,
            )  # fmt: skip
        model, history = trained(config, out=out, resume=True)
        assert len(history) == 4
        for name, weight in whole.state_dict().items():
            assert torch.equal(weight, model.state_dict()[name]), (cut, name)


def test_pretraining_and_what_follows_each_have_the_whole_schedule(monkeypatch):
    rates = []
    step = Adam.step

    def recorded(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Adam, "step", recorded)
    trained(TrainConfig(epochs=4, pretrain=2, batch_size=750, lr_schedule="linear", lr=0.01))
    assert rates[:4] == rates[4:]
    assert rates[0] == 0.01
    assert rates[3] < rates[0]


def test_the_encoder_alone_sees_distorted_pictures():
    """With the decoder's weights at zero, what is explained shows in the loss: the rows."""
    rows = load_data("digits")
    model = mixture_model(prior="fixed")
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
    plain = TrainConfig(epochs=1, lr=1e-12, batch_size=500)
    moved = TrainConfig(epochs=1, lr=1e-12, batch_size=500, augment="shift=3")
    one = train(model, rows, plain)[0]
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
    two = train(model, rows, moved)[0]
    assert one.log_likelihood == pytest.approx(two.log_likelihood, rel=1e-6)
    assert one.kl != pytest.approx(two.kl, rel=1e-4)


def test_distorted_rows_are_binary_where_the_rows_are():
    model, rows = mixture_model(prior="fixed"), load_data("digits").binarized("threshold")
    seen = []
    eta = model.eta
    model.eta = lambda x: seen.append(x.unique()) or eta(x)
    train(model, rows, TrainConfig(epochs=1, augment="light"))
    assert all(set(values.tolist()) <= {0.0, 1.0} for values in seen)


@pytest.mark.parametrize(
    ("model", "training", "words"),
    [
        ({}, {"pretrain": 2}, "`pretrain` ends with the placing of a mixture prior"),
        ({"image_shape": None}, {"augment": "light"}, "`augment` distorts pictures"),
    ],
)
def test_what_does_not_go_together(model, training, words):
    config = {"n_features": 64, "image_shape": (8, 8)} | model
    with pytest.raises(ConfigError, match=words):
        RunConfig(model=ModelConfig(**config), training=TrainConfig(epochs=5, **training))


def test_options_that_make_no_sense():
    with pytest.raises(ConfigError, match=r"`pretrain` must be below `epochs`, 5\. Got 5"):
        TrainConfig(epochs=5, pretrain=5)
    with pytest.raises(ConfigError, match="`pretrain` and `augment` change the ELBO"):
        TrainConfig(epochs=5, pretrain=1, augment="light", objective="marginal")


def test_on_the_command_line(cli, tmp_path):
    args = ("--latent", "gaussian:2", "--prior", "mixture:3", "--hidden", "8", "--epochs", "2")
    said = cli("train", *args, "--pretrain", "1", "--augment", "light", "--out", tmp_path / "run")
    assert said.status == 0, said.err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["pretrain"] == 1
    assert config["training"]["augment"] == "shift=2,rotate=10,scale=0.1"
    said = cli("train", "--pretrain", "1", "--epochs", "2", "--out", tmp_path / "no")
    assert said.status == 2
    assert "Got prior fixed" in said.err
    assert not (tmp_path / "no").exists()
    np.save(tmp_path / "table.npy", np.random.default_rng(0).random((40, 5)))
    said = cli("train", "--data", tmp_path / "table.npy", "--augment", "light", "--out", "x")
    assert said.status == 2
    assert "these rows are none" in said.err


def test_rows_too_few_to_cluster_are_said():
    rows = Rows.from_array(np.random.default_rng(0).random((10, 64)).astype(np.float32))
    with pytest.raises(ConfigError, match="10 rows are too few"):
        place_mixture(mixture_model(), rows)
