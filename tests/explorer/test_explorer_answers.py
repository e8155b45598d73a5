"""What the explorer answers: pictures, probabilities, walks, effects, neighbors, all by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from explorer_members import DISCRETE, MODELS, codes_of, explorer_of, grey, pixels

from discretevae import load_data
from discretevae.explorer.answers import REAL_STEPS
from discretevae.explorer.effects import STEPS, effect, gentlest_first, settings_of
from discretevae.explorer.variables import to_codes
from discretevae.families import parts_of
from discretevae.system.randomness import generator_for


@pytest.fixture(scope="module")
def explorers():
    return {model: explorer_of(*model) for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
def test_variables_stand_in_the_order_of_the_codes(explorers, model):
    explorer = explorers[model]
    parts = parts_of(explorer.run.model.family)
    assert [v.index for v in explorer.variables] == list(range(sum(p.n_variables for p in parts)))
    kinds = {"bernoulli": "bit", "categorical": "category", "gaussian": "real"}
    expected = [kinds[part.spec.kind] for part in parts for _ in range(part.n_variables)]
    assert [variable.kind for variable in explorer.variables] == expected
    numbers = codes_of(explorer)
    assert all(
        isinstance(value, float if v.kind == "real" else int)
        for code in numbers
        for value, v in zip(code, explorer.variables, strict=True)
    )
    back = to_codes(explorer.run.model.family, numbers)
    assert torch.equal(back, explorer.gallery.codes[:20])
    assert back.dtype == explorer.gallery.codes.dtype


@pytest.mark.parametrize("model", MODELS)
def test_decoding_shows_what_the_model_decodes(explorers, model):
    explorer = explorers[model]
    codes = explorer.gallery.codes[:20]
    shown = explorer.decode(codes_of(explorer))["pictures"]
    expected = grey(explorer.run.model.decode(codes))
    assert all(picture["shape"] == [8, 8, 1] for picture in shown)
    assert np.array_equal(np.stack([pixels(picture) for picture in shown]), expected)


@pytest.mark.parametrize("model", MODELS)
def test_probabilities_are_those_of_the_encoders_logits(explorers, model):
    explorer = explorers[model]
    net = explorer.run.model
    x = explorer.gallery.rows.batch(torch.tensor([7]))
    raw = net.encoder(x).detach()[0]
    answer = explorer.encode_row(7)
    for variable, probability, value in zip(
        explorer.variables, answer["probabilities"], answer["code"], strict=True
    ):
        if variable.kind == "bit":
            logit, raw = raw[0], raw[1:]
            assert probability == pytest.approx(torch.sigmoid(logit).item(), rel=1e-5)
            assert value == (logit > 0)
        elif variable.kind == "category":
            logits, raw = raw[: variable.n_categories], raw[variable.n_categories :]
            assert probability == pytest.approx(torch.softmax(logits, 0).tolist(), rel=1e-5)
            assert value == logits.argmax()
        else:
            (mean, log_var), raw = raw[:2], raw[2:]
            assert probability["mean"] == pytest.approx(mean.item(), rel=1e-4)
            assert probability["std"] == pytest.approx(math.exp(log_var.item() / 2), rel=1e-4)
            assert value == pytest.approx(mean.item(), rel=1e-4)
    assert len(raw) == 0
    assert np.array_equal(pixels(answer["input"]), grey(x)[0])
    assert np.array_equal(pixels(answer["reconstruction"]), grey(net.reconstruct(x))[0])


@pytest.mark.parametrize("model", DISCRETE)
def test_the_figures_of_a_row_are_sums_over_all_codes(explorers, model):
    explorer = explorers[model]
    net = explorer.run.model
    x = explorer.gallery.rows.batch(torch.tensor([3]))
    with torch.no_grad():
        z = net.family.enumerate()
        q = net.family.log_prob_table(net.eta(x))[0].double()
        likelihood = net.likelihood.log_prob(net.output(z).unsqueeze(1), x)[:, 0].double()
        prior = net.prior.log_prob_table().double()
    figures = explorer.encode_row(3)["figures"]
    assert figures["log_likelihood"] == pytest.approx(float((q.exp() * likelihood).sum()), rel=1e-5)
    assert figures["kl"] == pytest.approx(float((q.exp() * (q - prior)).sum()), rel=1e-4)
    elbo = figures["log_likelihood"] - figures["kl"]
    assert figures["elbo"] == pytest.approx(elbo, rel=1e-6)


def test_pixels_and_values_of_a_row_are_encoded_like_the_row(explorers):
    explorer = explorers["bernoulli:6", "fixed"]
    x = explorer.gallery.rows.batch(torch.tensor([11]))
    by_pixels = explorer.canvas.from_pixels(pixels(explorer.canvas.picture(x[0])).tobytes())
    row = explorer.encode_row(11)
    assert explorer.encode(by_pixels)["code"] == explorer.encode(x)["code"] == row["code"]
    assert explorer.encode(x) == row


@pytest.mark.parametrize("mode", ["threshold", "dynamic"])
def test_rows_are_binarized_as_in_training(mode):
    explorer = explorer_of(binarize=mode)
    x = load_data("digits").test.batch(torch.tensor([2]))
    answer = explorer.encode_row(2)
    assert np.array_equal(pixels(answer["input"]), grey((x > 0.5).float())[0])
    assert not answer["is_surrogate"]
    assert answer["code"] == explorer.run.model.encode((x > 0.5).float())[0].tolist()
    assert np.array_equal(pixels(explorer.rows(2, 1)["rows"][0]["picture"]), grey(x)[0])


@pytest.mark.parametrize("model", MODELS)
def test_a_walk_changes_one_discrete_variable_at_a_time_and_arrives(explorers, model):
    explorer = explorers[model]
    codes = codes_of(explorer)
    for start, end in ((codes[0], codes[1]), (codes[2], codes[9]), (codes[4], codes[4])):
        steps = explorer.walk(start, end)["steps"]
        assert steps[0] == {"variable": None, "code": start, "picture": steps[0]["picture"]}
        assert steps[-1]["code"] == end
        discrete = [v.index for v in explorer.variables if v.kind != "real"]
        differing = [i for i in discrete if start[i] != end[i]]
        single, rest = steps[1 : 1 + len(differing)], steps[1 + len(differing) :]
        assert sorted(step["variable"] for step in single) == differing
        for before, step in zip(steps, single, strict=False):
            changed = [i for i, v in enumerate(step["code"]) if v != before["code"][i]]
            assert changed == [step["variable"]]
        # real variables together, in a straight line
        is_real = any(
            v.kind == "real" and start[v.index] != end[v.index] for v in explorer.variables
        )
        assert len(rest) == (REAL_STEPS if is_real else 0)
        for number, step in enumerate(rest, 1):
            t = number / REAL_STEPS
            for v in explorer.variables:
                a, b = start[v.index], end[v.index]
                expected = a + t * (b - a) if v.kind == "real" else b
                assert step["code"][v.index] == pytest.approx(expected, abs=1e-5)
        told = [pixels(step["picture"]) for step in steps]
        family = explorer.run.model.family
        expected = grey(explorer.run.model.decode(to_codes(family, [s["code"] for s in steps])))
        assert np.array_equal(np.stack(told), expected)


def test_a_walk_begins_with_what_changes_the_picture_least(explorers):
    explorer = explorers["bernoulli:6", "fixed"]
    net = explorer.run.model
    start, end = torch.zeros(6, dtype=torch.uint8), torch.ones(6, dtype=torch.uint8)
    changes = []
    for index in range(6):
        single = start.clone()
        single[index] = 1
        both = net.decode(torch.stack([start, single]))
        changes.append(float((both[1] - both[0]).abs().mean()))
    order = [i for (i,) in gentlest_first(net, start, end, [[i] for i in range(6)])]
    assert [changes[i] for i in order] == sorted(changes)
    assert order != list(range(6))


@pytest.mark.parametrize("model", MODELS)
def test_effects_are_averages_over_rows_one_by_one(explorers, model):
    explorer = explorers[model]
    net, codes = explorer.run.model, explorer.gallery.codes
    for variable in explorer.variables:
        told = explorer.effects(variable.index)
        assert told["rows"] == len(codes)
        if variable.kind == "real":
            column = codes[:, variable.index].double().numpy()
            settings = [column.mean() + step * column.std() for step in STEPS]
            assert told["values"] == pytest.approx(settings, rel=1e-6)
            shown = told["pictures"]
        else:
            settings = list(range(variable.n_categories))
            shown = [told["off"], told["on"]] if variable.kind == "bit" else told["categories"]
        expected = []
        for setting in settings:
            changed = codes.clone()
            changed[:, variable.index] = setting
            expected.append(net.decode(changed).mean(0))
        for picture, mean in zip(shown, expected, strict=True):
            assert np.abs(pixels(picture).astype(int) - 255 * mean.numpy()).max() < 0.51
        if variable.kind == "bit":
            difference = (expected[1] - expected[0]).numpy()
            assert np.array(told["difference"]) == pytest.approx(difference, abs=1e-5)
            assert told["scale"] == pytest.approx(np.abs(difference).max(), abs=1e-5)


def test_the_wrong_variable_would_be_noticed(explorers):
    explorer = explorers["bernoulli:6", "fixed"]
    net, codes = explorer.run.model, explorer.gallery.codes
    first, second = (effect(net, codes, v, [0, 1]) for v in explorer.variables[:2])
    assert (first - second).abs().max() > 0.01


@pytest.mark.parametrize("model", MODELS)
def test_the_overview_tells_usage_kl_and_strength(model):
    explorer = explorer_of(*model, rows=load_data("digits").test.subset(slice(0, 40)))
    net = explorer.run.model
    told = explorer.overview()
    eta = net.eta(explorer.gallery.rows.batch(slice(None))).detach()
    closed = net.prior.has_closed_kl
    assert told["kl_of"] == ("prior" if closed else "reference")
    kl = (
        net.prior.kl_per_variable(eta)
        if closed
        else net.family.kl_per_variable(eta, net.family.fixed_eta())
    )
    assert [v["kl"] for v in told["variables"]] == pytest.approx(
        kl.mean(0).tolist(), rel=1e-4, abs=1e-5
    )
    posteriors = [explorer.encode_row(row)["probabilities"] for row in range(40)]
    for variable, each in zip(explorer.variables, told["variables"], strict=True):
        own = [p[variable.index] for p in posteriors]
        if variable.kind == "real":
            expected = np.std([p["mean"] for p in own])
        else:
            expected = np.mean(own, axis=0)
        assert np.allclose(each["usage"], expected, rtol=1e-4, atol=1e-5)
    some = [v["strength"] for v in told["variables"]]
    for variable in explorer.variables:
        settings = settings_of(variable, explorer.gallery)
        means = effect(net, explorer.gallery.codes, variable, settings).numpy()
        assert some[variable.index] == pytest.approx(np.ptp(means, axis=0).mean(), rel=1e-4)
    bits = [v.index for v in explorer.variables if v.kind == "bit"]
    for index in bits:
        difference = explorer.effects(index)["difference"]
        assert some[index] == pytest.approx(np.abs(difference).mean(), rel=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_neighbors_are_those_that_sorting_all_rows_finds(explorers, model):
    explorer = explorers[model]
    codes = codes_of(explorer, len(explorer.gallery))
    discrete = [v.index for v in explorer.variables if v.kind != "real"]
    real = [v.index for v in explorer.variables if v.kind == "real"]
    for row, k in ((0, 7), (5, 120), (9, 1)):
        told = explorer.neighbors(codes[row], k, row)
        keys = []
        for other, code in enumerate(codes):
            hamming = sum(code[i] != codes[row][i] for i in discrete)
            euclidean = math.sqrt(sum((code[i] - codes[row][i]) ** 2 for i in real))
            keys.append((hamming, euclidean, other))
        keys = sorted(key for key in keys if key[2] != row)[:k]
        assert [r["row"] for r in told["rows"]] == [key[2] for key in keys]
        distances = [key[0] if discrete else key[1] for key in keys]
        assert [r["distance"] for r in told["rows"]] == pytest.approx(distances)
    names = {(True, False): "Hamming", (False, True): "Euclidean"}
    expected = names.get((bool(discrete), bool(real)), "Hamming, then Euclidean")
    assert told["distance"] == expected
    assert explorer.neighbors(codes[4], 1)["rows"][0]["distance"] == 0


@pytest.mark.parametrize("model", MODELS)
def test_samples_follow_from_seed_and_temperature(explorers, model):
    explorer = explorers[model]
    told = explorer.sample(30, 1.0, 3)
    assert told == explorer.sample(30, 1.0, 3)
    assert told["codes"] != explorer.sample(30, 1.0, 4)["codes"]
    generator = generator_for(3, "figures")
    expected = explorer.run.model.sample(30, generator=generator)
    assert np.array_equal(np.stack([pixels(p) for p in told["pictures"]]), grey(expected))
    if "gaussian" in model[0]:  # the other priors are still near to uniform
        assert explorer.sample(30, 0.1, 3)["codes"] != told["codes"]


def test_a_low_temperature_takes_the_likelier_codes():
    explorer = explorer_of("bernoulli:6", "factorized")
    with torch.no_grad():
        next(explorer.run.model.prior.parameters()).copy_(torch.tensor([1.0, 1, 1, -1, -1, -1]))
    cold, warm = (explorer.sample(100, t, 0)["codes"] for t in (0.05, 3.0))
    assert all(code == [1, 1, 1, 0, 0, 0] for code in cold)
    assert len({tuple(code) for code in warm}) > 10


@pytest.mark.parametrize("model", MODELS)
def test_no_answer_touches_the_global_random_state_and_all_are_json(explorers, model):
    explorer = explorer_of(*model)
    torch.manual_seed(1)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    a, b = codes_of(explorer, 2)
    answers = [
        explorer.model(),
        explorer.rows(0, 5),
        explorer.encode_row(0),
        explorer.decode([a, b]),
        explorer.walk(a, b),
        explorer.effects(0),
        explorer.overview(),
        explorer.clusters(),
        explorer.cluster(0, 0, 5),
        explorer.neighbors(a, 3),
        explorer.sample(3, 0.7, 0),
        explorer.history(),
    ]
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002
    for answer in answers:
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert explorer.effects(0) is answers[5]
    assert explorer.overview() == answers[6]


def test_the_overview_lets_others_ask_in_between_and_is_remembered():
    explorer = explorer_of("bernoulli:6")
    told: list[int] = []

    def between() -> None:
        explorer.decode([[0, 1, 0, 1, 0, 1]])
        told.append(len(explorer._strengths))

    explorer.pause = between
    first = explorer.overview()
    assert told == [1, 2, 3, 4, 5, 6]
    assert explorer.overview() == first == explorer_of("bernoulli:6").overview()
    assert len(told) == 6


def test_an_effect_is_the_same_however_settings_are_cut_into_chunks(monkeypatch):
    explorer = explorer_of("categorical:3x4", "factorized")
    net, codes, variable = explorer.run.model, explorer.gallery.codes, explorer.variables[1]
    whole = effect(net, codes, variable, [0, 1, 2, 3])
    monkeypatch.setattr("discretevae.explorer.effects.DECODER_ROWS", 7)
    assert torch.allclose(effect(net, codes, variable, [0, 1, 2, 3]), whole, atol=1e-6)
