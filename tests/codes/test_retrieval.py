"""Measures of retrieval against every order of the ties, and the yardsticks on digits."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import scipy.sparse
import torch

from discretevae import DiscreteVAE, load_data, mean_average_precision, measure_retrieval
from discretevae.codes.search.average_precision import (
    expected_average_precision,
    expected_hits,
    retrieval_scores,
)
from discretevae.codes.search.baselines import (
    Projection,
    itq,
    nearest_rows,
    principal_axes,
    random_projections,
)
from discretevae.codes.search.hamming import hamming_distances
from discretevae.codes.search.retrieval import code_bits, query_rows
from discretevae.data import Rows
from discretevae.errors import ConfigError, DataError


def average_precision(relevant: np.ndarray, top: int | None) -> float:
    """Of one ranked list, by its definition."""
    relevant = relevant[:top]
    hits = [relevant[: i + 1].mean() for i in np.flatnonzero(relevant)]
    return float(np.mean(hits)) if hits else 0.0


def over_all_orders(distances: np.ndarray, relevant: np.ndarray, measure) -> float:
    """The mean over every order in which rows at the same distance can stand."""
    groups = [np.flatnonzero(distances == d) for d in np.unique(distances)]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    return float(np.mean([measure(relevant[list(itertools.chain(*order))]) for order in orders]))


def counted(distances: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = int(distances.max()) + 1
    return (
        np.bincount(distances, minlength=size)[None],
        np.bincount(distances[relevant], minlength=size)[None],
    )


@pytest.mark.parametrize("top", [None, 1, 2, 4, 6, 7, 20])
def test_the_closed_form_is_the_mean_over_all_orders_of_ties(top):
    """Up to seven rows in up to four groups: every permutation is tried."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 8))
        distances, relevant = rng.integers(0, 4, n), rng.random(n) < 0.5
        found = expected_average_precision(*counted(distances, relevant), top=top)
        expected = over_all_orders(distances, relevant, lambda r: average_precision(r, top))
        assert found == pytest.approx([expected], abs=1e-12), seed


def test_ties_in_the_order_of_rows_would_be_noticed():
    distances, relevant = np.zeros(4, np.int64), np.array([True, True, False, False])
    expected = over_all_orders(distances, relevant, lambda r: average_precision(r, None))
    assert abs(average_precision(relevant, None) - expected) > 0.2
    assert expected_average_precision(*counted(distances, relevant))[0] == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_expected_hits_are_the_mean_over_all_orders_of_ties(k):
    rng = np.random.default_rng(3)
    distances, relevant = rng.integers(0, 3, 6), rng.random(6) < 0.5
    found = expected_hits(*counted(distances, relevant), k)
    assert found == pytest.approx([over_all_orders(distances, relevant, lambda r: r[:k].sum())])


def test_large_groups_agree_with_random_orders():
    """9,000 rows at five distances, cut within a group; 100 orders are drawn.

    The tolerance is 6 standard errors: a false alarm in 1e-8 of all seeds. Ties in the order of
    relevance, the worst mistake there is, would be seen at once.
    """
    rng = np.random.default_rng(0)
    distances, relevant = rng.integers(0, 5, 9000), rng.random(9000) < 0.3
    relevant &= rng.random(9000) < 1 - distances / 6
    for top in (None, 2500):
        drawn = []
        for _ in range(100):
            order = np.lexsort((rng.random(9000), distances))
            ranked = relevant[order][:top]
            precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
            drawn.append((precision * ranked).sum() / ranked.sum())
        found = expected_average_precision(*counted(distances, relevant), top=top)[0]
        error = np.std(drawn) / 10
        assert abs(found - np.mean(drawn)) < 6 * error
        ranked = relevant[np.lexsort((~relevant, distances))][:top]
        assert abs(found - average_precision(ranked, None)) > 60 * error


def test_perfect_useless_and_hopeless_codes():
    labels = np.repeat(np.arange(4), 50)
    perfect = np.packbits(np.eye(4, dtype=bool)[labels], axis=1)
    score = mean_average_precision(perfect, perfect, labels, labels, latent="bernoulli:4")
    assert score == pytest.approx(1.0)
    # one code for all: expected precision is that of a random order
    same = np.zeros((200, 1), np.uint8)
    at, relevant_at = np.array([[200]]), np.array([[50]])
    expected = expected_average_precision(at, relevant_at)[0]
    score = mean_average_precision(same, same, labels, labels, latent="bernoulli:4")
    assert score == pytest.approx(expected)
    assert 0.25 < score < 0.28
    # nothing relevant at all
    assert mean_average_precision(same, same, labels + 9, labels, latent="bernoulli:4") == 0.0
    # the relevant rows behind all others: precision i / (N − R + i)
    query, gallery = np.zeros((1, 1), np.uint8), np.array([[1]] * 7 + [[3]] * 3, np.uint8)
    last = mean_average_precision(query, gallery, [1], [0] * 7 + [1] * 3, latent="bernoulli:8")
    assert last == pytest.approx(np.mean([1 / 8, 2 / 9, 3 / 10]))


def test_random_codes_find_as_many_as_there_are():
    """mAP of random 64-bit codes is the share of relevant rows, but for the few first ranks."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 4000)
    codes = rng.integers(0, 256, (4000, 8), dtype=np.uint8)
    score = mean_average_precision(
        codes[:200], codes[200:], labels[:200], labels[200:], latent="bernoulli:64"
    )
    assert 0.095 < score < 0.11


def test_categories_are_ranked_by_the_variables_that_differ():
    rng = np.random.default_rng(0)
    codes, labels = rng.integers(0, 5, (60, 4)).astype(np.uint8), rng.integers(0, 3, 60)
    distance = (codes[:10, None] != codes[None]).sum(2)
    parts = [
        expected_average_precision(*counted(distance[i], labels == labels[i])) for i in range(10)
    ]
    score = mean_average_precision(codes[:10], codes, labels[:10], labels, latent="categorical:4x5")
    assert score == pytest.approx(np.mean(parts))


def test_chunks_of_queries_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    codes, labels = rng.integers(0, 256, (50, 2), dtype=np.uint8), rng.integers(0, 3, 50)
    arguments = (codes[:9], codes, labels[:9], labels)
    whole = mean_average_precision(*arguments, latent="bernoulli:16", top=10)
    monkeypatch.setattr("discretevae.codes.search.average_precision.CHUNK_DISTANCES", 100)
    parts = mean_average_precision(*arguments, latent="bernoulli:16", top=10)
    assert whole == pytest.approx(parts, abs=1e-12)


def test_every_score_is_what_its_name_says():
    rng = np.random.default_rng(1)
    codes, labels = rng.integers(0, 256, (300, 1), dtype=np.uint8), rng.integers(0, 4, 300)
    truth = np.stack([rng.permutation(300)[:10] for _ in range(20)])
    scores = retrieval_scores(
        codes[:20],
        codes,
        labels[:20],
        labels,
        truth,
        tops=(50, 999),
        precisions=(7,),
        recalls=(40,),
    )
    distances = hamming_distances(codes[:20], codes).astype(np.int64)
    each = [counted(distances[i], labels == labels[i]) for i in range(20)]
    ap = np.array([expected_average_precision(*pair)[0] for pair in each])
    assert scores.mean_average_precision == pytest.approx(ap.mean())
    assert scores.se == pytest.approx(ap.std(ddof=1) / np.sqrt(20))
    at_50 = [expected_average_precision(*pair, top=50)[0] for pair in each]
    assert scores.at_top == pytest.approx({50: np.mean(at_50)})  # 999 exceeds the gallery
    assert scores.precision[7] == pytest.approx(
        np.mean([expected_hits(*p, 7)[0] / 7 for p in each])
    )
    hits = [
        expected_hits(*counted(distances[i], np.isin(np.arange(300), truth[i])), 40)[0]
        for i in range(20)
    ]
    assert scores.recall[40] == pytest.approx(np.mean(hits) / 10)


def test_labels_and_tops_that_cannot_be():
    codes = np.zeros((3, 1), np.uint8)
    with pytest.raises(DataError, match="gallery labels must be one for each of 3 codes"):
        mean_average_precision(codes, codes, [1, 2, 3], [1, 2], latent="bernoulli:8")
    with pytest.raises(ConfigError, match="top must be an int"):
        mean_average_precision(codes, codes, [1, 2, 3], [1, 2, 3], latent="bernoulli:8", top=0)
    with pytest.raises(DataError, match="query labels"):
        mean_average_precision(codes[:0], codes, [], [1, 2, 3], latent="bernoulli:8")


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_itq_beats_pca_sign_and_random_projections_on_digits(digits):
    report = measure_retrieval({}, digits, bits=[16, 32])
    score = {(e.kind, e.n_bits): e.scores.mean_average_precision for e in report.entries}
    for n_bits in (16, 32):
        best = score["itq", n_bits]
        assert best > score["pca sign", n_bits] + 0.1
        assert best > score["random projections", n_bits] + 0.1


def test_the_same_seed_draws_the_same_and_another_does_not(digits):
    one, again, other = (
        measure_retrieval({}, digits, bits=[8], per_label=5, seed=seed).to_dict()
        for seed in (0, 0, 1)
    )
    assert one == again
    assert one["methods"] != other["methods"]


def test_itq_lessens_its_loss_in_every_step_and_keeps_the_subspace(digits, monkeypatch):
    x = digits.train.batch(slice(None)).numpy()
    mean, axes = principal_axes(x)
    assert np.allclose(axes.T @ axes, np.eye(64), atol=1e-4)
    plain, losses = Projection(mean, axes[:, :16]), []
    for steps in (0, 1, 2, 3, 5, 10, 50):
        monkeypatch.setattr("discretevae.codes.search.baselines.ITERATIONS", steps)
        turned = itq(x, mean, axes, 16)
        v = (x - mean) @ turned.matrix
        losses.append(float(((np.sign(v) - v) ** 2).sum()))
    assert (np.diff(losses) < 0).all()
    rotation = plain.matrix.T @ turned.matrix
    assert np.allclose(rotation @ rotation.T, np.eye(16), atol=1e-4)


def test_more_bits_than_axes_are_left_out(digits):
    x = digits.train.batch(slice(None)).numpy()
    mean, axes = principal_axes(x)
    assert axes.shape == (64, 64)
    assert random_projections(mean, 65).encode(x).shape == (1500, 9)
    report = measure_retrieval({}, digits, bits=[65])
    assert [entry.kind for entry in report.entries] == ["random projections"]


def test_nearest_rows_are_those_of_sorting_all(digits):
    x = digits.train.batch(slice(None)).numpy()
    queries = digits.test.batch(slice(None)).numpy()[:150]
    distance = ((queries[:, None].astype(np.float64) - x) ** 2).sum(2)
    found = nearest_rows(queries, x, 5)
    expected = np.sort(distance, axis=1)[:, :5]
    assert np.allclose(np.take_along_axis(distance, found, 1), expected, atol=1e-3)


def test_a_model_stands_beside_the_yardsticks_at_its_number_of_bits(digits):
    bits = DiscreteVAE.for_data(digits, latent="bernoulli:16", hidden=(16,), seed=1)
    categories = DiscreteVAE.for_data(digits, latent="categorical:5x4", hidden=(16,), seed=1)
    before = torch.get_rng_state()
    report = measure_retrieval(
        {"bits": (bits, "threshold"), "categories": (categories, "none")}, digits, per_label=5
    )
    assert torch.equal(before, torch.get_rng_state())
    assert (report.queries, report.gallery) == (50, 1500)
    names = [(entry.n_bits, entry.name) for entry in report.entries]
    assert names[0] == (10, "categories")
    assert names[4] == (16, "bits")
    assert len(names) == 8
    assert all(0 < e.scores.mean_average_precision < 1 for e in report.entries)
    json.dumps(report.to_dict(), allow_nan=False)


def test_models_and_data_that_cannot_be_measured(digits):
    with pytest.raises(ConfigError, match="Got neither"):
        measure_retrieval({}, digits)
    gaussian = DiscreteVAE.for_data(digits, latent="gaussian:4", hidden=(16,))
    with pytest.raises(ConfigError, match="has a Gaussian part"):
        measure_retrieval({"g": (gaussian, "none")}, digits)
    bare = Rows(digits.test.values, digits.test.divisor, None, None, "bare")
    data = type(digits)("bare", bare, bare)
    with pytest.raises(DataError, match="bare: rows have no labels"):
        measure_retrieval({}, data, bits=[8])


def test_bits_of_codes_are_those_that_tell_their_states_apart(digits):
    for latent, n_bits in {
        "bernoulli:9": 9,
        "categorical:10": 4,
        "categorical:3x2": 3,
        "bernoulli:2+categorical:5": 5,
    }.items():
        model = DiscreteVAE.for_data(digits, latent=latent, hidden=(8,))
        assert code_bits(model.family.spec) == n_bits


def test_queries_are_some_of_each_label():
    labels = np.random.default_rng(0).integers(0, 3, 200)
    chosen = query_rows(labels, 7, seed=4)
    assert np.array_equal(np.bincount(labels[chosen]), [7, 7, 7])
    assert len(np.unique(chosen)) == 21
    assert not np.array_equal(chosen, query_rows(labels, 7, seed=5))
    with pytest.raises(ConfigError, match="`per_label` must be an int"):
        query_rows(labels, 0, seed=0)


def test_one_label_of_several_in_common_makes_a_row_relevant():
    rng = np.random.default_rng(3)
    codes, labels = rng.integers(0, 256, (60, 1), dtype=np.uint8), rng.integers(0, 5, 60)
    rest, one_hot = (codes[10:], labels[10:]), np.eye(5, dtype=np.uint8)[labels]
    plain = mean_average_precision(codes[:10], rest[0], labels[:10], rest[1], latent="bernoulli:8")
    several = mean_average_precision(
        codes[:10], rest[0], one_hot[:10], one_hot[10:], latent="bernoulli:8"
    )
    assert several == plain
    all_have_one = np.concatenate([one_hot, np.ones((60, 1), np.uint8)], 1)
    every = mean_average_precision(
        codes[:10], rest[0], all_have_one[:10], all_have_one[10:], latent="bernoulli:8"
    )
    assert every == pytest.approx(1)


def test_labels_are_handed_over_for_rows_of_words(cli, tmp_path):
    rng = np.random.default_rng(0)
    topics = np.arange(120) % 3
    rates = np.where(np.arange(30) // 10 == topics[:, None], 1.0, 0.05)
    words = scipy.sparse.csr_array(2 * rng.poisson(rates))
    scipy.sparse.save_npz(tmp_path / "train.npz", words[:90])
    scipy.sparse.save_npz(tmp_path / "test.npz", words[90:])
    np.save(tmp_path / "train.npy", topics[:90])
    np.save(tmp_path / "test.npy", topics[90:])
    packed = np.packbits(np.eye(3, dtype=np.uint8)[topics], axis=1)
    np.save(tmp_path / "train-packed.npy", packed[:90])
    np.save(tmp_path / "test-packed.npy", packed[90:])
    run = tmp_path / "run"
    tiny = ("--latent", "bernoulli:6", "--hidden", "16", "--epochs", "8", "--lr", "0.01")
    said = cli("train", "--data", tmp_path / "train.npz", *tiny, "--out", run)
    assert said.status == 0, said.err
    found = []
    for kind in ("", "-packed"):
        said = cli(
            "retrieval", run, "--query-data", tmp_path / "test.npz", "--json",
            "--labels", tmp_path / f"train{kind}.npy", tmp_path / f"test{kind}.npy",
        )  # fmt: skip
        assert said.status == 0, said.err
        found.append(json.loads(said.out))
    assert found[0] == found[1]
    assert (found[0]["queries"], found[0]["gallery"]) == (30, 90)
    precision = {m["kind"]: m["precision_at"]["10"] for m in found[0]["methods"]}
    assert precision["model"] > 0.5  # by chance 0.33
    assert precision["itq"] > 0.8  # of LSA
    said = cli("retrieval", run)
    assert (said.status, "rows have no labels" in said.err) == (2, True)
    handed = ("--labels", tmp_path / "train.npy", tmp_path / "train.npy")
    said = cli("retrieval", run, "--query-data", tmp_path / "test.npz", *handed)
    assert (said.status, "one for each of 30 codes" in said.err) == (2, True)


def test_the_command_prints_a_table_and_json(cli, trained):
    run = trained("bernoulli:8")
    said = cli("retrieval", run, "--bits", "4", "--queries", 3)
    assert said.status == 0, said.err
    assert "digits: 30 queries, 1,500 rows searched" in said.out
    values = json.loads(cli("retrieval", run, "--json", "--queries", 3).out)
    assert [m["kind"] for m in values["methods"]] == [
        "model",
        "itq",
        "pca sign",
        "random projections",
    ]
    assert values["trained_on"] == {str(run): "digits"}


def test_the_command_says_when_the_gallery_is_not_what_was_learned(cli, trained, tmp_path):
    path = tmp_path / "split.npz"
    rows = load_data("digits").train
    x, y = rows.values.numpy(), rows.labels.numpy()
    np.savez(path, x_train=x[:1400], y_train=y[:1400], x_test=x[1400:], y_test=y[1400:], divisor=16)
    said = cli("retrieval", trained("bernoulli:8"), "--data", path, "--json")
    assert "was trained on digits, not on the rows of" in said.err
    assert json.loads(said.out)["gallery"] == 1400


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "nothing to measure"),
        (("--data", "digits"), "nothing to measure"),
        (("--data", "digits", "--bits", "8,x"), "--bits '8,x' must be ints"),
        (("--data", "digits", "--bits", "0"), "--bits '0' must be ints"),
        (("--data", "digits", "--bits", "8", "--queries", "0"), "queries must be an int >= 1"),
        (("--data", "digits", "--bits", "8", "--seed", "-1"), "seed must be"),
        (("no/run",), "no such run folder"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(cli, args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = cli("retrieval", *args)
    assert said.status == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
