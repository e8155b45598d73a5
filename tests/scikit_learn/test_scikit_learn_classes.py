"""The scikit-learn classes: scikit-learn's own checks, and that they add nothing to training."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import ClusterMixin, clone, is_clusterer
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils._testing import assert_allclose_dense_sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

import discretevae as dv
from discretevae.config import LikelihoodSpec, ModelConfig, NeighborTarget, PriorSpec, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.errors import CollapseWarning, ConfigError, DataError, RunError, TrainingError
from discretevae.estimators import RLOO
from discretevae.evaluation.bounds import row_scores, score_samples
from discretevae.model.vae import fresh_model
from discretevae.run_folder.saved_run import load_run
from discretevae.scikit_learn import BaseVAE, BernoulliVAE, CategoricalVAE, ClusterVAE
from discretevae.scikit_learn.reading import weighted_rows
from discretevae.system.tensor_files import pack_tensors, parse_tensors
from discretevae.training import train

SMALL = {"hidden": (8,), "epochs": 2, "random_state": 0}
MEMBERS = [
    BernoulliVAE(n_bits=4, **SMALL),
    ClusterVAE(n_clusters=3, **SMALL),
    CategoricalVAE(n_categories=3, n_variables=2, **SMALL),
]
IDS = ["bits", "clusters", "categories"]

# one code on few rows is no code yet: whether it carries something is not what is tested here
members = pytest.mark.parametrize("member", MEMBERS, ids=IDS)


def table(n: int = 40, *, kind: str = "binary", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 3, n)
    if kind == "real":
        return rng.normal(size=(n, 6)) * [1, 2, 3, 4, 5, 0] + groups[:, None] * 10 - 7.0
    p = np.where(np.arange(6) // 2 == groups[:, None], 0.9, 0.1)
    return (rng.random((n, 6)) < p).astype(np.float64)


CHECKED = [
    BernoulliVAE(n_bits=3, hidden=(), epochs=1, random_state=0),
    CategoricalVAE(n_categories=3, hidden=(), epochs=1, random_state=0),
    CategoricalVAE(n_categories=3, n_variables=2, hidden=(4,), epochs=1, random_state=0),
    ClusterVAE(3, hidden=(), epochs=1, batch_size=2, lr=0.2, random_state=0),
]


# scikit-learn's checks. Few steps, but enough for those that look at the clusters found.
@parametrize_with_checks(CHECKED)
def test_scikit_learns_own_checks_pass(estimator, check, monkeypatch):
    """But for a tolerance: 1e-7 is meant for float64, and scores are formed in float32."""

    def close(x, y, rtol=1e-7, **options):
        assert_allclose_dense_sparse(x, y, rtol=1e-5 if rtol == 1e-7 else rtol, **options)

    monkeypatch.setattr(estimator_checks, "assert_allclose_dense_sparse", close)
    check(estimator)


def test_scikit_learns_own_checks_look_at_every_public_class():
    public = {getattr(dv, name) for name in dv.__all__ if name.endswith("VAE")}
    public -= {dv.BaseVAE, dv.DiscreteVAE}
    assert public == {type(estimator) for estimator in CHECKED}


@pytest.mark.parametrize("seed", range(4))
def test_a_clusterer_finds_blobs_without_being_told_how(seed):
    """Every parameter but K at its default, seed after seed, as scikit-learn's check asks."""
    x, y = make_blobs(n_samples=50, random_state=1)
    vae = ClusterVAE(n_clusters=3, random_state=seed)
    labels = vae.fit_predict(StandardScaler().fit_transform(x))
    assert adjusted_rand_score(labels, y) > 0.7
    assert set(labels) == {0, 1, 2}


def test_a_fit_is_a_training_with_the_same_seed():
    x = table()
    vae = BernoulliVAE(n_bits=4, hidden=(8,), epochs=3, lr=0.02, random_state=5).fit(x)
    rows = Rows.from_array(weighted_rows(x, None)[0])
    config = ModelConfig(n_features=6, latent="bernoulli:4", hidden=(8,))
    model = fresh_model(config, seed=5)
    train(model, Dataset("X", rows, rows), TrainConfig(epochs=3, lr=0.02, seed=5))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, vae.model_.state_dict()[name])
    rows = Rows.from_array(x)
    assert torch.equal(torch.from_numpy(vae.transform(x)), model.encode(rows.batch(slice(None))))
    assert np.array_equal(vae.score_samples(x), score_samples(model, rows).float().numpy())


@members
@pytest.mark.parametrize("estimator", [None, "relax"])
def test_partial_fits_add_up_to_a_fit(member, estimator):
    if estimator and not isinstance(member, BernoulliVAE):
        pytest.skip("relax is for bits here")
    x = table()
    whole = clone(member).set_params(estimator=estimator).fit(x)
    parts = clone(member).set_params(estimator=estimator).partial_fit(x)
    once = parts.score(x)
    parts.partial_fit(x)
    assert parts.score(x) == whole.score(x) != once
    assert len(parts.history_) == len(whole.history_) == 2
    # a fit too can be gone on with, and on other rows
    assert whole.partial_fit(x[:7]).score(x) == parts.partial_fit(x[:7]).score(x)


def test_partial_fit_needs_the_optimizer_to_go_on():
    # power of the test above: without Adam's moments the weights are others
    x = table()
    vae = clone(MEMBERS[0]).partial_fit(x)
    tensors, position = parse_tensors(vae._state, Path("state"))
    kept = {k: v for k, v in tensors.items() if not k.startswith("optimizer")}
    assert len(kept) < len(tensors)
    vae._state = pack_tensors(kept, position)
    assert vae.partial_fit(x).score(x) != clone(MEMBERS[0]).fit(x).score(x)


def test_a_partial_fit_that_fails_changes_nothing():
    x = table(kind="real")
    vae = BernoulliVAE(n_bits=3, **SMALL).fit(x)
    before = vae.score(x)
    with pytest.raises(TrainingError, match="Try a smaller `lr`"):
        vae.set_params(lr=1e30).partial_fit(x)
    assert vae.score(x) == before
    assert len(vae.history_) == 2


@members
@pytest.mark.parametrize("kind", ["binary", "real"])
def test_codes_and_the_way_back(member, kind):
    x = table(kind=kind)
    vae = clone(member).fit(x)
    codes = vae.transform(x)
    assert codes.dtype == ("uint8" if isinstance(vae, BernoulliVAE) else "int64")
    assert codes.shape == (40, len(vae.get_feature_names_out()))
    back = vae.inverse_transform(codes)
    assert back.shape == x.shape
    inside = x if kind == "binary" else vae._rows(x).batch(slice(None)).numpy()
    shown = vae.model_.reconstruct(torch.from_numpy(inside).float()).numpy()
    if kind == "real":
        shown = shown * vae._schema.scale.width + x.mean(0)
    assert np.allclose(back, shown, rtol=1e-5, atol=1e-5)
    assert np.array_equal(vae.fit_transform(x), codes)


def test_scores_of_standardized_columns_are_densities_of_the_values():
    # a change of units by a in every column takes ln a off, once for each
    x = table(kind="real")[:, :5]
    vae = ClusterVAE(3, likelihood="gaussian:learned", **SMALL)
    small, large = vae.fit(x).score_samples(x), clone(vae).fit(1000 * x).score_samples(1000 * x)
    assert np.allclose(small - large, 5 * math.log(1000), atol=1e-3)
    # by enumeration: ln Σ_k p(k) N(x; x̂_k, s²σ²), all in the units of x
    model = vae.model_
    means = vae.inverse_transform(np.arange(3)[:, None])
    scale = model.likelihood.scale().detach().numpy() * vae._schema.scale.width
    z = (x[:, None] - means) / scale
    log_p = (-0.5 * z**2 - np.log(scale) - 0.5 * math.log(2 * math.pi)).sum(-1)
    log_px = np.logaddexp.reduce(log_p, 1) - math.log(3)
    assert vae.score(x) == pytest.approx(log_px.mean(), abs=1e-3)
    # what the columns say by themselves is on that scale, and only takes away
    guarded = np.minimum(log_px, vae._tails.scores(vae._rows(x)))
    assert np.allclose(small, guarded, atol=1e-3)
    assert (guarded < log_px).any()


def test_bytes_are_divided_as_everywhere_in_the_package():
    x = np.random.default_rng(0).integers(0, 256, (30, 6))
    vae = BernoulliVAE(n_bits=3, likelihood="bernoulli", **SMALL).fit(x)
    assert vae._schema.divisor == 255
    assert np.array_equal(vae.transform(x[:1] * 0), vae.transform(x[:1] * 0.0))
    assert vae.inverse_transform(vae.transform(x)).max() > 1
    density = clone(vae).set_params(likelihood="continuous-bernoulli").fit(x)
    inside = score_samples(density.model_, Rows.from_array(x, divisor=255)).numpy()
    assert np.allclose(density.score_samples(x), inside - 6 * math.log(255), atol=1e-4)


@members
def test_a_score_does_not_depend_on_the_rows_beside_it(member):
    x = table()
    vae = clone(member).fit(x)
    whole = vae.score_samples(x)
    assert whole.dtype == np.float32
    assert np.allclose(whole[20:30], vae.score_samples(x[20:30]), atol=1e-5)
    assert np.array_equal(whole, vae.score_samples(x))
    assert vae.score(x) == pytest.approx(whole.mean(), abs=1e-5)


def test_a_score_that_is_no_exact_sum_is_the_bound():
    x = table()
    vae = BernoulliVAE(20, **SMALL).fit(x)
    rows = Rows.from_array(x)
    bound = row_scores(vae.model_, rows, samples=100).bound.numpy()
    elbo = row_scores(vae.model_, rows, samples=1000).elbo.numpy()
    assert vae.score(x) == pytest.approx(bound.mean(), abs=0.1)
    assert vae.score(x) > elbo.mean()


def test_clusters_are_the_category():
    x = table()
    vae = clone(MEMBERS[1])
    labels = vae.fit_predict(x)
    assert is_clusterer(vae)
    assert np.array_equal(labels, vae.labels_)
    assert np.array_equal(labels, vae.predict(x))
    assert np.array_equal(labels, vae.transform(x)[:, 0])


@pytest.mark.parametrize(
    "member",
    [MEMBERS[0], MEMBERS[2], CategoricalVAE(3, **SMALL)],
    ids=["bits", "categories", "category"],
)
def test_what_is_no_clusterer_has_no_clusters(member):
    vae = clone(member).fit(table())
    assert not is_clusterer(vae)
    assert not isinstance(vae, ClusterMixin)
    for name in ("predict", "fit_predict", "labels_"):
        assert not hasattr(vae, name)


def test_a_single_cluster_is_the_model_of_all_rows(tmp_path):
    """What a search over K begins with: ln p(x) is that of one Gaussian."""
    x = table(kind="real")[:, :5]
    options = {"likelihood": "gaussian:learned", "hidden": (), "epochs": 3, "random_state": 0}
    vae = ClusterVAE(1, **options).fit(x)
    assert not vae.labels_.any()
    mean = vae.inverse_transform([[0]])[0]
    scale = vae.model_.likelihood.scale().detach().numpy() * vae._schema.scale.width
    log_p = (-0.5 * ((x - mean) / scale) ** 2 - np.log(scale * math.sqrt(2 * math.pi))).sum(1)
    assert np.allclose(vae._log_px(vae._rows(x), vae.model_), log_p, atol=1e-3)
    vae.save(tmp_path / "vae")
    again = ClusterVAE.load(tmp_path / "vae")
    assert np.array_equal(again.score_samples(x), vae.score_samples(x))
    with pytest.raises(ConfigError, match="has one state, which no coder takes"):
        dv.compress(ClusterVAE(1, **SMALL).fit(table()).model_, table())
    for name in ("carms", "local-expectation", "reinmax"):
        one = ClusterVAE(1, objective="elbo", estimator=name, **SMALL)
        with pytest.raises(ConfigError, match="leaves nothing to estimate"):
            one.fit(table())
    assert np.isfinite(ClusterVAE(1, objective="elbo", **SMALL).fit(table()).score(table()))


def test_a_random_state_is_all_that_chance_depends_on():
    x = table()
    one, two = (clone(MEMBERS[0]).set_params(random_state=r) for r in (1, 2))
    assert one.fit(x).score(x) == clone(one).fit(x).score(x) != two.fit(x).score(x)
    made = [np.random.RandomState(3) for _ in range(2)]
    first, second = (clone(one).set_params(random_state=r).fit(x).score(x) for r in made)
    assert first == second
    assert np.array_equal(one.sample(4), one.sample(4))
    assert not np.array_equal(one.sample(4, noise=True), two.sample(4, noise=True))
    assert one.seed_ == 1


def test_global_random_states_are_left_alone():
    x = table()
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    vae = BernoulliVAE(20, **SMALL).set_params(random_state=None).fit(x).partial_fit(x)
    vae.sample(2, noise=True)
    vae.score_samples(x[:2])
    assert np.array_equal(before[0], np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(before[1], torch.get_rng_state())


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_samples_are_rows(kind):
    x = table(kind=kind)
    vae = clone(MEMBERS[0]).fit(x)
    assert vae.sample().shape == (1, 6)
    drawn = vae.sample(50, noise=True)
    assert drawn.shape == (50, 6)
    if kind == "binary":
        assert set(np.unique(drawn)) <= {0, 1}
    else:
        assert np.abs(drawn[:, 5] - x[0, 5]).max() < 60
    with pytest.raises(ConfigError, match=r"`n_samples` must be an int >= 1\. Got 0\."):
        vae.sample(0)


def test_it_works_among_scikit_learns_tools():
    x = table(60)
    y = x[:, 0].astype(int)
    pipeline = make_pipeline(clone(MEMBERS[0]), LogisticRegression())
    assert pipeline.fit(x, y).predict(x).shape == (60,)
    search = GridSearchCV(
        clone(MEMBERS[0]), {"n_bits": [2, np.int64(3)], "lr": [0.01, 0.1]}, cv=2, n_jobs=1
    ).fit(x)
    assert search.best_params_["n_bits"] in (2, 3)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    again = pickle.loads(pickle.dumps(search.best_estimator_))  # noqa: S301 - as joblib does
    assert again.partial_fit(x).score(x) == search.best_estimator_.partial_fit(x).score(x)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_several_jobs_give_what_one_gives(backend):
    x, member = table(60), clone(MEMBERS[0])
    alone = cross_val_score(member, x, cv=2, n_jobs=1)
    with joblib.parallel_config(backend=backend):
        together = cross_val_score(member, x, cv=2, n_jobs=2)
    assert np.array_equal(alone, together)


def test_pandas_in_and_out():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table(), columns=list("abcdef"))
    expected = (["bit0", "bit1", "bit2", "bit3"], ["cluster"], ["category0", "category1"])
    for member, names in zip(MEMBERS, (*expected, ["category0", "component0", "component1"])):  # noqa: B905
        vae = clone(member).set_output(transform="pandas").fit(frame)
        codes = vae.transform(frame)
        assert list(codes.columns) == names
        assert list(vae.feature_names_in_) == list("abcdef")
        assert np.array_equal(vae.inverse_transform(codes), vae.inverse_transform(codes.values))
        with pytest.raises(ValueError, match="feature names"):
            vae.transform(frame.rename(columns={"a": "z"}))


def test_sparse_rows_are_those_of_the_dense_matrix():
    x = table()
    dense, sparse = clone(MEMBERS[0]).fit(x), clone(MEMBERS[0]).fit(scipy.sparse.csr_array(x))
    assert np.array_equal(dense.score_samples(x), sparse.score_samples(scipy.sparse.csr_array(x)))
    with pytest.raises(DataError, match="sparse matrix with values outside"):
        clone(MEMBERS[0]).fit(scipy.sparse.csr_array(2.5 * x))


def test_parameters_may_be_objects_and_are_saved_as_their_spelling(tmp_path):
    objects = {
        "likelihood": LikelihoodSpec.gaussian(0.3),
        "prior": PriorSpec("factorized"),
        "estimator": RLOO(samples=3),
        "target": NeighborTarget(3),
    }
    vae = BernoulliVAE(3, hidden=(8,), epochs=1, random_state=0, **objects)
    assert clone(vae).get_params() == vae.get_params()
    vae.fit(table()).save(tmp_path / "vae")
    loaded = BernoulliVAE.load(tmp_path / "vae").get_params()
    assert {name: loaded[name] for name in objects} == {
        "likelihood": "gaussian:0.3",
        "prior": "factorized",
        "estimator": "rloo:samples=3",
        "target": "neighbors:3",
    }


def test_a_run_of_the_command_is_no_saved_estimator(trained):
    with pytest.raises(RunError, match=r"no save\(\) wrote.*Open it with discretevae.load_run"):
        BernoulliVAE.load(trained("bernoulli:16"))


@members
@pytest.mark.parametrize("kind", ["binary", "real"])
def test_a_saved_estimator_loads_to_the_bit(member, kind, tmp_path):
    x = table(kind=kind)
    vae = clone(member).fit(x)
    vae.save(tmp_path / "vae")
    vae.partial_fit(x).save(tmp_path / "vae")  # in place of the first
    again = type(vae).load(tmp_path / "vae")
    assert {p.name for p in (tmp_path / "vae").iterdir()} <= {
        "config.json", "model.safetensors", "metrics.jsonl", "checkpoint", "lock",
        "estimator.safetensors", "schema.json",
    }  # fmt: skip
    assert len(list((tmp_path / "vae" / "checkpoint").iterdir())) == 1
    assert again.get_params() == vae.get_params()
    assert type(BaseVAE.load(tmp_path / "vae")) is type(vae)
    for method in ("transform", "score_samples"):
        assert np.array_equal(getattr(vae, method)(x), getattr(again, method)(x))
    assert np.array_equal(vae.sample(3, noise=True), again.sample(3, noise=True))
    if hasattr(vae, "labels_"):
        assert np.array_equal(vae.labels_, again.labels_)
    assert again.history_ == vae.history_
    again.save(tmp_path / "copy")
    assert np.array_equal(
        vae.partial_fit(x).score_samples(x), again.partial_fit(x).score_samples(x)
    )
    copied = type(vae).load(tmp_path / "copy").partial_fit(x)
    assert copied.score(x) == vae.score(x)
    assert load_run(tmp_path / "vae").config.model.latent == vae.model_.config.latent


def test_a_spec_as_a_parameter_is_saved_by_its_spelling(tmp_path):
    x = table(kind="binary")
    vae = BernoulliVAE(n_bits=3, prior=PriorSpec("factorized"), **SMALL).fit(x)
    vae.save(tmp_path / "vae")
    again = BernoulliVAE.load(tmp_path / "vae")
    assert again.get_params() == vae.get_params() | {"prior": "factorized"}
    assert np.array_equal(again.transform(x), vae.transform(x))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "vae"
    ClusterVAE(n_clusters=3, **SMALL).fit(table(kind="real")).save(folder)
    return folder


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "metrics.jsonl", "estimator.safetensors"]
)
def test_damaged_files_are_refused(name, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "vae")
    path = folder / name
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"\xff" * 100, None):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        if name == "metrics.jsonl" and damaged == b"":
            path.write_bytes(b"{}")
        with pytest.raises(RunError, match=r"vae"):
            BaseVAE.load(folder)
        path.write_bytes(b"")


def test_a_flipped_bit_is_found(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "vae")
    path = folder / "estimator.safetensors"
    content = path.read_bytes()
    for place in (len(content) - 1, len(content) - 200, 20):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(RunError):
            BaseVAE.load(folder)


def test_files_of_two_estimators_are_not_taken_for_one(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "vae")
    other = ClusterVAE(n_clusters=3, **SMALL | {"random_state": 1}).fit(table(kind="real"))
    other.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    with pytest.raises(RunError, match="weights are not those beside it"):
        BaseVAE.load(folder)
    with pytest.raises(RunError, match=r"holds a ClusterVAE. Call ClusterVAE.load."):
        CategoricalVAE.load(saved)


def test_a_run_is_not_overwritten(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "vae")
    (folder / "estimator.safetensors").unlink()
    vae = BernoulliVAE(n_bits=3, **SMALL).fit(table())
    with pytest.raises(RunError, match="no saved estimator"):
        vae.save(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written to"):
        vae.save(tmp_path / "file")
    assert json.loads((saved / "config.json").read_text())["model"]["latent"] == "categorical:3"


@pytest.mark.parametrize(
    ("vae", "message"),
    [
        (BernoulliVAE(0), "`n_bits` must be an int >= 1. Got 0."),
        (BernoulliVAE(2.0), "`n_bits` must be an int >= 1. Got 2.0."),
        (BernoulliVAE(True), "`n_bits` must be an int >= 1. Got True."),
        (CategoricalVAE(1), "`n_categories` must be an int >= 2. Got 1."),
        (CategoricalVAE(n_variables=0), "`n_variables` must be an int >= 1. Got 0."),
        (ClusterVAE(0), "`n_clusters` must be an int >= 1. Got 0."),
        (BernoulliVAE(hidden=(0,)), "`hidden` must be ints >= 1. Got (0,)."),
        (BernoulliVAE(lr=-1, epochs=0), "`epochs` must be an int >= 1. Got 0."),
        (BernoulliVAE(lr=-1, epochs=0), "`lr` must be > 0. Got -1."),
        (BernoulliVAE(likelihood="gausian"), "Did you mean gaussian?"),
        (BernoulliVAE(prior="flat"), "`prior` 'flat' is unknown."),
        (BernoulliVAE(objective="elb"), "Did you mean elbo?"),
        (BernoulliVAE(estimator=3), "`estimator` must be an estimator or its spelling, such as"),
        (BernoulliVAE(estimator="disram"), "disarm"),
        (BernoulliVAE(random_state="x"), "`random_state` must be None, an int"),
        (BernoulliVAE(batch_size=0), "`batch_size` must be an int >= 1. Got 0."),
    ],
)
def test_wrong_parameters_are_named(vae, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at below
        vae.fit(table())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_matrices_are_refused():
    x = table()
    vae = clone(MEMBERS[0])
    with pytest.raises(NotFittedError):
        vae.transform(x)
    with pytest.raises(NotFittedError):
        vae.save("nowhere")
    with pytest.raises(ValueError, match="NaN"):
        clone(vae).set_params(likelihood="gaussian").fit(np.where(x > 0, np.nan, x))
    with pytest.raises(ValueError, match=r"could not convert string|not compatible"):
        vae.fit([["a", "b"], ["c", "d"]])
    with pytest.raises(DataError, match="too large for"):
        vae.fit(x * 1e300)
    with pytest.raises(DataError, match="`likelihood='gaussian'`"):
        clone(vae).set_params(likelihood="bernoulli").fit(x - 3.5)
    vae.fit(x)
    with pytest.raises(ValueError, match="5 features, but BernoulliVAE is expecting 6"):
        vae.transform(x[:, :5])
    with pytest.raises(DataError, match="`likelihood='gaussian'`"):
        vae.transform(x + 1.5)
    with pytest.raises(DataError, match="3 columns, but the code bernoulli:4 has 4 variables"):
        vae.inverse_transform(np.zeros((2, 3)))
    for value in (2, 0.5, -1):
        with pytest.raises(DataError, match="whole numbers from 0 to 1"):
            vae.inverse_transform(np.full((2, 4), value))


def test_a_collapse_is_told_in_terms_of_parameters():
    vae = BernoulliVAE(n_bits=20, hidden=(), epochs=1, lr=1e-6, random_state=0)
    with pytest.warns(CollapseWarning, match="a smaller `batch_size`, more `samples`"):
        vae.fit(np.zeros((10, 4)))


def test_verbose_prints_a_line_per_epoch(capsys):
    BernoulliVAE(n_bits=3, verbose=1, **SMALL).fit(table())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("BernoulliVAE: epoch 2  loss ")
