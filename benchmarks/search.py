"""Exact search of a million random codes: our index against bare faiss, in turn, in one process.

Both look for the same queries; the median of the ratios of neighboring times is the figure, for
lone times mean nothing on a shared machine. Another process builds the index of codes in a file,
saves it, loads it and searches it: its peak memory is that of all of this. One thread.

    python benchmarks/search.py --rows 1000000 --out search.json
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before faiss is loaded

import click
import numpy as np

from discretevae.cli.ending import finish
from discretevae.codes.search.index import CodeIndex, load_faiss
from discretevae.system.files import write_json

Array = np.ndarray[Any, np.dtype[Any]]

BITS, K, ROUNDS, STRETCH = 64, 10, 12, 250
"""Rounds of a stretch of queries by the one and by the other, the order changing."""


def peak_memory_mb() -> int:
    """The most memory that this process has held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def made_codes(n: int, seed: int, bits: int = BITS) -> Array:
    """Random codes, packed."""
    return np.random.default_rng(seed).integers(0, 256, (n, bits // 8), dtype=np.uint8)


def times(rows: int, queries: Array) -> dict[str, Any]:
    """The ratio of the speed of our search to that of faiss, and whether they found the same."""
    codes = made_codes(rows, 0)
    index = CodeIndex.from_codes(codes, f"bernoulli:{BITS}")
    bare = load_faiss().IndexBinaryFlat(BITS)
    bare.add(codes)
    ours: list[float] = []
    theirs: list[float] = []

    def search() -> None:
        began = time.perf_counter()
        index.search_codes(part, K)
        ours.append(time.perf_counter() - began)

    def search_bare() -> None:
        began = time.perf_counter()
        bare.search(part, K)
        theirs.append(time.perf_counter() - began)

    for number in range(ROUNDS):
        start = number * STRETCH % len(queries)
        part = queries[start : start + STRETCH]
        for job in (search, search_bare) if number % 2 else (search_bare, search):
            job()
    found, (distances, ids) = index.search_codes(queries, K), bare.search(queries, K)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "speed_of_faiss": round(statistics.median(ratios), 3),
        "quartiles": [round(q, 3) for q in statistics.quantiles(ratios, n=4)],
        "queries_per_second": round(STRETCH / statistics.median(ours)),
        "same_distances": bool((found.distances == distances).all()),
        "same_ids": bool((found.ids == ids).all()),
    }


def alone(codes: Path, n_queries: int) -> dict[str, Any]:
    """What a process holds that builds the index, and then loads it and searches it."""
    before = peak_memory_mb()
    path = codes.with_suffix(".index")
    index = CodeIndex.from_codes(np.load(codes), f"bernoulli:{BITS}")
    index.search_codes(made_codes(1, 1), 1)
    index.save(path)
    built = peak_memory_mb()
    del index
    began = time.perf_counter()
    index = CodeIndex.load(path)
    loaded = time.perf_counter() - began
    index.search_codes(made_codes(n_queries, 1), K)
    return {
        "rows": len(index),
        "load_seconds": round(loaded, 2),
        "memory_before_mb": before,
        "memory_built_mb": built,
        "peak_memory_mb": peak_memory_mb(),
        "torch_loaded": "torch" in sys.modules,
    }


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--queries", "n_queries", default=1000, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A .json of the figures.")
@click.option("--alone", "path", type=click.Path(path_type=Path), hidden=True)
def main(rows: int, n_queries: int, out: Path | None, path: Path | None) -> None:
    """Print the ratio, the peak memory of a process that builds and searches, and more, as JSON."""
    if path is not None:
        print(json.dumps(alone(path, n_queries)))
        return
    queries = made_codes(n_queries, 1)
    result: dict[str, Any] = {"bits": BITS, "k": K, "queries": n_queries, **times(rows, queries)}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "codes.npy"
        np.save(made, made_codes(rows, 0))
        arguments = [__file__, "--alone", str(made), "--queries", str(n_queries)]
        done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        result["alone"] = json.loads(done.stdout)
    print(json.dumps(result, indent=2))
    if out is not None:
        write_json(out, result)


if __name__ == "__main__":
    finish(main)
