"""Score functions with a control variate from a soft code: unbiased, and quieter than the score.

    ĝ = (f(z) − c)(T(z) − ∇A(η)) + ∂/∂η E[c]

c is close to f but its expectation's gradient is known, or can be estimated through a soft code.
`MuProp` takes the Taylor expansion of f at the mean of q; `REBAR` takes f at a relaxed code and
learns how much of it to subtract; `RELAX` adds a network. Whatever is learned, ĝ stays unbiased:
its parameters are trained on the variance alone, so a bad c costs noise and never bias. The
decoder learns from f at the true codes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from discretevae.config.checks import FINITE, POSITIVE, an_int
from discretevae.estimators.base import (
    DISCRETE,
    Estimate,
    Estimator,
    Integrand,
    LearnedEstimator,
    NetworkEstimator,
    injected,
    score_gradient,
    with_gradient_of,
)
from discretevae.estimators.gumbel import conditional_logits, pull_back, standard_noise
from discretevae.families import Family


@dataclass(frozen=True, kw_only=True)
class MuProp(Estimator):
    """The score of what the first-order Taylor expansion at the mean leaves over.

        ĝ = 1/S Σ_s (f(z_s) − f(q) − f′(q)·(z_s − q))(z_s − q) + J(q)ᵀ f′(q)
        z_s ~ q,   q = ∇A(η),   f′ = ∂f/∂z,   J(q) = ∂q/∂η

    The expansion's own gradient is known: it is the mean-field one. With f linear in z nothing is
    left over and ĝ is exact.

    Args:
        samples: S, samples of z per row.

    Example:
        >>> from discretevae.estimators.contract import ToyIntegrand
        >>> from discretevae.families import Bernoulli
        >>> family, f = Bernoulli(2), ToyIntegrand.random(Bernoulli(2), seed=0)
        >>> eta = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        >>> _ = MuProp(samples=4)(family, eta, f, generator=torch.Generator().manual_seed(0))
        >>> f.evaluations                                          # 4 codes and the mean
        [5]

    Source: Gu, Levine, Sutskever & Mnih, *MuProp: Unbiased Backpropagation for Stochastic Neural
    Networks* (ICLR 2016), section 3. Implementations often subtract a learned, input-dependent
    baseline besides; here f(q) is the baseline.
    """

    name = "muprop"
    is_unbiased = True
    kinds = DISCRETE

    samples: int = field(default=1, metadata=an_int(1))

    @property
    def evaluations(self) -> int:
        """S + 1: the mean of q costs one."""
        return self.samples + 1

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw S codes per row; the expansion is made through a frozen decoder."""
        self.require_kind(family)
        z = family.sample(eta, self.samples, generator=generator)
        fz = f(z)
        mean = family.mean(eta.detach())
        at_mean, slope = f.frozen().value_and_grad(mean.unsqueeze(0))
        left_over = fz.detach() - at_mean.detach() - (slope * (z - mean)).flatten(2).sum(-1)
        score = score_gradient(family, eta, z, left_over)
        return injected(fz, eta, score + pull_back(family, mean, slope[0]))


@dataclass(eq=False, kw_only=True)
class REBAR(LearnedEstimator):
    """The score, controlled by ν f at a relaxed code; temperature τ and scale ν are learned.

        z ~ q,   x ~ p(x|z),   x̃ ~ p(x̃|z),   y = softmax(x/τ),  ỹ = softmax(x̃/τ)
        ĝ = (f(z) − ν f(ỹ))(z − q) + ν ∂f(y)/∂η − ν ∂f(ỹ)/∂η            averaged over S samples

    x = η + noise are the perturbed logits whose hard code is z (sigmoids for bits), x̃ are drawn
    anew given z and depend on η through that condition. τ and ν follow the gradient of ĝ², a
    single-sample estimate of that of the variance, since the mean does not depend on them.

    Args:
        samples: S, samples of (z, x, x̃) per row.
        tau: first τ > 0; kept positive by learning ln τ.
        scale: first ν; 0 gives the plain score function.

    Attributes:
        log_tau: ln τ, a parameter.
        nu: ν, a parameter.

    Example:
        >>> from discretevae.estimators.contract import ToyIntegrand
        >>> from discretevae.families import Categorical
        >>> family, f = Categorical(1, 3), ToyIntegrand.random(Categorical(1, 3), seed=0)
        >>> eta = torch.zeros(1, 1, 3, dtype=torch.float64, requires_grad=True)
        >>> rebar, generator = REBAR(), torch.Generator().manual_seed(0)
        >>> rebar(family, eta, f, generator=generator).control_loss.backward()
        >>> f.evaluations, eta.grad is None, rebar.log_tau.grad is None
        ([3], True, False)

    Source: Tucker, Mnih, Maddison, Lawson & Sohl-Dickstein, *REBAR* (NeurIPS 2017), sections 3.1 to
    3.3. There u is drawn first and z follows; here z first and x given z, the same joint law.
    One τ and one ν serve all variables; the paper's reweighted relaxation is left out.
    """

    name = "rebar"
    is_unbiased = True
    kinds = DISCRETE

    samples: int = field(default=1, metadata=an_int(1))
    tau: float = field(default=0.5, metadata=POSITIVE)
    scale: float = field(default=1.0, metadata=FINITE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.log_tau = nn.Parameter(torch.tensor(math.log(self.tau)))
        self.nu = nn.Parameter(torch.tensor(float(self.scale)))

    @property
    def evaluations(self) -> int:
        """3 S: f at z, y and ỹ."""
        return 3 * self.samples

    def forward(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw S triples per row; only z reaches the decoder's parameters."""
        self.require_kind(family)
        control = self._control(family, eta, f.frozen())
        samples, tau = self.samples, self.log_tau.exp()
        z = family.sample(eta, samples, generator=generator)
        noise = standard_noise(family, eta, (2 * samples,), generator)
        fz = f(z)
        with torch.enable_grad():
            leaf = eta.detach().requires_grad_()
            x = conditional_logits(family, leaf, z, noise[:samples])
            x = leaf + (x - leaf).detach()  # now the noise is fixed: x = η + noise
            x_given_z = conditional_logits(family, leaf, z, noise[samples:])
            at_free, at_given_z = control(family.mean(torch.cat((x, x_given_z)) / tau)).chunk(2)
            (path,) = torch.autograd.grad(
                (at_free - at_given_z).sum(), leaf, create_graph=self.training, retain_graph=True
            )
            deviation = z - family.mean(leaf).detach()
            weight = fz.detach() - at_given_z
            score = weight.reshape(*weight.shape, *[1] * (z.ndim - 2)) * deviation
            gradient = score.mean(0) + path / samples
            # in evaluation mode nobody trains: the second derivatives are left out
            parameters = tuple(self.parameters())
            control_loss = trained_by_variance(gradient, parameters) if self.training else None
        return injected(fz, eta, gradient.detach(), control_loss=control_loss)

    def _control(self, family: Family, eta: Tensor, soft: Integrand) -> Callable[[Tensor], Tensor]:
        """Return c of a soft code ``[S, B, *z_shape]``, ``[S, B]``."""
        return lambda y: self.nu * soft(y)


@dataclass(eq=False, kw_only=True)
class RELAX(REBAR, NetworkEstimator):
    """`REBAR` with a free-form network in the control variate.

        c(y) = ν f(y) + r(y, q),   y = softmax(x/τ),   q = ∇A(η)
        ĝ = (f(z) − c(ỹ))(z − q) + ∂c(y)/∂η − ∂c(ỹ)/∂η                  averaged over S samples

    r is a network with one hidden layer that starts at zero, so that a fresh one is `REBAR`.
    q enters r as a constant: its direct gradient has mean zero in the difference of the two last
    terms, and is left out.

    Args:
        samples: S, samples per row.
        tau: first τ > 0.
        scale: first ν; 0 leaves the network alone in charge.
        hidden: width of r.
        seed: of r's first weights.

    Attributes:
        log_tau: ln τ, a parameter.
        nu: ν, a parameter.
        network: r; None until `prepare` or the first call, when the size of the code is known.

    Raises:
        ConfigError: an option is out of range, the code is not discrete, or not the one that the
            network was made for.

    Example:
        >>> from discretevae.estimators.contract import ToyIntegrand
        >>> from discretevae.families import Bernoulli
        >>> family, f = Bernoulli(2), ToyIntegrand.random(Bernoulli(2), seed=0)
        >>> eta = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        >>> relax, generator = RELAX(hidden=8), torch.Generator().manual_seed(0)
        >>> relax.prepare(family, eta)                             # before the optimizer is made
        >>> sum(p.numel() for p in relax.parameters())             # 4·8 + 8 + 8 + 1, and τ, ν
        51
        >>> relax(family, eta, f, generator=generator).surrogate.shape
        torch.Size([1])

    Source: Grathwohl, Choi, Wu, Roeder & Duvenaud, *Backpropagation through the Void* (ICLR 2018).
    Its c has no ν, and its r sees y alone.
    """

    name = "relax"

    hidden: int = field(default=32, metadata=an_int(1))
    seed: int = field(default=0, metadata=an_int(0))

    def n_inputs(self, family: Family) -> int:
        """Return the size of a code and of its natural parameters together."""
        self.require_kind(family)
        return math.prod(family.z_shape) + math.prod(family.eta_shape)

    def _control(self, family: Family, eta: Tensor, soft: Integrand) -> Callable[[Tensor], Tensor]:
        network = self.network_for(family, eta)
        q = family.mean(eta.detach()).flatten(1)

        def control(y: Tensor) -> Tensor:
            inputs = torch.cat((y.flatten(2), q.expand(len(y), -1, -1)), -1)
            r: Tensor = network(2 * inputs.flatten(0, 1) - 1)
            return self.nu * soft(y) + r.reshape(y.shape[:2])

        return control


def trained_by_variance(gradient: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the mean over rows of ‖ĝ‖², with a gradient for ``parameters`` alone.

    ĝ is ``[B, *eta_shape]``. E‖ĝ‖² = Var ĝ + ‖E ĝ‖², and the mean of an unbiased ĝ does not depend
    on the parameters. The gradient is formed at once and kept, so that the graph behind ĝ can go.

    Example:
        >>> parameter = torch.tensor(2.0, requires_grad=True)
        >>> loss = trained_by_variance(torch.tensor([[1.0, 3.0]]) * parameter, [parameter])
        >>> loss.backward()
        >>> loss.item(), parameter.grad.item()
        (40.0, 40.0)
    """
    loss = gradient.square().flatten(1).sum(1).mean()
    grads = torch.autograd.grad(loss, parameters, materialize_grads=True)
    term = sum(
        ((grad * parameter).sum() for grad, parameter in zip(grads, parameters, strict=True)),
        start=torch.zeros((), dtype=loss.dtype, device=loss.device),
    )
    return with_gradient_of(loss, term)
