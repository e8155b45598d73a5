"""Mutations of safetensors files whose header has a length that fits."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any

from fuzzing.text import elsewhere


def tensors_header(content: bytes, rng: Random) -> bytes:
    """The description of a tensor is another one; the length of the header fits."""
    length = int.from_bytes(content[:8], "little")
    if length > len(content) - 8:
        return content
    header, data = content[8 : 8 + length], content[8 + length :]
    try:
        values = json.loads(header)
        name = rng.choice(sorted(values))
        one = values[name]
        which = rng.randrange(6)
        if which == 0:
            one["dtype"] = rng.choice(
                ("F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "X", 3)
            )
        elif which == 1:
            one["shape"] = rng.choice(([], [1], [-1], [2**63], [0], [2**32, 2**32], [[1]], "a"))
        elif which == 2:
            one["data_offsets"] = rng.choice(([0, 0], [8, 4], [0, 2**63], [0], "a", [0, len(data)]))
        elif which == 3:
            values[name + "x"] = values.pop(name)
        elif which == 4:
            values["__metadata__"] = rng.choice(
                (
                    {"discretevae": "["},
                    {"discretevae": "3"},
                    {"discretevae": 3},
                    {},
                    None,
                    {"a": "b"},
                )
            )
        else:
            values = elsewhere(values, rng)
    except (ValueError, TypeError, KeyError, RecursionError, IndexError):
        return content
    return _tensors_file(values, data)


def tensors_entry(content: bytes, rng: Random) -> bytes:
    """A value of what we keep beside the tensors is another one, such as the position of a run."""
    length = int.from_bytes(content[:8], "little")
    try:
        values = json.loads(content[8 : 8 + length])
        (key, entry), *_ = values["__metadata__"].items()
        values["__metadata__"][key] = json.dumps(elsewhere(json.loads(entry), rng))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return content
    return _tensors_file(values, content[8 + length :])


def without_checksum(content: bytes) -> bytes:
    """The same tensors and head, for which nothing vouches: changes then get further in."""
    length = int.from_bytes(content[:8], "little")
    values = json.loads(content[8 : 8 + length])
    for key, entry in values.get("__metadata__", {}).items():
        kept = {k: v for k, v in json.loads(entry).items() if k != "blake2b"}
        values["__metadata__"][key] = json.dumps(kept)
    return _tensors_file(values, content[8 + length :])


def _tensors_file(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def tensors_data(content: bytes, rng: Random) -> bytes:
    """A number among the values is NaN, infinite, or an edge of its range."""
    start = 8 + int.from_bytes(content[:8], "little")
    if start + 4 > len(content):
        return content
    at = start + 4 * rng.randrange((len(content) - start) // 4)
    number = rng.choice((float("nan"), float("inf"), -1e38, 3e38, 1e-45, -1.0))
    return content[:at] + struct.pack("<f", number) + content[at + 4 :]
