"""A fitted scikit-learn estimator as a folder: a run folder with one file more.

::

    config.json, model.safetensors, metrics.jsonl, checkpoint/    as in every run folder
    estimator.safetensors    parameters, means and scales, labels, and a checksum of the weights

The last file is written last, and names the weights that it belongs to.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from discretevae.codes.packing import Array
from discretevae.config import RunConfig
from discretevae.errors import ConfigError, RunError
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder.checkpoint import CONFIG, load_run, save_config, save_weights
from discretevae.run_folder.history import METRICS, EpochMetrics, read_metrics
from discretevae.run_folder.states import read_newest, save_state, state_paths
from discretevae.scikit_learn.parameters import is_int
from discretevae.scikit_learn.reading import Reading
from discretevae.system.files import write_atomic
from discretevae.system.locks import writing
from discretevae.system.tensor_files import checksum, read_tensors, write_tensors

ESTIMATOR = "estimator.safetensors"
FORMAT_VERSION = 1
HEAD_KEYS = {"format_version", "class", "parameters", "seed", "feature_names", "weights", "epochs"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted:
    """What a fitted estimator consists of, as plain data.

    Args:
        class_name: of the estimator.
        parameters: of its constructor.
        config: of model and training.
        model: the trained model.
        history: one entry per epoch.
        state: optimizer and random state, for ``partial_fit``.
        seed: that all random draws follow from.
        reading: from a matrix to rows.
        feature_names: of the columns, or None.
        labels: the cluster of each training row, int64 ``[N]``, or None.
    """

    class_name: str
    parameters: dict[str, Any]
    config: RunConfig
    model: DiscreteVAE
    history: list[EpochMetrics]
    state: bytes
    seed: int
    reading: Reading
    feature_names: Array | None
    labels: Array | None


def write_fitted(folder: Path, fitted: Fitted) -> None:
    """Write a fitted estimator to a folder.

    Raises:
        RunError: the folder holds something else, or cannot be written to.
    """
    if (folder / CONFIG).exists() and not (folder / ESTIMATOR).exists():
        raise RunError(
            f"{folder}: holds a run that is no saved estimator. Choose another path, or remove it."
        )
    arrays = {
        "mean": fitted.reading.mean,
        "scale": fitted.reading.scale,
        "labels": fitted.labels,
    }
    tensors = {name: torch.from_numpy(a) for name, a in arrays.items() if a is not None}
    names = fitted.feature_names
    head = {
        "format_version": FORMAT_VERSION,
        "class": fitted.class_name,
        "parameters": _plain(fitted.parameters),
        "seed": fitted.seed,
        "feature_names": None if names is None else [str(name) for name in names],
        "weights": checksum(fitted.model.state_dict(), {}),
        "epochs": len(fitted.history),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            save_config(folder, fitted.config)
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
    place = folder / ESTIMATOR
    if not place.exists():
        raise RunError(
            f"{folder}: a run that no save() wrote, so {ESTIMATOR} is not there. Open it with "
            "discretevae.load_run."
        )
    tensors, head = read_tensors(place)
    history = read_metrics(folder)
    version = head.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise RunError(
            f"{place}: format version {version}, but this discretevae reads up to "
            f"{FORMAT_VERSION}. Update discretevae."
        )
    n = run.config.model.n_features
    try:
        if set(head) != HEAD_KEYS:
            raise ValueError(f"it holds {sorted(head)}")
        if head["weights"] != checksum(run.model.state_dict(), {}):
            raise ValueError("its weights are not those beside it")
        if head["epochs"] != len(history):
            raise ValueError(f"{METRICS} holds {len(history)} of {head['epochs']} epochs")
        if not is_int(head["seed"], 0):
            raise ValueError(f"seed is {head['seed']!r}")
        mean, scale = (_column(tensors, name, n) for name in ("mean", "scale"))
        if (mean is None) != (scale is None) or (scale is not None and scale.min() <= 0):
            raise ValueError("its scales are wrong")
        labels = tensors.get("labels")
        if labels is not None and (labels.dtype != torch.int64 or labels.ndim != 1):
            raise ValueError("its labels are wrong")
        names = _names(head["feature_names"], n)
        parameters = {
            k: tuple(v) if isinstance(v, list) else v for k, v in head["parameters"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise corrupt(folder, error) from None
    content = read_newest(folder)
    if content is None:
        raise RunError(f"{folder}: the optimizer's state is missing. Restore it or fit again.")
    return Fitted(
        class_name=head["class"],
        parameters=parameters,
        config=run.config,
        model=run.model,
        history=history,
        state=content,
        seed=head["seed"],
        reading=Reading(run.config.model.likelihood, run.config.data.divisor, mean, scale),
        feature_names=names,
        labels=None if labels is None else labels.numpy(),
    )


def corrupt(folder: Path, error: Exception) -> RunError:
    """Return the error about a file whose contents contradict each other."""
    reason = str(error).rstrip(".")
    return RunError(f"{folder / ESTIMATOR}: corrupt ({reason}). Restore the files or fit again.")


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON knows them; a generator has no spelling."""
    plain: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, np.generic):
            plain[name] = value.item()
        elif isinstance(value, (tuple, list)):
            plain[name] = [int(width) for width in value]
        elif value is None or isinstance(value, (bool, int, float, str)):
            plain[name] = value
        elif name == "random_state":
            plain[name] = None
        else:
            kind = type(value).__name__
            raise ConfigError(f"{name} is a {kind}, which cannot be saved. Give a plain value.")
    return plain


def _column(tensors: dict[str, Tensor], name: str, n_features: int) -> Any:
    tensor = tensors.get(name)
    if tensor is None:
        return None
    is_right = tensor.dtype == torch.float64 and tensor.shape == (n_features,)
    if not is_right or not bool(tensor.isfinite().all()):
        raise ValueError(f"its {name} is wrong")
    return tensor.numpy()


def _names(names: Any, n_features: int) -> Any:
    if names is None:
        return None
    if len(names) != n_features or not all(isinstance(name, str) for name in names):
        raise ValueError("its feature names are wrong")
    return np.asarray(names, dtype=object)


__all__ = ["ESTIMATOR", "Fitted", "corrupt", "read_fitted", "write_fitted"]
