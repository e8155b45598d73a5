"""The vector-quantized autoencoder as a gradient estimator: the baseline that everyone knows.

    u = η/c,   z = one_hot(argmax u),   ĝ = 1/c [∂f/∂z(z) − 2β(u − z)] − ∂H/∂η

The code is the corner of the simplex that is nearest to u. Nothing is drawn; the decoder's slope at
that corner is handed to the encoder as it is, and a penalty holds u close to the corner.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from discretevae.config.checks import NOT_NEGATIVE, POSITIVE
from discretevae.estimators.base import DISCRETE, Estimate, Estimator, Integrand, injected
from discretevae.estimators.gumbel import pull_back
from discretevae.families import Family


@dataclass(frozen=True, kw_only=True)
class VQ(Estimator):
    """Nearest corner forward, straight through backward, with a commitment loss.

        categories:  u = η/c              so that η = c z is the corner z
        bits:        u = ½ (1 + η/c)      so that η = c (2z − 1) is
        z = argmin_z ‖u − z‖²,   ĝ = ∂/∂η [∂f/∂z(z)·u − β‖u − z‖² − H(q)]

    The nearest corner is the largest logit, or the sign of a bit's: ‖u − e_k‖² = ‖u‖² − 2u_k + 1.
    So z is the mode of q, and encoding, decoding and evaluation are those of any other model.
    Unlike `StraightThrough` it has no softmax in the backward pass, and no noise. The code of a
    VQ-VAE is certain and has no entropy: the gradient of H(q), which the objective's KL brings in,
    is taken back, so that the encoder learns from f, commitment and a learned prior alone.

    The codebook does not learn, for it need not: the columns of the decoder's first layer are the
    embeddings that the decoder sees, and the nearest of any vectors v_k to h is the largest of
    2v_k·h − ‖v_k‖², a linear layer, such as the encoder's last.

    Biased in η, and in value and decoder as well, for f is asked at the mode of q alone. At a
    corner the log-odds against any other code are c: with a large c, q is all but certain and the
    ELBO is ln p(x|z) less the whole rate of the code, D ln K under a uniform prior. With a small c
    it is that of a softer q around the same codes; value, and the loss with it, are better than the
    ELBO is.

    Args:
        scale: c > 0, in nats.
        beta: β ≥ 0. A category holds until ∂f/∂z is larger by 2β for another (a bit until β against
            it), so that a large β leaves every code as it was at first.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> class Linear:                                          # f = 6 z_1 + 6 z_2
        ...     def value_and_grad(self, z):
        ...         return 6 * z.sum(-1), torch.full_like(z, 6.0)
        >>> eta = torch.tensor([[-400.0, 200.0]], requires_grad=True)
        >>> estimate = VQ(scale=200.0, beta=1.0)(Bernoulli(2), eta, Linear(), generator=None)
        >>> gradient = torch.autograd.grad(estimate.surrogate.sum(), eta)[0]
        >>> estimate.value, 400 * gradient                         # u = (−½, 1), z = (0, 1)
        (tensor([6.]), tensor([[7., 6.]]))

    Source: van den Oord, Vinyals & Kavukcuoglu, *Neural Discrete Representation Learning* (NeurIPS
    2017), eq. 1-3. There the codebook is free and learns from a loss of its own or by running
    means, codes form a map over the picture, and a prior is trained on them afterwards.
    """

    name = "vq"
    is_unbiased = False
    evaluations = 1
    kinds = DISCRETE

    scale: float = field(default=1.0, metadata=POSITIVE)
    beta: float = field(default=0.25, metadata=NOT_NEGATIVE)

    def __call__(
        self, family: Family, eta: Tensor, f: Integrand, *, generator: torch.Generator | None
    ) -> Estimate:
        """Differentiate f at the nearest corner of each row; draw nothing."""
        self.require_kind(family)
        fixed = eta.detach()
        if family.spec.kind == "bernoulli":
            u, slope_of_u = (1 + fixed / self.scale) / 2, 1 / (2 * self.scale)
        else:
            u, slope_of_u = fixed / self.scale, 1 / self.scale
        z = family.mode(fixed)
        fz, slope = f.value_and_grad(z.unsqueeze(0))
        straight_through = (slope[0] - 2 * self.beta * (u - z)) * slope_of_u
        # −∂H/∂η = J(q) η, for H = A(η) − η·∇A(η)
        without_entropy = pull_back(family, family.mean(fixed), fixed)
        return injected(fz, eta, straight_through + without_entropy)
