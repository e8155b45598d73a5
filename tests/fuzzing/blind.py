"""Mutations that know nothing of formats: bits flipped, pieces lost, doubled, moved, wiped."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]

NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**40,
           2**62, 2**63 - 1, 2**64 - 1)  # fmt: skip
"""Where counters and lengths overflow."""


def flip_bits(content: bytes, rng: Random) -> bytes:
    """A few bits, anywhere."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8)) if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def flip_near_an_end(content: bytes, rng: Random) -> bytes:
    """A few bits where headers and footers are."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 2, 4)) if out else 0):
        at = rng.randrange(min(len(out), 64))
        out[at if rng.random() < 0.5 else -1 - at] ^= 1 << rng.randrange(8)
    return bytes(out)


def write_number(content: bytes, rng: Random) -> bytes:
    """A number at the edge of its range over what may be a length."""
    size = rng.choice((1, 2, 4, 8))
    if len(content) < size:
        return content
    at = rng.randrange(len(content) - size + 1)
    number = rng.choice(NUMBERS) % 2 ** (8 * size)
    return (
        content[:at] + number.to_bytes(size, rng.choice(("little", "big"))) + content[at + size :]
    )


def cut_off(content: bytes, rng: Random) -> bytes:
    """The first part only."""
    return content[: rng.randrange(len(content) + 1)]


def go_on(content: bytes, rng: Random) -> bytes:
    """Bytes after the end."""
    return content + bytes([rng.randrange(256)]) * rng.choice((1, 8, 1000))


def leave_out(content: bytes, rng: Random) -> bytes:
    """A piece is missing."""
    start, stop = _span(content, rng)
    return content[:start] + content[stop:]


def repeat(content: bytes, rng: Random) -> bytes:
    """A piece stands there twice, or many times."""
    start, stop = _span(content, rng)
    return content[:stop] + content[start:stop] * rng.choice((1, 1, 50)) + content[stop:]


def splice(content: bytes, rng: Random) -> bytes:
    """A piece over another one."""
    (start, stop), at = _span(content, rng), rng.randrange(len(content) + 1)
    return content[:at] + content[start:stop] + content[at + stop - start :]


def wipe(content: bytes, rng: Random) -> bytes:
    """A piece of one and the same byte."""
    start, stop = _span(content, rng)
    return content[:start] + bytes([rng.choice((0, 32, 255))]) * (stop - start) + content[stop:]


def _span(content: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 4, 16, 100, 1000)))


BLIND: tuple[Mutation, ...] = (
    flip_bits, flip_near_an_end, write_number, cut_off, go_on, leave_out, repeat, splice, wipe,
)  # fmt: skip
