"""The ``.dvz`` file: what was compressed, with which model, and the words of its stacks.

::

    8 bytes    89 44 56 5A 0D 0A 1A 0A: a file that went through a text converter is recognized
    uint32     format version
    uint32     length of the header
    header     JSON: rows, features, image_shape, likelihood, scheme, lanes, seed_words, model
               (its fingerprint), rows_sha256
    lanes      for each lane two uint32: of its seed words how many are still in place, and how
               many words of its own follow
    words      uint32 of all lanes, one lane after the other
    32 bytes   SHA-256 of everything before

All numbers are little-endian. Whatever a header says, nothing is allocated for it before its
checksum is right and its sizes fit the length of the file.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from discretevae.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

MAGIC = b"\x89DVZ\r\n\x1a\n"
FORMAT_VERSION = 1
MAX_HEADER = 1 << 16
MAX_LANES = 1 << 12
MAX_SEED_WORDS = 1 << 24
MAX_ROWS = 1 << 40
DIGEST = hashlib.sha256().digest_size
FIXED = struct.Struct("<8sII")


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Args:
        rows: N.
        features: P.
        image_shape: (height, width) of a row, or None.
        likelihood: of the model, the spelling of its `LikelihoodSpec`.
        scheme: ``posterior`` or ``encoder``: what chose the codes.
        lanes: stacks; row n is on stack n mod lanes.
        seed_words: uint32 of clean bits that every stack started from.
        model: fingerprint of the model.
        rows_sha256: of the rows as bytes, one for each value.
    """

    rows: int
    features: int
    image_shape: tuple[int, int] | None
    likelihood: str
    scheme: str
    lanes: int
    seed_words: int
    model: str
    rows_sha256: str


@dataclass(frozen=True)
class Lane:
    """What is kept of a stack.

    Args:
        kept_seeds: seed words at its bottom that are as they were.
        words: the words above them, uint32.
    """

    kept_seeds: int
    words: Array


def pack(header: Header, lanes: list[Lane]) -> bytes:
    """A file as bytes."""
    text = json.dumps(asdict(header), separators=(",", ":")).encode()
    table = np.array([(lane.kept_seeds, len(lane.words)) for lane in lanes], "<u4")
    words = [lane.words.astype("<u4").tobytes() for lane in lanes]
    fixed = FIXED.pack(MAGIC, FORMAT_VERSION, len(text))
    content = b"".join((fixed, text, table.tobytes(), *words))
    return content + hashlib.sha256(content).digest()


def unpack(content: bytes, name: str) -> tuple[Header, list[Lane]]:
    """Reads a file, every part of it checked.

    Args:
        content: the file.
        name: what to call it in messages.

    Raises:
        DataError: it is no such file, of a newer format, truncated or damaged.

    Example:
        >>> unpack(b"GIF89a", "cat.dvz")
        Traceback (most recent call last):
        ...
        discretevae.errors.DataError: cat.dvz: no file of compressed rows. Check the \
path.
    """
    if content[:8] != MAGIC:
        raise DataError(f"{name}: no file of compressed rows. Check the path.")
    damaged = DataError(f"{name}: truncated or damaged. Fetch it again, or compress again.")
    if len(content) < FIXED.size + DIGEST:
        raise damaged
    _, version, n_header = FIXED.unpack_from(content)
    body = memoryview(content)[:-DIGEST]
    if hashlib.sha256(body).digest() != content[-DIGEST:]:
        raise damaged
    if version > FORMAT_VERSION or version < 1:
        raise DataError(
            f"{name}: format version {version}, but this discretevae reads up to "
            f"{FORMAT_VERSION}. Update discretevae."
        )
    start = FIXED.size + n_header
    if n_header > MAX_HEADER or start > len(body):
        raise damaged
    header = _header(bytes(body[FIXED.size : start]))
    if header is None or start + 8 * header.lanes > len(body):
        raise damaged
    table = np.frombuffer(body, "<u4", 2 * header.lanes, start).reshape(-1, 2).astype(np.int64)
    start += 8 * header.lanes
    if 4 * int(table[:, 1].sum()) != len(body) - start or table[:, 0].max() > header.seed_words:
        raise damaged
    words = np.frombuffer(body, "<u4", offset=start).astype(np.uint32)
    ends = table[:, 1].cumsum()
    parts = np.split(words, ends[:-1])
    kept = table[:, 0].tolist()
    return header, [Lane(seeds, part) for seeds, part in zip(kept, parts, strict=True)]


def _header(text: bytes) -> Header | None:
    """The header, or None if it is none that `pack` writes."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    names = [field.name for field in fields(Header)]
    if not isinstance(values, dict) or sorted(values) != sorted(names):
        return None
    limits = {"rows": MAX_ROWS, "features": MAX_ROWS, "lanes": MAX_LANES}
    for key, most in (limits | {"seed_words": MAX_SEED_WORDS}).items():
        if type(values[key]) is not int or not 1 <= values[key] <= most:
            return None
    if any(type(values[key]) is not str for key in names[3:5] + names[7:]):
        return None
    shape = values["image_shape"]
    if shape is not None:
        if not isinstance(shape, list) or len(shape) != 2 or {type(n) for n in shape} != {int}:
            return None
        values["image_shape"] = tuple(shape)
    return Header(**values) if values["lanes"] <= values["rows"] else None
