"""The one format of a run folder: configuration, weights, and the state to go on from.

::

    runs/NAME/
      config.json                    format, versions, model, training, data
      model.safetensors              weights
      metrics.jsonl                  one line per epoch
      checkpoint/state.safetensors   weights, optimizer, random state, position, in one file
      summary.json, figures/         what a finished run leaves

Nothing is ever unpickled. Files are written aside and renamed, so they are whole or absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

import discretevae
from discretevae.config import RunConfig, run_config_from, to_dict
from discretevae.errors import ConfigError, RunError
from discretevae.files import write_atomic, write_json
from discretevae.model import DiscreteVAE

FORMAT = "discretevae-run"
FORMAT_VERSION = 1
MAX_CONFIG_BYTES = 1_000_000
ADAM = {"step", "exp_avg", "exp_avg_sq"}
"""What Adam remembers of each parameter."""

CONFIG = "config.json"
MODEL = "model.safetensors"
STATE = Path("checkpoint") / "state.safetensors"


@dataclass(frozen=True)
class Run:
    """A run folder that was opened.

    Args:
        folder: where it lies.
        config: what it was made with.
        model: the trained model, in evaluation mode.
    """

    folder: Path
    config: RunConfig
    model: DiscreteVAE


def load_run(folder: str | Path, *, device: str = "cpu") -> Run:
    """Opens a run folder: configuration and weights.

    Raises:
        RunError: the folder is missing, no run, of a newer format, or its files are corrupt.

    Example:
        >>> load_run("no/such/run")
        Traceback (most recent call last):
        ...
        discretevae.errors.RunError: no/such/run: no such run folder. Check the path.
    """
    folder = Path(folder)
    config = load_config(folder)
    tensors, _ = read_tensors(folder / MODEL)
    try:
        # sizes only: a configuration that was tampered with cannot fill the memory
        with torch.device("meta"):
            model = DiscreteVAE(config.model)
    except (RuntimeError, TypeError, OverflowError):
        raise RunError(
            f"{folder / CONFIG}: corrupt, it asks for a model beyond any memory. "
            "Restore the file or train again."
        ) from None
    _require_weights_of(model, tensors, folder / MODEL)
    model.load_state_dict(dict(tensors), assign=True)
    return Run(folder, config, model.to(device).eval())


def is_run(folder: Path) -> bool:
    """Whether the folder holds a configuration of ours, of whatever version.

    Example:
        >>> is_run(Path("no/such/run"))
        False
    """
    try:
        return _read_json(folder / CONFIG).get("format") == FORMAT
    except RunError:
        return False


def save_config(folder: Path, config: RunConfig) -> None:
    """Writes ``config.json``.

    Raises:
        OSError: the folder cannot be written to.
    """
    head = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "discretevae": discretevae.__version__,
    }
    write_json(folder / CONFIG, head | to_dict(config))


def load_config(folder: Path) -> RunConfig:
    """Reads ``config.json``.

    Raises:
        RunError: the folder is missing, no run, or of a newer format; or the file is corrupt.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run folder. Check the path.")
    if not path.is_file():
        raise RunError(f"{folder}: not a run folder, {CONFIG} is missing. Check the path.")
    values = _read_json(path)
    if values.pop("format", None) != FORMAT:
        raise RunError(f"{path}: not written by discretevae. Check the path.")
    version = values.pop("format_version", None)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise RunError(
            f"{path}: format version {version}, but this discretevae reads up to "
            f"{FORMAT_VERSION}. Update discretevae."
        )
    values.pop("discretevae", None)
    try:
        config = run_config_from(values)
        _require_readable(config)
    except ConfigError as error:
        reason = str(error).rstrip(".")
        raise RunError(f"{path}: corrupt: {reason}. Restore the file or train again.") from None
    return config


def save_weights(folder: Path, model: nn.Module) -> None:
    """Writes ``model.safetensors``.

    Raises:
        OSError: the disk is full or the folder cannot be written to.
    """
    write_tensors(folder / MODEL, model.state_dict(), {})


def install_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copies weights into a module of the same shape.

    Raises:
        RunError: names, shapes or types differ from the module's, or a value is not finite.
    """
    _require_weights_of(module, tensors, path)
    module.load_state_dict(dict(tensors))


def _require_weights_of(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = module.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        got = _described(tensors.get(name))
        expected = _described(own.get(name))
        if got != expected:
            raise RunError(
                f"{path}: tensor {name} is {got}, but {CONFIG} asks for {expected}. "
                "Restore the files of one run or train again."
            )
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise RunError(
                f"{path}: corrupt, tensor {name} holds NaN or infinite values. "
                "Restore the file or train again."
            )


def write_tensors(path: Path, tensors: Mapping[str, Tensor], head: Mapping[str, Any]) -> None:
    """Writes tensors and a JSON head as one safetensors file, atomically.

    Raises:
        OSError: the disk is full or the folder cannot be written to.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, safetensors.torch.save(plain, {"head": json.dumps(head)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `write_tensors` wrote.

    Raises:
        RunError: the file is missing, truncated or corrupt.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            head = json.loads((file.metadata() or {}).get("head", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"{path}: no such file. Check the path or train again.") from None
    except MemoryError:
        raise
    except Exception as error:
        # a damaged header makes safetensors and torch raise almost anything
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise RunError(
            f"{path}: corrupt or truncated ({reason}). Restore the file or train again."
        ) from None
    if not isinstance(head, dict):
        raise RunError(f"{path}: corrupt, its head is no object. Restore it or train again.")
    return tensors, head


def save_state(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    position: Mapping[str, Any],
) -> None:
    """Writes all that a run needs to go on as if it had never stopped.

    Args:
        folder: the run.
        modules: the model, and the estimator if it learns something, by name.
        optimizer: its moments and step counts are saved by the names of the parameters.
        generator: its state is saved.
        position: epoch, step and running sums, as plain values.

    Raises:
        OSError: the disk is full or the folder cannot be written to.
    """
    tensors = {}
    for part, module in modules.items():
        for name, tensor in module.state_dict().items():
            tensors[f"{part}.{name}"] = tensor
        for name, parameter in module.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{part}.{name}.{key}"] = value
    tensors["generator"] = generator.get_state()
    (folder / STATE).parent.mkdir(exist_ok=True)
    write_tensors(folder / STATE, tensors, position)


def load_state(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Restores what `save_state` wrote and returns the position.

    Raises:
        RunError: there is no such file, or it is corrupt or of another model.
    """
    path = folder / STATE
    tensors, position = read_tensors(path)
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in ("optimizer", *modules)}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = tensor
    if "generator" not in tensors:
        raise RunError(f"{path}: corrupt, the random state is missing. Train again.")
    moments = parts.pop("optimizer")
    for part, module in modules.items():
        install_weights(module, parts[part], path)
        for name, parameter in module.named_parameters():
            _install_moments(optimizer, f"{part}.{name}", parameter, moments, path)
    try:
        generator.set_state(tensors["generator"])
    except (RuntimeError, TypeError):
        raise RunError(
            f"{path}: its random state is of another kind of device. "
            "Resume on the device that the run was started on."
        ) from None
    return position


def _install_moments(
    optimizer: torch.optim.Optimizer,
    name: str,
    parameter: nn.Parameter,
    moments: Mapping[str, Tensor],
    path: Path,
) -> None:
    """What Adam remembers of one parameter, if it was ever moved."""
    own = {key.rpartition(".")[2]: key for key in moments if key.rpartition(".")[0] == name}
    if own and own.keys() != ADAM:
        raise RunError(f"{path}: corrupt, the optimizer's state of {name} is. Train again.")
    for key in own.values():
        shape = moments[key].shape
        if shape not in (parameter.shape, torch.Size()):
            raise RunError(
                f"{path}: corrupt, tensor optimizer.{key} is {list(shape)}, but its parameter "
                f"is {list(parameter.shape)}. Train again."
            )
    if own:
        optimizer.state[parameter] = {
            short: moments[key].to(parameter.device) for short, key in own.items()
        }


def _require_readable(config: RunConfig) -> None:
    """Refuses values that no run writes and that the configuration itself lets through.

    Raises:
        ConfigError: it holds one.
    """
    problems = []
    data, shape = config.data, config.model.image_shape
    if not isinstance(data.source, str):
        problems.append(f"data source must be a text. Got {data.source!r}")
    if not isinstance(data.divisor, (int, float)) or not 0 < data.divisor < float("inf"):
        problems.append(f"divisor must be a number > 0. Got {data.divisor!r}")
    for name, size in (("image_size", data.image_size), ("image_shape", shape)):
        if size is not None and not (
            isinstance(size, tuple)
            and len(size) == 2
            and all(type(side) is int and side > 0 for side in size)
        ):
            problems.append(f"{name} must be two ints >= 1. Got {size!r}")
    if problems:
        raise ConfigError(problems)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    if len(content) > MAX_CONFIG_BYTES:
        raise RunError(f"{path}: over {MAX_CONFIG_BYTES:,} bytes, so not ours. Check the path.")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise RunError(f"{path}: corrupt, not JSON. Restore the file or train again.") from None
    if not isinstance(values, dict):
        raise RunError(f"{path}: corrupt, no JSON object. Restore the file or train again.")
    return values


def _described(tensor: Tensor | None) -> str:
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


__all__ = [
    "STATE",
    "Run",
    "is_run",
    "load_config",
    "load_run",
    "load_state",
    "read_tensors",
    "save_config",
    "save_state",
    "save_weights",
]
