"""Frames with texts and missing cells in the scikit-learn classes."""

import numpy as np
import pytest
from sklearn.base import clone

from discretevae import BernoulliVAE
from discretevae.errors import CollapseWarning, DataError

pandas = pytest.importorskip("pandas")
pytestmark = pytest.mark.filterwarnings(f"ignore::{CollapseWarning.__module__}.CollapseWarning")


def frame(n=120, seed=0):
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    table = pandas.DataFrame(
        {
            "city": np.array(["Bonn", "Köln"])[kind],
            "size": np.round(rng.normal(10 * kind, 1.0), 2),
            "visits": rng.poisson(1 + 5 * kind),
            "open": kind == 1,
        }
    )
    table.loc[rng.random(n) < 0.2, "size"] = np.nan
    table.loc[rng.random(n) < 0.2, "city"] = None
    return table


def fitted(**more):
    settings = {"n_bits": 3, "hidden": (16,), "epochs": 60, "lr": 0.01, "random_state": 0} | more
    return BernoulliVAE(**settings).fit(frame())


def test_codes_tables_and_scores():
    model, table = fitted(), frame()
    codes = model.transform(table)
    assert codes.shape == (120, 3)
    back = model.inverse_transform(codes)
    assert list(back.columns) == list(table.columns)
    assert set(back["city"]) <= {"Bonn", "Köln"}
    assert back["visits"].dtype.kind == "i"
    assert back["open"].dtype == bool
    known = table["city"].notna()
    assert (back["city"] == table["city"])[known].mean() > 0.9
    assert not np.isnan(model.score_samples(table)).any()
    filled = model.impute(table)
    assert not filled.isna().any().any()
    there = table["size"].notna()
    pandas.testing.assert_series_equal(filled["size"][there], table["size"][there])
    drawn = model.sample(50, noise=True)
    assert list(drawn.columns) == list(table.columns)
    assert drawn["size"].nunique() > 20


def test_order_of_rows_saving_and_more_rows(tmp_path):
    table = frame()
    model, turned = fitted(), frame().sample(frac=1, random_state=1)
    again = clone(model).fit(turned)
    assert (again.transform(table) == model.transform(table)).all()
    model.save(tmp_path / "model")
    loaded = BernoulliVAE.load(tmp_path / "model")
    assert (loaded.score_samples(table) == model.score_samples(table)).all()
    loaded.partial_fit(frame(seed=1))
    assert len(loaded.history_) == 61


def test_a_filled_frame_keeps_its_index():
    turned = frame().set_axis(range(1000, 1120)).sample(frac=1, random_state=2)
    filled = fitted(epochs=1).impute(turned)
    assert filled.index.equals(turned.index)
    there = turned["size"].notna()
    pandas.testing.assert_series_equal(filled["size"][there], turned["size"][there])


def test_arrays_with_nan():
    x = frame()[["size", "visits"]].to_numpy()
    model = BernoulliVAE(n_bits=2, hidden=(8,), epochs=2, random_state=0).fit(x)
    assert model.inverse_transform(model.transform(x)).shape == x.shape
    assert not np.isnan(model.score_samples(x)).any()
    with pytest.raises(ValueError, match="NaN"):
        BernoulliVAE(n_bits=2, likelihood="gaussian", epochs=1).fit(x)
    plain = BernoulliVAE(n_bits=2, hidden=(8,), epochs=1).fit(np.nan_to_num(x))
    with pytest.raises(ValueError, match="NaN"):
        plain.transform(x)


def test_what_has_no_kind_is_refused():
    with pytest.raises(DataError, match="column 'name' has 120 different texts"):
        BernoulliVAE(n_bits=2).fit(frame().assign(name=[f"n{i}" for i in range(120)]))
    with pytest.raises(ValueError, match="feature names"):
        fitted(epochs=1).transform(frame().drop(columns="size"))
