"""Outliers: what a score is, which rows it puts last, and what the command says and writes."""

from __future__ import annotations

import json
import math
import re
from functools import partial

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from discretevae import (
    ConfigError,
    DataError,
    DataWarning,
    DiscreteVAE,
    ModelConfig,
    Rows,
    TrainConfig,
    fit_outliers,
    input_complexity,
    load_data,
    load_rows,
    score_samples,
    train,
)
from discretevae.codes import outliers as module
from discretevae.codes.outliers import NATS_PER_BYTE, OutlierScores
from discretevae.plots.outliers import outlier_figure
from discretevae.plots.pictures import mosaic, save_figure

LATENTS = ("categorical:10", "bernoulli:30", "gaussian:3", "categorical:4+bernoulli:20")


def model_of(latent, **options):
    config = ModelConfig(n_features=64, latent=latent, hidden=(16,), image_shape=(8, 8), **options)
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


@pytest.fixture(scope="module")
def model(data):
    """Trained for long enough to tell a digit from noise."""
    made = model_of("categorical:10")
    config = TrainConfig(epochs=6, lr=0.01, objective="marginal")
    train(made, data, config)
    return made


def rng(seed=0):
    return np.random.default_rng(seed)


def bytes_of(rows, n):
    return np.rint(255 * rows.batch(slice(0, n)).numpy()).astype(np.uint8)


OUTLIERS = {
    "noise": lambda rows: rng().integers(0, 256, (60, 64), np.uint8),
    "white": lambda rows: np.full((60, 64), 255, np.uint8),
    "grey": lambda rows: np.full((60, 64), 120, np.uint8),
    "negatives": lambda rows: 255 - bytes_of(rows, 60),
    "pixels in another order": lambda rows: rng().permuted(bytes_of(rows, 60), axis=1),
    "stripes": lambda rows: np.tile(np.repeat(np.uint8([0, 255]), 8), (60, 4)),
}


@pytest.mark.parametrize("kind", OUTLIERS)
def test_rows_unlike_the_training_rows_get_lower_scores(kind, model, data):
    odd = Rows.from_array(OUTLIERS[kind](data.test), divisor=255)
    found = fit_outliers(model, data.train)
    scores = np.concatenate([found.score_samples(data.test), found.score_samples(odd)])
    is_normal = np.repeat([1, 0], [297, 60])
    assert roc_auc_score(is_normal, scores) > 0.97
    assert (found.predict(odd) == -1).mean() > 0.9
    assert (found.predict(data.test) == 1).mean() > 0.85


def test_a_row_without_ink_is_more_likely_than_most_and_the_correction_sees_that_it_is_simple(
    model, data
):
    empty = Rows.from_array(np.zeros((1, 64), np.uint8), divisor=16, image_shape=(8, 8))
    rank = {}
    for correction in ("none", "complexity"):
        found = fit_outliers(model, data.train, correction=correction)
        rank[correction] = (
            (found.score_samples(data.test) < found.score_samples(empty)).mean().item()
        )
    assert rank["none"] > 0.1
    assert rank["complexity"] == 0.0


def test_scores_are_ln_px_by_hand_and_with_the_correction_ln_px_plus_length(model, data):
    rows = data.test
    x = rows.batch(slice(0, 297)).double().numpy()
    with torch.no_grad():
        logits = model.output(torch.eye(10).unsqueeze(1)).double().numpy()
        log_prior = model.prior.log_prob_table().double().numpy()
    table = x @ logits.T - np.logaddexp(0, logits).sum(1)  # Σ x l − ln(1 + e^l)
    expected = scipy.special.logsumexp(table + log_prior, axis=1)
    plain = fit_outliers(model, data.train).measure(rows)
    assert plain.is_exact
    assert plain.is_surrogate
    assert np.allclose(plain.scores, expected, rtol=0, atol=1e-4)
    length = input_complexity(rows)
    corrected = fit_outliers(model, data.train, correction="complexity").measure(rows)
    assert np.allclose(corrected.scores, expected + length, rtol=0, atol=1e-4)
    assert np.array_equal(corrected.scores, plain.corrected)
    assert length.std() > 10  # so that a correction of the other sign would be another score
    assert not np.allclose(corrected.scores, expected - length, atol=1)


@pytest.mark.parametrize("correction", ["none", "complexity"])
@pytest.mark.parametrize("latent", LATENTS)
def test_every_way_of_asking_gives_the_same(latent, correction, data):
    model = model_of(latent)
    few, rows = data.train.subset(slice(0, 100)), data.test.subset(slice(0, 100))
    found = fit_outliers(model, few, correction=correction, samples=5, contamination=0.2)
    scores, decisions = found.score_samples(rows), found.decision_function(rows)
    labels, measured = found.predict(rows), found.measure(rows)
    assert np.array_equal(decisions, scores - found.threshold)
    assert np.array_equal(labels, np.where(decisions < 0, -1, 1))
    assert (labels.dtype, scores.dtype) == (np.int64, np.float64)
    assert measured.n_outliers == (labels == -1).sum() > 0
    for mine, other in (("scores", scores), ("decisions", decisions), ("labels", labels)):
        assert np.array_equal(getattr(measured, mine), other)
    assert np.array_equal(measured.bound, score_samples(model, rows, samples=5).numpy())
    assert np.array_equal(measured.worst(100), np.argsort(scores, kind="stable"))
    assert measured.is_exact == (latent == "categorical:10")
    assert len(measured) == 100


@pytest.mark.parametrize("contamination", [0.001, 0.02, 0.05, 0.25, 0.5])
def test_the_threshold_is_the_quantile_of_the_reference_rows(contamination, model, data):
    found = fit_outliers(model, data.train, contamination=contamination)
    scores = np.sort(found.score_samples(data.train))
    at = contamination * 1499
    low, high = scores[math.floor(at)], scores[math.ceil(at)]
    expected = low + (at - math.floor(at)) * (high - low)
    assert found.threshold == pytest.approx(expected, abs=1e-9)
    assert (found.predict(data.train) == -1).sum() == math.ceil(at)
    assert found.n_reference == 1500


def test_the_share_among_other_rows_of_the_kind_is_the_contamination():
    """Beta-binomial limits with a false alarm in 100,000; twice the share must be seen."""
    rows, n, m = load_rows("digits", split="all"), 900, 897
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(1))
    model = model_of("categorical:10")  # that has met none of them: all are exchangeable

    def outliers(contamination):
        found = fit_outliers(model, rows.subset(order[:n]), contamination=contamination)
        return (found.predict(rows.subset(order[n:])) == -1).sum()

    below = math.ceil(0.1 * (n - 1))
    limits = scipy.stats.betabinom(m, below, n + 1 - below).ppf([5e-6, 1 - 5e-6])
    assert limits[0] <= outliers(0.1) <= limits[1]
    assert not limits[0] <= outliers(0.2) <= limits[1]


def test_a_row_at_the_threshold_is_normal(model, data):
    one = data.train.subset(slice(7, 8))
    with pytest.warns(DataWarning, match="1 reference row say little of a share of 0.5.* least 2"):
        found = fit_outliers(model, one, contamination=0.5)
    assert found.decision_function(one).tolist() == [0.0]
    assert found.predict(one).tolist() == [1]


@pytest.mark.parametrize("latent", LATENTS)
def test_scores_follow_from_the_seed_alone(latent, data):
    model, before = model_of(latent), torch.get_rng_state()
    weights = [p.detach().clone() for p in model.parameters()]

    def scores(seed):
        found = fit_outliers(model, data.train.subset(slice(0, 99)), samples=3, seed=seed)
        return found.score_samples(data.test.subset(slice(0, 60))), found.threshold

    (a, a_threshold), (b, b_threshold), (c, c_threshold) = scores(4), scores(4), scores(5)
    assert np.array_equal(a, b)
    assert a_threshold == b_threshold
    exact = latent == "categorical:10"
    assert np.array_equal(a, c) == exact
    assert (a_threshold == c_threshold) == exact
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(weights, model.parameters(), strict=True))


def test_rows_are_binarized_as_in_training_and_never_by_a_draw(model, data):
    binary = Rows.from_array((data.test.batch(slice(0, 297)) > 0.5).byte(), image_shape=(8, 8))
    expected = fit_outliers(model, binary, correction="complexity").measure(binary)
    assert not expected.is_surrogate
    for mode in ("threshold", "dynamic"):
        rows = data.test.binarized(mode)
        measured = fit_outliers(model, rows, correction="complexity").measure(rows)
        assert np.array_equal(measured.scores, expected.scores)
        assert np.array_equal(measured.complexity, expected.complexity)


def lengths(array, **options):
    """In bytes."""
    image_shape = options.pop("image_shape", None)
    rows = Rows.from_array(array, divisor=options.pop("divisor", 255), image_shape=image_shape)
    exact = input_complexity(rows, **options) / NATS_PER_BYTE
    assert exact == pytest.approx(exact.round(), abs=1e-9)
    return exact.round().astype(int).tolist()


@pytest.mark.parametrize("size", [64, 200, 258])
@pytest.mark.parametrize("value", [0, 7, 143, 144, 254])
def test_a_constant_row_takes_two_literals_and_one_match(size, value):
    """Deflate: 3 bits of a head, one or two literals of 8 or 9, a match of 7 to 8 + 0 to 5 with a
    distance of 5, 7 for the end. zlib takes two literals, its successors may take one."""
    literal = 8 if value < 144 else 9
    least, most = (math.ceil((3 + n * literal + 7 + 5 + 7) / 8) for n in (1, 2))
    (found,) = lengths(np.full((1, size), value, np.uint8))
    assert least <= found <= most + 1


def test_noise_cannot_be_compressed_and_counts_as_it_is():
    noise = rng().integers(0, 256, (20, 256), np.uint8)
    assert lengths(noise, image_shape=(16, 16)) == [256] * 20
    assert input_complexity(Rows.from_array(noise))[0] == pytest.approx(256 * math.log(256))
    bits = rng().integers(0, 2, (20, 256), np.uint8)
    assert lengths(bits, divisor=1, image_shape=(16, 16)) == [32] * 20
    # the least and the largest of 256 levels are bits too
    assert lengths(bits * np.uint8(255)) == [32] * 20


def test_filters_of_png_count_for_pictures_only():
    """A line of noise repeated with another offset each time: only differences are simple."""
    line = rng().integers(0, 256, 32)
    picture = ((line + 37 * np.arange(32)[:, None]) % 256).astype(np.uint8).reshape(1, -1)
    (as_row,), (as_picture,) = lengths(picture), lengths(picture, image_shape=(32, 32))
    assert as_row > 500
    assert 32 < as_picture < 300


def test_frames_are_not_counted():
    picture = Image.fromarray(rng().integers(0, 256, (30, 40), np.uint8))
    pixels = module._png_pixels(picture)
    assert 30 * 41 <= pixels <= 30 * 41 + 40  # a byte for the filter of each line; deflate's head


def test_complexity_is_that_of_the_values_not_of_their_storage(data):
    rows = data.test
    x = rows.batch(slice(0, 297))
    expected = input_complexity(rows)
    done = []
    again = input_complexity(
        Rows.from_array(x.double().numpy(), image_shape=(8, 8)), progress=done.append
    )
    assert np.array_equal(again, expected)
    assert done[-1] == 297
    shifted = Rows.from_array(x * 6 - 3, image_shape=(8, 8))
    assert np.array_equal(input_complexity(shifted, value_range=(-3, 3)), expected)
    wide = Rows.from_array((x * 6 - 3) * 10, image_shape=(8, 8))  # beyond: the nearer end
    clipped = Rows.from_array(((x * 6 - 3) * 10).clip(-3, 3), image_shape=(8, 8))
    same = [input_complexity(r, value_range=(-3, 3)) for r in (wide, clipped)]
    assert np.array_equal(*same)


def test_chunks_make_no_difference(data, monkeypatch):
    whole, done = input_complexity(data.test), []
    monkeypatch.setattr(module, "CHUNK_ROWS", 50)
    assert np.array_equal(input_complexity(data.test, progress=done.append), whole)
    assert done == [50, 100, 150, 200, 250, 297]


def test_levels_come_from_the_reference_rows(data):
    model = model_of("gaussian:2", likelihood="gaussian")
    x = data.train.batch(slice(0, 200))
    assert fit_outliers(model, data.train).value_range == (0, 1)
    assert fit_outliers(model, Rows.from_array(x * 6 - 3)).value_range == (-3, 3)
    assert fit_outliers(model, Rows.from_array(torch.full((20, 64), 4.5))).value_range == (0, 4.5)


def test_progress_counts_both_passes_as_one(model, data):
    for correction in ("none", "complexity"):
        done = []
        fit_outliers(model, data.test, correction=correction, progress=done.append)
        assert done == sorted(done)
        assert done[-1] == 297


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contamination": 0}, r"`contamination` must be a share in \(0, 0.5\]. Got 0"),
        ({"contamination": 0.51}, "Got 0.51"),
        ({"contamination": -0.1}, "Got -0.1"),
        ({"contamination": math.nan}, "Got nan"),
        ({"contamination": "x"}, "Got 'x'"),
        ({"correction": "complexty"}, "Did you mean complexity"),
        ({"samples": 0}, "`samples` must be an int >= 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message, model, data):
    with pytest.raises(ConfigError, match=message):
        fit_outliers(model, data.test, **options)


@pytest.mark.parametrize("bad", [(1, 1), (1, 0), (0, math.inf), (math.nan, 1), (-math.inf, 1)])
def test_a_range_without_width_is_refused(bad, data):
    with pytest.raises(ConfigError, match="value_range must be"):
        input_complexity(data.test, value_range=bad)


def test_rows_that_do_not_fit_are_refused(model, data):
    narrow = Rows.from_array(torch.rand(3, 5))
    with pytest.raises(DataError, match="5 features, but the model takes 64"):
        fit_outliers(model, narrow)
    found = fit_outliers(model, data.test)
    for ask in (found.predict, found.decision_function, found.score_samples, found.measure):
        with pytest.raises(DataError, match="5 features"):
            ask(narrow)
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        found.predict(Rows.from_array(torch.full((1, 64), 2.5)))


def test_the_picture_shows_the_lowest_and_the_highest_rows(data, tmp_path):
    bound, complexity = rng().normal(size=(2, 297))
    decisions = bound - np.quantile(bound, 0.1)
    labels = np.where(decisions < 0, -1, 1)
    found = OutlierScores(bound, decisions, labels, bound, complexity, False, False)
    figure = outlier_figure(found, data.test, (8, 8), n=5, title="some rows")
    total = bound + complexity
    orders = [np.argsort(s)[:5] for s in (bound, -bound, total, -total)]
    for axes, score, order in zip(figure.axes, (bound, bound, total, total), orders, strict=True):
        labels_below = axes.get_xticklabels()
        numbers = data.test.source_numbers.tolist()
        expected = [f"{score[row]:.1f}\nrow {numbers[row]:,}" for row in order]
        assert [label.get_text() for label in labels_below] == expected
        is_red = [label.get_color() == "tab:red" for label in labels_below]
        assert is_red == [labels[row] == -1 for row in order]
        assert np.allclose(
            axes.images[0].get_array(), mosaic(data.test.batch(torch.from_numpy(order)), (8, 8), 5)
        )
    heads = [axes.get_title(loc="left") for axes in figure.axes]
    assert heads[0] == "lowest bound on ln p(x) [nats]"
    assert heads[3] == "highest bound on ln p(x) + L(x) [nats]"
    save_figure(figure, tmp_path / "a.png")


@pytest.mark.draws
@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (8, 8)])
def test_pictures_of_any_shape_can_be_drawn(shape, data, tmp_path):
    few, scores = data.test.subset(slice(0, 3)), np.arange(3.0)
    found = OutlierScores(scores, scores, np.ones(3), scores, scores, True, True)
    save_figure(outlier_figure(found, few, shape), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert max(picture.size) < 4000


@pytest.mark.draws
def test_the_command_writes_what_python_gives(cli, trained, tmp_path):
    run, out = trained("categorical:10"), tmp_path / "new" / "o.csv"
    args = ["--split", "test", "--contamination", "0.1", "--correction", "complexity", "--n", 4]
    picture = tmp_path / "o.png"
    said = cli("outliers", run, *args, "--out", out, "--picture", picture, "--json")
    assert said.status == 0, said.err
    facts = json.loads(said.out)
    from discretevae import load_run

    opened, rows = load_run(run), load_rows("digits", split="test")
    fitted = fit_outliers(
        opened.model, load_rows("digits", split="train"), contamination=0.1, correction="complexity"
    )
    found = fitted.measure(rows)
    table = np.genfromtxt(out, delimiter=",", names=True)
    assert table.dtype.names == ("id", "score", "decision", "label", "bound", "complexity")
    numbers = rows.source_numbers.numpy()
    assert np.array_equal(table["id"], numbers)
    columns = {"score": "scores", "decision": "decisions", "label": "labels"}
    for name in ("score", "decision", "label", "bound", "complexity"):
        expected = getattr(found, columns.get(name, name))
        np.testing.assert_allclose(table[name], expected, rtol=1e-5, atol=1e-4)
    assert [each["row"] for each in facts["worst"]] == numbers[found.worst(4)].tolist()
    assert [each["id"] for each in facts["worst"]] == numbers[found.worst(4)].tolist()
    assert [each["class"] for each in facts["worst"]] == rows.labels[found.worst(4)].tolist()
    assert facts["worst"][0]["score"] == pytest.approx(found.scores.min())
    assert (facts["outliers"], facts["rows"]) == (found.n_outliers, 297)
    assert facts["threshold"] == pytest.approx(fitted.threshold)
    assert facts["reference"] == {"split": "train", "rows": 1500}
    assert facts["is_exact"]
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 900
    said = cli("outliers", run, *args, "--out", tmp_path / "o.npz")
    assert said.status == 0, said.err
    with np.load(tmp_path / "o.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["score"], found.scores, rtol=1e-5)
        assert np.array_equal(arrays["label"], found.labels)
    lines = said.out.splitlines()
    assert lines[0].split() == ["row", "score", "decision", "label", "ln", "p(x)", "L(x)", "class"]
    assert lines[1].split()[0] == str(numbers[found.worst(1)[0]])
    assert f"outliers  {found.n_outliers} of 297 rows" in said.out
    assert "with 10 % of 1,500 train rows below it" in said.out
    assert "surrogate" in said.out


def test_the_command_is_deterministic_and_takes_files(cli, trained, tmp_path):
    run, file = trained("bernoulli:30"), tmp_path / "new.npy"
    np.save(file, 16 * rng().random((7, 64)))
    args = ["outliers", run, file, "--samples", 3, "--reference-rows", 40, "--json", "--seed"]
    first, again, other = (cli(*args, seed) for seed in (1, 1, 2))
    assert first.status == 0, first.err
    assert first.out == again.out != other.out
    facts = json.loads(first.out)
    assert facts["reference"]["rows"] == 40
    assert facts["outliers"] == sum(each["label"] == -1 for each in facts["worst"])
    assert facts["worst"][0]["class"] is None
    assert not facts["is_exact"]
    said = cli("outliers", run, file, "--samples", 3, "--reference", "test")
    assert "3-sample bound" in said.out
    assert "297 test rows" in said.out


def test_fractions_that_would_be_divided_once_more_are_refused(cli, trained, tmp_path):
    run, file = trained("categorical:10"), tmp_path / "unit.npy"
    np.save(file, rng().random((7, 64)))
    said = cli("outliers", run, file)
    assert (said.status, "from 0 to 16, which the run divides by 16" in said.err) == (2, True)
    assert cli("outliers", run, file, "--divisor", "1").status == 0
    np.save(file, 16 * rng().random((7, 64)))
    assert not cli("outliers", run, file).err


def test_arrays_are_rows_if_their_values_can_only_be_x(model, data):
    found, x = fit_outliers(model, data.test), data.test.batch(slice(None))
    assert np.array_equal(found.predict(x.numpy()), found.predict(data.test))
    assert np.array_equal(input_complexity(x.unflatten(1, (8, 8))), input_complexity(data.test))
    assert fit_outliers(model, x.numpy()).threshold == found.threshold
    for job in (found.predict, found.measure, input_complexity, partial(fit_outliers, model)):
        with pytest.raises(DataError, match=r"whole numbers from 0 to 16 .*nothing says what"):
            job((16 * x).numpy())


def test_mistakes_are_one_line_and_write_nothing(cli, trained, tmp_path):
    run = trained("categorical:10")
    bad, narrow, good = (tmp_path / name for name in ("nan.npy", "narrow.npy", "good.npy"))
    np.save(bad, np.full((3, 64), np.nan))
    np.save(narrow, rng().random((3, 5)))
    np.save(good, rng().random((3, 64)))
    out = tmp_path / "folder" / "o.csv"
    mistakes = {
        (run, bad): "NaN",
        (run, narrow): "5 features",
        (run, good, "--contamination", "0"): "contamination",
        (run, good, "--contamination", "0.6"): "contamination",
        (run, good, "--contamination", "nan"): "contamination",
        (run, good, "--samples", "0"): "samples",
        (run, good, "--n", "0"): "n must",
        (run, good, "--reference-rows", "0"): "reference-rows",
        (run, good, "--seed", "-1"): "seed",
        (run, good, "--correction", "all"): "correction",
        (run, good, "--picture", tmp_path / "o.jpg"): ".png",
        (tmp_path / "no-run", good): "no such run folder",
        (run, tmp_path / "no.npy"): "no.npy",
    }
    for args, message in mistakes.items():
        said = cli("outliers", *args, "--out", out)
        assert said.status == 2, args
        assert re.search(re.escape(message), said.err), said.err
        assert said.err.startswith("Error: ")
        assert said.err.count("\n") == 1
        assert said.out == ""
        assert not out.parent.exists()
    said = cli("outliers", run, good, "--out", good.with_suffix(".txt"))
    assert said.status == 2
    assert ".csv or .npz" in said.err
