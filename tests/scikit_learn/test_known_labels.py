"""`ClusterVAE` that is told some labels: its clusters are the labels."""

from __future__ import annotations

import numpy as np
import pytest

from discretevae import BernoulliVAE, ClusterVAE
from discretevae.errors import DataError


def three_kinds(n, seed=0):
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % 3
    return rng.binomial(1, np.where(np.arange(9) // 3 == kinds[:, None], 0.9, 0.1)), kinds


def told(n_known, **options):
    x, kinds = three_kinds(300)
    y = np.where(np.arange(300) < n_known, kinds, -1)
    options = {"hidden": (16,), "epochs": 12, "lr": 0.02, "random_state": 0} | options
    return ClusterVAE(n_clusters=3, objective="semi-supervised", **options), x, y


def test_clusters_are_the_labels_whatever_the_order_of_the_rows():
    vae, x, y = told(30)
    new, kinds = three_kinds(150, seed=1)
    assert (vae.fit(x, y).predict(new) == kinds).mean() > 0.9
    codes = vae.predict(new)
    order = np.random.default_rng(2).permutation(300)
    assert (vae.fit(x[order], y[order]).predict(new) == codes).all()
    weight = np.where(np.arange(300) < 270, 2, 0)  # rows are left out, others stand there twice
    assert (vae.fit(x, y, weight).predict(new) == kinds).mean() > 0.9


def test_labels_that_are_missing_or_of_another_number_are_refused():
    vae, x, y = told(30)
    with pytest.raises(DataError, match="no row has a label"):
        vae.fit(x)
    with pytest.raises(DataError, match="need labels of shape"):
        vae.fit(x, y[:10])
    with pytest.raises(DataError, match="Got -1 to 3"):
        vae.fit(x, np.where(y >= 0, y + 1, -1))


def test_other_classes_and_objectives_look_at_no_labels():
    x, kinds = three_kinds(60)
    options = {"hidden": (8,), "epochs": 2, "random_state": 0}
    for vae in (BernoulliVAE(4, **options), ClusterVAE(3, **options)):
        assert (vae.fit(x, kinds).transform(x) == vae.fit(x, kinds[::-1]).transform(x)).all()
