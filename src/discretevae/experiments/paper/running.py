"""Runs that figures need: what is done is skipped, what is not is gone on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from discretevae.config import RunConfig
from discretevae.data import Dataset, load_data
from discretevae.errors import RunError, TrainingInterrupted
from discretevae.experiments.paper.experiments import (
    EXPERIMENTS,
    FULL,
    VARIANTS,
    PaperFigure,
    Scale,
    Variant,
    run_config,
)
from discretevae.experiments.paper.findings import figures_of
from discretevae.experiments.paper.records import (
    FinishedRun,
    finished_runs,
    read_finished,
    run_folder,
)
from discretevae.experiments.paper.report import Reporter, require_ours
from discretevae.experiments.run import TaskProgress, run_part
from discretevae.run_folder.folder import folder_problem


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
    The report is brought up to date after every run.

    Args:
        figures: what to show.
        out: the folder of runs and report.
        scale: how large the runs are.
        data_dir: where built-in data sets lie.
        device: where to train.
        progress: called with what is done, how much of it, and of how much.
        finished: called with every run that the figures need, and whether it was made just now.

    Returns:
        What ``report.json`` holds.

    Raises:
        ConfigError: the scale holds values that no run can have.
        DataError: a data set cannot be read.
        DownloadError: a data set cannot be fetched.
        RunError: ``out`` holds a run of another configuration, or something that is not ours.
        TrainingError: training cannot go on; the last good state is in the run's folder.
        TrainingInterrupted: Ctrl-C or SIGTERM, after saving.
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
                run_part(
                    data(config.data.source), config, out=run_folder(out, experiment, variant),
                    name=f"{name}/{variant}", device=device, progress=progress,
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


def _require_free(out: Path, planned: dict[tuple[str, Variant], RunConfig]) -> None:
    """Refuse folders that runs cannot be made in, before any work is done.

    Raises:
        RunError: of the first of them; how many more there are is said.
    """
    problems = [
        problem
        for (name, variant), config in planned.items()
        if (problem := folder_problem(run_folder(out, EXPERIMENTS[name], variant), config))
    ]
    if problems:
        rest = len(problems) - 1
        more = f" The same with {rest} other{'s' * (rest > 1)}." if rest else ""
        raise RunError(problems[0] + more)
