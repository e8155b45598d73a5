"""The folder of a reproduction: pictures, a page with claims beside measurements, all numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from discretevae.data import Dataset
from discretevae.errors import RunError
from discretevae.experiments.paper.experiments import EXPERIMENTS, FIGURES, VARIANTS
from discretevae.experiments.paper.findings import FORMAT, figures_of, find_all
from discretevae.experiments.paper.markdown import markdown
from discretevae.experiments.paper.plots import paper_figure
from discretevae.experiments.paper.records import FinishedRun, finished_runs
from discretevae.experiments.run import TaskProgress
from discretevae.model.vae import DiscreteVAE
from discretevae.plots.pictures import save_figure
from discretevae.run_folder.saved_run import load_run
from discretevae.system.files import has_format, write_atomic, write_json

REPORT = "report.md"
NUMBERS = "report.json"
PICTURES = "figures"

COLORS = 256
"""Of a picture; greys and two hues need no more."""


def require_ours(out: Path) -> None:
    """Refuse a folder in which a report would write over files of somebody else.

    Raises:
        RunError: it is one, or no folder.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: is a file, not a folder. Choose another `out`.")
    written = [name for name in (REPORT, NUMBERS, PICTURES) if (out / name).exists()]
    if not written or any((out / name).is_dir() for name in EXPERIMENTS):
        return
    if not has_format(out / NUMBERS, FORMAT):
        raise RunError(f"{out}: holds a {written[0]} that is not ours. Choose another `out`.")


class Reporter:
    """Report of a folder that is kept up to date while runs are finished.

    Args:
        out: the folder.
        data: opens a data set by its name.
        device: where models are opened.
        progress: called with what is done, how much of it, and of how much.
    """

    def __init__(
        self, out: Path, *, data: Callable[[str], Dataset], device: str, progress: TaskProgress
    ) -> None:
        self.out, self.data, self.device, self.progress = out, data, device, progress
        self.drawn: set[str] = set()
        self.models: dict[str, DiscreteVAE] = {}

    def update(self) -> dict[str, Any]:
        """Write pages, numbers, and the pictures that are not up to date; return the numbers.

        Raises:
            OSError: the disk is full or the folder cannot be written to.
            RunError: the files of a finished run are corrupt.
        """
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
        write_json(self.out / NUMBERS, found.to_dict())
        write_atomic(self.out / REPORT, markdown(found).encode())
        return found.to_dict()

    def model_of(self, run: FinishedRun) -> DiscreteVAE:
        """Return the model of a run, opened once."""
        if run.key not in self.models:
            self.models[run.key] = load_run(run.folder, device=self.device).model
        return self.models[run.key]
