"""Objectives against enumeration: values, both networks' gradients, pairs that make no sense."""

import copy
import itertools

import pytest
import torch

from discretevae.config import ModelConfig, RunConfig, TrainConfig
from discretevae.errors import ConfigError
from discretevae.estimators import (
    EMA,
    RLOO,
    VIMCO,
    DisARM,
    Exact,
    Importance,
    ReinMax,
    Reparametrized,
    STGumbel,
)
from discretevae.estimators.contract import ToyIntegrand, random_eta, z_test
from discretevae.families import Bernoulli, Categorical
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import (
    OBJECTIVES,
    check_pair,
    choose_estimator,
    elbo,
    marginal,
    multi_sample,
    wake_sleep,
)


def model_and_rows(latent="bernoulli:3", prior="factorized"):
    config = ModelConfig(n_features=5, latent=latent, hidden=(6,), prior=prior)
    model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0)).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.prior.parameters():  # none of them flat
        torch.nn.init.normal_(parameter, generator=generator)
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return model, x


def brute_force(model, x):
    """(ln p(x, z), ln q(z|x)) of every state, one state at a time: two ``[N, B]``."""
    states = model.family.enumerate().double()
    eta = model.eta(x)
    joint, log_q = [], []
    for state in states:
        z = state.expand(1, len(x), *state.shape)
        output = model.output(z)[0]
        log_px = (x * output - torch.nn.functional.softplus(output)).sum(1)
        joint.append(log_px + model.prior.log_prob(z)[0])
        log_q.append(model.family.log_prob(eta, z)[0])
    return torch.stack(joint), torch.stack(log_q)


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)


def same(ours, theirs):
    assert all(
        torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, theirs, strict=True) if b is not None
    )


@pytest.mark.parametrize("prior", ["factorized", "autoregressive:7"])
@pytest.mark.parametrize(
    "latent", ["bernoulli:3", "categorical:5", "categorical:2x3", "bernoulli:2+categorical:3"]
)
def test_elbo_with_exact_sums(latent, prior):
    model, x = model_and_rows(latent, prior)
    terms = elbo(model, x, Exact(), generator=None)
    joint, log_q = brute_force(model, x)
    expected = (log_q.exp() * (joint - log_q)).sum(0)
    assert torch.allclose(terms.elbo, expected, atol=1e-12)
    same(gradients(model, terms.loss), gradients(model, -expected.mean()))


@pytest.mark.parametrize("prior", ["factorized", "autoregressive:7"])
@pytest.mark.parametrize("latent", ["bernoulli:3", "categorical:5", "categorical:2x3"])
def test_marginal_trains_decoder_on_ln_px_and_encoder_on_the_posterior(latent, prior):
    model, x = model_and_rows(latent, prior)
    terms = marginal(model, x, Exact(), generator=None)
    joint, log_q = brute_force(model, x)
    log_px = torch.logsumexp(joint, 0)
    assert torch.allclose(terms.surrogate, log_px, atol=1e-12)
    assert torch.allclose(terms.elbo, (log_q.exp() * (joint - log_q)).sum(0), atol=1e-12)
    found = dict(zip(dict(model.named_parameters()), gradients(model, terms.loss), strict=True))
    likelihood = gradients(model, -log_px.mean())
    posterior = torch.softmax(joint.detach(), 0)
    kl = (posterior * (posterior.log() - log_q)).sum(0)
    to_posterior = gradients(model, kl.mean())
    for name, a, b in zip(found, likelihood, to_posterior, strict=True):
        expected = b if name.startswith("encoder") else a
        assert torch.allclose(found[name], expected, atol=1e-12), name


def test_marginal_gradient_of_the_encoder_vanishes_at_the_posterior():
    """If q is the exact posterior, the encoder's loss is at its minimum."""
    model, x = model_and_rows("categorical:5")
    log_joint = model.log_likelihood(x).table() + model.prior.log_prob_table()
    eta = log_joint.detach().unsqueeze(1).requires_grad_()
    model.eta = lambda rows: eta
    terms = marginal(model, x, Exact(), generator=None)
    (grad,) = torch.autograd.grad(terms.surrogate.sum(), eta)
    assert grad.abs().max() < 1e-12
    assert torch.allclose(terms.elbo, terms.surrogate, atol=1e-9)


@pytest.mark.parametrize("family", [Bernoulli(2), Categorical(1, 3)], ids=repr)
@pytest.mark.parametrize("k", [2, 3])
def test_vimco_is_unbiased_for_the_bound_of_k_samples(family, k):
    """All Nᵏ tuples enumerated; z-test at a false-alarm rate of 1e-5."""
    f, eta = ToyIntegrand.random(family, 16), random_eta(family, 16)
    truth_eta = eta.unsqueeze(0).requires_grad_()
    row = f.repeated(1)
    states = family.enumerate().double()
    table, log_q = row.table()[0], family.log_prob(truth_eta, states.unsqueeze(1))[:, 0]
    bound = torch.zeros(())
    for chosen in itertools.product(range(len(states)), repeat=k):
        index = torch.tensor(chosen)
        weight = table[index] - log_q[index]
        level = torch.logsumexp(weight, 0) - torch.tensor(float(k)).log()
        bound = bound + log_q[index].sum().exp() * level
    exact = torch.autograd.grad(bound, (truth_eta, *row.parameters))
    truth = torch.cat([bound.detach().reshape(1), *(g.flatten() for g in exact)]).unsqueeze(0)

    def estimated(member, n=60_000):
        etas = eta.repeat(n, *[1] * eta.ndim).requires_grad_()
        rows = f.repeated(n)
        generator = torch.Generator().manual_seed(0)
        estimate = member(family, etas, rows, generator=generator)
        grads = torch.autograd.grad(estimate.surrogate.sum(), (etas, *rows.parameters))
        return torch.cat([estimate.value.unsqueeze(1), *(g.flatten(1) for g in grads)], 1)

    test = z_test(estimated(VIMCO(samples=k)), truth)
    assert test.passed
    assert test.detectable < 0.05
    # power: a bound of another K is told apart
    assert not z_test(estimated(VIMCO(samples=k + 1)), truth).passed


def test_multi_sample_reports_the_elbo_beside_the_bound():
    model, x = model_and_rows()
    terms = multi_sample(
        model, x.repeat(5_000, 1), VIMCO(samples=4), generator=torch.Generator().manual_seed(0)
    )
    joint, log_q = brute_force(model, x)
    expected = (log_q.exp() * (joint - log_q)).sum(0)
    found = terms.elbo.reshape(5_000, 4)
    error = found.std(0) / 5_000**0.5
    # four z-tests, each at 5 standard errors
    assert bool(((found.mean(0) - expected).abs() < 5 * error).all())
    assert terms.surrogate.mean() > terms.elbo.mean()
    assert terms.diagnostics["ess"].max() <= 4 + 1e-9


@pytest.mark.parametrize("member", [RLOO(samples=4), DisARM(), ReinMax(), STGumbel()])
def test_sampled_elbo_with_a_learned_prior_is_centred_and_its_parts_add_up(member):
    """The value against enumeration, four z-tests at 5 standard errors each; and the prior's own
    gradient, which every member estimates without bias, coordinate by coordinate at 6."""
    model, x = model_and_rows(prior="autoregressive:7")
    joint, log_q = brute_force(model, x)
    exact = (log_q.exp() * (joint - log_q)).sum(0)
    own = list(model.prior.parameters())
    truth = torch.cat([g.flatten() for g in torch.autograd.grad(exact.mean(), own)])
    copies, found, values = 2_000, [], []
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        terms = elbo(model, x.repeat(copies // 200, 1), member, generator=generator)
        assert torch.allclose(terms.surrogate.mean(), terms.elbo.mean(), atol=1e-12)
        values.append(terms.elbo.detach().reshape(-1, 4))
        grads = torch.autograd.grad(-terms.loss, own)
        found.append(torch.cat([g.flatten() for g in grads]))
    values, found = torch.cat(values), torch.stack(found)
    assert bool(((values.mean(0) - exact).abs() < 5 * values.std(0) / copies**0.5).all())
    error = found.std(0) / len(found) ** 0.5
    assert bool(((found.mean(0) - truth).abs() < 6 * error + 1e-9).all())
    # power: the prior that the gradient would be of if ln p(z) were left out is far away
    assert bool((truth.abs() > 12 * error).any())


def test_a_mixture_of_one_standard_normal_gives_the_closed_form():
    """E_q[ln p(z)] + H(q) against −KL in closed form; false alarm below 1e-5, at 4.5 errors."""
    model, x = model_and_rows("gaussian:2", "fixed")
    mixed, _ = model_and_rows("gaussian:2", "mixture:1")
    mixed.prior.place(torch.ones(1), torch.zeros(1, 2), torch.ones(1, 2))
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("prior")}
    mixed.load_state_dict(state, strict=False)
    rows = x[:1].repeat(400_000, 1)
    found = elbo(mixed, rows, Reparametrized(), generator=torch.Generator().manual_seed(0)).kl
    expected = model.prior.kl(model.eta(x[:1]))
    error = found.std() / len(found) ** 0.5
    assert (found.mean() - expected).abs() < 4.5 * error
    assert (found.mean() - 1.1 * expected).abs() > 4.5 * error


def test_the_weight_of_the_kl_weighs_the_prior_and_the_entropy_alike():
    model, x = model_and_rows(prior="autoregressive:7")
    joint, log_q = brute_force(model, x)
    table = model.log_likelihood(x).table().T
    q = log_q.exp()
    expected = (q * (table - 0.3 * (log_q - (joint - table)))).sum(0)
    terms = elbo(model, x, Exact(), generator=None, kl_weight=0.3)
    assert torch.allclose(terms.surrogate, expected, atol=1e-12)
    assert torch.allclose(terms.elbo, (q * (joint - log_q)).sum(0), atol=1e-12)
    same(gradients(model, terms.loss), gradients(model, -expected.mean()))


def test_what_needs_a_closed_form_is_refused():
    model, x = model_and_rows(prior="autoregressive:7")
    with pytest.raises(ConfigError, match="`free_bits` needs a KL in closed form"):
        elbo(model, x, Exact(), generator=None, free_bits=0.1)
    config = ModelConfig(n_features=5, latent="bernoulli:3", prior="autoregressive:7")
    with pytest.raises(ConfigError, match="choose prior fixed or factorized"):
        RunConfig(model=config, training=TrainConfig(free_bits=0.1))


def test_wake_sleep_tends_to_the_marginal_gradients():
    """With K = 20,000 the weights are the posterior: within 2 % of the largest gradient."""
    model, x = model_and_rows()
    reference = copy.deepcopy(model)
    estimator = Importance(samples=20_000)
    terms = wake_sleep(model, x, estimator, generator=torch.Generator().manual_seed(0))
    exact = marginal(reference, x, Exact(), generator=None)
    assert torch.allclose(terms.surrogate, exact.surrogate, atol=0.02)
    found, expected = gradients(model, terms.loss), gradients(reference, exact.loss)
    largest = max(g.abs().max() for g in expected)
    assert all((a - b).abs().max() < 0.02 * largest for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("objective", "estimator", "message"),
    [
        ("marginal", RLOO(), "cannot be estimated by RLOO. Choose `estimator='exact'`"),
        ("multi-sample", Exact(), "Choose `estimator='vimco'`"),
        ("wake-sleep", EMA(), "Choose `estimator='importance'`"),
        ("wake-sleep", Importance(proposal="uniform"), "Leave the proposal out"),
        ("wake-sleep", Importance(), "needs samples >= 2. Got 1"),
        ("jsa", RLOO(), "cannot be estimated by RLOO. Choose `estimator='importance'`"),
        ("jsa", Importance(proposal="uniform"), "jsa draws from the posterior. Leave the proposal"),
        ("elbo", VIMCO(), "Choose `objective='multi-sample'`"),
    ],
)
def test_pairs_that_make_no_sense(objective, estimator, message):
    with pytest.raises(ConfigError, match=message):
        check_pair(objective, estimator)


def test_pairs_that_do():
    for objective, estimator in (
        ("elbo", RLOO()),
        ("elbo", Exact()),
        ("marginal", Exact()),
        ("multi-sample", VIMCO()),
        ("wake-sleep", Importance(samples=5)),
        ("jsa", Importance()),
    ):
        check_pair(objective, estimator)


@pytest.mark.parametrize("latent", ["bernoulli:3+categorical:4", "categorical:4+gaussian:2"])
@pytest.mark.parametrize("name", sorted(OBJECTIVES.keys() - {"vq"}))  # which needs a codebook
def test_a_code_of_several_parts_is_taken_as_a_whole(name, latent):
    model, x = model_and_rows(latent, "fixed")
    config = TrainConfig(objective=name)
    if name in ("marginal", "jsa") and "gaussian" in latent:
        with pytest.raises(ConfigError, match=r"cannot handle a gaussian code|bits and categories"):
            choose_estimator(model.family, config)
        return
    estimator = choose_estimator(model.family, config)
    terms = OBJECTIVES[name](model, x, estimator, generator=torch.Generator().manual_seed(0))
    found = [g for g in gradients(model, terms.loss) if g is not None]
    assert all(g.isfinite().all() and g.any() for g in found)
