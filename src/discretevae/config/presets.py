"""The models of the paper by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from discretevae.config.latents import LatentSpec
from discretevae.config.model_config import Network
from discretevae.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Preset:
    """A model of the paper: its options, and what it is."""

    latent: LatentSpec
    network: Network
    hidden: tuple[int, ...] | None
    about: str

    def networks(
        self, latent: LatentSpec | str, network: Network | None = None
    ) -> tuple[Network, tuple[int, ...] | None]:
        """Return the network and its hidden layers of such a model with another code.

        A grid is made for a resnet, which it gets where no network is named; the preset's hidden
        layers are for its own network alone.

        Example:
            >>> preset("fc-bvae").networks(LatentSpec.of("bernoulli:9@8x8"))
            ('resnet', None)
        """
        network = network or ("resnet" if getattr(latent, "grid", None) else self.network)
        return network, self.hidden if network == self.network else None


_BITS = LatentSpec("bernoulli", 50)
_CATEGORY = LatentSpec("categorical", 1, 100)
_REALS = LatentSpec("gaussian", 50)

PRESETS: Mapping[str, Preset] = {
    "fc-bvae": Preset(_BITS, "mlp", (1024,), "the paper's fully connected VAE with 50 bits"),
    "fc-cvae": Preset(_CATEGORY, "mlp", (1024,), "the paper's VAE with one 100-way category"),
    "fc-gvae": Preset(_REALS, "mlp", (1024,), "the Gaussian VAE that the paper starts from"),
    "cnn-bvae": Preset(_BITS, "cnn", None, "the paper's convolutional VAE with 50 bits"),
    "cnn-cvae": Preset(_CATEGORY, "cnn", None, "the same with one 100-way category"),
    "cnn-gvae": Preset(_REALS, "cnn", None, "the same with a Gaussian code"),
}


TABLE_HIDDEN, TABLE_LR = (128,), 3e-3
"""Widths and step size for tables under ``student``: see docs/results/tables.md."""


def preset(name: str) -> Preset:
    """Return the preset of that name, or refuse it (`ConfigError`)."""
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown. {did_you_mean(name, PRESETS)}")
    return PRESETS[name]
