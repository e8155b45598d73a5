"""Tensors and a JSON head as one safetensors file that knows when it was damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from discretevae.errors import RunError
from discretevae.system.arrays import Array
from discretevae.system.files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor


ENTRY = "discretevae"
"""The one entry of the metadata that safetensors keeps beside the tensors. Of several the order
would be a matter of chance, and the same weights would make different files."""

HEAD, CHECKSUM = "head", "blake2b"
"""The keys of that entry, which is JSON."""

MAX_HEADER_BYTES = 100_000_000
"""The limit of safetensors itself."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], head: Mapping[str, Any]) -> None:
    """Write tensors, a JSON head and a checksum of both, atomically."""
    write_atomic(path, pack_tensors(tensors, head))


def pack_tensors(tensors: Mapping[str, Tensor], head: Mapping[str, Any]) -> bytes:
    """Return tensors, a JSON head and a checksum of both as the content of a safetensors file."""
    import safetensors.torch

    plain, storages = {}, set[int]()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        # safetensors refuses memory that several tensors share, such as tied weights
        plain[name] = own.clone() if own.untyped_storage().data_ptr() in storages else own
        storages.add(plain[name].untyped_storage().data_ptr())
    return safetensors.torch.save(plain, _metadata(plain, head))


def write_arrays(path: Path, arrays: Mapping[str, Array], head: Mapping[str, Any]) -> None:
    """Write arrays like `write_tensors`, without loading torch."""
    write_atomic(path, array_file(arrays, head))


def array_file(arrays: Mapping[str, Array], head: Mapping[str, Any]) -> bytes:
    """Return the bytes that `write_arrays` writes."""
    import safetensors.numpy

    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content: bytes = safetensors.numpy.save(plain, _metadata(plain, head))
    return content


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote, or refuse the file (`RunError`)."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path}: no such file. Check the path or train again.") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    return parse_tensors(content, path)


def parse_tensors(content: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the head in the bytes of a file; ``path`` names it in messages.

    A file without a checksum is taken as it is: another program may have made it. One that is
    truncated or damaged is refused (`RunError`).
    """
    import safetensors.torch

    try:
        return _parse(content, safetensors.torch.load)
    except ValueError as error:
        raise RunError(
            f"{path}: corrupt or truncated ({error}). Restore the file or train again."
        ) from None


def read_arrays(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `write_arrays` wrote, without loading torch (`OSError`, `ValueError`)."""
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > MAX_HEADER_BYTES:
            # a large file of another kind is not read to its end
            raise ValueError("its header is too long")
        file.seek(0)
        return parse_arrays(file.read())


def parse_arrays(content: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and the head in the bytes of a file; errors as for `read_arrays`."""
    import safetensors.numpy

    return _parse(content, safetensors.numpy.load, needs_checksum=True)


def checksum(tensors: Mapping[str, Tensor] | Mapping[str, Array], head: Mapping[str, Any]) -> str:
    """Return BLAKE2b of the head and of every tensor or array with its name, type and shape."""
    digest = hashlib.blake2b(json.dumps(head).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(_as_bytes(tensor))
    return digest.hexdigest()


def _as_bytes(tensor: Tensor | Array) -> memoryview:
    if isinstance(tensor, np.ndarray):
        return tensor.reshape(-1).view(np.uint8).data
    import torch

    return tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data


def _metadata(tensors: Mapping[str, Any], head: Mapping[str, Any]) -> dict[str, str]:
    return {ENTRY: json.dumps({HEAD: head, CHECKSUM: checksum(tensors, head)})}


def _parse(
    content: bytes, load: Callable[[bytes], dict[str, Any]], *, needs_checksum: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return tensors and head; a `ValueError` says in a few words what is wrong with them."""
    try:
        entry = _entry(content)
        tensors = load(content)
        head = entry.get(HEAD, {})
        is_whole = entry.get(CHECKSUM) == checksum(tensors, head)
    except MemoryError:
        raise
    except Exception as error:
        # a damaged header makes safetensors, numpy and torch raise almost anything
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise ValueError(reason) from None
    if not isinstance(head, dict):
        raise ValueError("its head is no object")
    if not is_whole and (needs_checksum or CHECKSUM in entry):
        raise ValueError("its checksum does not fit")
    return tensors, head


def _entry(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, MAX_HEADER_BYTES):
        raise ValueError("its header is longer than the file")
    header = json.loads(content[8 : 8 + length])
    entry = json.loads((header.get("__metadata__") or {}).get(ENTRY, "{}"))
    if not isinstance(entry, dict):
        raise ValueError("its head is no object")
    return entry
