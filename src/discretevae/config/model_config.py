"""The parts of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from discretevae.config.activations import RELU, Activation
from discretevae.config.checks import Option, an_int, are_ints, one_of, problems_of, refuse, rule
from discretevae.config.latents import LatentSpec
from discretevae.config.likelihoods import LikelihoodSpec
from discretevae.config.pictures import ImageShape, is_image_shape, spell_shape
from discretevae.config.priors import PriorSpec
from discretevae.config.quantizers import QuantizerSpec

Network = Literal["mlp", "cnn", "resnet", "custom"]
NETWORKS: tuple[Network, ...] = get_args(Network)

DecoderKind = Literal["mirror", "linear"]
DECODERS: tuple[DecoderKind, ...] = get_args(DecoderKind)

Init = Literal["torch", "glorot", "he"]
INITS: tuple[Init, ...] = get_args(Init)

WIDTH, DEPTH = 64, 1
"""Of a resnet."""

DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "mlp": {"init": "torch", "hidden": (1024,)},
    "cnn": {"init": "he"},
    "resnet": {"init": "glorot", "width": WIDTH, "depth": DEPTH},
}
"""Default options of each network, which replace None."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All that is needed to build a `DiscreteVAE` with fresh weights.

    Options that have a short spelling are given as text, spec or object, and kept as the spec:
    ``latent="bernoulli:50"``, ``latent=Bernoulli(50)``.

    Args:
        n_features: P, observed dimensions of a row.
        latent: the code, a `LatentSpec`.
        network: ``mlp``; for pictures of any size ``cnn``, the paper's convolutional layers, or
            ``resnet``, residual convolutions; or ``custom``: encoder and decoder are modules of
            your own.
        hidden: widths of the MLP encoder's hidden layers, None for (1024,), () for a linear one;
            the decoder mirrors them. Other networks have none.
        decoder: of an MLP: ``mirror``, with the layers of the encoder; ``linear``, one layer whose
            weights say what each bit does to each feature; None for ``linear`` of counts.
        width: channels of a resnet, None for 64. Other networks have none.
        depth: residual blocks of a resnet at each size of the picture, None for 1.
        activation: between the layers of an MLP, an `Activation`.
        init: how initial weights are drawn: ``torch``, as `torch.nn.Linear` does; ``glorot`` or
            ``he``, uniform, with zero biases. None for ``he`` of a cnn, which may collapse from
            torch's own, ``glorot`` of a resnet, else ``torch``.
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
    hidden: tuple[int, ...] | None = field(
        default=None, metadata=rule("ints >= 1", lambda value: are_ints(value, 1))
    )
    width: int | None = field(default=None, metadata=an_int(1, 10_000))
    depth: int | None = field(default=None, metadata=an_int(1, 100))
    decoder: DecoderKind | None = field(default=None, metadata=one_of(DECODERS))
    activation: Option[Activation] = Option(Activation.of, RELU)
    init: Init | None = field(default=None, metadata=one_of(INITS))
    likelihood: Option[LikelihoodSpec] = Option(LikelihoodSpec.of, LikelihoodSpec("bernoulli"))
    quantizer: Option[QuantizerSpec | None] = Option(QuantizerSpec.of, None)
    prior: Option[PriorSpec] = Option(PriorSpec.of, PriorSpec("fixed"))
    image_shape: ImageShape | None = field(
        default=None,
        metadata=rule("two ints >= 1, or three of which the last is 2 to 4", is_image_shape),
    )

    def __post_init__(self) -> None:
        for name, value in DEFAULTS.get(str(self.network), {"init": "torch"}).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)  # the dataclass is frozen
        problems = problems_of(self, "`")
        if self.decoder is None and self.network == "mlp" and not problems:
            counts = self.likelihood.is_count
            object.__setattr__(self, "decoder", "linear" if counts else "mirror")
        for name, network in (
            ("hidden", "mlp"),
            ("decoder", "mlp"),
            ("width", "resnet"),
            ("depth", "resnet"),
        ):
            if self.network != network and getattr(self, name) is not None:
                problems.append(
                    f"`{name}` must be left out for network {self.network}, which has layers of "
                    f"its own. Got {getattr(self, name)}."
                )
        if self.network in ("cnn", "resnet"):
            problems += self._picture_problems()
        if getattr(self.latent, "grid", None) and self.network in ("mlp", "cnn"):
            problems.append(
                f"`latent` {self.latent} is a grid, whose places network {self.network} does not "
                "keep. Choose `network='resnet'`, or leave the grid out."
            )
        if not problems and self.quantizer and self.latent.kind != self.quantizer.latent_kind:
            fitting = {"categorical": "categorical:16x32", "bernoulli": "bernoulli:50"}
            problems.append(
                f"`quantizer` {self.quantizer} needs a {self.quantizer.latent_kind} code, such as "
                f"{fitting[self.quantizer.latent_kind]}. Got {self.latent}."
            )
        if not problems and self.likelihood.kind == "mixed":
            problems += self._column_problems()
        is_grey = len(self.image_shape or ()) < 3
        if not problems and is_grey and self.likelihood.kind == "color-logistic":
            problems.append(f"`likelihood` {self.likelihood} is for pictures in color.")
        if not problems and self.image_shape and math.prod(self.image_shape) != self.n_features:
            problems.append(
                f"`image_shape` must hold {self.n_features} values. Got {self.image_shape}."
            )
        refuse(problems)

    def _column_problems(self) -> list[str]:
        if self.network in ("cnn", "resnet"):
            return [f"`likelihood` mixed is for tables, and a {self.network} for pictures."]
        n = len(self.likelihood.columns)
        if n in (0, self.n_features):
            return []
        return [f"`likelihood` mixed has {n:,} columns, but rows have {self.n_features:,}."]

    def _picture_problems(self) -> list[str]:
        problems, shape = [], self.image_shape
        if self.activation != RELU:
            problems.append(
                f"`activation` must be left out for a {self.network}. Got {self.activation}."
            )
        if shape is None:
            problems.append(
                f"a {self.network} needs rows that are pictures. Got rows of {self.n_features} "
                "values without height and width. Choose `network='mlp'` and a code without a "
                "grid, or give the pictures' size, such as `image_size=(28, 28)`."
            )
        elif self.network == "resnet" and are_ints(shape, 1):
            grids, grid = halvings(shape)[1:], getattr(self.latent, "grid", None)
            if grid is not None and grid not in grids:
                fitting = ", ".join(spell_shape(one, "x") for one in grids)
                problems.append(
                    f"`latent` {self.latent}: halving pictures of {spell_shape(shape[:2], 'x')} "
                    f"leads to grids of {fitting}. Choose one, or another `image_size`."
                )
        return problems


def halvings(image_shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return height and width of a picture, and after each halving, rounded up, down to 1×1."""
    sizes = [(image_shape[0], image_shape[1])]
    while len(sizes) == 1 or max(sizes[-1]) > 1:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes
