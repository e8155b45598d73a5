"""Gradients through a softened sample: straight-through, Gumbel-softmax and what came after.

    ∂/∂η E_q f  ≈  E[ J(y)ᵀ ∂f/∂z ],   J(y) = (diag(y) − y yᵀ)/τ  (bits: y(1 − y)/τ)

∂f/∂z, the slope of f between the codes, stands in for the difference of f at two codes; they
differ in the point y at which the softmax is differentiated, and in whether f is asked at a true
code ("hard") or at a soft one. All are biased in η, for a slope is no difference. With a hard code
the value and the decoder's gradient stay unbiased. Each makes one decoder pass: ∂f/∂z is a
by-product of the decoder's own backward pass.

Temperatures are constants, or with ``anneal`` = r fall from step to step, t from 0:

    τ_t = max(floor, τ e^{−rt})

A high temperature has little variance, a low one little bias. The option is that of Jang, Gu &
Poole (2017, section 4: τ = 1, floor = ½, r of 1e-5 or 1e-4; there τ is held for N steps, here it
moves with every one); their two estimators have it, and `GumbelRao`, which is like them. τ_t
follows from t alone, so that a resumed run goes on where it was.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from discretevae.config.checks import NOT_NEGATIVE, POSITIVE, an_int
from discretevae.errors import ConfigError
from discretevae.estimators.base import DISCRETE, Estimate, Estimator, Integrand, injected
from discretevae.estimators.gumbel import conditional_logits, pull_back, standard_noise
from discretevae.families import Family

Points = tuple[Tensor, Tensor]
"""z ``[S, B, *z_shape]``, where f is asked, and y ``[…, B, *eta_shape]``, where the softmax is
differentiated; the gradient is averaged over the first dimensions of y."""


@dataclass(frozen=True, kw_only=True)
class Relaxation(Estimator):
    """The step that all share: draw z, differentiate f there, pull the slope back to η."""

    is_unbiased = False
    kinds = DISCRETE

    samples: int = field(default=1, metadata=an_int(1))

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw S codes per row and differentiate f at them."""
        self.require_kind(family)
        fixed = eta.detach()
        z, y = self._points(family, fixed, generator)
        fz, slope = f.value_and_grad(z)
        gradient = self._pulled_back(family, fixed, y, slope)
        return injected(fz, eta, gradient.flatten(0, -fixed.ndim - 1).mean(0))

    @abstractmethod
    def _points(self, family: Family, eta: Tensor, generator: torch.Generator | None) -> Points:
        """Draw the codes of every row."""

    def _pulled_back(self, family: Family, eta: Tensor, y: Tensor, slope: Tensor) -> Tensor:
        return pull_back(family, y, slope)


@dataclass(frozen=True, kw_only=True)
class _Tempered(Relaxation):
    """A softmax of temperature τ."""

    tau: float = field(default=1.0, metadata=POSITIVE)

    def _pulled_back(self, family: Family, eta: Tensor, y: Tensor, slope: Tensor) -> Tensor:
        return pull_back(family, y, slope, self.tau)


@dataclass(frozen=True, kw_only=True)
class _Annealed(_Tempered):
    """A temperature that may fall from step to step: τ_t = max(floor, τ e^{−anneal·t})."""

    anneal: float = field(default=0.0, metadata=NOT_NEGATIVE)
    floor: float = field(default=0.5, metadata=POSITIVE)

    def __post_init__(self) -> None:
        """Refuse options out of range, and a floor that is none where it would be reached."""
        super().__post_init__()
        if self.anneal > 0 and self.floor >= self.tau:
            raise ConfigError(
                f"floor must be below tau where tau is annealed. Got {self.floor}, tau {self.tau}."
            )

    def _perturbed(self, family: Family, eta: Tensor, generator: torch.Generator | None) -> Tensor:
        return eta + standard_noise(family, eta, (self.samples,), generator)

    def at_step(self, step: int) -> Self:
        """Return the estimator with the temperature of a training step, from 0."""
        if self.anneal * step == 0:
            return self
        tau = max(self.floor, self.tau * math.exp(-self.anneal * step))
        return replace(self, tau=tau, anneal=0.0)


@dataclass(frozen=True, kw_only=True)
class StraightThrough(Relaxation):
    """A true code forward, its mean backward.

        z ~ q,   ĝ = 1/S Σ_s J(q)ᵀ ∂f/∂z(z_s),   q = ∇A(η),  τ = 1

    The same as f(z + q − q.detach()): for bits q = sigmoid(η), for categories q = softmax(η). Exact
    for f linear in z; a forward Euler step, thus of first order, otherwise.

    Args:
        samples: S, samples of z per row.

    Example:
        >>> from discretevae.estimators.contract import ToyIntegrand
        >>> from discretevae.families import Bernoulli
        >>> family, f = Bernoulli(2), ToyIntegrand.random(Bernoulli(2), seed=0)
        >>> eta = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        >>> estimate = StraightThrough()(family, eta, f, generator=torch.Generator().manual_seed(0))
        >>> estimate.surrogate.sum().backward()
        >>> eta.grad.shape
        torch.Size([1, 2])

    Source: Bengio, Léonard & Courville, *Estimating or Propagating Gradients Through Stochastic
    Neurons* (2013). The paper also leaves the factor q(1 − q) out; it is kept here.
    """

    name = "straight-through"

    def _points(self, family: Family, eta: Tensor, generator: torch.Generator | None) -> Points:
        return family.sample(eta, self.samples, generator=generator), family.mean(eta)


@dataclass(frozen=True, kw_only=True)
class GumbelSoftmax(_Annealed):
    """A soft code both ways: the reparametrized sample of a continuous relative of q.

        y = softmax((η + G)/τ),  G_k ~ Gumbel;   bits: y = sigmoid((η + L)/τ),  L ~ logistic
        ĝ = 1/S Σ_s (∂y_s/∂η)ᵀ ∂f/∂z(y_s),   value = 1/S Σ_s f(y_s)

    Unbiased for the *relaxed* objective E f(y), hence biased in value, η and decoder. Small τ means
    less bias and more variance.

    Args:
        samples: S, samples of y per row.
        tau: τ > 0. Towards 0 y becomes a code; for large τ it goes to the uniform mean.
        anneal: r ≥ 0, by which τ falls per step; 0 leaves it alone.
        floor: where it stops, in (0, ``tau``); unused without ``anneal``.

    Example:
        >>> GumbelSoftmax(samples=4, tau=0.7).evaluations
        4

    Sources: Jang, Gu & Poole, *Categorical Reparameterization with Gumbel-Softmax* (ICLR 2017), eq.
    1-2, annealing: section 4; Maddison, Mnih & Teh, *The Concrete Distribution* (ICLR 2017), for
    bits the binary concrete of its appendix. Both also relax the KL; here the KL of the discrete q
    is kept, in closed form.
    """

    name = "gumbel-softmax"

    def _points(self, family: Family, eta: Tensor, generator: torch.Generator | None) -> Points:
        y = family.mean(self._perturbed(family, eta, generator) / self.tau)
        return y, y


@dataclass(frozen=True, kw_only=True)
class STGumbel(_Annealed):
    """Straight-through Gumbel-softmax: the hard code forward, its own soft version backward.

        x = η + G,  z = one_hot(argmax x),  y = softmax(x/τ)   (bits: z = [x > 0], y = sigmoid(x/τ))
        ĝ = 1/S Σ_s (∂y_s/∂η)ᵀ ∂f/∂z(z_s)

    Args:
        samples: S, samples of z per row.
        tau: τ > 0 of the backward pass.
        anneal: r ≥ 0, by which τ falls per step; 0 leaves it alone.
        floor: where it stops, in (0, ``tau``); unused without ``anneal``.

    Example:
        >>> from discretevae.estimators.contract import ToyIntegrand
        >>> from discretevae.families import Categorical
        >>> family, f = Categorical(1, 3), ToyIntegrand.random(Categorical(1, 3), seed=0)
        >>> eta = torch.zeros(1, 1, 3, dtype=torch.float64, requires_grad=True)
        >>> estimate = STGumbel(tau=0.5)(family, eta, f, generator=torch.Generator().manual_seed(0))
        >>> bool((estimate.value == f.table()).any())              # f at a true code
        True

    Source: Jang, Gu & Poole (ICLR 2017), section 2.2; annealing: section 4.
    """

    name = "st-gumbel"

    def _points(self, family: Family, eta: Tensor, generator: torch.Generator | None) -> Points:
        x = self._perturbed(family, eta, generator)
        return family.mode(x), family.mean(x / self.tau)


@dataclass(frozen=True, kw_only=True)
class GumbelRao(_Annealed):
    """`STGumbel` averaged over the noise that leads to the same hard code.

        z ~ q,   x_k ~ p(x | z),   y_k = softmax(x_k/τ)
        ĝ = 1/S Σ_s 1/k Σ_k J(y_sk)ᵀ ∂f/∂z(z_s)

    Given z, f is known, so only the cheap softmax is averaged: the bias is that of `STGumbel` at
    the same τ, the variance is never larger, and the decoder is asked once per code. That makes
    small τ, and with it small bias, affordable.

    Args:
        samples: S, samples of z per row.
        tau: τ > 0 of the backward pass.
        anneal: r ≥ 0, by which τ falls per step; 0 leaves it alone.
        floor: where it stops, in (0, ``tau``); unused without ``anneal``.
        resamples: k, conditional draws of the Gumbel noise per code.

    Example:
        >>> from discretevae.estimators.contract import ToyIntegrand
        >>> from discretevae.families import Categorical
        >>> family, f = Categorical(1, 3), ToyIntegrand.random(Categorical(1, 3), seed=0)
        >>> eta = torch.zeros(1, 1, 3, dtype=torch.float64, requires_grad=True)
        >>> estimator = GumbelRao(tau=0.1, resamples=100)
        >>> _ = estimator(family, eta, f, generator=torch.Generator().manual_seed(0))
        >>> f.evaluations, estimator.evaluations
        ([1], 1)

    Source: Paulus, Maddison & Krause, *Rao-Blackwellizing the Straight-Through Gumbel-Softmax
    Gradient Estimator* (ICLR 2021), section 3. As there, the softmax is differentiated at fixed
    noise: x_k is a number, not a function of η. Annealing is not from there.
    """

    name = "gumbel-rao"

    tau: float = field(default=0.5, metadata=POSITIVE)
    resamples: int = field(default=10, metadata=an_int(1))

    def _points(self, family: Family, eta: Tensor, generator: torch.Generator | None) -> Points:
        z = family.sample(eta, self.samples, generator=generator)
        noise = standard_noise(family, eta, (self.resamples, self.samples), generator)
        return z, family.mean(conditional_logits(family, eta, z, noise) / self.tau)


@dataclass(frozen=True, kw_only=True)
class GappedST(_Tempered):
    """`STGumbel` without its noise: logits are pushed, deterministically, to agree with the code.

        z ~ q,   x = η + (max η − η_z) z − relu(η + gap − max η)(1 − z),   y = softmax(x/τ)
        ĝ = 1/S Σ_s J(y_s)ᵀ ∂f/∂z(z_s)

    The drawn category is raised to the largest logit and every other one lowered until it is at
    least ``gap`` below; the push itself has no gradient. Bits are two categories with logits
    (η, 0), for which x₁ − x₀ = ±max(±η, gap) with + for z = 1.

    Args:
        samples: S, samples of z per row.
        tau: τ > 0 of the backward pass.
        gap: ≥ 0, in nats.

    Example:
        >>> GappedST(tau=0.7, gap=1.0).is_unbiased
        False

    Source: Fan, Chi, Rudnicky & Ramadge, *Training Discrete Deep Generative Models via Gapped
    Straight-Through Estimator* (ICML 2022).
    """

    name = "gapped-st"

    gap: float = field(default=1.0, metadata=NOT_NEGATIVE)

    def _points(self, family: Family, eta: Tensor, generator: torch.Generator | None) -> Points:
        z = family.sample(eta, self.samples, generator=generator)
        return z, family.mean(self._pushed(family, eta, z) / self.tau)

    def _pushed(self, family: Family, eta: Tensor, z: Tensor) -> Tensor:
        if family.spec.kind == "bernoulli":
            sign = 2 * z - 1
            return sign * (sign * eta).clamp_min(self.gap)
        top = eta.amax(-1, keepdim=True)
        raised = z * (top - eta)
        return eta + raised - (1 - z) * torch.relu(eta + self.gap - top)
