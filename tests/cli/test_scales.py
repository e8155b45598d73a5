"""Tables of different units: the command line and the classes put columns on one scale."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from discretevae import BernoulliVAE, load_data, load_rows
from discretevae.run_folder.saved_run import load_run

pytestmark = pytest.mark.filterwarnings("ignore::discretevae.errors.CollapseWarning")

SETTINGS = ("--latent", "bernoulli:4", "--hidden", "32", "--lr", "0.005", "--objective", "marginal")


@pytest.fixture
def table(tmp_path, monkeypatch):
    """30 measurements of tumors, from 0.001 to 4,254, with their class."""
    monkeypatch.chdir(tmp_path)
    data = load_breast_cancer()
    with Path("bc.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([*data.feature_names, "target"])
        lines.writerows([*x, y] for x, y in zip(data.data, data.target, strict=True))


@pytest.mark.parametrize("likelihood", ["auto", "gaussian", "gaussian:learned"])
def test_measurements_of_different_units(table, cli, likelihood):
    args = ("--likelihood", likelihood, "--epochs", "40", "--out", "run")
    assert cli("train", "--data", "bc.csv", *SETTINGS, *args).status == 0
    assert load_run("run").schema.scale.kind == "standard"
    found = json.loads(cli("evaluate", "run", "--json").out)["log_px"]
    data = load_data("bc.csv")
    train, test = (
        np.asarray(part.values, np.float64) for part in (data.train, data.test)
    )  # fmt: skip
    vae = BernoulliVAE(
        4, hidden=(32,), epochs=40, lr=0.005, objective="marginal", likelihood=likelihood,
        random_state=0,
    ).fit(train)  # fmt: skip
    # without a scale it was -12,577 by the command line, and -900 with learned deviations
    assert found["value"] == pytest.approx(vae.score(test), abs=5 + 2 * found["se"])
    assert cli("outliers", "run", "bc.csv", "--out", "o.npz").status == 0
    malignant = load_rows("bc.csv").labels.numpy() == 0
    assert roc_auc_score(malignant, -np.load("o.npz")["score"]) > 0.6


@pytest.mark.parametrize(
    ("args", "kind", "likelihood"),
    [
        (("--scale", "minmax"), "minmax", "student"),
        (("--scale", "none"), None, "gaussian:learned"),
        (("--scale", "standard", "--likelihood", "gaussian:0.5"), "standard", "gaussian:0.5"),
        (("--likelihood", "gaussian", "--divisor", "100"), None, "gaussian"),
    ],
)
def test_the_scale_is_what_was_asked_for(table, cli, args, kind, likelihood):
    said = cli("train", "--data", "bc.csv", *SETTINGS, *args, "--epochs", "1", "--out", "run")
    assert said.status == 0
    scale = load_run("run").schema.scale
    assert (None if scale is None else scale.kind) == kind
    assert str(load_run("run").config.model.likelihood) == likelihood
    # what is drawn comes back in the units of the table, by name
    assert cli("sample", "run", "--n", "20", "--out", "drawn.csv").status == 0
    assert cli("encode", "run", "drawn.csv", "--out", "codes.npy").status == 0


def test_fractions_of_a_table_are_no_grey_values():
    """Outliers among min-max scaled measurements: as grey values they had an AUROC of 0.47."""
    path = Path(os.environ.get("DISCRETEVAE_DATA", "nowhere"), "adbench", "38_thyroid.npz")
    if not path.is_file():
        pytest.skip("needs adbench/38_thyroid.npz in DISCRETEVAE_DATA")
    arrays = np.load(path)
    x, is_outlier = arrays["X"], arrays["y"]
    x = (x - x.min(0)) / (x.max(0) - x.min(0))
    vae = BernoulliVAE(random_state=0).fit(x)
    assert str(vae.model_.config.likelihood) == "student"
    assert roc_auc_score(is_outlier, -vae.score_samples(x)) > 0.8
