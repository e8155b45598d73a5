"""Mutations of tables and of JSON: cells and values that are something else."""

from __future__ import annotations

import hashlib
import json
from random import Random
from typing import Any

CELLS = ("", " ", "nan", "inf", "-inf", "1e999", "-1", "1_000", "0x10", "1+2j", "١٢", "1,5", "True",
         "label", '"', '"a', "'", "#", "\x00", "\ufeff", "9" * 5000, "1e-400", "1d3", "½", "\u2028",
         "=1+1", "\\", "1;2", "256", "1.5", "-0", "\x85", "\x1c")  # fmt: skip


def csv_cell(content: bytes, rng: Random) -> bytes:
    """One cell becomes something that may or may not be a number."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    mark = next((mark for mark in (b";", b"\t") if mark in content), b",")
    cells = lines[at].split(mark)
    cells[rng.randrange(len(cells))] = rng.choice(CELLS).encode()
    lines[at] = mark.join(cells)
    return b"\n".join(lines)


def csv_whole(content: bytes, rng: Random) -> bytes:
    """The whole table in another spelling."""
    text = content.decode("latin1")
    which = rng.randrange(7)
    if which == 0:
        return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32", "cp500")))
    if which == 1:
        return text.replace(",", rng.choice((";", "\t", " ", "|", ",,"))).encode("latin1")
    if which == 2:
        return text.replace("\n", rng.choice(("\r", "\r\n", "\n\n", "\x0b"))).encode("latin1")
    if which == 3:
        return (",".join(["1"] * rng.choice((1, 5000, 50_000))) + "\n").encode() * 2
    if which == 4:
        return b'"' + content
    if which == 5:
        names = rng.choice(("label,label", "target,x", ",x", "0,1,2", "class", "a,b,c,d"))
        return names.encode() + b"\n" + content
    return b"0," * 70_000 + b"\n" + content


VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, float("nan"), float("inf"), 2**31, 2**63,
    10**30, "", "x", "bernoulli:5", "bernoulli:999999", "categorical:3", "gaussian:2", "cnn",
    "\ud800", "a\nb", "é" * 300, [], [[]], [1, 2], [3, 3], [0], [10**9], [1, "a"], {}, {"a": 1},
)  # fmt: skip


def json_value(content: bytes, rng: Random) -> bytes:
    """A value somewhere in a JSON text is another one, lost, or under another name."""
    try:
        value = json.loads(content)
        return json.dumps(elsewhere(value, rng)).encode()
    except (ValueError, RecursionError):
        return content


def schema_value(content: bytes, rng: Random) -> bytes:
    """The same with a checksum that fits again, as in a schema that somebody forged."""
    try:
        value = json.loads(json_value(content, rng))
        value.pop("checksum", None)
        mark = hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()
        return json.dumps(value | {"checksum": mark}).encode()
    except (ValueError, AttributeError, TypeError, RecursionError):
        return content


def json_text(content: bytes, rng: Random) -> bytes:
    """What a JSON text can be that no writer makes."""
    deep = rng.choice((100, 990, 5000))
    return rng.choice(
        (
            b"[" * deep, b'{"a":' * deep, b"9" * deep, b"", b"null", b"\xef\xbb\xbf" + content,
            content.replace(b'": ', b'": -', 1), content[:1] + content[1:] + content,
            content.replace(b"{", b'{"format": "discretevae-run", ', 1),
            content.replace(b"1", b"1" + b"0" * deep, 1), content.decode("latin1").encode("utf-16"),
        )
    )  # fmt: skip


def json_line(content: bytes, rng: Random) -> bytes:
    """The same for one of the lines of a file of JSON lines."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at = rng.randrange(len(lines))
    lines[at] = json_value(lines[at], rng) + b"\n"
    return b"".join(lines)


def elsewhere(value: Any, rng: Random) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        which = rng.randrange(12)
        if which == 0:
            return {k: v for k, v in value.items() if k != key}
        if which == 1:
            return {(k + "x" if k == key else k): v for k, v in value.items()}
        return value | {key: elsewhere(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.5:
        at = rng.randrange(len(value))
        return [*value[:at], elsewhere(value[at], rng), *value[at + 1 :]]
    return rng.choice(VALUES)
