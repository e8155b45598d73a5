"""The table of likelihoods that every invariant is tested on, and sums over what x may be."""

import numpy as np
import torch

from discretevae.likelihoods import likelihood_named

TEXTS = (
    "bernoulli",
    "continuous-bernoulli",
    "gaussian",
    "gaussian:0.3",
    "gaussian:learned",
    "beta-binomial",
    "logistic",
    "logistic:3",
    "poisson",
    "negative-binomial",
)
BYTES = tuple(text for text in TEXTS if text.startswith(("beta", "logistic")))


def made(text, n_features, dtype=torch.float64, seed=1):
    """The member; learned parameters are moved away from where they start."""
    likelihood = likelihood_named(text, n_features)
    if isinstance(likelihood, torch.nn.Module):
        likelihood.to(dtype)
        with torch.no_grad():
            for parameter in likelihood.parameters():
                generator = torch.Generator().manual_seed(seed)
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return likelihood


def outputs(likelihood, n_features, lead=(), dtype=torch.float64, scale=2.0, seed=0):
    """What a decoder might give: ``[*lead, C·P]``."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*lead, likelihood.n_outputs(n_features))
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def rows(likelihood, shape, dtype=torch.float64, seed=2):
    """Rows that the likelihood takes: its ends occur, and if they may, values between."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(shape, generator=generator, dtype=torch.float64)
    if likelihood.support == "real":
        return (4 * u - 2).to(dtype)
    if likelihood.support == "counts":
        return (8 * u - 3).clamp(min=0).round().to(dtype)
    u = (1.5 * u - 0.25).clamp(0, 1)
    if likelihood.spec.kind == "bernoulli":
        u = u.round()
    if likelihood.support == "bytes":
        u = (255 * u).round() / 255
    return u.to(dtype)


def support(likelihood):
    """Values of one feature and weights, so that Σ weight · p(x) g(x) is E[g(x)]."""
    if likelihood.support == "bytes":
        return torch.arange(256, dtype=torch.float64) / 255, torch.ones(256, dtype=torch.float64)
    if likelihood.support == "counts":
        return torch.arange(20_000).double(), torch.ones(20_000, dtype=torch.float64)
    if likelihood.spec.kind == "bernoulli":
        return torch.tensor([0.0, 1.0]).double(), torch.ones(2, dtype=torch.float64)
    low, high, pieces = (0, 1, 20) if likelihood.support == "unit interval" else (-40, 40, 400)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(low, high, pieces + 1)
    half = (high - low) / pieces / 2
    x = (edges[:-1, None] + half * (nodes + 1)).ravel()
    return torch.from_numpy(x), torch.from_numpy(np.tile(half * weights, pieces))


def masses(likelihood, output):
    """weight · p(x) of every value of `support`, for one feature: ``[n]``."""
    x, weight = support(likelihood)
    log_p = likelihood.log_prob(output.expand(len(x), -1), x.unsqueeze(1))
    return x, weight * log_p.exp()
