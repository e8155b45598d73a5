"""Everything that a training needs, checked once: nothing below checks options again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor

from discretevae.config import RunConfig, SaveEvery, TrainConfig, auto_batch_size
from discretevae.config.checks import Problems
from discretevae.data import Dataset, Rows
from discretevae.data.split import held_out
from discretevae.errors import ConfigError, DataError, require_type
from discretevae.estimators import Estimator
from discretevae.estimators.base import require_estimator
from discretevae.families import Family
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import check_pair, choose_estimator
from discretevae.system.files import as_path
from discretevae.system.precision import check_precision
from discretevae.system.ranks import Ranks
from discretevae.training.known_labels import known_labels
from discretevae.training.recorders import check_recording
from discretevae.training.selection import probe_rows, resident, some_rows

TEST_ROWS = 10_000
"""At most this many test rows are evaluated after every epoch, so that it takes seconds."""


@dataclass(frozen=True, eq=False)
class Method:
    """A way to train that fits a code, a device and a number of processes; see `choose_method`."""

    config: TrainConfig
    estimator: Estimator
    device: torch.device
    ranks: Ranks


def choose_method(
    family: Family,
    config: TrainConfig,
    *,
    device: torch.device | str = "cpu",
    ranks: Ranks | None = None,
    estimator: str | Estimator | None = None,
) -> Method:
    """Choose the estimator, and check that objective, device and precision go with it.

    Needs no data, so that a command can say what is wrong before it reads any: all that does not
    go together (`ConfigError`). ``estimator`` stands in place of the one that ``config`` names,
    and may be one of your own.
    """
    require_type("config", config, TrainConfig, "Write TrainConfig(epochs=20).")
    device, ranks = torch.device(device), ranks or Ranks()
    problems = Problems()
    with problems:
        if estimator is None:
            estimator = choose_estimator(family, config)
        elif isinstance(estimator, str):
            estimator = choose_estimator(family, replace(config, estimator=estimator))
        else:
            require_estimator(estimator)
            check_pair(config.objective, estimator)
        if config.objective == "jsa" and not ranks.is_alone:
            raise ConfigError(
                "`objective='jsa'` keeps the code of every row in one process. Got "
                f"{ranks.count} processes. Choose another objective, or start without torchrun."
            )
        if config.graph:
            check_recording(estimator, device, ranks)
    with problems:
        check_precision(config.precision, device)
    problems.require_none()
    return Method(config, cast(Estimator, estimator), device, ranks)


@dataclass(frozen=True, eq=False)
class PreparedTraining:
    """A training that can begin; made by `prepare_training`.

    ``test_rows`` are evaluated after every epoch, and ``validation_rows`` for early stopping. On
    the rows of ``probe`` ``[B, P]`` the variance of the gradient is measured. ``files`` are written
    beside the weights, by their names. Unknown ``labels`` are −1; None where none are used.
    """

    model: DiscreteVAE
    config: TrainConfig
    estimator: Estimator
    ranks: Ranks
    train_rows: Rows
    test_rows: Rows
    validation_rows: Rows | None
    labels: Tensor | None
    probe: Tensor
    folder: Path | None
    resume: bool
    save_every: SaveEvery
    files: Mapping[str, bytes]

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.device

    @property
    def batch_size(self) -> int:
        """B, over all processes."""
        return self.config.batch_size or auto_batch_size(len(self.train_rows))

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the training rows."""
        return math.ceil(len(self.train_rows) / self.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of all epochs."""
        return self.config.epochs * self.steps_per_epoch


def prepare_training(
    model: DiscreteVAE,
    data: Dataset,
    method: Method,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    save_every: str | SaveEvery = "10s",
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> PreparedTraining:
    """Check the rows against the model, split them, and choose the rows that are measured on.

    Arguments as of `train`; ``method`` is that of `choose_method` for the model's code, and
    ``files`` are written beside the weights, by their names. Rows or a configuration that do not
    fit the model are refused (`ConfigError`, `DataError`).
    """
    config, device = method.config, model.device
    RunConfig(model=model.config, training=config)  # refuses options that do not fit the model
    for rows in (data.train, data.test):
        require_fit(model, rows)
    if config.start == "mean":
        model.start_bias()
    if model.prior.n_classes:
        raise ConfigError("a prior given labels is fitted afterwards. Leave its classes out.")
    train_rows, validation_rows = _validation_split(data, config)
    _require_usable_weights(train_rows, config)
    labels = None
    if config.objective == "semi-supervised":
        labels = known_labels(train_rows, model.config.latent, config)
    test_rows = data.test.subset(some_rows(data.test, TEST_ROWS, config.seed, "test rows"))
    return PreparedTraining(
        model=model,
        config=config,
        estimator=method.estimator,
        ranks=method.ranks,
        train_rows=train_rows,
        test_rows=resident(test_rows, device),
        validation_rows=None if validation_rows is None else resident(validation_rows, device),
        labels=labels,
        probe=probe_rows(train_rows, config.seed).to(device),
        folder=None if out is None else as_path(out, "out"),
        resume=resume,
        save_every=SaveEvery.of(save_every),
        files=files,
    )


def _require_usable_weights(rows: Rows, config: TrainConfig) -> None:
    """Refuse weights of rows that are all 0, or that a part of the training would pass over."""
    if rows.weights is None:
        return
    if not rows.weights.any():
        raise DataError(f"{rows.name}: every weight is 0. Give some row a weight > 0.")
    if rows.is_streamed:
        raise DataError(f"{rows.name}: rows on disk have no weights. Load them into memory.")
    for name in ("free_bits", "graph"):
        if getattr(config, name):
            raise ConfigError(f"`{name}` knows no weights of rows. Leave `{name}` out.")
    if config.objective == "vq" and config.vq.decay:
        raise ConfigError("moving averages know no weights of rows. Give `vq='decay=0'`.")


def _validation_split(data: Dataset, config: TrainConfig) -> tuple[Rows, Rows | None]:
    """Split into rows to learn from, and rows that are evaluated for early stopping."""
    rows, n_first = data.train, data.n_first
    if not config.validation:
        return rows, None
    n_held = round(n_first * config.validation)
    if not 0 < n_held < n_first:
        raise ConfigError(
            f"`validation={config.validation:g}` of {n_first:,} rows leaves "
            f"{n_first - n_held} to learn from and {n_held} to validate on. Give more rows, or "
            "another share."
        )
    learned, held = held_out(n_first, n_held, config.seed)
    later = torch.arange(n_first, len(rows))  # rows that were added may not change what is held out
    return rows.subset(torch.cat([learned, later])), rows.subset(held)
