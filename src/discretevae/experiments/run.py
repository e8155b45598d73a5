"""A whole run: data, model, training, evaluation, pictures, in one folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from discretevae.config import RunConfig, SaveEvery
from discretevae.data import Dataset
from discretevae.errors import RunError, TrainingInterrupted
from discretevae.evaluation.bounds import Evaluation, evaluate
from discretevae.families import family_of
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.objectives import choose_estimator
from discretevae.plots.pictures import run_figures, save_figure
from discretevae.run_folder.checkpoint import load_config, save_config
from discretevae.run_folder.folder import FIGURES, prepare_folder
from discretevae.run_folder.history import EpochMetrics
from discretevae.run_folder.summary import SUMMARY
from discretevae.system.files import write_json
from discretevae.system.locks import LOCK, writing
from discretevae.system.randomness import generator_for
from discretevae.system.ranks import Ranks
from discretevae.training import Progress, train
from discretevae.training.captured import check_training


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
    out: Path,
    resume: bool = False,
    device: str = "cpu",
    samples: int = 100,
    save_every: SaveEvery | None = None,
    ranks: Ranks | None = None,
    progress: Callable[[Progress], object] | None = None,
    evaluating: Callable[[int], object] | None = None,
) -> RunResult | None:
    """Trains, evaluates and draws; leaves all of it in ``out``.

    Args:
        data: the rows that ``config.data`` names; they are binarized as it says.
        config: model, training and data.
        out: the run folder; made if it is not there.
        resume: go on with the run in ``out``.
        device: where to train.
        samples: S of the S-sample bound at the end.
        save_every: how often to save; None for every ten seconds.
        ranks: the processes that train together; None for this one alone.
        progress: called after every training step and epoch.
        evaluating: called with the number of test rows evaluated.

    Returns:
        What came of it; None on other ranks than the first, which does all that is not training.

    Raises:
        ConfigError: the estimator cannot handle the code, the model is too large, or the data are
            binarized in another way.
        DataError: the rows do not fit the likelihood.
        RunError: ``out`` holds something that is not ours, or a run that is not to be resumed.
        TrainingInterrupted: Ctrl-C or SIGTERM, after saving.
        TrainingError: training cannot go on; the last good state is in ``out``.
    """
    # what is wrong with the options is said before a folder is made
    data = data.binarized_by(config.data)
    estimator = choose_estimator(family_of(config.model.latent), config.training)
    ranks = ranks or Ranks()
    check_training(config.training, estimator, torch.device(device), ranks)
    training = partial(
        train, data=data, config=config.training, out=out, resume=resume, save_every=save_every,
        ranks=ranks, progress=progress,
    )  # fmt: skip
    if not ranks.is_first:
        training(fresh_model(config.model, seed=config.training.seed, device=device))
        return None
    prepare_folder(out, resume=resume)
    model = fresh_model(config.model, seed=config.training.seed, device=device)
    for rows in (data.train, data.test):
        require_fit(model, rows)
    before = load_config(out) if resume else None
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(writing(out))
            save_config(out, config)
        except OSError:
            _remove_if_new(out)
            raise
        try:
            history = training(model)
        except RunError:
            if before is not None:
                save_config(out, before)
            raise
        try:
            return _finish(model, data, config, history, out, samples, evaluating)
        except KeyboardInterrupt:
            raise TrainingInterrupted(
                "after the last epoch, before evaluation and pictures were done; all is saved.", out
            ) from None


def _remove_if_new(out: Path) -> None:
    """Leaves no folder behind that holds a lock and nothing else."""
    with contextlib.suppress(OSError):
        if [path.name for path in out.iterdir()] == [LOCK]:
            (out / LOCK).unlink()
        out.rmdir()


def _finish(
    model: DiscreteVAE,
    data: Dataset,
    config: RunConfig,
    history: list[EpochMetrics],
    out: Path,
    samples: int,
    evaluating: Callable[[int], object] | None,
) -> RunResult:
    """What comes after training: evaluation, pictures, summary."""
    evaluation = evaluate(
        model,
        data.test,
        samples=samples,
        seed=config.training.seed,
        progress=evaluating,
    )
    device = model.device
    generator = generator_for(config.training.seed, "figures", device=device)
    (out / FIGURES).mkdir(exist_ok=True)
    paths = []
    figures = run_figures(
        model,
        history,
        data.test,
        generator=generator,
        is_surrogate=evaluation.is_surrogate,
    )
    for stem, figure in figures.items():
        paths.append(out / FIGURES / f"{stem}.png")
        save_figure(figure, paths[-1])
    result = RunResult(out, model, history, evaluation, paths)
    write_json(out / SUMMARY, result.to_dict())
    return result


__all__ = ["RunResult", "run"]
