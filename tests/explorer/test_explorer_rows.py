"""The rows of the explorer: which are kept, how they are told, in which clusters they are."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from explorer_members import MODELS, codes_of, explorer_of, grey, pixels

from discretevae import load_data, load_rows, load_run, row_scores
from discretevae.codes.clusters import cluster_centers, clusters
from discretevae.codes.ids import as_names
from discretevae.data import Rows
from discretevae.errors import ConfigError, DataError
from discretevae.explorer.answers import Explorer
from discretevae.explorer.galleries import gallery_of, spread
from discretevae.explorer.pictures import MAX_VALUES, Canvas
from discretevae.explorer.variables import variables_of


@pytest.fixture(scope="module")
def explorers():
    return {model: explorer_of(*model) for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
def test_clusters_are_the_models_own_or_else_of_the_codes(explorers, model):
    explorer = explorers[model]
    told = explorer.clusters()
    rows = explorer.gallery.rows
    members = [
        [r["row"] for r in explorer.cluster(k, 0, 200)["rows"]]
        for k in range(len(told["clusters"]))
    ]
    assert sorted(itertools.chain(*members)) == list(range(len(rows)))
    for k, cluster in enumerate(told["clusters"]):
        assert cluster["size"] == len(members[k])
        labels, counts = np.unique(rows.labels[members[k]].numpy(), return_counts=True)
        expected = dict(zip(map(str, labels.tolist()), counts.tolist(), strict=True))
        assert cluster["label_counts"] == expected
    own = {"gaussian:3 mixture:4": "mixture", "categorical:4 fixed": "category"}
    own["bernoulli:3+categorical:4+gaussian:2 fixed"] = "category"
    by = own.get(" ".join(model), "codes (k-means)")
    assert told["by"] == by
    assert explorer.model()["has_own_clusters"] == (by != "codes (k-means)")
    if by == "codes (k-means)":
        assert told == explorer_of(*model).clusters()
        for k, cluster in enumerate(told["clusters"]):
            mean = rows.batch(torch.tensor(members[k])).mean(0)
            assert np.array_equal(pixels(cluster["picture"]), grey(mean[None])[0])
        return
    net = explorer.run.model
    found = clusters(net, rows)
    assert members == [found.members(k).tolist() for k in range(found.n_clusters)]
    centers = np.stack([pixels(cluster["picture"]) for cluster in told["clusters"]])
    assert np.array_equal(centers, grey(cluster_centers(net)))
    with pytest.raises(ConfigError, match=r"cluster must be an int from 0 to 3\. Got 4\."):
        explorer.cluster(4, 0, 1)


def test_rows_come_in_pages_and_by_label(explorers):
    explorer = explorers["bernoulli:6", "fixed"]
    rows = explorer.gallery.rows
    told = explorer.rows(110, 48)
    assert (told["total"], told["start"]) == (120, 110)
    assert [r["row"] for r in told["rows"]] == list(range(110, 120))
    assert [r["label"] for r in told["rows"]] == [str(n) for n in rows.labels[110:].tolist()]
    expected = grey(rows.batch(slice(110, 120)))
    assert np.array_equal(np.stack([pixels(r["picture"]) for r in told["rows"]]), expected)
    threes = explorer.rows(0, 200, "3")
    assert [r["row"] for r in threes["rows"]] == np.flatnonzero(rows.labels.numpy() == 3).tolist()
    assert explorer.rows(500, 10)["rows"] == []
    for label in ("13", "", "x", "٣"):
        with pytest.raises(ConfigError, match=r"is not in the data\. Choose one of: 0, 1, 2"):
            explorer.rows(0, 10, label)


def test_of_many_rows_some_are_kept_as_bytes_with_their_numbers():
    rows = load_data("digits").train
    explorer = explorer_of(rows=rows, max_rows=70)
    assert len(explorer.gallery) == 70
    assert explorer.gallery.rows.values.dtype == torch.uint8
    assert explorer.gallery.rows.values.shape == (70, 64)
    facts = explorer.model()["data"]
    assert (facts["n_rows"], facts["n_available"]) == (70, 1500)
    numbers = [r["number"] for r in explorer.rows(0, 70)["rows"]]
    kept = spread(1500, 70)
    assert numbers == rows.source_numbers[kept].tolist()
    assert [r["id"] for r in explorer.rows(0, 70)["rows"]] == numbers
    assert np.diff(kept).min() >= 21
    assert torch.equal(explorer.gallery.rows.values, rows.values[kept])
    whole = load_rows("digits")
    assert torch.equal(explorer.gallery.rows.values, whole.values[numbers])


def test_rows_and_classes_go_by_their_names():
    rows = load_data("digits").test.subset(slice(0, 120))
    awkward = ["img2.png", "<b>", "two\nlines", "x" * 999, "雪", "\udcff"]
    names = as_names([*awkward, *"abcd" * 40][:120])
    classes = tuple(f"class {'zyxwvutsrq'[i]}" for i in range(10))
    explorer = explorer_of(rows=replace(rows, ids=names, classes=classes))
    told = explorer.rows(0, 120)["rows"]
    assert [r["id"] for r in told[:3]] == ["img2.png", "<b>", "two\\nlines"]
    assert len(told[3]["id"]) == 200
    assert [r["id"] for r in told[4:]] == ["雪", "\\udcff", *names[6:]]
    assert [r["label"] for r in told] == [classes[label] for label in rows.labels.tolist()]
    assert explorer.model()["data"]["labels"] == list(classes)  # by number, not by name
    chosen = explorer.rows(0, 200, classes[3])["rows"]
    assert [r["row"] for r in chosen] == np.flatnonzero(rows.labels.numpy() == 3).tolist()
    with pytest.raises(ConfigError, match="Choose one of: class z, class y"):
        explorer.rows(0, 10, "3")
    counts = explorer.clusters()["clusters"][0]["label_counts"]
    assert set(counts) <= set(classes)
    near = explorer.neighbors(codes_of(explorer)[0], 5, 0)["rows"]
    assert all(r["id"] == told[r["row"]]["id"] for r in near)
    json.dumps([told, near])


def test_the_answer_is_the_same_however_rows_are_cut_into_chunks(monkeypatch):
    rows = load_data("digits").test
    whole = explorer_of(rows=rows).gallery
    monkeypatch.setattr("discretevae.explorer.galleries.DECODER_ROWS", 50)
    done: list[int] = []
    pieces = gallery_of(explorer_of(rows=rows).run.model, rows, max_rows=400, progress=done.append)
    assert done == [50, 100, 150, 200, 250, 297]
    assert torch.equal(whole.codes, pieces.codes)
    assert pieces.usage == pytest.approx(whole.usage, rel=1e-5)
    assert pieces.kl == pytest.approx(whole.kl, rel=1e-5)


def test_tables_are_told_as_values_with_the_names_of_their_columns(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("height, weight,label\n" + "".join(f"{i}.5,-{i},{i % 2}\n" for i in range(30)))
    rows = load_rows(path)
    explorer = explorer_of(rows=rows, likelihood="gaussian")
    explorer = Explorer(explorer.run, rows, source=str(path), split="all")
    facts = explorer.model()
    assert (facts["image"], facts["n_values"]) == (None, 2)
    assert facts["columns"] == ["height", "weight"]
    assert facts["value_range"] == [-29.0, 29.5]
    assert facts["data"]["labels"] == ["0", "1"]
    assert explorer.rows(3, 1)["rows"][0]["picture"] == {"values": [3.5, -3.0]}
    code = codes_of(explorer)[0]
    expected = explorer.run.model.decode(explorer.gallery.codes[:1])[0].tolist()
    assert explorer.decode([code])["pictures"] == [{"values": expected}]
    # far beyond what float32 squares
    with pytest.raises(DataError, match="beyond float32"):
        explorer.encode(torch.tensor([[3e38, 0.0]]))


def test_bytes_are_rounded_for_likelihoods_of_bytes():
    grey_levels = torch.randint(0, 256, (30, 64), generator=torch.Generator().manual_seed(0))
    explorer = explorer_of(rows=Rows.from_array(grey_levels), likelihood="beta-binomial")
    x = explorer.gallery.rows.batch(torch.tensor([2])).clamp(0.1, 0.9)
    x = (x * 255).round() / 255
    assert explorer.encode(x + 0.001) == explorer.encode(x)


def test_a_trained_run_tells_its_history_and_figures(trained):
    folder = trained("bernoulli:50")
    run = load_run(folder)
    explorer = Explorer(run, load_data("digits").test, source="digits", split="test")
    told = explorer.history()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert told["epochs"] == lines
    assert {"loss", "test_elbo", "kl"} <= set(told["keys"])
    assert "epoch" not in told["keys"]
    assert "validation_elbo" not in told["keys"]
    summary = json.loads((folder / "summary.json").read_text())["test"]
    figures = explorer.model()["figures"]
    assert figures["elbo"] == summary["elbo"]["value"]
    assert figures["active_units"] == summary["active_units"]
    assert explorer.model()["run"] == folder.name


def test_a_model_without_history_or_figures_has_none(explorers):
    explorer = explorers["bernoulli:6", "fixed"]
    assert explorer.history() == {"epochs": [], "keys": []}
    assert explorer.model()["figures"] == {}


def test_rows_without_labels_are_fine():
    explorer = explorer_of(rows=Rows(load_data("digits").test.values, 255.0, None, (8, 8)))
    assert not explorer.model()["data"]["has_labels"]
    assert explorer.rows(0, 1)["rows"][0]["label"] is None
    assert explorer.clusters()["clusters"][0]["label_counts"] is None
    with pytest.raises(ConfigError, match="Choose one of: none"):
        explorer.rows(0, 1, "3")


def test_rows_of_another_width_are_refused():
    run = explorer_of().run
    with pytest.raises(DataError, match="rows have 4 features, but the model takes 64"):
        Explorer(run, Rows.from_array([[0, 1, 1, 0]]), source="mine", split="all")


def test_answers_are_bounded():
    canvas = Canvas(None, 1 << 20, 0.0, 1.0)
    canvas.require_few(MAX_VALUES >> 20)
    with pytest.raises(ConfigError, match=r"17 pictures of 1,048,576 values .* at most 16"):
        canvas.require_few(17)
    wide = explorer_of("categorical:300")
    assert len(wide.effects(0)["categories"]) == 256
    far = explorer_of("bernoulli:2000", rows=load_data("digits").test.subset(slice(0, 5)))
    assert len(far.walk([0] * 2000, [1] * 1000 + [0] * 1000)["steps"]) == 1001
    with pytest.raises(ConfigError, match="the codes differ in 2,000 variables of 2,000, too many"):
        far.walk([0] * 2000, [1] * 2000)
    explorer = explorer_of("bernoulli:300")
    for index in range(300):
        explorer.effects(index)
        assert explorer.effects.cache_info().currsize <= 256


def test_the_scores_of_a_row_are_those_of_evaluation(explorers):
    explorer = explorers["gaussian:3", "mixture:4"]
    rows = explorer.gallery.rows.subset(slice(6, 7))
    scores = row_scores(explorer.run.model, rows, samples=64)
    assert explorer.encode_row(6)["figures"]["elbo"] == pytest.approx(float(scores.elbo), rel=1e-6)


def test_variables_of_every_family_are_named():
    net = explorer_of("bernoulli:2+categorical:2x5").run.model
    told = [(v.index, v.kind, v.n_categories) for v in variables_of(net.family)]
    assert told == [(0, "bit", 2), (1, "bit", 2), (2, "category", 5), (3, "category", 5)]
