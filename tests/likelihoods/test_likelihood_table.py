"""Every likelihood against what must hold for all of them."""

import pytest
import torch
from members import BYTES, TEXTS, made, masses, outputs, rows, support
from scipy.stats import chi2

from discretevae.config import LikelihoodSpec

LEARNED = {"gaussian:learned": "log_scale", "negative-binomial": "log_concentration"}

FALSE_ALARM = 1e-7  # of each of the 10 × 2 tests of samples, under a seed that is fixed anyway


@pytest.fixture(autouse=True)
def _global_random_state_is_untouched():
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("text", TEXTS)
def test_members_say_what_they_are(text):
    likelihood = made(text, 6)
    assert str(likelihood.spec) == str(LikelihoodSpec.of(text)) == text
    assert likelihood.n_outputs(6) == 6 * likelihood.channels
    counts = ("poisson", "negative-binomial")
    kinds = dict.fromkeys(BYTES, "bytes") | dict.fromkeys(counts, "counts")
    other = "real" if "gaussian" in text else "unit interval"
    assert likelihood.support == kinds.get(text, other)
    assert likelihood.needs_unit_interval == (likelihood.support not in ("real", "counts"))
    assert likelihood.is_probability == (text in ("bernoulli", *BYTES, *counts))
    assert isinstance(likelihood, torch.nn.Module) == (text in LEARNED)


@pytest.mark.parametrize("text", TEXTS)
def test_only_bernoulli_of_grey_values_is_a_surrogate(text):
    likelihood = made(text, 2)
    assert not likelihood.is_surrogate_for(torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    grey = torch.tensor([[0.0, 1.0], [0.2, 1.0]])
    assert likelihood.is_surrogate_for(grey) == (text == "bernoulli")


@pytest.mark.parametrize("text", TEXTS)
def test_p_adds_up_to_one_and_its_mean_is_mean(text):
    likelihood = made(text, 1)
    for output in outputs(likelihood, 1, (12,)):
        x, p = masses(likelihood, output)
        assert abs(p.sum().item() - 1) < 1e-9
        assert abs((p @ x - likelihood.mean(output)).item()) < 1e-9


@pytest.mark.parametrize("text", TEXTS)
def test_log_prob_is_a_sum_over_features_laid_out_channel_by_channel(text):
    likelihood = made(text, 3)
    output, x = outputs(likelihood, 3, (2, 4)), rows(likelihood, (4, 3))
    whole = likelihood.log_prob(output, x)
    assert whole.shape == (2, 4)
    by_channel = output.reshape(2, 4, likelihood.channels, 3)
    parts = []
    for p in range(3):
        single = made(text, 1)
        if name := LEARNED.get(text):
            getattr(single, name).data = getattr(likelihood, name).data[p : p + 1]
        parts.append(single.log_prob(by_channel[..., p], x[:, p : p + 1]))
    assert torch.allclose(whole, sum(parts), atol=1e-10)


@pytest.mark.parametrize("text", TEXTS)
def test_gradients_are_those_of_the_values_to_any_order(text):
    likelihood = made(text, 2)
    output, x = outputs(likelihood, 2, (1, 2)), rows(likelihood, (2, 2))
    output[0, 0] = 0  # where series and absolute values meet
    parameters = () if text not in LEARNED else tuple(likelihood.parameters())
    inputs = (output.requires_grad_(), *parameters)

    def value(output, *_):
        return likelihood.log_prob(output, x)

    with torch.random.fork_rng():  # both draw directions
        assert torch.autograd.gradcheck(value, inputs)
        assert torch.autograd.gradgradcheck(value, inputs)


@pytest.mark.parametrize("text", TEXTS)
def test_backward_can_run_twice(text):
    likelihood = made(text, 3)
    output = outputs(likelihood, 3, (2, 4)).requires_grad_()
    value = likelihood.log_prob(output, rows(likelihood, (4, 3))).sum()
    first = torch.autograd.grad(value, output, retain_graph=True)[0].clone()
    assert torch.allclose(torch.autograd.grad(value, output)[0], first, atol=1e-10)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("piece", [1 << 22, 256 * 5 * 2])
def test_table_equals_one_row_and_state_at_a_time(text, piece, monkeypatch):
    monkeypatch.setattr("discretevae.likelihoods.eight_bit.PIECE", piece)
    likelihood = made(text, 6)
    output, x = outputs(likelihood, 6, (5,)), rows(likelihood, (4, 6))
    output[0] = 0
    leaves = (output.requires_grad_(), *getattr(likelihood, "parameters", tuple)())
    table = likelihood.table(output, x)
    single = torch.stack([likelihood.log_prob(o.expand(1, 4, -1), x)[0] for o in output], 1)
    assert table.shape == (4, 5)
    assert torch.allclose(table, single, atol=1e-9)
    weight = torch.linspace(-1, 2, 20, dtype=torch.float64).reshape(4, 5)
    ours = torch.autograd.grad(table, leaves, weight)
    theirs = torch.autograd.grad(single, leaves, weight)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-8)
    with torch.no_grad():
        assert torch.equal(likelihood.table(output, x), table)


@pytest.mark.parametrize("text", TEXTS)
def test_float32_agrees_with_float64(text):
    """To 3e-6 of the value, or of the size of the logits."""
    likelihood = made(text, 50)
    output, x = outputs(likelihood, 50, (8,)), rows(likelihood, (8, 50))
    exact = likelihood.log_prob(output, x)
    exact_table = likelihood.table(output, x)
    narrow = made(text, 50, torch.float32)
    assert narrow.log_prob(output.float(), x.float()).dtype == torch.float32
    for ours, theirs in (
        (narrow.log_prob(output.float(), x.float()), exact),
        (narrow.table(output.float(), x.float()), exact_table),
    ):
        assert ((ours.double() - theirs).abs() <= 3e-6 * (50 + theirs.abs())).all()


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [40.0, 1000.0])
def test_large_outputs_stay_finite(text, size):
    """Every sign of every channel, every end of x; values, tables, means and gradients."""
    likelihood = made(text, 4, torch.float32)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * min(likelihood.channels, 3))
    signs = signs.reshape(len(signs), -1)
    repeats = likelihood.channels // signs.shape[1]
    channels = (size * signs).repeat_interleave(repeats, 1)
    output = channels.repeat_interleave(4, 1).requires_grad_()
    x = torch.tensor([[0.0, 1 / 255, 128 / 255, 1.0]])
    value, table = likelihood.log_prob(output, x), likelihood.table(output, x)
    assert torch.isfinite(value).all()
    assert torch.isfinite(table).all()
    assert torch.allclose(table[0], value, rtol=1e-4, atol=1e-2)
    for result in (value, table):
        (gradient,) = torch.autograd.grad(result.sum(), output, retain_graph=True)
        assert torch.isfinite(gradient).all()
    mean = likelihood.mean(output)
    assert torch.isfinite(mean).all()
    assert likelihood.support == "real" or mean.min() >= 0
    assert not likelihood.needs_unit_interval or mean.max() <= 1 + 1e-6


@pytest.mark.parametrize("text", TEXTS)
def test_output_for_gives_the_mean_that_was_asked_for(text):
    likelihood = made(text, 5, torch.float32)
    wanted = torch.tensor([0.02, 0.3, 0.5, 0.9, 0.98])
    output = likelihood.output_for(wanted)
    assert output.shape == (likelihood.n_outputs(5),)
    assert output.dtype == torch.float32
    assert torch.allclose(likelihood.mean(output), wanted, atol=1e-5)
    ends = likelihood.output_for(torch.tensor([0.0, 1.0, 0.5, 0.0, 1.0]))
    assert torch.isfinite(ends).all()
    near = likelihood.mean(ends) - torch.tensor([0.0, 1.0, 0.5, 0.0, 1.0])
    assert near.abs().max() < 0.011


def chi_square(x, edges, expected):
    """The p-value of draws in bins of these probabilities; rare ones are put together."""
    observed = torch.histogram(x, edges).hist
    fine = expected * len(x) >= 10
    observed = torch.cat((observed[fine], (len(x) - observed[fine].sum()).reshape(1)))
    expected = torch.cat((expected[fine], (1 - expected[fine].sum()).clamp(1e-9).reshape(1)))
    expected = expected * len(x)
    statistic = ((observed - expected).square() / expected)[expected > 1].sum()
    return chi2.sf(statistic.item(), max(1, int((expected > 1).sum()) - 1))


def binned(likelihood, output):
    """Edges of at most 256 bins and their probabilities."""
    x, p = masses(likelihood, output)
    if likelihood.support in ("bytes", "counts") or likelihood.spec.kind == "bernoulli":
        middle = (x[1:] + x[:-1]) / 2
        return torch.cat((middle.new_tensor([-1]), middle, x[-1:] + 1)), p
    n = len(x) // 20  # whole pieces of the quadrature
    low, high = (0, 1) if likelihood.support == "unit interval" else (-40, 40)
    return torch.linspace(low, high, n + 1, dtype=torch.float64), p.reshape(n, 20).sum(1)


@pytest.mark.parametrize("text", TEXTS)
def test_samples_follow_p(text):
    likelihood = made(text, 1)
    n = 5_000
    for seed in (3, 4):
        output = outputs(likelihood, 1, scale=0.5, seed=seed)
        if text.startswith("logistic"):
            output[-likelihood.channels // 3 :] -= 2  # narrow enough to be seen to move
        generator = torch.Generator().manual_seed(seed)
        x = likelihood.sample(output.expand(n, -1), generator=generator)
        assert x.shape == (n, 1)
        assert not x.requires_grad
        assert chi_square(x.flatten(), *binned(likelihood, output)) > FALSE_ALARM
        # and they would not pass for draws from another one near by
        other = output.clone()
        other[likelihood.channels // 3] += 1.0  # a logit or x̂; the first μ of several components
        assert chi_square(x.flatten(), *binned(likelihood, other)) < FALSE_ALARM


@pytest.mark.parametrize("text", TEXTS)
def test_samples_lie_where_x_may(text):
    likelihood = made(text, 4, torch.float32)
    output = outputs(likelihood, 4, (2, 3), torch.float32)
    x = likelihood.sample(output, generator=torch.Generator().manual_seed(0))
    again = likelihood.sample(output, generator=torch.Generator().manual_seed(0))
    assert torch.equal(x, again)
    assert x.shape == (2, 3, 4)
    assert x.dtype == torch.float32
    if likelihood.support == "bytes":
        assert (x.flatten()[:, None] == support(likelihood)[0].float()).any(1).all()
    elif likelihood.support == "unit interval":
        assert x.min() >= 0
        assert x.max() <= 1
    if text == "bernoulli":
        assert set(x.flatten().tolist()) <= {0.0, 1.0}
