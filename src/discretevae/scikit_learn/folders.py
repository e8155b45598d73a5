"""An estimator as a folder: a run folder, and beside it what only the shell knows.

::

    config.json, model.safetensors, metrics.jsonl, checkpoint/    as `checkpoint` describes
    estimator.safetensors    parameters, means and scales, labels, and a checksum of the weights

The last file is written last, and names the weights that it belongs to.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from discretevae.errors import ConfigError, RunError
from discretevae.run_folder.checkpoint import CONFIG, load_run, save_config, save_weights
from discretevae.run_folder.history import METRICS, read_metrics
from discretevae.run_folder.states import read_newest, state_paths
from discretevae.scikit_learn.base import BaseVAE
from discretevae.scikit_learn.parameters import is_int, require
from discretevae.scikit_learn.reading import Reading
from discretevae.scikit_learn.sessions import StoredState
from discretevae.system.files import write_atomic
from discretevae.system.locks import writing
from discretevae.system.tensor_files import checksum, read_tensors, write_tensors

ESTIMATOR = "estimator.safetensors"
FORMAT_VERSION = 1
HEAD_KEYS = {"format_version", "class", "parameters", "seed", "feature_names", "weights", "epochs"}

Shell = TypeVar("Shell", bound=BaseVAE)


def save(shell: BaseVAE, path: str | os.PathLike[str]) -> None:
    """Writes a fitted estimator.

    Raises:
        RunError: the folder holds something else, or cannot be written to.
    """
    folder = Path(path)
    if (folder / CONFIG).exists() and not (folder / ESTIMATOR).exists():
        raise RunError(
            f"{folder}: holds a run that is no saved estimator. Choose another path, or remove it."
        )
    tensors = {}
    for name, array in (
        ("mean", shell._reading.mean),
        ("scale", shell._reading.scale),
        ("labels", getattr(shell, "labels_", None)),
    ):
        if array is not None:
            tensors[name] = torch.from_numpy(array)
    names = getattr(shell, "feature_names_in_", None)
    head = {
        "format_version": FORMAT_VERSION,
        "class": type(shell).__name__,
        "parameters": _plain(shell.get_params(deep=False)),
        "seed": shell.seed_,
        "feature_names": None if names is None else [str(name) for name in names],
        "weights": checksum(shell.model_.state_dict(), {}),
        "epochs": len(shell.history_),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            save_config(folder, shell._config)
            save_weights(folder, shell.model_)
            lines = "".join(json.dumps(asdict(m)) + "\n" for m in shell.history_)
            write_atomic(folder / METRICS, lines.encode())
            own = shell._state.save(folder, shell.model_)
            write_tensors(folder / ESTIMATOR, tensors, head)
            for other in state_paths(folder):
                if other != own:  # of what the folder held before
                    with contextlib.suppress(OSError):
                        other.unlink()
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written to ({error.strerror}). Choose another path."
        ) from None


def load(cls: type[Shell], path: str | os.PathLike[str]) -> Shell:
    """Reads an estimator of the class, or of any for `BaseVAE`.

    Raises:
        RunError: the folder is missing, corrupt, of a newer format, or of another class.
    """
    folder = Path(path)
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
    try:
        if set(head) != HEAD_KEYS:
            raise ValueError(f"it holds {sorted(head)}")
        shell = _fresh(cls, head, folder)
        if run.config.model.latent != shell._latent():
            raise ValueError(f"its code is {shell._latent()}, that of {CONFIG} another")
        if head["weights"] != checksum(run.model.state_dict(), {}):
            raise ValueError("its weights are not those beside it")
        if head["epochs"] != len(history):
            raise ValueError(f"{METRICS} holds {len(history)} of {head['epochs']} epochs")
        if not is_int(head["seed"], 0):
            raise ValueError(f"seed is {head['seed']!r}")
        n = run.config.model.n_features
        mean, scale = (_column(tensors, name, n) for name in ("mean", "scale"))
        if (mean is None) != (scale is None) or (scale is not None and scale.min() <= 0):
            raise ValueError("its scales are wrong")
        names = _names(head["feature_names"], n)
        labels = tensors.get("labels")
        if labels is not None and (labels.dtype != torch.int64 or labels.ndim != 1):
            raise ValueError("its labels are wrong")
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, RunError):
            raise
        reason = str(error).rstrip(".")
        raise RunError(f"{place}: corrupt ({reason}). Restore the files or fit again.") from None
    content = read_newest(folder)
    if content is None:
        raise RunError(f"{folder}: the optimizer's state is missing. Restore it or fit again.")
    config = run.config
    shell._config, shell.model_ = config, run.model
    shell._reading = Reading(config.model.likelihood, config.data.divisor, mean, scale)
    shell._state = StoredState(content, state_paths(folder)[0])
    shell.history_, shell.seed_, shell.n_features_in_ = history, head["seed"], n
    if names is not None:
        shell.feature_names_in_ = names
    if labels is not None:
        shell.labels_ = labels.numpy()
    return shell


def _fresh(cls: type[Shell], head: dict[str, Any], folder: Path) -> Shell:
    """An estimator with the parameters of the file, not fitted."""
    known = _classes()
    name = head["class"]
    if name not in known:
        raise ValueError(f"class {name!r} is unknown")
    if not issubclass(known[name], cls):
        raise RunError(f"{folder}: holds a {name}. Call {name}.load.")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in head["parameters"].items()}
    shell: Shell = known[name](**values)
    try:
        require(shell, shell._sizes())
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return shell


def _classes() -> dict[str, Any]:
    from discretevae.scikit_learn import classes

    return {name: getattr(classes, name) for name in classes.__all__}


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as JSON knows them; a generator has no spelling."""
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


__all__ = ["ESTIMATOR", "load", "save"]
