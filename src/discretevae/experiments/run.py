"""A whole run: data, model, training, evaluation, pictures, in one folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from discretevae.config import RunConfig, SaveEvery, to_dict
from discretevae.data import Dataset, Schema
from discretevae.data.datasets import require_dataset
from discretevae.errors import ConfigError, TrainingInterrupted, require_type
from discretevae.evaluation.bounds import Evaluation, evaluate
from discretevae.evaluation.labels import accuracy
from discretevae.families import family_of
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.run_folder.folder import FIGURES, prepare_folder
from discretevae.run_folder.history import EpochMetrics
from discretevae.run_folder.saved_run import (
    CONFIG,
    SCHEMA,
    config_bytes,
    load_schema,
    schema_bytes,
    schema_problem,
)
from discretevae.run_folder.summary import SUMMARY
from discretevae.system.files import as_path, write_json
from discretevae.system.locks import writing
from discretevae.system.randomness import generator_for
from discretevae.system.ranks import Ranks
from discretevae.training import Method, Progress, choose_method, prepare_training, run_training
from discretevae.training.loop import warn_of_collapse
from discretevae.training.state import start_state

TaskProgress: TypeAlias = Callable[[str, int, int], object]
"""Called with the task, what is done of it, and the total."""


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Args:
        folder: where it lies.
        model: the trained model.
        history: one entry per epoch.
        evaluation: on the test rows.
        figures: the pictures' paths.
    """

    folder: Path
    model: DiscreteVAE
    history: list[EpochMetrics]
    evaluation: Evaluation
    figures: list[Path]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds."""
        return {
            "run": str(self.folder),
            "test": self.evaluation.to_dict(),
            "last_epoch": dataclasses.asdict(self.history[-1]),
            "figures": [str(path) for path in self.figures],
        }


def run(
    data: Dataset,
    config: RunConfig,
    *,
    out: str | Path,
    resume: bool = False,
    new_data: bool = False,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    method: Method | None = None,
    device: str = "cpu",
    ranks: Ranks | None = None,
    samples: int = 100,
    save_every: str | SaveEvery = "10s",
    progress: Callable[[Progress], object] | None = None,
    evaluating: Callable[[int], object] | None = None,
) -> RunResult | None:
    """Train, evaluate and draw; leave all of it in ``out``.

    Args:
        data: the rows that ``config.data`` names.
        config: model, training and data.
        out: the run folder; made if it is not there.
        resume: resume the run in ``out``.
        new_data: whether ``data`` may be others than those of a run that is resumed.
        encoder: a module of your own, as `DiscreteVAE` takes it; also to resume such a run.
        decoder: likewise.
        method: of `choose_method`; None chooses one by ``config``, ``device`` and ``ranks``.
        device: where to train.
        ranks: the processes that train together; None for this one alone.
        samples: S of the S-sample bound at the end.
        save_every: how often to save, a `SaveEvery` or its spelling: ``5min``, ``500steps``.
        progress: called after every training step and epoch.
        evaluating: called with the number of test rows evaluated.

    Returns:
        The finished run; None on other ranks than the first, which evaluates and draws alone.

    Raises:
        ConfigError: the estimator cannot handle the code, or the model is too large.
        DataError: the rows do not fit the likelihood, or are others than those of the run that is
            resumed, or other rows are held out.
        RunError: ``out`` holds something that is not ours, or a run that is not to be resumed.
        TrainingInterrupted: Ctrl-C or SIGTERM, after saving.
        TrainingError: training cannot go on; the last good state is in ``out``.
    """
    require_dataset(data)
    require_type("config", config, RunConfig, "Write RunConfig(model=…, training=…).")
    data, out = data.binarized_by(config.data), as_path(out, "out")
    # wrong options and rows are refused before a folder is made
    method = method or choose_method(
        family_of(config.model.latent), config.training, device=device, ranks=ranks
    )
    if method.ranks.is_first:
        prepare_folder(out, resume=resume)
    model = fresh_model(
        config.model, seed=config.training.seed, device=str(method.device), encoder=encoder,
        decoder=decoder,
    )  # fmt: skip
    config = dataclasses.replace(config, model=model.config)
    files = {}
    if method.ranks.is_first:
        known = load_schema(out, config) if resume and not new_data else None
        files = _files(config, data, known)
    prepared = prepare_training(
        model, data, method, out=out, resume=resume, save_every=save_every, files=files
    )
    state = start_state(prepared)
    if not method.ranks.is_first:
        run_training(prepared, state, progress)
        return None
    out.mkdir(parents=True, exist_ok=True)
    with writing(out):
        run_training(prepared, state, progress)
        warn_of_collapse(state)
        try:
            return _finish(model, data, config, state.history, out, samples, evaluating)
        except KeyboardInterrupt:
            raise TrainingInterrupted(
                "after the last epoch, before evaluation and pictures were done; all is saved.", out
            ) from None


def _files(config: RunConfig, data: Dataset, known: Schema | None) -> dict[str, bytes]:
    """Return configuration and schema as the files of a run, in the order of their writing.

    Should the process end between the two, a new run has nothing yet that a schema could protect,
    and the same command resumes the other.
    """
    schema = Schema.of(data)
    if problem := schema_problem(schema, config):
        raise ConfigError(f"{data.name}: {problem}. Leave it out of the configuration.")
    if known is not None and (known.split, known.digests) != (schema.split, schema.digests):
        known.require_same(data)
    return {CONFIG: config_bytes(to_dict(config)), SCHEMA: schema_bytes(schema)}


def _finish(
    model: DiscreteVAE,
    data: Dataset,
    config: RunConfig,
    history: list[EpochMetrics],
    out: Path,
    samples: int,
    evaluating: Callable[[int], object] | None,
) -> RunResult:
    """Evaluate the model, draw the pictures and write the summary."""
    # here, since training should not have to wait for matplotlib
    from discretevae.plots.pictures import run_figures, save_figure

    evaluation = evaluate(
        model, data.test, samples=samples, seed=config.training.seed, progress=evaluating
    )
    if config.training.objective == "semi-supervised":
        evaluation = dataclasses.replace(evaluation, accuracy=accuracy(model, data.test))
    device = model.device
    generator = generator_for(config.training.seed, "figures", device=device)
    (out / FIGURES).mkdir(exist_ok=True)
    paths = []
    figures = run_figures(
        model, history, data.test, generator=generator, is_surrogate=evaluation.is_surrogate
    )
    for stem, figure in figures.items():
        paths.append(out / FIGURES / f"{stem}.png")
        save_figure(figure, paths[-1])
    result = RunResult(out, model, history, evaluation, paths)
    write_json(out / SUMMARY, result.to_dict())
    return result
