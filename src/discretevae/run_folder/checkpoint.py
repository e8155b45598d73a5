"""Checkpoints: everything that a training needs to go on as if it had never stopped."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from discretevae.errors import CheckpointWarning, RunError
from discretevae.run_folder.saved_run import install_weights
from discretevae.system.files import write_atomic
from discretevae.system.tensor_files import pack_tensors, parse_tensors

STATES = "checkpoint"
"""The folder of the states within a run folder."""

KEPT = 2
"""Should the newest be damaged, by a failing disk say, the one before it is still there."""

ADAM = {"step", "exp_avg", "exp_avg_sq"}
"""The state that Adam keeps for each parameter."""

GENERATOR = "generator"


def state_paths(folder: Path) -> list[Path]:
    """Return the checkpoints of a run folder, newest first."""
    return sorted((folder / STATES).glob("*.safetensors"), reverse=True)


def pack_state(
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, Sequence[Tensor]],
    position: Mapping[str, Any],
) -> bytes:
    """Return everything that a training needs to go on, as the content of a checkpoint.

    The optimizer's moments and step counts are saved by the names of the parameters. Of each
    generator, by name, there is a state for each rank in their order.
    """
    tensors = {}
    for part, module in modules.items():
        for name, tensor in module.state_dict().items():
            tensors[f"{part}.{name}"] = tensor
        for name, parameter in module.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{part}.{name}.{key}"] = value
    for purpose, states in generators.items():
        for rank, state in enumerate(states):
            tensors[f"{GENERATOR}.{purpose}.{rank}"] = state
    return pack_tensors(tensors, position)


def save_state(folder: Path, step: int, content: bytes) -> Path:
    """Write a checkpoint after ``step`` steps, and remove those older than the one before it."""
    path = folder / STATES / f"{step:012d}.safetensors"
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, content)
    # with fewer rows in an epoch than before, those of the old count have larger numbers
    others = [other for other in state_paths(folder) if other != path]
    before = [other for other in others if other.name < path.name][: KEPT - 1]
    for old in set(others) - set(before):
        with contextlib.suppress(OSError):  # one too many does no harm
            old.unlink()
    return path


def read_newest(folder: Path) -> bytes | None:
    """Return the content of the newest checkpoint that is whole, or None if none was written.

    An older one is taken with a `CheckpointWarning`; if all are damaged, they are refused
    (`RunError`).
    """
    damage: RunError | None = None
    for path in state_paths(folder):
        try:
            content = path.read_bytes()
            parse_tensors(content, path)
        except OSError as error:
            damage = damage or RunError(f"{path}: cannot be read ({error.strerror}).")
        except RunError as error:
            damage = damage or error
        else:
            if damage is not None:
                reason = str(damage).partition(" Restore")[0]
                warnings.warn(
                    f"{reason} The training goes on from {path.name}, the one before it.",
                    CheckpointWarning,
                    stacklevel=2,
                )
            return content
    if damage is not None:
        raise damage
    return None


def install_state(
    content: bytes,
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
    rank: int = 0,
) -> dict[str, Any]:
    """Take over the content of a checkpoint, and return the position.

    A rank that the run did not have when it was saved keeps the generators it was given. A state
    of another model or device is refused (`RunError`).
    """
    tensors, position = parse_tensors(content, path)
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in ("optimizer", *modules)}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = tensor
    if not all(f"{GENERATOR}.{purpose}.0" in tensors for purpose in generators):
        raise RunError(f"{path}: corrupt, the random state is missing. Train again.")
    moments = parts.pop("optimizer")
    for part, module in modules.items():
        if part == "chains" and position.get("train_rows") != len(module.get_buffer("codes")):
            continue  # those of other rows begin anew
        install_weights(module, parts[part], path)
        for name, parameter in module.named_parameters():
            _install_moments(optimizer, f"{part}.{name}", parameter, moments, path)
    for purpose, generator in generators.items():
        state = tensors.get(f"{GENERATOR}.{purpose}.{rank}")
        if state is None:
            continue
        try:
            generator.set_state(state)
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
    """Take over Adam's state of one parameter, if it was ever moved."""
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
