"""Tensors and a JSON head as one safetensors file that knows when it was damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from discretevae.errors import RunError
from discretevae.system.files import write_atomic

ENTRY = "discretevae"
"""The one entry of the metadata that safetensors keeps beside the tensors. Of several the order
would be a matter of chance, and the same weights would make different files."""

HEAD, CHECKSUM = "head", "blake2b"
"""What it holds, as JSON."""

MAX_HEADER_BYTES = 100_000_000
"""What safetensors itself allows."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], head: Mapping[str, Any]) -> None:
    """Writes tensors, a JSON head and a checksum of both, atomically.

    Raises:
        OSError: the disk is full or the folder cannot be written to.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    entry = json.dumps({HEAD: head, CHECKSUM: checksum(plain, head)})
    write_atomic(path, safetensors.torch.save(plain, {ENTRY: entry}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `write_tensors` wrote.

    Raises:
        RunError: the file is missing, truncated or damaged in whatever way.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path}: no such file. Check the path or train again.") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    return parse_tensors(content, path)


def parse_tensors(content: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The same from the bytes of the file, of which ``path`` is the name in messages.

    A file without a checksum is taken as it is: another program may have made it.

    Raises:
        RunError: the content is truncated or damaged.
    """
    try:
        entry = _entry(content)
        tensors = safetensors.torch.load(content)
        head = entry.get(HEAD, {})
        fits = CHECKSUM not in entry or entry[CHECKSUM] == checksum(tensors, head)
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
    if not fits:
        raise RunError(
            f"{path}: corrupt, its checksum does not fit. Restore the file or train again."
        )
    return tensors, head


def checksum(tensors: Mapping[str, Tensor], head: Mapping[str, Any]) -> str:
    """BLAKE2b of the head and of every tensor with its name, type and shape.

    Example:
        >>> one, two = torch.zeros(2), torch.zeros(2, 1)
        >>> checksum({"a": one}, {}) == checksum({"a": two}, {})
        False
    """
    digest = hashlib.blake2b(json.dumps(head).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _entry(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, MAX_HEADER_BYTES):
        raise ValueError("its header is longer than the file")
    header = json.loads(content[8 : 8 + length])
    entry = json.loads((header.get("__metadata__") or {}).get(ENTRY, "{}"))
    if not isinstance(entry, dict):
        raise ValueError("its head is no object")
    return entry


__all__ = ["checksum", "parse_tensors", "read_tensors", "write_tensors"]
