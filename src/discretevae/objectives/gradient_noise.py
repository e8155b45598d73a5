"""The noise of the encoder's gradient on a fixed batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from discretevae.estimators import Estimator
from discretevae.model.row_checks import require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import Objective, elbo

PROBE_ROWS = 256
"""Rows of the fixed batch: few enough that measuring takes a fraction of an epoch."""

PROBE_REPEATS = 8
"""Draws, like `PROBE_ROWS` a compromise between noise and time."""


@dataclass(frozen=True)
class GradientNoise:
    """The spread of the encoder's gradient.

    Args:
        variance: mean over the encoder's parameters of the variance over repeats.
        relative: summed variance over the squared norm of the mean gradient, the latter corrected
            for the noise of a mean of few repeats; None where that correction leaves nothing.
    """

    variance: float
    relative: float | None


def encoder_gradient_noise(
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    *,
    generator: torch.Generator,
    objective: Objective = elbo,
    repeats: int = PROBE_REPEATS,
) -> GradientNoise:
    """Measure the variance of the encoder's gradient over repeated draws of z, all else fixed.

    With g_r the gradient of the loss (−objective, averaged over the rows of ``x``) with respect to
    all n parameters of the encoder at the r-th of R draws, and ḡ their mean:

        variance = 1/n Σ_i 1/(R − 1) Σ_r (g_ri − ḡ_i)²
        relative = n · variance / (‖ḡ‖² − n · variance / R)

    The rows, the parameters and, if any, the binarization are the same for all draws, so that the
    figure is the estimator's noise alone and not that of choosing a batch.

    Args:
        model: the model; its gradients are left as they were.
        x: the probe rows ``[B, P]``.
        estimator: whose noise is measured.
        generator: the source of the draws.
        objective: whose gradient it is.
        repeats: R, at least 2.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> from discretevae.estimators import Importance
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> generator = torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE(config, generator=generator)
        >>> x = torch.rand(5, 4)
        >>> noise = encoder_gradient_noise(model, x, Importance(), generator=generator)
        >>> noise.variance > 0
        True
    """
    require_model(model)
    parameters = list(model.encoder.parameters())
    draws = []
    for _ in range(repeats):
        loss = objective(model, x, estimator, generator=generator).loss
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        draws.append(torch.cat([g.flatten() for g in gradients]))
    stacked = torch.stack(draws)
    mean = stacked.mean(0)
    # five times as fast as torch's `var` along this dimension
    per_parameter = stacked.sub_(mean).square_().sum(0) / (repeats - 1)
    total = per_parameter.sum().item()
    squared_norm = mean.square().sum().item() - total / repeats
    relative = total / squared_norm if squared_norm > 0 else None
    return GradientNoise(per_parameter.mean().item(), relative)
