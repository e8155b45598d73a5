"""Clusters in the prior: a mixture of normals over a Gaussian code."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from discretevae.errors import ConfigError
from discretevae.families import Family, Gaussian
from discretevae.priors.base import Prior, choices_for, require_sampling

VARIANCE_FLOOR = 1e-4
"""`MixturePrior.place` adds this to all variances, σ = 0.01: a cluster of one row has none, and a
component as thin as a needle is one that no further step can move."""


class MixturePrior(Prior):
    """p(z) = Σ_k π_k N(z; μ_k, Σ_k) over a Gaussian code, with covariances of any shape; exact.

        ln p(z) = logsumexp_k [ln π_k − ½ ‖W_k (z − μ_k)‖² + ln det W_k − D/2 ln 2π]

    with W_k lower triangular of positive diagonal and Σ_k⁻¹ = W_kᵀ W_k, so that W_k (z − μ_k) is
    standard normal. Clusters of codes are bent and tilted: with diagonal Σ_k as in the sources
    below, the components fit them worse, and several points of clustering accuracy are lost
    (results page).

    It starts from equal weights, means drawn from N(0, ½) and covariances of ½ I, which together
    have the mean and the variance of the standard normal; equal components would never part.

    Args:
        family: a Gaussian code.
        n_components: K.
        generator: the source of the initial means; None takes torch's global one.

    Attributes:
        logits: ln π up to a constant, ``[K]``.
        means: μ, ``[K, D]``.
        factors: W below the diagonal and ln W on it, ``[K, D, D]``; what stands above is not used.

    Raises:
        ConfigError: the code is not Gaussian, or K is below 1.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> prior = MixturePrior(Gaussian(2), 3, generator=generator)
        >>> z = prior.sample(4, generator=generator)
        >>> prior.log_prob(z).shape, prior.responsibilities(z).shape
        (torch.Size([4]), torch.Size([4, 3]))

    Source: as the prior of a code, Dilokthanakul et al., "Deep Unsupervised Clustering with
    Gaussian Mixture Variational Autoencoders" (2016), and Jiang et al., "Variational Deep
    Embedding" (IJCAI 2017), whose component is a latent variable with a posterior of its own;
    in this class it is summed over.
    """

    def __init__(
        self, family: Family, n_components: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(family)
        if not isinstance(family, Gaussian):
            raise ConfigError(
                f"a mixture prior needs a code of real numbers; {family.spec} is none. "
                f"Choose {choices_for(family)}."
            )
        if n_components < 1:
            raise ConfigError(f"n_components must be an int >= 1. Got {n_components}.")
        shape = (n_components, family.n_variables)
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.means = nn.Parameter(torch.empty(shape))
        self.means.detach().normal_(0, math.sqrt(0.5), generator=generator)
        log_scale = 0.5 * math.log(2) * torch.eye(family.n_variables)  # W = √2 I
        self.factors = nn.Parameter(log_scale.repeat(n_components, 1, 1))

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.logits)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ln p(z), ``[S, B]``."""
        return torch.logsumexp(self._log_joint(z), -1)

    def responsibilities(self, z: Tensor) -> Tensor:
        """Return p(k|z) for each component: ``[..., D]`` to ``[..., K]``."""
        return torch.softmax(self._log_joint(z), -1)

    @torch.no_grad()
    def place(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Set the components, for instance to the clusters of codes.

        Args:
            weights: ``[K]``, above 0; divided by their sum.
            means: ``[K, D]``.
            covariances: ``[K, D, D]``, or ``[K, D]`` for diagonal ones; positive definite once
                1e-4 is added to the variances.

        Raises:
            ConfigError: a shape is wrong, or a value out of range.

        Example:
            >>> prior = MixturePrior(Gaussian(1), 2, generator=torch.Generator().manual_seed(0))
            >>> prior.place(torch.tensor([1.0, 3.0]), torch.zeros(2, 1), torch.ones(2, 1, 1))
            >>> prior.responsibilities(torch.zeros(1))
            tensor([0.2500, 0.7500], grad_fn=<SoftmaxBackward0>)
        """
        problems = []
        if covariances.ndim == 2:
            covariances = torch.diag_embed(covariances)
        for name, value, target in (
            ("weights", weights, self.logits),
            ("means", means, self.means),
            ("covariances", covariances, self.factors),
        ):
            if value.shape != target.shape:
                problems.append(
                    f"{name} must have the shape {list(target.shape)}. Got {list(value.shape)}."
                )
            elif not bool(value.isfinite().all()):
                problems.append(f"{name} must be finite.")
        if not bool((weights > 0).all()):
            problems.append("weights must be > 0. Leave empty components out.")
        if problems:
            raise ConfigError(problems)
        identity = torch.eye(means.shape[1], dtype=torch.float64, device=means.device)
        root, failed = torch.linalg.cholesky_ex(covariances.double() + VARIANCE_FLOOR * identity)
        if bool(failed.any()):
            raise ConfigError("covariances must be positive definite.")
        whitening = torch.linalg.solve_triangular(root, identity, upper=False)
        logs = whitening.diagonal(dim1=-2, dim2=-1).log()
        self.logits.copy_((weights / weights.sum()).log())
        self.means.copy_(means)
        self.factors.copy_(whitening.tril(-1) + torch.diag_embed(logs))

    def covariances(self) -> Tensor:
        """Return Σ of each component, ``[K, D, D]``.

        Example:
            >>> MixturePrior(Gaussian(1), 2).covariances().flatten()
            tensor([0.5000, 0.5000], grad_fn=<ViewBackward0>)
        """
        root: Tensor = torch.linalg.inv(self._whitening())
        return root @ root.mT

    @torch.no_grad()
    def sample(
        self, n: int, *, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        """Draw ``n`` codes, ``[n, D]``: components at logits/T, normals of T times the variance."""
        require_sampling(temperature)
        share = torch.softmax(self.logits / temperature, 0)
        drawn = torch.multinomial(share, n, replacement=True, generator=generator)
        return self._around(drawn, generator, temperature)

    def _around(
        self, components: Tensor, generator: torch.Generator | None, temperature: float
    ) -> Tensor:
        means, whitening = self.means[components], self._whitening()[components]
        options: dict[str, Any] = {"dtype": means.dtype, "device": means.device}
        noise = torch.randn(means.shape, generator=generator, **options).unsqueeze(-1)
        away: Tensor = torch.linalg.solve_triangular(whitening, noise, upper=False)
        return means + math.sqrt(temperature) * away.squeeze(-1)

    def _whitening(self) -> Tensor:
        """Return W, ``[K, D, D]``."""
        return self.factors.tril(-1) + torch.diag_embed(self._log_diagonal().exp())

    def _log_diagonal(self) -> Tensor:
        diagonal: Tensor = torch.diagonal(self.factors, dim1=-2, dim2=-1)
        return diagonal

    def _log_joint(self, z: Tensor) -> Tensor:
        """Return ln π_k + ln N(z; μ_k, Σ_k), ``[..., K]``."""
        # differences first: the expanded square would cancel far away from the means
        distance = torch.einsum("kij,...kj->...ki", self._whitening(), z.unsqueeze(-2) - self.means)
        log_det = self._log_diagonal().sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)
        return torch.log_softmax(self.logits, 0) + log_det - 0.5 * distance.square().sum(-1)
