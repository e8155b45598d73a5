"""Clusters: whose they are, how they are scored, and what the command says and writes."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import torch
from PIL import Image

from discretevae import (
    Clusters,
    ConfigError,
    DataError,
    DiscreteVAE,
    ModelConfig,
    Rows,
    cluster_centers,
    clusters,
    load_rows,
    load_run,
    match_clusters,
)
from discretevae.cli import call
from discretevae.codes import clusters as module
from discretevae.families import parts_of
from discretevae.plots.clusters import cluster_figure, shown_clusters
from discretevae.plots.pictures import save_figure


def spread(table):
    """Labels and truth that have this contingency table."""
    pairs = [(k, c) for k, line in enumerate(table) for c, n in enumerate(line) for _ in range(n)]
    labels, truth = np.array(pairs).T
    return labels, truth


def by_hand(table):
    """Accuracy over all one-to-one maps, NMI and ARI from their formulas, in float64."""
    n = np.asarray(table, float)
    wide = n if n.shape[0] <= n.shape[1] else n.T
    maps = itertools.permutations(range(wide.shape[1]), wide.shape[0])
    best = max(sum(wide[k, c] for k, c in enumerate(m)) for m in maps)
    joint, total = n / n.sum(), n.sum()
    a, b = joint.sum(1), joint.sum(0)
    inside = joint > 0
    mutual = (joint[inside] * np.log(joint[inside] / np.outer(a, b)[inside])).sum()
    mean = (scipy.stats.entropy(a) + scipy.stats.entropy(b)) / 2

    def pairs(counts):
        return (counts * (counts - 1) / 2).sum()

    rows, columns = pairs(n.sum(1)), pairs(n.sum(0))
    expected = rows * columns / pairs(np.array([total]))
    ari = (pairs(n) - expected) / ((rows + columns) / 2 - expected)
    return best / total, mutual / mean, ari, n.max(1).sum() / total


TABLES = {
    "perfect": [[5, 0, 0], [0, 3, 0], [0, 0, 4]],
    "permuted": [[0, 5, 0], [0, 0, 3], [4, 0, 0]],
    "mixed": [[5, 1, 2], [1, 7, 0], [3, 3, 3]],
    "greedy is wrong": [[10, 9], [9, 0]],
    "independent": [[2, 4], [3, 6]],
    "more clusters": [[5, 0], [6, 1], [0, 4], [2, 2]],
    "fewer clusters": [[5, 0, 3, 1], [0, 6, 2, 2]],
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_scores_are_those_of_the_formulas(table):
    scores = match_clusters(*spread(table))
    found = (scores.accuracy, scores.nmi, scores.ari, scores.purity)
    assert found == pytest.approx(by_hand(table), abs=1e-12)
    assert scores.confusion.tolist() == table


def test_accuracy_is_the_best_of_all_one_to_one_maps():
    rng = np.random.default_rng(0)
    for _ in range(60):
        shape = rng.integers(2, 6, 2)
        table = rng.integers(0, 9, shape) * (rng.random(shape) < 0.8)
        table[0] += 1  # no class without rows
        table[:, 0] += 1
        scores = match_clusters(*spread(table))
        found = (scores.accuracy, scores.nmi, scores.ari, scores.purity)
        assert found == pytest.approx(by_hand(table), abs=1e-12)
        # the map is one to one, says how the accuracy comes about, and has no empty pairs
        assert len(set(scores.mapping.values())) == len(scores.mapping) <= min(shape)
        counts = [table[k, c] for k, c in scores.mapping.items()]
        assert all(counts)
        assert sum(counts) / table.sum() == pytest.approx(scores.accuracy)


def test_the_largest_cell_first_would_be_another_accuracy():
    scores = match_clusters(*spread(TABLES["greedy is wrong"]))
    assert scores.accuracy == pytest.approx(18 / 28)  # not the 10 + 0 of the greedy choice
    assert dict(scores.mapping) == {0: 1, 1: 0}


def test_numbers_of_clusters_and_classes_make_no_difference():
    labels, truth = spread(TABLES["mixed"])
    order = np.random.default_rng(0).permutation(len(labels))
    other = np.array([40, -7, 3])[labels][order], np.array([2, 9, 5])[truth][order]
    a, b = match_clusters(labels, truth), match_clusters(*other)
    for name in ("accuracy", "nmi", "ari", "purity"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), abs=1e-12)
    assert b.clusters == (-7, 3, 40)
    assert b.classes == (2, 5, 9)
    assert dict(b.mapping) == {40: 2, -7: 9, 3: 5}


def test_a_cluster_without_a_class_is_not_in_the_map():
    scores = match_clusters(*spread([[5, 0], [6, 1], [0, 4]]))
    assert dict(scores.mapping) == {1: 0, 2: 1}
    assert scores.accuracy == pytest.approx(10 / 16)
    assert scores.purity == pytest.approx(15 / 16)
    # fewer clusters than classes: the rows of the third class are wrong
    assert match_clusters([0, 0, 1, 1, 1], [0, 0, 1, 1, 2]).accuracy == pytest.approx(0.8)
    # a pair that shares no row is no match, although the method pairs everything
    assert dict(match_clusters([0, 0, 1], [4, 4, 4]).mapping) == {0: 4}


def test_one_cluster_has_the_share_of_the_largest_class():
    scores = match_clusters([3, 3, 3, 3], [0, 1, 1, 2])
    assert (scores.accuracy, scores.purity, scores.nmi, scores.ari) == (0.5, 0.5, 0, 0)
    assert scores.majority == {3: (1, 0.5)}


def test_of_equal_classes_the_lowest_is_the_largest():
    assert match_clusters([0, 0, 1], [8, 2, 8]).majority == {0: (2, 0.5), 1: (8, 1.0)}


@pytest.mark.parametrize(
    ("labels", "truth", "message"),
    [
        ([0, 1], [0], "2 labels and 1 of truth"),
        ([], [], r"labels must be whole numbers \[N\]"),
        ([0.0, 1.0], [0, 1], "labels must be whole numbers.*float64"),
        ([0, 1], ["a", "b"], "truth must be whole numbers"),
        ([[0, 1]], [0, 1], r"\[1, 2\]"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels, truth, message):
    with pytest.raises(DataError, match=message):
        match_clusters(labels, truth)


def model_of(latent, prior="fixed", *, seed=0, n_features=64, likelihood="bernoulli"):
    config = ModelConfig(
        n_features=n_features, latent=latent, prior=prior, hidden=(16,), likelihood=likelihood
    )
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def rows():
    return load_rows("digits", split="test")


def placed(rows, n_variables=2):
    """A model whose three components stand where rows have their codes; they differ in all."""
    model = model_of(f"gaussian:{n_variables}", "mixture:3")
    with torch.no_grad():
        mu, _ = model.family.moments(model.eta(rows.batch(slice(0, 297))))
    middle, scale = mu.mean(0), mu.std(0)
    offsets = torch.tensor([[-1.0], [0.1], [1.0]]) * scale
    factor = torch.tensor([[0.5], [0.2], [0.9]])
    model.prior.place(
        torch.tensor([0.25, 0.15, 0.6]), middle + offsets, scale.square() * factor
    )  # fmt: skip
    return model


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def responsibilities(model, z, *, weighted=True):
    """Bayes' rule in float64: z ``[..., D]`` to ``[..., K]``."""
    prior = model.prior
    weights = torch.softmax(prior.logits.detach().double(), 0).numpy()
    means = prior.means.detach().double().numpy()
    variances = prior.covariances().detach().double().diagonal(dim1=-2, dim2=-1)
    sigma = variances.sqrt().numpy()
    log_density = scipy.stats.norm.logpdf(z[..., None, :], means, sigma).sum(-1)
    return softmax(log_density + (np.log(weights) if weighted else 0.0))


def moments(model, rows):
    with torch.no_grad():
        eta = model.eta(rows.batch(slice(0, len(rows))))
        return [m.double().numpy() for m in model.family.moments(eta)]


def test_components_are_those_of_bayes_rule(rows):
    model = placed(rows)
    found = clusters(model, rows)
    mu, _ = moments(model, rows)
    expected = responsibilities(model, mu)
    assert found.kind == "component"
    assert found.labels.dtype == np.int64
    assert found.probabilities.dtype == np.float32
    assert np.allclose(found.probabilities, expected, rtol=1e-4, atol=1e-6)
    assert np.array_equal(found.labels, expected.argmax(1))
    assert np.array_equal(found.sizes, np.bincount(expected.argmax(1), minlength=3))
    assert (found.sizes > 0).all()
    # without the weights other rows would be in other clusters, so that this test would see it
    wrong = responsibilities(model, mu, weighted=False).argmax(1)
    assert (wrong != found.labels).mean() > 0.05


def test_draws_follow_from_the_seed_alone():
    model = model_of("categorical:3+bernoulli:4")
    before = torch.get_rng_state()
    a, b, c = (cluster_centers(model, seed=s) for s in (5, 5, 6))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


CATEGORIES = {
    # latent: (number of the part, K, column of the code)
    "categorical:5": (0, 5, 0),
    "categorical:4+gaussian:2": (0, 4, 0),
    "bernoulli:3+categorical:6": (1, 6, 3),
    "gaussian:2+categorical:3+categorical:7": (1, 3, 2),
    "categorical:2x3+categorical:4+bernoulli:2": (1, 4, 2),
}


@pytest.mark.parametrize("latent", CATEGORIES)
def test_categories_are_those_of_the_encoder(latent, rows):
    number, k, column = CATEGORIES[latent]
    model = model_of(latent)
    found = clusters(model, rows)
    with torch.no_grad():
        raw = model.encoder(rows.batch(slice(0, 297))).double().numpy()
    sizes = [math.prod(part.eta_shape) for part in parts_of(model.family)]
    start = sum(sizes[:number])
    expected = softmax(raw[:, start : start + k])
    assert found.kind == "category"
    assert np.allclose(found.probabilities, expected, atol=1e-6)
    assert np.array_equal(found.labels, expected.argmax(1))
    codes = model.encode(rows.batch(slice(0, 297)))[:, column]
    assert np.array_equal(found.labels, codes.numpy())


@pytest.mark.parametrize("latent", [*CATEGORIES, "gaussian:2"])
def test_chunks_make_no_difference(latent, rows, monkeypatch):
    model = placed(rows) if latent == "gaussian:2" else model_of(latent)
    whole = clusters(model, rows)
    done = []
    monkeypatch.setattr(module, "DECODER_ROWS", 7)
    parts = clusters(model, rows, progress=done.append)
    assert done == [*range(7, 297, 7), 297]
    # matrix products of another number of rows may round otherwise
    assert np.allclose(whole.probabilities, parts.probabilities, rtol=0, atol=2e-6)
    assert np.array_equal(whole.labels, parts.labels)


def test_wide_mixtures_are_read_in_small_chunks(rows, monkeypatch):
    done = []
    monkeypatch.setattr(module, "CHUNK_VALUES", 600)
    clusters(model_of("gaussian:10", "mixture:20"), rows.subset(slice(0, 7)), progress=done.append)
    assert done == [3, 6, 7]


def test_labels_of_the_rows_are_not_looked_at(rows):
    model = placed(rows)
    bare = Rows(rows.values, rows.divisor)
    assert np.array_equal(clusters(model, rows).probabilities, clusters(model, bare).probabilities)


def test_rows_are_binarized_as_in_training(rows):
    model = model_of("categorical:5")
    binary = Rows.from_array((rows.batch(slice(0, 297)) > 0.5).byte())
    expected = clusters(model, binary).probabilities
    for mode in ("threshold", "dynamic"):
        found = clusters(model, rows.binarized(mode)).probabilities
        assert np.array_equal(found, expected)
    assert not np.allclose(clusters(model, rows).probabilities, expected, atol=1e-3)


def test_of_equal_probabilities_the_lowest_cluster_and_the_first_row_win(rows):
    model = model_of("categorical:4")
    for parameter in model.encoder.parameters():
        torch.nn.init.zeros_(parameter)
    found = clusters(model, rows)
    assert (found.probabilities == 0.25).all()
    assert (found.labels == 0).all()
    assert found.sizes.tolist() == [297, 0, 0, 0]
    assert found.members(0).tolist() == list(range(297))
    assert found.members(3).tolist() == []
    assert found.entropy == pytest.approx(np.full(297, math.log(4)))


def test_rows_that_are_equally_sure_keep_their_order():
    p = np.random.default_rng(0).choice([0.6, 0.7, 0.8], 500).astype(np.float32)
    found = Clusters(np.zeros(500, np.int64), np.stack((p, 1 - p), 1), "component")
    expected = [row for value in (0.8, 0.7, 0.6) for row in np.flatnonzero(p == np.float32(value))]
    assert found.members(0).tolist() == expected


def test_entropy_and_confidence():
    p = np.array([[1, 0, 0], [0.25, 0.25, 0.5], [0.2, 0.7, 0.1]], np.float32)
    found = Clusters(p.argmax(1), p, "component")
    assert len(found) == found.n_clusters == 3
    assert found.entropy == pytest.approx(scipy.stats.entropy(p.astype(float), axis=1))
    assert not np.signbit(found.entropy).any()
    assert found.confidence.tolist() == p.max(1).tolist()
    for cluster in (-1, 3):
        with pytest.raises(ConfigError, match="cluster must be an int from 0 to 2"):
            found.members(cluster)


REFUSED = [
    ("bernoulli:6", "fixed"),
    ("bernoulli:6", "autoregressive"),
    ("categorical:3x4", "fixed"),
    ("gaussian:3", "fixed"),
    ("gaussian:3", "factorized"),
    ("bernoulli:4+gaussian:2", "fixed"),
    ("categorical:2x3+bernoulli:2", "fixed"),
]


@pytest.mark.parametrize(("latent", "prior"), REFUSED)
def test_other_codes_are_refused(latent, prior, rows):
    model = model_of(latent, prior)
    for ask in (lambda: clusters(model, rows), lambda: cluster_centers(model)):
        with pytest.raises(ConfigError, match="has no clusters") as caught:
            ask()
        assert f"latent {latent} with prior {prior}" in str(caught.value).replace("\\", "")
        assert "`latent='gaussian:10'`, `prior='mixture:10'` and `pretrain=10`" in str(caught.value)


def test_other_mistakes_are_refused(rows):
    with pytest.raises(DataError, match="64 features, but the model takes 5"):
        clusters(model_of("categorical:3", n_features=5), rows)
    huge = Rows.from_array(np.full((3, 5), 3e38, np.float32), name="huge")
    with pytest.raises(DataError, match="huge: the code of 3 of 3 rows is beyond float32"):
        clusters(
            model_of("gaussian:2", "mixture:2", n_features=5, likelihood="gaussian"), huge
        )  # fmt: skip


def test_a_components_center_is_its_mean_decoded(rows):
    model = placed(rows)
    expected = model.decode(model.prior.means.detach())
    assert torch.equal(cluster_centers(model), expected)
    assert cluster_centers(model).shape == (3, 64)


def test_a_categorys_center_is_the_category_decoded():
    model = model_of("categorical:5")
    assert torch.allclose(cluster_centers(model), model.decode(torch.arange(5)[:, None]), atol=1e-6)


@pytest.mark.parametrize("prior", ["fixed", "factorized", "autoregressive"])
def test_a_gaussian_part_is_at_the_mean_of_its_prior(prior):
    model = model_of("gaussian:2+categorical:3", prior)
    middle = torch.zeros(2)
    if prior == "factorized":
        middle = torch.tensor([0.7, -1.5])
        with torch.no_grad():  # (μ, ln σ²) of each variable, then the logits
            model.prior.raw[:4] = torch.tensor([0.7, 0.3, -1.5, -0.2])
    codes = torch.cat((middle.expand(3, 2), torch.arange(3.0)[:, None]), 1)
    assert torch.allclose(cluster_centers(model), model.decode(codes), atol=1e-6)


def test_over_bits_the_center_is_an_average():
    """Uniform bits: all 4 codes about equally often, and the counts of the draws are replayed."""
    model = model_of("categorical:3+bernoulli:2")
    generator = torch.Generator().manual_seed(4)
    drawn = model.prior.sample(module.CENTER_DRAWS, generator=generator)[:, 3:]
    found = cluster_centers(model, seed=4)
    for k in range(3):
        codes = torch.cat((torch.full((len(drawn), 1), k), drawn.long()), 1)
        assert torch.allclose(found[k], model.decode(codes).mean(0), atol=1e-6)


def test_shown_members_are_the_ends_of_their_cluster():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(6, 0.4), 90).astype(np.float32)
    p[:, 5] = 0  # one cluster is empty
    found = Clusters(p.argmax(1), p, "component")
    lines = shown_clusters(found, certain=4, uncertain=3)
    sizes = [int(found.sizes[cluster]) for cluster, _, _ in lines]
    assert sizes == sorted(found.sizes.tolist(), reverse=True)
    assert lines[-1] == (5, [], [])
    for (cluster, certain, uncertain), size in zip(lines, sizes, strict=True):
        own = found.confidence
        shown = [*certain, *uncertain]
        assert len(set(shown)) == len(shown) == min(size, 7)
        assert all(found.labels[row] == cluster for row in shown)
        assert [own[row] for row in shown] == sorted((own[row] for row in shown), reverse=True)
        if size:
            members = own[found.labels == cluster]
            assert own[shown[0]] == members.max()
            assert own[shown[-1]] == members.min()
    assert len(shown_clusters(found, limit=2)) == 2


@pytest.mark.draws
@pytest.mark.parametrize(("k", "shape"), [(1, (8, 8)), (60, (8, 8)), (12, (2, 32)), (60, (64, 1))])
def test_pictures_of_any_shape_and_number_are_legible_in_size(k, shape, tmp_path):
    generator = torch.Generator().manual_seed(0)
    rows = Rows.from_array(torch.rand(50, 64, generator=generator), image_shape=shape)
    p = torch.rand(50, k, generator=generator).numpy()
    found = Clusters(p.argmax(1), p, "category")
    centers = torch.rand(k, 64, generator=generator)
    save_figure(cluster_figure(found, centers, rows, shape), tmp_path / "c.png", dpi=120, colors=64)
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width == 1080
        assert picture.height < 6000
    assert (tmp_path / "c.png").stat().st_size < 300_000


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """The folder of a briefly trained run with a mixture prior."""
    out = tmp_path_factory.mktemp("runs") / "mixture"
    args = ["--latent", "gaussian:3", "--prior", "mixture:4", "--epochs", "1", "--hidden", "16"]
    assert call(["train", *args, "--seed", "1", "--out", str(out)]) == 0
    return out


SCHEMA = {
    "run": str,
    "data": str,
    "split": str,
    "out": str,
    "picture": str,
    "kind": str,
    "rows": int,
    "n_clusters": int,
    "in_use": int,
    "mean_entropy": float,
    "clusters": list,
    "classes": type(None),
    "scores": dict,
}


@pytest.mark.draws
def test_the_command_writes_and_says_what_was_found(mixture, cli, tmp_path):
    out, picture = tmp_path / "new" / "c.npz", tmp_path / "c.png"
    said = cli("cluster", mixture, "--out", out, "--picture", picture, "--json")
    assert said.status == 0
    facts = json.loads(said.out)
    assert {name: type(value) for name, value in facts.items()} == SCHEMA
    assert (facts["kind"], facts["rows"], facts["n_clusters"]) == ("component", 1797, 4)
    with np.load(out, allow_pickle=False) as file:
        labels, p = file["cluster"], file["probabilities"]
    assert p.shape == (1797, 4)
    assert p.sum(1) == pytest.approx(np.ones(1797), abs=1e-5)
    assert np.array_equal(labels, p.argmax(1))
    truth = load_rows("digits", split="all").labels.numpy()
    scores = match_clusters(labels, truth)
    assert facts["scores"] == json.loads(json.dumps(scores.to_dict()))
    assert sum(map(sum, facts["scores"]["confusion"])) == 1797
    sizes = np.bincount(labels, minlength=4)
    for k, each in enumerate(facts["clusters"]):
        assert list(each) == [
            "cluster",
            "rows",
            "share",
            "mean_probability",
            "majority",
            "matched",
            "surest",
        ]
        assert (each["cluster"], each["rows"]) == (k, sizes[k])
        if sizes[k]:
            counts = np.bincount(truth[labels == k], minlength=10)
            expected = {"label": int(counts.argmax()), "share": counts.max() / sizes[k]}
            assert each["majority"] == pytest.approx(expected)
            assert each["mean_probability"] == pytest.approx(p[labels == k, k].mean(), abs=1e-6)
        else:
            assert each["majority"] is each["matched"] is each["mean_probability"] is None
    assert picture.read_bytes()[1:4] == b"PNG"
    assert picture.stat().st_size < 300_000


def test_words_and_a_table_of_labels(copied, cli, tmp_path):
    folder, out = copied("categorical:5"), tmp_path / "c.csv"
    said = cli("cluster", folder, "--split", "test", "--out", out)
    assert said.status == 0
    assert "clusters and labels matched one to one" in said.out
    assert "labels were used for these scores only" in said.out
    assert f"picture  {folder / 'figures' / 'clusters.png'}" in said.out
    assert (folder / "figures" / "clusters.png").is_file()
    lines = out.read_text().splitlines()
    assert lines[0] == "id,cluster,probability"
    table = np.loadtxt(out, delimiter=",", skiprows=1)
    rows = load_rows("digits", split="test")
    found = clusters(load_run(folder).model, rows)
    assert table[:, 0].tolist() == rows.source_numbers.tolist()
    assert np.array_equal(table[:, 1], found.labels)
    assert table[:, 2] == pytest.approx(found.confidence, rel=1e-5)


def test_rows_that_are_no_pictures_and_have_no_labels(cli, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", (rng.random((60, 5)) > 0.5).astype("u1"))
    run = tmp_path / "run"
    options = ("--latent", "categorical:3", "--hidden", 8, "--epochs", 1, "--out", run)
    assert cli("train", "--data", tmp_path / "x.npy", *options).status == 0
    said = cli("cluster", run, "--json")
    assert said.status == 0
    facts = json.loads(said.out)
    assert facts["rows"] == 60
    assert facts["picture"] is facts["scores"] is facts["out"] is None
    assert all(each["majority"] is each["matched"] is None for each in facts["clusters"])
    assert not (run / "figures" / "clusters.png").exists()
    words = cli("cluster", run).out
    assert "accuracy" not in words
    assert "label" not in words
    said = cli("cluster", run, "--picture", tmp_path / "p.png")
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "rows are no pictures" in said.err
    # whoever names the file of the data as the output is stopped
    (tmp_path / "x.csv").write_text("a,b,c,d,e\n" + "1,0,1,0,1\n" * 4)
    said = cli("cluster", run, tmp_path / "x.csv", "--out", tmp_path / "x.csv")
    assert said.status == 2
    assert "is the file of the data" in said.err


@pytest.mark.parametrize(
    ("latent", "options", "message"),
    [
        ("bernoulli:6", (), "latent bernoulli:6 with prior fixed has no clusters"),
        ("gaussian:3", (), "--pretrain 10"),
        ("categorical:3x4", (), "has no clusters"),
        ("categorical:5", ("--out", "c.txt"), "c.txt: must end in .csv or .npz"),
        ("categorical:5", ("--picture", "c.jpg"), "c.jpg: must end in .png"),
        ("categorical:5", ("nothing.npy",), "nothing.npy"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    latent, options, message, copied, cli, tmp_path, monkeypatch
):
    folder = copied(latent)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (folder / "figures" / "clusters.png").unlink(missing_ok=True)
    files = ("--out", "a/c.csv") if "--out" not in options else ()
    said = cli("cluster", folder, *options, *files)
    assert said.status == 2
    assert said.err.count("\n") == 1
    assert message in said.err
    assert said.out == ""
    assert not list((tmp_path / "here").iterdir())
    assert not (folder / "figures" / "clusters.png").exists()
