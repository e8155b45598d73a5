"""The VQ-VAE's loss against the paper's, written out; and a codebook under the ELBO, enumerated."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from discretevae.config import ModelConfig, RunConfig, SaveEvery, TrainConfig, VQTraining
from discretevae.data import load_data
from discretevae.errors import ConfigError
from discretevae.estimators import RLOO, Exact, Importance, ReinMax, StraightThrough
from discretevae.estimators.contract import z_test
from discretevae.evaluation.bounds import evaluate
from discretevae.families import family_of
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import elbo, quantized, vector_quantized
from discretevae.run_folder.saved_run import load_run, save_config
from discretevae.training import train

BY_GRADIENT = VQTraining(beta=0.7, decay=0.0, revive=0.0)


def model_and_rows(prior="factorized"):
    config = ModelConfig(
        n_features=5, latent="categorical:2x3", hidden=(6,), prior=prior, quantizer="vector:4"
    )
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0)).double()
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        model.quantizer.log_c.fill_(math.log(0.3))
    return model, x


def of(model, x, options, **more):
    return vector_quantized(model, x, StraightThrough(), generator=None, options=options, **more)


def written_out(model, x, beta):
    """van den Oord et al. 2017, eq. 3, with ln p(z), for autograd: ``[B]``."""
    h = model.encoder.network(x).reshape(4, 2, 4)
    index = torch.cdist(h, model.quantizer.vectors.expand(4, 3, 4)).argmin(-1)
    e = model.quantizer.vectors[index]
    logits = model.decoder.network((h + (e - h).detach()).flatten(1))
    log_px = (x * logits - torch.nn.functional.softplus(logits)).sum(1)
    codebook = (h.detach() - e).square().sum((1, 2))
    commitment = (h - e.detach()).square().sum((1, 2))
    z = model.family.from_codes(index).double().unsqueeze(0)
    return log_px + model.prior.log_prob(z)[0] - codebook - beta * commitment


def gradients(model, value):
    found = torch.autograd.grad(
        value.sum(), list(model.parameters()), allow_unused=True, materialize_grads=True
    )
    return {name: g for (name, _), g in zip(model.named_parameters(), found, strict=True)}


def same(ours, theirs):
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-12, rtol=0, msg=name)


def test_the_loss_is_the_paper_s():
    model, x = model_and_rows()
    ours = gradients(model, of(model, x, BY_GRADIENT).surrogate)
    same(ours, gradients(model, written_out(model, x, 0.7)))
    assert all(ours[name].any() for name in ours if "log_c" not in name)


def test_another_commitment_would_be_noticed():
    model, x = model_and_rows()
    ours = gradients(model, of(model, x, BY_GRADIENT).surrogate)
    theirs = gradients(model, written_out(model, x, 0.6))
    with pytest.raises(AssertionError):
        same(ours, theirs)


def test_what_is_reported_is_the_bound_of_a_certain_code():
    model, x = model_and_rows(prior="fixed")
    terms = of(model, x, VQTraining())
    torch.testing.assert_close(terms.kl, torch.full((4,), 2 * math.log(3), dtype=torch.float64))
    model.eval()
    model.quantizer.be_certain()
    exact = elbo(model, x, Exact(), generator=None)
    for name in ("log_likelihood", "kl", "elbo"):
        torch.testing.assert_close(getattr(of(model, x, BY_GRADIENT), name), getattr(exact, name))


def test_vectors_that_follow_averages_get_no_gradient():
    model, x = model_and_rows()
    terms = of(model, x, VQTraining(decay=0.9))
    assert not gradients(model, terms.surrogate)["encoder.quantizer.vectors"].any()
    before = model.quantizer.vectors.detach().clone()
    of(model, x, VQTraining(decay=0.9))
    assert not torch.equal(model.quantizer.vectors.detach(), before)


def test_measuring_changes_nothing():
    model, x = model_and_rows()
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    of(model, x, VQTraining())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_distorted_input_is_what_the_encoder_sees():
    model, x = model_and_rows()
    other = 1 - x
    terms = of(model, x, BY_GRADIENT, encoder_input=other)
    codes = model.family.from_codes(model.encode(other))
    expected = model.log_likelihood(x)(codes.double().unsqueeze(0))[0]
    torch.testing.assert_close(terms.log_likelihood, expected)


# --- a codebook under the ELBO -----------------------------------------------------------------


def enumerated(model, x):
    """The ELBO of each row by its definition, for autograd: ``[B]``."""
    eta = model.eta(x)
    total = torch.zeros(len(x), dtype=torch.float64)
    for state in model.family.enumerate().double():
        z = state.expand(1, len(x), *state.shape)
        logits = model.output(z)[0]
        log_px = (x * logits - torch.nn.functional.softplus(logits)).sum(1)
        log_q = model.family.log_prob(eta, z)[0]
        total = total + log_q.exp() * (log_px + model.prior.log_prob(z)[0] - log_q)
    return total


@pytest.mark.parametrize("prior", ["fixed", "factorized", "autoregressive", "transformer:1x8"])
def test_the_exact_gradient_reaches_vectors_on_both_sides(prior):
    model, x = model_and_rows(prior)
    terms = elbo(model, x, Exact(), generator=torch.Generator().manual_seed(0))
    truth = gradients(model, enumerated(model, x))
    same(gradients(model, terms.surrogate), truth)
    assert truth["encoder.quantizer.log_c"].any()


@pytest.mark.parametrize("estimator", [Importance(samples=2), RLOO(samples=2)], ids=repr)
def test_estimates_of_its_gradient_have_no_bias(estimator):
    """z-test over all parameters, false alarm 1e-6; without what f adds to the vectors it fails."""
    model, x = model_and_rows()
    truth = gradients(model, enumerated(model, x))
    generator = torch.Generator().manual_seed(1)
    draws = []
    for _ in range(3000):
        found = gradients(model, elbo(model, x, estimator, generator=generator).surrogate)
        draws.append(torch.cat([g.flatten() for g in found.values()]))
    exact = torch.cat([g.flatten() for g in truth.values()]).unsqueeze(0)
    assert z_test(torch.stack(draws), exact).passed
    number = list(truth).index("encoder.quantizer.vectors")
    start = sum(g.numel() for g in list(truth.values())[:number])
    wrong = exact.clone()
    wrong[0, start : start + 12] *= 0.8
    assert not z_test(torch.stack(draws), wrong).passed


def test_one_pass_gives_the_vectors_the_decoder_s_gradient():
    """ReinMax asks for value and slope at once; f then hands out the vectors' gradient itself."""
    model, x = model_and_rows()
    z = model.family.sample(model.eta(x), 1, generator=torch.Generator().manual_seed(4))
    f = model.log_likelihood(x)
    value, slope = f.value_and_grad(z)
    leaf = z.clone().requires_grad_()
    plain = f(leaf)
    same(gradients(model, value), gradients(model, f(z)))
    torch.testing.assert_close(slope, torch.autograd.grad(plain.sum(), leaf)[0])
    ReinMax()(model.family, model.eta(x), f, generator=torch.Generator().manual_seed(4))


# --- training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("vq", ["decay=0.99", "decay=0"])
def test_it_learns_digits_and_every_vector_is_used(vq):
    data = load_data("digits")
    model = DiscreteVAE.for_data(
        data, latent="categorical:4x16", hidden=(64,), quantizer="vector:8"
    )
    history = train(model, data, TrainConfig(epochs=25, lr=3e-3, objective="vq", vq=vq))
    assert history[-1].log_likelihood > history[0].log_likelihood + 2
    assert history[-1].kl == pytest.approx(4 * math.log(16), rel=1e-5)
    codes = model.encode(data.train.batch(slice(None)))
    assert len(codes.unique()) == 16
    found = evaluate(model, data.test, samples=5)
    assert found.bound.value == pytest.approx(found.elbo.value, abs=1e-3)  # q is certain


def test_revival_brings_dead_vectors_back():
    """All but two vectors start where no output is."""
    data = load_data("digits")
    used = {}
    for revive in (0.0, 0.05):
        model = DiscreteVAE.for_data(
            data, latent="categorical:4x16", hidden=(64,), quantizer="vector:8"
        )
        x = data.train.batch(slice(0, 1000))
        with torch.no_grad():
            model.quantizer.vectors[2:] += 1e3
            model.quantizer.sums.copy_(model.quantizer.vectors / 16)
        model.train()
        options = VQTraining(decay=0.9, revive=revive)
        for start in range(0, 1000, 20):
            of(model, x[start : start + 20], options)
        used[revive] = len(model.encode(x).unique())
    assert used[0.0] <= 2
    assert used[0.05] >= 6


def test_averages_follow_where_the_gradient_leads():
    """With the encoder held, both ways of learning end at the means of the outputs."""
    model, x = model_and_rows()
    with torch.no_grad():
        h = model.encoder.network(x).reshape(-1, 4)
    for _ in range(200):
        of(model, x, VQTraining(decay=0.5, revive=0.0))
    by_average = model.quantizer.vectors.detach().clone()
    index = torch.cdist(h, by_average).argmin(-1)
    for k in index.unique():
        mean = h[index == k].mean(0)
        torch.testing.assert_close(by_average[k], mean, atol=1e-6, rtol=0)
        model.quantizer.vectors.grad = None
    found = gradients(model, of(model, x, BY_GRADIENT).surrogate)["encoder.quantizer.vectors"]
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("quantizer", "latent"),
    [("levels", "categorical:8x5"), ("signs", "bernoulli:20"), ("sphere", "bernoulli:20")],
)
def test_fixed_points_learn_digits(quantizer, latent):
    data = load_data("digits")
    model = DiscreteVAE.for_data(data, latent=latent, hidden=(64,), quantizer=quantizer)
    config = TrainConfig(epochs=30, lr=3e-3, objective="vq", vq="entropy=1")
    history = train(model, data, config)
    assert history[-1].log_likelihood > history[0].log_likelihood + 4
    assert history[-1].kl == pytest.approx(math.log(model.family.n_states), rel=1e-5)
    assert len(model.encode(data.test.batch(slice(None))).unique(dim=0)) > 50
    points = {name: value for name, value in model.named_buffers() if "points" in name}
    for value in points.values():
        assert torch.equal(value, torch.linspace(-1, 1, 5))


@pytest.mark.parametrize("latent", ["categorical:2x3", "bernoulli:3"])
def test_the_information_is_that_of_the_definition(latent):
    """Σ_d Σ_k q̄ ln 1/q̄ − q ln 1/q, one variable and value at a time."""
    family = family_of(latent)
    eta = torch.randn(
        (6, *family.eta_shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    q = torch.softmax(eta, -1) if eta.ndim == 3 else torch.stack([eta, -eta], -1).sigmoid()
    mean = q.mean(0)
    expected = -(mean * mean.log()).sum() + (q * q.log()).sum((1, 2))
    found = quantized._information(family, eta)
    torch.testing.assert_close(found, expected)
    assert found.mean() > 0


def test_the_information_of_a_grid_takes_its_mean_over_places_too():
    family = family_of("categorical:6x3")
    eta = torch.randn((5, 6, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = torch.softmax(eta, -1)
    of_place = q.reshape(5, 3, 2, 3).mean((0, 1))  # two variables at each of three places
    expected = -3 * (of_place * of_place.log()).sum() + (q * q.log()).sum((1, 2))
    torch.testing.assert_close(quantized._information(family, eta, 3), expected)


@pytest.mark.parametrize("vq", ["decay=0.9,revive=0.3", "decay=0,revive=0.3"])
def test_resumed_equals_uninterrupted(vq, tmp_path):
    """Averages and all: stopped after the second step of the second epoch."""
    data = load_data("digits")
    data = dataclasses.replace(data, train=data.train.subset(slice(0, 100)))
    config = TrainConfig(epochs=3, batch_size=32, lr=0.01, objective="vq", vq=vq, average=0.9)

    def fresh():
        return DiscreteVAE.for_data(
            data, latent="categorical:4x16", hidden=(16,), quantizer="vector:3"
        )

    class Stopped(Exception):  # noqa: N818 - no error
        pass

    def stop(progress):
        if progress.epoch == 2 and progress.step == 3:
            raise Stopped

    whole = fresh()
    train(whole, data, config)
    every = SaveEvery(seconds=None, steps=1)
    with pytest.raises(Stopped):
        train(fresh(), data, config, out=tmp_path, save_every=every, progress=stop)
    resumed = fresh()
    train(resumed, data, config, out=tmp_path, resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    save_config(tmp_path, RunConfig(model=whole.config, training=config))
    kept = load_run(tmp_path).model
    assert kept.encoder.quantizer is kept.decoder.quantizer
    x = data.test.batch(slice(0, 20))
    assert torch.equal(kept.encode(x), whole.encode(x))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "vq"}, "`objective='vq'` needs a quantizer"),
        ({"objective": "vq", "augment": "light"}, "change the ELBO"),
        ({"vq": "beta=1"}, "`vq` belongs to `objective='vq'`"),
        ({"objective": "vq", "vq": "beta=-1"}, "beta must be >= 0. Got -1"),
        ({"objective": "vq", "vq": "decay=1"}, "decay must be >= 0 and < 1"),
        ({"objective": "vq", "vq": "gamma=1"}, "'gamma=1' is unknown"),
    ],
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(ConfigError) as error:
        RunConfig(model=ModelConfig(n_features=4), training=TrainConfig(**options))
    assert said in str(error.value)


def test_moving_averages_refuse_weights_of_rows():
    data = load_data("digits")
    rows = dataclasses.replace(data.train, weights=torch.ones(len(data.train)))
    weighted = dataclasses.replace(data, train=rows)
    model = DiscreteVAE.for_data(data, latent="categorical:4x4", quantizer="vector:2")
    with pytest.raises(ConfigError, match="Give `vq='decay=0'`"):
        train(model, weighted, TrainConfig(epochs=1, objective="vq"))
    train(model, weighted, TrainConfig(epochs=1, objective="vq", vq="decay=0"))
