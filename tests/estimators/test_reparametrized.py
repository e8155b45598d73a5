"""The Gaussian estimator that the paper starts from: closed form, replay, option, kinds."""

import pytest
import torch

from discretevae.estimators import Reparametrized
from discretevae.estimators.contract import z_test
from discretevae.families import Gaussian


class Square:
    """f(z) = Σ_d z_d², whose mean under q is μ² + σ²."""

    def __call__(self, z):
        return z.square().sum(-1)


def natural(rows):
    """μ = (0.8, −1.1), ln σ² = (−0.4, 0.6) in natural parameters, ``[rows, 2, 2]``."""
    raw = torch.tensor([[0.8, -0.4, -1.1, 0.6]], dtype=torch.float64)
    return Gaussian(2).natural_parameters(raw).repeat(rows, 1, 1).requires_grad_()


@pytest.mark.parametrize("samples", [1, 3])
def test_unbiased_against_the_closed_form(samples):
    """False-alarm rate 1e-5; a bias of a twentieth of the largest coordinate would be seen."""
    etas, n = natural(100_000), 100_000
    generator = torch.Generator().manual_seed(0)
    estimate = Reparametrized(samples=samples)(Gaussian(2), etas, Square(), generator=generator)
    assert torch.equal(estimate.value, estimate.surrogate.detach())
    (grad,) = torch.autograd.grad(estimate.surrogate.sum(), etas)
    truth = natural(1)
    moment = Gaussian(2).mean(truth)[..., 1].sum(1)
    (exact,) = torch.autograd.grad(moment.sum(), truth)
    found = torch.cat((estimate.value.unsqueeze(1), grad.reshape(n, -1)), 1)
    test = z_test(found, torch.cat((moment.detach().unsqueeze(1), exact.flatten(1)), 1))
    assert test.passed
    assert test.detectable < 0.05


def test_replayed_by_hand():
    etas = natural(4)
    estimate = Reparametrized(samples=2)(
        Gaussian(2), etas, Square(), generator=torch.Generator().manual_seed(3)
    )
    noise = torch.randn((2, 4, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    mu, var = Gaussian(2).moments(natural(4).detach())
    assert torch.allclose(
        estimate.value, (mu + var.sqrt() * noise).square().sum(-1).mean(0), atol=1e-12
    )


def test_its_facts_and_its_option():
    estimator = Reparametrized(samples=4)
    assert estimator.is_unbiased
    assert (estimator.evaluations, estimator.kinds) == (4, ("gaussian",))
