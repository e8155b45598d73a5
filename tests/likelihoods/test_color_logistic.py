"""The mixture of logistics whose colors depend on each other, against sums over all colors."""

from __future__ import annotations

import itertools

import pytest
import torch

from discretevae import ConfigError, ModelConfig
from discretevae.config import LikelihoodSpec
from discretevae.likelihoods import ColorLogisticLikelihood, LogisticLikelihood, likelihood_named
from discretevae.model.vae import DiscreteVAE


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def output_of(likelihood, n_pixels, *lead, seed=0):
    shape = (*lead, likelihood.n_outputs(n_pixels * likelihood.n_colors))
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("m", [1, 3])
def test_it_sums_to_one_over_all_colors_of_a_pixel(m):
    likelihood = ColorLogisticLikelihood(m, 2)
    x = torch.cartesian_prod(*[torch.arange(256, dtype=torch.float64) / 255] * 2)
    p = likelihood.log_prob(output_of(likelihood, 1).expand(len(x), -1), x).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-9)


def test_it_is_the_formula_that_its_words_say():
    m, c = 2, 3
    likelihood = ColorLogisticLikelihood(m, c)
    output = output_of(likelihood, 1)
    logits, mu, raw, *slopes = output.reshape(c + 2, m, c)
    x = torch.tensor([0.0, 51 / 255, 1.0], dtype=torch.float64)
    single, total = LogisticLikelihood(), torch.zeros((), dtype=torch.float64)
    for k, weight in enumerate(logits.sum(-1).softmax(0)):
        log_p = weight.log()
        for color in range(c):
            center = mu[k, color]
            for j in range(color):
                center = center + slopes[j][k, color].tanh() * (x[j] - 0.5)
            parameters = torch.stack((center, raw[k, color]))
            log_p = log_p + single.log_prob(parameters, x[color : color + 1])
        total = total + log_p.exp()
    assert torch.allclose(likelihood.log_prob(output, x), total.log(), atol=1e-9)


def test_pixels_are_independent_and_states_have_a_table():
    likelihood = ColorLogisticLikelihood(2, 3)
    output = output_of(likelihood, 4, 5).requires_grad_()
    x = torch.randint(0, 256, (6, 12), generator=seeded(1)).double() / 255
    table = likelihood.table(output, x)
    for n, b in itertools.product(range(5), range(6)):
        assert torch.allclose(table[b, n], likelihood.log_prob(output[n], x[b]), atol=1e-9)
    table.sum().backward()
    assert bool(output.grad.isfinite().all())
    planes = output.detach().reshape(5, 10, 4, 3)
    x = x[:5]
    each = [
        likelihood.log_prob(planes[:, :, i].flatten(1), x.reshape(5, 4, 3)[:, i]) for i in range(4)
    ]
    assert torch.allclose(likelihood.log_prob(output.detach(), x), sum(each), atol=1e-9)


def test_draws_have_its_means_and_its_dependence():
    """Five standard errors: false alarms below 1e-5 for all of them."""
    likelihood, n = ColorLogisticLikelihood(1, 2), 20_000
    planes = torch.tensor([[0.0, 0.0], [0.5, 0.5], [-3.5, -4.5], [0.0, 3.0]]).double()
    output = planes.flatten().expand(n, -1)
    x = likelihood.sample(output, generator=seeded(3))
    assert torch.equal((255 * x).round() / 255, x)
    error = 5 * x.std(0) / n**0.5
    assert bool(((x.mean(0) - likelihood.mean(output[0])).abs() < error + 1e-4).all())
    assert float(torch.corrcoef(x.T)[0, 1]) > 0.8


@pytest.mark.parametrize("m", [1, 5])
def test_an_output_has_the_mean_it_was_made_for(m):
    likelihood, mean = ColorLogisticLikelihood(m, 3), torch.tensor([0.2, 0.5, 0.9]).double()
    output = likelihood.output_for(mean)
    assert output.shape == (likelihood.n_outputs(3),)
    assert torch.allclose(likelihood.mean(output), mean, atol=1e-6)


def test_it_is_chosen_by_its_spelling_and_for_colors_only():
    assert str(LikelihoodSpec.of("color-logistic:3")) == "color-logistic:3"
    assert likelihood_named("color-logistic:5", 12).n_outputs(12) == 5 * 5 * 12
    config = ModelConfig(n_features=90, likelihood="color-logistic:2", image_shape=(6, 5, 3))
    model = DiscreteVAE(config, generator=seeded())
    assert model.decode(torch.zeros(2, 50, dtype=torch.uint8)).shape == (2, 90)
    for shape in (None, (9, 10)):
        with pytest.raises(ConfigError, match="color-logistic:2 is for pictures in color"):
            ModelConfig(n_features=90, likelihood="color-logistic:2", image_shape=shape)
