"""What a model is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from discretevae.config.activations import parse_activation
from discretevae.config.checks import choice, is_int, must, problems_of
from discretevae.config.latents import parse_latent
from discretevae.config.likelihoods import parse_likelihood
from discretevae.config.priors import parse_prior
from discretevae.errors import ConfigError, did_you_mean

Network = Literal["mlp", "cnn"]

NETWORKS: tuple[Network, ...] = ("mlp", "cnn")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All that is needed to build a `DiscreteVAE` with fresh weights.

    Args:
        n_features: P, observed dimensions of a row.
        latent: the code, spelled as `parse_latent` reads it.
        network: ``mlp``, or ``cnn``: the paper's convolutional layers, for pictures of any size.
        hidden: widths of the MLP encoder's hidden layers, None for (1024,), () for a linear one;
            the decoder mirrors them. A CNN has none.
        activation: between the layers of an MLP, as `parse_activation` reads it.
        likelihood: p(x|z), as `parse_likelihood` reads it: ``bernoulli`` for values in [0, 1],
            ``gaussian`` for N(x̂, 1), ``beta-binomial`` for 8-bit values …
        prior: p(z), as `parse_prior` reads it: ``fixed`` (uniform; standard normal for a Gaussian
            code), ``factorized`` (learned), ``autoregressive`` …
        image_shape: (height, width) of a row, or None when rows are no pictures.

    Raises:
        ConfigError: one or several values are wrong; all are named.

    Example:
        >>> ModelConfig(n_features=64, latent="bernoulli:50").hidden
        (1024,)
        >>> ModelConfig(n_features=784, network="cnn", image_shape=(28, 28)).hidden is None
        True
    """

    n_features: int
    latent: str = "bernoulli:50"
    network: Network = "mlp"
    hidden: tuple[int, ...] | None = None
    activation: str = "relu"
    likelihood: str = "bernoulli"
    prior: str = "fixed"
    image_shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Checks every value, and says all that is wrong at once."""
        if self.hidden is None and self.network != "cnn":
            object.__setattr__(self, "hidden", (1024,))  # the dataclass is frozen
        problems = []
        problems += problems_of(parse_latent, self.latent)
        if not is_int(self.n_features, 1):
            problems.append(must("n_features", "an int >= 1", self.n_features))
        problems += choice("network", self.network, NETWORKS)
        if self.network == "cnn":
            problems += self._cnn_problems()
        elif self.hidden is None or not all(is_int(width, 1) for width in self.hidden):
            problems.append(must("hidden", "ints >= 1", self.hidden))
        problems += problems_of(parse_activation, self.activation)
        problems += problems_of(parse_likelihood, self.likelihood)
        problems += problems_of(parse_prior, self.prior)
        if self.image_shape is not None and math.prod(self.image_shape) != self.n_features:
            problems.append(
                f"`image_shape` must hold {self.n_features} pixels. Got {self.image_shape}."
            )
        if problems:
            raise ConfigError(problems)

    def _cnn_problems(self) -> list[str]:
        problems = []
        if self.hidden is not None:
            problems.append(
                "`hidden` must be left out for a cnn, whose layers are the paper's. Got "
                f"{self.hidden}. Leave it out, or choose an fc preset."
            )
        if self.activation != "relu":
            problems.append(f"`activation` must be left out for a cnn. Got {self.activation}.")
        if self.image_shape is None:
            problems.append(
                f"a cnn needs rows that are pictures. Got rows of {self.n_features} values without "
                "height and width. Choose an fc preset, or give the pictures' size, such as "
                "`image_size=(28, 28)`."
            )
        elif len(self.image_shape) != 2 or not all(is_int(side, 1) for side in self.image_shape):
            problems.append(must("image_shape", "two ints >= 1", self.image_shape))
        return problems


@dataclass(frozen=True)
class Preset:
    """A model of the paper by its name."""

    latent: str
    network: Network
    hidden: tuple[int, ...] | None
    about: str


PRESETS: Mapping[str, Preset] = {
    "fc-bvae": Preset(
        "bernoulli:50", "mlp", (1024,), "the paper's fully connected VAE with 50 bits"
    ),
    "fc-cvae": Preset(
        "categorical:100", "mlp", (1024,), "the paper's VAE with one 100-way category"
    ),
    "fc-gvae": Preset("gaussian:50", "mlp", (1024,), "the Gaussian VAE that the paper starts from"),
    "cnn-bvae": Preset("bernoulli:50", "cnn", None, "the paper's convolutional VAE with 50 bits"),
    "cnn-cvae": Preset("categorical:100", "cnn", None, "the same with one 100-way category"),
    "cnn-gvae": Preset("gaussian:50", "cnn", None, "the same with a Gaussian code"),
}


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: there is none of that name.

    Example:
        >>> preset("fc-cvae").latent
        'categorical:100'
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown. {did_you_mean(name, PRESETS)}")
    return PRESETS[name]


__all__ = [
    "NETWORKS",
    "PRESETS",
    "ModelConfig",
    "Network",
    "Preset",
    "preset",
]
