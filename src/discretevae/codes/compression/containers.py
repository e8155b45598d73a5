"""The ``.dvz`` file: what was compressed, with which model, and the words of its stacks.

A safetensors file with a checksum (`discretevae.system.tensor_files`), whose head is a `Header` and
whose arrays are ``kept_seeds`` and ``lengths`` of all lanes, and ``words``, one lane after the
other. Nothing is allocated for a header before its sizes fit the arrays.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from discretevae.errors import DataError
from discretevae.system.arrays import Array
from discretevae.system.tensor_files import array_file, parse_arrays

FORMAT_VERSION = 2
MAX_LANES = 1 << 12
MAX_SEED_WORDS = 1 << 24
MAX_ROWS = 1 << 40


@dataclass(frozen=True)
class Header:
    """The head of a file; row n of its rows is on stack n mod the number of lanes.

    Every stack started from so many uint32 of clean bits as ``seed_words`` says. The rows are
    hashed as bytes, one for each value; ``model`` is the fingerprint.
    """

    rows: int
    features: int
    seed_words: int
    model: str
    rows_sha256: str
    dvz_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Lane:
    """The kept part of a stack: the count of seed words at its bottom, and the words above them."""

    kept_seeds: int
    words: Array


def pack(header: Header, lanes: list[Lane]) -> bytes:
    """Return a file as bytes."""
    arrays = {
        "kept_seeds": np.array([lane.kept_seeds for lane in lanes], np.uint32),
        "lengths": np.array([len(lane.words) for lane in lanes], np.uint32),
        "words": np.concatenate([lane.words for lane in lanes]).astype(np.uint32),
    }
    return array_file(arrays, asdict(header))


def unpack(content: bytes, name: str) -> tuple[Header, list[Lane]]:
    """Read a file and check every part of it (`DataError`)."""
    try:
        arrays, head = parse_arrays(content)
        version = head["dvz_version"]
        if version == FORMAT_VERSION:
            lanes = _lanes(arrays)
            return _header(head, lanes), lanes
    except (ValueError, KeyError) as error:
        raise DataError(
            f"{name}: no file of compressed rows, or a damaged one ({error}). Fetch it again, or "
            "compress again."
        ) from None
    raise DataError(
        f"{name}: format version {version}, but this discretevae reads {FORMAT_VERSION}. "
        "Update discretevae."
    )


def _lanes(arrays: dict[str, Array]) -> list[Lane]:
    kept, lengths, words = (arrays[name] for name in ("kept_seeds", "lengths", "words"))
    shapes = {array.dtype == np.uint32 and array.ndim for array in (kept, lengths, words)}
    if shapes != {1} or len(kept) != len(lengths) or lengths.sum(dtype=np.int64) != len(words):
        raise ValueError("its lanes do not fit together")
    parts = np.split(words, lengths.cumsum(dtype=np.int64)[:-1])
    return [Lane(int(seeds), part) for seeds, part in zip(kept, parts, strict=True)]


def _header(head: dict[str, Any], lanes: list[Lane]) -> Header:
    if {field.name for field in fields(Header)} != set(head):
        raise ValueError("its head has other entries")
    limits = {"rows": MAX_ROWS, "features": MAX_ROWS, "seed_words": MAX_SEED_WORDS}
    for key, most in limits.items():
        if type(head[key]) is not int or not 1 <= head[key] <= most:
            raise ValueError(f"{key} is {head[key]!r:.40}")
    if any(type(head[key]) is not str for key in ("model", "rows_sha256")):
        raise ValueError("its head has values of other types")
    header = Header(**head)
    if not 1 <= len(lanes) <= min(MAX_LANES, header.rows):
        raise ValueError(f"it has {len(lanes):,} lanes")
    if max(lane.kept_seeds for lane in lanes) > header.seed_words:
        raise ValueError("a lane has more seeds than there are")
    return header
