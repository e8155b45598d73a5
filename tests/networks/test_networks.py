"""The one-node MLP against plain layers; the model's split gradient against autograd."""

import copy

import pytest
import torch
from torch import nn

from discretevae.config import ModelConfig
from discretevae.families import Bernoulli
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.mlp import MLP
from discretevae.priors import FactorizedPrior


def plain(net):
    """The same weights in torch's own layers."""
    layers = []
    for weight, bias in net.layers():
        layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
        layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("sizes", [[3, 4], [3, 5, 2], [3, 5, 4, 2]], ids=str)
def test_values_and_gradients_equal_plain_layers(sizes):
    net = MLP(sizes, generator=torch.Generator().manual_seed(0)).double()
    reference = plain(net)
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    (net(ours).square().sum()).backward()
    (reference(theirs).square().sum()).backward()
    assert torch.allclose(net(x), reference(x), atol=1e-12)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)
    theirs = torch.cat([parameter.grad.flatten() for parameter in reference.parameters()])
    assert torch.allclose(net.theta.grad, theirs, atol=1e-12)


def test_gradients_of_second_order():
    net = MLP([3, 6, 2], generator=torch.Generator().manual_seed(0)).double()
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x.requires_grad_()
    assert torch.autograd.gradcheck(net, (x,))
    assert torch.autograd.gradgradcheck(net, (x,))
    (grad,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(grad.square().sum(), net.theta)
    (reference_grad,) = torch.autograd.grad(plain(net)(x).square().sum(), x)
    assert torch.allclose(grad, reference_grad, atol=1e-12)
    assert second.abs().sum() > 0


def test_backward_may_run_twice():
    net = MLP([3, 6, 2], generator=torch.Generator().manual_seed(0))
    loss = net(torch.ones(2, 3)).square().sum()
    parameters = list(net.parameters())
    first = [g.clone() for g in torch.autograd.grad(loss, parameters, retain_graph=True)]
    second = torch.autograd.grad(loss, parameters)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_frozen_lets_no_gradient_reach_the_parameters():
    net = MLP([3, 6, 2], generator=torch.Generator().manual_seed(0))
    x = torch.ones(2, 3, requires_grad=True)
    net(x, frozen=True).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in net.parameters())


def test_initial_weights_are_torch_s_own_law_from_the_given_generator():
    before = torch.random.get_rng_state()
    a = MLP([400, 300], generator=torch.Generator().manual_seed(3))
    b = MLP([400, 300], generator=torch.Generator().manual_seed(3))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(a.theta, b.theta)
    weight, _ = a.layers()[0]
    assert weight.abs().max() <= 1 / 20
    # uniform on (−b, b): variance b²/3; its relative error is √(4/5)/√120,000 = 0.26 %, 5 of them
    assert weight.var().item() == pytest.approx(1 / 1200, rel=0.013)


def model_and_rows(likelihood="bernoulli"):
    config = ModelConfig(n_features=6, latent="bernoulli:3", hidden=(5,), likelihood=likelihood)
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0)).double()
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = torch.randint(0, 2, (2, 4, 3), generator=torch.Generator().manual_seed(2)).double()
    return model, x, z


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("weights", ["alike", "different"])
def test_one_pass_gives_the_gradients_of_two(likelihood, weights):
    model, x, z = model_and_rows(likelihood)
    reference = copy.deepcopy(model)
    weight = torch.full((2, 4), -0.125).double()
    if weights == "different":
        weight = torch.linspace(-1, 1, 8).reshape(2, 4).double()
    value, grad = model.log_likelihood(x).value_and_grad(z)
    (weight * value).sum().backward()

    leaf = z.clone().requires_grad_()
    expected = reference.log_likelihood(x)(leaf)
    (expected_grad,) = torch.autograd.grad(expected.sum(), leaf, retain_graph=True)
    (weight * expected).sum().backward()
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(grad, expected_grad, atol=1e-12)
    pairs = zip(model.decoder.parameters(), reference.decoder.parameters(), strict=True)
    for ours, theirs in pairs:
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


def test_one_pass_costs_one_backward_through_the_decoder(monkeypatch):
    from discretevae.networks import mlp as networks

    model, x, z = model_and_rows()
    calls = []
    original = networks._MLPFunction.backward

    def counted(ctx, grad):
        calls.append(grad.shape)
        return original(ctx, grad)

    monkeypatch.setattr(networks._MLPFunction, "backward", staticmethod(counted))
    value, _ = model.log_likelihood(x).value_and_grad(z)
    value.mean().backward()
    assert len(calls) == 1


def test_frozen_likelihood_reaches_z_but_not_the_decoder():
    model, x, z = model_and_rows()
    leaf = z.clone().requires_grad_()
    model.log_likelihood(x).frozen()(leaf).sum().backward()
    assert leaf.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    value, grad = model.log_likelihood(x).frozen().value_and_grad(z)
    assert torch.allclose(grad, leaf.grad)
    assert not value.requires_grad


def test_model_shapes_and_modes():
    for latent, width, dtype in (
        ("bernoulli:3", 3, torch.uint8),
        ("categorical:5", 1, torch.int64),
        ("categorical:4x3", 4, torch.int64),
        ("gaussian:2", 2, torch.float32),
    ):
        config = ModelConfig(n_features=6, latent=latent, hidden=(7, 5))
        model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        codes = model.encode(torch.rand(4, 6))
        assert (codes.dtype, codes.shape) == (dtype, (4, width))
        assert model.decode(codes).shape == model.reconstruct(torch.rand(4, 6)).shape == (4, 6)
        assert model.sample(9, generator=torch.Generator().manual_seed(0)).shape == (9, 6)


def test_learned_prior_starts_at_the_fixed_one_and_learns():
    family = Bernoulli(3)
    prior = FactorizedPrior(family, learned=True)
    eta = torch.full((4, 3), 1.5)
    assert torch.equal(prior.kl(eta), FactorizedPrior(family).kl(eta))
    prior.kl(eta).sum().backward()
    # ∂KL/∂p's logits = p − q, summed over rows
    assert torch.allclose(prior.raw.grad, 4 * (0.5 - torch.sigmoid(eta[0])))
    assert not list(FactorizedPrior(family).parameters())
