"""Runs that figures need, and their report: pictures and numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from discretevae.config import RunConfig
from discretevae.data import Dataset, load_data
from discretevae.errors import CollapseWarning, RunError, TrainingInterrupted
from discretevae.experiments.paper.experiments import (
    EXPERIMENTS,
    FIGURES,
    FULL,
    VARIANTS,
    PaperFigure,
    Scale,
    Variant,
    run_config,
)
from discretevae.experiments.paper.findings import (
    FORMAT,
    FinishedRun,
    figures_of,
    find_all,
    finished_runs,
    read_finished,
    run_folder,
)
from discretevae.experiments.paper.plots import paper_figure
from discretevae.experiments.run import TaskProgress, run
from discretevae.model.vae import DiscreteVAE
from discretevae.plots.pictures import save_figure
from discretevae.run_folder.folder import folder_problem
from discretevae.run_folder.saved_run import is_run, load_run
from discretevae.system.files import has_format, write_json
from discretevae.training import Progress

NUMBERS = "report.json"
PICTURES = "figures"

COLORS = 256
"""Of a picture; greys and two hues need no more."""


def reproduce(
    figures: Sequence[PaperFigure],
    *,
    out: Path,
    scale: Scale = FULL,
    data_dir: Path | None = None,
    device: str = "cpu",
    progress: TaskProgress = lambda what, done, total: None,
    finished: Callable[[FinishedRun, bool], object] = lambda run, is_new: None,
) -> dict[str, Any]:
    """Make the runs that the figures need, and the report of all finished runs in ``out``.

    A finished run of the same configuration is left as it is; an unfinished one is gone on with.
    The report is brought up to date after every run; what ``report.json`` holds is returned.
    ``finished`` is called with every run, and whether it was made just now.
    """
    require_ours(out)
    opened: dict[str, Dataset] = {}

    def data(source: str) -> Dataset:
        if source not in opened:
            progress(f"opening {source}", 0, 1)
            opened[source] = load_data(source, data_dir=data_dir)
        return opened[source]

    planned: dict[tuple[str, Variant], RunConfig] = {}
    for figure in figures:
        for name in figure.experiments:
            of = data(scale.source or EXPERIMENTS[name].source)
            for variant in VARIANTS:
                planned[name, variant] = run_config(
                    EXPERIMENTS[name],
                    variant,
                    scale,
                    n_features=of.n_features,
                    image_shape=of.image_shape,
                    divisor=of.train.divisor,
                )
    _require_free(out, planned)
    there = finished_runs(out)
    for figure in figures_of(there):
        # what the report will show besides must not fail after hours of training
        data(there[figure.experiments[0], "paper"].config.data.source)

    reporter = Reporter(out, data=data, device=device, progress=progress)
    report: dict[str, Any] | None = None
    try:
        for (name, variant), config in planned.items():
            experiment = EXPERIMENTS[name]
            found = read_finished(out, experiment, variant)
            is_new = found is None
            if is_new:
                _make(
                    run_folder(out, experiment, variant), f"{name}/{variant}",
                    data(config.data.source), config, device, progress,
                )  # fmt: skip
                found = read_finished(out, experiment, variant)
            if found is None:
                raise RunError(f"{out}: was changed by somebody else meanwhile. Run again.")
            finished(found, is_new)
            if is_new:
                report = reporter.update()
        return report or reporter.update()
    except KeyboardInterrupt:
        raise TrainingInterrupted(f"what was saved is in {out}. Run it again to go on.") from None


def _make(
    out: Path, name: str, data: Dataset, config: RunConfig, device: str, progress: TaskProgress
) -> None:
    """Make a run or go on with it; the report shows how much of its code is used."""
    epochs = config.training.epochs

    def training(at: Progress) -> None:
        done = (at.epoch - 1) * at.n_steps + at.step
        progress(f"{name} · epoch {at.epoch}/{epochs}", done, epochs * at.n_steps)

    def evaluating(rows: int) -> None:
        progress(f"{name} · evaluating", rows, len(data.test))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)
            run(
                data, config, out=out, resume=is_run(out), device=device, progress=training,
                evaluating=evaluating,
            )  # fmt: skip
    except TrainingInterrupted as stopped:
        # resuming this run alone would leave out the rest
        raise TrainingInterrupted(f"{name}: {stopped.message} Run it again to go on.") from None


def _require_free(out: Path, planned: dict[tuple[str, Variant], RunConfig]) -> None:
    """Refuse folders that runs cannot be made in, before any work is done (`RunError`)."""
    problems = [
        problem
        for (name, variant), config in planned.items()
        if (problem := folder_problem(run_folder(out, EXPERIMENTS[name], variant), config))
    ]
    if problems:
        rest = len(problems) - 1
        more = f" The same with {rest} other{'s' * (rest > 1)}." if rest else ""
        raise RunError(problems[0] + more)


def require_ours(out: Path) -> None:
    """Refuse a folder in which a report would write over files of somebody else (`RunError`)."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: is a file, not a folder. Choose another `out`.")
    written = [name for name in (NUMBERS, PICTURES) if (out / name).exists()]
    if not written or any((out / name).is_dir() for name in EXPERIMENTS):
        return
    if not has_format(out / NUMBERS, FORMAT):
        raise RunError(f"{out}: holds a {written[0]} that is not ours. Choose another `out`.")


class Reporter:
    """Report of a folder that is kept up to date while runs are finished.

    ``data`` opens a data set by its name.
    """

    def __init__(
        self, out: Path, *, data: Callable[[str], Dataset], device: str, progress: TaskProgress
    ) -> None:
        self.out, self.data, self.device, self.progress = out, data, device, progress
        self.drawn: set[str] = set()
        self.models: dict[str, DiscreteVAE] = {}

    def update(self) -> dict[str, Any]:
        """Write numbers, and the pictures that are not up to date; return the numbers."""
        runs = finished_runs(self.out)
        figures = figures_of(runs)
        pictures = self.out / PICTURES
        pictures.mkdir(parents=True, exist_ok=True)
        for number, figure in enumerate(figures):
            if figure.name in self.drawn:
                continue
            self.progress(f"drawing {figure.name}", number, len(figures))
            pairs = [{v: runs[name, v] for v in VARIANTS} for name in figure.experiments]
            rows = self.data(pairs[0]["paper"].config.data.source).test
            made = paper_figure(figure.kind, pairs, rows, self.model_of)
            save_figure(made, pictures / f"{figure.name}.png", colors=COLORS)
            self.drawn.add(figure.name)
        for name in FIGURES.keys() - {figure.name for figure in figures}:
            (pictures / f"{name}.png").unlink(missing_ok=True)
        self.progress("writing the report", 0, 1)
        found = find_all(runs, self.data, self.model_of)
        write_json(self.out / NUMBERS, found)
        return found

    def model_of(self, run: FinishedRun) -> DiscreteVAE:
        """Return the model of a run, opened once."""
        if run.key not in self.models:
            self.models[run.key] = load_run(run.folder, device=self.device).model
        return self.models[run.key]
