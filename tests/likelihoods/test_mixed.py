"""Columns of several kinds: every density by integration, sums and closed forms; missing cells."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from discretevae.config import ColumnSpec, LikelihoodSpec, ModelConfig
from discretevae.errors import ConfigError
from discretevae.likelihoods import MixedLikelihood, likelihood_named
from discretevae.likelihoods.mixed import LEAST_SCALE, REACH, as_vectors
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.columns import ColumnInput

ALL = "mixed:real,heavy-tailed,positive,bounded,boolean,categorical:4,count"
NAN = math.nan


def moved(text, seed=1):
    """The likelihood in float64 with learned parameters away from where they start."""
    likelihood = likelihood_named(text).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return likelihood


def outputs(likelihood, *lead, scale=1.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (*lead, likelihood.n_outputs(0))
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def rows(n=6):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, 7, generator=generator, dtype=torch.float64)
    x[:, 3] = torch.rand(n, generator=generator, dtype=torch.float64)
    x[:, 4] = torch.arange(n) % 2
    x[:, 5] = torch.arange(n) % 4
    x[:, 6] = torch.arange(n) * 3
    return x


def one(text, output, x):
    """ln p of a single cell of a table with a single column."""
    likelihood = moved(text)
    o = torch.tensor(output, dtype=torch.float64).reshape(1, 1, -1)
    return likelihood.log_prob(o, torch.tensor([[x]], dtype=torch.float64)).item()


@pytest.mark.parametrize("kind", ["real", "heavy-tailed", "positive", "bounded"])
@pytest.mark.parametrize("output", [-6.0, -0.7, 0.0, 2.5])
def test_densities_integrate_to_one(kind, output):
    likelihood = moved(f"mixed:{kind}")
    o = torch.tensor([[[output]]], dtype=torch.float64)

    def density(x):
        with torch.no_grad():
            return likelihood.log_prob(o, torch.tensor([[x]], dtype=torch.float64)).exp().item()

    if kind == "bounded":
        total, mean = integrate.quad(density, 0, 1)[0], likelihood.mean(o).item()
        first = integrate.quad(lambda x: x * density(x), 0, 1)[0]
        assert mean == pytest.approx(first, abs=1e-6)
    else:
        sides = [
            integrate.quad(density, *ends)[0] for ends in ((-np.inf, output), (output, np.inf))
        ]
        total = sum(sides)
    assert total == pytest.approx(1, abs=1e-6)


def test_densities_are_those_of_scipy():
    o, x = [0.3], 1.7
    for kind in ("real", "positive"):
        sigma = math.hypot(math.exp(moved(f"mixed:{kind}").log_scale.item()), LEAST_SCALE)
        assert one(f"mixed:{kind}", o, x) == pytest.approx(stats.norm(0.3, sigma).logpdf(x))
    likelihood = moved("mixed:heavy-tailed")
    sigma = math.hypot(math.exp(likelihood.log_scale.item()), LEAST_SCALE)
    degrees = 1 + math.exp(likelihood.log_shape.item())
    expected = stats.t(degrees, 0.3, sigma).logpdf(x)
    assert one("mixed:heavy-tailed", o, x) == pytest.approx(expected)
    likelihood = moved("mixed:bounded")
    sigma = math.hypot(math.exp(likelihood.log_scale.item()), LEAST_SCALE)
    center = (2 * REACH + 1) / (1 + math.exp(-0.3)) - REACH
    cut = stats.truncnorm(-center / sigma, (1 - center) / sigma, center, sigma)
    assert one("mixed:bounded", o, 0.9) == pytest.approx(cut.logpdf(0.9))
    r = math.exp(moved("mixed:count").log_shape.item())
    counts = stats.nbinom(r, r / (r + math.exp(0.3)))
    assert one("mixed:count", o, 4.0) == pytest.approx(counts.logpmf(4))
    assert one("mixed:boolean", o, 1.0) == pytest.approx(-math.log1p(math.exp(-0.3)))
    assert one("mixed:categorical:3", [0.3, 1.0, -1.0], 2.0) == pytest.approx(
        torch.tensor([0.3, 1.0, -1.0]).log_softmax(0)[2].item()
    )


def test_a_row_is_the_sum_of_its_cells_and_the_table_the_same_for_every_state():
    likelihood, x = moved(ALL), rows()
    o = outputs(likelihood, 5)
    with torch.no_grad():
        table = likelihood.table(o, x)
        by_row = likelihood.log_prob(o.unsqueeze(1).expand(5, len(x), -1), x)
        cells = likelihood.cells(o.unsqueeze(1), x)
        alone = torch.zeros_like(cells)
        first = 0
        for p, column in enumerate(likelihood.columns):
            single = MixedLikelihood([column]).double()
            with torch.no_grad():
                single.log_scale.copy_(likelihood.log_scale[p])
                single.log_shape.copy_(likelihood.log_shape[p])
            part = o[:, None, first : first + column.n_levels]
            alone[..., p] = single.cells(part, x[:, p : p + 1])[..., 0]
            first += column.n_levels
    assert torch.allclose(table, by_row.T, atol=1e-12)
    assert torch.allclose(cells.sum(-1), by_row, atol=1e-12)
    assert torch.allclose(cells, alone, atol=1e-12)


def test_missing_cells_are_left_out_of_value_and_gradient():
    likelihood, x = moved(ALL), rows()
    hidden = x.clone()
    hidden[0], hidden[1, ::2] = NAN, NAN
    o = outputs(likelihood, 1, len(x)).requires_grad_()
    whole, parts = likelihood.cells(o, x), likelihood.cells(o, hidden)
    there = ~hidden.isnan()
    assert torch.equal(parts[0][there], whole[0][there])
    assert not parts[0][~there].any()
    likelihood.log_prob(o, hidden).sum().backward()
    assert o.grad.isfinite().all()
    assert not o.grad[0, 0].any()
    assert o.grad[0, 2].any()


@pytest.mark.parametrize("sign", [-1, 1])
def test_values_and_gradients_stay_finite_far_out(sign):
    likelihood = likelihood_named(ALL)
    o = torch.full((1, 6, likelihood.n_outputs(0)), sign * 60.0).requires_grad_()
    value = likelihood.log_prob(o, rows().float())
    value.sum().backward()
    assert value.isfinite().all()
    assert o.grad.isfinite().all()


def test_an_output_for_means_has_these_means():
    likelihood = likelihood_named(ALL)
    mean = torch.tensor([0.3, -1.0, 0.5, 0.4, 0.2, 0.5, 0.3, 0.2, 0.0, 3.0])
    expected = likelihood.expected(likelihood.output_for(mean))
    skipped = 3  # the mean of what is cut off is not that of the whole
    kept = [i for i in range(10) if i != skipped]
    assert torch.allclose(expected[kept], mean[kept], atol=2e-4)


def test_expanding_and_collapsing():
    likelihood = likelihood_named("mixed:real,categorical:3,boolean")
    x = torch.tensor([[0.5, 1.0, 1.0], [NAN, NAN, 0.0]])
    expanded = likelihood.expand(x)
    assert expanded[0].tolist() == [0.5, 0, 1, 0, 1]
    assert expanded[1].isnan().tolist() == [True, True, True, True, False]
    assert torch.equal(likelihood.collapse(expanded[:1]), x[:1])
    # the level for unseen ones is never guessed
    assert likelihood.collapse(torch.tensor([0.0, 0.2, 0.1, 0.7, 0.5]))[1] == 0
    vectors = as_vectors([ColumnSpec("count"), ColumnSpec("real")], torch.tensor([[3.0, NAN]]))
    assert torch.allclose(vectors, torch.tensor([[math.log(4), 0.0]]))


def test_draws_have_the_mean_and_never_an_unseen_level():
    """Six z-tests at 4.5 σ of 40,000 draws: a false alarm in 1 of 25,000 runs."""
    likelihood, n = moved(ALL), 40_000
    o = outputs(likelihood, 1, scale=0.7)
    generator = torch.Generator().manual_seed(5)
    drawn = likelihood.sample(o.expand(n, -1), generator=generator)
    expected = likelihood.expected(o)[0].detach()
    assert set(drawn[:, 5].tolist()) == {0, 1, 2}
    shares = torch.softmax(o[0, 5:8], 0)
    for p in (0, 2, 3, 4, 6):
        at = p if p < 6 else 9
        z = (drawn[:, p].mean() - expected[at]) / (drawn[:, p].std() / n**0.5)
        assert abs(z) < 4.5, (p, z)
    z = ((drawn[:, 5] == 1).double().mean() - shares[1]) / (shares[1] * (1 - shares[1]) / n) ** 0.5
    assert abs(z) < 4.5
    # Student's t has no mean here: its median
    assert abs((drawn[:, 1] > o[0, 1]).double().mean() - 0.5) < 4.5 * 0.5 / n**0.5
    # the test has power: a shift of 5 % of a deviation would be seen
    assert 0.05 * n**0.5 > 2 * 4.5


def test_the_input_layer_says_what_is_missing():
    layer = ColumnInput([ColumnSpec("real"), ColumnSpec("categorical", 2)])
    x = torch.tensor([[0.0, 1.0], [NAN, 1.0]])
    there, missing = layer(x)
    assert layer.n_out == 5
    assert there.tolist() == [0, 0, 1, 0, 0]
    assert missing.tolist() == [0, 0, 1, 1, 0]


def test_a_model_of_columns_starts_at_their_shares():
    text = "mixed:real,categorical:3"
    model = DiscreteVAE(
        ModelConfig(n_features=2, latent="bernoulli:2", likelihood=text, hidden=(4,))
    )
    model.start_at(torch.tensor([0.5, 0.7, 0.3, 0.0]))
    with torch.no_grad():
        model.decoder[-1].weight.zero_()
        expected = model.likelihood.expected(model.output(torch.zeros(1, 2)))
    assert torch.allclose(expected, torch.tensor([[0.5, 0.7, 0.3, 0.0]]), atol=2e-4)


def test_what_cannot_be_a_table_is_refused():
    with pytest.raises(ConfigError, match="needs the kinds of the columns"):
        likelihood_named("mixed")
    for text, reason in (
        ("mixed:reall", "Did you mean real"),
        ("mixed:categorical", "does not have 1 levels"),
        ("mixed:real:3", "does not have 3 levels"),
        ("mixed:real*0", "number of columns"),
        ("mixed:categorical:99999", "from 1 to 10,001"),
    ):
        with pytest.raises(ConfigError, match=reason):
            LikelihoodSpec.of(text)
    with pytest.raises(ConfigError, match="has 3 columns, but rows have 2"):
        ModelConfig(n_features=2, likelihood="mixed:real*3")
    with pytest.raises(ConfigError, match="is for tables"):
        ModelConfig(
            n_features=784, network="cnn", image_shape=(28, 28), likelihood="mixed:real*784"
        )
