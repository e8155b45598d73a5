"""Leave-one-out with a second control variate from the slopes ∂f/∂z at the samples themselves.

    ĝ = 1/S Σ_s (f(z_s) − 1/(S−1) Σ_{j≠s} f(z_j))(z_s − q)   +   terms of mean zero

The decoder's own backward pass leaves ∂f/∂z behind at every sample. What the *other* samples'
slopes say about f at z_s is a function of z_s whose part in the expected gradient is known:
`DoubleCV` takes the linear function, `RODEO` a learned one, made mean-free by a Stein operator. No
decoder evaluation is added to leave-one-out's S, and nothing that is learned can bring a bias.
Bits only.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from discretevae.config.checks import FINITE, an_int
from discretevae.estimators.base import BITS, Estimate, Integrand, LearnedEstimator, injected
from discretevae.estimators.control_variate import trained_by_variance
from discretevae.families import Family


@dataclass(eq=False, kw_only=True)
class _Corrected(LearnedEstimator):
    """S codes per row, their slopes, and a gradient that learns to be quiet, for both."""

    is_unbiased = True
    kinds = BITS

    samples: int = field(default=2, metadata=an_int(2))

    def forward(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw S codes per row; each corrects the others."""
        self.require_kind(family)
        z = family.sample(eta, self.samples, generator=generator)
        fz, slope = f.value_and_grad(z)
        with torch.enable_grad():
            gradient = self._gradient(family, eta.detach(), z, fz.detach(), slope)
            control_loss = trained_by_variance(gradient, tuple(self.parameters()))
        return injected(fz, eta, gradient.detach(), control_loss=control_loss)

    @abstractmethod
    def _gradient(
        self, family: Family, eta: Tensor, z: Tensor, fz: Tensor, slope: Tensor
    ) -> Tensor:
        """Return ĝ, ``[B, D]``, as a function of what is learned."""


@dataclass(eq=False, kw_only=True)
class DoubleCV(_Corrected):
    """Leave-one-out whose every f is corrected by a first-order Taylor expansion.

        ĝ = 1/S Σ_s [f(z_s) − f̄_s − α c_s·(z_s − z̄_s)](z_s − q) + α c_s ⊙ q(1 − q)
        f̄_s, z̄_s, c_s: means over j ≠ s of f(z_j), z_j and ∂f/∂z(z_j);   z_s ~ q = sigmoid(η)

    The global control variate is the baseline f̄_s + α c_s·(q − z̄_s), the local one α c_s·(z_s − q).
    Given the others, c_s is a constant and E[c_s·(z_s − q)(z_s − q)] = c_s ⊙ q(1 − q), which is
    given back: unbiased for every α, which follows the gradient of ĝ². With f linear in z and
    α = 1, ĝ is exact.

    Args:
        samples: S ≥ 2, samples of z per row.
        scale: first α; 0 gives plain leave-one-out. A slope at a code overstates the difference to
            the next one where f saturates, so α ends well below 1; hence the default.

    Attributes:
        alpha: α, a parameter.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> class Linear:                                          # f = 3 z₁ − 2 z₂ + 5
        ...     def value_and_grad(self, z):
        ...         weight = torch.tensor([3.0, -2.0])
        ...         return z @ weight + 5, weight.expand_as(z)
        >>> eta = torch.zeros(1, 2, requires_grad=True)
        >>> double_cv, generator = DoubleCV(scale=1.0), torch.Generator().manual_seed(0)
        >>> estimate = double_cv(Bernoulli(2), eta, Linear(), generator=generator)
        >>> estimate.surrogate.sum().backward()
        >>> eta.grad                                               # weight · q(1 − q)
        tensor([[ 0.7500, -0.5000]])

    Source: Titsias & Shi, *Double Control Variates for Gradient Estimation in Discrete Latent
    Variable Models* (AISTATS 2022). Here the baseline is corrected with the mean slope
    c_s for all of j ≠ s, not with each z_j's own; with S = 2 the two are the same.
    """

    name = "double-cv"

    scale: float = field(default=0.3, metadata=FINITE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.alpha = nn.Parameter(torch.tensor(float(self.scale)))

    def _gradient(
        self, family: Family, eta: Tensor, z: Tensor, fz: Tensor, slope: Tensor
    ) -> Tensor:
        q, c = family.mean(eta), _mean_of_others(slope)
        linear = (c * (z - _mean_of_others(z))).sum(-1)
        left_over = fz - _mean_of_others(fz) - self.alpha * linear
        corrected = left_over.unsqueeze(-1) * (z - q)
        return (corrected + self.alpha * c * (q * family.mean(-eta))).mean(0)


@dataclass(eq=False, kw_only=True)
class RODEO(_Corrected):
    """Leave-one-out with learned control variates that a discrete Stein operator makes mean-free.

        (A h)(z) = Σ_d E_{y_d ~ q_d}[h(z with z_d = y_d)] − h(z),     E_q[A h] = 0 for every h
        ĝ = 1/S Σ_s (f(z_s) − β_s)(z_s − q) + (A h̃_s)(z_s),           h̃_s(y) = h_s(y)(y − q)
        β_s = 1/(S−1) Σ_{j≠s} f(z_j) + (A H₁(f_j, ∂f_j·(· − z_j)))(z_j)
        h_s(y) = 1/(S−1) Σ_{j≠s} H₂(f_j, ∂f_j·(y − z_j)),              f_j = f(z_j)

    A is the generator of Gibbs sampling: redrawing one bit from q leaves q as it is, so A h has
    mean zero. β_s and h_s know nothing of z_s, so both corrections have mean zero given the other
    samples, whatever H is. For h̃ the operator comes out as one factor per bit,

        (A h̃_s)(z)_i = (z_i − q_i) [(A h_s)(z) − h_s(z with bit i flipped)],

    so H is asked at z_s and its D neighbours: numbers, not decoder rows. H = (H₁, H₂) is
    H(a, b) = b · (w + net(a, b)), any smooth function with H(a, 0) = 0 (a constant in y would
    cancel or act as one more baseline). It starts at zero, where ĝ is plain leave-one-out, and
    follows the gradient of ĝ².

    Args:
        samples: S ≥ 2, samples of z per row.
        hidden: width of the net. Its memory grows with S²·B·D·hidden.
        seed: of the net's first weights.

    Attributes:
        skip: w, a parameter ``[2]``.
        weight, bias, out: of the net, ``[hidden, 2]``, ``[hidden]``, ``[2, hidden]``.

    Example:
        >>> from discretevae.estimators.contract import ToyIntegrand
        >>> from discretevae.families import Bernoulli
        >>> family, f = Bernoulli(3), ToyIntegrand.random(Bernoulli(3), seed=0)
        >>> eta = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
        >>> rodeo, generator = RODEO(samples=3), torch.Generator().manual_seed(0)
        >>> _ = rodeo(family, eta, f, generator=generator)
        >>> f.evaluations, rodeo.evaluations
        ([3], 3)

    Source: Shi, Zhou, Hwang, Titsias & Mackey, *Gradient Estimation with Discrete Stein Operators*
    (NeurIPS 2022). The paper averages A over the bits where this sums, which
    only scales H; the form of H, and the squashing of its inputs by sign(a) ln(1 + abs(a)) because
    f is in nats of many pixels, are this package's.
    """

    name = "rodeo"

    hidden: int = field(default=16, metadata=an_int(1))
    seed: int = field(default=0, metadata=an_int(0))

    def __post_init__(self) -> None:
        super().__post_init__()
        generator = torch.Generator().manual_seed(self.seed)
        self.skip = nn.Parameter(torch.zeros(2))
        self.weight = nn.Parameter(torch.randn(self.hidden, 2, generator=generator))
        self.bias = nn.Parameter(torch.randn(self.hidden, generator=generator))
        self.out = nn.Parameter(torch.zeros(2, self.hidden))

    def _gradient(
        self, family: Family, eta: Tensor, z: Tensor, fz: Tensor, slope: Tensor
    ) -> Tensor:
        flip = 1 - 2 * z
        p_flip = family.mean(flip * eta)  # probability that a redrawn bit is the other one
        # pairs [S of z_s, S of z_j, B]: b at z_s, and at z_s with one bit flipped [..., D]
        at_code = torch.einsum("jbd,sjbd->sjb", slope, z.unsqueeze(1) - z.unsqueeze(0))
        at_flip = at_code.unsqueeze(-1) + slope.unsqueeze(0) * flip.unsqueeze(1)
        value = fz.expand_as(at_code)
        h_code, h_flip = self._h(value, at_code), self._h(value.unsqueeze(-1), at_flip)

        own = torch.arange(self.samples, device=z.device)
        change = h_flip[..., 0][own, own] - h_code[..., 0][own, own].unsqueeze(-1)
        baseline = _mean_of_others(fz + (p_flip * change).sum(-1))

        at_z = _mean_over_others(h_code[..., 1])
        flipped = _mean_over_others(h_flip[..., 1])
        stein = (p_flip * (flipped - at_z.unsqueeze(-1))).sum(-1)
        weight = (fz - baseline + stein).unsqueeze(-1) - flipped
        return (weight * (z - family.mean(eta))).mean(0)

    def _h(self, value: Tensor, b: Tensor) -> Tensor:
        """Return (H₁, H₂) ``[..., 2]`` for b ``[...]`` and values that expand to it."""
        inputs = torch.stack((_squash(value).expand_as(b), _squash(b)), -1)
        hidden = torch.tanh(inputs @ self.weight.to(b).T + self.bias.to(b))
        return b.unsqueeze(-1) * (self.skip.to(b) + hidden @ self.out.to(b).T)


def _squash(a: Tensor) -> Tensor:
    """Return sign(a) ln(1 + abs(a))."""
    return a.sign() * a.abs().log1p()


def _mean_of_others(a: Tensor) -> Tensor:
    """Return the mean over all samples but one's own, ``[S, ...]``."""
    return (a.sum(0) - a) / (len(a) - 1)


def _mean_over_others(pairs: Tensor) -> Tensor:
    """Return the mean over j ≠ s of pairs ``[S of s, S of j, ...]``."""
    own = torch.arange(len(pairs), device=pairs.device)
    return (pairs.sum(1) - pairs[own, own]) / (len(pairs) - 1)
