"""From the options that say which data and which model to their configurations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from discretevae.cli import common
from discretevae.config import (
    DataConfig,
    Init,
    LatentSpec,
    ModelConfig,
    RunConfig,
    TrainConfig,
    preset,
)
from discretevae.errors import ConfigError

if TYPE_CHECKING:
    from discretevae.data import Dataset
    from discretevae.families import Family


@dataclass
class Asked:
    """What the options of a command ask for, and all that is wrong with them.

    Args:
        options: of the command, by name.
        problems: found so far; `require` says them all at once.
    """

    options: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    family: Family | None = None
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Looks at everything that can be checked before the data are read."""
        import torch

        from discretevae.families import family_of
        from discretevae.priors import make_prior

        base = preset(self.options["preset_name"])
        self.network, self.hidden = base.network, base.hidden
        self.latent: str | LatentSpec = self.options["latent"] or base.latent
        self.init: Init = self.options["init"] or base.init
        with self.collected():
            if self.options["hidden"] is not None:
                self.hidden = parse_hidden(self.options["hidden"])
        with self.collected():
            self.image_size = common.parse_image_size(self.options["image_size"])
        with self.collected():
            # one pixel stands in until the data are read
            config = self._model(n_features=1, image_shape=(1, 1))
            self.family = family_of(self.latent)
            with torch.device("meta"):  # whether they go together; nothing is made
                make_prior(config.prior, self.family)

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Keeps what a `ConfigError` says for later."""
        try:
            yield
        except ConfigError as error:
            self.problems += error.problems

    def require(self) -> None:
        """Says all that is wrong.

        Raises:
            ConfigError: something is.
        """
        if self.problems:
            raise ConfigError(self.problems)

    def load(self) -> Dataset:
        """The data that the options name."""
        from discretevae.data import load_data

        return load_data(
            self.options["source"],
            data_dir=self.options["data_dir"],
            image_size=self.image_size,
            progress=True,
        )

    def run_config(self, data: Dataset, training: TrainConfig) -> RunConfig:
        """The configuration of a run on these data."""
        from discretevae.data import BUILTIN_NAMES

        source = self.options["source"]
        return RunConfig(
            model=self._model(n_features=data.n_features, image_shape=data.image_shape),
            training=training,
            data=DataConfig(
                source=source if source in BUILTIN_NAMES else str(Path(source).absolute()),
                image_size=self.image_size,
                divisor=data.train.divisor,
                binarize=self.options["binarize"],
            ),
        )

    def _model(self, *, n_features: int, image_shape: tuple[int, int] | None) -> ModelConfig:
        return ModelConfig(
            n_features=n_features,
            latent=self.latent,
            network=self.network,
            hidden=self.hidden,
            activation=self.options["activation"],
            init=self.init,
            likelihood=self.options["likelihood"],
            prior=self.options["prior"],
            image_shape=image_shape,
        )


def parse_hidden(text: str) -> tuple[int, ...]:
    """Reads ``1024``, ``200,200`` or ``none``.

    Raises:
        ConfigError: the text is something else.
    """
    if text == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"hidden {text!r} cannot be read. Write it like 1024, 200,200 or none."
        ) from None


__all__ = ["Asked", "parse_hidden"]
