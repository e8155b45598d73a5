"""The progress of a training in a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from discretevae.cli.outputs import progress_bar
from discretevae.config import RowTarget, RunConfig

if TYPE_CHECKING:
    from discretevae.data import Dataset
    from discretevae.run_folder.history import EpochMetrics
    from discretevae.training import Progress


@contextlib.contextmanager
def training_bar(
    config: RunConfig, data: Dataset, *, is_first: bool
) -> Iterator[tuple[Callable[[Progress], object], Callable[[int], object]]]:
    """Show a bar with the figures of the last epoch, if standard error is a terminal.

    Yields what the training calls after every step and epoch, and what the evaluation calls with
    the number of rows. Processes other than the first show nothing.
    """
    if not is_first:
        yield (lambda progress: None), (lambda rows: None)
        return
    epochs = config.training.epochs
    is_plain = config.training.target == RowTarget()
    title = "starting" if is_plain else f"neighbors of {len(data.train):,} rows"
    with progress_bar(title) as update:

        def training(progress: Progress) -> None:
            update(
                description=f"epoch {progress.epoch}/{epochs}",
                total=epochs * progress.n_steps,
                completed=(progress.epoch - 1) * progress.n_steps + progress.step,
            )
            if progress.metrics is not None:
                update(figures=_figures(progress.metrics, config))

        def evaluating(rows: int) -> None:
            update(description="evaluating", total=len(data.test), completed=rows, figures="")

        yield training, evaluating


def _figures(metrics: EpochMetrics, config: RunConfig) -> str:
    from discretevae.evaluation.measured import Measured

    latent = config.model.latent
    if latent.kind == "categorical" and latent.n_variables == 1:
        used = f"codes in use {metrics.codes_used}/{latent.n_categories}"
    else:
        used = f"active {metrics.active_units}/{latent.n_variables}"
    entropy = "" if metrics.code_entropy is None else f"  entropy {metrics.code_entropy:.2f}"
    return (
        f"test ELBO {Measured(metrics.test_elbo, metrics.test_elbo_se):.1f}  KL {metrics.kl:.1f}  "
        f"{used}{entropy}  grad var {metrics.grad_variance:.1e}  "
        f"{metrics.rows_per_second:,.0f} rows/s"
    )
