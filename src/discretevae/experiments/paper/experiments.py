"""Models that the paper trained, how they are trained here, and its figures. No tensors here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from discretevae.config import (
    DataConfig,
    ImageShape,
    ModelConfig,
    Precision,
    RunConfig,
    TrainConfig,
    preset,
)
from discretevae.errors import ConfigError, did_you_mean

Variant = Literal["paper", "ours"]
Kind = Literal["curves", "reconstructions", "samples", "pictures"]

VARIANTS: tuple[Variant, ...] = ("paper", "ours")
ALL = "all"

OUR_SHARE = 3
"""Ours has a third of the epochs: its batches are smaller and DisARM pays two decoder rows, so that
an epoch takes longer than one of the paper's."""

DATA_TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}


@dataclass(frozen=True)
class Experiment:
    """One model on one data set."""

    name: str
    preset: str
    source: str

    @property
    def model(self) -> str:
        """The paper's name of the model."""
        return self.preset.upper()

    @property
    def data(self) -> str:
        """The name of the data as it is written."""
        return DATA_TITLES[self.source]

    def title(self, trained_on: str | None = None) -> str:
        """Model and data; what stood in for the data is named too."""
        if trained_on in (None, self.source):
            return f"{self.model} on {self.data}"
        return f"{self.model} on {trained_on}, for {self.data}"


EXPERIMENTS: Mapping[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment("fc-bvae-mnist", "fc-bvae", "mnist"),
        Experiment("fc-cvae-mnist", "fc-cvae", "mnist"),
        Experiment("cnn-bvae-mnist", "cnn-bvae", "mnist"),
        Experiment("cnn-cvae-mnist", "cnn-cvae", "mnist"),
        Experiment("fc-bvae-fashion", "fc-bvae", "fashion-mnist"),
        Experiment("cnn-bvae-fashion", "cnn-bvae", "fashion-mnist"),
    )
}


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper, and the names of the experiments that it needs in both variants."""

    name: str
    kind: Kind
    experiments: tuple[str, ...]

    @property
    def title(self) -> str:
        """A sentence on what the figure shows, of which models."""
        shown = [EXPERIMENTS[name] for name in self.experiments]
        models = " and ".join(experiment.model for experiment in shown)
        return f"{KIND_TITLES[self.kind]} of {models} on {shown[0].data}"


KIND_TITLES: Mapping[Kind, str] = {
    "curves": "Loss, log-likelihood and gradient variance",
    "reconstructions": "Test rows and reconstructions",
    "samples": "Samples of the prior",
    "pictures": "Reconstructions and samples",
}

_FC, _CNN = ("fc-bvae-mnist", "fc-cvae-mnist"), ("cnn-bvae-mnist", "cnn-cvae-mnist")

FIGURES: Mapping[str, PaperFigure] = {
    figure.name: figure
    for figure in (
        PaperFigure("fig6", "curves", _FC),
        PaperFigure("fig7", "reconstructions", _FC),
        PaperFigure("fig8", "samples", _FC),
        PaperFigure("fig9", "curves", _CNN),
        PaperFigure("fig10", "reconstructions", _CNN),
        PaperFigure("fig11", "samples", _CNN),
        PaperFigure("fig12", "pictures", ("fc-bvae-fashion",)),
        PaperFigure("fig13", "pictures", ("cnn-bvae-fashion",)),
    )
}


def parse_figures(names: Iterable[str]) -> list[PaperFigure]:
    """Return the figures of these names in the order of the paper; ``all`` is every one.

    Names that are unknown are refused together (`ConfigError`).
    """
    asked = list(names)
    choices = (*FIGURES, ALL)
    problems = [
        f"figure {name!r} is unknown. {did_you_mean(name, choices)}"
        for name in asked
        if name not in choices
    ]
    if problems:
        raise ConfigError(problems)
    return [figure for name, figure in FIGURES.items() if name in asked or ALL in asked]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Size of the runs: epochs and batch size of the paper's protocol, the rest of both variants.

    ``hidden``, ``bits`` and ``categories`` stand in place of the preset's, ``source`` in place of
    the experiments' own data.
    """

    epochs: int = 300
    cnn_epochs: int = 100
    batch_size: int = 2048
    lr: float = 1e-3
    hidden: tuple[int, ...] | None = None
    bits: int | None = None
    categories: int | None = None
    source: str | None = None
    precision: Precision = "float32"
    seed: int = 0


FULL = Scale()
QUICK = Scale(
    epochs=36,
    cnn_epochs=9,
    batch_size=256,
    lr=3e-3,  # at the paper's step size nothing could be seen after so few steps
    hidden=(256,),
    bits=16,
    categories=20,
    source="digits",
)


def run_config(
    experiment: Experiment,
    variant: Variant,
    scale: Scale,
    *,
    n_features: int,
    image_shape: ImageShape | None,
    divisor: float,
) -> RunConfig:
    """Return the configuration of a variant of an experiment.

    ``paper``: the estimator of Bartler et al. with one sample at the paper's batch size. ``ours``:
    the package's defaults and a third of the epochs; a code of one category is trained on ln p(x)
    itself, which it can be summed for.
    """
    base = preset(experiment.preset)
    is_cnn = base.network == "cnn"
    epochs = scale.cnn_epochs if is_cnn else scale.epochs
    latent = base.latent
    is_category = latent.kind == "categorical"
    if is_category:
        latent = dataclasses.replace(latent, n_categories=scale.categories or latent.n_categories)
    else:
        latent = dataclasses.replace(latent, n_variables=scale.bits or latent.n_variables)
    own: dict[str, Any] = {"batch_size": scale.batch_size, "estimator": "importance", "samples": 1}
    if variant == "ours":
        epochs = max(1, round(epochs / OUR_SHARE))
        own = {"objective": "marginal" if is_category else "elbo"}
    return RunConfig(
        model=ModelConfig(
            n_features=n_features,
            latent=str(latent),
            network=base.network,
            hidden=base.hidden if is_cnn else scale.hidden or base.hidden,
            image_shape=image_shape,
        ),
        training=TrainConfig(
            epochs=epochs, lr=scale.lr, precision=scale.precision, seed=scale.seed, **own
        ),
        data=DataConfig(source=scale.source or experiment.source, divisor=divisor),
    )
