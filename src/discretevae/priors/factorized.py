"""A prior of the same form as q(z|x): fixed, or learned with one set of natural parameters."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from discretevae.families import Family
from discretevae.priors.base import Prior, require_sampling


class FactorizedPrior(Prior):
    """p(z) = Π_d p(z_d), of the same family as q(z|x).

    Fixed, it is uniform over a discrete code and standard normal over a Gaussian one. Learned, its
    natural parameters are trained with the model and start from the same place.

    Args:
        family: the code's family.
        learned: whether the parameters are trained.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> prior = FactorizedPrior(Bernoulli(3))
        >>> prior.kl(torch.zeros(1, 3))
        tensor([0.])
        >>> prior.sample(2, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3])
    """

    has_closed_kl: ClassVar[bool] = True

    raw: Tensor

    def __init__(self, family: Family, *, learned: bool = False) -> None:
        super().__init__(family)
        # the number of unconstrained outputs equals the number of natural parameters; zeros of
        # the former are the reference distribution of every family
        raw = torch.zeros(family.fixed_eta().numel())
        if learned:
            self.raw = nn.Parameter(raw)
        else:
            self.register_buffer("raw", raw)

    def eta(self) -> Tensor:
        """Return the prior's natural parameters, ``[*eta_shape]``."""
        return self.family.natural_parameters(self.raw)

    def kl(self, eta: Tensor) -> Tensor:
        """Return KL(q(z|x) ‖ p(z)) in closed form, nats per row, ``[B]``."""
        return self.family.kl(eta, self.eta())

    def kl_per_variable(self, eta: Tensor) -> Tensor:
        """Return the same for each variable of the code, ``[B, D]``."""
        return self.family.kl_per_variable(eta, self.eta())

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ln p(z), ``[S, B]``."""
        return self.family.log_prob(self.eta(), z)

    def log_prob_table(self) -> Tensor:
        """Return ln p of every z in the order of the family's ``enumerate``, ``[N]``."""
        return self.family.log_prob_table(self.eta().unsqueeze(0))[0]

    def sample(
        self, n: int, *, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        """Draw ``n`` codes, ``[n, *z_shape]``, at natural parameters η/T."""
        require_sampling(temperature)
        # of a normal, η/T = (μ/(Tσ²), −1/(2Tσ²)): the same mean and T times the variance
        return self.family.sample(self.eta().detach() / temperature, n, generator=generator)
