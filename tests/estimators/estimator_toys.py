"""What the tests of several estimators share."""

import itertools
import math
from dataclasses import dataclass

import torch

from discretevae.estimators.base import Estimator, with_gradient_of
from discretevae.estimators.contract import (
    ToyIntegrand,
    estimated_gradients,
    exact_gradients,
    random_eta,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Forbidden(torch.autograd.Function):
    """The identity, with a derivative that must not be asked for."""

    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, grad):
        raise AssertionError("∂f/∂z was used")


class Opaque(ToyIntegrand):
    """An integrand that raises when it is differentiated in z."""

    def __call__(self, z):
        return super().__call__(Forbidden.apply(z))

    def value_and_grad(self, z):
        raise AssertionError("∂f/∂z was used")


class Constant:
    """f = −103.7."""

    def __call__(self, z):
        return torch.full(z.shape[:2], -103.7, dtype=z.dtype)


@dataclass(frozen=True)
class Distorted(Estimator):
    """An estimator whose η-gradient is multiplied by ``factor(eta)``: a forgotten or wrong term."""

    estimator: Estimator
    factor: object
    is_unbiased = True

    @property
    def kinds(self):
        return self.estimator.kinds

    @property
    def evaluations(self):
        return self.estimator.evaluations

    def evaluations_for(self, family):
        return self.estimator.evaluations_for(family)

    def __call__(self, family, eta, f, *, generator):
        bent = with_gradient_of(eta, eta * self.factor(eta.detach()))
        return self.estimator(family, bent, f, generator=generator)


def wrong_sign(eta):
    """A factor: the first variable or category is driven the other way."""
    return torch.cat((-torch.ones_like(eta[..., :1]), torch.ones_like(eta[..., 1:])), -1)


def assert_is_exact(estimator, family, eta, f, weight, atol=1e-12):
    """Σ over rows of weight × (value, η-gradient, decoder gradient) is the truth.

    The draws of each row are fixed by the caller, and its weight is their probability.
    """
    found = estimated_gradients(
        estimator, family, eta, f, replicates=len(weight), generator=generator()
    ).blocks()
    for name, truth in exact_gradients(family, eta, f).blocks().items():
        assert torch.allclose(weight @ found[name], truth[0], atol=atol), name


def detectable(findings):
    """The biases that the z-tests of a contract would have seen, relative to the truth."""
    return [f.detectable for f in findings if f.check.startswith("unbiased")]


def cells(probabilities):
    """The cells between the thresholds p and 1 − p of each variable: midpoints and volumes.

    On each of them f is constant and ARM's weight linear, so that the midpoint gives the integral.
    """
    points, widths = [], []
    for p in probabilities:
        edges = [0.0, *sorted((p, 1 - p)), 1.0]
        points.append([(a + b) / 2 for a, b in itertools.pairwise(edges)])
        widths.append([b - a for a, b in itertools.pairwise(edges)])
    middles = torch.tensor(list(itertools.product(*points)), dtype=torch.float64)
    volumes = [math.prod(w) for w in itertools.product(*widths)]
    return middles, torch.tensor(volumes, dtype=torch.float64)


def dirichlet_pmf(p, n):
    """P(z_1 … z_n) of one bit, from P(m given coordinates exceed a) = (1 − m a)₊^{n−1} alone."""
    r = min(p, 1 - p)
    a = 1 - r ** (1 / (n - 1))
    tail = [max(0.0, 1 - m * a) ** (n - 1) for m in range(n + 1)]
    pmf = {}
    for rare in itertools.product((0, 1), repeat=n):
        m = sum(rare)
        chance = sum((-1) ** j * math.comb(n - m, j) * tail[m + j] for j in range(n - m + 1))
        pmf[rare if p <= 0.5 else tuple(1 - e for e in rare)] = chance
    return pmf


def variance(estimator, family, seed, rows=20_000):
    """The variance of each coordinate of the η-gradient."""
    f, eta = ToyIntegrand.random(family, seed), random_eta(family, seed)
    found = estimated_gradients(estimator, family, eta, f, replicates=rows, generator=generator())
    return found.eta.var(0)
