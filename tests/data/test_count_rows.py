"""Counts: when they are seen, what is refused, and that sparse rows are treated as full ones."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import normalize

import discretevae as dv
from discretevae.config import ModelConfig, TrainConfig
from discretevae.data import Dataset, Rows, Schema, load_rows
from discretevae.data.digest import Digest
from discretevae.data.neighbors import topic_vectors, topical_counts
from discretevae.errors import DataError, DataWarning
from discretevae.likelihoods import MultinomialLikelihood
from discretevae.model.inputs import suited_likelihood
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.counts import CountLinear
from discretevae.training.placement import place_words
from discretevae.training.selection import mean_row

COUNTS = MultinomialLikelihood()

WORDS = np.random.default_rng(0).poisson(0.15, (40, 12)).astype(np.int64) * 2
WORDS[np.arange(40), np.arange(40) % 12] += 1
WORDS[0, 0] = 9


def auto(table, **more):
    return Rows.from_array(table, scale="auto", **more)


def fresh(likelihood="multinomial", **more):
    config = ModelConfig(
        n_features=12, latent="bernoulli:4", hidden=(8,), likelihood=likelihood, **more
    )
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float64])
@pytest.mark.parametrize("make", [sp.csr_array, sp.coo_array])
def test_counts_are_seen_and_stay_what_they_are(make, kind):
    rows = auto(make(WORDS.astype(kind)))
    assert rows.divisor == 1
    assert rows.are_counts
    assert suited_likelihood(rows).kind == "multinomial"
    assert torch.equal(rows.batch(slice(None)), torch.from_numpy(WORDS).float())


GREY = np.where(WORDS == 9, 255, WORDS)


@pytest.mark.parametrize(
    ("table", "more"),
    [
        (sp.csr_array(WORDS / 2), {}),
        (sp.csr_array(-WORDS), {}),
        (sp.csr_array(np.sign(WORDS)), {}),
        (sp.csr_array(GREY), {}),
        (GREY, {}),
        (WORDS, {}),
        (sp.csr_array(WORDS), {"image_shape": (3, 4), "divisor": 9}),
    ],
    ids=["half", "negative", "binary", "grey", "dense", "counts", "pictures"],
)
@pytest.mark.filterwarnings("ignore:.*whole numbers from 0 to 9")
def test_other_tables_are_none(table, more):
    rows = auto(table, **more)
    assert not rows.are_counts
    assert suited_likelihood(rows).kind != "multinomial"


def test_a_sparse_file_is_read_like_the_matrix(tmp_path):
    sp.save_npz(tmp_path / "words.npz", sp.csr_array(WORDS))
    assert load_rows(tmp_path / "words.npz", scale="auto").are_counts
    assert load_rows(tmp_path / "words.npz", scale="none").divisor == 1
    with pytest.raises(DataError, match="which scaled columns would fill"):
        load_rows(tmp_path / "words.npz", scale="standard")


@pytest.mark.parametrize("likelihood", ["multinomial", "poisson", "negative-binomial"])
@pytest.mark.parametrize("wrong", [-1.0, 0.5])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_what_is_no_count_is_refused_by_name(make, wrong, likelihood):
    table = WORDS.astype(float)
    table[3, 4] = wrong
    rows = Rows.from_array(make(table), scale="none", name="mine")
    with pytest.raises(DataError, match=f"mine: 1 value of 480 no counts, such as {wrong:g}. Give"):
        dv.evaluate(fresh(likelihood), rows)
    with pytest.raises(DataError, match="x must be counts"):
        fresh(likelihood).encode(torch.from_numpy(table).float())


def test_divided_counts_are_none():
    with pytest.raises(DataError, match=r"no counts, such as 0\.0352941.* with `scale='none'`"):
        dv.evaluate(fresh(), Rows.from_array(WORDS, divisor=255))


def test_whole_numbers_are_taken_for_x_by_a_model_of_counts():
    model = fresh()
    ours = model.encode(WORDS)
    assert torch.equal(ours, model.encode(torch.from_numpy(WORDS).float()))
    assert torch.equal(ours, model.encode(sp.csr_array(WORDS)))
    with pytest.raises(DataError, match="nothing says what"):
        fresh("gaussian").encode(WORDS)


def test_digest_and_mean_are_those_of_full_rows():
    full, sparse = (Rows.from_array(each, divisor=3) for each in (WORDS, sp.csr_array(WORDS)))
    assert Digest.of([full]) == Digest.of([sparse])
    assert torch.allclose(mean_row(full, COUNTS), mean_row(sparse, COUNTS))
    weights = torch.rand(40)
    full, sparse = (replace(rows, weights=weights) for rows in (full, sparse))
    assert torch.allclose(mean_row(full, COUNTS), mean_row(sparse, COUNTS))


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_words_weigh_as_in_scikit_learn(make):
    model = fresh()
    place_words(model, Rows.from_array(make(WORDS), scale="none"))
    wanted = TfidfTransformer().fit(WORDS).idf_
    assert np.allclose(model.encoder[0].idf.numpy(), wanted)


def test_the_first_layer_multiplies_entries_as_all_values_would_be():
    layer = CountLinear(12, 5).double()
    with torch.no_grad():
        for tensor in (layer.weight, layer.bias, layer.idf):
            tensor.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1)))
    x = torch.from_numpy(WORDS).double()
    x[7] = 0
    values = x.log1p() * layer.idf
    values = 12**0.5 * values / values.norm(dim=1, keepdim=True).clamp(min=1e-12)
    wanted = values @ layer.weight + layer.bias
    assert torch.allclose(layer(x), wanted)
    assert torch.equal(layer(x)[7], layer.bias)
    for ours, theirs in zip(
        torch.autograd.grad(layer(x).square().sum(), [layer.weight, layer.bias]),
        torch.autograd.grad(wanted.square().sum(), [layer.weight, layer.bias]),
        strict=True,
    ):
        assert torch.allclose(ours, theirs)


def test_of_many_words_the_first_layer_sees_directions_of_lsa():
    table = np.random.default_rng(1).poisson(0.1, (250, 240)).astype(np.int64) * 2
    table[:, 0] += 1
    config = ModelConfig(
        n_features=240, latent="bernoulli:4", hidden=(8,), likelihood="multinomial"
    )
    layers = []
    for each in (table, sp.csr_array(table)):
        model = DiscreteVAE(config)
        place_words(model, Rows.from_array(each, scale="none"))
        layers.append(model.encoder[0])
    layer = layers[0]
    assert layer.weight.shape == (200, 8)
    assert torch.allclose(layer.topics, layers[1].topics, atol=1e-4)
    idf = TfidfTransformer().fit(table).idf_
    values = normalize(np.log1p(table) * idf)
    inside = values @ layer.topics.numpy()
    assert np.allclose(layer.topics.T @ layer.topics, np.eye(200), atol=1e-4)
    # no 200 directions hold more of the values than the first singular vectors
    most = (np.linalg.svd(values, compute_uv=False)[:200] ** 2).sum()
    assert 0.99 * most < (inside**2).sum() <= most * (1 + 1e-6)
    wanted = torch.from_numpy(normalize(inside) * 200**0.5).float() @ layer.weight + layer.bias
    assert torch.allclose(layer(torch.from_numpy(table).float()), wanted, atol=1e-4)


def test_fewer_rows_than_directions_leave_the_others_out():
    table = np.random.default_rng(1).poisson(0.5, (9, 240)) * 2
    model = DiscreteVAE(
        ModelConfig(n_features=240, latent="bernoulli:4", hidden=(8,), likelihood="multinomial")
    )
    place_words(model, Rows.from_array(sp.csr_array(table), scale="none"))
    assert (model.encoder[0].topics != 0).any(0).tolist() == [True] * 9 + [False] * 191


def test_topical_counts_keep_the_sum_of_a_row_and_weigh_rare_words_more():
    rows = auto(sp.csr_array(WORDS))
    weighted = topical_counts(rows).matrix.toarray()
    assert np.allclose(weighted.sum(1), WORDS.sum(1), atol=1e-4)
    values = TfidfTransformer(sublinear_tf=True).fit_transform(WORDS).toarray()
    wanted = values / values.sum(1, keepdims=True) * WORDS.sum(1, keepdims=True)
    assert np.allclose(weighted, wanted, atol=1e-4)


def test_a_row_without_counts_is_named_once_and_kept():
    table = WORDS.copy()
    table[5] = 0
    rows = auto(sp.csr_array(table))
    model, data = fresh(), Dataset("words", rows, rows)
    with pytest.warns(
        DataWarning, match="1 row without a single count, the first with the id 5"
    ) as w:
        dv.train(model, data, TrainConfig(epochs=2))
    assert len([each for each in w if each.category is DataWarning]) == 1
    assert len(model.encode(table)) == 40


def test_training_starts_at_the_shares_of_the_words_and_learns():
    rows = auto(sp.csr_array(WORDS))
    data = Dataset("words", rows, rows)
    assert Schema.of(data).divisor == 1
    start = fresh()
    start.start_at(mean_row(rows, start.likelihood))
    with torch.no_grad():
        start.decoder[-1].weight.zero_()
    unigram = dv.evaluate(start, rows, samples=1).log_likelihood.value
    for likelihood in ("multinomial", "poisson", "negative-binomial"):
        model = fresh(likelihood)
        history = dv.train(model, data, TrainConfig(epochs=30, lr=0.01))
        assert history[-1].loss < history[0].loss
    model = fresh()
    first = dv.train(model, data, TrainConfig(epochs=1, lr=1e-6))[0]
    assert first.log_likelihood > unigram - 2  # without a start at the mean 12 nats below


@pytest.mark.parametrize("likelihood", ["multinomial", "negative-binomial"])
def test_models_of_counts_are_exported(likelihood, tmp_path):
    pytest.importorskip("onnxruntime")
    model = fresh(likelihood)
    place_words(model, auto(sp.csr_array(WORDS)))
    done = dv.export_onnx(model, tmp_path, rows=WORDS[1:])
    assert done.difference < 1e-5


def test_topics_take_no_notice_of_zeros_that_are_stored():
    matrix = sp.csr_array(np.where(WORDS == 0, 1, WORDS))
    matrix.data[np.asarray(WORDS).ravel() == 0] = 0
    rows = [Rows.from_array(each, scale="none") for each in (matrix, sp.csr_array(WORDS))]
    assert len(rows[0].values.matrix.data) > len(rows[1].values.matrix.data)
    stored, plain = (topic_vectors(each, n=3, seed=0)[0] for each in rows)
    assert np.allclose(stored, plain, atol=1e-6)
    models = [fresh(), fresh()]
    for model, each in zip(models, rows, strict=True):
        place_words(model, each)
    assert torch.equal(models[0].encoder[0].idf, models[1].encoder[0].idf)
    assert Digest.of([rows[0]]) == Digest.of([rows[1]])


def test_the_decoder_of_counts_is_linear_unless_asked():
    assert len(fresh().decoder) == 1
    assert len(fresh(decoder="mirror").decoder) == 3
    assert len(fresh("gaussian").decoder) == 3
    assert len(fresh("gaussian", decoder="linear").decoder) == 1


def test_the_classes_choose_a_likelihood_of_counts_by_themselves(tmp_path):
    make = sp.csr_array
    vae = dv.BernoulliVAE(n_bits=4, hidden=(8,), epochs=2, random_state=0).fit(make(WORDS))
    assert str(vae.model_.config.likelihood) == "multinomial"
    codes = vae.transform(make(WORDS))
    assert np.array_equal(codes, vae.transform(WORDS))
    vae.save(tmp_path / "vae")
    loaded = dv.BernoulliVAE.load(tmp_path / "vae")
    assert np.array_equal(loaded.score_samples(WORDS), vae.score_samples(make(WORDS)))
    assert np.allclose(vae.inverse_transform(codes).sum(1), 1, atol=1e-5)
    with pytest.raises(DataError, match="no counts"):
        vae.transform(WORDS / 4)
