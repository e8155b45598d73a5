"""From the options that name data and model to their configurations."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from discretevae.config import (
    TABLE_HIDDEN,
    TABLE_LR,
    DataConfig,
    ImageShape,
    LatentSpec,
    LikelihoodSpec,
    ModelConfig,
    RunConfig,
    TrainConfig,
    preset,
    scale_for,
)
from discretevae.errors import ConfigError

if TYPE_CHECKING:
    from discretevae.data import Dataset
    from discretevae.families import Family

AUTO = "auto"
"""The likelihood that follows from the data."""


def check_model(options: dict[str, Any]) -> Family:
    """Check what can be checked before the data are read, and return the family of the code."""
    import torch

    from discretevae.families import family_of
    from discretevae.priors import make_prior

    # small pictures stand in until the data are read: one halving leads to the grid of the code
    latent = _latent(options)
    grid = latent.grid if isinstance(latent, LatentSpec) else None
    shape = (2 * grid[0], 2 * grid[1], 3) if grid else (1, 1, 3)
    config = _model_config(options, n_features=math.prod(shape), image_shape=shape)
    family = family_of(config.latent)
    with torch.device("meta"):  # allocates nothing
        make_prior(config.prior, family, grid=config.latent.grid)
    return family


def train_config(options: dict[str, Any]) -> TrainConfig:
    """Return the training that the options describe; what they lack has its default."""
    names = {field.name for field in dataclasses.fields(TrainConfig)} & options.keys()
    if options["lr"] is None:
        names.remove("lr")
    return TrainConfig(**{name: options[name] for name in names})


def load_dataset(options: dict[str, Any]) -> Dataset:
    """Load the data that the options name."""
    from discretevae.data import load_data

    return load_data(
        options["data"], data_dir=options["data_dir"], progress=True, **read_options(options)
    )


def conditioned(options: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """Return the options of a model that is conditioned on the label: it leads the code."""
    labels, classes = data.train.labels, data.train.classes
    if labels is None or not (labels >= 0).any():
        raise ConfigError(f"`condition='label'`: {data.name} has no labels. Give `label` a column.")
    if options["objective"] not in (TrainConfig().objective, "semi-supervised"):
        raise ConfigError(
            f"`condition='label'` is `objective='semi-supervised'`. Got {options['objective']!r}."
        )
    n_classes = int(labels.max()) + 1 if classes is None else len(classes)
    latent = f"categorical:{n_classes}+{_latent(options)}"
    return options | {"latent": latent, "objective": "semi-supervised"}


def read_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return how the data are read: the scale follows from the likelihood where it may."""
    is_auto = options["likelihood"] == AUTO
    scale = scale_for(
        options["scale"], None if is_auto else LikelihoodSpec.of(options["likelihood"])
    )
    if scale == "auto" and (options["divisor"] is not None or options["binarize"] != "none"):
        scale = None  # a scale that was asked for is refused beside a divisor
    names = ("label", "row_id", "text", "ignore", "kind", "header", "window", "stride",
             "image_size", "color", "skip_broken", "divisor")  # fmt: skip
    return {name: options[name] for name in names} | {"scale": scale}


def run_config(options: dict[str, Any], data: Dataset, training: TrainConfig) -> RunConfig:
    """Return the configuration of a run on these data."""
    from discretevae.data import BUILTIN
    from discretevae.model.inputs import suited_likelihood

    source, rows = options["data"], data.train
    if options["likelihood"] in (AUTO, "mixed"):
        latent = LatentSpec.of(_latent(options))
        likelihood = suited_likelihood(rows.binarized(options["binarize"]), latent)
        options = options | {"likelihood": likelihood}
    read = read_options(options) | {
        "source": source.removeprefix(BUILTIN) if data.is_builtin else str(Path(source).absolute()),
        "binarize": options["binarize"],
        "scale": None if rows.scale is None else rows.scale.kind,
        "divisor": rows.divisor if rows.scale is None else None,
    }
    if options["lr"] is None and LikelihoodSpec.of(options["likelihood"]).kind == "student":
        training = dataclasses.replace(training, lr=TABLE_LR)
    return RunConfig(
        model=_model_config(options, n_features=data.n_features, image_shape=data.image_shape),
        training=training,
        data=DataConfig(**read),
    )


def _latent(options: dict[str, Any]) -> LatentSpec | str:
    """Return the code; where it cannot be read as it was asked, for `ModelConfig` to refuse."""
    latent = options["latent"] or preset(options["preset"]).latent
    with contextlib.suppress(ConfigError):
        return LatentSpec.of(latent)
    return str(latent)


def _model_config(
    options: dict[str, Any], *, n_features: int, image_shape: ImageShape | None
) -> ModelConfig:
    latent = _latent(options)
    network, hidden = preset(options["preset"]).networks(latent, options["network"])
    if network == "mlp" and str(options["likelihood"]) == "student":
        hidden = TABLE_HIDDEN
    return ModelConfig(
        n_features=n_features,
        latent=latent,
        network=network,
        hidden=hidden if options["hidden"] is None else options["hidden"],
        width=options["width"],
        depth=options["depth"],
        decoder=options["decoder"],
        activation=options["activation"],
        init=options["init"],
        likelihood="bernoulli" if options["likelihood"] == AUTO else options["likelihood"],
        prior=options["prior"],
        quantizer=options["quantizer"],
        image_shape=image_shape,
    )
