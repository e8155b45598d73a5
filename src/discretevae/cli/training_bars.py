"""What one sees of a training that runs in a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from discretevae.config import RowTarget, RunConfig

if TYPE_CHECKING:
    from discretevae.data import Dataset
    from discretevae.run_folder.history import EpochMetrics
    from discretevae.system.ranks import Ranks
    from discretevae.training import Progress


class TrainingBars:
    """A bar for the epochs with the figures of the last one; silent unless a terminal looks."""

    def __init__(self, config: RunConfig, data: Dataset, ranks: Ranks) -> None:
        self.config, self.data, self.ranks = config, data, ranks
        self.bar: Any = None

    def __enter__(self) -> TrainingBars:
        if sys.stderr.isatty() and self.ranks.is_first:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.bar.start()
            is_plain = self.config.training.target == RowTarget()
            first = "starting" if is_plain else f"neighbors of {len(self.data.train):,} rows"
            self.task = self.bar.add_task(first, total=None, figures="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def training(self, progress: Progress) -> None:
        """Called by the loop after every step and epoch."""
        if self.bar is None:
            return
        epochs = self.config.training.epochs
        changes: dict[str, Any] = {
            "description": f"epoch {progress.epoch}/{epochs}",
            "total": epochs * progress.n_steps,
            "completed": (progress.epoch - 1) * progress.n_steps + progress.step,
        }
        if progress.metrics is not None:
            changes["figures"] = _figures(progress.metrics, self.config)
        self.bar.update(self.task, **changes)

    def evaluating(self, rows: int) -> None:
        """Called by the evaluation at the end."""
        if self.bar is not None:
            self.bar.update(
                self.task,
                description="evaluating",
                total=len(self.data.test),
                completed=rows,
                figures="",
            )


def _figures(metrics: EpochMetrics, config: RunConfig) -> str:
    latent = config.model.latent
    error = "" if metrics.test_elbo_se is None else f" ±{metrics.test_elbo_se:.1f}"
    if latent.kind == "categorical" and latent.n_variables == 1:
        used = f"codes in use {metrics.codes_used}/{latent.n_categories}"
    else:
        used = f"active {metrics.active_units}/{latent.n_variables}"
    entropy = "" if metrics.code_entropy is None else f"  entropy {metrics.code_entropy:.2f}"
    return (
        f"test ELBO {metrics.test_elbo:.1f}{error}  KL {metrics.kl:.1f}  {used}{entropy}  "
        f"grad var {metrics.grad_variance:.1e}  {metrics.rows_per_second:,.0f} rows/s"
    )


__all__ = ["TrainingBars"]
