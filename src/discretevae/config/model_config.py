"""The parts of a model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from discretevae.config.activations import RELU, Activation
from discretevae.config.checks import Option, an_int, is_int, one_of, problems_of, refuse, rule
from discretevae.config.latents import LatentSpec
from discretevae.config.likelihoods import LikelihoodSpec
from discretevae.config.pictures import ImageShape, is_image_shape
from discretevae.config.priors import PriorSpec
from discretevae.config.quantizers import QuantizerSpec

Network = Literal["mlp", "cnn", "custom"]
NETWORKS: tuple[Network, ...] = get_args(Network)

Init = Literal["torch", "glorot", "he"]
INITS: tuple[Init, ...] = get_args(Init)


def _are_widths(value: object) -> bool:
    return isinstance(value, tuple) and all(is_int(width, 1) for width in value)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All that is needed to build a `DiscreteVAE` with fresh weights.

    Options that have a short spelling are given as text, spec or object, and kept as the spec:
    ``latent="bernoulli:50"``, ``latent=Bernoulli(50)``.

    Args:
        n_features: P, observed dimensions of a row.
        latent: the code, a `LatentSpec`.
        network: ``mlp``; ``cnn``, the paper's convolutional layers, for pictures of any size; or
            ``custom``: encoder and decoder are modules of your own.
        hidden: widths of the MLP encoder's hidden layers, None for (1024,), () for a linear one;
            the decoder mirrors them. Other networks have none.
        activation: between the layers of an MLP, an `Activation`.
        init: how initial weights are drawn: ``torch``, as `torch.nn.Linear` does; ``glorot`` or
            ``he``, uniform, with zero biases.
        likelihood: p(x|z), a `LikelihoodSpec`: ``bernoulli`` for values in [0, 1], ``gaussian`` for
            N(x̂, 1), ``beta-binomial`` for 8-bit values …
        quantizer: points between networks and code, a `QuantizerSpec`: ``vector:16``, a learned
            codebook, ``levels``, ``signs`` or ``sphere``; None lets them meet the code itself.
        prior: p(z), a `PriorSpec`: ``fixed`` (uniform; standard normal for a Gaussian code),
            ``factorized`` (learned), ``autoregressive`` …
        image_shape: (height, width) of a row, (height, width, channels) with 2 to 4 channels, or
            None when rows are no pictures.

    Raises:
        ConfigError: one or several values are wrong; all are named.

    Example:
        >>> config = ModelConfig(n_features=64, latent="bernoulli:8")
        >>> config.latent.n_variables, str(config.latent), config.hidden
        (8, 'bernoulli:8', (1024,))
        >>> ModelConfig(n_features=784, network="cnn", image_shape=(28, 28)).hidden is None
        True
    """

    n_features: int = field(metadata=an_int(1))
    latent: Option[LatentSpec] = Option(LatentSpec.of, LatentSpec("bernoulli", 50))
    network: Network = field(default="mlp", metadata=one_of(NETWORKS))
    hidden: tuple[int, ...] | None = field(default=None, metadata=rule("ints >= 1", _are_widths))
    activation: Option[Activation] = Option(Activation.of, RELU)
    init: Init = field(default="torch", metadata=one_of(INITS))
    likelihood: Option[LikelihoodSpec] = Option(LikelihoodSpec.of, LikelihoodSpec("bernoulli"))
    quantizer: Option[QuantizerSpec | None] = Option(QuantizerSpec.of, None)
    prior: Option[PriorSpec] = Option(PriorSpec.of, PriorSpec("fixed"))
    image_shape: ImageShape | None = field(
        default=None,
        metadata=rule("two ints >= 1, or three of which the last is 2 to 4", is_image_shape),
    )

    def __post_init__(self) -> None:
        if self.hidden is None and self.network == "mlp":
            object.__setattr__(self, "hidden", (1024,))  # the dataclass is frozen
        problems = problems_of(self, "`")
        if self.network != "mlp" and self.hidden is not None:
            problems.append(
                f"`hidden` must be left out for network {self.network}, which has layers of its "
                f"own. Got {self.hidden}."
            )
        if self.network == "cnn":
            problems += self._cnn_problems()
        if not problems and self.quantizer and self.latent.kind != self.quantizer.latent_kind:
            fitting = {"categorical": "categorical:16x32", "bernoulli": "bernoulli:50"}
            problems.append(
                f"`quantizer` {self.quantizer} needs a {self.quantizer.latent_kind} code, such as "
                f"{fitting[self.quantizer.latent_kind]}. Got {self.latent}."
            )
        is_grey = len(self.image_shape or ()) < 3
        if not problems and is_grey and self.likelihood.kind == "color-logistic":
            problems.append(f"`likelihood` {self.likelihood} is for pictures in color.")
        if not problems and self.image_shape and math.prod(self.image_shape) != self.n_features:
            problems.append(
                f"`image_shape` must hold {self.n_features} values. Got {self.image_shape}."
            )
        refuse(problems)

    def _cnn_problems(self) -> list[str]:
        problems = []
        if self.activation != RELU:
            problems.append(f"`activation` must be left out for a cnn. Got {self.activation}.")
        if self.image_shape is None:
            problems.append(
                f"a cnn needs rows that are pictures. Got rows of {self.n_features} values without "
                "height and width. Choose an fc preset, or give the pictures' size, such as "
                "`image_size=(28, 28)`."
            )
        return problems
