"""Weights of rows in the scikit-learn classes, and passes over other rows."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from discretevae.scikit_learn import BernoulliVAE, CategoricalVAE, ClusterVAE
from discretevae.scikit_learn.reading import MOST_COPIES, weighted_rows

SMALL = {"hidden": (8,), "epochs": 3, "batch_size": 8, "random_state": 0}
members = pytest.mark.parametrize(
    "member",
    [
        BernoulliVAE(n_bits=4, **SMALL),
        CategoricalVAE(n_categories=3, n_variables=2, **SMALL),
        ClusterVAE(n_clusters=3, **SMALL),
    ],
    ids=["bits", "categories", "clusters"],
)


def rows(n: int = 40, *, kind: str = "binary") -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(n, 6))
    return (x > 0).astype(float) if kind == "binary" else 3 * x + 7


@members
@pytest.mark.parametrize("kind", ["binary", "real"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_whole_weights_are_copies_to_the_bit(member, kind, sparse):
    """With batches, draws, standardized columns and several passes, in any order of the rows."""
    if sparse and kind == "real":
        pytest.skip("sparse matrices are not standardized")
    x = rows(kind=kind)
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 4, len(x))
    make = scipy.sparse.csr_array if sparse else np.asarray
    repeated = clone(member).fit(make(x.repeat(weights, axis=0)))
    order = rng.permutation(len(x))
    weighted = clone(member).fit(make(x[order]), sample_weight=weights[order])
    assert np.array_equal(repeated.score_samples(x), weighted.score_samples(x))
    assert np.array_equal(repeated.transform(x), weighted.transform(x))
    # and the weights were used: without them the fit is another
    assert not np.array_equal(
        clone(member).fit(make(x)).score_samples(x), weighted.score_samples(x)
    )
    # the next pass too
    repeated.partial_fit(x.repeat(weights, axis=0) if not sparse else make(x.repeat(weights, 0)))
    weighted.partial_fit(make(x), sample_weight=weights)
    assert np.array_equal(repeated.score_samples(x), weighted.score_samples(x))


@members
def test_weights_of_one_are_none(member):
    x = rows()
    none = clone(member).fit(x)
    for ones in (np.ones(len(x)), [1] * len(x), 1.0):
        same = clone(member).fit(x, sample_weight=ones)
        assert np.array_equal(none.score_samples(x), same.score_samples(x))
        assert none.history_[-1].loss == same.history_[-1].loss
    assert none.score(x) == pytest.approx(none.score(x, sample_weight=np.ones(len(x))), abs=1e-9)


@members
def test_equal_weights_that_are_no_whole_numbers_change_no_bit(member):
    x = rows()
    none = clone(member).fit(x)
    for weight in (0.5, 0.1, 1e-30):
        same = clone(member).fit(x, sample_weight=np.full(len(x), weight))
        assert np.array_equal(none.score_samples(x), same.score_samples(x))


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_weights_as_factors_do_what_copies_do(kind):
    """An exact objective and a single batch: weights of ½, 1, 1½ against 1, 2, 3 copies.

    The steps are the same but for rounding, and Adam's division by the root of a gradient's square
    may make of that as much as a step; three steps of 0.001 each bound what is left.
    """
    x, halves = rows(kind=kind), np.random.default_rng(1).integers(0, 4, 40)
    vae = ClusterVAE(3, hidden=(8,), epochs=3, lr=1e-3, batch_size=1000, random_state=0)
    factors = clone(vae).fit(x, sample_weight=halves / 2)
    copies = clone(vae).fit(x, sample_weight=halves)
    ours, theirs, others = (
        each._log_px(each._rows(x), each.model_) for each in (factors, copies, clone(vae).fit(x))
    )
    assert np.allclose(ours, theirs, atol=1e-3)
    assert np.abs(others - theirs).max() > 10 * np.abs(ours - theirs).max()
    assert factors.history_[-1].loss == pytest.approx(copies.history_[-1].loss, abs=1e-3)


def test_many_copies_become_factors():
    x = rows()
    heavy = np.full(len(x), MOST_COPIES)
    # equal weights change nothing
    assert [len(each) for each in weighted_rows(x, heavy)[:1]] == [len(x)]
    heavy[:2] += [1, -1]
    matrix, weights, _ = weighted_rows(x, heavy)
    assert len(matrix) == MOST_COPIES * len(x)
    assert weights is None
    heavy[1] += 1
    matrix, weights, _ = weighted_rows(x, heavy)
    assert len(matrix) == len(x)
    assert sorted(weights) == sorted(heavy)
    assert np.array_equal(matrix[weights.argmax()], x[0])


@members
def test_the_order_of_the_rows_does_not_matter(member):
    x = rows(kind="real")
    order = np.random.default_rng(2).permutation(len(x))
    one, other = clone(member).fit(x), clone(member).fit(x[order])
    assert np.array_equal(one.score_samples(x), other.score_samples(x))
    if isinstance(member, ClusterVAE):
        assert np.array_equal(one.labels_[order], other.labels_)


def test_every_row_has_a_label_also_those_without_weight():
    x = rows()
    weights = np.arange(len(x)) % 3
    vae = ClusterVAE(3, **SMALL)
    labels = vae.fit_predict(x, sample_weight=weights)
    assert np.array_equal(labels, vae.predict(x))


def test_a_score_is_a_weighted_mean():
    x, weights = rows(), np.random.default_rng(3).random(40)
    vae = ClusterVAE(3, **SMALL).fit(x)
    expected = (vae.score_samples(x) * weights).sum() / weights.sum()
    assert vae.score(x, sample_weight=weights) == pytest.approx(expected, abs=1e-5)
    assert vae.score(x, sample_weight=np.eye(40)[7]) == pytest.approx(vae.score_samples(x)[7])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full(40, -1.0), "Negative values"),
        (np.r_[-1e-9, np.ones(39)], "Negative values"),
        (np.full(40, np.nan), "NaN"),
        (np.r_[np.inf, np.ones(39)], "infinity"),
        (np.ones(39), r"sample_weight.shape == \(39,\), expected \(40,\)"),
        (np.ones((40, 1)), "1D array or scalar"),
        (np.zeros(40), "at least one non-zero"),
        (["a"] * 40, "could not convert string"),
    ],
)
def test_wrong_weights_are_refused_in_scikit_learns_words(weights, message):
    x = rows()
    fitted = ClusterVAE(3, **SMALL).fit(x)
    before = fitted.score(x)
    for call in (ClusterVAE(3, **SMALL).fit, fitted.partial_fit, fitted.score):
        with pytest.raises(ValueError, match=message):
            call(x, sample_weight=weights)
    assert fitted.score(x) == before


@members
@pytest.mark.parametrize("kind", ["binary", "real"])
def test_a_pass_over_rows_that_were_never_seen(member, kind):
    """More of them, fewer of them, one; what the first call settled stays."""
    x, more = rows(kind=kind), rows(100, kind=kind)[40:]
    vae = clone(member).partial_fit(x)
    schema = vae._schema
    for part in (more, more[:5], more[:1]):
        before = vae.score(more)
        vae.partial_fit(part)
        assert vae.score(more) != before
        assert vae._schema is schema
        if isinstance(member, ClusterVAE):
            assert vae.labels_.shape == (len(part),)
    assert [m.epoch for m in vae.history_] == [1, 2, 3, 4]
    # from the same place the same rows give the same weights
    again = clone(member).partial_fit(x)
    for part in (more, more[:5], more[:1]):
        again.partial_fit(part)
    assert again.score(x) == vae.score(x)


def test_weights_go_through_a_search():
    x = rows()
    search = GridSearchCV(ClusterVAE(3, **SMALL), {"n_clusters": [1, 3]}, cv=2, n_jobs=1)
    search.fit(x, sample_weight=np.arange(40) % 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
