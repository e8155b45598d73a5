"""What may see what: derivatives of the masked network, against those that must be zero."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from discretevae.config.activations import Activation
from discretevae.families import Bernoulli, Categorical, Gaussian, Product
from discretevae.priors import AutoregressivePrior, discrete_widths
from discretevae.priors.masked import MaskedLinear, MaskedNetwork

WIDTHS = [(1,) * 6, (3, 3, 3), (1, 3, 1, 2), (1,), (4,)]
HIDDEN = [(), (3,), (32,), (32, 48), (2, 2, 2)]


def network(widths, hidden, activation="tanh"):
    generator = torch.Generator().manual_seed(0)
    net = MaskedNetwork(
        widths, hidden=hidden, activation=Activation(activation, 0.2), generator=generator
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(generator=generator)
    return net.double()


def derivatives(net, widths):
    """Largest |∂ logits of d / ∂ columns of j| over rows, ``[D, D]``."""
    z = torch.rand(
        (20, sum(widths)), generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: net(row.unsqueeze(0))[0]))(z)
    size = jacobian.abs().amax(0)
    rows = torch.stack([part.amax(0) for part in size.split(list(widths), 0)])
    return torch.stack([part.amax(1) for part in rows.split(list(widths), 1)], 1)


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_a_variable_sees_those_before_it_and_nothing_else(widths, hidden):
    seen = derivatives(network(widths, hidden), widths)
    allowed = torch.ones_like(seen).tril(-1).bool()
    assert bool((seen[~allowed] == 0).all())
    assert bool((seen[allowed] > 1e-3).all())


@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky-relu"])
def test_hidden_units_alone_carry_every_dependence(activation):
    """Without the direct connections, so that a mistake in the hidden masks cannot hide."""
    widths = (1, 3, 1, 2)
    net = network(widths, (64, 64), activation)
    with torch.no_grad():
        net.direct.weight.zero_()
    seen = derivatives(net, widths)
    allowed = torch.ones_like(seen).tril(-1).bool()
    assert bool((seen[~allowed] == 0).all())
    assert bool((seen[allowed] > 1e-3).all())


@pytest.mark.parametrize("layer", ["direct", "output", 0, 1])
def test_a_mask_that_lets_through_too_much_would_be_seen(layer):
    widths = (1, 3, 1, 2)
    net = network(widths, (32, 32))
    broken = getattr(net, layer) if isinstance(layer, str) else net.hidden[::2][layer]
    # one degree too few on the side of the inputs: a variable sees itself
    broken.before = tuple(degree - 1 for degree in broken.before)
    seen = derivatives(net, widths)
    assert bool((seen.diagonal()[1:] > 0).any())


def test_no_gradient_reaches_a_connection_that_does_not_exist():
    net = network((1, 2, 1), (8,))
    net(torch.rand(5, 4, dtype=torch.float64)).square().sum().backward()
    for layer in net.modules():
        if isinstance(layer, MaskedLinear):
            assert bool((layer.weight.grad[layer.mask() == 0] == 0).all())
            assert bool((layer.weight.grad[layer.mask() == 1] != 0).any())


def test_the_first_variable_has_a_bias_and_nothing_more():
    net = network((3, 1), (8,))
    z = torch.rand(6, 4, dtype=torch.float64)
    torch.testing.assert_close(net(z)[:, :3], net.direct.bias[:3].expand(6, 3))


def test_widths_follow_the_columns_of_a_flat_code():
    mixed = Product((Categorical(2, 3), Gaussian(4), Bernoulli(2)))
    assert discrete_widths(mixed) == (3, 3, 1, 1)
    assert discrete_widths(Categorical(1, 4)) == (4,)


def test_log_probabilities_are_those_of_one_conditional_after_the_other():
    """Against a loop that knows nothing of masks: each variable's logits with the rest unknown."""
    family = Product((Bernoulli(2), Categorical(2, 3), Bernoulli(1)))
    prior = AutoregressivePrior(family, hidden=(16,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    prior.double()
    for z in family.enumerate().double()[::7]:
        total, start = 0.0, 0
        for width in (1, 1, 3, 3, 1):
            known = torch.full_like(z, 99.0)
            known[:start] = z[:start]
            logits = prior.network(known.unsqueeze(0))[0, start : start + width]
            part = z[start : start + width]
            if width == 1:
                total += F.logsigmoid((2 * part - 1) * logits).item()
            else:
                total += torch.log_softmax(logits, 0)[part.argmax()].item()
            start += width
        assert abs(prior.log_prob(z).item() - total) < 1e-9


def test_real_columns_are_standard_normal_wherever_they_stand():
    family = Product((Gaussian(1), Bernoulli(2), Gaussian(2)))
    prior = AutoregressivePrior(family, hidden=(), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prior.network.direct.bias.copy_(torch.tensor([0.2, -0.2]))
    z = prior.sample(40_000, generator=torch.Generator().manual_seed(0), temperature=0.25)
    real, bits = z[:, [0, 3, 4]], z[:, 1:3]
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    # T = 0.25 halves σ; 5.5 standard errors each: together a false alarm in a million
    assert (real.mean(0).abs() < 5.5 * 0.5 / 200).all()
    assert ((real.var(0) / 0.25 - 1).abs() < 5.5 * 2**0.5 / 200).all()
    assert ((torch.corrcoef(z.T) - torch.eye(5)).abs() < 5.5 / 200).all()
    # power: 3 % more of σ, or a mean of 0.02, would have been seen
    hot = real * 1.03 + 0.02
    assert ((hot.var(0) / 0.25 - 1).abs() > 5.5 * 2**0.5 / 200).all()
    assert (hot.mean(0).abs() > 5.5 * 0.5 / 200).any()


def test_no_hidden_unit_is_wasted():
    """Each of them sees some variable, and some variable sees it."""
    net = network((1, 3, 1, 2), (30, 20))
    layers = net.hidden[::2]
    for layer in layers:
        assert bool((layer.mask().sum(1) > 0).all())
    assert bool((layers[1].mask().sum(0) > 0).all())
    assert bool((net.output.mask().sum(0) > 0).all())
