"""A fitted scikit-learn estimator as a folder: a run folder with one file more.

::

    config.json, schema.json, model.safetensors …    as in every run folder
    estimator.safetensors                            parameters, labels, checksum of the weights

The last file is written last, and names the weights that it belongs to.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from discretevae.codes.packing import Array
from discretevae.config import RunConfig
from discretevae.config.spelling import Spec
from discretevae.data import Schema
from discretevae.errors import ConfigError, RunError
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder.checkpoint import read_newest, save_state, state_paths
from discretevae.run_folder.history import METRICS, EpochMetrics, read_metrics
from discretevae.run_folder.saved_run import (
    CONFIG,
    load_run,
    save_config,
    save_schema,
    save_weights,
)
from discretevae.system.files import write_atomic
from discretevae.system.locks import writing
from discretevae.system.tensor_files import checksum, read_tensors, write_tensors

ESTIMATOR = "estimator.safetensors"
FORMAT_VERSION = 1
HEAD_KEYS = {"format_version", "class", "parameters", "feature_names", "weights"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted:
    """The parts of a fitted estimator, as plain data.

    Args:
        class_name: of the estimator.
        parameters: of its constructor.
        config: of model and training.
        model: the trained model.
        history: one entry per epoch.
        state: optimizer and random state, for ``partial_fit``.
        schema: of the matrix that was fitted.
        feature_names: of the columns, or None.
        labels: the cluster of each training row, int64 ``[N]``, or None.
    """

    class_name: str
    parameters: dict[str, Any]
    config: RunConfig
    model: DiscreteVAE
    history: list[EpochMetrics]
    state: bytes
    schema: Schema
    feature_names: Array | None
    labels: Array | None


def write_fitted(folder: Path, fitted: Fitted) -> None:
    """Write a fitted estimator to a folder.

    Raises:
        ConfigError: a parameter is no plain value.
        RunError: the folder holds something else, or cannot be written to.
    """
    if (folder / CONFIG).exists() and not (folder / ESTIMATOR).exists():
        raise RunError(
            f"{folder}: holds a run that is no saved estimator. Choose another path, or remove it."
        )
    labels = fitted.labels
    tensors = {} if labels is None else {"labels": torch.from_numpy(labels)}
    names = fitted.feature_names
    head = {
        "format_version": FORMAT_VERSION,
        "class": fitted.class_name,
        "parameters": {name: _saved(name, each) for name, each in fitted.parameters.items()},
        "feature_names": None if names is None else [str(name) for name in names],
        "weights": checksum(fitted.model.state_dict(), {}),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            save_config(folder, fitted.config)
            save_schema(folder, fitted.schema)
            save_weights(folder, fitted.model)
            lines = "".join(json.dumps(asdict(m)) + "\n" for m in fitted.history)
            write_atomic(folder / METRICS, lines.encode())
            own = save_state(folder, len(fitted.history), fitted.state)
            write_tensors(folder / ESTIMATOR, tensors, head)
            for path in state_paths(folder):
                if path != own:  # of an estimator that the folder held before
                    path.unlink()
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written to ({error.strerror}). Choose another path."
        ) from None


def read_fitted(folder: Path) -> Fitted:
    """Read what `write_fitted` wrote.

    Raises:
        RunError: the folder is missing, corrupt or of a newer format.
    """
    run = load_run(folder)
    path = folder / ESTIMATOR
    if not path.exists():
        raise RunError(
            f"{folder}: a run that no save() wrote, so {ESTIMATOR} is not there. Open it with "
            "discretevae.load_run."
        )
    tensors, head = read_tensors(path)
    history = read_metrics(folder)
    version = head.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise RunError(
            f"{path}: format version {version}, but this discretevae reads up to "
            f"{FORMAT_VERSION}. Update discretevae."
        )
    config, n_features = run.config, run.config.model.n_features
    try:
        if set(head) != HEAD_KEYS:
            raise ValueError(f"it holds {sorted(head)}")
        if head["weights"] != checksum(run.model.state_dict(), {}):
            raise ValueError("its weights are not those beside it")
        if len(history) != config.training.epochs:
            raise ValueError(f"{METRICS} holds {len(history)} of {config.training.epochs} epochs")
        labels = tensors.get("labels")
        if labels is not None and (labels.dtype != torch.int64 or labels.ndim != 1):
            raise ValueError("its labels are wrong")
        names = head["feature_names"]
        if names is not None and [type(name) for name in names] != [str] * n_features:
            raise ValueError("its feature names are wrong")
        parameters = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in head["parameters"].items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise corrupt(folder, error) from None
    if run.schema is None:
        raise corrupt(folder, ValueError("schema.json is missing"))
    state = read_newest(folder)
    if state is None:
        raise RunError(f"{folder}: the optimizer's state is missing. Restore it or fit again.")
    return Fitted(
        class_name=head["class"],
        parameters=parameters,
        config=config,
        model=run.model,
        history=history,
        state=state,
        schema=run.schema,
        feature_names=None if names is None else np.asarray(names, dtype=object),
        labels=None if labels is None else labels.numpy(),
    )


def corrupt(folder: Path, error: Exception) -> RunError:
    """Return the error about files that contradict each other."""
    reason = str(error).rstrip(".").replace("`", "")
    return RunError(f"{folder / ESTIMATOR}: corrupt ({reason}). Restore the files or fit again.")


def _saved(name: str, value: Any) -> Any:
    """Return a parameter as JSON holds it: a spec as its spelling, a random generator as None."""
    value = getattr(value, "spec", value)
    if value is None or isinstance(value, (bool, int, float, str, tuple)):
        return value
    if isinstance(value, Spec):
        return str(value)
    if name == "random_state":
        return None
    kind = type(value).__name__
    raise ConfigError(f"{name} is a {kind}, which cannot be saved. Give a plain value.")
