"""Codes of grids pooled over places, and clusters of rows by them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from discretevae.codes.pooling import pooled_clusters, pooled_codes
from discretevae.config import LatentSpec, ModelConfig
from discretevae.data import Rows
from discretevae.errors import ConfigError, DataError
from discretevae.model.vae import DiscreteVAE


@pytest.mark.parametrize(
    ("text", "n_symbols"),
    [("bernoulli:3@2x3", 8), ("categorical:5@2x3", 5), ("categorical:2x4@2x3", 16)],
)
def test_the_share_of_each_symbol_over_places(text, n_symbols):
    spec, rng = LatentSpec.of(text), np.random.default_rng(0)
    values = spec.n_categories or 2
    codes = rng.integers(0, values, (9, spec.n_variables))
    found = pooled_codes(spec, codes)
    assert found.shape == (9, n_symbols)
    for row, own in zip(codes, found, strict=True):
        counts = np.zeros(n_symbols)
        for place in row.reshape(6, -1):
            counts[sum(int(v) * values**i for i, v in enumerate(place))] += 1
        assert np.allclose(own**2, counts / 6, atol=1e-6)


def test_large_symbols_are_counted_by_variable():
    spec = LatentSpec.of("categorical:2x100@1x2")
    found = pooled_codes(spec, np.array([[3, 7, 3, 99]])) ** 2
    expected = np.zeros(200)
    expected[[3, 107, 199]] = 1, 0.5, 0.5
    assert np.allclose(found[0], expected, atol=1e-6)


def test_what_has_no_places_is_refused():
    for text in ("bernoulli:6", "gaussian:2@1x3", "categorical:3+bernoulli:2"):
        spec = LatentSpec.of(text)
        with pytest.raises(ConfigError, match="must be a grid of symbols"):
            pooled_codes(spec, np.zeros((2, spec.n_variables)))


def test_rows_of_the_same_symbols_are_together_wherever_these_stand():
    """A code that is the row: two places of three symbols each way round, and others."""
    config = ModelConfig(n_features=6, latent="categorical:3@1x2", network="custom")
    identity, decoder = torch.nn.Linear(6, 6, bias=False), torch.nn.Linear(6, 6)
    torch.nn.init.eye_(identity.weight)
    model = DiscreteVAE(config, encoder=identity, decoder=decoder)
    codes = [(0, 1), (1, 0), (2, 2), (0, 1), (1, 0), (2, 2)]
    rows = np.zeros((6, 6), np.float32)
    for row, pair in zip(rows, codes, strict=True):
        row[[pair[0], 3 + pair[1]]] = 1
    found = pooled_clusters(model, Rows.from_array(rows), 2)
    assert found.kind == "cluster"
    assert found.labels[0] == found.labels[1] != found.labels[2]
    assert sorted(found.sizes) == [2, 4]
    assert found.entropy.max() == 0
    with pytest.raises(DataError, match=r"3 clusters need so many rows that differ.*Got 2"):
        pooled_clusters(model, Rows.from_array(rows), 3)


def test_the_command(cli, tmp_path):
    run = tmp_path / "run"
    trained = cli("train", "--latent", "bernoulli:2@4x4", "--width", "4", "--epochs", "2",
                  "--batch-size", "100", "--lr", "0.01", "--out", run)  # fmt: skip
    assert trained.status == 0, trained.err
    found = cli("cluster", run, "--split", "test", "--clusters", "4", "--json",
                "--out", tmp_path / "c.csv")  # fmt: skip
    assert found.status == 0, found.err
    facts = json.loads(found.out)
    assert (facts["kind"], facts["n_clusters"], facts["in_use"]) == ("cluster", 4, 4)
    assert sum(one["rows"] for one in facts["clusters"]) == facts["rows"]
    assert math.isclose(facts["mean_entropy"], 0)
    assert (run / "figures" / "clusters.png").exists()
