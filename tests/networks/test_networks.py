"""Networks of plain layers, their initial weights, and the model's split gradient."""

import copy

import pytest
import torch
from torch import nn

from discretevae.config import INITS, ModelConfig
from discretevae.config.activations import Activation
from discretevae.families import Bernoulli
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.convolutional import ConvDecoder, ConvEncoder
from discretevae.networks.freezing import frozen
from discretevae.networks.layers import initialize, output_bias
from discretevae.networks.mlp import MLP
from discretevae.priors import FactorizedPrior, make_prior
from discretevae.run_folder.saved_run import load_run


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("activation", Activation.constructors())
def test_gradients_of_both_orders_are_right(activation):
    net = MLP([3, 6, 5, 2], activation=Activation.of(activation), generator=seeded()).double()
    x = torch.randn(2, 3, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,))
    assert torch.autograd.gradgradcheck(net, (x,))


def test_some_of_the_layers_are_a_network_too():
    net = MLP([3, 6, 2], generator=seeded())
    assert net[:2](torch.ones(2, 3)).shape == (2, 6)
    assert net[-1].out_features == 2


def test_frozen_lets_no_gradient_reach_the_parameters():
    net = MLP([3, 6, 2], generator=seeded())
    net[0].bias.requires_grad_(False)  # by the user, and so it stays
    x = torch.ones(2, 3, requires_grad=True)
    with frozen(net, None):
        output = net(x)
    assert torch.equal(output, net(x))
    output.sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in net.parameters())
    assert [p.requires_grad for p in net.parameters()] == [True, False, True, True]
    with frozen(net, when=False):
        assert net[0].weight.requires_grad


def fans(layer):
    return nn.init._calculate_fan_in_and_fan_out(layer.weight)


BOUNDS = {
    "torch": lambda n_in, n_out: n_in**-0.5,
    "glorot": lambda n_in, n_out: (6 / (n_in + n_out)) ** 0.5,
    "he": lambda n_in, n_out: (6 / n_in) ** 0.5,
}
NETWORKS = {
    "mlp": lambda **how: MLP([400, 300, 20], **how),
    "encoder": lambda **how: ConvEncoder((28, 28), 50, **how),
    "decoder": lambda **how: ConvDecoder(50, (28, 28), **how),
    "prior": lambda **how: make_prior("autoregressive:99", Bernoulli(50), **how).network.hidden,
}


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("which", NETWORKS)
def test_initial_weights_follow_their_law_and_the_given_generator(which, init):
    before = torch.random.get_rng_state()
    a, b = (NETWORKS[which](init=init, generator=seeded(3)) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(v, b.state_dict()[name]) for name, v in a.state_dict().items())
    for layer in [layer for layer in a.modules() if hasattr(layer, "weight")]:
        bound, n = BOUNDS[init](*fans(layer)), layer.weight.numel()
        assert layer.weight.abs().max() <= bound
        # uniform on (−b, b): variance b²/3, of relative error √(4/5/n); 5 of them, false alarms
        # in 10⁻⁵ of seeds, and this one is fixed
        assert layer.weight.var().item() == pytest.approx(bound**2 / 3, rel=5 * (0.8 / n) ** 0.5)
        assert layer.bias.abs().max() <= (bound if init == "torch" else 0)
        assert init != "torch" or layer.bias.abs().max() > bound / 2


def test_torch_s_own_layers_have_the_same_law():
    """Power: what the law test takes for torch's own bounds is what torch draws from."""
    for layer in (nn.Linear(400, 300), nn.Conv2d(32, 64, 3), nn.ConvTranspose2d(64, 32, 3)):
        bound = BOUNDS["torch"](*fans(layer))
        assert 0.99 * bound < layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() <= bound


def test_the_model_draws_all_of_its_networks_as_it_is_told():
    for network in ("mlp", "cnn"):
        config = ModelConfig(
            n_features=64, latent="bernoulli:8", network=network, image_shape=(8, 8), init="he",
            prior="autoregressive:6",
        )  # fmt: skip
        model = DiscreteVAE(config, generator=seeded())
        biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
        assert len(biases) >= 6
        assert not any(bias.any() for bias in biases)


def test_a_network_on_the_meta_device_takes_no_memory():
    with torch.device("meta"):
        net = MLP([10**6, 10**6, 3])
    assert net[0].weight.is_meta
    with torch.device("meta"):
        layer = nn.Linear(3, 2, bias=False)
    initialize(layer, "glorot", seeded())
    assert layer.weight.device.type == "cpu"
    assert layer.bias is None


def test_the_bias_of_the_last_layer_is_found_where_there_is_one():
    last = nn.Linear(3, 2)
    for network in (last, nn.Sequential(nn.Tanh(), nn.Sequential(last, nn.Flatten()))):
        assert output_bias(network) is last.bias
    for network in (nn.Sequential(last, nn.Tanh()), nn.Sequential(), nn.Linear(3, 2, bias=False)):
        assert output_bias(network) is None
    assert output_bias(ConvDecoder(3, (4, 4), n_channels=2)).shape == (2,)


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


def test_one_pass_costs_one_backward_through_the_decoder(passes):
    model, x, z = model_and_rows()
    calls = passes(model.decoder)
    value, _ = model.log_likelihood(x).value_and_grad(z)
    value.mean().backward()
    assert calls == {"forward": 1, "backward": 1}


@pytest.mark.parametrize("weights", ["alike", "different"])
def test_weights_that_are_excluded_from_training_or_unused_get_no_gradient(weights):
    model, x, z = model_and_rows()
    model.decoder[0].weight.requires_grad_(False)
    model.decoder.unused = nn.Linear(2, 3)
    model.decoder.forward = model.decoder[:3].forward
    weight = torch.ones(2, 4) if weights == "alike" else torch.arange(8.0).reshape(2, 4)
    value, _ = model.log_likelihood(x).value_and_grad(z)
    (weight * value).sum().backward()
    for name, parameter in model.decoder.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.any())
        assert has_gradient == (name in ("0.bias", "2.weight", "2.bias")), name


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


def test_the_command_line_draws_weights_as_it_is_told(cli, tmp_path):
    small = ("--latent", "bernoulli:3", "--hidden", "4", "--epochs", "1", "--lr", "1e-9")
    assert cli("train", *small, "--init", "glorot", "--out", tmp_path / "run").status == 0
    run = load_run(tmp_path / "run")
    assert run.config.model.init == "glorot"
    assert run.model.encoder[0].bias.abs().max() < 1e-4  # zero, but for the steps taken
    said = cli("train", *small, "--init", "xavier", "--out", tmp_path / "other")
    assert said.status == 2
    assert "torch, glorot, he" in said.err.replace("'", "")
