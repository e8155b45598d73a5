"""Files made wrong on purpose: what `test_fuzz.py` and `benchmarks/fuzz.py` feed to the readers.

A mutation takes the bytes of a file and a source of randomness and gives other bytes. Some know
nothing of formats; others rewrite a header so that its checksums and lengths still fit, which
damage at random never gets past. Every draw comes from the source that is handed in: a seeded
`random.Random`, or one of Hypothesis, which can then find a smaller case that fails as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from fuzzing.binary import (
    idx_header,
    npy_header,
    npz_members,
    npz_promise,
    pack_again,
    png_chunk,
    zip_fields,
)
from fuzzing.blind import BLIND, Mutation
from fuzzing.tensors import tensors_data, tensors_entry, tensors_header
from fuzzing.text import csv_cell, csv_whole, json_line, json_text, json_value, schema_value

AWARE: dict[str, tuple[Mutation, ...]] = {
    "idx": (idx_header, idx_header, pack_again),
    "labels": (idx_header, pack_again),
    "npy": (npy_header,),
    "npy-stream": (npy_header,),
    "shards": (npy_header,),
    "codes": (npy_header,),
    "npz": (npz_members, npz_members, npz_promise, zip_fields),
    "csv": (csv_cell, csv_cell, csv_whole),
    "config": (json_value, json_value, json_value, json_text),
    "schema": (schema_value, schema_value, schema_value, json_value, json_text),
    "metrics": (json_line, json_line, json_text),
    "model": (tensors_header, tensors_data),
    "state": (tensors_header, tensors_entry, tensors_entry, tensors_data),
    "picture": (png_chunk,),
}


def mutated(kind: str, seeds: Sequence[bytes], rng: Random) -> bytes:
    """One of the seeds after one to three mutations, half of them made for this kind of file."""
    content = rng.choice(seeds)
    aware = AWARE.get(kind, ())
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutation = rng.choice(aware if aware and rng.random() < 0.5 else BLIND)
        content = mutation(content, rng)
    return content


def shrunk(content: bytes, fails: Callable[[bytes], bool], tries: int = 300) -> bytes:
    """A shorter file that fails as well: pieces are left out as long as it does."""
    piece = len(content) // 2
    while piece >= 1 and tries > 0:
        start = 0
        while start < len(content) and tries > 0:
            shorter = content[:start] + content[start + piece :]
            tries -= 1
            if fails(shorter):
                content = shorter
            else:
                start += piece
        piece //= 2
    return content
