"""The configuration of a run: its model, its training, its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from discretevae.config.checks import refuse
from discretevae.config.data_config import DataConfig
from discretevae.config.model_config import ModelConfig
from discretevae.config.priors import PriorSpec
from discretevae.config.quantizers import MISSING
from discretevae.config.spelling import Spec
from discretevae.config.train_config import TrainConfig
from discretevae.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run folder's ``config.json`` holds.

    Raises:
        ConfigError: model and training do not go together; all reasons are named.

    Example:
        >>> config = RunConfig(model=ModelConfig(n_features=64))
        >>> run_config_from(to_dict(config)) == config
        True
    """

    model: ModelConfig
    training: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        prior, training = self.model.prior, self.training
        problems = prior_problems(prior, training.free_bits)
        if training.pretrain and prior.kind != "mixture":
            problems.append(
                f"`pretrain` ends with the placing of a mixture prior. Got prior {prior}. Leave it "
                "out, or choose a prior such as mixture:10."
            )
        if training.objective == "vq" and self.model.quantizer is None:
            problems.append(MISSING)
        label = self.model.latent.all_parts[0]
        if training.objective == "semi-supervised" and (label.kind, label.n_variables) != (
            "categorical",
            1,
        ):
            problems.append(
                "`objective='semi-supervised'` needs a code that begins with one category, the "
                f"label, such as categorical:10+bernoulli:50. Got {self.model.latent}."
            )
        augment = training.augment
        if augment is not None and augment.is_of_pictures and self.model.image_shape is None:
            problems.append("`augment` distorts pictures, and these rows are none. Leave it out.")
        if augment is not None and augment.hide and self.model.likelihood.kind != "mixed":
            problems.append(
                "`augment` hide is for tables that may have missing cells, with `likelihood` "
                f"mixed. Got {self.model.likelihood}. Leave it out."
            )
        refuse(problems)


def prior_problems(prior: PriorSpec, free_bits: float | None) -> list[str]:
    """Return what a training asks of a prior in vain.

    Example:
        >>> prior_problems(PriorSpec.mixture(10), 0.1)
        ['`free_bits` needs a KL in closed form, which prior mixture:10 has not. Leave it out, or \
choose prior fixed or factorized.']
    """
    if not free_bits or prior.has_closed_kl:
        return []
    return [
        f"`free_bits` needs a KL in closed form, which prior {prior} has not. Leave it out, or "
        "choose prior fixed or factorized."
    ]


def to_dict(config: ModelConfig | TrainConfig | DataConfig | RunConfig) -> dict[str, Any]:
    """Return a configuration as plain values for JSON; specs are spelled.

    Example:
        >>> to_dict(TrainConfig(lr_schedule="linear:0.40"))["lr_schedule"]
        'linear:0.4'
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name, value in values.items():
        if isinstance(value, Spec):
            values[name] = str(value)
        elif isinstance(value, (ModelConfig, TrainConfig, DataConfig)):
            values[name] = to_dict(value)
    return values


def run_config_from(values: Mapping[str, Any]) -> RunConfig:
    """Return the `RunConfig` of what `to_dict` gave, after a trip through JSON (`ConfigError`).

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
