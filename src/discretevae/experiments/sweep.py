"""Models with codes of growing size, to see where more bits stop paying.

::

    OUT/
      sweep.json                     all figures and the choice
      figures/sweep.png              bound, used nats and reconstruction term against the size
      figures/reconstructions.png    the same test rows at every size
      10/, 20/, …                    one run folder per size, that of the first seed
      10-seed1/, …                   those of further seeds
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from discretevae.config import RunConfig, to_dict
from discretevae.data import Dataset, Rows
from discretevae.data.datasets import require_dataset
from discretevae.errors import ConfigError, RunError, TrainingInterrupted, require_type
from discretevae.evaluation.bounds import row_scores
from discretevae.evaluation.code_sizes import (
    Choice,
    SizeResult,
    SizeRun,
    Step,
    ceiling_of,
    choose_size,
    steps_of,
)
from discretevae.evaluation.measured import mean_of
from discretevae.experiments.run import TaskProgress, run_part
from discretevae.experiments.sweep_plan import (
    FORMAT,
    RESULT,
    PlannedRun,
    finished_seconds,
    pattern_of,
    plan,
    require_free,
)
from discretevae.families import family_of
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.objectives import estimator_name
from discretevae.plots.pictures import save_figure
from discretevae.plots.sweep import reconstruction_figure, size_figure
from discretevae.run_folder.folder import FIGURES
from discretevae.run_folder.saved_run import load_run
from discretevae.system.files import as_path, write_json
from discretevae.system.locks import writing

PICTURES = ("sweep.png", "reconstructions.png")

SHOWN_ROWS = 12
"""Test rows that are reconstructed at every size."""

ROWS_AT_A_TIME = 4096
"""Rows that are drawn at once: of 784 values they take 13 MB."""

Tables: TypeAlias = dict[str, Tensor]
"""Figures of each test row by name, ``[N]`` or for R runs ``[R, N]``."""


@dataclass(frozen=True)
class Sweep:
    """The findings of `sweep` so far.

    Args:
        config: of model, training and data; its code is that of the smallest size.
        latent: the pattern of the code.
        sizes: all of them, ascending.
        seeds: of the runs of each size.
        samples: S of the S-sample bound.
        rows: test rows.
        results: one per finished size.
        steps: between neighbors of them.
        choice: the size that is enough; None until all are finished.
    """

    config: RunConfig
    latent: str
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    samples: int
    rows: int
    results: tuple[SizeResult, ...] = ()
    steps: tuple[Step, ...] = ()
    choice: Choice | None = None

    @property
    def is_complete(self) -> bool:
        """True if all sizes are finished."""
        return len(self.results) == len(self.sizes)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``sweep.json`` holds."""
        head = {"format": FORMAT, "format_version": 1, "is_complete": self.is_complete}
        return head | vars(self) | {
            "config": to_dict(self.config),
            "choice": None if self.choice is None else self.choice.to_dict(),
            "results": [result.to_dict() for result in self.results],
            "steps": [dataclasses.asdict(step) for step in self.steps],
        }  # fmt: skip


def sweep(
    data: Dataset,
    config: RunConfig,
    sizes: Sequence[int],
    *,
    out: Path,
    latent: str = "bernoulli",
    n_seeds: int = 1,
    samples: int = 100,
    device: str = "cpu",
    progress: TaskProgress = lambda what, done, total: None,
    finished: Callable[[SizeResult, bool], object] = lambda result, is_new: None,
) -> Sweep:
    """Train one model per size and seed, evaluate all on the same test rows, and choose a size.

    The choice is that of `choose_size`: the smallest size whose ELBO is within one standard error
    of the best size's. Dynamic rows are drawn once for all sizes. Every run has a folder of its own
    in ``out``; a finished one is left as it is, an interrupted one is resumed. ``sweep.json`` and
    the pictures are updated whenever a size is finished.

    Args:
        data: the rows that ``config.data`` names; they are binarized as it says.
        config: model, training and data; its code is ignored.
        sizes: c, at least two.
        out: the folder; made if it is not there.
        latent: ``bernoulli``, ``categorical``, or a pattern with c in place of the size, such as
            ``categorical:cx10``.
        n_seeds: runs of each size, with the seeds from ``config.training.seed`` on.
        samples: S of the S-sample bound, and draws of z per row where E_q is no exact sum.
        device: where to train.
        progress: called with the task, what is done of it, and the total.
        finished: called with every size, and whether any of its runs was made just now.

    Raises:
        ConfigError: options are wrong; all are named. Nothing is trained then.
        DataError: the rows do not fit the model.
        RunError: ``out`` holds runs of another configuration, or something that is not ours.
        TrainingError: training cannot go on; the last good state is in the run's folder.
        TrainingInterrupted: Ctrl-C or SIGTERM, after saving.

    Example:
        >>> import tempfile
        >>> from discretevae.config import ModelConfig, TrainConfig
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = ModelConfig(n_features=64, hidden=(16,), image_shape=(8, 8))
        >>> config = RunConfig(model=model, training=TrainConfig(epochs=2, lr=0.01))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = sweep(data, config, [2, 6], out=Path(folder), samples=10)
        >>> [result.latent for result in found.results], found.choice.size
        (['bernoulli:2', 'bernoulli:6'], 6)
    """
    require_dataset(data)
    require_type("config", config, RunConfig, "Write RunConfig(model=…, training=…).")
    out = as_path(out, "out")
    planned = plan(config, sizes, latent=latent, n_seeds=n_seeds)
    data = data.binarized_by(config.data)
    if samples < 1:
        raise ConfigError(f"`samples` must be an int >= 1. Got {samples}.")
    for one in planned:
        if one.seed == config.training.seed:  # refuse what does not fit before the first trains
            model = fresh_model(one.config.model, seed=one.seed, device=device)
            for rows in (data.train, data.test):
                require_fit(model, rows)
    result = Sweep(
        config=planned[0].config,
        latent=pattern_of(latent),
        sizes=tuple(dict.fromkeys(one.size for one in planned)),
        seeds=tuple(dict.fromkeys(one.seed for one in planned)),
        samples=samples,
        rows=len(data.test),
    )
    require_free(out, result.latent, planned, data)
    out.mkdir(parents=True, exist_ok=True)
    with writing(out):
        try:
            return _Sweeping(data, planned, result, out, device, progress).run(finished)
        except KeyboardInterrupt:
            raise TrainingInterrupted(
                f"what was saved is in {out}. Run it again to go on."
            ) from None


@dataclass
class _Sweeping:
    """A sweep under way.

    Args:
        data: of all runs.
        planned: the runs.
        result: what was found so far.
        out: the folder.
        device: where to train.
        progress: as for `sweep`.
        tables: per size the figures of each test row, ``[R, N]``, by name.
        reconstructions: per size some test rows, reconstructed.
    """

    data: Dataset
    planned: Sequence[PlannedRun]
    result: Sweep
    out: Path
    device: str
    progress: TaskProgress
    tables: dict[int, Tables] = field(default_factory=dict)
    reconstructions: dict[int, Tensor] = field(default_factory=dict)

    def run(self, finished: Callable[[SizeResult, bool], object]) -> Sweep:
        """Make and evaluate every size, the smallest first."""
        write_json(self.out / RESULT, self.result.to_dict())
        self.rows = drawn_once(self.data.test, self.result.config.training.seed)
        for size in self.result.sizes:
            found, is_new = self.result_of(size)
            self.add(found)
            finished(self.result.results[-1], is_new)
        return self.result

    def result_of(self, size: int) -> tuple[SizeResult, bool]:
        """Make the missing runs of a size, evaluate all, and return whether any was made."""
        of_size = [one for one in self.planned if one.size == size]
        runs, tables, is_new = [], [], False
        for one in of_size:
            if finished_seconds(self.out / one.folder, one.config) is None:
                self.train(one)
                is_new = True
            run, table = self.evaluate(one)
            runs.append(run)
            tables.append(table)
        self.tables[size] = {name: torch.stack([t[name] for t in tables]) for name in tables[0]}
        means = {name: mean_of(table) for name, table in self.tables[size].items()}
        config = of_size[0].config
        return SizeResult(
            size=size,
            latent=str(config.model.latent),
            estimator=estimator_name(family_of(config.model.latent), config.training),
            ceiling=ceiling_of(config.model.latent),
            runs=tuple(runs),
            **{"log_px": None} | means,  # type: ignore[arg-type]
        ), is_new

    def add(self, found: SizeResult) -> None:
        """Add a size to the result, and update the folder."""
        results = [*self.result.results, found]
        choice = None
        if len(results) == len(self.result.sizes):
            choice = choose_size({size: table["elbo"] for size, table in self.tables.items()})
            results = [dataclasses.replace(one, behind=choice.behind[one.size]) for one in results]
        steps = steps_of(results, self.tables)
        self.result = dataclasses.replace(
            self.result, results=tuple(results), steps=steps, choice=choice
        )
        self.progress("drawing", 0, 1)
        pictures = self.out / FIGURES
        pictures.mkdir(exist_ok=True)
        chosen = None if choice is None else choice.size
        figure = size_figure(results, samples=self.result.samples, rows=len(self.rows), size=chosen)
        save_figure(figure, pictures / PICTURES[0])
        if self.reconstructions:
            x, shape = self.first_rows(), self.rows.image_shape
            figure = reconstruction_figure(x, self.reconstructions, shape or (1, 1), size=chosen)
            save_figure(figure, pictures / PICTURES[1])
        write_json(self.out / RESULT, self.result.to_dict())

    def train(self, one: PlannedRun) -> None:
        """Make a run, or go on with it."""
        name = str(one.config.model.latent)
        if len(self.result.seeds) > 1:
            name += f", seed {one.seed}"
        run_part(
            self.data, one.config, out=self.out / one.folder, name=name, device=self.device,
            samples=self.result.samples, progress=self.progress,
        )  # fmt: skip

    def evaluate(self, one: PlannedRun) -> tuple[SizeRun, Tables]:
        """Return the figures of a finished run, and those of each test row."""
        folder = self.out / one.folder
        seconds = finished_seconds(folder, one.config)
        if seconds is None:
            raise RunError(f"{folder}: was changed by somebody else meanwhile. Run again.")
        model = load_run(folder, device=self.device).model
        if one.seed == self.result.seeds[0] and self.rows.image_shape is not None:
            self.reconstructions[one.size] = model.reconstruct(
                self.first_rows().to(self.device)
            ).cpu()
        table, usage = self.scores(one, model)
        means: dict[str, Any] = {"log_px": None} | {
            name: float(row.mean()) for name, row in table.items()
        }
        return SizeRun(one.seed, one.folder, seconds=seconds, **means, **usage), table

    def scores(self, one: PlannedRun, model: DiscreteVAE) -> tuple[Tables, dict[str, Any]]:
        """Return the figures of each test row, and the use of the code."""
        name = one.config.model.latent
        found = row_scores(
            model,
            self.rows,
            samples=self.result.samples,
            seed=one.seed,
            progress=lambda rows: self.progress(f"{name} · row by row", rows, len(self.rows)),
        )
        table = {name: getattr(found, name) for name in ("elbo", "log_likelihood", "kl", "bound")}
        if found.log_px is not None:
            table["log_px"] = found.log_px
        return table, dataclasses.asdict(found.usage)

    def first_rows(self) -> Tensor:
        """Return the rows that are reconstructed."""
        return self.data.test.deterministic().batch(slice(0, SHOWN_ROWS))


def drawn_once(rows: Rows, seed: int) -> Rows:
    """Draw dynamic rows once for all sizes, which are compared row by row."""
    if rows.binarize != "dynamic":
        return rows
    values = torch.cat([x.byte() for x in rows.chunks(ROWS_AT_A_TIME, seed=seed)])
    return replace(rows, values=values, divisor=1.0, binarize="none")
