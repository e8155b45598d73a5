"""The objective of the VQ-VAE."""

from __future__ import annotations

import torch
from torch import Tensor

from discretevae.config import VQTraining
from discretevae.errors import ConfigError
from discretevae.estimators import Estimator, with_gradient_of
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.codebook import QuantizedDecoder, QuantizedEncoder
from discretevae.objectives.terms import Terms, require_parts

DEFAULTS = VQTraining()


def quantized_networks(model: DiscreteVAE) -> tuple[QuantizedEncoder, QuantizedDecoder]:
    """Return encoder and decoder of a model with a codebook.

    Raises:
        ConfigError: it has none.
    """
    encoder, decoder = model.encoder, model.decoder
    if not isinstance(encoder, QuantizedEncoder) or not isinstance(decoder, QuantizedDecoder):
        raise ConfigError(
            "`objective='vq'` needs a codebook. Give `quantizer`, such as vector:16, and a "
            "categorical `latent`, such as categorical:16x32."
        )
    return encoder, decoder


def vector_quantized(
    model: DiscreteVAE,
    x: Tensor,
    estimator: Estimator,
    *,
    generator: torch.Generator | None,
    encoder_input: Tensor | None = None,
    options: VQTraining = DEFAULTS,
) -> Terms:
    """Return the objective of the VQ-VAE, which maximizes no bound, and the bound of its code.

        z = the nearest vector:    k_d = argmin_k ‖h_d − e_k‖²
        ln p(x|e_k) − Σ_d (‖sg[h_d] − e_k‖² + β ‖h_d − sg[e_k]‖²) + ln p(z)

    sg stops the gradient. The encoder's outputs h get the decoder's slope at the vectors, straight
    through, and are held near them by the commitment β. The vectors learn from the middle term, or
    follow the moving averages of the h that chose them, which have the same fixed point; vectors
    that are hardly used are moved to where many are. Encoder and vectors get no gradient from
    ln p(z), from which a learned prior learns. Source: van den Oord, Vinyals & Kavukcuoglu, *Neural
    Discrete Representation Learning* (NeurIPS 2017), eq. 1-3, 6-8; of several variables the terms
    are summed.

    What is reported is the ELBO of a q(z|x) that is certain of z, ln p(x|z) + ln p(z): under the
    uniform prior the whole rate D ln K is paid.

    Args:
        model: with a codebook.
        x: rows ``[B, P]``.
        estimator: plays no part; nothing is estimated.
        generator: of a prior that draws.
        encoder_input: rows ``[B, P]`` that the encoder sees in place of ``x``.
        options: β, and how the vectors learn.

    Raises:
        ConfigError: the model has no codebook.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> from discretevae.estimators import StraightThrough
        >>> config = ModelConfig(n_features=4, latent="categorical:2x5", quantizer="vector:3")
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> terms = vector_quantized(model, torch.rand(6, 4), StraightThrough(), generator=None)
        >>> terms.kl.exp().round()[0]                                  # 5² codes, all alike
        tensor(25.)
    """
    require_parts(model, estimator)
    encoder, decoder = quantized_networks(model)
    codebook = encoder.codebook
    if model.training and options.decay:
        codebook.follow()
    h = model.apply_network(encoder.vectors, x if encoder_input is None else encoder_input)
    index = codebook.nearest(h.detach())
    if model.training:
        codebook.remember(h.detach(), index, options.decay or DEFAULTS.decay)
        codebook.revive(options.revive)
    chosen = codebook.vectors[index]
    straight_through = h + (chosen - h).detach()
    output = model.apply_network(decoder.network, straight_through.flatten(1))
    log_likelihood = model.likelihood.log_prob(output.unsqueeze(0), x)[0]
    z = model.family.from_codes(index).to(x).unsqueeze(0)
    log_prior = model.prior.log_prob(z, generator=generator)[0]
    commitment = (h - chosen.detach()).square().sum((-1, -2))
    maximized = log_likelihood + log_prior - options.beta * commitment
    if not options.decay:
        maximized = maximized - (h.detach() - chosen).square().sum((-1, -2))
    value = log_likelihood + log_prior
    return Terms(
        with_gradient_of(value.detach(), maximized), log_likelihood.detach(), -log_prior.detach()
    )
