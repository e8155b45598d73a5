"""All that a run folder remembers of how it was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from discretevae.config.checks import choice
from discretevae.config.model_config import ModelConfig
from discretevae.config.priors import parse_prior
from discretevae.config.train_config import TrainConfig
from discretevae.errors import ConfigError

BinarizeMode = Literal["none", "threshold", "dynamic"]

BINARIZE_MODES: tuple[BinarizeMode, ...] = ("none", "threshold", "dynamic")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data a run was trained on.

    Args:
        source: a built-in name or a path.
        image_size: (height, width) that a folder of images is resized to, or None.
        divisor: what the stored values were divided by, so that new rows are read alike.
        binarize: ``none`` (values as they are), ``threshold`` (x > 0.5) or ``dynamic`` (x
            redrawn as Bernoulli(x) every time it is met).

    Raises:
        ConfigError: unknown binarization.

    Example:
        >>> DataConfig(source="mnist").image_size is None
        True
    """

    source: str = "digits"
    image_size: tuple[int, int] | None = None
    divisor: float = 1.0
    binarize: BinarizeMode = "none"

    def __post_init__(self) -> None:
        """Check the binarization; the rest is checked where data are read."""
        if problems := choice("binarize", self.binarize, BINARIZE_MODES):
            raise ConfigError(problems)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run folder's ``config.json`` holds.

    Example:
        >>> config = RunConfig(model=ModelConfig(n_features=64))
        >>> run_config_from(to_dict(config)) == config
        True
    """

    model: ModelConfig
    training: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        """Checks what model and training can only do together.

        Raises:
            ConfigError: they do not go together.
        """
        prior, training = parse_prior(self.model.prior), self.training
        problems = []
        if training.free_bits is not None and prior.kind not in ("fixed", "factorized"):
            problems.append(
                f"`free_bits` needs a KL in closed form, which prior {prior} has not. Leave it "
                "out, or choose the prior fixed or factorized."
            )
        if training.pretrain and prior.kind != "mixture":
            problems.append(
                f"`pretrain` ends with the placing of a mixture prior. Got prior {prior}. Leave it "
                "out, or choose a prior such as mixture:10."
            )
        if training.augment is not None and self.model.image_shape is None:
            problems.append("`augment` distorts pictures, and these rows are none. Leave it out.")
        if training.objective != "elbo" and prior.kind == "layer":
            problems.append(
                f"`objective={training.objective!r}` needs ln p(z) itself, of which prior {prior} "
                "gives a bound. Choose `objective='elbo'`."
            )
        if problems:
            raise ConfigError(problems)


def to_dict(config: ModelConfig | TrainConfig | DataConfig | RunConfig) -> dict[str, Any]:
    """A configuration as plain values for JSON.

    Example:
        >>> to_dict(TrainConfig(epochs=3))["epochs"]
        3
    """
    return dataclasses.asdict(config)


def run_config_from(values: Mapping[str, Any]) -> RunConfig:
    """A `RunConfig` from what `to_dict` gave, after a trip through JSON.

    Raises:
        ConfigError: a key is unknown or missing, or a value is wrong.

    Example:
        >>> values = {"model": {"n_features": 64, "hidden": [128]}, "training": {}, "data": {}}
        >>> run_config_from(values).model.hidden
        (128,)
    """
    try:
        return RunConfig(
            model=ModelConfig(**_tuples(values["model"])),
            training=TrainConfig(**_tuples(values["training"])),
            data=DataConfig(**_tuples(values["data"])),
        )
    except KeyError as error:
        raise ConfigError(f"part {error} is missing") from None
    except (TypeError, AttributeError) as error:
        # an unknown key, or a value of a type that cannot even be compared
        raise ConfigError(str(error)) from None


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only; configurations hold tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


__all__ = [
    "BINARIZE_MODES",
    "BinarizeMode",
    "DataConfig",
    "RunConfig",
    "run_config_from",
    "to_dict",
]
