"""Finished runs in the folder of a reproduction, and all numbers that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from discretevae.codes.packing import encode_rows
from discretevae.config import RunConfig, auto_batch_size, to_dict
from discretevae.data import Dataset
from discretevae.errors import RunError
from discretevae.experiments.paper.claims import (
    change,
    clusters,
    loss_fall,
    sooner,
    worse,
)
from discretevae.experiments.paper.experiments import (
    EXPERIMENTS,
    FIGURES,
    VARIANTS,
    Experiment,
    PaperFigure,
    Variant,
)
from discretevae.families import Categorical, family_of
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import estimator_name
from discretevae.run_folder.history import METRICS, EpochMetrics, read_metrics, seconds_of
from discretevae.run_folder.saved_run import is_run, load_config
from discretevae.run_folder.summary import read_summary

FORMAT = "discretevae-reproduction"

BITS_AND_CATEGORY = (("fc-bvae-mnist", "fc-cvae-mnist"), ("cnn-bvae-mnist", "cnn-cvae-mnist"))
"""Pairs of experiments that the paper compares."""


@dataclass(frozen=True)
class FinishedRun:
    """A run that reached its last epoch and was evaluated."""

    experiment: Experiment
    variant: Variant
    folder: Path
    config: RunConfig
    history: list[EpochMetrics]
    test: dict[str, Any]

    @property
    def key(self) -> str:
        """``EXPERIMENT/VARIANT``, its folder within the reproduction's."""
        return f"{self.experiment.name}/{self.variant}"

    @property
    def title(self) -> str:
        """Model and data."""
        return self.experiment.title(self.config.data.source)

    @property
    def method(self) -> str:
        """The objective, unless it is the ELBO, and the estimator."""
        training = self.config.training
        estimator = estimator_name(family_of(self.config.model.latent), training)
        return estimator if training.objective == "elbo" else f"{training.objective}, {estimator}"


def run_folder(out: Path, experiment: Experiment, variant: Variant) -> Path:
    """Return the folder of a run of a reproduction."""
    return out / experiment.name / variant


def read_finished(out: Path, experiment: Experiment, variant: Variant) -> FinishedRun | None:
    """Read a finished run; None where there is none, or one that is not at its end."""
    folder = run_folder(out, experiment, variant)
    summary = read_summary(folder) if is_run(folder) else None
    if summary is None or summary["last_epoch"] is None:
        return None
    config, epochs = load_config(folder), summary["last_epoch"]["epoch"]
    if epochs != config.training.epochs:
        return None  # it was prolonged, and is not there yet
    history = read_metrics(folder)
    if len(history) != epochs:
        raise RunError(
            f"{folder / METRICS}: corrupt, it holds {len(history)} of {epochs} epochs. "
            f"Delete {folder} and run again."
        )
    return FinishedRun(experiment, variant, folder, config, history, summary["test"])


def finished_runs(out: Path) -> dict[tuple[str, Variant], FinishedRun]:
    """Return all finished runs of a reproduction, by experiment and variant, in order."""
    found = {}
    for name, experiment in EXPERIMENTS.items():
        for variant in VARIANTS:
            run = read_finished(out, experiment, variant)
            if run is not None:
                found[name, variant] = run
    return found


Runs: TypeAlias = Mapping[tuple[str, Variant], FinishedRun]


def figures_of(runs: Runs) -> list[PaperFigure]:
    """Return the figures whose runs are all there."""
    return [
        figure
        for figure in FIGURES.values()
        if all((name, variant) in runs for name in figure.experiments for variant in VARIANTS)
    ]


def find_all(
    runs: Runs, data: Callable[[str], Dataset], model_of: Callable[[FinishedRun], DiscreteVAE]
) -> dict[str, Any]:
    """Return what ``report.json`` holds: every number, of runs and of pairs of them."""
    figures = [figure.name for figure in figures_of(runs)]
    stand_ins = {run.config.data.source for run in runs.values()}
    stand_ins -= {run.experiment.source for run in runs.values()}
    alike = [
        (runs[bits, variant], runs[category, variant])
        for bits, category in BITS_AND_CATEGORY
        for variant in VARIANTS
        if (bits, variant) in runs and (category, variant) in runs
    ]
    both = [name for name in EXPERIMENTS if all((name, variant) in runs for variant in VARIANTS)]
    return {
        "format": FORMAT,
        # the data set that was taken in place of the experiments' own, if one was
        "stand_in": next(iter(sorted(stand_ins)), None),
        "figures": figures,
        "missing": [name for name in FIGURES if name not in figures],
        "runs": [_find(run, data(run.config.data.source), model_of) for run in runs.values()],
        "worse": [
            {"bits": bits.key, "category": category.key}
            | worse(bits.test, category.test, category.config.model.latent.n_categories)
            for bits, category in alike
        ],
        "sooner": [
            {"paper": paper.key, "ours": ours.key} | sooner(paper.history, ours.history)
            for paper, ours in ((runs[name, "paper"], runs[name, "ours"]) for name in both)
        ],
    }


def _find(
    run: FinishedRun, data: Dataset, model_of: Callable[[FinishedRun], DiscreteVAE]
) -> dict[str, Any]:
    """Return the numbers of one run."""
    history, training = run.history, run.config.training
    return {
        "run": run.key,
        "title": run.title,
        "variant": run.variant,
        "method": run.method,
        "batch_size": training.batch_size or auto_batch_size(len(data.train)),
        "epochs": len(history),
        "seconds": seconds_of(history)[0][-1],
        "test": run.test,
        "loss": loss_fall(history),
        "gradient_variance": change([m.grad_variance for m in history]),
        "relative_gradient_variance": change([m.grad_relative_variance for m in history]),
        "clusters": _clusters_of(model_of(run), data),
        "config": to_dict(run.config),
    }


def _clusters_of(model: DiscreteVAE, data: Dataset) -> dict[str, float] | None:
    family, labels = model.family, data.test.labels
    if labels is None or not isinstance(family, Categorical) or family.n_variables > 1:
        return None
    codes = encode_rows(model, data.test)[:, 0].astype(np.int64)
    return clusters(codes, labels.numpy())
