"""Another prior for a trained run, fitted to its codes: a new run folder beside the old one."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from discretevae.config import PriorSpec
from discretevae.config.checks import must
from discretevae.data import Dataset, Schema
from discretevae.data.datasets import require_dataset
from discretevae.errors import ConfigError, require_type
from discretevae.evaluation.bounds import Evaluation, row_scores, summary_of
from discretevae.evaluation.measured import Measured, measured
from discretevae.experiments.run import TaskProgress
from discretevae.model.vae import DiscreteVAE
from discretevae.plots.pictures import prior_samples, save_figure
from discretevae.priors import make_prior
from discretevae.run_folder.folder import FIGURES, prepare_folder
from discretevae.run_folder.history import METRICS, read_metrics
from discretevae.run_folder.saved_run import Run, save_config, save_schema, save_weights
from discretevae.run_folder.summary import SUMMARY
from discretevae.system.files import as_path, write_atomic, write_json
from discretevae.system.locks import writing
from discretevae.system.randomness import generator_for
from discretevae.training.prior_fitting import PriorEpoch, fit_prior

Condition = Literal["none", "label"]

PRIOR = "prior.json"
"""Marks a folder whose prior was fitted afterwards."""


@dataclass(frozen=True)
class Refitted:
    """A run whose prior was fitted after its training.

    Args:
        folder: the new run.
        model: the model with its new prior; encoder and decoder are the old run's.
        history: of the fit.
        before: the old run on the test rows.
        after: the new one on the same rows with the same draws.
        gain: the difference of the two ELBOs, row by row.
        figures: the pictures' paths.
    """

    folder: Path
    model: DiscreteVAE
    history: list[PriorEpoch]
    before: Evaluation
    after: Evaluation
    gain: Measured
    figures: list[Path]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values for JSON."""
        return {
            "run": str(self.folder),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "gain": dataclasses.asdict(self.gain),
            "history": [dataclasses.asdict(epoch) for epoch in self.history],
            "figures": [str(path) for path in self.figures],
        }


def refit_prior(
    run: Run,
    data: Dataset,
    prior: str | PriorSpec,
    *,
    out: Path,
    condition: Condition = "none",
    epochs: int = 20,
    batch_size: int = 256,
    lr: float | None = None,
    samples: int = 100,
    seed: int = 0,
    progress: TaskProgress = lambda task, done, total: None,
) -> Refitted:
    """Fit a prior to the codes of a trained run, and write a new run that has it to ``out``.

    Encoder, decoder and likelihood stay as they are; of the ELBO only E_q ln p(z) changes. See
    `discretevae.training.prior_fitting.fit_prior`.

    Args:
        run: the trained run; its folder is not touched.
        data: training rows to fit to, test rows to measure on.
        prior: such as ``mixture:10``; not ``fixed``.
        out: the new run folder.
        condition: ``label`` for p(z|y) given the rows' labels, by a transformer or convolutions;
            evaluated is p(z) = Σ_y p(y) p(z|y), which needs none.
        epochs: passes over the training rows.
        batch_size: rows per step.
        lr: learning rate of the first step; None for the default of the prior.
        samples: S of the S-sample bound.
        seed: of the fit and of the measurement.
        progress: called with the task, what is done of it, and the total.

    Raises:
        ConfigError: the prior cannot be fitted, or is none for this code.
        DataError: the rows have no labels to condition on.
        RunError: ``out`` is taken.

    Example:
        >>> import tempfile
        >>> from discretevae.run_folder.saved_run import load_run
        >>> from discretevae.config import ModelConfig, RunConfig, TrainConfig
        >>> from discretevae.data import load_data
        >>> from discretevae.experiments.run import run as train_run
        >>> data = load_data("digits")
        >>> model = ModelConfig(n_features=64, latent="gaussian:2", hidden=(16,))
        >>> config = RunConfig(model=model, training=TrainConfig(epochs=5, lr=0.01))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = train_run(data, config, out=Path(folder) / "a")
        ...     old = load_run(Path(folder) / "a")
        ...     new = refit_prior(old, data, "mixture:3", out=Path(folder) / "b", epochs=2)
        ...     print(load_run(Path(folder) / "b").config.model.prior)
        mixture:3
    """
    require_type("run", run, Run, "Open one with load_run.")
    require_dataset(data)
    out = as_path(out, "out")
    prior = PriorSpec.of(prior)
    if condition not in get_args(Condition):
        raise ConfigError(must("condition", "none or label", condition))
    if condition == "label":
        names, labels = run.schema and run.schema.classes, data.train.labels
        n_classes = len(names or ()) or max(0 if labels is None else int(labels.max()), 0) + 1
        prior = dataclasses.replace(prior, classes=n_classes)
    model = _with_prior(run.model, prior, seed)
    if not any(True for _ in model.prior.parameters()):
        raise ConfigError(f"prior {prior} has nothing to learn. Choose autoregressive.")
    prepare_folder(out, resume=False)
    data = data.binarized_by(run.config.data)
    history = fit_prior(
        model, data.train, model.prior, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed,
        progress=lambda done: progress("fitting the prior", done, epochs * len(data.train)),
    )  # fmt: skip
    scores = [
        row_scores(
            each, data.test, samples=samples, seed=seed,
            progress=lambda done: progress("evaluating", done, len(data.test)),
        )
        for each in (run.model, model)
    ]  # fmt: skip
    config = dataclasses.replace(
        run.config, model=dataclasses.replace(run.config.model, prior=prior)
    )
    out.mkdir(parents=True, exist_ok=True)
    with writing(out):
        save_weights(out, model)
        result = Refitted(
            out,
            model,
            history,
            summary_of(scores[0], run.model),
            summary_of(scores[1], model),
            measured(scores[1].elbo - scores[0].elbo),
            _pictures(run, model, out, seed),
        )
        _summarize(run, result)
        save_schema(out, run.schema or Schema.of(data))
        save_config(out, config)  # last: without it the folder is no run, and not resumed
    return result


def _with_prior(model: DiscreteVAE, prior: PriorSpec, seed: int) -> DiscreteVAE:
    """Return a copy of the model with a fresh prior."""
    config = dataclasses.replace(model.config, prior=prior)
    fresh = copy.deepcopy(model)
    fresh.config = config
    fresh.prior = make_prior(
        prior,
        fresh.family,
        grid=config.latent.grid,
        activation=config.activation,
        init=config.init or "torch",
        generator=generator_for(seed, "prior weights"),
    )
    return fresh.to(model.device).eval()


def _pictures(run: Run, model: DiscreteVAE, out: Path, seed: int) -> list[Path]:
    if run.config.model.image_shape is None:
        return []
    (out / FIGURES).mkdir(exist_ok=True)
    path = out / FIGURES / "samples.png"
    models = {str(run.model.config.prior): run.model, str(model.config.prior): model}
    save_figure(prior_samples(models, seed=seed), path)
    return [path]


def _summarize(run: Run, result: Refitted) -> None:
    """Write the summary of the new run, and the metrics of the old one's training."""
    epochs = read_metrics(run.folder) if (run.folder / METRICS).exists() else []
    if epochs:
        lines = (run.folder / METRICS).read_bytes()
        write_atomic(result.folder / METRICS, lines)
    values = result.to_dict()
    write_json(result.folder / PRIOR, values | {"of": str(run.folder)})
    write_json(
        result.folder / SUMMARY,
        {
            "run": values["run"],
            "test": values["after"],
            "last_epoch": dataclasses.asdict(epochs[-1]) if epochs else None,
            "figures": values["figures"],
        },
    )
