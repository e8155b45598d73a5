"""From the parameters of a scikit-learn estimator to a trained model."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from discretevae.config import (
    TABLE_HIDDEN,
    TABLE_LR,
    DataConfig,
    LatentSpec,
    LikelihoodSpec,
    ModelConfig,
    RunConfig,
    TrainConfig,
)
from discretevae.config.checks import Problems, is_int, must
from discretevae.data import Dataset, Rows, Schema
from discretevae.data.columns import TableScale
from discretevae.errors import ConfigError
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder.history import EpochMetrics
from discretevae.scikit_learn.reading import NAME, first_rows
from discretevae.system.arrays import Array
from discretevae.training import Progress, choose_method, prepare_training, run_training
from discretevae.training.selection import some_rows
from discretevae.training.state import start_state

MEASURED_ROWS = 256
"""Rows that are evaluated after each epoch, in place of test rows: enough for a curve."""

OF_TRAINING = ("objective", "target", "estimator", "samples", "epochs", "batch_size", "lr")
"""Parameters that are fields of `TrainConfig`."""

HIDDEN = ((512,), TABLE_HIDDEN)
"""Widths by default: of most models, and of those of tables."""


def plain_parameters(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the parameters of an estimator, numbers of numpy as Python's, lists as tuples."""
    return {name: _plain(value) for name, value in estimator.get_params(deep=False).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def seed_from(random_state: Any) -> int:
    """Return a seed for the package's own generators; an int >= 0 is the seed itself.

    None takes fresh entropy, and leaves numpy's global state alone.

    Raises:
        ConfigError: it is no random state.
    """
    random_state = _plain(random_state)
    if random_state is None:
        return secrets.randbits(31)
    if is_int(random_state, 0) and random_state < 2**63:
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        words = "None, an int from 0 to 2**63 - 1 or a RandomState"
        raise ConfigError(must("random_state", words, random_state)) from None


def configure(
    parameters: Mapping[str, Any],
    least: Mapping[str, int],
    latent: Callable[[], LatentSpec],
    values: Any,
    columns: Array | None,
    weights: Array | None,
    table: TableScale | None,
) -> tuple[RunConfig, Schema]:
    """Return the configuration that parameters describe, and the schema of a matrix ``[N, P]``.

    ``least`` holds, of the parameters that are sizes of the code, the least that each can be;
    ``latent`` returns the code, and is called if the sizes are right. ``table`` is the scale of
    values whose columns are of several kinds.

    Raises:
        ConfigError: parameters are wrong; all of them are named.
        DataError: the values do not suit the likelihood.
    """
    problems, code = Problems(), LatentSpec("bernoulli", 1)
    for name, low in least.items():
        if not is_int(parameters[name], low):
            problems.found.append(must(name, f"an int >= {low}", parameters[name]))
    if not problems.found:
        code = latent()
    seed, training, model = 0, TrainConfig(), ModelConfig(n_features=values.shape[1])
    rows, likelihood = None, LikelihoodSpec("bernoulli")
    with problems:
        rows, likelihood = first_rows(
            values, parameters["likelihood"], parameters["scale"], columns, weights, table, code
        )
    with problems:
        seed = seed_from(parameters["random_state"])
    is_student = likelihood.kind == "student"
    with problems:
        model = ModelConfig(
            n_features=values.shape[1],
            latent=code,
            hidden=HIDDEN[is_student] if parameters["hidden"] is None else parameters["hidden"],
            likelihood=likelihood,
            prior=parameters["prior"],
        )
    with problems:
        given = {name: parameters[name] for name in OF_TRAINING}
        if given["lr"] is None:
            given["lr"] = TABLE_LR if is_student else TrainConfig.lr
        training = TrainConfig(**given, seed=seed)
    problems.require_none()
    rows = cast(Rows, rows)  # there was no problem
    schema = replace(Schema.of(Dataset(NAME, rows, rows)), digests={})
    data = DataConfig(
        source=NAME,
        scale=None if rows.scale is None else rows.scale.kind,
        divisor=rows.divisor if rows.scale is None else None,
    )
    return RunConfig(model=model, training=training, data=data), schema


def train_in_memory(
    model: DiscreteVAE,
    rows: Rows,
    config: TrainConfig,
    *,
    state: bytes | None,
    history: list[EpochMetrics],
    progress: Callable[[Progress], object] | None,
) -> tuple[list[EpochMetrics], bytes]:
    """Train the model in place as `train` does; return all epochs, and the state to go on from.

    Every row is learned from; some of them stand for test rows. ``state`` and ``history`` are what
    this function returned before, or None and nothing; ``config.epochs`` counts those before, too.

    Raises:
        ConfigError: the estimator cannot handle the model's code or the objective.
        RunError: the state is corrupt, or of another model.
        TrainingError: the loss or a weight is no longer finite.
    """
    measured = rows.subset(some_rows(rows, MEASURED_ROWS, config.seed, "measured rows"))
    method = choose_method(model.family, config, device=model.device)
    prepared = prepare_training(model, Dataset(rows.name, rows, measured), method)
    training = start_state(prepared)
    if state is not None:
        training.restore(state, Path("estimator"))
        training.history = list(history)
    run_training(prepared, training, progress)
    return training.history, training.pack()
