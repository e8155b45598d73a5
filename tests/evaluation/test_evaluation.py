"""Bounds against enumeration by hand in float64, their standard errors, and the use of the code."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch

from discretevae.config import ModelConfig
from discretevae.data import Rows
from discretevae.errors import ConfigError, DataError
from discretevae.evaluation import bounds as evaluation
from discretevae.evaluation.bounds import evaluate, row_scores, score_samples
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.mlp import MLP
from discretevae.training.prior_fitting import fit_prior

LATENTS = ("bernoulli:6", "categorical:5", "categorical:2x3")
LIKELIHOODS = ("bernoulli", "gaussian")
TOLERANCE = 3e-6
"""Relative error of float32 sums of about ten terms, against float64."""


def model_of(
    latent: str,
    likelihood: str = "bernoulli",
    scale: float = 2.0,
    prior: str = "factorized",
) -> DiscreteVAE:
    """Weights large enough that q is far from uniform; a learned prior that is not flat."""
    config = ModelConfig(
        n_features=7, latent=latent, hidden=(9,), likelihood=likelihood, prior=prior
    )
    generator = torch.Generator().manual_seed(1)
    model = DiscreteVAE(config, generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
        for parameter in model.prior.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return model


def rows_of(n: int = 23) -> Rows:
    values = np.random.default_rng(3).random((n, 7)).astype(np.float32)
    return Rows.from_array(values, name="mine")


# --- enumeration by hand: numpy and float64, nothing of the package but its weights ------------


def network(mlp, x):
    tensors = [parameter.detach().double().numpy() for parameter in mlp.parameters()]
    layers = list(zip(tensors[::2], tensors[1::2], strict=True))
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        if i < len(layers) - 1:
            x = np.maximum(x, 0)
    return x


def states_of(latent: str) -> np.ndarray:
    """Every code, flat: bits, or the one-hot of each variable side by side."""
    kind, _, size = str(latent).partition(":")
    if kind == "bernoulli":
        d = int(size)
        return np.array([[n >> (d - 1 - i) & 1 for i in range(d)] for n in range(2**d)], float)
    d, k = map(int, size.split("x")) if "x" in size else (1, int(size))
    codes = np.stack(np.meshgrid(*[np.arange(k)] * d, indexing="ij"), -1).reshape(-1, d)
    return np.eye(k)[codes].reshape(len(codes), d * k)


def log_prob(latent: str, eta: np.ndarray, states: np.ndarray) -> np.ndarray:
    """ln q of every state, ``[B, N]``, for flat natural parameters ``[B, n]``."""
    kind, _, size = str(latent).partition(":")
    if kind == "bernoulli":
        p = 1 / (1 + np.exp(-eta))
        return np.log(np.where(states[None] > 0, p[:, None], 1 - p[:, None])).sum(-1)
    k = int(size.split("x")[-1])
    q = np.exp(eta.reshape(len(eta), -1, k))
    q = (q / q.sum(-1, keepdims=True)).reshape(eta.shape)
    return states @ np.log(q).T if len(q) == 1 else (states[None] * np.log(q)[:, None]).sum(-1)


def by_hand(model: DiscreteVAE, x: np.ndarray) -> dict[str, np.ndarray]:
    latent = model.config.latent
    states = states_of(latent)
    eta = network(model.encoder, x)
    log_q = log_prob(latent, eta, states).reshape(len(x), len(states))
    raw = model.prior.raw.detach().double().numpy()[None]
    log_p = log_prob(latent, raw, states).reshape(1, len(states))
    output = network(model.decoder, states)
    if model.config.likelihood.kind == "bernoulli":
        mean = 1 / (1 + np.exp(-output))
        f = x @ np.log(mean).T + (1 - x) @ np.log(1 - mean).T
    else:
        squares = ((x[:, None] - output[None]) ** 2).sum(-1)
        f = -0.5 * squares - 3.5 * math.log(2 * math.pi)
    q = np.exp(log_q)
    joint = f + log_p
    top = joint.max(1, keepdims=True)
    likelihood, kl = (q * f).sum(1), (q * (log_q - log_p)).sum(1)
    return {
        "log_likelihood": likelihood,
        "kl": kl,
        "elbo": likelihood - kl,
        "log_px": (top + np.log(np.exp(joint - top).sum(1, keepdims=True)))[:, 0],
        "log_weight": joint - log_q,
        "f": f,
        "q": q,
        "eta": eta,
    }


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("latent", LATENTS)
def test_exact_figures_equal_enumeration(latent, likelihood):
    model, rows = model_of(latent, likelihood), rows_of()
    result = evaluate(model, rows, samples=3)
    truth = by_hand(model, rows.values.double().numpy())
    for name in ("elbo", "log_likelihood", "kl", "log_px"):
        measured = getattr(result, name)
        assert measured.value == pytest.approx(truth[name].mean(), rel=TOLERANCE), name
        se = truth[name].std(ddof=1) / math.sqrt(len(rows))
        assert measured.se == pytest.approx(se, rel=1e-4), name
    assert truth["kl"].mean() > 0.1  # a test of nothing otherwise
    gap = truth["log_px"].mean() - truth["elbo"].mean()
    assert gap > 0.05
    assert result.elbo.value < result.log_px.value


@pytest.mark.parametrize("latent", LATENTS)
def test_the_bound_lies_between_and_grows(latent):
    """Within 5 standard errors of its exact expectation: a false alarm in 2 million."""
    model, rows = model_of(latent), rows_of(4)
    x = rows.batch(slice(None))
    truth = by_hand(model, x.double().numpy())
    repeats = 3000
    wide = x.repeat_interleave(repeats, 0)
    eta = model.eta(wide).detach()
    bounds = {}
    for samples in (1, 2, 8):
        for score in (evaluation._score_exactly, evaluation._score_by_sampling):
            generator = torch.Generator().manual_seed(samples)
            with torch.no_grad():
                scores = score(model, wide, eta, [samples], generator)
            per_row = scores[2].double().reshape(4, repeats)
            mean, error = per_row.mean(1).numpy(), per_row.std(1).numpy() / math.sqrt(repeats)
            if samples == 1:
                assert (abs(mean - truth["elbo"]) < 5 * error + 1e-5).all()
            if samples == 2:
                # E ln ½(w + v) over all pairs of states
                w = truth["log_weight"]
                pairs = np.logaddexp(w[:, :, None], w[:, None]) - math.log(2)
                exact = np.einsum("bi,bj,bij->b", truth["q"], truth["q"], pairs)
                assert (abs(mean - exact) < 5 * error + 1e-5).all()
            bounds[score, samples] = mean.mean(), math.sqrt((error**2).sum()) / 4
    for score in (evaluation._score_exactly, evaluation._score_by_sampling):
        (two, error_two), (eight, error_eight) = bounds[score, 2], bounds[score, 8]
        assert two - truth["elbo"].mean() > 5 * error_two
        assert eight - two > 5 * math.hypot(error_two, error_eight)
        assert truth["log_px"].mean() - eight > 5 * error_eight


@pytest.mark.parametrize("latent", LATENTS)
def test_sampling_agrees_with_enumeration(latent):
    """Each row's mean of S draws within 5 standard errors: a false alarm in 38,000."""
    model, rows = model_of(latent), rows_of()
    x = rows.batch(slice(None))
    samples = 4000
    with torch.no_grad():
        scores = evaluation._score_by_sampling(
            model, x, model.eta(x), [samples], torch.Generator().manual_seed(0)
        )
    truth = by_hand(model, x.double().numpy())
    second = (truth["q"] * truth["f"] ** 2).sum(1)
    error = np.sqrt((second - truth["log_likelihood"] ** 2) / samples)
    likelihood = scores[0].double().numpy()
    assert (abs(likelihood - truth["log_likelihood"]) < 5 * error + 1e-5).all()
    assert np.allclose(scores[1].double(), truth["kl"], rtol=1e-4)
    # with 4,000 draws over few states the bound is ln p(x) but for its own noise
    weight = np.exp(truth["log_weight"] - truth["log_px"][:, None])
    relative = np.sqrt(((truth["q"] * weight**2).sum(1) - 1) / samples)
    assert (abs(scores[2].double().numpy() - truth["log_px"]) < 5 * relative + 1e-4).all()


@pytest.mark.parametrize("latent", [*LATENTS, "gaussian:3"])
def test_samples_cut_in_pieces_give_the_same(latent, monkeypatch):
    model, rows = model_of(latent), rows_of()
    x = rows.batch(slice(None))
    results = []
    for decoder_rows in (10**6, 16 * 16, 16):  # pieces of 48, 16 and 1 samples
        monkeypatch.setattr(evaluation, "DECODER_ROWS", decoder_rows)
        with torch.no_grad():
            scores = evaluation._score_by_sampling(
                model, x, model.eta(x), [48], torch.Generator().manual_seed(0)
            )
        results.append(scores)
    assert torch.allclose(results[0], results[1], rtol=1e-5, atol=1e-5)
    if latent != "gaussian:3":  # torch draws normals in blocks, so that small pieces differ
        assert torch.allclose(results[0], results[2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("latent", ["categorical:5", "bernoulli:6"])
def test_rows_cut_in_chunks_give_the_same(latent, monkeypatch):
    model, rows = model_of(latent), rows_of(50)
    whole = evaluate(model, rows)
    done = []
    monkeypatch.setattr(evaluation, "DECODER_ROWS", 7)
    parts = evaluate(model, rows, progress=done.append)
    assert done == [7, 14, 21, 28, 35, 42, 49, 50]
    assert parts.usage.codes_used == whole.usage.codes_used
    assert parts.usage.active_units == whole.usage.active_units
    for name in ("elbo", "log_px", "kl"):
        expected = getattr(whole, name).value
        assert getattr(parts, name).value == pytest.approx(expected, rel=TOLERANCE)


def test_one_row_has_no_standard_error():
    result = evaluate(model_of("categorical:5"), rows_of(1))
    for name in ("elbo", "log_likelihood", "kl", "bound", "log_px"):
        assert getattr(result, name).se is None
    assert result.usage.codes_used == 1
    assert result.usage.code_entropy == 0.0
    assert result.usage.active_units == 0


@pytest.mark.parametrize("latent", LATENTS)
def test_use_of_the_code_by_hand(latent):
    model, rows = model_of(latent, scale=4.0), rows_of(200)
    usage = evaluate(model, rows, samples=1).usage
    eta = network(model.encoder, rows.values.double().numpy())
    kind, _, size = str(latent).partition(":")
    if kind == "bernoulli":
        mean = 1 / (1 + np.exp(-eta))
        codes = (eta > 0).astype(int)
        variance = mean.var(0)
    else:
        k = int(size.split("x")[-1])
        per_variable = eta.reshape(len(eta), -1, k)
        mean = np.exp(per_variable) / np.exp(per_variable).sum(-1, keepdims=True)
        codes = per_variable.argmax(-1)
        variance = mean.var(0).sum(-1)
    counts: dict[tuple[int, ...], int] = {}
    for code in codes.tolist():
        counts[tuple(code)] = counts.get(tuple(code), 0) + 1
    entropy = -sum(n / 200 * math.log(n / 200) for n in counts.values())
    assert usage.codes_used == len(counts) > 1
    assert usage.active_units == int((variance > 0.01).sum()) > 0
    assert usage.code_entropy == pytest.approx(entropy, rel=1e-6)


def test_use_of_a_gaussian_code():
    model, rows = model_of("gaussian:3", scale=1.0), rows_of(200)
    raw = network(model.encoder, rows.values.double().numpy()).reshape(200, 3, 2)
    with torch.no_grad():  # the first variable's mean is made constant
        model.encoder[-1].weight[0].zero_()
    usage = evaluate(model, rows, samples=1).usage
    active = raw[..., 0].var(0) > 0.01
    assert usage.codes_used is None
    assert usage.code_entropy is None
    assert usage.active_units == int(active[1:].sum())


@pytest.mark.parametrize(("latent", "exact"), [("categorical:5", True), ("gaussian:3", False)])
def test_json_keys(latent, exact):
    result = evaluate(model_of(latent), rows_of(), samples=9).to_dict()
    assert set(result) == {
        "accuracy",
        "elbo",
        "log_likelihood",
        "kl",
        "bound",
        "log_px",
        "codes_used",
        "active_units",
        "code_entropy",
        "perplexity",
        "perplexity_share",
        "psnr",
        "rows",
        "bounds",
        "rate",
        "distortion",
        "distinct_rate",
        "entropy_ceiling",
        "bits_per_dimension",
        "is_surrogate",
    }
    assert result["rate"] == result["kl"]
    assert result["distortion"]["value"] == -result["log_likelihood"]["value"]
    assert [bound["samples"] for bound in result["bounds"]] == [9]
    assert result["is_surrogate"] is True
    assert result["bits_per_dimension"] is None
    assert set(result["bound"]) == {"value", "se", "samples"}
    assert result["bound"]["samples"] == 9
    for name in ("elbo", "log_likelihood", "kl"):
        assert set(result[name]) == {"value", "se"}
    assert (result["log_px"] is not None) is exact
    assert result["rows"] == 23
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize("latent", [*LATENTS, "categorical:2+bernoulli:3"])
def test_a_learned_prior_without_a_closed_kl_is_summed_over_too(latent):
    model, rows = model_of(latent, prior="autoregressive:5"), rows_of()
    result = evaluate(model, rows, samples=3)
    with torch.no_grad():
        double = copy.deepcopy(model).double()
        x = rows.values.double()
        log_q = double.family.log_prob_table(double.eta(x))
        log_p = double.prior.log_prob_table()
        table = double.log_likelihood(x).table()
    kl = (log_q.exp() * (log_q - log_p)).sum(1).mean().item()
    assert result.kl.value == pytest.approx(kl, rel=TOLERANCE)
    assert result.log_px.value == pytest.approx(
        torch.logsumexp(table + log_p, 1).mean().item(), rel=TOLERANCE
    )
    sampled = sampled_figures(model, rows)
    assert abs(sampled["kl"][0] - kl) < 5 * sampled["kl"][1]
    assert sampled["kl"][1] < 0.05 * kl


def sampled_figures(model, rows, samples=4000):
    """The KL by draws of z, and the error of its mean over rows."""
    x = rows.batch(slice(None))
    with torch.no_grad():
        scores = evaluation._score_by_sampling(
            model, x, model.eta(x), [samples], torch.Generator().manual_seed(0)
        )
        table = model.prior.log_prob_table()
        q = model.family.log_prob_table(model.eta(x)).exp()
        variance = q @ table.square() - (q @ table).square()
    return {"kl": (scores[1].mean().item(), (variance.sum() / samples).sqrt().item() / len(x))}


def test_bounds_of_several_sizes_share_their_draws_and_rise_on_every_row():
    model, rows = model_of("gaussian:3"), rows_of()
    scores = row_scores(model, rows, samples=(4, 1, 20))
    assert list(scores.bounds) == [1, 4, 20]
    # means over groups of the same draws: by Jensen's inequality this holds for every row
    assert bool((scores.bounds[1] < scores.bounds[4]).all())
    assert bool((scores.bounds[4] < scores.bounds[20]).all())
    assert torch.equal(scores.bound, scores.bounds[20])
    alone = row_scores(model, rows, samples=20)
    assert torch.equal(alone.bound, scores.bound)
    assert torch.equal(alone.elbo, scores.elbo)
    with pytest.raises(ConfigError, match="`samples` 3 does not divide 20"):
        row_scores(model, rows, samples=[3, 20])
    with pytest.raises(ConfigError, match="Got none"):
        row_scores(model, rows, samples=[])


@pytest.mark.parametrize("latent", LATENTS)
def test_bounds_of_an_enumerable_model_reach_ln_px_within_their_standard_error(latent):
    """By sampling, not by enumeration; the error is that of the draws alone, known exactly."""
    model, rows = model_of(latent), rows_of()
    x = rows.batch(slice(None))
    truth = by_hand(model, x.double().numpy())
    with torch.no_grad():
        hundred, many = evaluation._score_by_sampling(
            model, x, model.eta(x), [100, 5000], torch.Generator().manual_seed(0)
        )[2:].double()
    weight = np.exp(truth["log_weight"] - truth["log_px"][:, None])
    spread = np.sqrt((truth["q"] * weight**2).sum(1) - 1)
    error = math.sqrt((spread**2 / 5000).sum()) / len(x)
    # ln of a mean is biased by −variance/2S: allowed for beside 5 standard errors of the draws
    bias = (spread**2).mean() / 5000
    assert abs(many.mean().item() - truth["log_px"].mean()) < 5 * error + bias + 1e-5
    assert hundred.mean() <= many.mean() + 1e-9


def test_the_stated_standard_error_covers_the_mean_of_the_source():
    """200 samples of 40 rows from 5,000: |mean − true mean| < 1.96 se in 95 % of them.

    Of 200 such intervals at least 178 cover with probability 0.9999 if 95 % do (binomial; of 40
    rows, Student's t says 94.3 %). Power: errors stated a third too small cover 81 % and fail.
    """
    model, rows = model_of("categorical:5"), rows_of(5000)
    per_row = row_scores(model, rows, samples=1).log_px
    truth, generator = per_row.mean().item(), torch.Generator().manual_seed(0)
    covered, narrow = 0, 0
    for _ in range(200):
        chosen = torch.randint(0, 5000, (40,), generator=generator).numpy()
        found = evaluate(model, rows.subset(chosen), samples=1).log_px
        covered += abs(found.value - truth) < 1.96 * found.se
        narrow += abs(found.value - truth) < 1.96 * found.se * 2 / 3
    assert covered >= 178
    assert narrow < 178


def test_rows_one_by_one():
    model, rows = model_of("categorical:5"), rows_of()
    scores = row_scores(model, rows, samples=3)
    truth = by_hand(model, rows.values.double().numpy())
    for name in ("elbo", "log_likelihood", "kl", "log_px"):
        assert np.allclose(getattr(scores, name), truth[name], rtol=1e-5), name
    assert torch.equal(score_samples(model, rows), scores.log_px)
    gaussian = model_of("gaussian:3")
    expected = row_scores(gaussian, rows, samples=7, seed=3).bound
    assert torch.equal(score_samples(gaussian, rows, samples=7, seed=3), expected)


@pytest.mark.parametrize(
    ("latent", "prior"),
    [("bernoulli:20", "factorized"), ("gaussian:3", "fixed"), ("bernoulli:20", "autoregressive:4")],
)
def test_the_same_draws_for_every_row_make_its_score_its_own(latent, prior):
    model, rows = model_of(latent, prior=prior), rows_of(30)
    together = score_samples(model, rows, samples=300, seed=5, same_draws=True)
    alone = [
        score_samples(model, rows.subset(slice(i, i + 1)), samples=300, seed=5, same_draws=True)
        for i in range(30)
    ]
    assert np.allclose(together, torch.cat(alone), rtol=TOLERANCE)
    others = score_samples(model, rows, samples=300, seed=5)
    assert not np.allclose(others[1:], torch.cat(alone)[1:], rtol=TOLERANCE)


def test_bits_per_dimension_only_where_the_likelihood_is_a_probability():
    rows = Rows.from_array(np.random.default_rng(0).integers(0, 2, (30, 7)).astype(np.float32))
    result = evaluate(model_of("categorical:5"), rows, samples=3)
    assert not result.is_surrogate
    expected = -result.log_px.value / 7 / math.log(2)
    assert result.bits_per_dimension.value == pytest.approx(expected)
    assert result.bits_per_dimension.se == pytest.approx(result.log_px.se / 7 / math.log(2))
    density = evaluate(model_of("categorical:5", "gaussian"), rows, samples=3)
    assert density.bits_per_dimension is None
    assert not density.is_surrogate
    grey = evaluate(model_of("categorical:5"), rows_of(), samples=3)
    assert grey.is_surrogate
    black = rows_of().binarized("threshold")
    assert not evaluate(model_of("categorical:5"), black, samples=3).is_surrogate


def test_use_of_a_code_of_several_parts():
    model, rows = model_of("categorical:5+gaussian:3", scale=6.0), rows_of(200)
    with torch.no_grad():  # so that no category wins everywhere
        model.encoder[-1].bias.sub_(model.eta(rows.values).mean(0))
    usage = evaluate(model, rows, samples=1).usage
    codes = model.encode(rows.batch(slice(None)))
    _, counts = np.unique(codes[:, 0].numpy(), return_counts=True)
    assert usage.codes_used == len(counts) > 1
    share = counts / 200
    assert usage.code_entropy == pytest.approx(-(share * np.log(share)).sum())
    assert 1 < usage.active_units <= 4
    assert evaluate(model, rows, samples=1).entropy_ceiling == pytest.approx(math.log(5))


def test_the_seed_and_nothing_else_decides():
    model, rows = model_of("gaussian:3"), rows_of().binarized("dynamic")
    state = torch.get_rng_state()
    first, again, other = (evaluate(model, rows, seed=seed).to_dict() for seed in (0, 0, 1))
    assert first == again
    assert first["elbo"] != other["elbo"]
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_drawn_of_a_row_depends_neither_on_samples_nor_chunks_nor_the_model(monkeypatch):
    rows, seen = rows_of(100).binarized("dynamic"), []
    ours = DiscreteVAE.eta
    monkeypatch.setattr(DiscreteVAE, "eta", lambda self, x: (seen[-1].append(x), ours(self, x))[1])
    for latent in ("bernoulli:4", "gaussian:3", "categorical:5"):
        model = model_of(latent)
        for samples, decoder_rows in ((1, 4096), (100, 4096), (7, 64)):
            monkeypatch.setattr(evaluation, "DECODER_ROWS", decoder_rows)
            seen.append([])
            row_scores(model, rows, samples=samples, seed=3)
    drawn = [torch.cat(parts) for parts in seen]
    assert len({len(parts) for parts in seen}) > 2
    assert all(torch.equal(each, drawn[0]) for each in drawn[1:])
    expected = torch.cat([*rows.chunks(7, seed=3)])
    assert torch.equal(drawn[0], expected)
    # a row's pixels follow from its number, not from the rows beside it
    some = torch.tensor([5, 2, 3])
    assert torch.equal(torch.cat([*rows.subset(some).chunks(2, seed=3)]), expected[some])


def test_binarized_rows_are_scored_as_bits():
    model, rows = model_of("categorical:5"), rows_of()
    result = evaluate(model, rows.binarized("threshold"))
    truth = by_hand(model, (rows.values > 0.5).double().numpy())
    assert result.log_px.value == pytest.approx(truth["log_px"].mean(), rel=TOLERANCE)


def test_what_is_refused():
    model = model_of("categorical:5")
    with pytest.raises(ConfigError, match="`samples` must be an int >= 1"):
        evaluate(model, rows_of(), samples=0)
    with pytest.raises(DataError, match="rows have 3 features, but the model takes 7"):
        evaluate(model, Rows.from_array(np.full((2, 3), 0.5)))
    with pytest.raises(DataError, match="outside"):
        evaluate(model, Rows.from_array(np.full((2, 7), 1.5)))
    large = Rows.from_array(np.array([[0.5] * 7, [3e37] * 7]))
    with pytest.raises(DataError, match="1 of 2 rows is beyond float32"):
        evaluate(model_of("categorical:5", "gaussian"), large)


@pytest.mark.parametrize("prior", ["fixed", "factorized", "transformer:1x16"])
@pytest.mark.parametrize(
    ("latent", "quantizer"), [("categorical:8@2x4", "vector:3"), ("bernoulli:3@2x4", "sphere")]
)
def test_bits_of_a_vq_vae_are_those_of_its_prior_and_of_its_reconstruction(
    latent, quantizer, prior, monkeypatch
):
    """By hand, at the nearest vectors; and not a decoder row more than one of each row."""
    config = ModelConfig(
        n_features=6, latent=latent, network="custom", prior=prior, quantizer=quantizer,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = (MLP(sizes, generator=generator) for sizes in ([6, 7, 24], [24, 7, 6]))
    model = DiscreteVAE(config, encoder=encoder, decoder=decoder, generator=generator).eval()
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    if prior != "fixed":
        fit_prior(model, x, model.prior, epochs=3)
    model.quantizer.be_certain()
    h = model.encoder.rounded(x)
    with torch.no_grad():
        z = model.quantizer.nearest(h)
        log_px = model.log_likelihood(x)(z.unsqueeze(0))[0]
        log_pz = model.prior.log_prob(z)
    decoded = []
    output = DiscreteVAE.output
    monkeypatch.setattr(
        DiscreteVAE, "output", lambda self, z: decoded.append(z.shape[:2]) or output(self, z)
    )
    found = evaluate(model, x, samples=(1, 10, 100))
    assert sum(s * b for s, b in decoded) == len(x)
    assert found.kl.value == pytest.approx(-log_pz.mean().item(), rel=1e-5)
    by_hand = -(log_px + log_pz).mean().item() / (6 * math.log(2))
    assert found.bits_per_dimension.value == pytest.approx(by_hand, rel=1e-5)
    for bound in found.bounds.values():
        assert bound.value == pytest.approx(found.elbo.value, rel=1e-5)
    if prior == "fixed":
        assert found.kl.value == pytest.approx(8 * math.log(8), rel=1e-6)
