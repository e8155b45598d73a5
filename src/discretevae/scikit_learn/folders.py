"""A fitted scikit-learn estimator as a folder: a run folder with one file more.

::

    config.json, schema.json, model.safetensors …    as in every run folder
    estimator.safetensors                            parameters, labels, checksum of the weights

The last file is written last, and names the weights that it belongs to.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from discretevae.codes.tails import ColumnTails
from discretevae.config.spelling import Spec
from discretevae.errors import ConfigError, RunError
from discretevae.run_folder.checkpoint import read_newest, save_state, state_paths
from discretevae.run_folder.history import METRICS, read_metrics
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
NAMES, LABELS, TAILS = "feature_names_in_", "labels_", "tails"
FORMAT_VERSION = 1
HEAD_KEYS = {"format_version", "class", "parameters", "feature_names", "weights"}


def write_fitted(folder: Path, estimator: Any, parameters: dict[str, Any]) -> None:
    """Write a fitted `BaseVAE`, and the parameters of its constructor, to a folder.

    Raises:
        ConfigError: a parameter is no plain value.
        RunError: the folder holds something else, or cannot be written to.
    """
    if (folder / CONFIG).exists() and not (folder / ESTIMATOR).exists():
        raise RunError(
            f"{folder}: holds a run that is no saved estimator. Choose another path, or remove it."
        )
    known, model, history = vars(estimator), estimator.model_, estimator.history_
    tensors = {"labels": torch.from_numpy(known[LABELS])} if LABELS in known else {}
    tails = known["_tails"]
    if tails is not None:
        tensors[TAILS] = torch.from_numpy(tails.values)
    head = {
        "format_version": FORMAT_VERSION,
        "class": type(estimator).__name__,
        "parameters": {name: _saved(name, each) for name, each in parameters.items()},
        "feature_names": [str(name) for name in known[NAMES]] if NAMES in known else None,
        "weights": checksum(model.state_dict(), {}),
        TAILS: None if tails is None else [*tails.center, tails.slope],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            save_config(folder, estimator._config)
            save_schema(folder, estimator._schema)
            save_weights(folder, model)
            lines = "".join(json.dumps(asdict(m)) + "\n" for m in history)
            write_atomic(folder / METRICS, lines.encode())
            own = save_state(folder, len(history), estimator._state)
            write_tensors(folder / ESTIMATOR, tensors, head)
            for path in state_paths(folder):
                if path != own:  # of an estimator that the folder held before
                    path.unlink()
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written to ({error.strerror}). Choose another path."
        ) from None


def read_fitted(folder: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return class, parameters and attributes of an estimator that `write_fitted` wrote.

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
        if set(head) - {TAILS} != HEAD_KEYS:  # estimators before tails have none
            raise ValueError(f"it holds {sorted(head)}")
        if head["weights"] != checksum(run.model.state_dict(), {}):
            raise ValueError("its weights are not those beside it")
        if len(history) != config.training.epochs:
            raise ValueError(f"{METRICS} holds {len(history)} of {config.training.epochs} epochs")
        labels = tensors.get("labels")
        if labels is not None and (labels.dtype != torch.int64 or labels.ndim != 1):
            raise ValueError("its labels are wrong")
        tails = _tails_of(tensors.get(TAILS), head.get(TAILS), n_features)
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
    attributes: dict[str, Any] = {
        "_tails": tails, "_config": config, "_schema": run.schema, "_state": state,
        "model_": run.model,
        "history_": history, "seed_": config.training.seed, "n_features_in_": n_features,
    }  # fmt: skip
    if names is not None:
        attributes[NAMES] = np.asarray(names, dtype=object)
    if labels is not None:
        attributes[LABELS] = labels.numpy()
    return head["class"], parameters, attributes


def _tails_of(values: Tensor | None, numbers: Any, n_features: int) -> ColumnTails | None:
    """Return the tails of columns from their tensor and their numbers (`ValueError`)."""
    if values is None and numbers is None:
        return None
    is_right = isinstance(numbers, list) and [type(each) for each in numbers] == 3 * [float]
    if values is None or values.ndim != 2 or values.shape[1] != n_features or not is_right:
        raise ValueError("its tails of columns are wrong")
    return ColumnTails(values.numpy(), (numbers[0], numbers[1]), numbers[2])


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
