"""Scores of rows by their columns alone, and joined with ln p(x)."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from discretevae import BernoulliVAE, ConfigError, DiscreteVAE, ModelConfig, Rows, fit_outliers
from discretevae.codes import tails as module
from discretevae.codes.tails import ColumnTails, drawn_rows, is_table


def table(n=50, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) * [1, 10, 100]
    x[:, 1] = np.rint(x[:, 1])  # ties
    return Rows.from_array(x, scale="standard")


def model_of(likelihood="student", n_features=3):
    config = ModelConfig(
        n_features=n_features, latent="bernoulli:3", hidden=(4,), likelihood=likelihood
    )
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


def test_shares_are_those_of_a_count_by_hand():
    rows, new = table(), table(20, seed=1)
    found = ColumnTails.fit(rows, 0).log_shares(new)
    known, x = rows.batch(slice(None)).numpy(), new.batch(slice(None)).numpy()
    for i, p in itertools.product(range(20), range(3)):
        up_to, from_on = (known[:, p] <= x[i, p]).sum(), (known[:, p] >= x[i, p]).sum()
        share = min(1, 2 * (min(up_to, from_on) + 1) / 51)
        assert found[i, p] == pytest.approx(np.log(share), abs=1e-12)
    assert found.min() < -2 < found.max() == 0


def test_pieces_change_nothing(monkeypatch):
    rows = table()
    whole = ColumnTails.fit(rows, 0).totals(rows)
    monkeypatch.setattr(module, "PIECE_ROWS", 7)
    assert np.array_equal(ColumnTails.fit(rows, 0).totals(rows), whole)


def test_median_and_spread_are_those_of_ln_px_but_for_the_weight():
    rows, log_px = table(), np.random.default_rng(2).normal(-30, 4, 50)
    tails = ColumnTails.fit(rows, 0).calibrated(rows, log_px)
    scores = tails.scores(rows)
    assert np.median(scores) == pytest.approx(np.median(log_px))
    width, own = (np.subtract(*np.quantile(s, [0.75, 0.25])) for s in (log_px, scores))
    assert own == pytest.approx(0.5 * width)


def test_columns_that_are_all_alike_say_nothing():
    rows = Rows.from_array(np.full((9, 2), 3.0), scale="standard")
    assert ColumnTails.fit(rows, 0).calibrated(rows, np.arange(9.0)) is None
    found = fit_outliers(model_of(n_features=2), rows, contamination=0.3)
    assert (found.correction, found.tails) == ("columns", None)


def test_rows_without_weight_are_never_drawn():
    x = np.random.default_rng(0).normal(size=(30, 2))
    rows = Rows.from_array(x, weights=np.arange(30.0) % 2)
    drawn = drawn_rows(rows, 10, 0)
    assert len(drawn) == 10
    assert (drawn.source_numbers % 2 == 1).all()
    assert torch.equal(drawn_rows(rows, 10, 0).values, drawn.values)


def test_a_score_of_a_table_is_the_lower_of_both_and_of_others_ln_px():
    rows = table()
    model = model_of()
    plain = fit_outliers(model, rows, correction="none", samples=5)
    auto = fit_outliers(model, rows, samples=5)
    assert (auto.correction, plain.correction) == ("columns", "none")
    log_px, columns = plain.score_samples(rows), auto.tails.scores(rows)
    assert np.array_equal(auto.score_samples(rows), np.minimum(log_px, columns))
    assert (columns < log_px).any()
    assert (columns > log_px).any()
    assert np.array_equal(auto.measure(rows).scores, auto.score_samples(rows))
    assert np.array_equal(auto.measure(rows).bound, log_px)
    grey = Rows.from_array(np.random.default_rng(0).integers(0, 255, (50, 3), np.uint8))
    for likelihood, others in (("bernoulli", grey), ("gaussian", Rows.from_array(np.eye(50, 3)))):
        other = model_of(likelihood)
        assert not is_table(other, others)
        assert fit_outliers(other, others, samples=5).correction == "none"
        with pytest.raises(ConfigError, match="is for tables of real numbers"):
            fit_outliers(other, others, correction="columns")


def test_a_group_of_outliers_that_was_learned_lies_far_out_all_the_same():
    """One row in ten is 4 in every column: p(x) of the group is high, and its columns betray it."""
    rng = np.random.default_rng(0)
    x, is_outlier = rng.normal(size=(600, 8)), np.arange(600) % 10 == 0
    x[is_outlier] = 4 + 0.1 * rng.normal(size=(60, 8))
    vae = BernoulliVAE(random_state=0).fit(x)
    assert roc_auc_score(is_outlier, -vae.score_samples(x)) > 0.9
    assert roc_auc_score(is_outlier, -vae._log_px(vae._rows(x), vae.model_)) < 0.6


def test_a_saved_estimator_keeps_its_tails(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 3))
    vae = BernoulliVAE(4, hidden=(8,), epochs=2, random_state=0).fit(x)
    vae.save(tmp_path / "vae")
    again = BernoulliVAE.load(tmp_path / "vae")
    assert vae._tails is not None
    assert np.array_equal(again.score_samples(5 * x), vae.score_samples(5 * x))
    vae.fit((x > 0).astype(float)).save(tmp_path / "bits")
    assert BernoulliVAE.load(tmp_path / "bits")._tails is None
