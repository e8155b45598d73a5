"""A run on disk: its folder, its configuration, its weights.

::

    runs/NAME/
      config.json                    format, versions, model, training, data
      schema.json                    columns, scales, classes and digests of the data
      model.safetensors              weights
      metrics.jsonl                  one line per epoch
      checkpoint/STEP.safetensors    weights, optimizer, random state, position: the last two
      lock                           held while somebody writes
      summary.json, figures/         what a finished run leaves

Nothing is ever unpickled. Files are written aside and renamed, so they are whole or absent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from discretevae.config import RunConfig, run_config_from, to_dict
from discretevae.config.pictures import is_image_shape
from discretevae.data import Schema
from discretevae.errors import ConfigError, RunError
from discretevae.model.vae import DiscreteVAE
from discretevae.system.files import (
    MAX_JSON_BYTES,
    as_path,
    has_format,
    json_bytes,
    read_json,
    write_atomic,
)
from discretevae.system.tensor_files import MAX_HEADER_BYTES, read_tensors, write_tensors
from discretevae.version import __version__

FORMAT = "discretevae-run"
FORMAT_VERSION = 2
CONFIG = "config.json"
SCHEMA = "schema.json"
MODEL = "model.safetensors"

COLUMN_BYTES = 4096
"""A schema may have so many for each feature: for its name, and four numbers of its scale."""


@dataclass(frozen=True)
class Run:
    """A run folder that was opened.

    Args:
        folder: where it lies.
        config: what it was made with.
        model: the trained model, in evaluation mode.
        schema: what it knows of its data; None if it was trained without a `Dataset`.
    """

    folder: Path
    config: RunConfig
    model: DiscreteVAE
    schema: Schema | None = None

    def __repr__(self) -> str:
        """Return the run in one line."""
        model, data = self.model.config, self.config.data.source
        parts = [f"{model.n_features:,} features of {data}", f"code {model.latent}"]
        parts += [f"likelihood {model.likelihood}", f"prior {model.prior}"]
        return f"Run({str(self.folder)!r}, {', '.join(parts)})"


def load_run(
    folder: str | Path,
    *,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    device: str = "cpu",
) -> Run:
    """Open a run folder: configuration and weights.

    Args:
        folder: the run.
        encoder: of a run with modules of your own: one that is built like that which was trained.
            Its weights are replaced. A folder holds no code, and none is ever imported from one.
        decoder: likewise.
        device: where the weights go.

    Raises:
        RunError: the folder is missing, no run, of another format, its files are corrupt, or
            modules of your own are missing.

    Example:
        >>> load_run("no/such/run")
        Traceback (most recent call last):
        ...
        discretevae.errors.RunError: no/such/run: no such run folder. Check the path.
    """
    folder = as_path(folder, "folder")
    config = load_config(folder)
    is_custom = config.model.network == "custom"
    if is_custom and (encoder is None or decoder is None):
        raise RunError(
            f"{folder}: its encoder and decoder are modules of your own, of which a folder holds "
            "the weights alone. Pass them in Python: "
            "discretevae.load_run(path, encoder=…, decoder=…)."
        )
    if not is_custom and (encoder is not None or decoder is not None):
        raise RunError(
            f"{folder}: its network is the package's own {config.model.network}. Leave `encoder` "
            "and `decoder` out."
        )
    try:
        # sizes only: a configuration that was tampered with cannot fill the memory
        with torch.device("meta"):
            model = DiscreteVAE(config.model, encoder=encoder, decoder=decoder)
    except (RuntimeError, TypeError, OverflowError):
        raise RunError(
            f"{folder / CONFIG}: corrupt, it asks for a model beyond any memory. "
            "Restore the file or train again."
        ) from None
    _require_size(model, folder / MODEL)
    tensors, _ = read_tensors(folder / MODEL)
    _require_weights_of(model, tensors, folder / MODEL)
    for name, part in model.named_children():
        if is_custom and name not in ("encoder", "decoder"):
            part.to_empty(device="cpu")
    # a module of your own is filled, not given other parameters: it may use some of them twice
    model.load_state_dict(dict(tensors), assign=not is_custom)
    return Run(folder, config, model.to(device).eval(), load_schema(folder, config))


def is_run(folder: Path) -> bool:
    """Return whether the folder holds a configuration of ours, of whatever version."""
    return has_format(folder / CONFIG, FORMAT)


def save_config(folder: Path, config: RunConfig) -> None:
    """Write ``config.json``."""
    write_atomic(folder / CONFIG, config_bytes(to_dict(config)))


def config_bytes(values: Mapping[str, Any]) -> bytes:
    """Return the content of ``config.json``, of a configuration as plain values."""
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "discretevae": __version__}
    return json_bytes({**head, **values})


def load_config(folder: Path) -> RunConfig:
    """Read ``config.json`` (`RunError`)."""
    path = folder / CONFIG
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run folder. Check the path.")
    if not path.is_file():
        raise RunError(f"{folder}: not a run folder, {CONFIG} is missing. Check the path.")
    values = read_json(path)
    if values.pop("format", None) != FORMAT:
        raise RunError(f"{path}: not written by discretevae. Check the path.")
    version = values.pop("format_version", None)
    if version != FORMAT_VERSION:
        is_newer = isinstance(version, int) and version > FORMAT_VERSION
        raise RunError(
            f"{path}: format version {version}, but this discretevae reads {FORMAT_VERSION} only. "
            + ("Update discretevae." if is_newer else "Train again.")
        )
    values.pop("discretevae", None)
    try:
        config = run_config_from(values)
        _require_readable(config)
    except ConfigError as error:
        reason = str(error).rstrip(".").replace("`", "")  # keys of the file, no parameters
        raise RunError(f"{path}: corrupt: {reason}. Restore the file or train again.") from None
    return config


def save_schema(folder: Path, schema: Schema) -> None:
    """Write ``schema.json``."""
    write_atomic(folder / SCHEMA, schema_bytes(schema))


def schema_bytes(schema: Schema) -> bytes:
    """Return the content of ``schema.json``: an entry in a line, and a checksum of all."""
    values = schema.to_dict()
    values["checksum"] = _checksum(values)
    lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in values.items())
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def load_schema(folder: Path, config: RunConfig) -> Schema | None:
    """Read ``schema.json``, if it is there (`RunError`)."""
    path = folder / SCHEMA
    if not path.is_file():
        return None
    values = read_json(path, MAX_JSON_BYTES + COLUMN_BYTES * config.model.n_features)
    try:
        if values.pop("checksum", None) != _checksum(values):
            raise ValueError("it was changed since it was written")
        schema = Schema.from_dict(values)
        if problem := schema_problem(schema, config):
            raise ValueError(problem)
    except ValueError as error:
        reason = str(error).rstrip(".").replace("`", "")
        raise RunError(f"{path}: corrupt: {reason}. Restore the file or train again.") from None
    return schema


def schema_problem(schema: Schema, config: RunConfig) -> str:
    """Return what a schema and a configuration say differently of the data, or nothing."""
    data, own = config.data, None if schema.scale is None else schema.scale.kind
    scale = data.scale if data.scale in ("standard", "minmax") else None
    for what, here, there in (
        ("features", schema.n_features, config.model.n_features),
        ("pictures of", schema.image_shape, config.model.image_shape or schema.image_shape),
        ("divisor", schema.divisor, data.divisor or schema.divisor),
        ("scale", own, None if data.divisor else scale or own),
    ):
        if here != there:
            return f"{what} {here}, but the configuration says {there}"
    return ""


def _checksum(values: Mapping[str, object]) -> str:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()


def save_weights(folder: Path, model: nn.Module) -> None:
    """Write ``model.safetensors``."""
    write_tensors(folder / MODEL, model.state_dict(), {})


def install_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a module of the same names, shapes and types (else `RunError`)."""
    _require_weights_of(module, tensors, path)
    module.load_state_dict(dict(tensors))


def _require_size(model: nn.Module, path: Path) -> None:
    """Refuse weights that are much larger than the model's, before reading them."""
    most = sum(t.numel() * t.element_size() for t in model.state_dict().values()) + MAX_HEADER_BYTES
    if path.is_file() and path.stat().st_size > most:
        raise RunError(
            f"{path}: {path.stat().st_size:,} bytes, more than the {CONFIG} beside it can need. "
            "Restore the files of one run."
        )


def _require_weights_of(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = module.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        got = _described(tensors.get(name))
        expected = _described(own.get(name))
        if got != expected:
            raise RunError(
                f"{path}: tensor {name} is {got}, but the model's is {expected}. Restore the files "
                "of one run, or train again."
            )
    for name, _ in module.named_parameters():
        if not bool(tensors[name].isfinite().all()):
            raise RunError(
                f"{path}: corrupt, tensor {name} holds NaN or infinite values. "
                "Restore the file or train again."
            )


def _require_readable(config: RunConfig) -> None:
    """Refuse values that no run writes and that the configuration itself lets through."""
    source, shape = config.data.source, config.model.image_shape
    if not isinstance(source, str):
        raise ConfigError(f"data source must be a text. Got {source!r}")
    if shape is not None and not is_image_shape(shape):
        raise ConfigError(f"image_shape must be height, width and channels. Got {shape!r}")


def _described(tensor: Tensor | None) -> str:
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
