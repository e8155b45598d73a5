"""The base class of gradient estimators, and the surrogate whose gradient is the estimate.

An estimator answers one question: what is E_q(z|x)[f(z)], and what are its gradients with respect
to the natural parameters η of q and to whatever f depends on? f is ln p(x|z), or
ln p(x|z) + w ln p(z) where KL(q ‖ p) has no closed form. The entropy of q always stays outside:
−ln q(z) inside f multiplied the variance of the encoder's gradient by 9 to 46 in a toy of 4 bits.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from discretevae.config import LatentKind
from discretevae.config.checks import is_int, problems_of, refuse, rule
from discretevae.config.spelling import short, spell
from discretevae.errors import ConfigError, kind_of
from discretevae.families import MAX_STATES, Family, is_enumerable
from discretevae.networks.mlp import MLP

BITS: tuple[LatentKind, ...] = ("bernoulli",)
CATEGORIES: tuple[LatentKind, ...] = ("categorical",)
DISCRETE: tuple[LatentKind, ...] = ("bernoulli", "categorical")
EVERY_KIND: tuple[LatentKind, ...] = ("bernoulli", "categorical", "gaussian")

PAIRS = rule(
    "an even int >= 2: codes come in pairs", lambda samples: is_int(samples, 2) and samples % 2 == 0
)


class Integrand(Protocol):
    """f(z) for every row of a batch: how well a code explains its row."""

    def __call__(self, z: Tensor) -> Tensor:
        """Return f of sampled codes: ``[S, B, *z_shape]`` to ``[S, B]``; costs S·B decoder rows."""

    def table(self) -> Tensor:
        """Return f of every row and every state of an enumerable code, ``[B, N]``; costs N rows."""

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return f and ∂f/∂z at once: ``[S, B]`` and ``[S, B, *z_shape]``; costs S·B decoder rows.

        f carries the decoder's gradient; ∂f/∂z is detached, a by-product of the decoder's one
        backward pass (the split of the paper's figure 4).
        """

    def frozen(self) -> Integrand:
        """Return the same f, through which no gradient reaches the decoder's parameters."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """The result of an estimator.

    Args:
        value: ``[B]``, the estimate of E_q f in nats per row, detached.
        surrogate: ``[B]``, equal to ``value``; its gradient is the gradient estimate.
        diagnostics: further figures per row by name, such as ``ess``, each ``[B]``, detached.
        control_loss: a scalar whose gradient trains the estimator's own parameters and reaches
            nothing else; None for estimators that have none.
    """

    value: Tensor
    surrogate: Tensor
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)
    control_loss: Tensor | None = None


class Estimator(ABC):
    """A gradient estimator: options, three facts and one call.

    Estimators are small frozen dataclasses whose fields are their options, each with its rule as
    metadata (`discretevae.config.checks`); those that learn something of their own are
    ``nn.Module``s besides. The three facts are attributes of the class or properties; the contract
    tests hold the estimator to them. The other methods have defaults that suit most.

    Attributes:
        name: of the package's own estimators, with which their spelling begins.
        samples: S, samples of z per row, of those that draw any.

    Raises:
        ConfigError: an option is out of the range that its description gives; in a call, the code
            is none of ``kinds``.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, kw_only=True)
        ... class LeaveOneOut(Estimator):
        ...     samples: int = 4
        ...     is_unbiased = True
        ...     kinds = ("bernoulli", "categorical")
        ...     def __call__(self, family, eta, f, *, generator):
        ...         z = family.sample(eta, self.samples, generator=generator)
        ...         fz = f(z)
        ...         centered = fz.detach() - fz.detach().mean(0)
        ...         advantage = centered * self.samples / (self.samples - 1)
        ...         return injected(fz, eta, score_gradient(family, eta, z, advantage))
        >>> LeaveOneOut(samples=2).evaluations
        2
    """

    name: ClassVar[str] = ""
    samples: int

    def __post_init__(self) -> None:
        """Refuse options out of their range; all of them are named."""
        refuse(problems_of(self))

    @property
    @abstractmethod
    def is_unbiased(self) -> bool:
        """True if theory says that the expected gradient equals the gradient of E_q f."""

    @property
    @abstractmethod
    def kinds(self) -> tuple[LatentKind, ...]:
        """Kinds of code that the estimator can handle."""

    @property
    def evaluations(self) -> int:
        """Decoder rows per data row and step: ``samples``, unless an estimator says otherwise."""
        return self.samples

    @abstractmethod
    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Estimate E_q f and its gradients for ``eta`` ``[B, *eta_shape]``."""

    def evaluations_for(self, family: Family) -> int:
        """Return the decoder rows per data row and step where they depend on the code."""
        return self.evaluations

    def at_step(self, step: int) -> Estimator:
        """Return the estimator as it is at a training step, from 0, where options are scheduled.

        It depends on the step alone, so that a resumed run goes on where it was.
        """
        return self

    def prepare(self, family: Family, eta: Tensor) -> None:  # noqa: B027 - most learn nothing
        """Make the parameters that the estimator learns, before an optimizer asks for them.

        Of ``eta``, natural parameters ``[B, *eta_shape]`` of any rows, sizes and device count.
        """

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the defaults of the options that a spelling can set, by name.

        A class of one's own has those that its constructor takes.
        """
        if not cls.name:
            return {name: p.default for name, p in inspect.signature(cls).parameters.items()}
        return {field.name: field.default for field in fields(cls) if "rule" in field.metadata}  # type: ignore[arg-type]

    @property
    def spec(self) -> str:
        """The text that `make_estimator` reads back, such as ``rloo:samples=4``.

        Raises:
            ConfigError: the estimator is one's own, or an option cannot be spelled.
        """
        changed = []
        # a class that inherits from one of the package's has its name, but is another
        is_own = not vars(type(self)).get("name")
        for option in () if is_own else fields(self):  # type: ignore[arg-type]
            value = getattr(self, option.name)
            if value is not option.default and "rule" not in option.metadata:
                is_own = True
            elif value != option.default:
                changed.append(f"{option.name}={short(value)}")
        if is_own:
            raise ConfigError(f"{type(self).__name__} has no spelling. Give train() the object.")
        return spell(self.name, *changed)

    def require_kind(self, family: Family) -> None:
        """Refuse a family whose kind of code is none of ``kinds`` (`ConfigError`)."""
        if family.spec.kind not in self.kinds:
            raise ConfigError(
                f"{type(self).__name__} is made for a {' or '.join(self.kinds)} code. "
                f"Got {family.spec}. Choose another estimator."
            )

    def require_enumerable(self, family: Family) -> None:
        """Refuse a family with too many states to list, or a continuum of them (`ConfigError`)."""
        if not is_enumerable(family):
            raise ConfigError(
                f"{type(self).__name__} works on a list of all states, at most {MAX_STATES:,} of "
                f"them. Got {family.spec}. Take a smaller code or another estimator."
            )


class LearnedEstimator(nn.Module, Estimator):
    """Base of estimators that learn or remember something: dataclasses with ``eq=False``."""

    def __post_init__(self) -> None:
        """Refuse options out of their range, then become a module."""
        Estimator.__post_init__(self)
        nn.Module.__init__(self)


class NetworkEstimator(LearnedEstimator):
    """Base of estimators with a network of one hidden layer and one output that starts at zero.

    It is None until `prepare` or the first call, when the size of the code is known.
    """

    hidden: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse options out of their range, and become a module without a network yet."""
        super().__post_init__()
        self.network: MLP | None = None

    @abstractmethod
    def n_inputs(self, family: Family) -> int:
        """Return the number of inputs of the network for a code."""

    def prepare(self, family: Family, eta: Tensor) -> None:
        """Make the network for a family's codes, on ``eta``'s device and of its type."""
        self.network_for(family, eta)

    def network_for(self, family: Family, eta: Tensor) -> MLP:
        """Return the network, made at the first call; refuse one of another code."""
        n_inputs = self.n_inputs(family)
        if self.network is None:
            generator = torch.Generator().manual_seed(self.seed)
            network = MLP([n_inputs, self.hidden, 1], generator=generator)
            for parameter in network[-1].parameters():
                nn.init.zeros_(parameter)
            self.network = network.to(eta)
        elif self.network.sizes[0] != n_inputs:
            name = type(self).__name__
            raise ConfigError(
                f"{name} has a network for {self.network.sizes[0]} inputs, but a code "
                f"{family.spec} gives {n_inputs}. Make a new {name} for every code."
            )
        return self.network


def with_gradient_of(value: Tensor, term: Tensor) -> Tensor:
    """Return a tensor equal to ``value`` to the bit whose gradient is that of ``term``.

    value + (term − term.detach()): the bracket is exactly zero.

    Example:
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> y = with_gradient_of(torch.tensor(1.0), 5 * x)
        >>> y.item(), torch.autograd.grad(y, x)[0].item()
        (1.0, 5.0)
    """
    return value.detach() + (term - term.detach())


def injected(
    fz: Tensor,
    eta: Tensor,
    gradient: Tensor,
    *,
    diagnostics: Mapping[str, Tensor] | None = None,
    control_loss: Tensor | None = None,
) -> Estimate:
    """Return the estimate of those that know the encoder's gradient as numbers.

    Its value is the mean of f over the samples, ``fz`` of shape ``[S, B]``; its gradient is
    ``gradient`` with respect to η, and that of the mean with respect to the decoder.

    Example:
        >>> eta, fz = torch.zeros(1, 2, requires_grad=True), torch.tensor([[-3.0], [-5.0]])
        >>> estimate = injected(fz, eta, torch.tensor([[1.0, -2.0]]))
        >>> estimate.value.item(), torch.autograd.grad(estimate.surrogate.sum(), eta)[0].tolist()
        (-4.0, [[1.0, -2.0]])
    """
    mean = fz.mean(0)
    surrogate = with_gradient_of(mean, mean + (gradient.detach() * eta).flatten(1).sum(1))
    return Estimate(mean.detach(), surrogate, diagnostics or {}, control_loss)


def effective_sample_size(log_weight: Tensor) -> Tensor:
    """Return (Σ_m w_m)² / Σ_m w_m² along the first dimension, from 1 to M: ``[M, B]`` to ``[B]``.

    Example:
        >>> effective_sample_size(torch.zeros(4, 1))
        tensor([4.])
        >>> effective_sample_size(torch.tensor([[0.0], [-99.0]]))
        tensor([1.])
    """
    return torch.exp(2 * torch.logsumexp(log_weight, 0) - torch.logsumexp(2 * log_weight, 0))


def score_gradient(family: Family, eta: Tensor, z: Tensor, advantage: Tensor) -> Tensor:
    """Return 1/S Σ_s advantage_s ∂ln q(z_s)/∂η, ``[B, *eta_shape]``, by the score itself.

    ∂ln q(z)/∂η = T(z) − ∇A(η) (paper, eq. 20), so no log-probability is formed or differentiated.
    No gradient flows into the advantage, ``[S, B]``.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> z = torch.tensor([[[1.0, 0.0]]])
        >>> score_gradient(Bernoulli(2), torch.zeros(1, 2), z, torch.tensor([[4.0]]))  # 4 (z − ½)
        tensor([[ 2., -2.]])
    """
    score = family.sufficient_statistics(z) - family.mean(eta.detach())
    weight = advantage.detach().reshape(*advantage.shape, *[1] * (score.ndim - 2))
    return (weight * score).mean(0)


def require_estimator(estimator: object) -> None:
    """Refuse what is no estimator, such as the class of one (`ConfigError`)."""
    if not isinstance(estimator, Estimator):
        raise ConfigError(
            f"`estimator` must be a discretevae.Estimator. Got {kind_of(estimator)}. Make one, "
            "such as RLOO(samples=4); a class of your own inherits from Estimator."
        )
