"""Estimators side by side: every figure against a computation by hand, and the command."""

from __future__ import annotations

import copy
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from discretevae.cli.compare import parse_names
from discretevae.config import BinarizeMode, DataConfig, ModelConfig, RunConfig, TrainConfig
from discretevae.data import load_data
from discretevae.errors import ConfigError, TrainingError
from discretevae.estimators import (
    ESTIMATORS,
    NVIL,
    REBAR,
    RLOO,
    Estimator,
    Exact,
    Importance,
    LocalExpectation,
    Reparametrized,
    StraightThrough,
    make_estimator,
    with_gradient_of,
)
from discretevae.experiments import comparison
from discretevae.experiments.comparison import (
    compare,
    fitting_estimators,
    measure_gradients,
    read_estimators,
)
from discretevae.experiments.comparison_result import FORMAT, Comparison, EstimatorRun
from discretevae.families import family_of
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.objectives import elbo, multi_sample
from discretevae.objectives.gradient_noise import encoder_gradient_noise
from discretevae.objectives.gradient_reports import _bias as comparison_bias
from discretevae.plots.comparison import elbo_figure, gradient_figure

TIMES = {"seconds", "cpu_seconds", "time_ratio", "variance_times_time", "rows_per_second"}
TABLES = {f"comparison.{kind}" for kind in ("json", "md", "csv", "tex")}
FILES = TABLES | {"gradients.png", "elbo.png"}
COMMAND = ("compare", "--latent", "bernoulli:4", "--hidden", "8", "--lr", "0.01", "--epochs", "2",
           "--repeats", "8")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Scaled(Estimator):
    """Leave-one-out whose gradient is too long by a known factor: biased on purpose."""

    factor: float
    is_unbiased = False
    evaluations = 2
    kinds = ("bernoulli", "categorical")

    def __call__(self, family, eta, f, *, generator):
        estimate = RLOO()(family, eta, f, generator=generator)
        return replace(
            estimate,
            surrogate=with_gradient_of(estimate.value, self.factor * estimate.surrogate),
        )


def problem(latent: str = "bernoulli:3", rows: int = 6) -> tuple[DiscreteVAE, torch.Tensor]:
    config = ModelConfig(n_features=5, latent=latent, hidden=(7,))
    generator = torch.Generator().manual_seed(1)
    model = DiscreteVAE(config, generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # fresh weights say too little of z for a gradient worth measuring
    return model, torch.rand(rows, 5, generator=generator)


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(v) for key, v in value.items() if key not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list | tuple) else value


def encoder_gradient(model, x, estimator, draws=None):
    terms = elbo(model, x, estimator, generator=draws)
    grads = torch.autograd.grad(terms.loss, list(model.encoder.parameters()))
    return torch.cat([grad.flatten() for grad in grads])


# --- figures at fixed weights ----------------------------------------------------------------


def test_every_figure_by_hand():
    model, x = problem()
    repeats = 12
    (report,) = measure_gradients(
        model, x, {"rloo": RLOO()}, repeats=repeats, generator=generator()
    )
    replayed = generator()
    draws = torch.stack([encoder_gradient(model, x, RLOO(), replayed) for _ in range(repeats)])
    total = draws.double().var(0).sum().item()
    n = draws.shape[1]
    assert report.variance == pytest.approx(total / n, rel=1e-4)
    noise = encoder_gradient_noise(model, x, RLOO(), generator=generator(), repeats=repeats)
    assert report.variance == pytest.approx(noise.variance, rel=1e-4)
    assert noise.relative is not None
    assert report.snr == pytest.approx(noise.relative**-0.5, rel=1e-3)
    norm = (draws.mean(0).square().sum().item() - total / repeats) ** 0.5
    assert report.norm == pytest.approx(norm, rel=1e-3)
    squares = (draws - draws.mean(0)).square().sum(1) * repeats / (repeats - 1) / n
    assert report.variance_se == pytest.approx(squares.std().item() / repeats**0.5, rel=1e-3)

    replayed = generator()
    slopes = []
    for _ in range(repeats):
        eta = model.eta(x).detach().requires_grad_()
        estimate = RLOO()(model.family, eta, model.log_likelihood(x), generator=replayed)
        value = (estimate.surrogate - model.prior.kl(eta)).sum()
        slopes.append(torch.autograd.grad(value, eta)[0])
    assert report.eta_variance == pytest.approx(torch.stack(slopes).var(0).mean().item(), rel=1e-4)

    exact = encoder_gradient(model, x, Exact())
    apart = (draws - exact).double()
    pairs = sum((apart[r] @ apart[s]).item() for r in range(12) for s in range(12) if r != s)
    square = max(pairs / (12 * 11), 0) / exact.square().sum().item()
    assert report.bias is not None
    assert report.bias.value == pytest.approx(square**0.5, rel=1e-2, abs=1e-3)
    assert (report.evaluations, report.is_unbiased) == (2, True)
    assert report.variance_times_cost == 2 * report.variance
    assert report.variance_times_time == report.variance * report.time_ratio
    assert report.seconds > 0
    assert report.time_ratio > 0


@pytest.mark.parametrize("latent", ["bernoulli:3", "categorical:2x3"])
@pytest.mark.parametrize("factor", [1.3, 2.0])
def test_a_known_bias_lies_within_its_bounds(latent, factor):
    model, x = problem(latent)
    expected = Exact()(model.family, model.eta(x), model.log_likelihood(x), generator=None)
    grads = torch.autograd.grad(expected.surrogate.mean(), list(model.encoder.parameters()))
    length = torch.cat([grad.flatten() for grad in grads]).norm()
    known = ((factor - 1) * length / encoder_gradient(model, x, Exact()).norm()).item()
    members = {"scaled": Scaled(factor=factor), "rloo": RLOO()}
    scaled, right = measure_gradients(model, x, members, repeats=400, generator=generator())
    assert scaled.bias is not None
    assert 0 < scaled.bias.low <= known <= scaled.bias.high
    assert scaled.bias.low < scaled.bias.value < scaled.bias.high
    assert "±" in str(scaled.bias)
    # the same draws at their right length show none, and the bound would have seen this one
    assert right.bias is not None
    assert right.bias.low == 0
    assert right.bias.high < known
    assert str(right.bias).startswith("≤")


@pytest.mark.parametrize("repeats", [8, 33])
def test_exact_members_have_neither_variance_nor_bias(repeats):
    model, x = problem("categorical:4")
    members = {"exact": Exact(), "states": LocalExpectation()}
    exact, whole = measure_gradients(model, x, members, repeats=repeats, generator=generator())
    assert (exact.variance, exact.variance_se, exact.eta_variance) == (0, 0, 0)
    assert exact.bias is not None
    assert (exact.bias.value, exact.bias.low, exact.bias.high) == (0, 0, 0)
    assert exact.snr is None
    assert exact.norm == pytest.approx(encoder_gradient(model, x, Exact()).norm().item(), rel=1e-5)
    assert str(exact.bias) == str(whole.bias) == "0"


@pytest.mark.parametrize("latent", ["bernoulli:3", "categorical:2x3"])
def test_unbiased_members_show_no_bias(latent):
    """Fewer than 1 of 500 measurements of an unbiased member shows one.

    One that does is measured again: of 24, one fails twice in a row with probability 1e-4.
    """
    model, x = problem(latent)
    members = read_estimators(["all"], model.family)
    for report in measure_gradients(model, x, members, repeats=16, generator=generator()):
        assert report.bias is not None
        assert report.bias.high >= report.bias.value >= report.bias.low
        if report.is_unbiased and report.bias.low > 0:
            again = {report.estimator: members[report.estimator]}
            (second,) = measure_gradients(model, x, again, repeats=16, generator=generator(6))
            assert second.bias is not None
            assert second.bias.low == 0, report.estimator


def test_false_alarms_are_as_rare_as_stated():
    """Fewer than 1 of 500: of 2,000 measurements of pure noise, more than 12 would be a scandal."""
    draws = torch.randn(2_000, 8, 4, generator=generator())
    found = [comparison_bias(one, torch.ones(4)) for one in draws + 1]
    assert sum(bias.low > 0 for bias in found) <= 12
    # and a bias of five standard errors is seen nearly always
    found = [comparison_bias(one, torch.ones(4)) for one in draws[:200] + 1 + 5 / 8**0.5]
    assert sum(bias.low > 0 for bias in found) > 190


def test_the_variance_of_importance_falls_with_its_samples():
    model, x = problem()
    members = {str(m): Importance(samples=m) for m in (1, 4, 16)}
    one, four, sixteen = measure_gradients(model, x, members, repeats=300, generator=generator())
    for report, m in ((four, 4), (sixteen, 16)):
        error = (report.variance_se / report.variance) ** 2 + (one.variance_se / one.variance) ** 2
        assert report.variance * m == pytest.approx(one.variance, rel=4 * error**0.5)
        assert report.eta_variance * m == pytest.approx(one.eta_variance, rel=0.2)
    assert one.variance_times_cost == pytest.approx(sixteen.variance_times_cost, rel=0.3)


def test_measuring_changes_nothing_and_repeats():
    model, x = problem()
    learned = NVIL()
    learned.prepare(model.family, model.eta(x).detach())
    members = {"nvil": learned, "rebar": REBAR(), "importance": Importance()}
    before = copy.deepcopy([model.state_dict(), learned.state_dict()])
    state = torch.random.get_rng_state()
    first = measure_gradients(model, x, members, repeats=8, generator=generator())
    again = measure_gradients(model, x, members, repeats=8, generator=generator())
    assert without_times([r.to_dict() for r in first]) == without_times(
        [r.to_dict() for r in again]
    )
    # a report does not depend on the company it is in
    (alone,) = measure_gradients(
        model, x, {"importance": Importance()}, repeats=8, generator=generator()
    )
    assert without_times(alone.to_dict()) == without_times(first[2].to_dict())
    assert torch.equal(state, torch.random.get_rng_state())
    after = [model.state_dict(), learned.state_dict()]
    for old, new in zip(before, after, strict=True):
        assert all(torch.equal(old[key], new[key]) for key in new)
    assert learned.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_other_objectives_and_codes_have_no_exact_gradient():
    model, x = problem()
    (report,) = measure_gradients(
        model, x, {"vimco": ESTIMATORS["vimco"]()}, repeats=8, generator=generator(),
        objective=multi_sample,
    )  # fmt: skip
    assert report.bias is None
    assert report.variance > 0
    model, x = problem("gaussian:2")
    (report,) = measure_gradients(
        model, x, {"reparametrized": Reparametrized()}, repeats=8, generator=generator()
    )
    assert report.bias is None
    assert json.dumps(report.to_dict(), allow_nan=False)


# --- along a run -----------------------------------------------------------------------------


def config(
    latent: str = "bernoulli:4", binarize: BinarizeMode = "none", **training: object
) -> RunConfig:
    model = ModelConfig(n_features=64, latent=latent, hidden=(8,), image_shape=(8, 8))
    return RunConfig(
        model=model,
        training=TrainConfig(**{"epochs": 2, "lr": 0.01} | training),
        data=DataConfig(binarize=binarize),
    )


def test_a_comparison_follows_from_its_seed():
    data = load_data("digits")
    names = ["importance", "ema", "rebar:tau=0.3"]
    kept: list[Comparison] = []
    steps: list[tuple[str, int, int]] = []
    first = compare(
        data, config(binarize="dynamic"), names, moments=(0.5, 0, 1), repeats=8,
        keep=kept.append, progress=lambda *at: steps.append(at),
    )  # fmt: skip
    again = compare(data, config(binarize="dynamic"), names, moments=(0.5, 0, 1), repeats=8)
    assert without_times(first.to_dict()) == without_times(again.to_dict())
    assert first.reference == "exact"
    assert [moment.step for moment in first.moments] == [0, 12, 24]
    assert [len(found.moments) + len(found.runs) for found in kept] == [1, 2, 3, 4, 5, 6]
    assert kept[-1] == first
    assert first.is_complete
    assert not kept[-2].is_complete
    assert {total for _, _, total in steps} == {24 * 4}
    done = [at for _, at, _ in steps]
    assert done == sorted(done)
    assert done[-1] == 24 * 4
    # what learns has learned beside the reference run; at the start it is no better than the paper
    plain, ema, _ = first.moments[0].reports
    assert ema.variance == pytest.approx(plain.variance)
    plain, ema, _ = first.moments[-1].reports
    assert ema.variance < plain.variance / 5
    # the company that a member is in changes neither the reference run nor its own
    alone = compare(data, config(binarize="dynamic"), names[:1], moments=(0, 0.5, 1), repeats=8)
    assert without_times(alone.to_dict()["runs"][0]) == without_times(first.to_dict()["runs"][0])
    for one, many in zip(alone.moments, first.moments, strict=True):
        assert without_times(one.reports[0].to_dict()) == without_times(many.reports[0].to_dict())


def test_an_annealed_member_is_measured_and_leads_at_its_temperature(monkeypatch):
    data, text = load_data("digits"), "gumbel-softmax:tau=1,anneal=0.1,floor=0.1"
    member, weights = make_estimator(text, kind="bernoulli"), []

    def noting(model, *rest, **options):
        weights.append(copy.deepcopy(model.state_dict()))
        return measure_gradients(model, *rest, **options)

    monkeypatch.setattr(comparison, "measure_gradients", noting)
    told = config(estimator=text)
    members = {"annealed": member, "then": member.at_step(24)}
    reports = compare(data, told, members, moments=(1,), repeats=8).moments[0].reports
    assert reports[0].variance == reports[1].variance
    model = fresh_model(told.model, seed=told.training.seed)
    comparison._train(model, data, told.training, member, lambda at: None)
    for key, value in model.state_dict().items():
        assert torch.equal(weights[0][key], value)


def test_one_of_ones_own_and_one_that_fails(monkeypatch):
    data = load_data("digits")

    def failing(model, data, config, *, estimator, progress):
        if isinstance(estimator, StraightThrough):
            raise TrainingError("the loss became nan.")
        return trained(model, data, config, estimator=estimator, progress=progress)

    trained = comparison.train
    monkeypatch.setattr(comparison, "train", failing)
    members = {"mine": Scaled(factor=1.5), "bad": StraightThrough()}
    found = compare(data, config(epochs=1), members, moments=(1,), repeats=8)
    assert [run.error for run in found.runs] == [None, "the loss became nan."]
    assert found.moments[0].reports[0].bias is not None
    assert found.runs[1] == EstimatorRun("bad", (), "the loss became nan.")


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        ({}, {"moments": ()}, "moments must be one or several numbers in [0, 1]. Got ()."),
        ({}, {"moments": (2,)}, "moments must be one or several numbers"),
        ({}, {"repeats": 7}, "`repeats` must be an int >= 8. Got 7."),
        ({}, {"n_seeds": 0}, "`n_seeds` must be an int >= 1. Got 0."),
        ({}, {"n_seeds": True}, "`n_seeds` must be an int >= 1. Got True."),
        ({"seed": 2**63 - 1}, {"n_seeds": 2}, "`seed` must be an int from 0 to 2**63 - 1."),
        ({"objective": "marginal"}, {}, "compare measures the ELBO only. Got objective marginal."),
    ],
)
def test_wrong_arguments(changes, options, says):
    with pytest.raises(ConfigError) as caught:
        compare(load_data("digits"), config(**changes), ["rloo"], **options)
    assert says in str(caught.value)


def test_names_are_read():
    assert parse_names("a,b;c d:x=1,y=2,e") == ["a", "b", "c", "d:x=1,y=2", "e"]
    assert parse_names(" ;, ") == []
    assert parse_names("x=1") == ["x=1"]
    family = family_of("bernoulli:50")
    assert list(read_estimators(["all"], family)) == fitting_estimators(family)
    assert "exact" not in fitting_estimators(family)
    assert not {"vimco", "arm"} & set(fitting_estimators(family_of("categorical:3")))
    with pytest.raises(ConfigError) as caught:
        read_estimators(["exact", "rlo", "rloo:samples=1"], family)
    assert len(caught.value.problems) == 3


# --- the command -----------------------------------------------------------------------------


@pytest.mark.draws
def test_the_command_from_end_to_end(cli, tmp_path):
    folder = tmp_path / "compare"
    names = "importance;rloo:samples=4 disarm,straight-through"
    status, out, err = cli(*COMMAND, "--estimators", names, "--out", folder)
    assert (status, err) == (0, "")
    assert {path.name for path in folder.iterdir()} == FILES
    result = json.loads((folder / "comparison.json").read_text())
    assert result["format"] == FORMAT
    assert result["estimators"] == ["importance", "rloo:samples=4", "disarm", "straight-through"]
    assert [moment["step"] for moment in result["moments"]] == [0, 2, 12, 24]
    assert [len(run["history"]) for run in result["runs"]] == [2, 2, 2, 2]
    tables = (folder / "comparison.md").read_text()
    assert tables.count("| rloo:samples=4 |") == 5
    for part in ("1,500 training and 297 test rows", "step 24 of the exact run", "rloo:samples=4",
                 "test ELBO", f"{folder}/elbo.png".rsplit("/", 1)[1]):  # fmt: skip
        assert part in out
    assert "…" not in out
    for name in ("gradients.png", "elbo.png"):
        with Image.open(folder / name) as image:
            assert min(image.size) > 300
            assert np.asarray(image.convert("L")).std() > 10
    # once more into the same folder, as JSON; the times alone differ
    again = cli(*COMMAND, "--estimators", names, "--out", folder, "--json")
    assert (again.status, again.err) == (0, "")
    printed = json.loads(again.out)
    assert printed.pop("out") == str(folder)
    assert without_times(printed) == without_times(result)


MISTAKES = {
    "unknown": (("--estimators", "rlo"), ("estimator 'rlo' is unknown", "Did you mean rloo")),
    "unfit": (("--estimators", "rloo,carms"), ("'carms' cannot", "bernoulli:4", "disarm")),
    "other objective": (("--estimators", "vimco"), ("'vimco' cannot estimate the ELBO's",)),
    "option": (("--estimators", "rloo:sample=3"), ("'sample=3' is unknown",)),
    "empty": (("--estimators", " "), ("no estimator is named", "importance, exact")),
    "duplicate": (("--estimators", "rloo;rloo"), ("'rloo' is named twice",)),
    "several": (("--estimators", "rlo", "--epochs", "0"), ("'rlo'", "epochs must be")),
    "repeats": (("--repeats", "0"), ("repeats must be an int >= 8. Got 0.",)),
    "file": (("--out", "file"), ("file: is a file, not a folder. Choose another --out.",)),
    "not ours": (("--out", "full"), ("full: holds files that are not ours.",)),
    "other JSON": (("--out", "json"), ("json: holds files that are not ours.",)),
    "seed": (("--seed", "-1"), ("seed must be",)),
    "seeds": (("--seeds", "0"), ("--seeds must be an int >= 1. Got 0.",)),
    "last seed": (("--seed", f"{2**63 - 1}", "--seeds", "2"), ("seed must be an int from 0 to",)),
    "own file": (("--estimator", "./none.py:A"), ("none.py: no such file.",)),
    "own file in the list": (("--estimators", "rloo,./none.py:A"), ("none.py: no such file.",)),
    "own, without a class": (("--estimators", "./none.py"), ("Write ./none.py:Class.",)),
    "data": (("--data", "nowhere.csv"), ("nowhere.csv: no such file",)),
    "hidden": (("--hidden", "a"), ("hidden 'a' cannot be read",)),
    "too large": (("--hidden", "1000000000000"), ("Make it smaller.",)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(mistake, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    for name, file in (("full", "mine.txt"), ("json", "comparison.json")):
        Path(name).mkdir()
        Path(name, file).write_text('{"format": "other"}')
    before = sorted(tmp_path.rglob("*"))
    args, says = MISTAKES[mistake]
    status, out, err = cli(*COMMAND, "--out", "new", *args)
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert len(err.splitlines()) == 1
    for part in says:
        assert part in err
    assert sorted(tmp_path.rglob("*")) == before
    assert Path("json/comparison.json").read_text() == '{"format": "other"}'


@pytest.mark.parametrize("after", [0, 1, 2])
def test_ctrl_c_keeps_what_is_finished(after, cli, tmp_path, monkeypatch):
    trained, calls = comparison.train, []

    def stopping(*args, **options):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return trained(*args, **options)

    monkeypatch.setattr(comparison, "train", stopping)
    if after == 0:
        monkeypatch.setattr(comparison, "measure_gradients", stopping)
    folder = tmp_path / "new"
    status, out, err = cli(*COMMAND, "--estimators", "rloo,exact", "--out", folder)
    assert (status, out) == (130, "")
    assert len(err.splitlines()) == 1
    if after == 0:
        assert err == "Stopped: nothing was written.\n"
        assert not folder.exists()
        return
    assert f"Stopped: after 4 moments and {after - 1} of 2 runs, which are in {folder}." in err
    assert {path.name for path in folder.iterdir()} == FILES
    result = json.loads((folder / "comparison.json").read_text())
    assert not result["is_complete"]
    assert len(result["runs"]) == after - 1
    assert f"Not complete: {after - 1} of 2 runs." in (folder / "comparison.md").read_text()


@pytest.mark.draws
def test_pictures_of_many_and_of_few():
    names = [f"member {i}" for i in range(27)]
    figure = gradient_figure(
        [0, 5], {name: [1e-3, 10.0**-i] for i, name in enumerate(names)},
        {name: 1.0 + i for i, name in enumerate(names)},
    )  # fmt: skip
    styles = {(line.get_color(), line.get_marker(), line.get_linestyle())
              for line in figure.axes[0].lines}  # fmt: skip
    assert len(styles) == 27
    buffer = io.BytesIO()
    for picture in (
        figure,
        gradient_figure([0], {"exact": [0.0]}, {"exact": 0.5}),
        gradient_figure([0], {"broken": [float("nan")]}, {"broken": 1.0}),
        elbo_figure({}, 3),
    ):
        picture.savefig(buffer, format="png", dpi=50)
