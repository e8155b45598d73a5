"""Codes of several parts: an estimator for every discrete part, the path for the real part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from discretevae.errors import ConfigError
from discretevae.estimators.base import Estimate, Estimator, Integrand, with_gradient_of
from discretevae.estimators.exact import Exact
from discretevae.estimators.multisample import VIMCO
from discretevae.families import Family, Product, states_like


class PartWise(nn.Module, Estimator):
    """For a `Product` code: each discrete part by its own estimator, a Gaussian part by its path.

    For parts z = (z_1, …, z_n) with k discrete ones, every discrete part i in its turn sees the
    others held at one draw ẑ of them:

        ∂/∂η_i E_q f ≈ estimator_i applied to z_i ↦ f(z_i, ẑ_others)
        ∂/∂θ   E_q f ≈ 1/k Σ_i that of estimator_i, for the decoder and, through ẑ = μ + σε, for a
                       Gaussian part

    The parts are independent given x, so that this is unbiased wherever the estimators are. With
    `Exact` for a part, its states are summed over at every row's own draw of the others, which
    costs as many decoder rows as it has states.

    Args:
        estimators: one for each discrete part, in their order.

    Raises:
        ConfigError: there is none, or one does not estimate the ELBO.

    Example:
        >>> from discretevae.families import Categorical, Gaussian
        >>> family = Product((Categorical(1, 3), Gaussian(1)))
        >>> eta = family.fixed_eta().expand(1, -1).clone().requires_grad_()
        >>> class Sum:
        ...     def __call__(self, z):
        ...         return z.square().sum(-1)
        >>> generator = torch.Generator().manual_seed(0)
        >>> partwise = PartWise([Exact()])
        >>> partwise(family, eta, Sum(), generator=generator).surrogate.shape
        torch.Size([1])
        >>> partwise.evaluations_for(family)
        3
    """

    kinds = ("product",)

    def __init__(self, estimators: Sequence[Estimator]) -> None:
        super().__init__()
        if not estimators:
            raise ConfigError("a code of several parts needs an estimator for each discrete one.")
        if any(isinstance(estimator, VIMCO) for estimator in estimators):
            raise ConfigError("VIMCO cannot handle one part of a code. Choose another.")
        self.estimators = tuple(estimators)
        self.learned = nn.ModuleList(e for e in estimators if isinstance(e, nn.Module))

    @property
    def is_unbiased(self) -> bool:
        """True if all of them are."""
        return all(estimator.is_unbiased for estimator in self.estimators)

    @property
    def evaluations(self) -> int:
        """Of estimators that cost the same on every code; else see `evaluations_for`."""
        return sum(estimator.evaluations for estimator in self.estimators)

    def evaluations_for(self, family: Family) -> int:
        """Return the sum over discrete parts; `Exact` costs a row for each state of its part."""
        total = 0
        pairs = zip(discrete_parts(_product(family)), self.estimators, strict=True)
        for (_, part), estimator in pairs:
            summed = isinstance(estimator, Exact) and part.n_states
            total += summed or estimator.evaluations_for(part)
        return total

    @property
    def spec(self) -> str:
        """The texts of the parts, joined by +."""
        return "+".join(estimator.spec for estimator in self.estimators)

    def at_step(self, step: int) -> Self:
        """Return the estimator whose parts are as they are at a training step."""
        now = [estimator.at_step(step) for estimator in self.estimators]
        changed = any(new is not old for new, old in zip(now, self.estimators, strict=True))
        return type(self)(now) if changed else self

    def prepare(self, family: Family, eta: Tensor) -> None:
        """Make what the estimators learn about their parts."""
        product = _product(family)
        etas = product.split_eta(eta)
        for (i, part), estimator in zip(discrete_parts(product), self.estimators, strict=True):
            estimator.prepare(part, etas[i])

    def forward(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Draw all parts once, then let every estimator estimate its own."""
        product = _product(family)
        discrete = discrete_parts(product)
        k = len(discrete)
        if k != len(self.estimators):
            raise ConfigError(
                f"{product.spec} has {k} discrete parts. Got {len(self.estimators)} estimators."
            )
        etas = product.split_eta(eta)
        held = [
            part.sample(part_eta, 1, generator=generator)
            for part, part_eta in zip(product.parts, etas, strict=True)
        ]
        estimates = []
        for (i, part), estimator in zip(discrete, self.estimators, strict=True):
            # the mean over parts below takes each part's gradient k times too small
            own = etas[i] if k == 1 else with_gradient_of(etas[i], k * etas[i])
            beside = _Beside(f, product, i, held)
            estimates.append(estimator(part, own, beside, generator=generator))
        value = torch.stack([estimate.value for estimate in estimates]).mean(0)
        surrogate = torch.stack([estimate.surrogate for estimate in estimates]).mean(0)
        losses = [e.control_loss for e in estimates if e.control_loss is not None]
        return Estimate(
            value,
            with_gradient_of(value, surrogate),
            control_loss=torch.stack(losses).sum() if losses else None,
        )


class _Beside:
    """f as a function of one part of the code, the others held at a draw ``[1, B, …]`` each."""

    def __init__(self, f: Integrand, family: Product, index: int, held: Sequence[Tensor]) -> None:
        self.f, self.family, self.index, self.held = f, family, index, held

    def __call__(self, z: Tensor) -> Tensor:
        """Return f: ``[S, B, *z_shape]`` of the part to ``[S, B]``."""
        return self.f(self._joined(z, self.held))

    def table(self) -> Tensor:
        """Return f of every state, ``[B, N]``; a row costs N decoder rows, for its own others."""
        part = self.family.parts[self.index]
        states = states_like(part, self.held[self.index]).unsqueeze(1)
        rows = self.held[self.index].shape[1]
        return self(states.expand(-1, rows, *part.z_shape)).T

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return f and ∂f/∂z of the part; f also carries the gradient of what is held."""
        detached = [code.detach() for code in self.held]
        value, grad = self.f.value_and_grad(self._joined(z.detach(), detached))
        grads = self.family.split_z(grad)
        for i, code in enumerate(self.held):
            if i != self.index and code.requires_grad:
                value = with_gradient_of(value, value + (grads[i] * code).flatten(2).sum(-1))
        return value, grads[self.index]

    def frozen(self) -> _Beside:
        """Return the same f with no gradient to the decoder or to what is held."""
        held = [code.detach() for code in self.held]
        return _Beside(self.f.frozen(), self.family, self.index, held)

    def _joined(self, z: Tensor, held: Sequence[Tensor]) -> Tensor:
        codes = [code.expand(len(z), *code.shape[1:]) for code in held]
        codes[self.index] = z
        return self.family.join_z(codes)


def _product(family: Family) -> Product:
    if isinstance(family, Product):
        return family
    raise ConfigError(f"PartWise is made for codes of several parts. Got {family.spec}.")


def discrete_parts(family: Product) -> list[tuple[int, Family]]:
    """Return the bits and categories among the parts of a code, with their positions."""
    return [(i, part) for i, part in enumerate(family.parts) if part.n_states is not None]
