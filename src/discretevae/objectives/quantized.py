"""The objective of the VQ-VAE, and of its relatives with fixed points."""

from __future__ import annotations

import torch
from torch import Tensor

from discretevae.config import VQTraining
from discretevae.config.quantizers import MISSING
from discretevae.errors import ConfigError
from discretevae.estimators import Estimator, with_gradient_of
from discretevae.families import Family
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.quantizers import Codebook, QuantizedDecoder, QuantizedEncoder
from discretevae.objectives.terms import Terms, require_parts

DEFAULTS = VQTraining()


def quantized_networks(model: DiscreteVAE) -> tuple[QuantizedEncoder, QuantizedDecoder]:
    """Return encoder and decoder of a model, which must have a quantizer (`ConfigError`)."""
    encoder, decoder = model.encoder, model.decoder
    if not isinstance(encoder, QuantizedEncoder) or not isinstance(decoder, QuantizedDecoder):
        raise ConfigError(MISSING)
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

        z: the nearest point e_d of each variable, argmin ‖h_d − e_d‖²
        ln p(x|e) − Σ_d (‖sg[h_d] − e_d‖² + β ‖h_d − sg[e_d]‖²) + ln p(z)

    sg stops the gradient. The encoder's outputs h get the decoder's slope at the points, straight
    through, and are held near them by the commitment β. The vectors learn from the middle term, or
    follow the moving averages of the h that chose them, which have the same fixed point; vectors
    that are hardly used are moved to where many are. Encoder and vectors get no gradient from
    ln p(z), from which a learned prior learns. Source: van den Oord, Vinyals & Kavukcuoglu, *Neural
    Discrete Representation Learning* (NeurIPS 2017), eq. 1-3, 6-8; of several variables the terms
    are summed. Of fixed points (finite scalar, lookup-free, spherical quantization) all holds but
    that they do not move; γ times the information that a softer q gives of its row is added.

    What is reported is the ELBO of a q(z|x) that is certain of z, ln p(x|z) + ln p(z): under the
    uniform prior the whole rate D ln K is paid.

    Args:
        model: with a quantizer.
        x: rows ``[B, P]``.
        estimator: plays no part; nothing is estimated.
        generator: plays no part.
        encoder_input: rows ``[B, P]`` that the encoder sees in place of ``x``.
        options: β, γ, and how vectors learn.

    Raises:
        ConfigError: the model has no quantizer.

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
    quantizer, learns = encoder.quantizer, model.training
    if learns and options.decay and isinstance(quantizer, Codebook):
        quantizer.follow()
    h = model.apply_network(encoder.rounded, x if encoder_input is None else encoder_input)
    z = quantizer.nearest(h.detach())
    if learns and isinstance(quantizer, Codebook):
        quantizer.remember(h.detach(), z, options.decay or DEFAULTS.decay)
        quantizer.revive(options.revive)
    point = quantizer.points_of(z)
    straight_through = h + (point - h).detach()
    output = model.apply_network(decoder.network, straight_through.flatten(1))
    log_likelihood = model.likelihood.log_prob(output.unsqueeze(0), x)[0]
    log_prior = model.prior.log_prob(z.unsqueeze(0))[0]
    commitment = (h - point.detach()).square().sum((-1, -2))
    maximized = log_likelihood + log_prior - options.beta * commitment
    if not options.decay:
        maximized = maximized - (h.detach() - point).square().sum((-1, -2))
    if options.entropy:
        eta = quantizer.logits(h, quantizer.first_c)
        maximized = maximized + options.entropy * _information(
            model.family, eta, model.config.latent.n_places
        )
    value = log_likelihood + log_prior
    return Terms(
        with_gradient_of(value.detach(), maximized), log_likelihood.detach(), -log_prior.detach()
    )


def _information(family: Family, eta: Tensor, n_places: int = 1) -> Tensor:
    """H(mean q) − H(q(z|x)) of each row, summed over variables: ``[B]``.

    The mean is over rows, of a grid over rows and places, which share their symbols.
    """
    q = family.mean(eta)
    shares = q.reshape(len(q), n_places, -1).mean((0, 1))
    if family.spec.kind == "bernoulli":
        shares = torch.stack([shares, 1 - shares])
    # the slope of 0 ln 0 is infinite
    total: Tensor = -(shares * shares.clamp_min(1e-12).log()).sum()
    return n_places * total - family.entropy(eta)
