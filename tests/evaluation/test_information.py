"""The split of the KL against sums over all states in float64, quadrature and replayed draws."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from discretevae.config import ModelConfig
from discretevae.data import Rows
from discretevae.errors import ConfigError, DataError
from discretevae.evaluation import information
from discretevae.evaluation.information import kl_split
from discretevae.families import family_of
from discretevae.model.vae import DiscreteVAE
from discretevae.priors import make_prior

DISCRETE = ("bernoulli:5", "categorical:7", "categorical:3x4", "categorical:3+bernoulli:4")
ALL = (*DISCRETE, "gaussian:3", "categorical:3+gaussian:2+bernoulli:2")
FIGURES = ("kl", "mutual_information", "marginal_kl", "total_correlation", "per_variable")
TOLERANCE = 1e-10
"""Of sums of some thousand float64 numbers of order 1."""
EQUAL_ROWS = 1e-5
"""For real variables: η of two equal rows may differ in the last bit of float32."""
SIGMAS = 5.0
"""Two-sided, 6e-7 per comparison; every seed is fixed."""


def model_of(latent: str) -> DiscreteVAE:
    """A model whose rows *are* the encoder's outputs, so that a test can choose every q(z|x)."""
    n_eta = family_of(latent).fixed_eta().numel()
    config = ModelConfig(
        n_features=n_eta, latent=latent, hidden=(2,), likelihood="gaussian", prior="factorized"
    )
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
    model.encoder = nn.Identity()
    with torch.no_grad():
        raw = torch.randn(n_eta, generator=torch.Generator().manual_seed(1))
        model.prior.raw.copy_(raw / 2)
    return model


def rows_of(latent: str, n: int = 13, scale: float = 2.0) -> Rows:
    n_eta = family_of(latent).fixed_eta().numel()
    values = np.random.default_rng(3).normal(0, scale, (n, n_eta)).astype(np.float32)
    if "gaussian" in latent:
        values = np.clip(values, -3, 3)  # σ from 0.2 to 4.5
    return Rows.from_array(values, name="mine")


def posteriors(latent: str, rows: Rows) -> torch.Tensor:
    return family_of(latent).natural_parameters(rows.batch(slice(None)).double())


class Learned(nn.Module):
    """A prior without a closed KL: any table over the states, or a mixture of two normals."""

    has_closed_kl = False
    is_exact = True

    def __init__(self, family, *, gap: float = 0.0) -> None:
        super().__init__()
        self.family = family
        self.gap = gap
        self.is_exact = gap == 0
        if family.n_states is not None:
            generator = torch.Generator().manual_seed(5)
            logits = torch.randn(family.n_states, generator=generator, dtype=torch.float64)
            self.log_p = torch.log_softmax(logits, 0)

    def log_prob_table(self):
        return self.log_p

    def log_prob(self, z, *, generator=None):
        lead = z.shape[: z.ndim - len(self.family.z_shape)]
        if self.family.n_states is None:
            flat = z.double().reshape(*lead, -1)
            log_p = torch.logaddexp(-((flat - 1) ** 2).sum(-1), -((flat + 1) ** 2).sum(-1))
            return log_p - flat.shape[-1] * math.log(math.pi) / 2 - math.log(2)
        states = self.family.enumerate().flatten(1)
        log_p = z.reshape(lead.numel(), -1).float() @ states.T
        # the state with the most ones in common, and no other one
        index = (log_p - states.sum(1) / 2).argmax(1)
        noise = torch.rand(lead.numel(), generator=generator, dtype=torch.float64)
        return (self.log_p[index] - 2 * self.gap * noise).reshape(lead)


@pytest.fixture
def sampled(monkeypatch):
    """No code is summed over."""
    monkeypatch.setattr(information, "is_enumerable", lambda family: False)


# --- brute force: numpy, float64, sums over all states by the definitions --------------------


def sizes_of(latent: str) -> list[int]:
    sizes = []
    for part in latent.split("+"):
        kind, _, size = part.partition(":")
        if kind == "bernoulli":
            sizes += [2] * int(size)
        else:
            d, k = map(int, size.split("x")) if "x" in size else (1, int(size))
            sizes += [k] * d
    return sizes


def variables(latent: str, raw: np.ndarray) -> list[np.ndarray]:
    """q(z_d|x_n) of each variable, ``[N, K_d]``, from the encoder's outputs."""
    found = []
    for part in latent.split("+"):
        is_bits = part.startswith("bernoulli")
        for k in sizes_of(part):
            own, raw = np.split(raw, [1 if is_bits else k], axis=1)
            logits = np.concatenate((0 * own, own), 1) if is_bits else own
            q = np.exp(logits - logits.max(1, keepdims=True))
            found.append(q / q.sum(1, keepdims=True))
    assert raw.shape[1] == 0
    return found


def joint(per_variable: list[np.ndarray]) -> np.ndarray:
    """Π_d q(z_d|x_n) over all states, the last variable fastest, ``[N, Π K_d]``."""
    table = per_variable[0]
    for q in per_variable[1:]:
        table = (table[:, :, None] * q[:, None]).reshape(len(q), -1)
    return table


def kl(q: np.ndarray, p: np.ndarray) -> float:
    return float((q * np.log(q / p)).sum())


def by_hand(latent: str, raw: np.ndarray, raw_prior: np.ndarray, log_p=None) -> dict[str, object]:
    q_d = variables(latent, raw)
    q_n = joint(q_d)
    q = q_n.mean(0)
    margins = [part.mean(0) for part in q_d]
    p_d = [part[0] for part in variables(latent, raw_prior[None])]
    p = joint([part[None] for part in p_d])[0]
    if log_p is not None:
        p, p_d = np.exp(log_p), [np.full(len(part), 1 / len(part)) for part in p_d]
    product = joint([margin[None] for margin in margins])[0]
    variable_kl = [kl(m, part) for m, part in zip(margins, p_d, strict=True)]
    return {
        "kl": np.mean([kl(row, p) for row in q_n]),
        "mutual_information": np.mean([kl(row, q) for row in q_n]),
        "marginal_kl": kl(q, p),
        "total_correlation": kl(q, product),
        "per_variable": sum(variable_kl),
        "variable_kl": variable_kl,
        "variable_information": [
            np.mean([kl(row, m) for row in part]) for part, m in zip(q_d, margins, strict=True)
        ],
        "entropy": float(-(q * np.log(q)).sum()),
    }


def setting(latent: str, prior: str, *, n: int = 13, gap: float = 0.0):
    """A model, its rows, and the truth where the code is discrete."""
    model, rows = model_of(latent), rows_of(latent, n)
    raw_prior = model.prior.raw.detach().double().numpy()
    log_p = None
    if prior == "learned":
        model.prior = Learned(model.family, gap=gap)
        log_p = model.prior.log_p.numpy() if latent in DISCRETE else None
    raw = rows.batch(slice(None)).double().numpy()
    truth = by_hand(latent, raw, raw_prior, log_p) if latent in DISCRETE else {}
    return model, rows, truth


PRIORS = pytest.mark.parametrize("prior", ["factorized", "learned"])


@PRIORS
@pytest.mark.parametrize("latent", DISCRETE)
def test_every_figure_equals_sums_over_all_states(latent, prior):
    model, rows, truth = setting(latent, prior)
    split = kl_split(model, rows)
    # the model's own prior is float32 where it multiplies
    tolerance = 1e-6 if prior == "factorized" else TOLERANCE
    for name in (*FIGURES, "entropy"):
        assert getattr(split, name).value == pytest.approx(truth[name], abs=tolerance), name
        assert getattr(split, name).se == 0
    assert split.variable_kl == pytest.approx(truth["variable_kl"], abs=tolerance)
    assert split.variable_information == pytest.approx(truth["variable_information"], abs=1e-12)
    assert split.max_entropy == pytest.approx(sum(map(math.log, sizes_of(latent))))
    assert (split.rows, split.samples) == (13, 0)
    assert split.has_factorized_prior == (prior == "factorized")
    assert min(truth[name] for name in FIGURES[:3]) > 0.1  # a test of nothing otherwise
    if len(sizes_of(latent)) > 1:
        assert truth["total_correlation"] > 0.05


def add_up(split) -> None:
    value = {name: getattr(split, name).value for name in (*FIGURES, "entropy")}
    close = pytest.approx
    assert value["kl"] == close(value["mutual_information"] + value["marginal_kl"], abs=TOLERANCE)
    assert value["per_variable"] == close(sum(split.variable_kl), abs=TOLERANCE)
    told = sum(split.variable_information)
    assert value["total_correlation"] == close(told - value["mutual_information"], abs=TOLERANCE)
    if split.has_factorized_prior:
        parts = value["total_correlation"] + value["per_variable"]
        assert value["marginal_kl"] == close(parts, abs=TOLERANCE)
    assert value["mutual_information"] <= split.max_mutual_information + TOLERANCE


@PRIORS
@pytest.mark.parametrize("latent", ALL)
def test_the_parts_add_up(latent, prior, sampled):
    model, rows, _ = setting(latent, prior)
    split = kl_split(model, rows, samples=200)
    add_up(split)
    assert split.samples == 13 * 16  # 200 / 13, rounded up


@pytest.mark.parametrize("latent", DISCRETE)
def test_the_parts_of_an_enumerated_code_add_up(latent):
    for prior in ("factorized", "learned"):
        model, rows, _ = setting(latent, prior)
        add_up(kl_split(model, rows))


def deviations(split, truth) -> dict[str, float]:
    """By how many standard errors each drawn figure is off; of exact ones, by 1e-6 nats."""
    figures = {name: getattr(split, name) for name in (*FIGURES, "entropy")}
    return {name: (m.value - truth[name]) / max(m.se, 1e-6) for name, m in figures.items()}


@PRIORS
@pytest.mark.parametrize("latent", DISCRETE)
def test_draws_agree_with_sums_over_all_states(latent, prior, sampled):
    model, rows, truth = setting(latent, prior)
    split = kl_split(model, rows, samples=20_000)
    off = deviations(split, truth)
    assert max(map(abs, off.values())) < SIGMAS, off
    assert split.variable_information == pytest.approx(truth["variable_information"], abs=1e-12)
    assert split.mutual_information.se < 0.02


def without_own_row(self, z, first):
    """Broken on purpose: ln q(z) from all rows but the one that drew z."""
    log_q = self.family.log_prob(self.eta, z.unsqueeze(2))  # [S, B, N]
    own = first + torch.arange(z.shape[1])
    mine = log_q[:, torch.arange(z.shape[1]), own].clone()
    log_q[:, torch.arange(z.shape[1]), own] = -math.inf
    return mine - torch.logsumexp(log_q, -1) + math.log(log_q.shape[-1] - 1)


def without_its_logarithm(self, z, first):
    """Broken on purpose: the sum over rows is not divided by their number."""
    return RIGHT(self, z, first) - math.log(len(self.offset))


def shifted(self, z, first):
    """Broken on purpose: each draw is taken for one of the next row's."""
    other = Remembering(self.family, self.eta.roll(-1, 0))
    return RIGHT(other, z, first)


RIGHT = information._Mixture.information


class Remembering(information._Mixture):
    """Keeps the natural parameters for what is broken on purpose."""

    def __init__(self, family, eta):
        super().__init__(family, eta)
        self.eta = eta


@pytest.mark.parametrize("broken", [without_own_row, without_its_logarithm, shifted])
@pytest.mark.parametrize("latent", DISCRETE)
def test_broken_sums_over_rows_are_caught(latent, broken, sampled, monkeypatch):
    model, rows, truth = setting(latent, "factorized")
    monkeypatch.setattr(information, "_Mixture", Remembering)
    monkeypatch.setattr(Remembering, "information", RIGHT)
    assert abs(deviations(kl_split(model, rows), truth)["mutual_information"]) < SIGMAS
    monkeypatch.setattr(Remembering, "information", broken)
    assert abs(deviations(kl_split(model, rows), truth)["mutual_information"]) > SIGMAS


@pytest.mark.parametrize("latent", ALL)
def test_the_matrix_product_is_the_sum_over_rows_of_the_same_draws(latent):
    """No approximation but rounding: ln 1/N Σ_n q(z|x_n) by log_prob, row by row."""
    rows = rows_of(latent, 9)
    family, eta = family_of(latent), posteriors(latent, rows)
    z = family.sample(eta[2:6], 50, generator=torch.Generator().manual_seed(2))
    told = information._Mixture(family, eta).information(z, 2)
    every = torch.stack([family.log_prob(row.unsqueeze(0), z) for row in eta])
    own = family.log_prob(eta[2:6], z)
    truth = own - torch.logsumexp(every, 0) + math.log(9)
    torch.testing.assert_close(told, truth, rtol=0, atol=1e-9)
    assert told.max() <= math.log(9) + 1e-12


@pytest.mark.parametrize("how", ["enumerated", "drawn"])
@pytest.mark.parametrize("latent", ALL)
def test_a_code_that_ignores_the_rows_tells_nothing(latent, how, monkeypatch):
    if how == "drawn":
        monkeypatch.setattr(information, "is_enumerable", lambda family: False)
    model, one = model_of(latent), rows_of(latent, 1)
    rows = Rows.from_array(one.batch(slice(None)).repeat(11, 1))
    split = kl_split(model, rows, samples=100)
    tolerance = EQUAL_ROWS if "gaussian" in latent else TOLERANCE
    assert abs(split.mutual_information.value) < tolerance
    assert abs(split.total_correlation.value) < tolerance
    assert split.marginal_kl.value == pytest.approx(split.kl.value, abs=tolerance)
    assert np.abs(split.variable_information).max() < tolerance
    assert split.mutual_information.se < tolerance
    assert not split.is_saturated


IDENTIFYING = {
    "bernoulli:4": lambda n: np.where(n[:, None] >> np.arange(4) & 1, 60.0, -60.0),
    "categorical:16": lambda n: 120.5 * np.eye(16)[n],
    "categorical:2x4": lambda n: 120.5 * np.concatenate((np.eye(4)[n % 4], np.eye(4)[n // 4]), 1),
    "gaussian:1": lambda n: np.stack((np.arange(16) * 2.0 - 15, np.full(16, -6.0)), 1),
}


@pytest.mark.parametrize("how", ["enumerated", "drawn"])
@pytest.mark.parametrize("latent", IDENTIFYING)
def test_a_code_that_names_the_row_tells_the_logarithm_of_their_number(latent, how, monkeypatch):
    if how == "drawn":
        monkeypatch.setattr(information, "is_enumerable", lambda family: False)
    rows = Rows.from_array(IDENTIFYING[latent](np.arange(16)))
    split = kl_split(model_of(latent), rows, samples=64)
    assert split.mutual_information.value == pytest.approx(math.log(16), abs=1e-12)
    assert split.mutual_information.se < 1e-12
    assert split.max_mutual_information == math.log(16)
    assert split.is_saturated
    assert split.total_correlation.value == pytest.approx(0, abs=1e-9)
    if latent == "bernoulli:4":
        assert split.variable_information == pytest.approx([math.log(2)] * 4, abs=1e-9)
    # each row twice: the code still names 16 things, and 32 rows show that it is not more
    twice = Rows.from_array(rows.batch(slice(None)).repeat(2, 1))
    split = kl_split(model_of(latent), twice, samples=64)
    tolerance = EQUAL_ROWS if "gaussian" in latent else 1e-12
    assert split.mutual_information.value == pytest.approx(math.log(16), abs=tolerance)
    assert not split.is_saturated


# --- real numbers against quadrature -------------------------------------------------------


def test_one_gaussian_row_has_its_closed_kl_and_no_information():
    model, rows = model_of("gaussian:3"), rows_of("gaussian:3", 1)  # η itself is float32
    split = kl_split(model, rows, samples=50)
    eta = posteriors("gaussian:3", rows)
    assert split.marginal_kl.value == pytest.approx(model.prior.kl(eta).item(), abs=1e-6)
    assert split.mutual_information.value == split.mutual_information.se == 0
    assert split.entropy.value == pytest.approx(model.family.entropy(eta).item(), abs=1e-6)
    assert split.max_entropy is None


def test_two_gaussian_rows_agree_with_quadrature():
    """z = (a, b), q = ½ N(m₁, diag s₁²) + ½ N(m₂, diag s₂²), sums over a fine grid."""
    mean, log_var = np.array([[-0.5, 1.0], [1.5, 0.0]]), np.array([[0.0, -1.0], [-0.5, -2.0]])
    raw = np.stack((mean, log_var), -1).reshape(2, 4)
    model, rows = model_of("gaussian:2"), Rows.from_array(raw)
    split = kl_split(model, rows, samples=40_000)
    grid = np.linspace(-9, 9, 1801)
    step, sd = grid[1] - grid[0], np.exp(log_var / 2)[..., None]
    q_d = np.exp(-(((grid - mean[..., None]) / sd) ** 2) / 2) / sd / math.sqrt(2 * math.pi)
    q_n = q_d[:, 0, :, None] * q_d[:, 1, None, :]  # [2, a, b]
    margin = q_d.mean(0)

    def divergence(q, p, cell):
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.nansum(np.where(q > 0, q * np.log(q / p), 0.0)) * cell)

    prior_mean, prior_log_var = model.prior.raw.detach().double().numpy().reshape(2, 2).T
    prior_sd = np.exp(prior_log_var / 2)[:, None]
    p_d = np.exp(-(((grid - prior_mean[:, None]) / prior_sd) ** 2) / 2)
    p_d = p_d / prior_sd / math.sqrt(2 * math.pi)
    q, cell = q_n.mean(0), step * step
    truth = {
        "mutual_information": np.mean([divergence(row, q, cell) for row in q_n]),
        "marginal_kl": divergence(q, p_d[0][:, None] * p_d[1][None], cell),
        "total_correlation": divergence(q, margin[0][:, None] * margin[1][None], cell),
        "per_variable": sum(divergence(m, p, step) for m, p in zip(margin, p_d, strict=True)),
        "kl": np.mean([divergence(row, p_d[0][:, None] * p_d[1][None], cell) for row in q_n]),
        "entropy": divergence(q, np.ones_like(q), -cell),
    }
    off = deviations(split, truth)
    assert max(map(abs, off.values())) < SIGMAS, off
    assert truth["total_correlation"] > 0.05
    assert split.total_correlation.se < 0.003
    for d in range(2):
        told = np.mean([divergence(row, margin[d], step) for row in q_d[:, d]])
        assert split.variable_information[d] == pytest.approx(told, abs=0.01)
        expected = divergence(margin[d], p_d[d], step)
        assert split.variable_kl[d] == pytest.approx(expected, abs=0.01)


# --- standard errors -----------------------------------------------------------------------


@pytest.mark.parametrize("latent", ["bernoulli:5", "categorical:3+gaussian:2+bernoulli:2"])
def test_standard_errors_are_the_spread_over_seeds(latent, sampled):
    """300 seeds: the spread is known to 4 %, so 20 % off is 5 sigma.

    What the wrong formula gives, the spread of all draws over √draws, must be caught.
    """
    model, rows, _ = setting(latent, "learned", n=6)
    splits = [kl_split(model, rows, samples=60, seed=seed) for seed in range(300)]
    for name in FIGURES:
        values = np.array([getattr(split, name).value for split in splits])
        errors = np.array([getattr(split, name).se for split in splits])
        if latent == "bernoulli:5" and name == "per_variable":
            assert values.std() < 1e-12
            assert errors.max() == 0
            continue
        ratio = values.std(ddof=1) / math.sqrt((errors**2).mean())
        assert 0.8 < ratio < 1.2, (name, ratio)


def test_rows_that_differ_do_not_count_as_noise():
    """Two rows, one told for certain and one shared: all spread is between rows, none within."""
    terms = torch.tensor([[0.0, 1.0]], dtype=torch.float64).repeat(8, 1)
    assert information._measured(3.0, terms) == information.Measured(3.5, 0.0)
    noisy = torch.tensor([[0.0, 5.0], [2.0, 5.0]], dtype=torch.float64)
    # variance 2 within the first row of two: se² = (2 + 0) / 2 draws / 2² rows
    assert information._measured(0.0, noisy).se == pytest.approx(0.5)


# --- what the page says of few rows --------------------------------------------------------


def test_few_rows_show_less_and_the_kl_bounds_it_from_above():
    """Over all subsets of a population: mean I_n grows with n up to I, which is at most the KL."""
    model, rows, truth = setting("bernoulli:5", "factorized", n=7)
    means = []
    for n in (1, 2, 4, 6):
        subsets = [rows.subset(torch.tensor(s)) for s in itertools.combinations(range(7), n)]
        told = [kl_split(model, subset).mutual_information.value for subset in subsets]
        assert max(told) <= math.log(n) + TOLERANCE
        means.append(np.mean(told))
    assert means == sorted(means)
    assert means[-1] < truth["mutual_information"] < truth["kl"]


# --- the rest ------------------------------------------------------------------------------


def test_a_prior_that_is_only_a_bound_is_sampled_and_lies_above():
    model, rows, truth = setting("bernoulli:5", "learned", gap=0.3)
    split = kl_split(model, rows, samples=20_000)
    assert split.samples > 0
    truth["kl"] += 0.3
    truth["marginal_kl"] += 0.3
    off = deviations(split, truth)
    assert max(map(abs, off.values())) < SIGMAS, off


@pytest.mark.parametrize(
    ("latent", "prior"),
    [
        ("bernoulli:5", "autoregressive:8"),
        ("categorical:3x4", "autoregressive:8"),
        ("bernoulli:14", "autoregressive:8"),
        ("bernoulli:5", "layer:3"),
        ("gaussian:3", "mixture:2"),
    ],
)
def test_every_kind_of_prior_can_be_split(latent, prior):
    model, rows = model_of(latent), rows_of(latent)
    model.prior = make_prior(prior, model.family, generator=torch.Generator().manual_seed(2))
    before = torch.get_rng_state()
    split = kl_split(model, rows, samples=100)
    assert torch.equal(before, torch.get_rng_state())
    add_up(split)
    assert not split.has_factorized_prior
    assert (split.samples == 0) == (prior.startswith("auto") and latent != "bernoulli:14")


def test_saturated_logits_leave_every_figure_finite():
    for latent, scale in (("bernoulli:14", 3e4), ("categorical:5x10", 3e4), ("gaussian:3", 20)):
        n_eta = family_of(latent).fixed_eta().numel()
        values = np.random.default_rng(0).choice([-scale, 0, scale], (20, n_eta))
        result = kl_split(model_of(latent), Rows.from_array(values), samples=40).to_dict()
        json.dumps(result, allow_nan=False)
        assert result["mutual_information"]["value"] <= math.log(20) + TOLERANCE


def test_no_block_is_larger_than_allowed(sampled, monkeypatch):
    monkeypatch.setattr(information, "BLOCK", 1000)
    sizes, done = [], []

    def spy(self, z, first):
        sizes.append(z.shape[0] * z.shape[1] * len(self.offset))
        return RIGHT(self, z, first)

    monkeypatch.setattr(information._Mixture, "information", spy)
    for n, samples in ((13, 1000), (400, 900), (1200, 10)):
        model = model_of("bernoulli:5")
        sizes.clear()
        done.clear()
        split = kl_split(model, rows_of("bernoulli:5", n), samples=samples, progress=done.append)
        assert max(sizes) <= max(1000, n)
        assert sum(sizes) == split.samples * n
        assert split.samples == n * max(2, math.ceil(samples / n))
        assert done == sorted(done)
        assert done[-1] == n


def test_small_blocks_draw_from_the_same_distribution(sampled, monkeypatch):
    monkeypatch.setattr(information, "BLOCK", 100)
    model, rows, truth = setting("categorical:3x4", "learned")
    off = deviations(kl_split(model, rows, samples=4000), truth)
    assert max(map(abs, off.values())) < SIGMAS, off


def test_enumeration_in_pieces_gives_the_same(monkeypatch):
    model, rows, _ = setting("categorical:3x4", "factorized", n=50)
    done = []
    whole = kl_split(model, rows)
    monkeypatch.setattr(information, "BLOCK", 1000)
    pieces = kl_split(model, rows, progress=done.append)
    assert done == [15, 30, 45, 50]  # 1000 / 64 states
    for name in FIGURES:
        value = getattr(whole, name).value
        assert getattr(pieces, name).value == pytest.approx(value, abs=TOLERANCE)


def test_of_many_rows_some_are_chosen_at_random():
    model, rows = model_of("bernoulli:5"), rows_of("bernoulli:5", 50)
    split = kl_split(model, rows, max_rows=20, seed=4)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(4))[:20].sort().values
    chosen = kl_split(model, rows.subset(order))
    assert split.rows == 20
    assert split == chosen
    assert split != kl_split(model, rows, max_rows=20, seed=5)
    assert kl_split(model, rows, max_rows=50) == kl_split(model, rows)


def test_the_seed_decides_and_the_global_state_stays(sampled):
    model, rows = model_of("categorical:3x4"), rows_of("categorical:3x4", 30)
    before = torch.get_rng_state()
    first = kl_split(model, rows, samples=90, max_rows=25, seed=1)
    assert first == kl_split(model, rows, samples=90, max_rows=25, seed=1)
    assert first != kl_split(model, rows, samples=90, max_rows=25, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_rows_are_binarized_as_in_training():
    model = model_of("bernoulli:5")
    rows = Rows.from_array(np.random.default_rng(0).random((40, 5)).astype(np.float32))
    sharp = Rows.from_array((rows.batch(slice(None)) > 0.5).float())
    assert kl_split(model, rows.binarized("threshold")) == kl_split(model, sharp)
    dynamic = rows.binarized("dynamic")
    drawn = kl_split(model, dynamic, seed=3)
    assert drawn == kl_split(model, dynamic, seed=3)
    assert drawn != kl_split(model, dynamic, seed=4)


def test_the_json_object_holds_every_figure():
    split = kl_split(model_of("bernoulli:5"), rows_of("bernoulli:5"))
    values = json.loads(json.dumps(split.to_dict(), allow_nan=False))
    assert values["mutual_information"] == {"value": split.mutual_information.value, "se": 0.0}
    assert values["max_mutual_information"] == pytest.approx(math.log(13))
    assert values["is_saturated"] is False
    assert len(values["variable_kl"]) == len(values["variable_information"]) == 5
    assert (values["rows"], values["samples"]) == (13, 0)


@pytest.mark.parametrize("option", ["samples", "max_rows"])
def test_numbers_below_one_are_refused(option):
    with pytest.raises(ConfigError, match=f"`{option}` must be an int >= 1. Got 0."):
        kl_split(model_of("bernoulli:5"), rows_of("bernoulli:5"), **{option: 0})


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="rows have 4 features, but the model takes 5"):
        kl_split(model_of("bernoulli:5"), Rows.from_array(np.ones((3, 4))))
    narrow = Rows.from_array(np.array([[0.0, -200.0], [0.0, 0.0]]))  # σ² = e^−200
    with pytest.raises(DataError, match="outputs for 1 of 2 rows are beyond float32"):
        kl_split(model_of("gaussian:1"), narrow)
