"""Weights of rows: against rows that are repeated, exactly, by enumeration."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from discretevae.config import ModelConfig, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.errors import ConfigError, DataError
from discretevae.estimators import Exact, Importance, make_estimator
from discretevae.likelihoods import BernoulliLikelihood
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import OBJECTIVES, elbo
from discretevae.system.ranks import Ranks
from discretevae.training import choose_method, prepare_training, train
from discretevae.training.batches import BatchMaker
from discretevae.training.selection import mean_row

BITS = BernoulliLikelihood()

WEIGHTS = torch.tensor([3.0, 0.0, 1.0, 2.0, 0.0, 5.0])


def rows(n: int = 6) -> Rows:
    generator = torch.Generator().manual_seed(0)
    return Rows.from_array((torch.rand(n, 5, generator=generator) > 0.5).float())


def fresh(latent: str = "bernoulli:3", **changes: object) -> DiscreteVAE:
    config = ModelConfig(n_features=5, latent=latent, hidden=(4,), **changes)
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(1))


def maker(data: Rows, ranks: Ranks | None = None, **config: object) -> BatchMaker:
    model = fresh()
    method = choose_method(model.family, TrainConfig(**config), ranks=ranks)
    prepared = prepare_training(model, Dataset("mine", data, data), method)
    made = BatchMaker(prepared, torch.Generator().manual_seed(0))
    made.start_epoch(1)
    return made


def gradients(model: DiscreteVAE, objective: str, x: torch.Tensor, weights=None):
    terms = OBJECTIVES[objective](model, x, Exact(), generator=None)
    loss = (terms if weights is None else terms.weighted(weights)).loss
    return loss.item(), torch.autograd.grad(loss, tuple(model.parameters()), allow_unused=True)


@pytest.mark.parametrize("objective", ["elbo", "marginal"])
@pytest.mark.parametrize("prior", ["fixed", "factorized", "autoregressive"])
@pytest.mark.parametrize("latent", ["bernoulli:3", "categorical:4"])
def test_whole_weights_are_repeated_rows_in_the_gradient_of_a_full_batch(objective, prior, latent):
    """Through the batch that training makes; weights of 0 are rows that are not there."""
    if latent.startswith("categorical") and prior == "autoregressive":
        pytest.skip("a single variable has nothing to follow")
    data = replace(rows(), weights=WEIGHTS)
    batch = maker(data, batch_size=6).make(0)
    model = fresh(latent, prior=prior).double()
    loss, ours = gradients(model, objective, batch.target.double(), batch.row_weights.double())
    repeated = rows().batch(slice(None)).repeat_interleave(WEIGHTS.long(), 0)
    expected, theirs = gradients(model, objective, repeated.double())
    assert loss == pytest.approx(expected, abs=1e-6)  # the weights are float32
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-6)
    # and not those of the rows as they are
    plain, others = gradients(model, objective, batch.target.double())
    assert abs(plain - expected) > 1e-3
    assert any(a is not None and (a - b).abs().max() > 1e-3 for a, b in zip(others, theirs))  # noqa: B905


@pytest.mark.parametrize("name", ["rloo", "disarm", "reinmax", "relax", "gumbel-softmax"])
def test_every_way_to_a_gradient_takes_weights_of_rows(name):
    """One row with a weight: its gradient that many times, from the same draws.

    Those that form the decoder's gradient beside the value count on equal weights.
    """
    model, x = fresh(), rows().batch(slice(None))
    weights = torch.tensor([0.5, 2.0, 0.0, 1.0, 1.5, 1.0])
    estimator = make_estimator(name, kind="bernoulli")

    def terms():
        return elbo(model, x, estimator, generator=torch.Generator().manual_seed(3))

    estimator.prepare(model.family, torch.zeros(1, 3))
    parameters = tuple(model.parameters())
    whole = torch.autograd.grad(terms().weighted(weights).loss, parameters)
    sums = [torch.zeros_like(p) for p in parameters]
    for b, weight in enumerate(weights):
        part = torch.autograd.grad(terms().surrogate[b] * -weight / 6, parameters)
        sums = [total + grad for total, grad in zip(sums, part, strict=True)]
    for a, b in zip(whole, sums, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("weight", [1.0, 3.0, 0.1])
def test_equal_weights_change_no_bit(weight):
    models, histories = [], []
    for weights in (None, torch.full((40,), weight)):
        model, data = fresh(), replace(rows(40), weights=weights)
        config = TrainConfig(epochs=2, batch_size=16, start="mean")
        histories.append(train(model, Dataset("mine", data, data), config))
        models.append(model)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)
    assert histories[0][-1].loss == histories[1][-1].loss


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_steps_of_an_epoch_add_up_to_the_weighted_objective(count):
    """With a last batch that is smaller, on any number of processes."""
    weights = torch.rand(10, generator=torch.Generator().manual_seed(5)) * 4
    data = replace(rows(10), weights=weights)
    makers = [maker(data, Ranks(rank, count), batch_size=4) for rank in range(count)]
    x = data.batch(slice(None))
    total = torch.zeros(5, dtype=torch.float64)
    for step, size in enumerate((4, 4, 2)):
        for made in makers:
            batch = made.make(step)
            if batch.weight:
                mean = (batch.row_weights.double() @ batch.target.double()) / len(batch.target)
                total += mean * batch.weight * size / count  # as processes average their losses
    expected = 10 * weights.double() @ x.double() / weights.double().sum()
    assert torch.allclose(total, expected, atol=1e-5)


def test_the_figures_of_an_epoch_are_weighted_means():
    data = replace(rows(), weights=WEIGHTS)
    model = fresh("categorical:3")
    before = fresh("categorical:3")
    config = TrainConfig(epochs=1, batch_size=6, objective="marginal", lr=1e-12)
    history = train(model, Dataset("mine", data, data), config)
    terms = OBJECTIVES["marginal"](before, data.batch(slice(None)), Exact(), generator=None)
    share = WEIGHTS / WEIGHTS.sum()
    assert history[0].loss == pytest.approx(-(share @ terms.surrogate).item(), abs=1e-4)
    assert history[0].kl == pytest.approx((share @ terms.kl).item(), abs=1e-4)


def test_the_start_at_the_mean_is_that_of_the_weighted_rows():
    data = replace(rows(), weights=WEIGHTS)
    repeated = rows().batch(slice(None)).repeat_interleave(WEIGHTS.long(), 0)
    assert torch.allclose(mean_row(data, BITS), repeated.mean(0), atol=1e-6)
    assert torch.allclose(mean_row(rows(), BITS), rows().batch(slice(None)).mean(0), atol=1e-6)


def test_a_subset_keeps_its_weights():
    data = replace(rows(), weights=WEIGHTS)
    assert data.subset(torch.tensor([5, 0])).weights.tolist() == [5, 3]
    assert data.subset(slice(1, 3)).weights.tolist() == [0, 1]
    assert data.binarized("threshold").weights is data.weights


def test_held_out_rows_are_held_out_with_their_weights():
    weights = torch.arange(40.0)
    data = replace(rows(40), weights=weights)
    model = fresh()
    method = choose_method(model.family, TrainConfig(patience=2, validation=0.25))
    prepared = prepare_training(model, Dataset("mine", data, data), method)
    learned, held = prepared.train_rows.weights, prepared.validation_rows.weights
    assert sorted(learned.tolist() + held.tolist()) == weights.tolist()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(5), r"one for each of 6 rows. Got shape \(5,\)"),
        (torch.ones(6, 1), "one for each of 6 rows"),
        (torch.ones(6).double(), "torch.float64"),
        (torch.tensor([1.0, -2.0, 1.0, 1.0, 1.0, 1.0]), "Got -2 for row 1"),
        (torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, float("nan")]), "Got nan for row 5"),
        (torch.tensor([float("inf"), 1.0, 1.0, 1.0, 1.0, 1.0]), "Got inf for row 0"),
    ],
)
def test_what_is_no_weight_is_refused(weights, message):
    with pytest.raises(DataError, match=message):
        replace(rows(), weights=weights)


def test_what_knows_no_weights_refuses_them():
    data = replace(rows(), weights=WEIGHTS)
    with pytest.raises(ConfigError, match="`free_bits` knows no weights of rows"):
        train(fresh(), Dataset("mine", data, data), TrainConfig(epochs=1, free_bits=0.1))
    none = replace(rows(), weights=torch.zeros(6))
    with pytest.raises(DataError, match="every weight is 0"):
        train(fresh(), Dataset("mine", none, none), TrainConfig(epochs=1))


def test_importance_weights_of_samples_are_others():
    """Both kinds of weights at once: those of samples add up to one in each row."""
    terms = elbo(
        fresh(), rows().batch(slice(None)), Importance(), generator=torch.Generator().manual_seed(0)
    )
    weighted = terms.weighted(WEIGHTS)
    assert torch.equal(weighted.surrogate, WEIGHTS * terms.surrogate)
    for name, figure in terms.diagnostics.items():
        assert torch.equal(weighted.diagnostics[name], WEIGHTS * figure)
