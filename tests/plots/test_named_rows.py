"""Rows and classes go by their names in pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from discretevae import load_data
from discretevae.codes.cluster_scores import match_clusters
from discretevae.codes.clusters import Clusters
from discretevae.codes.ids import as_names, short_name
from discretevae.codes.outliers import OutlierScores
from discretevae.data import Rows
from discretevae.plots.clusters import cluster_figure
from discretevae.plots.outliers import outlier_figure
from discretevae.plots.pictures import save_figure
from discretevae.plots.search import neighbor_figure

# a formula that is none, letters that no font of matplotlib has, ends of lines, a name without end
NAMES = ["img2.png", "$x", "a_$\\frac{$", "雪.png", "two\nlines", "x" * 3000, "", "\udcff", "a$b$c"]


@pytest.fixture(scope="module")
def rows() -> Rows:
    test = load_data("digits").test.subset(slice(0, 20))
    names = as_names([*NAMES, *(f"holiday/beach/photo{i:05}.png" for i in range(20))][:20])
    return replace(test, ids=names, classes=("$0$", "雪", *(f"class {c}" for c in "cdefghij")))


@pytest.mark.draws
def test_outliers(rows, tmp_path):
    scores = np.arange(20.0)
    found = OutlierScores(scores, scores, np.ones(20, int), scores, 0 * scores, True, False)
    figure = outlier_figure(found, rows, (8, 8), n=20)
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == [f"{i:.1f}\n{short_name(name, 13)}" for i, name in enumerate(rows.ids)]
    save_figure(figure, tmp_path / "a.png")
    figure = outlier_figure(found, replace(rows, ids=np.arange(20) + 5000), (8, 8), n=20)
    assert figure.axes[0].get_xticklabels()[3].get_text() == "3.0\n5003"


@pytest.mark.draws
def test_clusters(rows, tmp_path):
    p = np.full((20, 4), 0.1, np.float32)
    p[np.arange(20), np.arange(20) % 4] = np.linspace(0.9, 0.6, 20)
    found = Clusters(p.argmax(1), p, "category")
    scores = match_clusters(found.labels, rows.labels.numpy())
    figure = cluster_figure(found, torch.rand(4, 64), rows, (8, 8), scores=scores)
    captions = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    for cluster, caption in enumerate(captions):
        number, share = scores.majority[cluster]
        assert caption.split("\n") == [
            f"category {cluster}: 5 rows, 25.0 %",
            f"class {rows.classes[number]}: {100 * share:.1f} % of them",
            f"surest row: {NAMES[cluster]}",
        ]
    save_figure(figure, tmp_path / "a.png")
    plain = replace(rows, classes=None, ids=None)
    figure = cluster_figure(found, torch.rand(4, 64), plain, (8, 8), scores=scores)
    caption = figure.axes[0].get_yticklabels()[0].get_text()
    assert f"\nlabel {scores.majority[0][0]}: " in caption
    assert caption.endswith(f"\nsurest row: {rows.source_numbers[0]}")


@pytest.mark.draws
def test_neighbors(rows, tmp_path):
    x = rows.batch(slice(0, 20)).reshape(4, 5, 64)
    names = rows.ids.reshape(4, 5).tolist()
    distances = np.arange(16).reshape(4, 4).tolist()
    figure = neighbor_figure(x[:, 0], x[:, 1:], (8, 8), distances=distances, names=names)
    shown = [text.get_text() for text in figure.axes[0].texts]
    for row in range(4):
        query, *near = shown[5 * row : 5 * row + 5]
        assert query == short_name(names[row][0], 14)
        pairs = zip(names[row][1:], distances[row], strict=True)
        assert near == [f"{short_name(name, 14)}\n{distance}" for name, distance in pairs]
    save_figure(figure, tmp_path / "a.png")
    for options, expected in (({}, ""), ({"distances": distances}, "0"), ({"names": names}, "$x")):
        figure = neighbor_figure(x[:, 0], x[:, 1:], (8, 8), **options)
        assert figure.axes[0].texts[1].get_text() == expected
